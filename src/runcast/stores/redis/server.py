"""The connection to the server: scripts, errors, the channel of changes, and the way in a cluster.

Long because only one module imports redis.
"""

import asyncio
import contextlib
import importlib.resources
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from typing import Any, Final, TypeVar

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
from runcast.stores.redis import plain
from runcast.stores.redis.addresses import (
    Target,
    addresses_of,
    as_text,
    at,
    members,
    without_password,
)
from runcast.stores.redis.plain import Word
from runcast.stores.redis.turns import Step
from runcast.stores.redis.waiting import TIMEOUT_S, heeding_cancellation, in_time

__all__ = ("Server",)

T = TypeVar("T")

_CONNECT_S: Final = 5.0
"""How long connecting may take."""

_MAX_CONNECTIONS: Final = 16
"""Most connections of a store; further calls wait for one, at most `TIMEOUT_S`."""

_REPLICAS_S: Final = 1.0
"""How long a commit waits for replicas before it counts as unknown, and is made again."""

_MAX_SEEDS: Final = 64
"""Most addresses of a cluster that are remembered."""

_PING_S: Final = 5.0
"""How often a silent channel is asked whether it still lives: a cut network says nothing."""

_PAUSES_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses before the channel is opened again; the last one repeats."""

_LEAST_VERSION: Final = (6, 2)
"""The first Redis whose streams can be trimmed by id. Valkey names it as the version it speaks."""

_SHARD_CHANNELS: Final = (7, 0)
"""The first Redis whose clusters have channels of a shard."""

_SCRIPTS: Final = {
    # Read once: reading would block the event loop.
    name: importlib.resources.files(__package__).joinpath(f"{name}.lua").read_bytes()
    for name in (
        "commit",
        "look",
        "read",
        "list",
        "changes",
        "orphans",
        "renew",
        "save_state",
        "watch",
    )
}

_UNNAMED: Final[dict[str, Any]] = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(AbstractConnection.__init__).parameters
    else {"lib_name": None, "lib_version": None}
)
"""Keeps a new connection from looking for the library's version, which would block the loop."""

_MOVING: Final = (AskError, ClusterDownError, MasterDownError, TryAgainError)
"""What members of a cluster answer while it changes."""

_LOST: Final = (*_MOVING, Disconnected, TimedOut, ReadOnlyError, OSError)
"""Errors after which another member of a cluster may have the namespace."""

_NOT_RUN: Final = (MovedError, NoScriptError)
"""Answers to a script that was not run, so that it can be sent again."""

_log: Final = get_logger("runcast.stores.redis")


