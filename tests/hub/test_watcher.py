"""The machine that drives every watcher: while it has room it takes what comes, once, in order."""

import asyncio
import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runcast._hub.cursor import Chunk
from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet
from runcast._hub.watcher import Watch, Watcher
from runcast._settings import Settings
from runcast.errors import NotFound, StoreUnavailable
from runcast.events.model import encode_record
from runcast.events.position import Position
from runcast.stores.base import PAGE_BYTES, Page
from runcast.stores.memory import MemoryStore
from tests.opening import eventually, soon
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio


class SlowStore(MemoryStore):
    """Reads take two turns of the loop."""

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        page = await super().read(log_id, after, max_bytes)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return page


class Sink(Watcher[Chunk]):
    """Has room for as many chunks as a test says."""

    def __init__(self, room: int = 1 << 30) -> None:
        super().__init__()
        self.room = room
        self.seen: list[int] = []
        self.why: list[Exception | None] = []

    def give_room(self, room: int) -> None:
        self.room += room
        self.is_full = self.room == 0
        self.wake()

    def take(self, item: Chunk) -> None:
        assert not self.is_full
        assert not self.is_over
        self.room -= 1
        self.is_full = self.room == 0
        self.seen += [event.seq for event in item.events()]

    def on_stop(self, error: Exception | None) -> None:
        self.why.append(error)


async def sink(hub: Hub, run_id: str = "run-1", room: int = 1 << 30) -> Sink:
    watcher = Sink(0)
    watcher.source = await hub.cursor(run_id, wake=watcher.wake)
    watcher.give_room(room)
    return watcher


# --- every interleaving ---------------------------------------------------------------------------

ACTS = ("put", "put", "commit", "tick", "room", "ask", "ask", "leave off")


class Play:
    """A log, one watcher of each kind, and a script of what happens."""

    def __init__(self, inlet: Inlet, pushed: Sink, asked: Watch[Chunk]) -> None:
        self.inlet = inlet
        self.pushed = pushed
        self.asked = asked
        self.asking: asyncio.Task[Chunk | None] | None = None
        self.seen: list[int] = []

    async def act(self, name: str, size: int) -> None:
        if name == "put":
            self.inlet.put(encode_record("log", "x" * size, 1.0))
        elif name == "commit":
            await self.inlet.append()
        elif name == "tick":
            await asyncio.sleep(0)
        elif name == "room":
            self.pushed.give_room(1)
        elif name == "leave off":
            await self.leave_off()
        elif self.asking is None:
            self.asking = asyncio.create_task(self.asked.next())
        elif self.asking.done():
            self.take(self.asking.result())
            self.asking = None

    def take(self, chunk: Chunk | None) -> None:
        self.seen += [event.seq for event in chunk.events()] if chunk is not None else []

    async def leave_off(self) -> None:
        """Cancel what is asked for, at whatever point it is."""
        if self.asking is not None:
            self.asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self.take(await self.asking)
            self.asking = None

    async def finish(self) -> None:
        await self.inlet.append(close=True)
        self.pushed.give_room(1 << 30)
        await self.leave_off()
        async for chunk in self.asked:
            self.take(chunk)
        await eventually(lambda: self.pushed.is_over)


