"""Where logs are kept: the contract (`runcast.stores.base`), our stores, and a store by its URL."""

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from runcast._clock import Clock
from runcast._plugins import STORES, find, names
from runcast._settings import Settings
from runcast.errors import InvalidValue
from runcast.stores.base import (
    MAX_APPENDS_TOGETHER,
    MAX_CHANGES,
    MAX_LABEL_CHARS,
    MAX_LABELS,
    MAX_LIST,
    MAX_PRODUCERS,
    PAGE_BYTES,
    Append,
    Appended,
    Change,
    ChangePage,
    Changes,
    Leases,
    Listing,
    LogInfo,
    Logs,
    Once,
    Owner,
    Page,
    Producer,
    Retention,
    SharedStore,
    Store,
)
from runcast.stores.focus import FocusedStore

if TYPE_CHECKING:
    from runcast.stores.memory import MemoryStore
    from runcast.stores.sqlite.store import SQLiteStore
else:

    def __getattr__(name):
        """Load our stores on demand, because a process that opens none needs only the contract."""
        if name == "MemoryStore":
            from runcast.stores.memory import MemoryStore

            return MemoryStore
        if name == "SQLiteStore":
            from runcast.stores.sqlite.store import SQLiteStore

            return SQLiteStore
        raise AttributeError(f"module 'runcast.stores' has no attribute {name!r}")


__all__ = (
    "MAX_APPENDS_TOGETHER",
    "MAX_CHANGES",
    "MAX_LABELS",
    "MAX_LABEL_CHARS",
    "MAX_LIST",
    "MAX_PRODUCERS",
    "PAGE_BYTES",
    "Append",
    "Appended",
    "Change",
    "ChangePage",
    "Changes",
    "FocusedStore",
    "Leases",
    "Listing",
    "LogInfo",
    "Logs",
    "MemoryStore",
    "Once",
    "Owner",
    "Page",
    "Producer",
    "Retention",
    "SQLiteStore",
    "SharedStore",
    "Store",
    "open_url",
)


_REDIS: Final = (
    *("redis", "rediss", "valkey", "valkeys"),
    *("redis+cluster", "rediss+cluster", "valkey+cluster", "valkeys+cluster"),
)

_OURS: Final = ("memory://", "sqlite:///runs.db", "redis://host:6379/0")


def open_url(url: str, settings: Settings, clock: Clock) -> Store:
    """Return the store that a URL names, not yet open.

    `sqlite:///runs.db` is relative to the working directory, `sqlite:////var/lib/runs.db` absolute.
    `redis://host:6379/0` and `valkey://…` name a server and its database, `rediss://` and
    `valkeys://` one behind TLS. `?namespace=name` keeps the logs apart from other applications'.

    Raises:
        InvalidValue: neither we nor an installed package know the URL's store; or the package that
            the store needs is not installed.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        # Without the URL, which may hold a password.
        raise InvalidValue(
            f"expected a store like {', '.join(_OURS)}, got a malformed URL ({error})"
        ) from None
    if parts.scheme == "memory" and not parts.netloc and parts.path in ("", "/"):
        return _memory_store(clock)
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        return _sqlite_store(unquote(parts.path[1:]), settings, clock)
    if parts.scheme in _REDIS and parts.netloc:
        return _redis_store(url, clock)
    own = ("memory", "sqlite", *_REDIS)
    make = find(STORES, parts.scheme) if parts.scheme not in own else None
    if make is None:
        known = [*_OURS, *(f"{name}://…" for name in names(STORES))]
        # Without what may be a password.
        got = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
        hint = f"; for a file write {f'sqlite:///{url}'!r:.200}" if not parts.scheme else ""
        if parts.scheme in ("http", "https"):
            hint = "; to write a run of a server, use runcast.RemoteRun"
        raise InvalidValue(f"expected a store like {', '.join(known)}, got {got!r:.200}{hint}")
    store: object = make(url, settings, clock)
    if not isinstance(store, Store):
        raise InvalidValue(f"expected {parts.scheme}:// to give a Store, got {store!r:.80}")
    return store


def _memory_store(clock: Clock) -> Store:
    from runcast.stores.memory import MemoryStore

    return MemoryStore(clock)


def _sqlite_store(path: str, settings: Settings, clock: Clock) -> Store:
    from runcast.stores.sqlite.store import SQLiteStore

    return SQLiteStore(
        path, clock, full_sync=settings.sqlite_full_sync, wal_bytes=settings.sqlite_wal_bytes
    )


def _redis_store(url: str, clock: Clock) -> Store:
    try:
        # Half a second of imports, which only this store needs.
        from runcast.stores.redis.store import RedisStore
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise InvalidValue(
            "this store needs the package redis: pip install 'runcast[redis]'"
        ) from None
    return RedisStore(url, clock)
