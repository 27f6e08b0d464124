"""Cancelling: a function is asked to stop where it runs, cleans up there, or is given up."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

import runcast
from runcast._app import OpenHub, open_hub
from runcast._settings import Settings
from runcast.errors import Cancelled, NotFound, RunClosed, RunFailed
from runcast.events.model import Event
from runcast.stores.base import LogInfo, Store
from runcast.testing import FaultyStore
from tests.opening import WAIT_S, events_of, eventually, meet, soon, wait_for

PATIENT = Settings(shutdown_grace_s=0.0, cancel_grace_s=WAIT_S)
IMPATIENT = Settings(shutdown_grace_s=0.0, cancel_grace_s=0.02)


def shown(events: list[Event]) -> list[str]:
    return [event.type for event in events]


class Gate:
    """A place in a function that it reaches and waits at, seen from the test."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        wait_for(self.go_on)

    async def wait(self) -> None:
        await eventually(self.reached.is_set)


@contextlib.contextmanager
def gate() -> Iterator[Gate]:
    made = Gate()
    try:
        yield made
    finally:
        made.go_on.set()  # no thread stays behind


# --- in a task ------------------------------------------------------------------------------------


async def test_a_coroutine_is_cancelled_where_it_waits_and_may_still_emit(store: Store) -> None:
    async with open_hub(store, settings=PATIENT) as hub:

        async def function() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                runcast.log("cancelled")
                raise
            finally:
                await asyncio.sleep(0)
                runcast.log("cleaned up")
                await runcast.flush()

        run = await hub.start(function)
        await eventually(lambda: run.status == "running")
        await soon(hub.cancel(run.run_id, "by hand"))
        events = await events_of(hub, run.run_id)

        assert shown(events) == ["started", "log", "log", "cancelled"]
        assert events[-1].data == {"reason": "by hand"}
        with pytest.raises(RunFailed, match="by hand") as caught:
            await run.result()
        assert caught.value.code == "cancelled"


async def test_an_async_generator_is_closed_in_its_task_wherever_it_stands(store: Store) -> None:
    async with open_hub(store, settings=PATIENT) as hub:
        tasks: set[object] = set()

        async def waits() -> AsyncIterator[object]:
            try:
                yield "a"
                await asyncio.Event().wait()
            finally:
                tasks.add(asyncio.current_task())
                runcast.log("cleaned up")

        async def yields() -> AsyncIterator[object]:
            try:
                while True:
                    yield None
            finally:
                tasks.add(asyncio.current_task())
                await asyncio.sleep(0)
                runcast.log("cleaned up")

        for function in (waits, yields):
            run = await hub.start(function)
            await eventually(lambda run=run: run.status == "running")  # type: ignore[misc]
            await asyncio.sleep(0)
            await soon(hub.cancel(run.run_id))

            assert shown(await events_of(hub, run.run_id))[-2:] == ["log", "cancelled"]
        assert len(tasks) == 2
        assert asyncio.current_task() not in tasks


