"""The typed writer: a method for each message, outside and inside of runs."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import runcast
from runcast import StreamWriter
from runcast._wire.dialects.flat import Flat
from runcast.errors import EventTooLarge, InvalidValue
from runcast.events.model import Event
from runcast.stores.base import Store
from runcast.testing import FakeClock
from tests.opening import WAIT_S, events_of


async def told(
    store: Store | str, write: Callable[[StreamWriter], Any], clock: FakeClock | None = None
) -> list[Event]:
    """Return what a writer writes inside a run."""

    def work() -> Any:
        return write(StreamWriter(node="n", agent="a", clock=clock))

    async with runcast.open_hub(store, clock=clock) as hub:
        run = await hub.start(work)
        events = await events_of(hub, run.run_id)
    assert events[-1].type == "done", events[-1]
    return events[1:]


def everything(writer: StreamWriter) -> None:
    writer.step_start("begins")
    writer.step_progress("half", 50)
    writer.step_complete("ends")
    writer.node_complete("all")
    writer.tool_call("t", {"q": 1})
    writer.tool_result("t", {"r": [1]}, call_id="c")
    writer.thinking("hm")
    writer.reasoning("so")
    writer.content_streaming(" ")
    writer.content_complete("text")
    writer.interrupt_request("i", "x", {}, "Sure?")
    writer.interrupt_waiting("waits", "i")
    writer.interrupt_response("yes", True, "i")
    writer.interrupt_resolved("resolved", "i")
    writer.error("oh", "Oh")
    writer.final_result("result", {"n": 1})


EVERY_MESSAGE = [
    "step_start",
    "step_progress",
    "step_complete",
    "node_complete",
    "tool_call",
    "tool_result",
    "thinking",
    "reasoning",
    "content_streaming",
    "content_complete",
    "interrupt_request",
    "interrupt_waiting",
    "interrupt_response",
    "interrupt_resolved",
    "error",
    "final_result",
]


async def test_there_is_a_method_for_every_message(store: Store) -> None:
    events = await told(store, everything)

    messages = [Flat().message(event) for event in events]
    assert [m["message_type"] for m in messages] == [*EVERY_MESSAGE, "done"]
    assert {(m["node"], m.get("agent")) for m in messages[:-1]} == {("n", "a")}
    assert messages[-1] == {
        "message_type": "done",
        "content": "",
        "node": "",
        "timestamp": events[-1].time,
        "execution_summary": {},
        "is_final": True,
    }


def test_outside_a_run_nothing_happens() -> None:
    everything(StreamWriter("n"))


async def test_what_a_function_returns_is_not_hidden_by_its_final_result() -> None:
    def write(writer: StreamWriter) -> int:
        writer.final_result("first")
        writer.final_result("second")
        return 7

    events = await told("memory://", write)

    assert [event.data for event in events] == [
        {"value": "first", "execution_summary": {}},
        {"value": "second", "execution_summary": {}},
        {"result": 7},
    ]


async def test_a_step_is_measured_from_its_own_start(clock: FakeClock) -> None:
    def write(writer: StreamWriter) -> None:
        clock.advance(1)
        writer.reasoning("since it was made")
        writer.step_start("a")
        clock.advance(2)
        writer.step_progress("a", 50)
        clock.advance(0.5)
        writer.step_complete("a")
        writer.step_start("b")
        writer.step_complete("b")
        writer.step_complete("given", duration=42)
        writer.step_complete("no number", duration="long")
        writer.step_complete("nor is this", duration=True)

    events = (await told("memory://", write, clock))[:-1]

    assert [event.duration for event in events] == [1, 0, 2, 2.5, 0, 0, 42, 0, 0]
    assert events[-2].data == {"message": "no number", "duration": "long"}
    assert events[-1].data == {"message": "nor is this", "duration": True}


async def test_pieces_of_text_are_kept_and_counted_by_message() -> None:
    def write(writer: StreamWriter) -> None:
        for piece in ("a", " ", "\n\n", "", "b"):
            writer.content_streaming(piece)
        writer.content_streaming("c", "m")
        writer.content_streaming("d")

    events = (await told("memory://", write))[:-1]

    assert [(event.data["text"], event.data["index"]) for event in events] == [
        ("a", 0),
        (" ", 1),
        ("\n\n", 2),
        ("b", 3),
        ("c", 0),
        ("d", 4),
    ]


async def test_pieces_of_a_text_are_counted_however_many_messages_come_between() -> None:
    def write(writer: StreamWriter) -> None:
        for number in range(2000):
            writer.content_streaming("word", "long")
            writer.content_streaming("word", f"short {number}")

    events = (await told("memory://", write))[:-1]

    pieces = [event.data["index"] for event in events if event.data["message_id"] == "long"]
    assert pieces == list(range(2000))


async def test_what_is_refused_has_no_number() -> None:
    def write(writer: StreamWriter) -> None:
        writer.content_streaming("a")
        with pytest.raises(EventTooLarge):
            writer.content_streaming("b" * 2_000_000)
        writer.content_streaming("c")

    events = (await told("memory://", write))[:-1]

    assert [(event.data["text"], event.data["index"]) for event in events] == [("a", 0), ("c", 1)]


@pytest.mark.parametrize(
    ("result", "length"),
    [("12345", 5), ("字" * 3, 3), ("😀", 1), ({"a": 1}, 7), (None, 0), (12, 2)],
)
async def test_the_length_of_a_result_is_its_true_one(result: object, length: int) -> None:
    def write(writer: StreamWriter) -> None:
        writer.tool_result("t", result)
        writer.tool_result("t", result, "shown instead")

    whole, shortened, _ = await told("memory://", write)

    assert (whole.data["result"], whole.data["length"]) == (result, length)
    assert (shortened.data["result"], shortened.data["length"]) == ("shown instead", length)


@pytest.mark.parametrize(
    "write",
    [
        lambda writer: writer.step_start("x", extra=object()),
        lambda writer: writer.tool_call("t", {"args": {1j}}),
        lambda writer: writer.final_result(object()),
        lambda writer: writer.final_result(1, "a summary"),
        lambda writer: writer.interrupt_request("q", "deploy", config="any"),
        lambda writer: writer.step_complete("x", duration=10**400),
    ],
)
async def test_what_cannot_be_stored_is_told_at_the_call(
    write: Callable[[StreamWriter], None],
) -> None:
    def work(writer: StreamWriter) -> str:
        with pytest.raises(InvalidValue):
            write(writer)
        return "goes on"

    (ending,) = await told("memory://", work)

    assert ending.data == {"result": "goes on"}


async def test_one_writer_serves_every_run_it_is_used_in() -> None:
    writer = StreamWriter("shared")

    async def work(name: str) -> None:
        for number in range(20):
            writer.content_streaming(f"{name}{number}")
            await asyncio.sleep(0)

    async with runcast.open_hub() as hub:
        runs = [await hub.start(work, {"name": name}) for name in "abc"]
        found = [await events_of(hub, run.run_id) for run in runs]

    for name, events in zip("abc", found, strict=True):
        pieces = [(e.data["text"], e.data["index"]) for e in events if e.type == "content"]
        assert pieces == [(f"{name}{number}", number) for number in range(20)]


async def test_a_bound_thread_writes_to_its_run() -> None:
    def write(writer: StreamWriter) -> None:
        thread = threading.Thread(target=runcast.bind(writer.thinking), args=("in a thread",))
        thread.start()
        thread.join(WAIT_S)

    (thought, _) = await told("memory://", write)

    assert (thought.type, thought.data) == ("thinking", {"text": "in a thread"})
