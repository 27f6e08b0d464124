"""Old runs and old events: what is done to them holds up nobody."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runcast._app import open_hub
from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet
from runcast._runs.retention import Retention
from runcast._settings import Settings
from runcast.errors import NotFound
from runcast.events.fold import fold
from runcast.events.model import decode_event
from runcast.events.position import Position, split_frames
from runcast.stores.base import PAGE_BYTES, Store
from runcast.stores.memory import MemoryStore
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock
from tests.opening import soon


async def test_nobody_is_held_up_while_a_long_log_is_cut() -> None:
    settings = Settings(keep_bytes_per_run=1, retention_every_s=3600.0)
    store = MemoryStore()
    async with open_hub(store, settings=settings) as hub:
        inlet = await hub.hub.create("r")
        hub.hub.growth.leave()  # so that nothing is cut before its time
        for _ in range(20):
            await inlet.append([b'"time":1.0,"type":"log","data":{}}'] * 1000)
        head = (await hub.hub.info("r")).head
        pages, position = 0, Position(inlet.epoch, 0)
        while position.seq < head:
            pages, position = pages + 1, (await store.read("r", position)).position
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        others = asyncio.create_task(take_turns())
        await soon(Retention(hub.hub, lambda: ["r"]).shorten())
        others.cancel()

        assert (await hub.hub.info("r")).first == head
        assert turns >= pages > 2


async def test_a_log_that_begins_again_while_it_is_cut_keeps_its_events(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(keep_bytes_per_run=1, retention_every_s=3600.0)
    # Too few for the hub to cut.
    line = [b'"time":1.0,"type":"log","data":{"message":"%b"}}' % (b"x" * 1000)] * 500
    async with open_hub(store, settings=settings, clock=clock) as hub:
        await (await hub.hub.create("r")).append(line)
        clock.advance(1)
        read, trim, first = store.read, store.trim_epoch, (await hub.hub.info("r")).epoch

        async def trim_late(*args: Any) -> Any:
            """Another process is faster."""
            await (await hub.hub.create("r", replace=True)).append(line)
            return await trim(*args)

        monkeypatch.setattr(store, "trim_epoch", trim_late)
        await soon(Retention(hub.hub, lambda: ["r"]).shorten())

        info = await hub.hub.info("r")
        assert info.epoch != first
        assert (info.first, info.head) == (1, 500)
        assert await store.snapshot("r") is None
        assert (await read("r", Position(info.epoch, 0))).first == 1


async def test_logs_of_every_kind_are_deleted_when_their_time_is_over(
    store: Store, clock: FakeClock
) -> None:
    async with open_hub(store, clock=clock) as hub:
        for kind in ("run", "delivery"):
            inlet = await hub.hub.create("r", kind=kind, ttl_s=5.0)
            await inlet.append(close=True)
        clock.advance(6)
        await Retention(hub.hub, list).expire()

        assert await store.list(kind=None) == []


async def test_a_clock_that_is_set_while_old_things_are_deleted_deletes_no_more(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_hub(store, clock=clock) as hub:
        retention, files = Retention(hub.hub, list), hub.files
        await files.sweep()  # the one at the start is over
        for run_id, ttl_s in (("old", 5.0), ("r", 600.0)):
            inlet = await hub.hub.create(run_id, ttl_s=ttl_s)
            await inlet.append(close=True)
        upload = await files.receive("a.txt", "", _nothing())
        clock.advance(6)
        expired, sweep, set_forward = store.expired, files.uploads.sweep, [1e8, 1e8]

        async def expired_late() -> Any:
            if set_forward:
                clock.jump(set_forward.pop())
            return await expired()

        def sweep_late(time: float) -> int:
            clock.jump(set_forward.pop())
            return sweep(time)

        monkeypatch.setattr(store, "expired", expired_late)
        monkeypatch.setattr(files.uploads, "sweep", sweep_late)
        await soon(files.sweep())
        clock.jump(-1e8)
        await soon(retention.expire())
        clock.jump(-1e8)

        assert not set_forward
        assert [info.log_id for info in await store.list()] == ["r"]
        await asyncio.to_thread(files.uploads.find, upload.upload_id)


@pytest.mark.parametrize("is_set_back", [True, False])
async def test_a_step_of_the_clock_deletes_nothing_before_it_can_be_set_back(
    store: Store, clock: FakeClock, is_set_back: bool
) -> None:
    async with open_hub(store, clock=clock) as hub:
        retention, files = Retention(hub.hub, list), hub.files
        inlet = await hub.hub.create("r", ttl_s=600.0)
        await inlet.append(close=True)
        upload = await files.receive("a.txt", "", _nothing())
        clock.jump(1e8)
        for _ in range(50):
            clock.advance(60)
            await retention.expire()
            await files.sweep()
        if is_set_back:
            clock.jump(-1e8 - 3000)

        await retention.expire()
        await files.sweep()
        assert [info.log_id for info in await store.list()] == ["r"]
        if is_set_back:
            await asyncio.to_thread(files.uploads.find, upload.upload_id)

        clock.advance(3601)
        await retention.expire()
        await files.sweep()
        assert await store.list() == []
        with pytest.raises(NotFound):
            await asyncio.to_thread(files.uploads.find, upload.upload_id)


async def _nothing() -> AsyncIterator[bytes]:
    yield b""


PHASES = st.lists(
    st.tuples(
        st.sampled_from([10, 300, 5_000, 60_000, 200_000]),  # bytes of an event
        st.integers(1, 400_000),  # bytes of them together, about
    ),
    min_size=1,
    max_size=8,
)
"""How large a run's events are: alike for a while, then of another size."""


