"""A dialect that remembers is resumed anywhere, and nobody can tell that its watcher was away."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runcast._clock import SystemClock
from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet
from runcast._hub.lens import FrameLens
from runcast._hub.watcher import Watch, Watcher
from runcast._settings import Settings
from runcast._wire.dialects import LogRef
from runcast.events.model import Event, decode_event, encode_record
from runcast.events.position import Position, split_frames
from runcast.events.view import View, ViewSpec, ViewState
from runcast.stores.memory import MemoryStore
from tests.events.strategies import commits, specs
from tests.waiting import WAIT_S
from tests.wire.parts import PARTS

pytestmark = pytest.mark.anyio


def records(events: list[Event]) -> list[bytes]:
    return [
        encode_record(event.type, event.data, 1.0, (event.node, event.agent, (), None))
        for event in events
    ]


async def logged(hub: Hub, log: list[list[Event]], *, ends: bool) -> Inlet:
    """Begin the log `r` anew and append to it, commit by commit."""
    inlet = await hub.create("r", replace=True)
    for commit in log:
        await inlet.append(records(commit))
    if ends:
        await inlet.append(records([Event(type="done")]), close=True)
    return inlet


async def stored(hub: Hub, epoch: str) -> list[Event]:
    events: list[Event] = []
    while (page := await hub.read_page("r", Position(epoch, len(events)))).frames:
        events += map(decode_event, split_frames(page.frames))
    return events


def expected(epoch: str, events: list[Event], view: View | None, after: int) -> bytes:
    """Return what a watcher gets behind `after`: the rest of one uninterrupted encoding."""
    log = LogRef("r", epoch)
    encoder, state = PARTS.start(log), ViewState()
    parts = [PARTS.prelude(log)] if after == 0 else []
    for event in events:
        group = [event] if view is None else view.step(state, event)
        frames = encoder.group(group) if group else b""
        if event.seq > after:
            parts.append(frames)
    if events and events[-1].type == "done" and after < len(events):
        parts.append(encoder.end(events[-1]))
    return b"".join(parts)


async def seen(hub: Hub, view: View | None, after: Position | None) -> bytes:
    """Return what a watcher gets up to the head of the log."""
    with Watch[bytes]() as watch:
        watch.source = lens = await hub.frames("r", after, dialect=PARTS, view=view)
        lens.cursor.stop_at_head()
        return b"".join([data async for data in watch])


@asynccontextmanager
async def hub_on(
    store: MemoryStore, cache: int = 1 << 20, window: int = 1 << 20
) -> AsyncIterator[Hub]:
    options = Settings(page_cache_bytes=cache, tail_bytes_per_run=window)
    async with asyncio.timeout(WAIT_S), Hub(store, options) as hub:
        yield hub


@given(
    log=commits,
    spec=st.none() | specs,
    ends=st.booleans(),
    cache=st.sampled_from([0, 3000, 1 << 20]),
    window=st.sampled_from([0, 1 << 20]),
    restarts=st.booleans(),
    chance=st.randoms(),
)
@settings(max_examples=100)
def test_resumed_at_every_position_a_watcher_gets_the_rest_of_an_uninterrupted_stream(
    log: list[list[Event]],
    spec: ViewSpec | None,
    ends: bool,
    cache: int,
    window: int,
    restarts: bool,
    chance: random.Random,
) -> None:
    async def check() -> None:
        store, view = MemoryStore(SystemClock()), None if spec is None else View(spec)
        async with hub_on(store, cache, window) as hub:
            epoch = (await logged(hub, log, ends=ends)).epoch
            events = await stored(hub, epoch)
            positions = list(range(len(events) + 1)) * 2
            chance.shuffle(positions)
            if not restarts:
                for after in positions:
                    rest = await seen(hub, view, Position(epoch, after))
                    assert rest == expected(epoch, events, view, after)
        for after in positions if restarts else ():
            async with hub_on(store, cache, window) as hub:
                rest = await seen(hub, view, Position(epoch, after))
                assert rest == expected(epoch, events, view, after)

    asyncio.run(check())


class Live(Watcher[bytes]):
    """A watcher with room for everything."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = b""

    def take(self, item: bytes) -> None:
        self.seen += item

    def on_stop(self, error: Exception | None) -> None:
        assert error is None


