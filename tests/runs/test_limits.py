"""Starting runs: how many at once, how many wait, under which names, and who is refused."""

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

import runcast
from runcast._app import open_hub
from runcast._runs.run import Run
from runcast._settings import Settings
from runcast.errors import Conflict, InvalidInputs, InvalidValue, NotFound, Overloaded, RunTooLarge
from runcast.stores.base import MAX_LABELS, Store
from runcast.testing import FakeClock
from tests.opening import events_of, eventually, soon


def limited(runs: int, queue: int) -> Settings:
    return Settings(max_runs=runs, max_queue=queue, shutdown_grace_s=0.0, cancel_grace_s=1.0)


async def test_more_runs_than_fit_wait_and_begin_in_their_order(store: Store) -> None:
    async with open_hub(store, settings=limited(2, 10)) as hub:
        begun: list[int] = []
        gates = [asyncio.Event() for _ in range(5)]

        async def function(number: int) -> None:
            begun.append(number)
            await gates[number].wait()

        runs = [await hub.start(function, {"number": number}) for number in range(5)]
        await eventually(lambda: len(begun) == 2)
        await eventually(lambda: hub.runner.statistics()[:2] == (2, 3))
        assert [run.status for run in runs] == ["running"] * 2 + ["queued"] * 3
        info = await hub.hub.info(runs[4].run_id)
        assert info.status == "queued"

        for number in (1, 0, 2, 3, 4):
            gates[number].set()
            await soon(runs[number].result())
            await eventually(lambda: hub.runner.statistics().queued == 0 or len(begun) > 2)

        assert begun == [0, 1, 2, 3, 4]
        await eventually(lambda: hub.runner.statistics()[:2] == (0, 0))


async def test_of_many_that_come_at_once_only_as_many_as_fit_are_taken(store: Store) -> None:
    async with open_hub(store, settings=limited(2, 3)) as hub:
        go_on = asyncio.Event()

        async def function() -> None:
            await go_on.wait()

        started = await soon(
            asyncio.gather(*(hub.start(function) for _ in range(20)), return_exceptions=True)
        )
        refused = [error for error in started if isinstance(error, BaseException)]

        assert len(refused) == 15
        assert all(isinstance(error, Overloaded) and error.retryable for error in refused)
        assert len(await hub.hub.store.list()) == 5  # a refused run leaves nothing behind
        go_on.set()
        for run in started:
            if not isinstance(run, BaseException):
                await soon(run.result())
        await soon((await hub.start(function)).result())


async def test_what_could_not_be_started_takes_no_room(store: Store) -> None:
    async with open_hub(store, settings=limited(1, 0)) as hub:

        async def function(number: int) -> int:
            return number

        await soon((await hub.start(function, {"number": 1}, run_id="run-1")).result())
        await eventually(lambda: hub.runner.statistics().running == 0)
        for _ in range(3):
            with pytest.raises(Conflict, match="run-1"):
                await hub.start(function, {"number": 1}, run_id="run-1")
            with pytest.raises(InvalidInputs):
                await hub.start(function, {"number": "one"})
            with pytest.raises(InvalidValue):
                await hub.start(function, {"number": 1}, run_id="no such name!")

        assert await soon((await hub.start(function, {"number": 2})).result()) == 2


async def test_a_queue_of_none_refuses_at_once(store: Store) -> None:
    async with open_hub(store, settings=limited(1, 0)) as hub:
        go_on = asyncio.Event()

        async def function() -> None:
            await go_on.wait()

        run = await hub.start(function)
        with pytest.raises(
            Overloaded, match=r"at most 1 \(max_runs\).* of at most 0 \(max_queue\)"
        ):
            await hub.start(function)
        go_on.set()
        await soon(run.result())


class Gated:
    """Functions that go on one by one, each run of them as it is told."""

    def __init__(self, max_runs: int = 0) -> None:
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

        async def few(key: str) -> None:
            await self._go_on(key)

        async def many(key: str) -> None:
            await self._go_on(key)

        self.few = runcast.Function(few, max_runs=max_runs)
        self.many = runcast.Function(many)

    async def _go_on(self, key: str) -> None:
        self.begun.append(key)
        await self.gates.setdefault(key, asyncio.Event()).wait()

    async def end(self, run: Run) -> None:
        self.gates[run.run_id].set()
        await soon(run.wait())


