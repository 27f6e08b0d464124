"""Where a store is: its URL, and the addresses of a cluster's members. Pure."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from runcast.errors import InvalidValue

__all__ = (
    "NAMESPACE",
    "Target",
    "addresses_of",
    "as_text",
    "at",
    "members",
    "parse_url",
    "without_password",
)

NAMESPACE: Final = "runcast"
"""The namespace of keys, unless the URL names another one (`?namespace=`)."""

_MAX_REPLICAS: Final = 8


class Target(NamedTuple):
    """Where a store is: what `parse_url` makes of its URL."""

    url: str
    """As the client library takes it, but with several addresses if it is a cluster."""
    namespace: str
    is_cluster: bool = False
    replicas: int = 0
    """How many replicas must have a commit before it is acknowledged."""


def parse_url(url: str) -> Target:
    """Return what a store's URL says.

    Raises:
        InvalidValue: the namespace or another option is malformed.
    """
    parts = urlsplit(url)
    name, plus, kind = parts.scheme.partition("+")
    scheme = {"valkey": "redis", "valkeys": "rediss"}.get(name, name)
    if plus and kind != "cluster":
        raise InvalidValue(f"expected redis+cluster://, got {parts.scheme}://")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    namespace = options.pop("namespace", NAMESPACE)
    if not namespace or len(namespace) > 64 or not namespace.replace("-", "_").isidentifier():
        raise InvalidValue(
            "expected a namespace of at most 64 letters, digits, '-' and '_', "
            f"like ?namespace=team_a, got {namespace!r:.100}"
        )
    replicas = options.pop("wait_replicas", "0")
    if not replicas.isdecimal() or int(replicas) > _MAX_REPLICAS:
        raise InvalidValue(
            f"expected wait_replicas to be 0 to {_MAX_REPLICAS}, got {replicas!r:.100}"
        )
    if kind and parts.path not in ("", "/", "/0"):
        raise InvalidValue(
            f"expected no database, for a cluster has only 0, got {parts.path!r:.80}"
        )
    plain = urlunsplit(parts._replace(scheme=scheme, query=urlencode(options)))
    return Target(plain, namespace, bool(kind), int(replicas))


def as_text(value: object) -> str:
    """Return what the server calls a text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def without_password(url: str) -> str:
    """Return a URL as it may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def addresses_of(url: str) -> list[str]:
    """Return the addresses of a cluster's members that its URL names."""
    places = urlsplit(url).netloc.rpartition("@")[2].split(",")
    return [place if ":" in place.rpartition("]")[2] else f"{place}:6379" for place in places]


def at(url: str, address: str) -> str:
    """Return a URL with another address."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{address}"))


def members(slots: object, host: str) -> list[str]:
    """Return the addresses of members from an answer to CLUSTER SLOTS, which two versions of the
    client library give in two forms."""
    found: list[str] = []
    if isinstance(slots, dict):
        for each in slots.values():
            places = [each.get("primary", ()), *each.get("replicas", ())]
            found += [_address(place, host) for place in places if len(place) > 1]
    elif isinstance(slots, list):
        for each in slots:
            found += [_address(place, host) for place in each[2:]]
    return found


def _address(place: Sequence[Any], host: str) -> str:
    # A member that was not told its own name leaves it empty: it is the one that was asked.
    named = as_text(place[0] or host)
    return f"[{named}]:{place[1]}" if ":" in named.strip("[]") else f"{named}:{place[1]}"
