"""Loss is told: what a cursor needs and cannot have is a gap, or an error, and never silence."""

import asyncio

import pytest

from runcast._app import OpenHub, open_hub
from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet
from runcast._settings import Settings
from runcast.errors import Gone, InvalidValue, NotFound, Overloaded, StoreUnavailable
from runcast.events.model import Event, encode_record
from runcast.events.position import Position
from runcast.stores.base import LogInfo, Store
from runcast.stores.memory import MemoryStore
from runcast.testing import FakeClock
from tests.opening import events_of, eventually, soon, take


def records(first: int, last: int) -> list[bytes]:
    return [encode_record("log", {"number": number}, 1.0) for number in range(first, last + 1)]


async def make_run(hub: OpenHub, count: int, *, replace: bool = False, close: bool = True) -> Inlet:
    inlet = await hub.hub.create("run-1", replace=replace)
    await inlet.append(records(1, count), close=close)
    return inlet


def shown(events: list[Event]) -> list[int | str]:
    """The `seq` of each event, and of each gap its reason."""
    return [event.data["reason"] if event.type == "gap" else event.seq for event in events]


# --- trimmed --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (None, ["trimmed", 6, 7, 8]),
        (0, ["trimmed", 6, 7, 8]),
        (3, ["trimmed", 6, 7, 8]),
        (5, [6, 7, 8]),
        (7, [8]),
        (8, []),
    ],
)
async def test_a_cursor_before_what_is_kept_is_told_that_events_were_trimmed(
    store: Store, after: int | None, expected: list[int | str]
) -> None:
    async with open_hub(store) as hub:
        inlet = await make_run(hub, 8)
        await hub.hub.trim("run-1", 6, b"{}")
        position = None if after is None else Position(inlet.epoch, after)

        assert shown(await events_of(hub, "run-1", position)) == expected


async def test_a_gap_says_from_where_to_where_and_has_no_seq(store: Store) -> None:
    async with open_hub(store) as hub:
        inlet = await make_run(hub, 8)
        await hub.hub.trim("run-1", 6, b"{}")

        gap = (await events_of(hub, "run-1", Position(inlet.epoch, 2)))[0]

        assert gap.seq == 0
        epoch = inlet.epoch
        assert gap.data == {"reason": "trimmed", "before": f"{epoch}-2", "after": f"{epoch}-5"}


async def test_a_live_watcher_behind_a_trim_is_told(store: Store) -> None:
    async with open_hub(store, settings=Settings(tail_bytes_per_run=0)) as hub:
        inlet = await make_run(hub, 3, close=False)
        stream = hub.watch("run-1")
        assert shown(await take(stream, 3)) == [1, 2, 3]
        await inlet.append(records(4, 9))
        await hub.hub.trim("run-1", 8, b"{}")

        assert shown(await take(stream, 3)) == ["trimmed", 8, 9]


async def test_a_live_watcher_that_has_what_was_trimmed_is_told_nothing(store: Store) -> None:
    async with open_hub(store) as hub:
        inlet = await make_run(hub, 3, close=False)
        stream = hub.watch("run-1")
        await take(stream, 3)
        await hub.hub.trim("run-1", 3, b"{}")
        await inlet.append(records(4, 4), close=True)

        assert shown([event async for event in stream]) == [4]


# --- replaced -------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 2, 3, 1000])
async def test_an_old_cursor_is_told_that_the_run_began_anew_and_gets_it_from_the_first(
    store: Store, after: int
) -> None:
    async with open_hub(store) as hub:
        old = await make_run(hub, 3)
        new = await make_run(hub, 2, replace=True)

        events = await events_of(hub, "run-1", Position(old.epoch, after))

        assert shown(events) == ["replaced", 1, 2]
        assert events[0].data["after"] == f"{new.epoch}-0"


async def test_live_watchers_follow_a_run_that_begins_anew(store: Store) -> None:
    async with open_hub(store) as hub:
        old = await make_run(hub, 3, close=False)
        streams = [hub.watch("run-1"), hub.watch("run-1", Position(old.epoch, 1))]
        assert shown(await take(streams[0], 3)) == [1, 2, 3]
        assert shown(await take(streams[1], 1)) == [2]
        waiting = [asyncio.ensure_future(take(streams[0], 1))]
        await asyncio.sleep(0)
        await make_run(hub, 2, replace=True)

        assert shown(await soon(waiting[0])) == ["replaced"]
        assert shown([event async for event in streams[0]]) == [1, 2]
        # It had the old epoch's last event in hand already.
        assert shown([event async for event in streams[1]]) == [3, "replaced", 1, 2]


