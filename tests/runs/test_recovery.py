"""Runs whose owner is gone: ended, cancelled or gone on with, once, by whoever lives."""

import asyncio
from typing import Any

import pytest

import runcast
from runcast._app import OpenHub, open_hub
from runcast._hub.hub import Hub
from runcast._producing.answers import Answer
from runcast._runs.recovery import Recovery
from runcast._settings import Settings
from runcast.errors import InvalidValue, RunClosed, StoreUnavailable
from runcast.stores.base import LogInfo, Owner, Store
from runcast.stores.memory import MemoryStore
from runcast.testing import FakeClock, FaultyStore
from tests.opening import events_of, eventually, soon

AT_ONCE = Settings(shutdown_grace_s=0.0, cancel_grace_s=0.05)


async def asks() -> None:
    await runcast.ask("go on?", interrupt_id="q")


class Handler:
    """A function that asks and is gone on with; counts how often."""

    def __init__(self) -> None:
        self.calls = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, interrupt_id: str, answer: Answer) -> str:
        self.calls += 1
        await self.go_on.wait()
        return answer.type


def flow(handler: Any) -> runcast.Function[..., Any]:
    return runcast.function(name="flow", resume=handler)(asks)


async def leave_waiting(store: Store, *run_ids: str) -> None:
    """Leave runs that wait for an answer, as a server that stops does."""
    async with open_hub(store, functions=[flow(Handler())], settings=AT_ONCE) as hub:
        for run_id in run_ids:
            run = await hub.start("flow", run_id=run_id)
            await eventually(lambda run=run: hub.runner.runs[run.run_id].writer.is_waiting)  # type: ignore[misc]
            await hub.flush(run_id)
    async with open_hub(store, settings=AT_ONCE) as hub:
        for run_id in run_ids:
            assert (await hub.present(run_id))[1].status == "waiting"