def a_store(kind: str, folder: str) -> Store:
    return MemoryStore() if kind == "memory" else SQLiteStore(str(Path(folder, "runs.db")))


async def what_is_kept(hub: Hub, run_id: str) -> list[bytes]:
    """Return the frames that can still be read, and check that a snapshot stands for the rest."""
    info = await hub.info(run_id)
    frames: list[bytes] = []
    position = Position(info.epoch, info.first - 1)
    while position.seq < info.head:
        page = await hub.store.read(run_id, position)
        frames += [frame + b"\n\n" for frame in page.frames.split(b"\n\n")[:-1]]
        position = page.position
    _, state = await hub.present(run_id)
    assert (state.seq, state.missed) == (info.head, 0)
    return frames


async def emit_phases(inlet: Inlet, phases: Sequence[tuple[int, int]]) -> None:
    for size, together in phases:
        record = b'"time":1.0,"type":"x","data":"%b"}' % (b"x" * size)
        await inlet.append([record] * max(1, together // size))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=25)
@given(rounds=st.lists(PHASES, min_size=1, max_size=3), keep=st.integers(1, 1_000_000))
def test_what_is_kept_is_within_a_page_of_what_was_asked_for(
    kind: str, rounds: list[list[tuple[int, int]]], keep: int
) -> None:
    async def check() -> None:
        options = Settings(keep_bytes_per_run=keep, retention_every_s=3600.0)
        with TemporaryDirectory() as folder:
            async with Hub(a_store(kind, folder), options) as hub:
                inlet = await hub.create("r")
                retention = Retention(hub, lambda: ["r"])
                for phases in rounds:
                    await emit_phases(inlet, phases)
                    await soon(retention.shorten())
                    kept = sum(map(len, await what_is_kept(hub, "r")))
                    all_bytes = (await hub.info("r")).bytes
                    assert min(keep, all_bytes) <= kept <= keep + PAGE_BYTES

    asyncio.run(check())


@pytest.mark.parametrize("first", [(1_000, 2_000_000), (100_000, 2_000_000)])
async def test_a_log_that_an_older_version_cut_is_cut_as_exactly(
    store: Store, first: tuple[int, int]
) -> None:
    options = Settings(keep_bytes_per_run=1_000_000, retention_every_s=3600.0)
    async with Hub(store, options) as hub:
        inlet = await hub.create("r")
        await emit_phases(inlet, [(50, 100_000), first])
        frames = await what_is_kept(hub, "r")
        cut = frames[: len(frames) // 2]
        state = fold(decode_event(canonical) for canonical in split_frames(b"".join(cut)))
        # Without the bytes that it stands for, which older versions did not write.
        await hub.trim("r", len(cut) + 1, msgspec.json.encode(state))
        await emit_phases(inlet, [(70, 1_500_000)])
        await soon(Retention(hub, lambda: ["r"]).shorten())

        kept = sum(map(len, await what_is_kept(hub, "r")))
        assert 1_000_000 <= kept <= 1_000_000 + PAGE_BYTES


async def test_an_event_larger_than_a_page_is_kept_whole(store: Store) -> None:
    options = Settings(keep_bytes_per_run=1_000, retention_every_s=3600.0)
    async with open_hub(store, settings=options) as opened:
        inlet = await opened.hub.create("r")
        await emit_phases(inlet, [(50, 5_000), (2 * PAGE_BYTES, 1), (2 * PAGE_BYTES, 1)])
        await soon(Retention(opened.hub, lambda: ["r"]).shorten())

        assert [len(each) > 2 * PAGE_BYTES for each in await what_is_kept(opened.hub, "r")] == [
            True
        ]


async def test_runs_that_ended_leave_nothing_behind_where_all_is_kept() -> None:
    """Ids of runs to be cut were gathered for ever where nothing was ever cut."""

    async def nothing() -> None:
        pass

    settings = Settings(keep_bytes_per_run=0, retention_every_s=3600.0)
    async with open_hub(MemoryStore(), settings=settings) as hub:
        for number in range(20):
            await (await hub.start(nothing, run_id=f"r-{number}")).wait()
        await soon(Retention(hub.hub).shorten())

        assert hub.hub.owned.take_written() == []
