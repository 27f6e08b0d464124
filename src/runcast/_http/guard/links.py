"""Requests that bring a link instead of a token: what they may ask, and how they are ended.

The link's token is `<link id>.<secret>`. A client sends it in the header `Runcast-Link`. The
EventSource of a browser cannot send headers, so for a stream `?link=` is accepted, too. It is taken
out of the request before anything can log it.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final, Protocol
from urllib.parse import unquote_plus

from starlette.datastructures import Headers
from starlette.types import Scope

from runcast._clock import Clock
from runcast._hub.cursor import Cursor
from runcast._hub.links import Link
from runcast.errors import Forbidden, NotFound, StoreUnavailable

__all__ = ("HEADER", "LinkHold", "check_link_path", "open_link_hold", "take_link")

HEADER: Final = "runcast-link"

_PATHS: Final = re.compile(r"/runs/([^/]+)(/events|/files(?:/.*)?)?", re.DOTALL)
"""What a link can open, if its run is the one in the path."""

_STREAM: Final = re.compile(r"/runs/[^/]+/events")


def take_link(scope: Scope, path: str) -> str | None:
    """Return the link's token that a request brings, or None; remove it from the query.

    Args:
        path: below the path where the application is mounted.
    """
    given = [part.partition("=") for part in scope["query_string"].decode("latin-1").split("&")]
    in_query = [value for name, _, value in given if unquote_plus(name) == "link"]
    if in_query:
        # In place: servers write this into their log of requests.
        kept = ("".join(part) for part in given if unquote_plus(part[0]) != "link")
        scope["query_string"] = "&".join(kept).encode("latin-1")
    sent = Headers(scope=scope).get(HEADER)
    if sent is not None:
        return sent.strip()
    if in_query and scope["method"] in ("GET", "HEAD") and _STREAM.fullmatch(path):
        return unquote_plus(in_query[-1])
    return None


def check_link_path(link: Link, method: str, path: str) -> None:
    """Let a request pass that asks for what its link shows.

    Raises:
        NotFound: the link shows another run.
        Forbidden: the link shows only a run and its events.
    """
    found = _PATHS.fullmatch(path)
    if method not in ("GET", "HEAD") or found is None:
        raise Forbidden("this link shows one run and does nothing else")
    if found[1] != link.run_id:
        raise NotFound(f"there is no run {found[1]!r:.140}")
    if (found[2] or "").startswith("/files") and not link.shows_files:
        raise Forbidden("this link does not show the files of its run")


class LinkHold:
    """Ends an open response once its link is revoked or has expired. Forget it with the response.

    Args:
        cursor: of the link's log, which is deleted when the link is revoked.
    """

    def __init__(self, cursor: Cursor, expires_at: float, clock: Clock) -> None:
        self._cursor = cursor
        self._expires_at = expires_at
        self._clock = clock

    @property
    def has_ended(self) -> bool:
        """Whether the link has expired."""
        return self._clock.time() >= self._expires_at

    def forget(self) -> None:
        """Watch the link no more. Idempotent."""
        self._cursor.close()


class _Hub(Protocol):
    @property
    def clock(self) -> Clock: ...

    def cursor(self, run_id: str, *, wake: Callable[[], None] = ...) -> Awaitable[Cursor]: ...


async def open_link_hold(hub: _Hub, link: Link, end: Callable[[], None]) -> LinkHold:
    """Call `end` once a link is revoked. Raises `NotFound` if it is already."""
    opened: list[Cursor] = []

    def look() -> None:
        try:
            for cursor in opened:
                cursor.poll()
        except (NotFound, StoreUnavailable):
            end()

    opened.append(await hub.cursor(link.log_id, wake=look))
    return LinkHold(opened[0], link.expires_at, hub.clock)