class Noting(FaultyStore):
    """Tells which logs were claimed, holds claims, and fails when told to."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.claimed: list[str] = []
        self.may_claim = asyncio.Event()
        self.may_claim.set()
        self.claim_error: Exception | None = None
        self.is_silent = False
        """Whether claims are made, but not confirmed."""
        self.lease_error: Exception | None = None
        self.renewed = asyncio.Event()

    async def claim(self, log_id: str, owner_id: str) -> LogInfo:
        self.claimed.append(log_id)
        await self.may_claim.wait()
        if self.claim_error is not None:
            raise self.claim_error
        claimed = await super().claim(log_id, owner_id)
        if self.is_silent:
            raise StoreUnavailable("it does not answer")
        return claimed

    async def renew(self, owner: Owner, ttl_s: float) -> None:
        if self.lease_error is not None:
            raise self.lease_error
        await super().renew(owner, ttl_s)
        self.renewed.set()


# --- cancelled ------------------------------------------------------------------------------------


async def test_a_run_that_waits_without_an_owner_does_not_outlive_its_cancelling(
    store: Store,
) -> None:
    await leave_waiting(store, "r")
    handler = Handler()
    async with open_hub(store, functions=[flow(handler)], settings=AT_ONCE) as hub:
        await soon(hub.cancel("r", "enough"))

        events = await events_of(hub, "r")
        assert (events[-1].type, events[-1].data) == ("cancelled", {"reason": "enough"})
        with pytest.raises(RunClosed):
            await hub.answer("r", "q", {"type": "accept"})
        assert handler.calls == 0


async def test_an_answered_run_whose_function_is_gone_does_not_outlive_its_cancelling(
    store: Store,
) -> None:
    await leave_waiting(store, "r")
    async with open_hub(store, settings=AT_ONCE) as hub:
        await hub.answer("r", "q", {"type": "accept"})
        assert not (await hub.hub.info("r")).closed

        await soon(hub.cancel("r", "enough"))

        assert (await events_of(hub, "r"))[-1].data == {"reason": "enough"}


async def test_a_cancelled_run_whose_owner_dies_before_it_obeys_never_goes_on(
    clock: FakeClock,
) -> None:
    store, handler = MemoryStore(clock), Handler()
    await leave_waiting(store, "r")
    await store.renew(Owner(owner_id="another"), 60.0)
    await store.claim("r", "another")
    functions = [flow(handler)]
    async with open_hub(store, functions=functions, settings=AT_ONCE, clock=clock) as hub:
        await soon(hub.cancel("r", "enough"))
        assert not (await hub.hub.info("r")).closed, "its owner lives"

        await store.renew(Owner(owner_id="another"), 0)
        await soon(hub.answer("r", "q", {"type": "accept"}))

        assert (await events_of(hub, "r"))[-1].data == {"reason": "enough"}
        assert handler.calls == 0


# --- gone on with ---------------------------------------------------------------------------------


@pytest.mark.parametrize("is_held", [False, True])
async def test_a_run_that_is_answered_twice_at_once_does_not_go_on_twice(
    store: Store, is_held: bool
) -> None:
    await leave_waiting(store, "r")
    handler, noting = Handler(), Noting(store)
    handler.go_on.clear()
    async with open_hub(noting, functions=[flow(handler)], settings=AT_ONCE) as hub:
        if is_held:
            noting.may_claim.clear()
        answers = [
            asyncio.ensure_future(hub.answer("r", "q", {"type": "accept"})) for _ in range(5)
        ]
        await eventually(lambda: bool(noting.claimed))
        for _ in range(100):  # the others get as far as they can
            await asyncio.sleep(0)
        noting.may_claim.set()
        await soon(asyncio.gather(*answers))
        await eventually(lambda: handler.calls > 0)
        handler.go_on.set()

        events = await events_of(hub, "r")
        assert (events[-1].type, events[-1].data) == ("done", {"result": "accept"})
        assert handler.calls == 1
        assert noting.claimed == ["r"]


async def test_an_answer_looks_after_its_own_run_and_no_other(store: Store) -> None:
    await leave_waiting(store, "a", "b")
    async with open_hub(store, settings=AT_ONCE) as hub:
        await hub.answer("b", "q", {"type": "accept"})  # nobody here can go on with it
    handler, noting = Handler(), Noting(store)
    async with open_hub(noting, settings=AT_ONCE) as hub:
        hub.add(flow(handler))
        await hub.answer("a", "q", {"type": "accept"})
        assert (await events_of(hub, "a"))[-1].data == {"result": "accept"}
        assert noting.claimed == ["a"]


async def test_an_answer_is_not_refused_or_lost_when_its_run_cannot_go_on_yet(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await leave_waiting(store, "r")
    handler, noting = Handler(), Noting(store)
    async with open_hub(noting, functions=[flow(handler)], settings=AT_ONCE) as hub:
        noting.claim_error = StoreUnavailable("the disk is full")
        decision, _ = await soon(hub.answer("r", "q", {"type": "accept"}))
        assert decision["approved"]
        assert "the disk is full" in caplog.text
        assert not (await hub.hub.info("r")).closed
    async with open_hub(store, functions=[flow(handler)], settings=AT_ONCE) as hub:
        assert (await events_of(hub, "r"))[-1].data == {"result": "accept"}
        assert handler.calls == 1


async def test_a_run_whose_claim_was_not_confirmed_is_taken_over_all_the_same(
    store: Store,
) -> None:
    """It has an owner that lives, so no other process would end it."""
    async with store:
        await store.create("r", owner_id="the-killed-process", labels={"function": "f"})
    noting = Noting(store)
    noting.is_silent = True
    async with open_hub(noting, settings=AT_ONCE) as hub:
        assert noting.claimed == ["r"]
        assert not (await hub.info("r")).closed
        noting.is_silent = False
        await hub.runner.reap()

        assert (await events_of(hub, "r"))[-1].data["code"] == "lost"


async def test_a_run_that_another_process_claimed_first_is_left_to_it(store: Store) -> None:
    async with store:
        await store.create("r", owner_id="the-killed-process", labels={"function": "f"})
    noting = Noting(store)
    noting.claim_error = StoreUnavailable("it does not answer")
    async with open_hub(noting, settings=AT_ONCE) as hub:
        noting.claim_error = None
        await store.renew(Owner(owner_id="another"), 60.0)
        await store.claim("r", "another")
        await hub.runner.reap()

        info = await hub.info("r")
        assert (info.owner_id, info.closed) == ("another", False)


async def test_an_answered_run_is_not_begun_by_a_hub_that_closes(store: Store) -> None:
    await leave_waiting(store, "r")
    handler, noting = Handler(), Noting(store)
    async with open_hub(noting, functions=[flow(handler)], settings=AT_ONCE) as hub:
        noting.may_claim.clear()
        answering = asyncio.ensure_future(hub.answer("r", "q", {"type": "accept"}))
        await eventually(lambda: bool(noting.claimed))
        closing = asyncio.ensure_future(hub.close())
        for _ in range(100):
            await asyncio.sleep(0)
        noting.may_claim.set()
        await soon(closing)
        await asyncio.wait([answering])
        assert handler.calls == 0
    async with open_hub(store, functions=[flow(handler)], settings=AT_ONCE) as hub:
        assert (await events_of(hub, "r"))[-1].data == {"result": "accept"}
        assert handler.calls == 1


def takes_positions(interrupt_id: str, answer: Answer, /) -> None:
    pass


def takes_nothing() -> None:
    pass


def wants_more(interrupt_id: str, answer: Answer, more: int) -> None:
    pass


@pytest.mark.parametrize("handler", [takes_positions, takes_nothing, wants_more, 7])
def test_no_function_has_a_resume_handler_that_cannot_be_called(handler: Any) -> None:
    with pytest.raises(InvalidValue, match="resume"):
        flow(handler)


async def test_a_resume_handler_may_be_a_function_itself(store: Store) -> None:
    await leave_waiting(store, "r")

    @runcast.function(name="another")
    async def go_on(interrupt_id: str, answer: Answer) -> str:
        return f"{interrupt_id}: {answer.type}"

    async with open_hub(store, functions=[flow(go_on)], settings=AT_ONCE) as hub:
        await hub.answer("r", "q", {"type": "accept"})
        events = await events_of(hub, "r")
        assert events[-1].data == {"result": "q: accept"}
        assert events[-2].data["function"] == "flow"


# --- lost -----------------------------------------------------------------------------------------


async def test_a_fault_in_one_run_costs_no_other_run_its_ending(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await leave_waiting(store, "r-1", "r-2", "r-3")
    async with open_hub(store, settings=AT_ONCE) as hub:
        for run_id in ("r-1", "r-2", "r-3"):
            await hub.answer(run_id, "q", {"type": "accept"})

    class Broken(FaultyStore):
        async def claim(self, log_id: str, owner_id: str) -> LogInfo:
            if log_id == "r-2":
                raise ValueError("a fault of ours")
            return await super().claim(log_id, owner_id)

    handler = Handler()
    async with open_hub(Broken(store), functions=[flow(handler)], settings=AT_ONCE) as hub:
        for run_id in ("r-1", "r-3"):
            assert (await events_of(hub, run_id))[-1].type == "done"
    assert "r-2" in caplog.text


@pytest.mark.parametrize("was_cancelled", [False, True])
async def test_a_run_never_tells_of_an_ending_that_its_log_does_not_have(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, was_cancelled: bool
) -> None:
    store = MemoryStore(clock)
    async with open_hub(store, clock=clock, settings=AT_ONCE) as first:
        go_on = asyncio.Event()

        async def function() -> str:
            await go_on.wait()
            return "result"

        run = await first.start(function, run_id="r")
        await eventually(lambda: run.status == "running")
        clock.advance(Settings().lease_s + 1)  # it is paused, say, and shows no sign of life
        async with open_hub(store, clock=clock, settings=AT_ONCE) as second:
            events = await events_of(second, "r")
        assert events[-1].data["code"] == "lost"
        if was_cancelled:
            run.cancel("enough")
        go_on.set()

        assert await soon(run.wait()) == (events[-1].type, events[-1].data)
        assert run.status == "failed"
        with pytest.raises(runcast.RunFailed, match="ended"):
            await run.result()


async def test_a_run_that_is_gone_on_with_elsewhere_does_not_say_that_it_is_done(
    clock: FakeClock,
) -> None:
    store = MemoryStore(clock)
    async with open_hub(store, clock=clock, settings=AT_ONCE) as hub:
        go_on = asyncio.Event()

        async def function() -> str:
            await go_on.wait()
            return "result"

        run = await hub.start(function, run_id="r")
        await eventually(lambda: run.status == "running")
        clock.advance(Settings().lease_s + 1)
        await store.claim("r", "another")
        go_on.set()

        ending = await soon(run.wait())
        assert (ending.type, ending.data["code"]) == ("failed", "lost")
        assert not (await hub.hub.info("r")).closed


# --- the queue ------------------------------------------------------------------------------------


async def test_no_answered_run_ends_because_it_had_to_wait_for_room(store: Store) -> None:
    await leave_waiting(store, "r")
    handler, settings = Handler(), Settings(max_runs=1, shutdown_grace_s=0.0, cancel_grace_s=0.05)
    async with open_hub(store, functions=[flow(handler)], settings=settings) as hub:
        blocking = await hub.start(asks, run_id="blocking")
        await eventually(lambda: hub.runner.runs[blocking.run_id].writer.is_waiting)
        await hub.answer("r", "q", {"type": "accept"})
        assert hub.queue_position("r") == 1

    assert handler.calls == 0
    async with open_hub(store, functions=[flow(handler)], settings=settings) as hub:
        assert (await events_of(hub, "r"))[-1].data == {"result": "accept"}
        assert handler.calls == 1


async def test_no_answered_run_is_left_without_its_answer_by_a_hub_that_closes_as_it_starts(
    store: Store,
) -> None:
    await leave_waiting(store, "r")
    handler, faulty = Handler(), FaultyStore(store)
    handler.go_on.clear()
    async with open_hub(faulty, functions=[flow(handler)], settings=AT_ONCE) as hub:
        answering = asyncio.ensure_future(hub.answer("r", "q", {"type": "accept"}))
        await eventually(lambda: "r" in hub.runner.runs or answering.done())
        faulty.hold()
        handler.go_on.set()  # so that it commits, even if its start was committed before
        await faulty.wait_held()  # that it has started
        closing = asyncio.ensure_future(hub.close())
        for _ in range(100):
            await asyncio.sleep(0)
        faulty.release()
        await soon(closing)
        await soon(answering)
    async with open_hub(store, functions=[flow(handler)], settings=AT_ONCE) as hub:
        events = await events_of(hub, "r")
        assert events[-1].type in ("done", "cancelled"), events[-1]


async def test_an_answered_run_that_waits_for_room_does_not_outlive_its_cancelling(
    store: Store,
) -> None:
    await leave_waiting(store, "r")
    handler, settings = Handler(), Settings(max_runs=1, shutdown_grace_s=0.0, cancel_grace_s=0.05)
    async with open_hub(store, functions=[flow(handler)], settings=settings) as hub:
        blocking = await hub.start(asks, run_id="blocking")
        await eventually(lambda: hub.runner.runs[blocking.run_id].writer.is_waiting)
        await hub.answer("r", "q", {"type": "accept"})
        await soon(hub.cancel("r", "enough"))

        assert (await events_of(hub, "r"))[-1].data == {"reason": "enough"}
        assert handler.calls == 0


# --- closing --------------------------------------------------------------------------------------


async def test_a_run_that_is_cancelled_while_a_closing_hub_lets_it_go_is_cancelled(
    store: Store,
) -> None:
    is_leaving, may_leave = asyncio.Event(), asyncio.Event()

    async def leaves_slowly() -> None:
        try:
            await asks()
        finally:
            is_leaving.set()
            await may_leave.wait()

    slow = runcast.function(name="flow", resume=Handler())(leaves_slowly)
    async with open_hub(store, functions=[slow]) as hub:
        run = await hub.start("flow", run_id="r")
        await eventually(lambda: hub.runner.runs[run.run_id].writer.is_waiting)
        await hub.flush("r")
        closing = asyncio.ensure_future(hub.close())
        await soon(is_leaving.wait())
        await soon(hub.cancel("r", "enough"))
        may_leave.set()
        await soon(closing)

    async with open_hub(store, settings=AT_ONCE) as hub:
        assert (await hub.present("r"))[1].status == "cancelled"
        assert (await events_of(hub, "r"))[-1].data == {"reason": "enough"}


# --- the lease ------------------------------------------------------------------------------------


async def test_no_run_begins_that_others_would_take_for_lost(store: Store) -> None:
    noting = Noting(store)
    noting.lease_error = StoreUnavailable("the disk is full")
    settings = Settings(lease_s=0.05, shutdown_grace_s=0.0)
    async with open_hub(noting, settings=settings) as hub:
        with pytest.raises(StoreUnavailable, match="lives"):
            await hub.start(asks)
        noting.lease_error = None
        await soon(noting.renewed.wait())

        await hub.start(asks, run_id="r")
        assert not (await hub.hub.info("r")).closed


class Slow(Noting):
    """Takes its time to delete, until it is told to go on."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.is_deleting, self.may_delete = asyncio.Event(), asyncio.Event()

    async def delete_epoch(self, log_id: str, epoch: str) -> None:
        self.is_deleting.set()
        await self.may_delete.wait()
        await super().delete_epoch(log_id, epoch)
        self.is_deleting.clear()


