"""What a run keeps for its next attempt, and what the handler that continues it is given."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast._app import open_hub
from runcast._functions.function import Function
from runcast._producing.keeping import MAX_KEPT_BYTES
from runcast._settings import Settings
from runcast.errors import EventTooLarge, InvalidValue
from runcast.stores.base import Store
from tests.opening import events_of, eventually, soon
from tests.runs import continued
from tests.runs.apart import running_apart, wait_for_event
from tests.waiting import START_S

SETTINGS = Settings(shutdown_grace_s=0.0, cancel_grace_s=0.05, warm_processes=0)


async def leave_waiting(store: Store, function: Function[..., Any], **inputs: Any) -> None:
    """Leave a run that waits for an answer, as a server that stops does."""
    async with open_hub(store, functions=[function], settings=SETTINGS) as hub:
        await hub.start(function, inputs, run_id="r")
        async with asyncio.timeout(START_S):
            async for event in hub.watch("r"):
                if event.type == "interrupt_request":
                    break


# --- what a handler is given ----------------------------------------------------------------------


@pytest.mark.parametrize("function", continued.ASKING, ids=lambda function: function.name)
async def test_a_handler_is_given_what_was_kept_and_the_inputs(
    store: Store, function: Function[..., Any]
) -> None:
    await leave_waiting(store, function, to="Rome", key="c2VjcmV0")
    async with open_hub(store, functions=[function], settings=SETTINGS) as hub:
        await hub.answer("r", "q", {"type": "edit", "args": {"to": "Paris"}})
        events = await events_of(hub, "r", wait_s=START_S)
        result = events[-1].data["result"]
        assert (result.pop("process") == os.getpid()) == (function.isolation == "thread")
        assert result == {
            "interrupt_id": "q",
            "answer": ["Answer", "edit", {"to": "Paris"}],
            "kept": {"step": 1, "to": "Rome"},
            "inputs": {"to": "Rome"},
            "left_out": {"key": "bytes"},
            "attempt": 2,
            "status": "running",
            "texts": ["before"],
        }
        # What is kept is shown to nobody.
        assert "step" not in str([event.data for event in events[:-1]])
        assert "step" not in str(await hub.inputs("r"))


def test_a_process_function_is_resumed_after_its_server_and_its_process_were_killed(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    with running_apart(url, "asks_apart", {"to": "Rome"}) as process:
        wait_for_event(process, "interrupt_request")
    with open_hub(url, functions=[continued.asks_apart], settings=SETTINGS) as hub:
        info, state = hub.present("r")
        assert state.status == "waiting"
        hub.answer("r", "q", {"type": "accept"})
        events = list(hub.watch("r"))
        assert hub.info("r").epoch == info.epoch
    assert [event.type for event in events].count("started") == 2
    result = events[-1].data["result"]
    assert result["kept"] == {"step": 1, "to": "Rome"}
    assert result["process"] not in (os.getpid(), process.pid)


async def test_a_handler_asks_for_what_it_wants_and_one_of_before_gets_what_it_got(
    store: Store,
) -> None:
    async def asks(to: str) -> None:
        await runcast.ask("go on?", interrupt_id="q", keep=[1])

    def takes_kept(answer: Any, kept: Any, interrupt_id: str, other: int = 3) -> Any:
        return [kept, other]

    def takes_more(**more: Any) -> Any:
        return sorted(more)

    def takes_more_and_kept(kept: Any, **more: Any) -> Any:
        return [kept, *sorted(more)]

    found = {}
    for handler in (takes_kept, takes_more, takes_more_and_kept):
        function = runcast.function(name="f", resume=handler)(asks)
        await leave_waiting(store, function, to="Rome")
        async with open_hub(store, functions=[function], settings=SETTINGS) as hub:
            await hub.answer("r", "q", {"type": "accept"})
            found[handler] = (await events_of(hub, "r"))[-1].data["result"]
            await hub.hub.delete("r")
    assert found == {
        takes_kept: [[1], 3],
        takes_more: ["answer", "interrupt_id"],
        takes_more_and_kept: [[1], "answer", "interrupt_id"],
    }


async def test_inputs_that_were_not_stored_say_so(store: Store) -> None:
    async def asks(to: str) -> None:
        await runcast.ask("go on?", interrupt_id="q", keep=1)

    def wants_inputs(interrupt_id: str, answer: Any, inputs: dict[str, Any], kept: Any) -> Any:
        with pytest.raises(KeyError, match="store_inputs=False"):
            inputs["to"]
        return [inputs.get("to"), len(inputs), kept]

    function = Function(asks, name="f", resume=wants_inputs, store_inputs=False)
    await leave_waiting(store, function, to="Rome")
    async with open_hub(store, functions=[function], settings=SETTINGS) as hub:
        assert await hub.inputs("r") is None
        await hub.answer("r", "q", {"type": "accept"})
        assert (await events_of(hub, "r"))[-1].data == {"result": [None, 0, 1]}


async def test_an_input_that_was_left_out_says_why(store: Store) -> None:
    def wants_inputs(interrupt_id: str, answer: Any, inputs: dict[str, Any]) -> Any:
        with pytest.raises(KeyError, match="'key' was not kept: bytes"):
            inputs["key"]
        with pytest.raises(KeyError, match="'other' was not sent"):
            inputs["other"]
        return "said"

    function = Function(continued.asks_on_the_loop.call, name="f", resume=wants_inputs)
    await leave_waiting(store, function, to="Rome", key="c2VjcmV0")
    async with open_hub(store, functions=[function], settings=SETTINGS) as hub:
        await hub.answer("r", "q", {"type": "accept"})
        assert (await events_of(hub, "r"))[-1].data == {"result": "said"}


async def test_each_question_has_its_own_value_and_the_runs_value_is_for_the_others(
    store: Store,
) -> None:
    async def asks() -> None:
        await runcast.keep("of the run")
        async with asyncio.TaskGroup() as asking:
            asking.create_task(runcast.ask("a?", interrupt_id="a", keep="of a"))
            asking.create_task(runcast.ask("b?", interrupt_id="b", keep="of b"))
            asking.create_task(runcast.ask("c?", interrupt_id="c"))

    async def go_on(interrupt_id: str, answer: Any, kept: Any) -> Any:
        runcast.emit("given", [interrupt_id, kept])
        if interrupt_id == "c":
            return "end"
        await runcast.ask("c?", interrupt_id="c", keep="of c")
        return "not reached"

    function = runcast.function(name="f", resume=go_on)(asks)
    given: list[Any] = []
    last: Any = None
    async with open_hub(store, functions=[function], settings=SETTINGS) as hub:
        await hub.start(function, run_id="r")
        await eventually(lambda: hub.runner.runs["r"].writer.is_waiting)
        await hub.flush("r")
    for interrupt_id in ("b", "a"):
        async with open_hub(store, functions=[function], settings=SETTINGS) as hub:
            await hub.answer("r", interrupt_id, {"type": "accept"})
            async with asyncio.timeout(START_S):
                async for event in hub.watch("r"):
                    if event.type == "given":
                        last = event.data
                    if event.type == "interrupt_waiting" and last[0] == interrupt_id:
                        given.append(last)
                        break
    async with open_hub(store, functions=[function], settings=SETTINGS) as hub:
        await hub.answer("r", "c", {"type": "accept"})
        events = await events_of(hub, "r")
        given += [event.data for event in events if event.type == "given"][-1:]
    assert given == [["b", "of b"], ["a", "of a"], ["c", "of c"]]


# --- what may be kept -----------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["thread", "process"])
async def test_what_cannot_be_kept_is_refused_at_the_call(isolation: Any) -> None:
    settings = Settings(shutdown_grace_s=0.0, warm_processes=0)
    async with open_hub("memory://", settings=settings) as hub:
        function = Function(keeps_too_much, isolation=isolation)
        run = await hub.start(function)
        async with asyncio.timeout(START_S):
            assert await run.result() == [True, True, True, True]


def keeps_too_much() -> list[bool]:
    longest = "x" * (MAX_KEPT_BYTES - 2)
    refused = []
    for keep in (lambda value: runcast.keep(value), lambda value: runcast.ask("?", keep=value)):
        for value, error in ((longest + "x", EventTooLarge), ({1, object()}, InvalidValue)):
            try:
                keep(value)
            except error as raised:
                refused.append("expected" in raised.message or "JSON" in raised.message)
    runcast.keep(longest)
    return refused


async def test_keeping_outside_a_run_does_nothing_and_a_visitor_cannot_keep() -> None:
    await runcast.keep({"a": 1})
    async with open_hub("memory://", settings=SETTINGS) as hub:
        function = continued.asks_on_the_loop
        await hub.start(function, {"to": "Rome"}, run_id="r")
        with pytest.raises(InvalidValue, match="only the run itself"):
            hub.writer("r").keep(1)


async def test_the_value_of_a_question_that_is_asked_again_is_the_later_one(store: Store) -> None:
    is_asked = asyncio.Event()

    async def asks() -> None:
        first = asyncio.ensure_future(runcast.ask("go on?", interrupt_id="q", keep="first"))
        await is_asked.wait()
        first.cancel()
        await runcast.ask("go on?", interrupt_id="q", keep="second")

    def go_on(interrupt_id: str, answer: Any, kept: Any) -> Any:
        return kept

    function = runcast.function(name="f", resume=go_on)(asks)
    async with open_hub(store, functions=[function], settings=SETTINGS) as hub:
        await hub.start(function, run_id="r")
        async with asyncio.timeout(START_S):
            async for event in hub.watch("r"):
                if event.type == "interrupt_request":
                    is_asked.set()
                elif event.type == "interrupt_waiting":
                    break
        await soon(hub.flush("r"))
    async with open_hub(store, functions=[function], settings=SETTINGS) as hub:
        await hub.answer("r", "q", {"type": "accept"})
        assert (await events_of(hub, "r"))[-1].data == {"result": "second"}
