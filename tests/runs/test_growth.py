"""Runs that grow faster than their old events are cut: they are slowed, and lose nothing."""

import asyncio
from collections.abc import Sequence

from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet
from runcast._runs.retention import Retention
from runcast._settings import Settings
from runcast.errors import RuncastError, StoreUnavailable
from runcast.stores.base import PAGE_BYTES, Append, Appended, Store
from runcast.testing import FaultyStore
from tests.opening import WAIT_S, eventually, soon
from tests.runs.test_retention import what_is_kept

RECORD = b'"time":1.0,"type":"x","data":1}'
MIB = 1024 * 1024
SLACK = MIB


class Watched(FaultyStore):
    """Keeps note of how long a log was at most."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.longest = 0
        self._lengths = [0]

    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        outcomes = await super().commit(group)
        for outcome in outcomes:
            assert isinstance(outcome, Appended)
            for page in outcome.pages:
                for frame in page.frames.split(b"\n\n")[:-1]:
                    self._lengths.append(self._lengths[-1] + len(frame) + 2)
            first = (await self.info("r")).first
            self.longest = max(self.longest, self._lengths[-1] - self._lengths[first - 1])
        return outcomes


def flood(inlet: Inlet, count: int) -> None:
    for _ in range(count):
        inlet.put(b'"time":1.0,"type":"x","data":"%b"}' % (b"x" * 5_000))


async def test_a_thread_that_floods_waits_until_its_old_events_are_cut(store: Store) -> None:
    options = Settings(keep_bytes_per_run=MIB, retention_every_s=3600.0, emit_wait_s=WAIT_S)
    watched = Watched(store)
    async with Hub(watched, options) as hub:
        retention = Retention(hub, list)
        retention.open()
        inlet = await hub.create("r")
        async with asyncio.timeout(4 * WAIT_S):
            await asyncio.to_thread(flood, inlet, 4_000)
            await inlet.append()
            await eventually(lambda: inlet.kept < MIB + SLACK)
        info, state = await hub.present("r")
        await retention.close()

        assert (info.head, state.seq, state.counts) == (4_000, 4_000, {"x": 4_000})
        # What may wait for its commit comes on top, which is less than usual where little is kept.
        assert options.pending_bytes_per_run > SLACK
        assert watched.longest <= MIB + 4 * SLACK


async def test_who_drains_and_who_awaits_appends_waits_as_well(store: Store) -> None:
    options = Settings(keep_bytes_per_run=MIB, retention_every_s=3600.0)
    async with Hub(store, options) as hub:
        hub.growth.follow()  # but nobody cuts
        inlet = await hub.create("r")
        while not inlet.is_held:
            await inlet.append([b'"time":1.0,"type":"x","data":"%b"}' % (b"x" * 50_000)])
        draining = asyncio.create_task(inlet.drain())
        appending = asyncio.create_task(inlet.append([RECORD]))
        labelling = asyncio.create_task(inlet.append(labels={"status": "running"}))
        await soon(labelling)
        assert not draining.done()
        assert not appending.done()

        retention = Retention(hub, list)
        await soon(retention.relieve())
        await soon(asyncio.gather(draining, appending))
        assert not inlet.is_held
        assert sum(map(len, await what_is_kept(hub, "r"))) <= MIB + PAGE_BYTES


async def test_a_run_that_grew_too_long_can_end(store: Store) -> None:
    options = Settings(keep_bytes_per_run=MIB, retention_every_s=3600.0)
    async with Hub(store, options) as hub:
        hub.growth.follow()
        inlet = await hub.create("r")
        while not inlet.is_held:
            await inlet.append([b'"time":1.0,"type":"x","data":"%b"}' % (b"x" * 50_000)])

        assert (await soon(inlet.append([RECORD], close=True))).closed


async def test_a_thread_goes_on_when_nobody_cuts_any_more(store: Store) -> None:
    options = Settings(keep_bytes_per_run=MIB, retention_every_s=3600.0)
    async with Hub(store, options) as hub:
        hub.growth.follow()
        inlet = await hub.create("r")
        flooding = asyncio.create_task(asyncio.to_thread(flood, inlet, 5_000))
        await eventually(lambda: inlet.is_held)
        hub.growth.leave()

        await soon(flooding)


async def test_a_cut_that_fails_is_tried_again(store: Store) -> None:
    options = Settings(keep_bytes_per_run=MIB, retention_every_s=3600.0)
    faulty = FaultyStore(store)
    async with Hub(faulty, options) as hub:
        retention = Retention(hub, list)
        retention.open()
        inlet = await hub.create("r")
        faulty.fail_next(2, StoreUnavailable("the disk is away"), call="read")
        async with asyncio.timeout(2 * WAIT_S):
            await asyncio.to_thread(flood, inlet, 4_000)
        await retention.close()

        assert not inlet.is_held


async def test_an_event_longer_than_all_that_is_kept_holds_up_nobody_for_ever(
    store: Store,
) -> None:
    options = Settings(keep_bytes_per_run=1, retention_every_s=3600.0)
    async with Hub(store, options) as hub:
        hub.growth.follow()
        inlet = await hub.create("r")
        await inlet.append([b'"time":1.0,"type":"x","data":"%b"}' % (b"x" * 3 * SLACK)])
        assert inlet.is_held
        await soon(Retention(hub, list).relieve())

        await asyncio.to_thread(flood, inlet, 1)