@pytest.fixture
def patient() -> Settings:
    return Settings(lease_s=0.05, retention_every_s=0.01, shutdown_grace_s=0.0)


async def returns() -> None:
    pass


async def test_no_lease_is_lost_over_old_runs_that_take_long_to_delete(
    store: Store, clock: FakeClock, patient: Settings
) -> None:
    slow = Slow(store)
    async with open_hub(slow, settings=patient, clock=clock) as hub:
        await soon((await hub.start(returns)).wait())
        clock.advance(patient.keep_runs_s + 1)
        await soon(slow.is_deleting.wait())
        for _ in range(3):
            slow.renewed.clear()
            await soon(slow.renewed.wait())
        slow.may_delete.set()
        await eventually(lambda: not slow.is_deleting.is_set())
        assert await hub.hub.store.list() == []


async def test_no_hub_waits_for_old_runs_before_it_closes(
    store: Store, clock: FakeClock, patient: Settings
) -> None:
    slow = Slow(store)
    async with open_hub(slow, settings=patient, clock=clock) as hub:
        await soon((await hub.start(returns)).wait())
        clock.advance(patient.keep_runs_s + 1)
        await soon(slow.is_deleting.wait())
        await soon(hub.close())
    assert not slow.may_delete.is_set()


async def test_no_lease_is_lost_over_a_run_that_takes_long_to_take_over(store: Store) -> None:
    await leave_waiting(store, "r")
    noting = Noting(store)
    settings = Settings(lease_s=0.05, shutdown_grace_s=0.0)
    async with open_hub(noting, settings=settings) as hub:
        noting.may_claim.clear()
        cancelling = asyncio.ensure_future(hub.cancel("r"))
        await eventually(lambda: bool(noting.claimed))
        for _ in range(3):
            noting.renewed.clear()
            await soon(noting.renewed.wait())
        noting.may_claim.set()
        await soon(cancelling)


