"""Owned logs: begun by one door, kept by a lease, commanded by others, ended once."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast._hub import owned
from runcast._hub.hub import Hub
from runcast._hub.owned import CANCEL_LABEL, CONTINUED, REPLACED
from runcast._settings import Settings
from runcast.compat.stream_manager import StreamEvent, TaskStreamQueue
from runcast.errors import Conflict, RunClosed, Stale, StoreUnavailable
from runcast.events.model import encode_record
from runcast.events.outcome import LOST, cancelled, done
from runcast.stores.base import Append, LogInfo, Owner, Store
from runcast.stores.memory import MemoryStore
from runcast.testing import FakeClock, FaultyStore
from tests.opening import events_of, eventually, soon

QUICK = Settings(lease_s=0.05, store_retry_s=0.01)


def record(number: int) -> bytes:
    return encode_record("tick", {"n": number}, 1.0)


@asynccontextmanager
async def two_hubs(tmp_path: Path) -> AsyncIterator[tuple[runcast.OpenHub, runcast.OpenHub]]:
    """Open two hubs on one file, as two processes do."""
    url = f"sqlite:///{tmp_path}/runs.db"
    async with runcast.open_hub(url) as here, runcast.open_hub(url) as there:
        yield here, there


async def test_an_owned_log_is_written_and_ended_and_has_what_it_was_begun_with(
    store: Store, clock: FakeClock
) -> None:
    async with Hub(store, clock=clock) as hub:
        log = await hub.begin("report-7", kind="stream", labels={"user": "ada"}, ttl_s=60.0)
        log.inlet.put(record(1))
        assert await log.end(done("all"), files={"count": 0}) == done("all")

        info = await hub.info(log.log_id)
        events = [event async for event in events_in(hub, log.log_id)]

    assert (info.kind, info.name, info.ttl_s, info.closed) == ("stream", "report-7", 60.0, True)
    assert (info.labels["user"], info.owner_id != "") == ("ada", True)
    assert events == ["tick", "files", "done"]


class Unconfirmed(FaultyStore):
    """Begins a log, perhaps later, and does not say so."""

    is_late = False

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.late: Coroutine[Any, Any, LogInfo] | None = None

    async def create(self, log_id: str, **more: Any) -> LogInfo:
        beginning = super().create(log_id, **more)
        if self.is_late:
            self.late = beginning
        else:
            await beginning
        raise StoreUnavailable("it does not answer")


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_log_whose_beginning_is_not_confirmed_is_ended(
    store: Store, clock: FakeClock, is_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner lives, so nobody else would ever end it."""
    monkeypatch.setattr(owned, "_LOOK_AGAIN_S", 0.001)
    silent = Unconfirmed(store)
    silent.is_late = is_late
    async with Hub(silent, clock=clock) as hub:
        with pytest.raises(StoreUnavailable):
            await hub.begin("a")
        if silent.late is not None:
            await silent.late

        assert await soon(anext(events_in(hub, "a"))) == "cancelled"
        assert (await hub.info("a")).closed


async def test_a_log_that_another_process_has_begun_is_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owned, "_LOOK_AGAIN_S", 0.001)
    silent = Unconfirmed(store)
    silent.is_late = True
    async with Hub(silent) as hub:
        with pytest.raises(StoreUnavailable):
            await hub.begin("a")
        await store.create("a", owner_id="somebody else")
        await eventually(lambda: not hub.owned._tasks)

        assert not (await hub.info("a")).closed
        assert silent.late is not None
        silent.late.close()


class Unreachable(FaultyStore):
    """Cannot describe a log, some times."""

    failures = 0

    async def info(self, log_id: str) -> LogInfo:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("it does not answer")
        return await super().info(log_id)