async def test_what_is_written_to_an_epoch_that_is_over_reaches_nobody(store: Store) -> None:
    async with open_hub(store) as hub:
        old = await make_run(hub, 1, close=False)
        stream = hub.watch("run-1")
        await take(stream)
        new = await make_run(hub, 1, replace=True, close=False)
        for record in records(100, 105):
            old.put(record)
        await new.append(records(2, 2), close=True)

        assert shown([event async for event in stream]) == ["replaced", 1, 2]
        await eventually(lambda: old.error is not None)


async def test_a_run_replaced_twice_before_a_watcher_looks_is_told_once(store: Store) -> None:
    async with open_hub(store) as hub:
        await make_run(hub, 1, close=False)
        stream = hub.watch("run-1")
        await take(stream)
        await make_run(hub, 2, replace=True)
        await make_run(hub, 3, replace=True)

        assert shown([event async for event in stream]) == ["replaced", 1, 2, 3]


# --- rewound --------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [False, True])
async def test_a_cursor_beyond_the_head_is_told_that_the_log_was_cut(
    store: Store, closed: bool
) -> None:
    async with open_hub(store) as hub:
        inlet = await make_run(hub, 3, close=closed)
        stream = hub.watch("run-1", Position(inlet.epoch, 10))
        gap = (await take(stream))[0]
        assert gap.data["reason"] == "rewound"
        assert gap.data["after"] == f"{inlet.epoch}-0"
        if not closed:
            await inlet.append(records(4, 4), close=True)

        # What it saw may have been something else: it gets all that there is.
        assert shown([event async for event in stream]) == [1, 2, 3, *([] if closed else [4])]


async def test_a_cursor_beyond_the_head_is_told_while_others_watch(store: Store) -> None:
    async with open_hub(store) as hub:
        inlet = await make_run(hub, 3, close=False)
        other = hub.watch("run-1")
        await take(other, 3)
        stream = hub.watch("run-1", Position(inlet.epoch, 4))

        assert shown(await take(stream)) == ["rewound"]
        await inlet.append(records(4, 4), close=True)
        assert shown([event async for event in stream]) == [1, 2, 3, 4]
        assert shown([event async for event in other]) == [4]


async def test_a_cursor_ahead_of_what_this_process_has_heard_gets_what_the_store_has() -> None:
    """It may come from another process, which another one's commits reach sooner."""

    class Unheard(MemoryStore):
        """Forgets, for a moment, to say that another process was here."""

        stale: LogInfo | None = None

        async def info(self, log_id: str) -> LogInfo:
            stale, self.stale = self.stale, None
            return stale or await super().info(log_id)

    store = Unheard()
    async with open_hub(store) as hub:
        inlet = await make_run(hub, 1, close=False)
        store.stale = await store.info("run-1")
        stream = hub.watch("run-1")
        assert shown(await take(stream)) == [1]
        later = await store.create("run-1", replace=True)

        ahead = hub.watch("run-1", Position(later.epoch, 0))
        fresh = hub.hub.inlet("run-1", later.epoch)
        await fresh.append(records(1, 2), close=True)

        assert later.epoch > inlet.epoch
        assert shown([event async for event in ahead]) == [1, 2]
        assert shown([event async for event in stream]) == ["replaced", 1, 2]


async def test_a_cursor_that_is_to_stop_stops_in_a_log_that_was_restarted_since(
    store: Store,
) -> None:
    async with Hub(store) as hub:
        inlet = await hub.create("run-1")
        await inlet.append(records(1, 5))
        with await hub.cursor("run-1", Position(inlet.epoch, 3)) as cursor:
            cursor.stop_at_head()
            inlet = await hub.create("run-1", replace=True)
            await inlet.append(records(1, 2))
            gap, rest = cursor.poll(), cursor.poll()

            assert gap is not None
            assert gap.gap is not None
            assert rest is not None
            assert cursor.position == Position(inlet.epoch, 2)
            assert cursor.ended
            assert not rest.ended


async def test_a_read_that_is_cancelled_leaves_the_gap_to_be_told(store: Store) -> None:
    async with Hub(store) as hub:
        inlet = await hub.create("run-1")
        await inlet.append(records(1, 3))
        with await hub.cursor("run-1", Position(inlet.epoch, 9)) as cursor:
            assert cursor.poll() is None
            assert cursor.behind
            reading = asyncio.ensure_future(cursor.read())
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])

            assert cursor.poll() is None
            assert cursor.behind
            chunk = await soon(cursor.read())
            assert chunk is not None
            assert chunk.gap is not None
            assert chunk.gap.reason == "rewound"


# --- gone altogether ------------------------------------------------------------------------------