# --- old events -----------------------------------------------------------------------------------


async def test_what_is_cut_of_a_long_log_is_not_missing_from_its_state(store: Store) -> None:
    settings = Settings(keep_bytes_per_run=20_000, retention_every_s=0.01, shutdown_grace_s=0.0)
    async with open_hub(store, settings=settings) as hub:
        go_on = asyncio.Event()

        async def function() -> None:
            for number in range(1000):
                runcast.emit("tick", {"text": "x" * 80, "n": number})
                runcast.progress(number + 1, 1000)
            await go_on.wait()

        run = await hub.start(function, run_id="r")
        await eventually(lambda: run.status == "running")
        async with asyncio.timeout(5):
            while (info := await hub.hub.info("r")).first == 1 or info.head < 2000:  # noqa: ASYNC110
                await asyncio.sleep(0)
        go_on.set()
        await soon(run.wait())

        state = (await hub.present("r"))[1]
        assert state.status == "done"
        assert state.progress is not None
        assert state.progress.current == 1000
        events = await events_of(hub, "r")
        assert events[0].type == "gap"
        assert events[-1].seq == (await hub.hub.info("r")).head


# --- logs that are no runs ------------------------------------------------------------------------


async def leave_logs(store: Store) -> None:
    """Leave a log of each kind behind, as a process that is killed does."""
    async with Hub(store) as hub:
        for kind in ("run", "stream", "delivery"):
            await hub.create("a", kind=kind, owner_id="the-killed-process")


