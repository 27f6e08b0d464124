"""Checks that run before anything else looks at a request.

Every web page that its user visits can reach a server on the loopback address. A page can post
forms to the server, and can read the answers by rebinding its own name. So:

- `Host` must be a configured name or a loopback name. A rebound name is neither.
- A request with an `Origin` must come from a configured origin, or from ourselves.
- With an access token, every request except the health checks needs the token: as
  `Authorization: Bearer`, or as the session that `POST /session` puts into a cookie, because
  browsers cannot add headers to an EventSource.
"""

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from runcast._clock import Clock, SystemClock
from runcast._http.guard.token import (
    check_token,
    fingerprint,
    is_session,
    is_token,
    make_session,
)
from runcast.errors import Forbidden, InvalidValue, Unauthorized

__all__ = (
    "COOKIE",
    "MOUNT_ADVICE",
    "PREFLIGHT_HEADERS",
    "SERVE_ADVICE",
    "Advice",
    "Guard",
    "cors_headers",
    "is_local",
    "is_open",
)

COOKIE: Final = "runcast_session"
"""The cookie that holds a session: HttpOnly, SameSite=Strict. The cookie that a browser gets has a
longer name with this beginning, see `Guard.cookie_name`."""

_MAX_SESSIONS: Final = 16
"""Most cookies of one request that are checked. Each costs a signature, and any client may send 64
KiB of cookies with every request."""

PREFLIGHT_HEADERS: Final[Mapping[str, str]] = {
    "access-control-allow-methods": "GET, POST, PUT, DELETE",
    "access-control-allow-headers": (
        "authorization, content-disposition, content-type, idempotency-key, if-none-match, "
        "if-range, last-event-id, prefer, range, runcast-lease, runcast-link"
    ),
    "access-control-max-age": "600",
}
"""What pages of a configured origin may send. Source: WHATWG Fetch, CORS protocol."""

_OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/session", "/", "/docs", "/answers"})
_OPEN_FOLDERS: Final = ("/assets/", "/channels/")
"""The console's files; and where chat platforms send what people do, with signatures of their own.
"""

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s/?#@:\[\]]+))(?::[0-9]*)?")
"""RFC 9110 §7.2, without user names, paths and spaces."""

_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://([!-~]+?)/?")
_PORT: Final = re.compile(r":[0-9]+$")
_USUAL_PORTS: Final = {"http": ":80", "https": ":443"}


def is_open(path: str) -> bool:
    """Return whether a path needs no token: it shows nothing of any run or function, or its
    requests prove by themselves where they come from."""
    return path in _OPEN_PATHS or path.startswith(_OPEN_FOLDERS)


def cors_headers(origin: str) -> dict[str, str]:
    """Return the headers that let an origin's pages read a response."""
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": (
            "accept-ranges, content-disposition, content-range, etag, location, retry-after, "
            "runcast-epoch, runcast-repeated, runcast-run-id"
        ),
        "vary": "origin",
    }


_OF_PROXIES: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""Headers that show that a request came by way of a proxy."""


def is_local(headers: Mapping[str, str], client: str) -> bool:
    """Return whether a request was made by a program on this machine, for the server itself.

    A proxy on this machine has a loopback address too: requests that one has passed on, or that
    name another host than a loopback one, are not local.
    """
    found = _HOST.fullmatch(headers.get("host", "").lower())
    if found is None or (found[1] or found[2]) not in _LOOPBACK:
        return False
    try:
        is_near = ip_address(client).is_loopback
    except ValueError:
        return False
    return is_near and not any(name in headers for name in _OF_PROXIES)


class Advice(NamedTuple):
    """What the operator can do about a refused `Host` or `Origin`."""

    host: str
    origin: str


MOUNT_ADVICE: Final = Advice(
    'name it with asgi(hub, hosts=["…"]) if it should',
    'name their origin with asgi(hub, origins=["…"]) if they should',
)
SERVE_ADVICE: Final = Advice(
    "start it with --allow-host if it should", "start it with --allow-origin if they should"
)

_TEST_CLIENT: Final = ("testclient", "testserver")
"""Client and host of a request from Starlette's TestClient; it crosses no network."""


