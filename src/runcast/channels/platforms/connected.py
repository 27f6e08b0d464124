"""What the channels of chat platforms share: how a platform is reached, and with which secrets."""

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypedDict, Unpack

from runcast._addresses import Network
from runcast.channels.calls import Caller
from runcast.channels.capability import Capability
from runcast.channels.platforms.options import are_answers_taken, networks_for

__all__ = ("ConnectedChannel", "Login", "Reach", "address_of", "reach_of")

_TIMEOUT_S: Final = 30.0


class Reach(TypedDict, total=False):
    """How a platform is reached: what the constructor of every chat's channel takes beside its
    target and its token."""

    url: str
    """Of the platform's API, if it is not the public one."""
    has_buttons: bool
    """Whether somebody takes the answers that buttons give."""
    networks: Iterable[Network] | None
    """If not None, private addresses outside these networks are refused."""
    timeout_s: float
    """Longest silence of the server, 30 by default."""
    calls: Caller | None
    """Who makes the calls, in place of a client of our own."""


class Login(NamedTuple):
    """How calls show who makes them."""

    secrets: tuple[str, ...]
    """What no error may show."""
    secret_path: str = ""
    """What stands between the platform's address and the path of a call."""
    headers: Mapping[str, str] = MappingProxyType({})


class ConnectedChannel:
    """The common part of a chat's channel: its capability, its scope, and its calls.

    Args:
        otherwise: the address of the platform's API, unless `reach` names another.
        capability: without buttons; they are there if `reach` says that somebody takes answers.
        scope: what the platform counts together.
    """

    def __init__(
        self,
        otherwise: str,
        capability: Capability,
        scope: str,
        login: Login,
        **reach: Unpack[Reach],
    ) -> None:
        has_buttons = reach.get("has_buttons", False)
        self.capability = dataclasses.replace(
            capability,
            has_buttons=has_buttons,
            takes_replies=has_buttons and capability.takes_replies,
        )
        self.scope = self.place = scope
        self._caller = reach.get("calls") or Caller(
            reach.get("url") or otherwise,
            secrets=login.secrets,
            secret_path=login.secret_path,
            headers=login.headers,
            networks=reach.get("networks"),
            timeout_s=reach.get("timeout_s", _TIMEOUT_S),
        )

    async def close(self) -> None:
        """Close connections. Idempotent."""
        await self._caller.close()


def address_of(target: str) -> str:
    """Return what stands behind a scheme: the slashes around it are not part of it."""
    return target.removeprefix("//").rstrip("/")


def reach_of(options: Mapping[str, str], *answered_by: str) -> Reach:
    """Return how the options of a target say that a platform is reached.

    Args:
        answered_by: options with which callbacks can be checked or asked for: if a target has one
            of them, somebody takes the answers of buttons.

    Raises:
        InvalidValue: the option `allow` names no networks.
    """
    url = options.get("url", "")
    return {
        "url": url,
        "has_buttons": are_answers_taken(options, *answered_by),
        "networks": networks_for(options) if url else None,
    }
