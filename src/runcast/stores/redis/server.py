"""The connection to the server: scripts, errors, the channel of changes, and the way in a cluster.

Long because only one module imports redis.
"""

import asyncio
import contextlib
import importlib.resources
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as Disconnected,
)
from redis.exceptions import (
    TimeoutError as TimedOut,
)

from runcast._logs import get_logger
from runcast.errors import BackendError, InvalidValue, StoreUnavailable, StoreUnusable

__all__ = ("NAMESPACE", "Server", "Target", "Word", "parse_url")

T = TypeVar("T")

NAMESPACE: Final = "runcast"
"""The namespace of keys, unless the URL names another one (`?namespace=`)."""

_TIMEOUT_S: Final = 5.0
"""How long an answer may take: a script on a loaded server takes milliseconds."""

_CONNECT_S: Final = 5.0
"""How long connecting may take."""

_MAX_CONNECTIONS: Final = 16
"""Most connections of a store; further calls wait for one, at most `_TIMEOUT_S`."""

_REPLICAS_S: Final = 1.0
"""How long a commit waits for replicas before it counts as unknown, and is made again."""

_MAX_REPLICAS: Final = 8

_MAX_SEEDS: Final = 64
"""Most addresses of a cluster that are remembered."""

_PING_S: Final = 5.0
"""How often a silent channel is asked whether it still lives: a cut network says nothing."""

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

_MOVING: Final = (AskError, ClusterDownError, MasterDownError, TryAgainError)
"""What members of a cluster answer while it changes."""

_LOST: Final = (*_MOVING, Disconnected, TimedOut, ReadOnlyError, OSError)
"""Errors after which another member of a cluster may have the namespace."""

_log: Final = get_logger("runcast.stores.redis")


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


