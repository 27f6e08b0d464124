"""Reading the options of a target."""

import hashlib
import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from runcast._addresses import Network
from runcast.errors import InvalidValue

__all__ = (
    "are_answers_taken",
    "digest_of",
    "is_yes",
    "link_of",
    "networks_for",
    "optional",
    "required",
)

_YES: Final = ("yes", "true")
_NO: Final = ("no", "false")


def required(options: Mapping[str, str], name: str, platform: str) -> str:
    """Return an option. Raises `InvalidValue` if it is missing."""
    value = options.get(name, "")
    if not value:
        raise InvalidValue(f"a target on {platform} needs the option {name}")
    return value


def optional(options: Mapping[str, str], name: str, otherwise: str = "") -> str:
    """Return an option or its default."""
    return options.get(name) or otherwise


def is_yes(options: Mapping[str, str], name: str) -> bool:
    """Return whether an option is on. Raises `InvalidValue` if it is neither on nor off."""
    said = optional(options, name, "no")
    if said not in (*_YES, *_NO):
        raise InvalidValue(f"expected {name} to be true or false, got {said!r:.40}")
    return said in _YES


def digest_of(secret: str) -> str:
    """Return what tells secret addresses apart without showing them."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def link_of(link: str, run_id: str) -> str:
    """Return the address of a run, by a link in which `{run_id}` stands for its id."""
    return link.replace("{run_id}", quote(run_id, safe=""))


def networks_for(options: Mapping[str, str]) -> tuple[Network, ...]:
    """Return the private networks that the option `allow` names. Raises `InvalidValue`."""
    networks: list[Network] = []
    for entry in filter(None, optional(options, "allow").split(",")):
        try:
            networks.append(ipaddress.ip_network(entry.strip()))
        except ValueError:
            raise InvalidValue(
                f"expected allow = networks like 10.0.0.0/8, got {entry!r:.80}"
            ) from None
    return tuple(networks)


def are_answers_taken(options: Mapping[str, str], *needed: str) -> bool:
    """Return whether somebody takes the answers of buttons.

    The option `buttons` says so. Without it they are taken if a target has one of the `needed`
    options, with which its callbacks can be checked or asked for.
    """
    said = optional(options, "buttons")
    if said in (*_YES, *_NO):
        return said in _YES
    return any(optional(options, name) not in ("", *_NO) for name in needed)