async def test_streams_are_lost_with_their_owner_and_deliveries_are_taken_over(
    store: Store,
) -> None:
    await leave_logs(store)
    async with open_hub(store) as hub:
        for log_id in ("a", "stream/a"):
            info, state = await hub.hub.present(log_id)
            assert info.closed
            assert state.failure is not None
            assert state.failure.code == "lost"
        info = await hub.hub.info("delivery/a")
        assert info.owner_id != "the-killed-process"
        # Its process had recorded nothing that could be continued.
        await eventually_closed(hub, "delivery/a")


async def eventually_closed(hub: OpenHub, log_id: str) -> None:
    async with asyncio.timeout(5):
        while not (await hub.hub.info(log_id)).closed:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_deliveries_are_handed_over_to_who_goes_on_with_them(store: Store) -> None:
    await leave_logs(store)
    async with Hub(store, identify=lambda: Owner(owner_id="me")) as hub:
        handed: list[LogInfo] = []
        recovery = Recovery(hub, NoAttempts())
        recovery.hand_over("delivery", handed.append)
        await recovery.open()
        await recovery.close()

        assert [info.log_id for info in handed] == ["delivery/a"]
        assert handed == [await hub.info("delivery/a")]
        assert (handed[0].owner_id, handed[0].fence) == ("me", 2)


class NoAttempts:
    async def after_answer(self, info: LogInfo) -> None:
        raise AssertionError(f"{info.log_id} was never answered")

    async def after_crash(self, info: LogInfo, known: object) -> None:
        raise AssertionError(f"{info.log_id} does not recover")

    async def after_launch(self, info: LogInfo) -> None:
        raise AssertionError(f"{info.log_id} was never handed over")

    async def launch_again(self, info: LogInfo) -> bool:
        raise AssertionError(f"{info.log_id} does not recover")


async def test_a_process_that_was_paused_waits_for_the_writers_elsewhere(
    store: Store, clock: FakeClock
) -> None:
    """They could not renew their leases meanwhile."""
    async with open_hub(store, clock=clock) as hub:
        await hub.writers.begin("train", run_id="r", lease_s=2.0)
        for pause_s, is_lost in ((10.0, False), (1.0, False), (2.0, True)):
            clock.advance(pause_s)
            await hub.runner.reap()
            assert (await hub.info("r")).closed == is_lost