@pytest.mark.parametrize("how", ["decorator", "setting"])
async def test_a_full_function_holds_back_its_own_runs_only(store: Store, how: str) -> None:
    gated = Gated(max_runs=1) if how == "decorator" else Gated()
    settings = Settings(
        max_runs=3,
        max_queue=10,
        max_runs_per_function=1 if how == "setting" else 0,
        shutdown_grace_s=0.0,
    )
    async with open_hub(store, settings=settings) as hub:

        async def begin(function: runcast.Function[..., Any], key: str) -> Run:
            return await hub.start(function, {"key": key}, run_id=key)

        first, second, third = [await begin(gated.few, f"few-{n}") for n in range(3)]
        other = await begin(gated.many, "many-0")
        await eventually(lambda: gated.begun == ["few-0", "many-0"])
        assert [hub.runner.queue_position(r.run_id) for r in (first, second, third)] == [0, 1, 2]
        assert hub.queue_position("few-2") == 2
        assert hub.queue_position("nothing") == 0

        await gated.end(first)
        await eventually(lambda: gated.begun[2:] == ["few-1"])
        assert hub.queue_position("few-2") == 1
        await gated.end(second)
        await eventually(lambda: gated.begun[3:] == ["few-2"])
        await gated.end(third)
        await gated.end(other)
        await eventually(lambda: hub.runner.statistics()[:2] == (0, 0))


async def test_a_run_that_leaves_the_queue_lets_the_others_move_up(store: Store) -> None:
    gated = Gated(max_runs=1)
    async with open_hub(store, settings=limited(10, 2)) as hub:
        runs = [
            await hub.start(gated.few, {"key": f"run-{n}"}, run_id=f"run-{n}") for n in range(3)
        ]
        await eventually(lambda: gated.begun == ["run-0"])
        with pytest.raises(Overloaded, match=r"of 'few' at most 1 \(max_runs of the function\)"):
            await hub.start(gated.few, {"key": "run-3"})

        await soon(hub.cancel("run-1"))
        assert hub.queue_position("run-2") == 1
        await gated.end(runs[0])
        await eventually(lambda: gated.begun == ["run-0", "run-2"])
        await gated.end(runs[2])


@pytest.mark.parametrize("most", [-1, True, 1.5, "2"])
def test_a_limit_that_is_none_is_refused_where_the_function_is_made(most: Any) -> None:
    with pytest.raises(InvalidValue, match="max_runs"):
        runcast.function(max_runs=most)(nothing)


# --- what a run may emit --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("max_events_per_run", Settings(max_events_per_run=3)),
        ("max_bytes_per_run", Settings(max_bytes_per_run=250)),
    ],
)
@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_run_that_emits_too_much_is_told_and_ends(
    store: Store, name: str, settings: Settings, in_thread: bool
) -> None:
    def in_a_thread() -> None:
        while True:
            runcast.emit("step", {"text": "." * 20})

    async def on_the_loop() -> None:
        in_a_thread()

    chosen: Any = in_a_thread if in_thread else on_the_loop
    async with open_hub(store, settings=settings) as hub:
        run = await hub.start(chosen)
        ending = await soon(run.wait())
        events = await events_of(hub, run.run_id)

        value = getattr(settings, name)
        assert (ending.type, ending.data["code"]) == ("failed", "run_too_large")
        assert f"{value} ({name})" in ending.data["message"]
        assert [event.type for event in events] == ["started", *["step"] * 3, "failed"]


async def test_a_run_that_emits_too_much_may_still_return(store: Store) -> None:
    refused: list[Exception] = []

    def function() -> Generator[object, None, str]:
        for number in range(10):
            try:
                yield {"type": "step", "data": number}
            except RunTooLarge as error:
                refused.append(error)
        return "enough"

    async with open_hub(store, settings=Settings(max_events_per_run=2)) as hub:
        run = await hub.start(function)

        assert await soon(run.result()) == "enough"
        assert len(refused) > 1
        assert [event.type for event in await events_of(hub, run.run_id)] == [
            *("started", "step", "step", "done")
        ]