async def live(hub: Hub, view: View | None, after: Position | None = None) -> Live:
    watcher = Live()
    watcher.source = await hub.frames("r", after, dialect=PARTS, view=view, wake=watcher.wake)
    watcher.is_full = False
    watcher.wake()
    return watcher


def leave(watcher: Live) -> Position:
    """Close a watcher and return how far it has come."""
    watcher.close()
    assert isinstance(watcher.source, FrameLens)
    return watcher.source.cursor.position


@given(log=commits, spec=st.none() | specs, chance=st.randoms())
@settings(max_examples=100)
def test_a_live_watcher_that_leaves_and_comes_back_gets_what_one_gets_that_stays(
    log: list[list[Event]], spec: ViewSpec | None, chance: random.Random
) -> None:
    async def check() -> None:
        view = None if spec is None else View(spec)
        async with hub_on(MemoryStore()) as hub:
            inlet = await logged(hub, [], ends=False)
            stays, leaves, before = await live(hub, view), await live(hub, view), b""
            for commit in log:
                await inlet.append(records(commit))
                if chance.random() < 0.5:
                    before += leaves.seen
                    leaves = await live(hub, view, leave(leaves))
            await inlet.append(records([Event(type="done")]), close=True)

            assert before + leaves.seen == stays.seen
            assert stays.seen == expected(inlet.epoch, await stored(hub, inlet.epoch), view, 0)
            for watcher in (stays, leaves):
                leave(watcher)

    asyncio.run(check())


@given(log=commits, later=commits, spec=st.none() | specs, at=st.integers(0, 40))
@settings(max_examples=100)
def test_behind_a_gap_a_watcher_gets_what_one_gets_that_begins_there(
    log: list[list[Event]], later: list[list[Event]], spec: ViewSpec | None, at: int
) -> None:
    """Whatever it had seen of the log that was replaced, and whoever else watched that log."""

    async def check() -> None:
        view = None if spec is None else View(spec)
        async with hub_on(MemoryStore()) as hub:
            old = (await logged(hub, log, ends=False)).epoch
            stays = await live(hub, view)
            before = expected(old, await stored(hub, old), view, 0)
            new = (await logged(hub, later, ends=True)).epoch
            after = Position(old, min(at, sum(map(len, log))))
            comes = await seen(hub, view, after)

            whole = expected(new, await stored(hub, new), view, 0)
            gap = {"reason": "replaced", "before": str(after), "after": f"{new}-0"}
            assert comes == PARTS.gap(LogRef("r", new), gap) + whole
            assert stays.seen.startswith(before)
            assert stays.seen.endswith(whole)
            leave(stays)

    asyncio.run(check())


@given(log=commits, spec=st.none() | specs, first=st.integers(2, 40))
@settings(max_examples=100)
def test_behind_what_was_trimmed_all_watchers_get_the_same(
    log: list[list[Event]], spec: ViewSpec | None, first: int
) -> None:
    async def check() -> None:
        view = None if spec is None else View(spec)
        async with hub_on(MemoryStore(), cache=0, window=0) as hub:
            epoch = (await logged(hub, log, ends=True)).epoch
            count = sum(map(len, log)) + 1
            kept_from = min(first, count)
            await hub.trim("r", kept_from, b"{}")
            whole = await seen(hub, view, None)
            gap = {
                "reason": "trimmed",
                "before": f"{epoch}-0",
                "after": f"{epoch}-{kept_from - 1}",
            }
            begun = LogRef("r", epoch)
            opening = PARTS.prelude(begun) + PARTS.gap(begun, gap) if kept_from > 1 else b""
            assert whole.startswith(opening)
            for after in range(kept_from - 1, count):
                rest = await seen(hub, view, Position(epoch, after))
                assert whole.endswith(rest)
                ids = [line for line in rest.split(b"\n") if line.startswith(b"id: ")]
                assert len(ids) == len(set(ids))
                if after == kept_from - 1:
                    assert whole == opening + rest

    asyncio.run(check())
