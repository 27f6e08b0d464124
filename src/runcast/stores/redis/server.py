"""The connection to the server: scripts, errors, and the channel of changes.

The only module that imports redis.
"""

import asyncio
import contextlib
import importlib.resources
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as Disconnected,
)
from redis.exceptions import (
    TimeoutError as TimedOut,
)

from runcast._logs import get_logger
from runcast.errors import BackendError, InvalidValue, StoreUnavailable, StoreUnusable

__all__ = ("NAMESPACE", "Server", "Word", "parse_url")

NAMESPACE: Final = "runcast"
"""The namespace of keys, unless the URL names another one (`?namespace=`)."""

_TIMEOUT_S: Final = 5.0
"""How long an answer may take: a script on a loaded server takes milliseconds."""

_CONNECT_S: Final = 5.0
"""How long connecting may take."""

_MAX_CONNECTIONS: Final = 16
"""Most connections of a store; further calls wait for one, at most `_TIMEOUT_S`."""

_PING_S: Final = 5.0
"""How often a silent channel is asked whether it still lives: a cut network says nothing."""

_CHANNELS: Final = 2
"""Channels of the connection that listens: that of all nodes, and one of its own."""

_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses before the channel is opened again; the last one repeats."""

_LEAST_VERSION: Final = (6, 2)
"""The first Redis whose streams can be trimmed by id. Valkey names it as the version it speaks."""

_SCRIPTS: Final = {
    # Read once: reading would block the event loop.
    name: importlib.resources.files(__package__).joinpath(f"{name}.lua").read_bytes()
    for name in ("commit", "read", "list", "changes", "orphans", "renew", "save_state")
}

_UNNAMED: Final[dict[str, Any]] = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(AbstractConnection.__init__).parameters
    else {"lib_name": None, "lib_version": None}
)
"""Keeps a new connection from looking for the library's version, which would block the loop."""

Word: TypeAlias = str | bytes | float
"""One word of a command, as the client library takes it."""

_log: Final = get_logger("runcast.stores.redis")


def parse_url(url: str) -> tuple[str, str]:
    """Return the URL as the client library takes it, and the namespace that it names.

    Raises:
        InvalidValue: the namespace is malformed.
    """
    parts = urlsplit(url)
    scheme = {"valkey": "redis", "valkeys": "rediss"}.get(parts.scheme, parts.scheme)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    namespace = options.pop("namespace", NAMESPACE)
    if not namespace or len(namespace) > 64 or not namespace.replace("-", "_").isidentifier():
        raise InvalidValue(
            "expected a namespace of at most 64 letters, digits, '-' and '_', "
            f"like ?namespace=team_a, got {namespace!r:.100}"
        )
    return urlunsplit(parts._replace(scheme=scheme, query=urlencode(options))), namespace