class Server:
    """A server of one namespace, or the member of a cluster that holds the namespace at present.

    Call everything from one event loop. In a cluster, a call that finds the namespace elsewhere is
    made there. A call whose outcome is unknown is never made again here.
    """

    def __init__(self, target: Target) -> None:
        self._url = target.url
        self._is_cluster = target.is_cluster
        self.replicas = target.replicas
        shown = without_password(target.url)
        self._shown = shown.replace("://", "+cluster://", 1) if target.is_cluster else shown
        self.prefix = f"{{{target.namespace}}}:"
        """Begins all keys: a hash tag, so that a cluster keeps the namespace on one node."""
        self._client: redis.asyncio.Redis | None = None
        self._channel: asyncio.Task[None] | None = None
        self._hashes: dict[str, str] = {}
        self._seeds = addresses_of(target.url) if target.is_cluster else []
        self._is_lost = False
        self.is_loud = target.is_cluster
        """Whether all nodes are told of all changes: in a cluster of an old Redis, `commit.lua`
        cannot see who listens at another member."""
        self._is_sharded = False
        """Whether nodes listen at the member of a cluster that has the namespace."""
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
            await asyncio.wait({channel})
        if client is not None:
            await client.aclose()

    def _connect(self, address: str = "") -> redis.asyncio.Redis:
        """Return a client for an address; by default for that of the URL. It connects when used."""
        url = at(self._url, address) if address else self._url
        try:
            pool = redis.asyncio.BlockingConnectionPool.from_url(
                url,
                **{
                    "max_connections": _MAX_CONNECTIONS,
                    "timeout": TIMEOUT_S,
                    "socket_timeout": None,  # `in_time` is cheaper
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
        for address in (owner, *members(slots, host)):
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
            with heeding_cancellation():
                return await self._do(do)
        except NoScriptError:
            raise
        except (RedisError, OSError) as error:
            self._is_lost |= isinstance(error, _LOST)
            raise self._explain(error) from error

    async def _do(self, do: Callable[[redis.asyncio.Redis], Awaitable[T]]) -> T:
        try:
            return await in_time(do(await self._ready()))
        except MovedError:  # so it was not made
            if not self._is_cluster:
                raise
            self._is_lost = True
            return await in_time(do(await self._ready()))

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

    async def commit(
        self, words: Sequence[Word], version: bytes, steps: Iterable[Step]
    ) -> list[tuple[list[int], list[int]]]:
        """Run `commit.lua` for each step, and return what it returns; raises what `call` raises.

        A step is sent before the next one is asked for, so the server applies it meanwhile. After
        an error, nobody knows which steps were applied.

        Args:
            words: the script's first words, up to the version.
            version: the version of the changed logs, which is among the words.
        """
        told = 2 if self._is_sharded else int(self.is_loud)
        first = ("EVALSHA", self._hashes["commit"], 1, self.prefix, *words, told)
        call = plain.CommitCall(first, self.prefix, version)
        unsent = iter(steps)
        sent: list[bytes] = []
        answers: list[Any] = []

        def commands() -> Iterator[int]:
            # Again those that were not run. They can only be sent again after one such answer.
            yield from [place for place, each in enumerate(answers) if isinstance(each, _NOT_RUN)]
            for appends, changes in unsent:
                sent.append(call.pack(appends, changes))
                answers.append(None)
                yield len(sent) - 1

        async def send(client: redis.asyncio.Redis) -> list[Any]:
            pool, places = client.connection_pool, list[int]()
            connection = await pool.get_connection()  # type: ignore[no-untyped-call]
            try:
                for place in commands():
                    await connection.send_packed_command([sent[place]])
                    places.append(place)
                for place in places:
                    answers[place] = await _answer(connection)
            except BaseException:
                await connection.disconnect(nowait=True)  # answers may be on their way
                raise
            finally:
                await pool.release(connection)
            for answer in answers:
                if isinstance(answer, ResponseError):
                    raise answer
            return answers

        try:
            return await self._ask(send)
        except NoScriptError:
            await self._load("commit")
            return await self._ask(send)

    @property
    def member(self) -> object:
        """What stands for the server that calls go to; another one after a failover."""
        return self._client

    async def settle(self, member: object) -> None:
        """Return once `replicas` replicas have all that was written at a member before.

        Raises `StoreUnavailable` if they do not have it within a second, or if another member took
        over meanwhile, which may not have it; and what `call` raises.
        """
        if not self.replicas:
            return

        async def send(client: redis.asyncio.Redis) -> list[Any]:
            if client is not member:
                raise StoreUnavailable(f"{self._shown}: another member took over during a commit")
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
        is_cluster = self._is_cluster or info.get("redis_mode") == "cluster"
        self._is_sharded = is_cluster and numbers >= _SHARD_CHANNELS
        self.is_loud = is_cluster and not self._is_sharded
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
            lines = as_text(await self._execute("CLUSTER", "INFO")).split()
            found |= dict(line.split(":", 1) for line in lines if ":" in line)
            found["url_is_cluster"] = int(self._is_cluster)
        found["wait_replicas"] = self.replicas
        found["time"] = int(seconds) + int(micros) / 1_000_000
        return {as_text(name): as_text(value) for name, value in found.items()}

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
            why = f"{type(error).__name__}: {error!s:.200}".removesuffix(": ")
            return StoreUnavailable(
                f"{shown} cannot be reached ({why})",
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

        The channel `feed` is for all nodes; `feed:<origin>` is for this one, and tells `commit.lua`
        whether this node listens alone. In a cluster they are channels of the shard that has the
        namespace, and follow it to another member. Returns once the channel is open; it stays open
        until `close`.
        """
        feed = f"{self.prefix}feed"
        channels = [feed, f"{feed}:{origin}"]
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
                life = await self._life() if self._is_sharded else ""
                async with client.pubsub(ignore_subscribe_messages=False) as channel:
                    with heeding_cancellation():
                        if self._is_sharded:  # `ssubscribe` is not in all versions of the library
                            await channel.execute_command("SSUBSCRIBE", *channels)
                        else:
                            await channel.subscribe(*channels)
                    messages = self._messages(client, life, channel)
                    async with contextlib.aclosing(messages):
                        await _hear(messages, len(channels), heard, missed, is_open)
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

    async def _messages(
        self, client: redis.asyncio.Redis, life: str, channel: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Return messages until the connection fails, by raising what the library raises."""
        is_asked, checked_at = False, asyncio.get_running_loop().time()
        while True:
            with heeding_cancellation():
                message = await channel.get_message(timeout=_PING_S)
                if message is None:
                    if is_asked:
                        raise Disconnected(f"no answer for {_PING_S:.0f} s")
                    await channel.ping()
            is_asked = message is None
            if message is not None:
                yield message
            if self._is_sharded and asyncio.get_running_loop().time() - checked_at >= _PING_S:
                await self._check_owner(client, life)
                checked_at = asyncio.get_running_loop().time()

    async def _life(self) -> str:
        """Return what a member of a cluster changes whenever it takes the namespace over."""
        return as_text((await self._execute("INFO", "replication"))["master_replid"])

    async def _check_owner(self, client: redis.asyncio.Redis, life: str) -> None:
        """Raise `Disconnected` if the namespace is elsewhere now, or was meanwhile.

        Its messages were not sent here then, and what this node watches may be forgotten.
        """
        try:
            await self.call("EXISTS", "data")
            is_same = await self._life() == life and self._client is client
        except BackendError as error:
            raise Disconnected(str(error)) from error
        if not is_same:
            raise Disconnected("another member of the cluster took the namespace over")


async def _hear(
    messages: AsyncIterator[dict[str, Any]],
    count: int,
    heard: Callable[[bytes], None],
    missed: Callable[[], None],
    is_open: "asyncio.Future[None]",
) -> None:
    """Pass messages on; see `Server.listen`.

    Raises what `messages` raises, and `Disconnected` if the server ends a subscription.
    """
    async for message in messages:
        if message["type"] in ("message", "smessage"):
            heard(message["data"])
        elif message["type"] in ("subscribe", "ssubscribe") and message["data"] == count:
            if is_open.done():
                missed()
            else:
                is_open.set_result(None)
        elif message["type"] == "sunsubscribe":
            raise Disconnected("the namespace moves to another member of the cluster")


async def _answer(connection: AbstractConnection) -> Any:
    """Return the next answer, which may be an error."""
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error
