"""Who may ask: checks made before anything else looks at a request.

A server on the loopback address is reached by every web page its user visits: a page can post forms
to it, and by rebinding its own name read the answers. So:

- `Host` must be a name we were told or a loopback one: a rebound name is neither.
- A request with an `Origin` must come from an origin we were told, or from ourselves.
- With an access token, every request but the health checks needs it: as `Authorization: Bearer`, or
  as the cookie that `POST /session` sets, since browsers cannot add headers to an EventSource.
"""

import hmac
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlsplit

from runcast.errors import Forbidden, Unauthorized

__all__ = ("COOKIE", "Guard")

COOKIE: Final = "runcast_session"
"""The cookie that holds the access token: HttpOnly, SameSite=Strict."""

_OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/session", "/"})
"""Answered without a token: nothing of any run is in them."""

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """Decides about requests. Pure but for what it was told at the start.

    Args:
        token: the access token; "" lets everybody in.
        hosts: names besides the loopback ones that `Host` may have; `*` allows any.
        origins: origins whose pages may send requests, like `https://app.example`.
    """

    def __init__(
        self, token: str = "", hosts: Iterable[str] = (), origins: Iterable[str] = ()
    ) -> None:
        self.token = token
        self.hosts = {host.lower() for host in hosts}
        self.origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    def check(self, path: str, headers: Mapping[str, str]) -> None:
        """Let a request pass.

        Raises:
            Forbidden: its `Host` or `Origin` is not ours.
            Unauthorized: the access token is missing or wrong.
        """
        host = headers.get("host", "")
        if not self._is_known_host(host):
            raise Forbidden(
                f"this server does not answer to the host {host[:100]!r}; start it with "
                "--allow-host if it should"
            )
        origin = headers.get("origin")
        if origin is not None and not self.allows_origin(origin, host):
            raise Forbidden(
                f"pages of {origin[:100]!r} may not use this server; start it with --allow-origin "
                "if they should"
            )
        if origin is None and headers.get("sec-fetch-site", "none") in ("cross-site", "same-site"):
            raise Forbidden("other sites may not use this server")
        if self.token and path not in _OPEN_PATHS and not self._has_token(headers):
            raise Unauthorized(
                "expected the access token: send `Authorization: Bearer …`, or sign in on the "
                "start page"
            )

    def allows_origin(self, origin: str, host: str) -> bool:
        """Tell whether an origin's pages may use this server."""
        origin = origin.lower()
        try:
            return origin in self.origins or urlsplit(origin).netloc == host.lower()
        except ValueError:
            return False

    def is_token(self, given: str) -> bool:
        """Tell whether this is the access token, in a time that does not depend on how much of it."""
        return bool(self.token) and hmac.compare_digest(given.encode(), self.token.encode())

    def _is_known_host(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in _LOOPBACK or name in self.hosts or "*" in self.hosts

    def _has_token(self, headers: Mapping[str, str]) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.is_token(given.strip())
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and self.is_token(cookie.value)