class Server:
    """A server of one namespace. Call everything from one event loop.

    Args:
        url: as `parse_url` returns it.
        shown: the URL for messages, without a password.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._url = url
        self._shown = _without_password(url)
        self.prefix = f"{{{namespace}}}:"
        """Begins all keys: a hash tag, so that a cluster keeps the namespace on one node."""
        self._client: redis.asyncio.Redis | None = None
        self._channel: asyncio.Task[None] | None = None
        self._hashes: dict[str, str] = {}

    async def open(self) -> None:
        """Connect. Raises `StoreUnavailable`, `StoreUnusable`. Idempotent."""
        if self._client is not None:
            return
        try:
            pool = redis.asyncio.BlockingConnectionPool.from_url(
                self._url,
                max_connections=_MAX_CONNECTIONS,
                timeout=_TIMEOUT_S,
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_CONNECT_S,
                socket_keepalive=True,
                client_name="runcast",
                protocol=2,
                # A call whose outcome is unknown must not be made again behind our back.
                retry=Retry(NoBackoff(), 0),
                **_UNNAMED,
            )
        except (ValueError, RedisError) as error:
            raise InvalidValue(f"expected a URL like redis://host:6379/0: {error}") from None
        client = redis.asyncio.Redis.from_pool(pool)
        self._client = client
        try:
            await self._check_version()
            for name in _SCRIPTS:
                await self._load(name)
        except BaseException:
            self._client = None
            await client.aclose()
            raise

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        client, self._client = self._client, None
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await channel
        if client is not None:
            await client.aclose()

    async def call(self, name: str, key: str, *arguments: Word) -> Any:
        """Return the answer to one command; the key is given without the prefix.

        Raises `StoreUnavailable`, `StoreUnusable`, `BackendError`.
        """
        return await self._execute(name, f"{self.prefix}{key}", *arguments)

    async def call_all(self, commands: Sequence[tuple[str, str, *tuple[Word, ...]]]) -> list[Any]:
        """Return the answers to several commands, sent together; raises what `call` raises."""
        pipeline = self._connected.pipeline(transaction=False)
        for name, key, *arguments in commands:
            pipeline.execute_command(name, f"{self.prefix}{key}", *arguments)
        try:
            return list(await pipeline.execute())
        except (RedisError, OSError) as error:
            raise self._explain(error) from error

    async def run(self, script: str, *arguments: Word) -> Any:
        """Return what a script returns; raises what `call` raises."""
        try:
            return await self._run(script, arguments)
        except NoScriptError:  # the server was restarted, or its scripts were flushed
            await self._load(script)
            return await self._run(script, arguments)

    async def _run(self, script: str, arguments: tuple[Word, ...]) -> Any:
        return await self._execute("EVALSHA", self._hashes[script], 1, self.prefix, *arguments)

    async def _load(self, script: str) -> None:
        found = await self._execute("SCRIPT", "LOAD", _SCRIPTS[script])
        self._hashes[script] = str(found, "ascii") if isinstance(found, bytes) else found

    async def _execute(self, *command: Any) -> Any:
        try:
            return await self._connected.execute_command(*command)  # type: ignore[no-untyped-call]
        except NoScriptError:
            raise
        except (RedisError, OSError) as error:
            raise self._explain(error) from error

    @property
    def _connected(self) -> redis.asyncio.Redis:
        if self._client is None:
            raise StoreUnavailable(f"{self._shown} is not open; use `async with store:`")
        return self._client

    async def _check_version(self) -> None:
        info = await self._execute("INFO", "server")
        version = str(info.get("redis_version", "0"))
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
        if numbers < _LEAST_VERSION:
            raise StoreUnusable(
                f"expected Redis 6.2 or Valkey 7.2 or newer at {self._shown}, got {version}",
                "the store's server is too old",
            )

    async def facts(self) -> dict[str, str]:
        """Return what the server says about itself: `INFO`, its settings, and its `time`.

        Settings are missing if this user may not read them.
        """
        found: dict[str, Any] = dict(await self._execute("INFO"))
        try:
            found |= await self._execute("CONFIG GET", "*")
        except (BackendError, NoScriptError):
            _log.info("%s does not let this user read its settings", self._shown)
        seconds, micros = await self._execute("TIME")
        found["time"] = int(seconds) + int(micros) / 1_000_000
        return {_as_text(name): _as_text(value) for name, value in found.items()}

    def _explain(self, error: Exception) -> BackendError:
        """Return our error for an error of the client library."""
        shown = self._shown
        if isinstance(error, AuthenticationError):
            return StoreUnusable(f"{shown} refuses the user or the password", "access is refused")
        if isinstance(error, OutOfMemoryError):
            return StoreUnavailable(
                f"{shown} has no memory left (maxmemory); delete runs, or give it more",
                "the store has no room left",
            )
        if isinstance(error, ReadOnlyError):
            return StoreUnavailable(f"{shown} is a replica at present", "the store is a replica")
        if isinstance(error, Disconnected | TimedOut | BusyLoadingError | OSError):
            return StoreUnavailable(
                f"{shown} cannot be reached ({type(error).__name__}: {error!s:.200})",
                "the store cannot be reached",
            )
        if isinstance(error, ResponseError) and str(error).startswith(("MISCONF", "NOREPLICAS")):
            return StoreUnavailable(f"{shown} refuses to write: {error!s:.200}", "it cannot write")
        return BackendError(f"{shown} failed: {error!s:.300}", "the store failed")

    # The channel of changes.

    async def listen(
        self, origin: str, heard: Callable[[bytes], None], missed: Callable[[], None]
    ) -> None:
        """Call `heard` with each message on the channel, and `missed` whenever some may be lost.

        The connection listens to the channel `feed:<origin>`, too, which has no messages: so
        `commit.lua` knows whether this node listens alone. Returns once the channel is open; it
        stays open until `close`.
        """
        is_open = asyncio.get_running_loop().create_future()
        self._channel = asyncio.create_task(
            self._follow(origin, heard, missed, is_open), name="runcast-redis-feed"
        )
        await asyncio.wait({self._channel, is_open}, return_when=asyncio.FIRST_COMPLETED)
        if self._channel.done():
            self._channel.result()

    async def _follow(
        self,
        origin: str,
        heard: Callable[[bytes], None],
        missed: Callable[[], None],
        is_open: "asyncio.Future[None]",
    ) -> None:
        failures = 0
        feed = f"{self.prefix}feed"
        while True:
            try:
                async with self._connected.pubsub(ignore_subscribe_messages=False) as channel:
                    await channel.subscribe(feed, f"{feed}:{origin}")
                    await self._hear(channel, heard, missed, is_open)
            except (RedisError, OSError, TimeoutError) as error:
                if not is_open.done():
                    raise self._explain(error) from error
                if failures == 0:
                    _log.warning("the changes of other processes are not heard: %s", error)
                await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
                failures += 1

    async def _hear(
        self,
        channel: Any,
        heard: Callable[[bytes], None],
        missed: Callable[[], None],
        is_open: "asyncio.Future[None]",
    ) -> None:
        """Pass messages on until the connection fails, by raising what the library raises."""
        is_asked = False
        while True:
            message = await channel.get_message(timeout=_PING_S)
            if message is None:
                if is_asked:
                    raise Disconnected(f"no answer for {_PING_S:.0f} s")
                await channel.ping()
                is_asked = True
                continue
            is_asked = False
            if message["type"] == "message":
                heard(message["data"])
            elif message["type"] == "subscribe" and message["data"] == _CHANNELS:
                if is_open.done():
                    missed()
                else:
                    is_open.set_result(None)


def _as_text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
