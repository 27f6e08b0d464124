"""Questions: stored before shown, answered once, by whoever is first, even after a restart."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

import runcast
from runcast._app import OpenHub
from runcast._producing.answers import Answer
from runcast._runs.run import Run
from runcast.errors import (
    Conflict,
    InvalidValue,
    NotFound,
    Overloaded,
    RunClosed,
    RunFailed,
    StoreUnavailable,
)
from runcast.events.position import Position
from runcast.events.snapshot import MAX_INTERRUPTS
from runcast.events.vocabulary import KNOWN
from runcast.stores.base import Page, Store
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock, FaultyStore
from tests.opening import events_of, eventually, soon
from tests.waiting import WAIT_S

Started = Callable[..., Any]

DEEP: list[Any] = []
for _ in range(5_000):
    DEEP = [DEEP]


@pytest.fixture(params=["memory", "sqlite"])
async def hub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenHub]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/runs.db"
    settings = runcast.Settings(shutdown_grace_s=0.0)
    async with runcast.open_hub(url, settings=settings) as opened:
        yield opened


async def question(hub: OpenHub, run: Run) -> dict[str, Any]:
    """Return the first question a run asks."""
    async with asyncio.timeout(WAIT_S):
        async for event in hub.watch(run.run_id):
            if event.type == "interrupt_request":
                found: dict[str, Any] = event.data
                return found
    raise AssertionError("the run ended without a question")


async def ending(run: Run) -> tuple[str, dict[str, Any]]:
    async with asyncio.timeout(WAIT_S):
        return await run.wait()


async def asks(**options: Any) -> Any:
    answer = await runcast.ask("Search the web?", action="web_search", args={"q": "x"}, **options)
    return [answer.type, answer.args, answer.approved, answer.by]


def asks_in_thread() -> Iterator[str]:
    answer = runcast.ask("go on?")
    yield f"{answer.type} in {threading.current_thread().name}"


async def test_a_coroutine_asks_and_gets_the_answer(hub: OpenHub) -> None:
    run = await hub.start(asks)
    asked = await question(hub, run)

    decision, repeated = await hub.answer(
        run.run_id, asked["interrupt_id"], {"type": "edit", "args": {"q": "y"}, "by": "ann"}
    )

    assert asked["action"] == "web_search"
    assert (decision["type"], decision["approved"], repeated) == ("edit", True, False)
    assert (await ending(run))[1]["result"] == ["edit", {"q": "y"}, True, "ann"]


async def test_a_generator_in_a_thread_asks_and_gets_the_answer(hub: OpenHub) -> None:
    run = await hub.start(asks_in_thread)
    asked = await question(hub, run)
    await hub.answer(run.run_id, asked["interrupt_id"], {"approved": False, "content": "no"})

    await ending(run)
    events = [event async for event in hub.watch(run.run_id)]
    assert [event.data["text"] for event in events if event.type == "content"] == [
        "reject in runcast-run-1"
    ]


async def test_a_run_shows_that_it_waits_and_for_what(hub: OpenHub) -> None:
    run = await hub.start(asks, {"timeout_s": 600})
    asked = await question(hub, run)

    info, state = await hub.present(run.run_id)

    assert info.status == state.status == "waiting"
    assert [one.interrupt_id for one in state.interrupts] == [asked["interrupt_id"]]
    assert state.interrupts[0].expires_at == asked["expires_at"]
    await hub.answer(run.run_id, asked["interrupt_id"], {"type": "accept"})
    assert (await ending(run))[0] == "done"
    assert (await hub.present(run.run_id))[1].interrupts_resolved == 1


async def test_all_that_is_told_of_a_question_is_documented(hub: OpenHub) -> None:
    run = await hub.start(asks, {"timeout_s": 600, "config": {"allow_edit": False}})
    key = (await question(hub, run))["interrupt_id"]
    await hub.answer(run.run_id, key, {"type": "accept", "by": "ann"})

    told = [event for event in await events_of(hub, run.run_id) if "interrupt" in event.type]

    assert [event.type for event in told if event.data.keys() - set(KNOWN[event.type])] == []
    assert len(told) == 3


async def test_the_same_answer_again_changes_nothing_and_another_is_refused(hub: OpenHub) -> None:
    run = await hub.start(asks)
    key = (await question(hub, run))["interrupt_id"]

    await hub.answer(run.run_id, key, {"type": "response", "args": "first"})
    _, repeated = await hub.answer(run.run_id, key, {"type": "response", "args": "first"})
    with pytest.raises(Conflict, match="first"):
        await hub.answer(run.run_id, key, {"type": "reject"})
    with pytest.raises(InvalidValue, match="nested"):
        await hub.answer(run.run_id, key, {"type": "edit", "args": DEEP})
    await ending(run)
    _, after_the_end = await hub.answer(run.run_id, key, {"type": "response", "args": "first"})

    assert repeated
    assert after_the_end
    types = [event.type async for event in hub.watch(run.run_id)]
    assert types.count("interrupt_response") == types.count("interrupt_resolved") == 1


async def test_the_same_answer_may_name_its_fields_in_another_order(hub: OpenHub) -> None:
    run = await hub.start(asks)
    key = (await question(hub, run))["interrupt_id"]

    await hub.answer(run.run_id, key, {"type": "edit", "args": {"a": 1, "b": [2]}, "by": "ann"})
    first, repeated = await hub.answer(
        run.run_id, key, {"args": {"b": [2], "a": 1}, "type": "edit", "by": "bob"}
    )

    assert repeated
    assert first["by"] == "ann"


async def test_of_many_answers_at_once_exactly_one_wins(hub: OpenHub) -> None:
    run = await hub.start(asks)
    key = (await question(hub, run))["interrupt_id"]

    outcomes = await asyncio.gather(
        *(hub.answer(run.run_id, key, {"type": "edit", "args": n}) for n in range(20)),
        return_exceptions=True,
    )

    won = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert len(won) == 1
    assert all(isinstance(o, Conflict) for o in outcomes if isinstance(o, BaseException))
    assert (await ending(run))[1]["result"][1] == won[0][0]["args"]


async def test_a_step_of_the_clock_refuses_no_answer_that_comes_in_time(
    store: Store, clock: FakeClock
) -> None:
    async with runcast.open_hub(store, clock=clock) as hub:
        run = await hub.start(asks, {"timeout_s": 600})
        asked = await question(hub, run)
        assert asked["expires_at"] == clock.time() + 600

        clock.jump(3600)
        await hub.answer(run.run_id, asked["interrupt_id"], {"type": "accept"})

        assert (await ending(run))[1]["result"][0] == "accept"


@pytest.mark.parametrize("step", [0, -3600])
async def test_a_step_back_prolongs_no_question(
    store: Store, clock: FakeClock, step: float
) -> None:
    async with runcast.open_hub(store, clock=clock) as hub:
        run = await hub.start(asks, {"timeout_s": 600})
        asked = await question(hub, run)
        clock.jump(step)
        clock.advance(601)

        with pytest.raises(Conflict, match="expired"):
            await hub.answer(run.run_id, asked["interrupt_id"], {"type": "accept"})

        assert (await ending(run))[1]["result"][0] == "expired"


async def test_a_question_expires_with_an_outcome_of_its_own(hub: OpenHub) -> None:
    run = await hub.start(asks, {"timeout_s": 0.01})

    assert (await ending(run))[1]["result"] == ["expired", None, False, ""]
    resolved = [e async for e in hub.watch(run.run_id) if e.type == "interrupt_resolved"]
    assert [event.data["outcome"] for event in resolved] == ["expired"]
    with pytest.raises(Conflict, match="expired"):
        await hub.answer(run.run_id, resolved[0].data["interrupt_id"], {"type": "accept"})


async def test_two_questions_at_once_are_answered_apart(hub: OpenHub) -> None:
    async def two() -> Any:
        first, second = await asyncio.gather(
            runcast.ask("a?", interrupt_id="a"), runcast.ask("b?", interrupt_id="b")
        )
        return [first.args, second.args]

    run = await hub.start(two)
    async with asyncio.timeout(WAIT_S):
        async for event in hub.watch(run.run_id):
            if event.type == "interrupt_request" and event.data["interrupt_id"] == "b":
                break
    await hub.answer(run.run_id, "b", {"type": "response", "args": 2})
    info, state = await hub.present(run.run_id)
    assert info.status == state.status == "waiting"
    await hub.answer(run.run_id, "a", {"type": "response", "args": 1})

    assert (await ending(run))[1]["result"] == [1, 2]


async def test_asking_again_under_an_id_gives_its_answer_at_once(hub: OpenHub) -> None:
    async def again() -> Any:
        first = await runcast.ask("a?", interrupt_id="a")
        second = await runcast.ask("a?", interrupt_id="a")
        return [first.args, second.args]

    run = await hub.start(again)
    await question(hub, run)
    await hub.answer(run.run_id, "a", {"type": "response", "args": 7})

    assert (await ending(run))[1]["result"] == [7, 7]


async def test_a_question_that_nobody_waits_for_any_more_expires_all_the_same(
    hub: OpenHub,
) -> None:
    finish = asyncio.Event()

    async def impatient() -> None:
        asking = asyncio.create_task(runcast.ask("x?", interrupt_id="q", timeout_s=0.05))
        await eventually(lambda: hub.hub.statistics().pipeline.appended == 2)
        asking.cancel()
        await finish.wait()

    run = await hub.start(impatient)
    async with asyncio.timeout(WAIT_S):
        async for event in hub.watch(run.run_id):
            if event.type == "interrupt_resolved":
                break

    assert event.data == {"interrupt_id": "q", "outcome": "expired"}
    info, state = await hub.present(run.run_id)
    assert info.status == state.status == "running"
    finish.set()
    assert (await ending(run))[0] == "done"


async def test_who_still_asks_when_the_run_ends_is_told_so(hub: OpenHub) -> None:
    asking: list[asyncio.Task[Any]] = []

    async def leaves() -> None:
        asking.append(asyncio.create_task(runcast.ask("x?", timeout_s=600)))
        await eventually(lambda: hub.hub.statistics().pipeline.appended == 2)

    run = await hub.start(leaves)

    assert (await ending(run))[0] == "done"
    with pytest.raises(RunClosed, match="ended before its question"):
        async with asyncio.timeout(WAIT_S):
            await asking[0]


async def test_no_deadline_outlives_its_run_and_few_are_kept(hub: OpenHub) -> None:
    def deadlines() -> int:
        names = [task.get_name() for task in asyncio.all_tasks()]
        return len([name for name in names if name.startswith("runcast-deadline")])

    async def impatient() -> int:
        for number in range(MAX_INTERRUPTS + 3):
            asking = asyncio.create_task(
                runcast.ask("x?", interrupt_id=f"q-{number}", timeout_s=600)
            )
            await eventually(lambda: hub.hub.statistics().pipeline.appended == 2 + number)  # noqa: B023
            asking.cancel()
            await asyncio.wait({asking})
        return deadlines()

    run = await hub.start(impatient)

    assert (await ending(run))[1]["result"] == MAX_INTERRUPTS
    await eventually(lambda: not deadlines())


async def test_what_is_asked_again_expires_when_it_was_told_to(hub: OpenHub) -> None:
    async def again() -> str:
        asking = asyncio.ensure_future(runcast.ask("a?", interrupt_id="a", timeout_s=0.2))
        await question(hub, run)
        asking.cancel()
        answer: Answer = await runcast.ask("a?", interrupt_id="a")  # how long, it said before
        return answer.type

    run = await hub.start(again)

    assert (await ending(run))[1]["result"] == "expired"


async def test_what_is_asked_again_does_not_wait_for_longer_than_it_is_told_now(
    hub: OpenHub,
) -> None:
    async def again() -> str:
        asking = asyncio.ensure_future(runcast.ask("a?", interrupt_id="a", timeout_s=600))
        await eventually(lambda: hub.runner.runs[run.run_id].writer.is_waiting)
        answer: Answer = await runcast.ask("a?", interrupt_id="a", timeout_s=0.01)
        return f"{answer.type}, {(await asking).type}"

    run = await hub.start(again)

    assert (await ending(run))[1]["result"] == "expired, expired"


async def test_an_answer_that_comes_at_once_ends_its_question_once(store: Store) -> None:
    async with runcast.open_hub(store) as hub:
        read_page, was_read = hub.hub.read_page, False

        async def answer_first(run_id: str, after: Position) -> Page:
            nonlocal was_read
            if not was_read:  # the run looks whether it was answered before it asked
                was_read = True
                await hub.answer(run_id, "q", {"type": "accept"})
            return await read_page(run_id, after)

        hub.hub.read_page = answer_first  # type: ignore[method-assign]
        run = await hub.start(asks, {"interrupt_id": "q"})

        assert (await ending(run))[1]["result"][0] == "accept"
        assert was_read
        types = [event.type for event in await events_of(hub, run.run_id)]
        assert types.count("interrupt_resolved") == 1


async def test_what_was_told_and_answered_before_it_is_asked_has_its_answer(hub: OpenHub) -> None:
    async def tells_then_asks() -> str:
        runcast.StreamWriter().interrupt_request("q", "deploy")
        await runcast.flush()
        await hub.answer(run.run_id, "q", {"type": "accept"})
        answer: Answer = await runcast.ask("Deploy?", interrupt_id="q")
        return answer.type

    run = await hub.start(tells_then_asks)

    assert (await ending(run))[1]["result"] == "accept"
    _, state = await hub.present(run.run_id)
    assert state.interrupts_lapsed == 0, "what was asked again is closed as well"


async def test_the_decision_on_a_question_of_any_id_is_found_again(hub: OpenHub) -> None:
    key = 'say "é\\n"?'
    run = await hub.start(asks, {"interrupt_id": key})
    await question(hub, run)
    await hub.answer(run.run_id, key, {"type": "accept"})

    _, repeated = await hub.answer(run.run_id, key, {"type": "accept"})

    assert repeated
    with pytest.raises(Conflict):
        await hub.answer(run.run_id, key, {"type": "reject"})


async def test_who_gives_a_question_up_does_not_wait_any_more(hub: OpenHub) -> None:
    async def gives_up() -> bool:
        asking = asyncio.ensure_future(runcast.ask("anybody?"))
        await eventually(lambda: hub.runner.runs[run.run_id].writer.is_waiting)
        asking.cancel()
        await asyncio.wait({asking})
        return hub.runner.runs[run.run_id].writer.is_waiting

    run = await hub.start(gives_up)

    assert (await ending(run))[1]["result"] is False


async def test_a_function_with_a_loop_of_its_own_asks_there(hub: OpenHub) -> None:
    def asks_elsewhere() -> str:
        async def ask() -> str:
            answer: Answer = await runcast.ask("go on?", interrupt_id="q")
            return answer.type

        return asyncio.run(ask())

    run = await hub.start(asks_elsewhere)
    await question(hub, run)
    await hub.answer(run.run_id, "q", {"type": "reject"})

    assert (await ending(run))[1]["result"] == "reject"


async def test_a_run_that_asks_again_for_an_answer_that_is_not_kept_is_told_so(
    hub: OpenHub,
) -> None:
    was_cut = asyncio.Event()

    async def again() -> Any:
        await runcast.ask("a?", interrupt_id="a")
        runcast.content("much later")
        await runcast.flush()
        await was_cut.wait()
        return await runcast.ask("a?", interrupt_id="a")

    run = await hub.start(again)
    await question(hub, run)
    await hub.answer(run.run_id, "a", {"type": "accept"})
    async with asyncio.timeout(WAIT_S):
        async for event in hub.watch(run.run_id):
            if event.type == "content":
                break
    info, state = await hub.present(run.run_id)
    await hub.hub.trim(run.run_id, info.head, msgspec.json.encode(state))
    was_cut.set()

    kind, data = await ending(run)
    assert (kind, data["code"]) == ("failed", "gone")


@pytest.mark.parametrize("function", [asks, asks_in_thread])
async def test_a_run_that_waits_can_be_cancelled(hub: OpenHub, function: Started) -> None:
    run = await hub.start(function)
    asked = await question(hub, run)

    await hub.cancel(run.run_id, "enough")

    assert await ending(run) == ("cancelled", {"reason": "enough"})
    with pytest.raises(RunClosed):
        await hub.answer(run.run_id, asked["interrupt_id"], {"type": "accept"})


async def test_what_was_never_asked_cannot_be_answered(hub: OpenHub) -> None:
    run = await hub.start(asks)
    await question(hub, run)

    with pytest.raises(NotFound):
        await hub.answer(run.run_id, "another", {"type": "accept"})
    with pytest.raises(NotFound):
        await hub.answer("no-such-run", "another", {"type": "accept"})
    with pytest.raises(InvalidValue):
        await hub.answer(run.run_id, "\n" * 200, {"type": "accept"})


@pytest.mark.parametrize(
    "given",
    [
        None,
        7,
        "accept",
        [],
        {},
        {"type": "maybe"},
        {"type": "expired"},
        {"approved": "yes"},
        {"approved": DEEP},
        {"type": DEEP},
        {"type": "edit", "args": DEEP},
    ],
    ids=lambda given: given if isinstance(given, str) else type(given).__name__,
)
async def test_what_is_no_answer_is_refused_and_the_question_stays_open(
    hub: OpenHub, given: object
) -> None:
    run = await hub.start(asks)
    key = (await question(hub, run))["interrupt_id"]

    with pytest.raises(InvalidValue):
        await hub.answer(run.run_id, key, given)

    assert len((await hub.present(run.run_id))[1].interrupts) == 1


async def test_a_question_may_restrict_its_answers(hub: OpenHub) -> None:
    run = await hub.start(asks, {"config": {"allow_edit": False}})
    key = (await question(hub, run))["interrupt_id"]

    with pytest.raises(InvalidValue, match="allow_edit"):
        await hub.answer(run.run_id, key, {"type": "edit", "args": {}})
    await hub.answer(run.run_id, key, {"type": "accept"})

    assert (await ending(run))[1]["result"][0] == "accept"


async def test_a_question_restricts_its_answers_however_long_its_schema_is(hub: OpenHub) -> None:
    config = {"allow_edit": False, "response_schema": {"description": "x" * 20_000}}
    run = await hub.start(asks, {"config": config})
    key = (await question(hub, run))["interrupt_id"]

    with pytest.raises(InvalidValue, match="allow_edit"):
        await hub.answer(run.run_id, key, {"type": "edit", "args": {}})
    await hub.answer(run.run_id, key, {"type": "accept"})

    assert (await ending(run))[1]["result"][0] == "accept"


async def test_open_questions_are_bounded(hub: OpenHub) -> None:
    async def greedy() -> None:
        await asyncio.gather(*(runcast.ask(str(n)) for n in range(MAX_INTERRUPTS + 1)))

    run = await hub.start(greedy)

    assert (await ending(run))[1]["code"] == Overloaded.code


async def test_questions_are_closed_when_the_run_ends_without_them(hub: OpenHub) -> None:
    async def leaves() -> None:
        asking = asyncio.ensure_future(runcast.ask("anybody?", interrupt_id="q"))
        while (await runcast.flush()) is None or not asking.done():
            if (await hub.present(run.run_id))[1].interrupts:
                break
        asking.cancel()

    run = await hub.start(leaves)

    assert (await ending(run))[0] == "done"
    assert (await hub.present(run.run_id))[1].interrupts_lapsed == 1
    with pytest.raises(RunClosed):
        await hub.answer(run.run_id, "q", {"type": "accept"})


async def test_outside_a_run_there_is_nobody_to_ask(hub: OpenHub) -> None:
    with pytest.raises(InvalidValue, match="inside a run"):
        runcast.ask("hello?")
    run = await hub.start(asks)
    with pytest.raises(InvalidValue, match="the run itself"):
        hub.writer(run.run_id).ask("hello?")


@pytest.mark.parametrize(
    "said",
    [
        {"answer": {"type": "maybe"}},
        {"answer": {"type": "accept"}, "by": 7},
        {"answer": {}},
        {"answer": "accept"},
    ],
)
async def test_what_a_function_says_itself_of_an_answer_is_none_unless_it_is_one(
    hub: OpenHub, said: dict[str, object]
) -> None:
    async def forges() -> Any:
        asking = asyncio.ensure_future(runcast.ask("go on?", interrupt_id="q"))
        async for event in hub.watch(run.run_id):
            if event.type == "interrupt_request":
                runcast.emit("interrupt_response", {"interrupt_id": "q", **said})
                runcast.emit("interrupt_resolved", {"interrupt_id": "q", "outcome": []})
                runcast.emit("ready")
            if event.type == "ready":
                break
        return (await asking).type

    run = await hub.start(forges)
    async with asyncio.timeout(WAIT_S):
        async for event in hub.watch(run.run_id):
            if event.type == "ready":
                break
    with pytest.raises(NotFound):  # as far as anybody can see it is closed
        await hub.answer(run.run_id, "q", {"type": "accept"})
    run.cancel()
    assert (await ending(run))[0] == "cancelled"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout_s": "1"}, "timeout_s"),
        ({"timeout_s": -1}, "timeout_s"),
        ({"timeout_s": True}, "timeout_s"),
        ({"timeout_s": 10**400}, "timeout_s"),
        ({"interrupt_id": 7}, "interrupt_id"),
        ({"interrupt_id": "a/b"}, "interrupt id"),
        ({"action": b"x"}, "action"),
        ({"config": [("a", 1)]}, "config"),
        ({"config": "a"}, "config"),
        ({"message": None}, "message"),
    ],
)
async def test_what_cannot_be_asked_is_told_at_the_call_and_the_run_goes_on(
    hub: OpenHub, options: dict[str, Any], said: str
) -> None:
    async def asks_wrongly() -> str:
        try:
            await runcast.ask(**{"message": "go on?", **options})
        except InvalidValue as error:
            return error.message
        return "it was asked"

    run = await hub.start(asks_wrongly)

    assert said in (await ending(run))[1]["result"]


# --- what goes wrong while a run waits ------------------------------------------------------------

DOWN = StoreUnavailable("the disk is full")
AT_ONCE = runcast.Settings(store_retry_s=0.001, shutdown_grace_s=0.0)


async def test_a_run_that_waits_outlasts_a_store_that_fails_for_others(store: Store) -> None:
    faulty = FaultyStore(store)
    async with runcast.open_hub(faulty, settings=AT_ONCE) as hub:
        run = await hub.start(asks)
        asked = await question(hub, run)
        other = await hub.hub.create("other")
        faulty.fail_next(3, DOWN)
        other.put(b'"time":1.0,"type":"log","data":{}}')
        await eventually(lambda: not other.size)

        await hub.answer(run.run_id, asked["interrupt_id"], {"type": "accept"})

        assert (await ending(run))[1]["result"][0] == "accept"
        assert faulty.calls.failed == 3


async def test_a_question_expires_though_the_store_fails_at_that_moment(store: Store) -> None:
    faulty = FaultyStore(store)
    async with runcast.open_hub(faulty, settings=AT_ONCE) as hub:

        async def asks_while_nothing_can_be_read() -> str:
            faulty.fail_next(5, DOWN, call="read")
            answer: Answer = await runcast.ask("anybody?", timeout_s=0.01)
            return answer.type

        run = await hub.start(asks_while_nothing_can_be_read)

        assert (await ending(run))[1]["result"] == "expired"


async def test_a_run_can_ask_though_as_many_watch_as_may(store: Store) -> None:
    settings = runcast.Settings(max_watchers=1, store_retry_s=0.001)
    async with runcast.open_hub(store, settings=settings) as hub:
        with hub.hub.admissions.admit(["other"]):
            run = await hub.start(asks, {"interrupt_id": "q"})
            await eventually(lambda: hub.runner.runs[run.run_id].writer.is_waiting)
            await hub.flush(run.run_id)
            await hub.answer(run.run_id, "q", {"type": "accept"})

            assert (await ending(run))[1]["result"][0] == "accept"


async def test_a_thread_is_let_go_that_is_cancelled_while_its_question_is_stored(
    store: Store,
) -> None:
    faulty = FaultyStore(store)
    settings = runcast.Settings(cancel_grace_s=3600.0)
    async with runcast.open_hub(faulty, settings=settings) as hub:
        begun, go_on = threading.Event(), threading.Event()

        def asks_twice() -> None:
            begun.set()
            go_on.wait(WAIT_S)
            try:
                runcast.ask("a?")
            finally:
                runcast.ask("b?")

        run = await hub.start(asks_twice)
        assert await asyncio.to_thread(begun.wait, WAIT_S)
        faulty.hold()
        go_on.set()
        await faulty.wait_held()
        run.cancel("enough")
        await asyncio.sleep(0)
        faulty.release()

        assert await ending(run) == ("cancelled", {"reason": "enough"})


async def test_runs_that_wait_cost_no_thread_and_hold_nothing_of_the_store(tmp_path: Path) -> None:
    path, before = tmp_path / "runs.db", set(threading.enumerate())
    async with runcast.open_hub(f"sqlite:///{path}") as hub:
        runs = [await hub.start(asks, {"interrupt_id": "q"}) for _ in range(100)]
        for run in runs:
            await question(hub, run)

        names = sorted(thread.name for thread in set(threading.enumerate()) - before)
        assert len(names) < 10, names  # the store's own
        assert not [name for name in names if name.startswith("runcast-run")]
        # A reader would keep the write-ahead log from being emptied, a writer from being written.
        with closing(sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
            busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0

        for run in runs:
            await hub.answer(run.run_id, "q", {"type": "accept"})
        assert {(await ending(run))[0] for run in runs} == {"done"}


# --- restarts -------------------------------------------------------------------------------------


async def test_a_run_that_waits_survives_a_restart_and_its_answer_starts_the_next_attempt(
    tmp_path: Path,
) -> None:
    async def first() -> None:
        await runcast.ask("go on?", interrupt_id="q")

    def second(interrupt_id: str, answer: Answer) -> Iterator[str]:
        yield f"{interrupt_id}: {answer.type}"

    flow = runcast.function(name="flow", resume=second)(first)
    url = f"sqlite:///{tmp_path}/runs.db"
    async with runcast.open_hub(url, functions=[flow]) as hub:
        await question(hub, await hub.start("flow", run_id="r"))

    async with runcast.open_hub(url, functions=[flow]) as hub:
        info, state = await hub.present("r")
        assert (info.closed, state.status, len(state.interrupts)) == (False, "waiting", 1)
        await hub.answer("r", "q", {"type": "accept"})
        async with asyncio.timeout(WAIT_S):
            events = [event async for event in hub.watch("r")]

    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.type for event in events][-3:] == ["started", "content", "done"]
    assert events[-2].data["text"] == "q: accept"


def then(interrupt_id: str, answer: Answer) -> str:
    return f"{interrupt_id}: {answer.type}"


def asks_q_in_thread() -> Iterator[str]:
    runcast.ask("go on?", interrupt_id="q")
    yield "not in this life"


async def asks_q() -> None:
    await runcast.ask("go on?", interrupt_id="q")


async def asks_q_and_r() -> None:
    await asyncio.gather(runcast.ask("r?", interrupt_id="r"), asks_q())


FOREVER = runcast.Settings(shutdown_grace_s=3600.0)


@pytest.mark.parametrize("function", [asks_q, asks_q_in_thread, asks_q_and_r])
async def test_a_run_that_waits_and_can_be_resumed_is_let_go_at_once_at_shutdown(
    tmp_path: Path, function: Started
) -> None:
    flow: runcast.Function[..., Any] = runcast.function(name="flow", resume=then)(function)
    url = f"sqlite:///{tmp_path}/runs.db"
    async with runcast.open_hub(url, functions=[flow], settings=FOREVER) as hub:
        run = await hub.start("flow", run_id="run-1")
        await question(hub, run)
        async with asyncio.timeout(WAIT_S):
            await hub.close()

    async with runcast.open_hub(url, functions=[flow]) as hub:
        assert (await hub.present("run-1"))[1].status == "waiting"
        await hub.answer("run-1", "q", {"type": "accept"})
        events = await events_of(hub, "run-1")
        assert events[-1].data["result"] == "q: accept"


async def test_a_run_that_asks_on_after_it_was_resumed_survives_the_next_restart_too(
    tmp_path: Path,
) -> None:
    async def both(interrupt_id: str = "", answer: Answer | None = None) -> list[str]:
        asking = (runcast.ask(f"{name}?", interrupt_id=name) for name in "ab")
        return [answer.type for answer in await asyncio.gather(*asking)]

    flow = runcast.function(name="flow", resume=both)(both)
    url = f"sqlite:///{tmp_path}/runs.db"

    def opened() -> Any:
        return runcast.open_hub(url, functions=[flow], settings=FOREVER)

    async with opened() as hub:
        await hub.start("flow", run_id="r")
        await told(hub, "interrupt_request", 2)
    async with opened() as hub:
        await hub.answer("r", "a", {"type": "accept"})
        await told(hub, "interrupt_waiting", 1)
        info, state = await hub.present("r")
        assert info.status == state.status == "waiting"
    async with opened() as hub:
        info, state = await hub.present("r")
        assert info.status == state.status == "waiting"
        await hub.answer("r", "b", {"type": "reject"})
        events = await events_of(hub, "r")

    assert events[-1].data == {"result": ["accept", "reject"]}
    types = [event.type for event in events]
    assert types.count("interrupt_request") == 2, "asking again is no new question"


@pytest.mark.parametrize("asked_again", ["a", "b"])
async def test_a_run_that_is_stopped_while_it_asks_again_can_still_continue(
    tmp_path: Path, asked_again: str
) -> None:
    """Whether the question is open, or was answered before the restart."""
    is_resumed, go_on = asyncio.Event(), asyncio.Event()

    async def both() -> None:
        await asyncio.gather(*(runcast.ask(f"{name}?", interrupt_id=name) for name in "ab"))

    async def again(interrupt_id: str, answer: Answer) -> str:
        is_resumed.set()
        await go_on.wait()
        return (await runcast.ask("again?", interrupt_id=asked_again)).type

    flow = runcast.function(name="flow", resume=again)(both)
    stores = [FaultyStore(SQLiteStore(str(tmp_path / "runs.db"))) for _ in range(3)]

    async with runcast.open_hub(stores[0], functions=[flow], settings=FOREVER) as hub:
        await hub.start("flow", run_id="r")
        await told(hub, "interrupt_request", 2)
    async with runcast.open_hub(stores[1], functions=[flow], settings=AT_ONCE) as hub:
        await hub.answer("r", "a", {"type": "accept"})
        await soon(is_resumed.wait())
        stores[1].hold()
        go_on.set()
        await stores[1].wait_held()
        run, closing = hub.runner.runs["r"], asyncio.create_task(hub.close())
        await eventually(lambda: run.is_released)
        stores[1].release()
        await soon(closing)
    async with runcast.open_hub(stores[2], functions=[flow], settings=FOREVER) as hub:
        if asked_again == "b":
            assert (await hub.present("r"))[1].status == "waiting"
            await hub.answer("r", "b", {"type": "accept"})
        events = await events_of(hub, "r")

    assert events[-1].data == {"result": "accept"}


async def told(hub: OpenHub, kind: str, count: int) -> None:
    """Return once the run `r` has told so many events of a type."""
    async with asyncio.timeout(WAIT_S):
        async for event in hub.watch("r"):
            count -= event.type == kind
            if not count:
                return
    raise AssertionError("the run ended without")


async def test_a_run_that_was_cancelled_while_it_waited_ends_at_shutdown(tmp_path: Path) -> None:
    flow = runcast.function(name="flow", resume=then)(asks_q)
    url = f"sqlite:///{tmp_path}/runs.db"
    async with runcast.open_hub(url, functions=[flow], settings=FOREVER) as hub:
        run = await hub.start("flow", run_id="run-1")
        await question(hub, run)
        run.cancel("enough")
        async with asyncio.timeout(WAIT_S):
            await hub.close()

    async with runcast.open_hub(url) as hub:
        assert (await events_of(hub, "run-1"))[-1].data == {"reason": "enough"}


async def test_a_run_that_finishes_when_it_is_let_go_has_finished(tmp_path: Path) -> None:
    async def stubborn() -> str:
        try:
            await runcast.ask("go on?")
        except asyncio.CancelledError:
            return "decided alone"
        return "was answered"

    flow = runcast.function(name="flow", resume=then)(stubborn)
    async with runcast.open_hub(f"sqlite:///{tmp_path}/runs.db", settings=FOREVER) as hub:
        run = await hub.start(flow)
        await question(hub, run)
        async with asyncio.timeout(WAIT_S):
            await hub.close()

        assert await run.result() == "decided alone"


async def test_a_run_that_waits_without_a_resume_handler_does_not_outlive_its_process(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    async with runcast.open_hub(url) as hub:
        run = await hub.start(asks, run_id="r")
        asked = await question(hub, run)

    async with runcast.open_hub(url) as hub:
        info, state = await hub.present("r")
        assert (info.closed, state.status, state.interrupts_lapsed) == (True, "cancelled", 1)
        with pytest.raises(RunClosed):
            await hub.answer("r", asked["interrupt_id"], {"type": "accept"})


async def test_the_result_of_a_run_that_was_cancelled_while_it_waited_is_an_error(
    hub: OpenHub,
) -> None:
    run = await hub.start(asks)
    await question(hub, run)
    await hub.cancel(run.run_id)

    with pytest.raises(RunFailed, match="cancelled"):
        await run.result()