async def test_a_command_is_obeyed_although_the_store_fails_when_it_is_looked_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause of the channel nobody repeats what was said."""
    monkeypatch.setattr(owned, "_LOOK_AGAIN_S", 0.001)
    failing = Unreachable(store)
    async with Hub(failing) as hub:
        log = await hub.begin("a")
        asked: asyncio.Queue[str] = asyncio.Queue()
        log.on_cancel = asked.put_nowait
        await store.commit([Append("a", [], labels={CANCEL_LABEL: "enough"})])
        failing.failures = 2
        hub.owned.look(None)
        hub.owned.look(None)

        assert await soon(asked.get()) == "enough"
        assert failing.failures == 0


async def events_in(hub: Hub, log_id: str) -> AsyncIterator[str]:
    with await hub.watch(log_id) as watch:
        async for chunk in watch:
            for event in chunk.events():
                yield event.type


async def test_a_log_ends_once(store: Store) -> None:
    async with Hub(store) as hub:
        log = await hub.begin("r")
        again = hub.take(await hub.info("r"))
        await again.end(cancelled("first"))

        with pytest.raises(RunClosed):
            await log.end(done())
        with pytest.raises(Conflict):
            await hub.begin("r")
        assert hub.owned.get("r") is None


async def test_a_result_that_cannot_be_stored_fails_the_log(store: Store) -> None:
    async with Hub(store, Settings(max_event_bytes=256)) as hub:
        log = await hub.begin("r")

        assert (await log.end(done("x" * 300))).data["code"] == "event_too_large"


async def test_a_log_is_owned_from_before_its_first_moment(store: Store) -> None:
    """Or others, who see no lease, would take it for lost."""
    async with Hub(store, QUICK) as hub:
        await hub.begin("r")

        assert await store.orphans() == []
        assert (await store.info("r")).owner_id == hub.lease.owner_id
    if isinstance(store, MemoryStore):
        assert [info.log_id for info in await store.orphans()] == ["r"], "the lease was given up"


async def test_nothing_begins_before_the_store_knows_that_the_process_lives() -> None:
    faulty = LeaseFails(MemoryStore())
    async with Hub(faulty, QUICK) as hub:
        with pytest.raises(StoreUnavailable, match="no lease"):
            await hub.begin("r")
        with pytest.raises(StoreUnavailable, match="no lease"):
            await hub.begin("r")
        assert await faulty.list() == []
        faulty.fails = False
        log = await hub.begin("r")
        await log.end(done())
    with pytest.raises(StoreUnavailable, match="closed"):
        await hub.begin("s")


class LeaseFails(FaultyStore):
    fails = True

    async def renew(self, owner: Owner, ttl_s: float) -> None:
        if self.fails:
            raise StoreUnavailable("no lease today")
        await super().renew(owner, ttl_s)


async def test_a_beginning_that_is_cancelled_leaves_no_open_log(store: Store) -> None:
    async with Hub(store) as hub:
        beginning = asyncio.ensure_future(hub.begin("r"))
        await asyncio.sleep(0)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning

        assert [event async for event in events_in_soon(hub)] == ["cancelled"]


async def events_in_soon(hub: Hub) -> AsyncIterator[str]:
    await eventually(lambda: hub.statistics().pipeline.commits > 0)
    async for event in events_in(hub, "r"):
        yield event


async def test_a_log_that_begins_again_cancels_the_one_before(store: Store) -> None:
    reasons: list[str] = []
    async with Hub(store) as hub:
        before = await hub.begin("r")
        before.on_cancel = reasons.append
        after = await hub.begin("r", replace=True)

        await eventually(lambda: reasons == [REPLACED])
        with pytest.raises(Stale):
            await before.end(done())
        assert hub.owned.get("r") is after
        assert await after.end(done()) == done()


@pytest.mark.parametrize("command", ["cancelled", "deleted", "replaced", "continued"])
async def test_what_another_process_does_to_a_log_reaches_its_owner(
    tmp_path: Path, command: str
) -> None:
    reasons: list[str] = []
    async with two_hubs(tmp_path) as (here, there):
        log = await here.hub.begin("r")
        log.on_cancel = reasons.append
        if command == "cancelled":
            await there.cancel("r", "enough")
        elif command == "deleted":
            await there.hub.delete("r")
        elif command == "replaced":
            await there.hub.begin("r", replace=True)
        else:  # as if this process had been paused past its lease
            await there.hub.store.renew(Owner(owner_id=here.hub.lease.owner_id), 0)
            there.hub.take(await there.hub.store.claim("r", there.hub.lease.owner_id))

        await eventually(lambda: bool(reasons))
        log.release()  # or closing would wait for its end

    expected = {"cancelled": "enough", "deleted": "deleted", "replaced": REPLACED}
    expected["continued"] = CONTINUED
    assert reasons[0] == expected[command]


async def test_a_log_without_anybody_to_ask_ends_when_another_process_cancels_it(
    tmp_path: Path,
) -> None:
    async with two_hubs(tmp_path) as (here, there):
        await here.hub.begin("r")
        await there.cancel("r", "enough")

        assert [e.data for e in await events_of(there, "r")] == [{"reason": "enough"}]
        assert CANCEL_LABEL in (await there.hub.info("r")).labels


async def test_a_stream_of_tasks_ends_when_another_process_cancels_it(tmp_path: Path) -> None:
    async with two_hubs(tmp_path) as (here, there):
        stream = TaskStreamQueue("task", hub=here)
        await stream.put(StreamEvent("progress", "ada", "working", "task"))
        await there.cancel("task", "enough")

        assert (await events_of(there, "task"))[-1].data == {"reason": "enough"}
        assert not await soon(stream.put(StreamEvent("progress", "ada", "too late", "task")))


async def test_a_log_whose_owner_is_dead_ends_as_lost(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    async with runcast.open_hub(url) as hub:
        await hub.hub.begin("r")
    async with runcast.open_hub(url) as hub:
        assert (await events_of(hub, "r"))[-1].data == LOST.data
