"""The real Redis store over a simulated server: its connections, and the channel of changes."""

import asyncio
import contextlib
import contextvars
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from runcast._clock import Clock
from runcast.errors import StoreUnavailable
from runcast.stores.redis.plain import Word, words_of
from runcast.stores.redis.store import RedisStore
from runcast.stores.redis.turns import Step
from tests.simulation.keyspace import Keyspace
from tests.simulation.loop import VirtualLoop, pass_time
from tests.simulation.network import OUTSIDE, STORE, Network
from tests.simulation.oracle import Oracle

if TYPE_CHECKING:
    from runcast.stores.redis.server import Server

__all__ = ("Connection", "SimulatedStore", "StoreServer")

_ANSWER_S: Final = 2.0
"""How long a node waits for the server's answer."""

_SILENCE_S: Final = 4.0
"""After how long at most a node notices that its channel is broken."""

_RECONNECT_S: Final = 0.2


class _Channel:
    """One node's connection to the channel of changes: everything in order, until it breaks."""

    def __init__(self, node: str, origin: str, take: Callable[[bytes | None], None]) -> None:
        self.node = node
        self.origin = origin.encode()
        self.take = take
        self.context = contextvars.copy_context()
        self.broke: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_broken = False
        self.latest = 0.0


class StoreServer:
    """The server: its keys, its clock, and who listens."""

    def __init__(self, loop: VirtualLoop, network: Network, oracle: Oracle) -> None:
        self._loop = loop
        self._network = network
        self.keys = Keyspace(
            loop.time, self._publish, oracle.changed, oracle.renewed, self._listening
        )
        oracle.keys = self.keys
        self._channels: dict[_Channel, None] = {}
        self._waiting: deque[Callable[[], None]] | None = None

    def hold(self) -> None:
        """Do nothing with what comes until `release`, as a server with a slow disk."""
        if self._waiting is None:
            self._waiting = deque()

    def release(self) -> None:
        """Do what has come meanwhile, although nobody may wait for it any more."""
        waiting, self._waiting = self._waiting, None
        for act in waiting or ():
            act()

    def drop_connections(self) -> None:
        """Break all channels, as a restart of the server does."""
        for channel in list(self._channels):
            self._break(channel)

    def do(self, act: Callable[[], None]) -> None:
        """Do something now, or once the server goes on."""
        if self._waiting is None:
            act()
        else:
            self._waiting.append(act)

    def subscribe(self, channel: _Channel) -> None:
        """Begin to send changes; first the notice that it has begun."""
        self._channels[channel] = None
        self._push(channel, None)

    def leave(self, channel: _Channel) -> None:
        """Send nothing more. Idempotent."""
        channel.is_broken = True
        self._channels.pop(channel, None)

    def _listening(self, origin: bytes) -> tuple[int, int]:
        own = sum(channel.origin == origin for channel in self._channels)
        return len(self._channels), own

    def _publish(self, message: bytes, origin: bytes) -> int:
        hearing = [each for each in self._channels if origin in (b"", each.origin)]
        for channel in hearing:
            self._push(channel, message)
        return len(hearing)

    def _push(self, channel: _Channel, message: bytes | None) -> None:
        if self._network.is_cut(STORE, channel.node):
            self._break(channel)
            return
        at = channel.latest = max(channel.latest, self._loop.time() + self._network.delay())

        def arrive() -> None:
            if not channel.is_broken:
                self._loop.call_soon(channel.take, message, context=channel.context.copy())

        self._loop.call_at(at, arrive, context=OUTSIDE.copy())

    def _break(self, channel: _Channel) -> None:
        self.leave(channel)

        def notice() -> None:
            if not channel.broke.done():
                channel.broke.set_result(None)

        pause_s = _SILENCE_S * min(1.0, self._network.delay() * 30)
        self._loop.call_later(pause_s, notice, context=OUTSIDE.copy())


class Connection:
    """What a node has in the place of `stores.redis.server.Server`."""

    is_loud = False

    def __init__(self, server: StoreServer, network: Network, node: str) -> None:
        self._server = server
        self._network = network
        self._node = node
        self._is_open = False
        self._following: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._is_open = True
        try:
            await self._ask(lambda keys: None)
        except BaseException:
            self._is_open = False
            raise

    async def close(self) -> None:
        self._is_open = False
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following

    async def call(self, name: str, key: str, *words: Word) -> Any:
        return await self._ask(lambda keys: keys.execute(name, key, *words))

    async def call_all(self, commands: Sequence[tuple[str, str, *tuple[Word, ...]]]) -> list[Any]:
        found = await self._ask(lambda keys: [keys.execute(*each) for each in commands])
        return cast("list[Any]", found)

    async def run(self, script: str, *words: Word) -> Any:
        return await self._ask(lambda keys: keys.run(script, *words))

    async def commit(
        self, words: Sequence[Word], version: bytes, steps: Iterable[Step]
    ) -> list[Any]:
        answers = []
        for appends, changes in steps:
            rest = [word for change in changes for word in change.words]
            more: tuple[Word, ...] = (len(appends), *words_of(appends, "", version), *rest)
            answers.append(await self.run("commit", *words, 0, *more))
        return answers

    member: object = None

    async def settle(self, member: object) -> None:
        """Return at once: there are no replicas."""

    async def _ask(self, do: Callable[[Keyspace], Any]) -> Any:
        if not self._is_open:
            raise StoreUnavailable("the store is not open")
        server = self._server

        def act(answer: Callable[[Any], None]) -> None:
            server.do(lambda: answer(do(server.keys)))

        try:
            return await self._network.ask(self._node, STORE, act, _ANSWER_S)
        except TimeoutError:
            raise StoreUnavailable("the store does not answer") from None

    async def listen(
        self, origin: str, heard: Callable[[bytes], None], missed: Callable[[], None]
    ) -> None:
        channel = await self._subscribe(origin, heard)
        self._following = asyncio.create_task(self._follow(channel, heard, missed))

    async def _subscribe(self, origin: str, heard: Callable[[bytes], None]) -> _Channel:
        begun = asyncio.get_running_loop().create_future()

        def take(message: bytes | None) -> None:
            if message is not None:
                heard(message)
            elif not begun.done():
                begun.set_result(None)

        channel = _Channel(self._node, origin, take)

        def subscribe() -> None:
            if not channel.is_broken:
                self._server.subscribe(channel)

        self._network.send(self._node, STORE, lambda: self._server.do(subscribe))
        try:
            async with asyncio.timeout(_ANSWER_S):
                await begun
        except TimeoutError:
            self._server.leave(channel)
            raise StoreUnavailable("the channel cannot be opened") from None
        except BaseException:
            self._server.leave(channel)
            raise
        return channel

    async def _follow(
        self, channel: _Channel, heard: Callable[[bytes], None], missed: Callable[[], None]
    ) -> None:
        try:
            while True:
                await channel.broke
                while channel.is_broken:
                    try:
                        channel = await self._subscribe(channel.origin.decode(), heard)
                    except StoreUnavailable:
                        await pass_time(_RECONNECT_S)
                missed()
        finally:
            self._server.leave(channel)


class SimulatedStore(RedisStore):
    """The store of one node."""

    def __init__(self, connection: Connection, clock: Clock, **more: Any) -> None:
        super().__init__("redis://simulated", clock, **more)
        self._server = cast("Server", connection)