async def test_a_coroutine_that_swallows_its_cancellation_is_given_up(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hub(store, settings=IMPATIENT) as hub:
        go_on = asyncio.Event()
        refused: list[BaseException] = []

        async def function() -> str:
            while not go_on.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await go_on.wait()
            try:
                runcast.log("too late")
            except RunClosed as error:
                refused.append(error)
            return "nobody asks any more"

        run = await hub.start(function)
        await eventually(lambda: run.status == "running")
        await soon(hub.cancel(run.run_id))
        assert "given up" in caplog.text
        assert shown(await events_of(hub, run.run_id)) == ["started", "cancelled"]
        go_on.set()
        await eventually(lambda: bool(refused))

        assert shown(await events_of(hub, run.run_id)) == ["started", "cancelled"]


async def test_a_function_that_finishes_though_it_was_asked_to_stop_has_finished(
    store: Store,
) -> None:
    async with open_hub(store, settings=PATIENT) as hub:

        async def saves() -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "saved"
            return ""

        async def gives_in() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

        ends = []
        for function in (saves, gives_in):
            run = await hub.start(function)
            await eventually(lambda run=run: run.status == "running")  # type: ignore[misc]
            await asyncio.sleep(0)
            await soon(hub.cancel(run.run_id))
            ends.append((await run.wait()).type)

        assert ends == ["done", "cancelled"]


async def test_what_is_raised_while_cleaning_up_does_not_hide_the_cancellation(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_hub(store, settings=PATIENT) as hub:

        async def function() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise OSError("the socket was gone")

        run = await hub.start(function)
        await eventually(lambda: run.status == "running")
        await asyncio.sleep(0)
        await soon(hub.cancel(run.run_id))

        assert (await run.wait()).type == "cancelled"
        assert "the socket was gone" in caplog.text


# --- in a thread ----------------------------------------------------------------------------------


async def test_a_thread_is_told_once_at_its_next_emit_and_may_clean_up(store: Store) -> None:
    async with open_hub(store, settings=PATIENT) as hub:
        at_work = threading.Event()
        told: list[str] = []

        def function() -> None:
            try:
                while True:
                    with contextlib.suppress(Exception):  # does not swallow it
                        runcast.log("at work")
                        at_work.set()
            except Cancelled as error:
                told.append(str(error))
                for _ in range(3):
                    runcast.log("cleaning up")
                raise

        run = await hub.start(function)
        await eventually(at_work.is_set)
        await soon(hub.cancel(run.run_id, "by hand"))
        events = await events_of(hub, run.run_id)

        assert told == ["by hand"]
        logs = [event.data["message"] for event in events if event.type == "log"]
        assert logs[-4:] == ["at work"] + ["cleaning up"] * 3
        assert (events[-1].type, events[-1].data) == ("cancelled", {"reason": "by hand"})


async def test_each_thread_of_a_run_is_told(store: Store) -> None:
    async with open_hub(store, settings=PATIENT) as hub:
        all_at_work = threading.Event()
        barrier = threading.Barrier(4, action=all_at_work.set)
        told: list[str] = []

        def work(name: str) -> None:
            meet(barrier)
            try:
                while True:
                    runcast.log(name)
            except Cancelled:
                told.append(name)
                runcast.log("cleaning up")

        def function() -> None:
            threads = [
                threading.Thread(target=runcast.bind(work), args=(f"thread-{index}",))
                for index in range(3)
            ]
            for thread in threads:
                thread.start()
            work("own")
            for thread in threads:
                thread.join(WAIT_S)

        run = await hub.start(function)
        await eventually(all_at_work.is_set)
        await soon(hub.cancel(run.run_id))
        events = await events_of(hub, run.run_id)

        assert sorted(told) == ["own", "thread-0", "thread-1", "thread-2"]
        assert [event.type for event in events][-1] == "cancelled"
        logs = [event.data["message"] for event in events if event.type == "log"]
        assert logs.count("cleaning up") == 4


async def test_threads_are_told_one_after_another(store: Store) -> None:
    """The system gives the ids of threads that have ended to the next ones."""
    async with open_hub(store, settings=PATIENT) as hub:
        at_work = threading.Event()
        told: list[str] = []

        def work(name: str) -> None:
            try:
                runcast.log(name)
            except Cancelled:
                told.append(name)

        def function() -> None:
            try:
                while True:
                    runcast.log("own")
                    at_work.set()
            except Cancelled:
                for index in range(3):
                    thread = threading.Thread(target=runcast.bind(work), args=(str(index),))
                    thread.start()
                    thread.join(WAIT_S)

        run = await hub.start(function)
        await eventually(at_work.is_set)
        await soon(hub.cancel(run.run_id))
        await events_of(hub, run.run_id)

        assert told == ["0", "1", "2"]


async def test_a_thread_that_a_coroutine_started_is_told_too(store: Store) -> None:
    async with open_hub(store, settings=PATIENT) as hub:
        with gate() as here:
            told = threading.Event()

            def work() -> None:
                here()
                try:
                    runcast.log("at work")
                except (Cancelled, RunClosed):
                    told.set()

            async def function() -> None:
                await asyncio.to_thread(work)

            run = await hub.start(function)
            await here.wait()
            await soon(hub.cancel(run.run_id))
            here.go_on.set()

            await eventually(told.is_set)
            assert shown(await events_of(hub, run.run_id)) == ["started", "cancelled"]


async def test_a_sync_generator_is_told_where_it_yields_and_ends_in_its_thread(
    store: Store,
) -> None:
    async with open_hub(store, settings=PATIENT) as hub:
        threads: list[int] = []

        def function() -> Generator[object, None, None]:
            threads.append(threading.get_ident())
            try:
                while True:
                    yield None
            except Cancelled:
                runcast.log("told")
                raise
            finally:
                threads.append(threading.get_ident())
                runcast.log("cleaned up")

        run = await hub.start(function)
        await eventually(lambda: bool(threads))
        await soon(hub.cancel(run.run_id))

        assert shown(await events_of(hub, run.run_id)) == ["started", "log", "log", "cancelled"]
        assert threads[0] == threads[1]


async def test_a_sync_generator_may_yield_while_it_cleans_up(store: Store) -> None:
    async with open_hub(store, settings=PATIENT) as hub:
        begun = threading.Event()

        def function() -> Generator[object, None, None]:
            try:
                begun.set()
                while True:
                    yield None
            finally:
                yield "cleaned up"

        run = await hub.start(function)
        await eventually(begun.is_set)
        await soon(hub.cancel(run.run_id))
        events = await events_of(hub, run.run_id)

        assert shown(events) == ["started", "content", "cancelled"]
        assert events[1].data["text"] == "cleaned up"


async def test_a_thread_that_never_returns_is_given_up_and_its_place_taken(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(threads=1, shutdown_grace_s=0.0, cancel_grace_s=0.02)
    async with open_hub(store, settings=settings) as hub:
        with gate() as here:
            refused: list[BaseException] = []

            def stuck() -> None:
                here()
                for _ in range(2):
                    try:
                        runcast.log("too late")
                    except BaseException as error:  # noqa: BLE001 - whichever comes
                        refused.append(error)

            def quick() -> int:
                return 1

            run = await hub.start(stuck)
            await here.wait()
            waiting = await hub.start(quick)  # for the only thread
            await eventually(lambda: hub.runner.statistics().threads == (1, 0, 1))
            await soon(hub.cancel(run.run_id))

            assert (await run.wait()).type == "cancelled"
            assert "given up" in caplog.text
            assert await soon(waiting.result()) == 1
            assert hub.runner.statistics().threads.stuck == 1
            here.go_on.set()
            await eventually(lambda: hub.runner.statistics().threads == (0, 0, 0))
            assert isinstance(refused[-1], RunClosed)
            assert shown(await events_of(hub, run.run_id)) == ["started", "cancelled"]
            assert await soon((await hub.start(quick)).result()) == 1


async def test_as_many_threads_again_may_be_stuck_and_no_more(store: Store) -> None:
    settings = Settings(threads=2, shutdown_grace_s=0.0, cancel_grace_s=0.02)
    async with open_hub(store, settings=settings) as hub:
        with gate() as here:
            at_work = threading.Semaphore(0)

            def stuck() -> None:
                at_work.release()
                wait_for(here.go_on)

            for _ in range(4):
                run = await hub.start(stuck)
                await eventually(lambda: at_work.acquire(blocking=False))
                await soon(hub.cancel(run.run_id))
            assert hub.runner.statistics().threads == (0, 4, 0)
            waiting = await hub.start(stuck)
            await eventually(lambda: hub.runner.statistics().threads.waiting == 1)
            await asyncio.sleep(0)
            assert hub.runner.statistics().threads == (0, 4, 1)
            here.go_on.set()

            await soon(waiting.result())
            await eventually(lambda: hub.runner.statistics().threads == (0, 0, 0))


# --- before it began ------------------------------------------------------------------------------


async def test_a_run_that_waits_for_a_thread_is_cancelled_at_once_and_never_begins(
    store: Store,
) -> None:
    settings = Settings(threads=1, shutdown_grace_s=0.0, cancel_grace_s=WAIT_S)
    async with open_hub(store, settings=settings) as hub:
        with gate() as here:
            begun: list[int] = []

            def first() -> None:
                here()

            def second() -> None:
                begun.append(1)

            busy = await hub.start(first)
            await here.wait()
            run = await hub.start(second)
            await eventually(lambda: hub.runner.statistics().threads.waiting == 1)
            await soon(hub.cancel(run.run_id))

            assert (await run.wait()).type == "cancelled"
            assert hub.runner.statistics().threads == (1, 0, 0)
            here.go_on.set()
            await soon(busy.result())
            assert begun == []


async def test_a_run_in_the_queue_is_cancelled_without_having_started(store: Store) -> None:
    async with open_hub(store, settings=Settings(max_runs=1, shutdown_grace_s=0.0)) as hub:
        go_on = asyncio.Event()

        async def function() -> None:
            await go_on.wait()

        first = await hub.start(function)
        second = await hub.start(function)
        await eventually(lambda: hub.runner.statistics().queued == 1)
        await soon(hub.cancel(second.run_id, "changed my mind"))
        events = await events_of(hub, second.run_id)

        assert shown(events) == ["cancelled"]
        assert events[0].data == {"reason": "changed my mind"}
        go_on.set()
        await soon(first.result())
        assert await soon((await hub.start(function)).result()) is None  # there is room


async def test_a_run_cancelled_while_it_is_being_started_never_begins(store: Store) -> None:
    async with open_hub(store, settings=PATIENT) as hub:
        begun: list[int] = []

        async def function() -> None:
            begun.append(1)

        run = await hub.start(function)
        run.cancel("at once")
        await soon(run.wait())

        assert begun == []
        assert (await run.wait()).data == {"reason": "at once"}


class SlowToBegin(FaultyStore):
    """Makes logs at once, and says so when it is told to."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self.made = asyncio.Event()
        self.say_so = asyncio.Event()

    async def create(self, log_id: str, **options: Any) -> LogInfo:
        info = await super().create(log_id, **options)
        self.made.set()
        await self.say_so.wait()
        return info


@pytest.mark.parametrize("is_closing", [False, True])
async def test_a_run_whose_starter_is_cancelled_when_it_is_in_the_store_ends(
    store: Store, is_closing: bool
) -> None:
    slow = SlowToBegin(store)
    begun: list[int] = []

    async def function() -> None:
        begun.append(1)

    async with open_hub(slow, settings=PATIENT) as hub:
        starting = asyncio.create_task(hub.start(function, run_id="r"))
        await soon(slow.made.wait())
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        if is_closing:
            asyncio.get_running_loop().call_soon(slow.say_so.set)
        else:
            slow.say_so.set()
            await events_of(hub, "r")
    async with open_hub(store) as hub:
        events = await events_of(hub, "r")

    assert (shown(events)[-1], begun) == ("cancelled", [])


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_run_that_takes_too_long_fails(store: Store, in_thread: bool) -> None:
    settings = Settings(run_time_s=0.02, cancel_grace_s=WAIT_S)
    async with open_hub(store, settings=settings) as hub:
        cleaned: list[int] = []

        async def function() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.append(1)

        def thread_function() -> Generator[object, None, None]:
            try:
                while True:
                    yield None
            finally:
                cleaned.append(1)

        chosen: Any = thread_function if in_thread else function
        run = await hub.start(chosen)
        ending = await soon(run.wait())

        assert (ending.type, ending.data["code"]) == ("failed", "timed_out")
        assert cleaned == [1]
        message = (await events_of(hub, run.run_id))[-1].data["message"]
        assert "longer than 0.02 s" in message
        assert "run_time_s" in message


# --- shutdown -------------------------------------------------------------------------------------


async def test_runs_are_cancelled_when_the_hub_closes(store: Store) -> None:
    with gate() as here:

        def stuck() -> None:
            here()

        async def waits() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                runcast.log("goodbye")

        settings = Settings(shutdown_grace_s=0.0, cancel_grace_s=0.02, max_runs=2)
        async with open_hub(store, settings=settings) as hub:
            runs = [await hub.start(stuck), await hub.start(waits), await hub.start(waits)]
            await here.wait()
            await eventually(lambda: runs[1].status == "running")

        here.go_on.set()
        assert [(await soon(run.wait())).type for run in runs] == ["cancelled"] * 3
        async with open_hub(store) as hub:
            streams = [shown(await events_of(hub, run.run_id)) for run in runs]
        assert streams == [["started", "cancelled"], ["started", "log", "cancelled"], ["cancelled"]]


async def test_runs_that_end_in_the_grace_period_end_as_they_are(store: Store) -> None:
    go_on = asyncio.Event()

    async def function() -> str:
        await go_on.wait()
        return "in time"

    async with open_hub(store, settings=Settings(shutdown_grace_s=WAIT_S)) as hub:
        run = await hub.start(function)
        await eventually(lambda: run.status == "running")
        closing = asyncio.create_task(hub.close())
        await asyncio.sleep(0)
        with pytest.raises(runcast.RuncastError, match="shutting down"):
            await hub.start(function)
        go_on.set()
        await soon(closing)

        assert await run.result() == "in time"


async def test_a_run_that_is_interrupted_with_its_loop_is_stopped(store: Store) -> None:
    async with open_hub(store, settings=PATIENT) as hub:
        cancelled = asyncio.Event()

        async def function() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        run = await hub.start(function)
        await eventually(lambda: run.status == "running")
        await asyncio.sleep(0)
        task = hub.runner.runs[run.run_id].task
        assert task is not None
        task.cancel()
        await soon(cancelled.wait())

        ending = (await events_of(hub, run.run_id))[-1]
        assert (ending.type, ending.data["code"]) == ("failed", "interrupted")


def test_leaving_a_loop_with_a_hub_that_was_never_closed_does_not_hang() -> None:
    stopped: list[int] = []

    async def function() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(1)

    async def main() -> OpenHub:
        hub = await open_hub().__aenter__()
        run = await hub.start(function)
        await eventually(lambda: run.status == "running")
        await asyncio.sleep(0)
        return hub

    asyncio.run(main())

    assert stopped == [1]


# --- who may ask ----------------------------------------------------------------------------------


async def test_the_first_reason_counts_and_cancelling_again_waits_for_the_end(
    store: Store,
) -> None:
    async with open_hub(store, settings=PATIENT) as hub:

        async def function() -> None:
            await asyncio.Event().wait()

        run = await hub.start(function)
        await eventually(lambda: run.status == "running")
        await soon(asyncio.gather(*(hub.cancel(run.run_id, f"reason {n}") for n in range(3))))

        assert run.has_ended
        assert (await run.wait()).data == {"reason": "reason 0"}


async def test_cancelling_a_run_that_never_was_is_an_error(store: Store) -> None:
    async with open_hub(store) as hub:
        with pytest.raises(NotFound):
            await hub.cancel("run-1")


async def test_a_run_may_cancel_itself(store: Store) -> None:
    async with open_hub(store, settings=PATIENT) as hub:

        async def function() -> None:
            await hub.cancel("run-1", "I have had enough")

        run = await hub.start(function, run_id="run-1")

        assert (await soon(run.wait())).data == {"reason": "I have had enough"}


async def test_leaving_is_not_cancelling(store: Store) -> None:
    async with open_hub(store, settings=PATIENT) as hub:
        go_on = asyncio.Event()

        async def function() -> str:
            await go_on.wait()
            return "still here"

        run = await hub.start(function)
        watching = asyncio.create_task(events_of(hub, run.run_id))
        await eventually(lambda: hub.hub.statistics().watchers == 1)
        watching.cancel()
        await asyncio.wait([watching])
        assert hub.hub.statistics().watchers == 0
        go_on.set()

        assert await soon(run.result()) == "still here"


@pytest.mark.parametrize("reason", ["", "x" * 100_000, "\ud800", "a\n\nb"])
async def test_any_reason_will_do(store: Store, reason: str) -> None:
    async with open_hub(store, settings=PATIENT) as hub:

        async def function() -> None:
            await asyncio.Event().wait()

        run = await hub.start(function)
        await eventually(lambda: run.status == "running")
        await soon(hub.cancel(run.run_id, reason))
        ending = (await events_of(hub, run.run_id))[-1]

        assert ending.type == "cancelled"
        assert ending.data["reason"] == reason[:2000].replace("\ud800", "\ufffd")