async def test_a_run_that_was_given_up_makes_room_for_another(store: Store) -> None:
    settings = Settings(max_runs=1, max_queue=0, cancel_grace_s=0.01, shutdown_grace_s=0.0)
    async with open_hub(store, settings=settings) as hub:
        go_on = asyncio.Event()

        async def swallows() -> None:
            while not go_on.is_set():
                try:
                    await go_on.wait()
                except asyncio.CancelledError:
                    continue

        async def quick() -> int:
            return 1

        run = await hub.start(swallows)
        await eventually(lambda: run.status == "running")
        await soon(hub.cancel(run.run_id))
        await eventually(lambda: hub.runner.statistics().running == 0)

        assert await soon((await hub.start(quick)).result()) == 1
        go_on.set()


# --- names and labels -----------------------------------------------------------------------------


async def nothing() -> None:
    """Do nothing."""


async def test_a_run_is_in_the_store_with_its_labels_when_start_returns(store: Store) -> None:
    async with open_hub(store) as hub:
        run = await hub.start(nothing, labels={"user": "ada"})
        info = await hub.hub.info(run.run_id)
        await soon(run.result())
        ended = await hub.hub.info(run.run_id)

        assert info.epoch == run.epoch
        # The run goes on while the store is asked.
        assert info.status in ("queued", "running", "done")
        assert info.labels == ended.labels == {"user": "ada", "function": "nothing"}
        assert ended.status == "done"
        assert ended.ttl_s == Settings().keep_runs_s


async def test_made_up_ids_sort_by_time_and_do_not_repeat(store: Store, clock: FakeClock) -> None:
    async with open_hub(store, clock=clock) as hub:
        at_once = [(await hub.start(nothing)).run_id for _ in range(20)]
        clock.advance(0.001)
        later = (await hub.start(nothing)).run_id

        assert len(set(at_once)) == 20
        assert len({run_id[:13] for run_id in at_once}) == 1
        assert later > max(at_once)


@pytest.mark.parametrize("name", ["function", "status", "runcast.cancel", "runcast.x", ""])
async def test_labels_of_ours_cannot_be_given(store: Store, name: str) -> None:
    async with open_hub(store) as hub:
        with pytest.raises(InvalidValue):
            await hub.start(nothing, labels={name: "x"})

        assert await hub.hub.store.list() == []


async def test_with_as_many_labels_as_allowed_a_run_can_be_cancelled_from_elsewhere(
    store: Store,
) -> None:
    async with open_hub(store, settings=limited(1, 1)) as hub:
        labels = {f"label-{number}": "x" for number in range(MAX_LABELS)}
        with pytest.raises(InvalidValue, match="at most"):
            await hub.start(nothing, labels=labels)
        most = dict(list(labels.items())[: MAX_LABELS - 7])
        run = await hub.start(nothing, labels=most, run_id="run-1")
        await soon(run.result())
        inlet = await hub.hub.create("run-2", labels={**most, "function": "x"})
        await soon(hub.cancel("run-2", ""))  # as another process would

        info = await hub.hub.info("run-2")
        assert info.labels["runcast.cancel"] == "cancelled"
        await inlet.append(close=True)


@pytest.mark.parametrize("reason", ["a\0b", "a\ud800b"])
async def test_a_reason_that_no_label_can_hold_cancels_from_elsewhere(
    store: Store, reason: str
) -> None:
    async with open_hub(store, settings=limited(1, 1)) as hub:
        inlet = await hub.hub.create("run-1", labels={"function": "x"})
        await soon(hub.cancel("run-1", reason))  # as another process would

        info = await hub.hub.info("run-1")
        assert info.labels["runcast.cancel"] == "a\ufffdb"
        await inlet.append(close=True)


async def test_functions_are_started_by_name(store: Store) -> None:
    @runcast.function(name="count-words")
    def count(text: str) -> int:
        return len(text.split())

    async with open_hub(store, functions=[count]) as hub:
        run = await hub.start("count-words", {"text": "a b c"})
        assert await soon(run.result()) == 3
        assert (await events_of(hub, run.run_id))[0].data == {"function": "count-words"}
        with pytest.raises(NotFound, match="there are: count-words"):
            await hub.start("count")
        hub.add(count)
        with pytest.raises(InvalidValue, match="two functions"):
            hub.add(runcast.Function(nothing, name="count-words"))