class Guard:
    """Decides about requests. Pure: it depends only on its arguments.

    Args:
        token: the access token; "" lets everybody in.
        hosts: names besides the loopback ones that `Host` may have; `*` allows any.
        origins: origins whose pages may send requests, like `https://app.example`.
        session_s: how long a session lasts; 0 allows no sessions.

    Raises:
        InvalidValue: one of them could never be what a request has.
    """

    def __init__(
        self,
        token: str = "",
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        *,
        clock: Clock | None = None,
        session_s: float = 0.0,
    ) -> None:
        self.token = check_token(token)
        self.hosts = {_checked_host(host) for host in _several(hosts, "hosts")}
        self.origins = frozenset(_checked_origin(each) for each in _several(origins, "origins"))
        self._clock = clock or SystemClock()
        self.advice = MOUNT_ADVICE
        self._session_s = session_s

    def check_source(self, headers: Mapping[str, str], client: str = "") -> None:
        """Let a request pass unless another site's page made it.

        Args:
            client: the address of the client. Starlette's test client has one that no client on a
                network can have, and may use its own `Host`.

        Raises:
            Forbidden: the request's `Host` or `Origin` is not allowed.
        """
        host = headers.get("host", "")
        if not self._is_known_host(host) and (client, host) != _TEST_CLIENT:
            raise Forbidden(
                f"this server does not answer to the host {host[:100]!r}; {self.advice.host}"
            )
        origin = headers.get("origin")
        if origin is not None:
            if not self.is_allowed_origin(origin) and not _is_same(origin, host):
                raise Forbidden(
                    f"pages of {origin[:100]!r} may not use this server; {self.advice.origin}"
                )
        elif headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not (
            # A followed link: the site with the link cannot read the response.
            headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
        ):
            raise Forbidden("other sites may not use this server")

    def check_token(self, path: str, headers: Mapping[str, str], mount: str = "") -> None:
        """Let a request pass that has the access token, or needs no token.

        Args:
            path: below the path where the application is mounted.
            mount: the path where the application is mounted.

        Raises:
            Unauthorized: the access token is missing or wrong.
        """
        if self.token and not is_open(path) and not self._has_token(headers, mount):
            raise Unauthorized(
                "expected the access token: send `Authorization: Bearer …`, or sign in on the "
                "console"
            )

    def is_allowed_origin(self, origin: str) -> bool:
        """Return whether pages of this origin may use the server, by configuration."""
        return origin.lower() in self.origins

    def begin_session(self, given: str) -> str:
        """Return a session in exchange for the access token.

        Raises:
            Unauthorized: this is not the access token.
        """
        if not is_token(given, self.token):
            raise Unauthorized("this is not the access token")
        return make_session(self.token, self._clock.time() + self._session_s)

    def cookie_name(self, host: str, mount: str) -> str:
        """Return the name of the cookie for a browser's session.

        A browser keeps one cookie per name, host and path, whichever port or server set it. So the
        name is made from the port in the browser's request, the path where the application is
        mounted, and the token, which differs if a proxy hides the other two.

        Args:
            host: the request's `Host`.
        """
        port = _PORT.search(host)
        return f"{COOKIE}_{fingerprint(self.token, port[0] if port else '', mount)}"

    def _is_known_host(self, host: str) -> bool:
        found = _HOST.fullmatch(host.lower())
        if found is None:
            return False
        name = found[1] or found[2]
        return name in _LOOPBACK or name in self.hosts or "*" in self.hosts

    def _has_token(self, headers: Mapping[str, str], mount: str) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return is_token(given.strip(), self.token)
        now = self._clock.time()
        own = self.cookie_name(headers.get("host", ""), mount)
        # A proxy may send cookies in several fields. Source: RFC 9113 §8.2.3.
        fields = headers.getlist("cookie") if isinstance(headers, Headers) else []
        cookies = "; ".join(fields) or headers.get("cookie", "")
        sessions = _sessions_in(cookies, own)
        return any(is_session(session, self.token, now) for session in sessions)


def _sessions_in(header: str, own: str) -> list[str]:
    """Return the values of a `Cookie` that may be sessions, the likeliest first.

    Several cookies may have one name. The browser sends those of longer paths first, but any of
    them may be ours. Source: RFC 6265 §5.4. Cookies with our other names hold sessions of servers
    with another token, or of this server reached in another way.
    """
    # Not http.cookies, which drops all cookies after one that it cannot parse. On localhost every
    # program's cookies arrive.
    pairs = [pair.partition("=")[::2] for pair in header.split(";")]
    found = [(name.strip(), value.strip().strip('"')) for name, value in pairs]
    ours = [value for name, value in found if name == own]
    others = [
        value
        for name, value in found
        if name == COOKIE or (name.startswith(f"{COOKIE}_") and name != own)
    ]
    return [*ours, *others][:_MAX_SESSIONS]


def _is_same(origin: str, host: str) -> bool:
    """Return whether a request was sent to the origin that it comes from."""
    try:
        found = urlsplit(origin.lower())
    except ValueError:
        return False
    return bool(found.netloc) and found.netloc == host.lower()


def _several(given: Iterable[str], what: str) -> list[str]:
    if isinstance(given, str):  # its letters would count one by one
        raise InvalidValue(f"expected {what} to be a list, got {given[:100]!r}")
    return list(given)


def _checked_host(host: str) -> str:
    """Return a host in the form of requests; an IPv6 address without its brackets."""
    name = host.lower()
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    if ":" in name:
        try:
            return str(ip_address(name))
        except ValueError:
            pass
    elif name.isascii() and (found := _HOST.fullmatch(name)):
        return found[0]
    raise InvalidValue(
        "expected a host to be a name or address alone, without scheme and port, like app.example; "
        f"got {host[:100]!r}"
    )


def _checked_origin(origin: str) -> str:
    """Return an origin as browsers send it: without its scheme's default port."""
    found = _ORIGIN.fullmatch(origin.lower())
    if found is not None and found[2][-1] != ":" and _HOST.fullmatch(found[2]):
        return f"{found[1]}://{found[2].removesuffix(_USUAL_PORTS.get(found[1], ':'))}"
    raise InvalidValue(
        "expected an origin to be a scheme, a host and its port, if it has one of its own, like "
        f"https://app.example or http://localhost:3000; got {origin[:100]!r}"
    )