class Server:
    """A server of one namespace, or the member of a cluster that holds the namespace at present.

    Call everything from one event loop. In a cluster, a call that finds the namespace elsewhere is
    made there. A call whose outcome is unknown is never made again here.
    """

    def __init__(self, target: Target) -> None:
        self._url = target.url
        self._is_cluster = target.is_cluster
        self.replicas = target.replicas
        shown = _without_password(target.url)
        self._shown = shown.replace("://", "+cluster://", 1) if target.is_cluster else shown
        self.prefix = f"{{{target.namespace}}}:"
        """Begins all keys: a hash tag, so that a cluster keeps the namespace on one node."""
        self._client: redis.asyncio.Redis | None = None
        self._channel: asyncio.Task[None] | None = None
        self._hashes: dict[str, str] = {}
        self._seeds = _addresses_of(target.url) if target.is_cluster else []
        self._is_lost = False
        self._finding = asyncio.Lock()

    async def open(self) -> None:
        """Connect. Raises `StoreUnavailable`, `StoreUnusable`. Idempotent."""
        if self._client is not None:
            return
        self._client = await self._find()
        self._is_lost = False
        try:
            await self._check_version()
            for name in _SCRIPTS:
                await self._load(name)
        except BaseException:
            client, self._client = self._client, None
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

    def _connect(self, address: str = "") -> redis.asyncio.Redis:
        """Return a client for an address; by default for that of the URL. It connects when used."""
        url = _at(self._url, address) if address else self._url
        try:
            pool = redis.asyncio.BlockingConnectionPool.from_url(
                url,
                **{
                    "max_connections": _MAX_CONNECTIONS,
                    "timeout": _TIMEOUT_S,
                    "socket_timeout": _TIMEOUT_S,
                    "socket_connect_timeout": _CONNECT_S,
                    "socket_keepalive": True,
                    "client_name": "runcast",
                    # With 3 the library turns each message into text, for a log at level debug.
                    "protocol": 2,
                    # A call whose outcome is unknown must not be made again behind our back.
                    "retry": Retry(NoBackoff(), 0),
                    **_UNNAMED,
                },
            )
        except (ValueError, RedisError) as error:
            raise InvalidValue(f"expected a URL like redis://host:6379/0: {error}") from None
        return redis.asyncio.Redis.from_pool(pool)

    async def _find(self) -> redis.asyncio.Redis:
        """Return a client of the server that has the namespace."""
        if not self._is_cluster:
            return self._connect()
        failure: Exception = Disconnected("no address was tried")
        for seed in self._seeds:
            client = self._connect(seed)
            try:
                async with asyncio.timeout(_CONNECT_S):
                    owner = await self._owner(client, seed)
                if owner == seed:
                    return client
                found = self._connect(owner)
                await client.aclose()
                return found
            except (RedisError, OSError, TimeoutError) as error:
                failure = error
                await client.aclose()
        raise self._explain(failure) from failure

    async def _owner(self, client: redis.asyncio.Redis, seed: str) -> str:
        """Return the address of the namespace's owner, as the member at an address knows it."""
        host = seed.rpartition(":")[0]
        owner = seed
        try:
            await client.execute_command("EXISTS", f"{self.prefix}data")  # type: ignore[no-untyped-call]
        except MovedError as moved:
            owner = f"{moved.host or host}:{moved.port}"
        slots = await client.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]
        for address in (owner, *_members(slots, host)):
            if address not in self._seeds and len(self._seeds) < _MAX_SEEDS:
                self._seeds.append(address)
        return owner

    async def _ready(self) -> redis.asyncio.Redis:
        """Return the client; in a cluster, find the owner again if it may have changed."""
        if self._is_cluster and self._is_lost:
            async with self._finding:
                before = self._connected
                if self._is_lost:
                    found = await self._find()
                    if self._client is None:  # closed meanwhile
                        await found.aclose()
                    else:
                        self._client, self._is_lost = found, False
                        await before.aclose()
        return self._connected

    async def _ask(self, do: Callable[[redis.asyncio.Redis], Awaitable[T]]) -> T:
        """Return what a call returns. Raises our errors, and `NoScriptError`."""
        try:
            try:
                return await do(await self._ready())
            except MovedError:  # so it was not made
                if not self._is_cluster:
                    raise
                self._is_lost = True
                return await do(await self._ready())
        except NoScriptError:
            raise
        except (RedisError, OSError) as error:
            self._is_lost |= isinstance(error, _LOST)
            raise self._explain(error) from error

    async def call(self, name: str, key: str, *arguments: Word) -> Any:
        """Return the answer to one command; the key is given without the prefix.

        Raises `StoreUnavailable`, `StoreUnusable`, `BackendError`.
        """
        return await self._execute(name, f"{self.prefix}{key}", *arguments)

    async def call_all(self, commands: Sequence[tuple[str, str, *tuple[Word, ...]]]) -> list[Any]:
        """Return the answers to several commands, sent together; raises what `call` raises."""

        async def send(client: redis.asyncio.Redis) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for name, key, *arguments in commands:
                pipeline.execute_command(name, f"{self.prefix}{key}", *arguments)
            return list(await pipeline.execute())

        return await self._ask(send)

    async def run(self, script: str, *arguments: Word) -> Any:
        """Return what a script returns; raises what `call` raises."""
        try:
            return await self._run(script, arguments)
        except NoScriptError:  # the server was restarted, or its scripts were flushed
            await self._load(script)
            return await self._run(script, arguments)

    async def _run(self, script: str, arguments: tuple[Word, ...]) -> Any:
        return await self._execute("EVALSHA", self._hashes[script], 1, self.prefix, *arguments)

    async def settle(self) -> None:
        """Return once `replicas` replicas have all that was written before.

        Raises `StoreUnavailable` if they do not have it within a second, and what `call` raises.
        """
        if not self.replicas:
            return

        async def send(client: redis.asyncio.Redis) -> list[Any]:
            # WAIT waits for the last write of its own connection. Replicas apply writes in order.
            pipeline = client.pipeline(transaction=False)
            pipeline.execute_command("INCR", f"{self.prefix}number")
            pipeline.execute_command("WAIT", self.replicas, int(_REPLICAS_S * 1000))
            return list(await pipeline.execute())

        _, count = await self._ask(send)
        if count < self.replicas:
            raise StoreUnavailable(
                f"{self._shown}: {count} of {self.replicas} replicas (wait_replicas) have a commit "
                f"after {_REPLICAS_S:.0f} s",
                "too few replicas of the store answer",
            )

    async def _load(self, script: str) -> None:
        found = await self._execute("SCRIPT", "LOAD", _SCRIPTS[script])
        self._hashes[script] = str(found, "ascii") if isinstance(found, bytes) else found

    async def _execute(self, *command: Any) -> Any:

        async def send(client: redis.asyncio.Redis) -> Any:
            return await client.execute_command(*command)  # type: ignore[no-untyped-call]

        return await self._ask(send)

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
        if found.get("cluster_enabled") in (1, "1"):
            lines = _as_text(await self._execute("CLUSTER", "INFO")).split()
            found |= dict(line.split(":", 1) for line in lines if ":" in line)
            found["url_is_cluster"] = int(self._is_cluster)
        found["wait_replicas"] = self.replicas
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
        if isinstance(error, MovedError | AskError) and not self._is_cluster:
            return StoreUnusable(
                f"{shown} is a member of a cluster; name it redis+cluster://…",
                "the store is a cluster",
            )
        if isinstance(error, _MOVING):
            return StoreUnavailable(f"{shown}: {error!s:.200}", "the store's cluster is changing")
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
        feed = f"{self.prefix}feed"
        # In a cluster, another node may listen at another member, so `commit.lua` must always tell.
        channels = [feed] if self._is_cluster else [feed, f"{feed}:{origin}"]
        is_open = asyncio.get_running_loop().create_future()
        self._channel = asyncio.create_task(
            self._follow(channels, heard, missed, is_open), name="runcast-redis-feed"
        )
        await asyncio.wait({self._channel, is_open}, return_when=asyncio.FIRST_COMPLETED)
        if self._channel.done():
            self._channel.result()

    async def _follow(
        self,
        channels: Sequence[str],
        heard: Callable[[bytes], None],
        missed: Callable[[], None],
        is_open: "asyncio.Future[None]",
    ) -> None:
        failures = 0
        while True:
            try:
                client = await self._ready()
                async with client.pubsub(ignore_subscribe_messages=False) as channel:
                    await channel.subscribe(*channels)
                    await self._hear(channel, len(channels), heard, missed, is_open)
            except (RedisError, OSError, TimeoutError, StoreUnavailable) as error:
                self._is_lost = True
                if not is_open.done():
                    raise (
                        error if isinstance(error, BackendError) else self._explain(error)
                    ) from error
                if failures == 0:
                    _log.warning("the changes of other processes are not heard: %s", error)
                await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
                failures += 1

    async def _hear(
        self,
        channel: Any,
        count: int,
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
            elif message["type"] == "subscribe" and message["data"] == count:
                if is_open.done():
                    missed()
                else:
                    is_open.set_result(None)


def _as_text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def _addresses_of(url: str) -> list[str]:
    """Return the addresses of a cluster's members that its URL names."""
    places = urlsplit(url).netloc.rpartition("@")[2].split(",")
    return [place if ":" in place.rpartition("]")[2] else f"{place}:6379" for place in places]


def _at(url: str, address: str) -> str:
    """Return a URL with another address."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{address}"))


def _members(slots: object, host: str) -> list[str]:
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
    named = _as_text(place[0] or host)
    return f"[{named}]:{place[1]}" if ":" in named.strip("[]") else f"{named}:{place[1]}"