async def test_watching_a_run_that_never_was_makes_none(store: Store) -> None:
    async with open_hub(store) as hub:
        with pytest.raises(NotFound, match="run-1"):
            await events_of(hub, "run-1")
        with pytest.raises(NotFound):
            await hub.present("run-1")

        assert hub.hub.statistics()[:3] == (0, 0, 0)


async def test_watchers_of_a_run_that_is_deleted_are_told(store: Store) -> None:
    async with open_hub(store) as hub:
        inlet = await make_run(hub, 2, close=False)
        stream = hub.watch("run-1")
        await take(stream, 2)
        waiting = asyncio.ensure_future(take(stream))
        await asyncio.sleep(0)
        await hub.hub.delete("run-1")

        with pytest.raises(NotFound, match="deleted"):
            await soon(waiting)
        inlet.put(records(1, 1)[0])
        with pytest.raises(NotFound):
            await soon(inlet.append())
        with pytest.raises(NotFound):
            await events_of(hub, "run-1")
        assert hub.hub.statistics()[:3] == (0, 0, 0)


@pytest.mark.parametrize("jump_s", [60.0, -60.0])
async def test_a_deleted_run_that_is_made_again_is_another_one(
    store: Store, clock: FakeClock, jump_s: float
) -> None:
    async with open_hub(store) as hub:
        old = await make_run(hub, 2, close=False)
        cursor = await hub.hub.cursor("run-1")
        await hub.hub.delete("run-1")
        clock.jump(jump_s)
        new = await make_run(hub, 1)

        assert (new.epoch > old.epoch) == (jump_s > 0)
        with cursor, pytest.raises(NotFound):
            cursor.poll()
        assert shown(await events_of(hub, "run-1")) == [1]
        assert shown(await events_of(hub, "run-1", f"{old.epoch}-2")) == ["replaced", 1]


async def test_a_malformed_position_is_refused(store: Store) -> None:
    async with open_hub(store) as hub:
        await make_run(hub, 1)
        with pytest.raises(InvalidValue, match="01hq3v5k2m-7"):
            await events_of(hub, "run-1", "yesterday")


# --- the hub itself -------------------------------------------------------------------------------


async def test_watchers_are_let_go_when_the_hub_closes_and_none_come_afterwards(
    store: Store,
) -> None:
    async with open_hub(store) as hub:
        await make_run(hub, 1, close=False)
        stream = hub.watch("run-1")
        await take(stream)
        waiting = asyncio.ensure_future(take(stream))
        await asyncio.sleep(0)

    with pytest.raises(StoreUnavailable, match="hub is closed"):
        await soon(waiting)
    with pytest.raises(StoreUnavailable, match="hub is closed"):
        await events_of(hub, "run-1")


async def test_a_watcher_that_comes_while_the_hub_closes_does_not_wait_for_ever() -> None:
    class SlowInfo(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.asked, self.go_on = asyncio.Event(), asyncio.Event()

        async def info(self, log_id: str) -> LogInfo:
            self.asked.set()
            await self.go_on.wait()
            return await super().info(log_id)

    store = SlowInfo()
    hub = await Hub(store).open()
    store.go_on.set()
    await hub.create("run-1")
    store.go_on.clear()
    coming = asyncio.create_task(hub.cursor("run-1"))
    await soon(store.asked.wait())
    await soon(hub.close())
    store.go_on.set()

    with pytest.raises(StoreUnavailable, match="hub is closed"):
        await soon(coming)
    assert hub.statistics().watchers == 0


async def test_more_watchers_than_allowed_are_refused_and_leaving_makes_room(
    store: Store,
) -> None:
    options = Settings(max_watchers=3, max_watchers_per_run=2)
    admit = Hub(store, options).admissions.admit
    first, _ = [admit(["run-1"]) for _ in range(2)]
    with pytest.raises(Overloaded, match="max_watchers_per_run"):
        admit(["run-2", "run-1"])
    admit(["run-2", "run-3"])
    with pytest.raises(Overloaded, match=r"max_watchers\b"):
        admit(["run-2"])
    for _ in range(2):
        first.close()

    admit(["run-1"])
    with pytest.raises(Overloaded, match=r"max_watchers\b"):
        admit(["run-3"])


async def test_a_page_of_an_epoch_that_is_over_is_not_kept(store: Store) -> None:
    async with Hub(store) as hub:
        inlet = await hub.create("run-1")
        await inlet.append(records(1, 3), close=True)
        before = Position(inlet.epoch, 0)
        assert (await hub.read_page("run-1", before)).last == 3
        assert hub.statistics().cache_bytes > 0
        await hub.create("run-1", replace=True)

        assert hub.statistics().cache_bytes == 0
        with pytest.raises(Gone):
            await hub.read_page("run-1", before)