@given(
    window=st.sampled_from([0, 200, 1 << 20]),
    script=st.lists(st.tuples(st.sampled_from(ACTS), st.sampled_from([1, 70_000])), max_size=60),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_room_there_is_and_whoever_gives_up_asking_nothing_is_missed_or_repeated(
    window: int, script: list[tuple[str, int]]
) -> None:
    async def play() -> None:
        options = Settings(tail_bytes_per_run=window, page_cache_bytes=0)
        async with asyncio.timeout(WAIT_S), Hub(SlowStore(), options) as hub:
            inlet = await hub.create("run-1")
            pushed = await sink(hub, room=0)
            with await hub.watch("run-1") as asked:
                play = Play(inlet, pushed, asked)
                for name, size in script:
                    await play.act(name, size)
                await play.finish()
            head = (await hub.info("run-1")).head
            assert pushed.seen == play.seen == list(range(1, head + 1))
            assert pushed.why == [None]
            pushed.close()
            assert hub.statistics()[:3] == (0, 0, 0)

    asyncio.run(play())


# --- room -----------------------------------------------------------------------------------------


async def test_a_full_watcher_takes_nothing_and_holds_nothing() -> None:
    async with Hub(MemoryStore()) as hub:
        inlet = await hub.create("run-1")
        watcher = await sink(hub, room=2)
        for _ in range(4):
            await inlet.append([encode_record("log", None, 1.0)])

        assert watcher.seen == [1, 2]
        assert watcher.source is not None
        watcher.give_room(1)
        assert watcher.seen == [1, 2, 3, 4]  # what came meanwhile comes at once
        watcher.close()


async def test_nothing_is_taken_for_who_does_not_ask() -> None:
    async with Hub(MemoryStore()) as hub:
        inlet = await hub.create("run-1")
        with await hub.watch("run-1") as watch:
            await inlet.append([encode_record("log", None, 1.0)])
            await inlet.append([encode_record("log", None, 1.0)], close=True)
            chunk = await watch.next()

            assert chunk is not None
            assert [event.seq for event in chunk.events()] == [1, 2]
            assert await watch.next() is None


async def test_a_live_watcher_is_no_task() -> None:
    async with Hub(MemoryStore()) as hub:
        inlet = await hub.create("run-1")
        before = len(asyncio.all_tasks())
        watcher = await sink(hub)
        await inlet.append([encode_record("log", None, 1.0)])

        assert watcher.seen == [1]
        assert len(asyncio.all_tasks()) == before
        watcher.close()


# --- ends -----------------------------------------------------------------------------------------


async def test_a_watcher_is_over_with_the_log_and_says_so_once() -> None:
    async with Hub(MemoryStore()) as hub:
        inlet = await hub.create("run-1")
        watcher = await sink(hub)
        await inlet.append([encode_record("done", None, 1.0)], close=True)
        watcher.wake()
        watcher.stop()
        watcher.close()

        assert watcher.seen == [1]
        assert watcher.why == [None]


async def test_an_error_of_the_source_reaches_who_asks_behind_what_was_taken() -> None:
    async with Hub(MemoryStore()) as hub:
        inlet = await hub.create("run-1")
        with await hub.watch("run-1") as watch:
            asking = asyncio.ensure_future(watch.next())
            await asyncio.sleep(0)
            await inlet.append([encode_record("log", None, 1.0)])
            assert await soon(asking) is not None
            asking = asyncio.ensure_future(watch.next())
            await asyncio.sleep(0)
            await hub.delete("run-1")

            with pytest.raises(NotFound, match="deleted"):
                await soon(asking)
            with pytest.raises(NotFound, match="deleted"):
                await watch.next()


async def test_an_error_while_history_is_read_ends_the_watcher() -> None:
    class Failing(MemoryStore):
        async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
            raise StoreUnavailable("the disk is gone")

    async with Hub(Failing()) as hub:
        inlet = await hub.create("run-1")
        await inlet.append([encode_record("log", None, 1.0)])
        watcher = await sink(hub)
        await eventually(lambda: watcher.is_over)

        assert [str(error) for error in watcher.why] == ["the disk is gone"]
        watcher.close()


async def test_a_watcher_that_cannot_take_an_item_is_over_and_harms_no_other() -> None:
    class Broken(Sink):
        def take(self, item: Chunk) -> None:
            raise ZeroDivisionError

    async with Hub(MemoryStore()) as hub:
        inlet = await hub.create("run-1")
        broken = Broken()
        broken.source = await hub.cursor("run-1", wake=broken.wake)
        broken.give_room(1)
        good = await sink(hub)
        await inlet.append([encode_record("log", None, 1.0)])

        assert [type(error) for error in broken.why] == [ZeroDivisionError]
        assert good.seen == [1]
        for watcher in (broken, good):
            watcher.close()


async def test_closing_lets_go_of_the_cursor_and_of_a_read_under_way() -> None:
    async with Hub(SlowStore(), Settings(page_cache_bytes=0)) as hub:
        inlet = await hub.create("run-1")
        await inlet.append([encode_record("log", None, 1.0)])
        with await hub.watch("run-1") as watch:
            asking = asyncio.ensure_future(watch.next())
            await asyncio.sleep(0)
            watch.close()

            assert await soon(asking) is None
        assert hub.statistics()[:3] == (0, 0, 0)
