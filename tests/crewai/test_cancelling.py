"""Crews of a run that is cancelled."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from crewai.tools import tool

import runcast
from runcast.events.model import Event
from runcast.sources import crewai as source
from runcast.testing import ModelServer, ModelTurn
from tests.crewai.crews import agent_of, crew_of, events_of, text_of, weather
from tests.sources.watching import data_of
from tests.waiting import START_S, WAIT_S

LONG = ModelTurn(text="word " * 1000, fault="stall", after=3)
"""An answer of which nothing more comes after its third word."""


def cancel_at_third_word(hub: Any, run_id: str, event: Event) -> None:
    if event.type == "content" and event.data["index"] == 2:
        hub.cancel(run_id, "enough")


def in_thread(server: ModelServer) -> Callable[..., Any]:
    def function() -> None:
        with source.stream():
            crew_of(agent_of(server)).kickoff()

    return function


def on_loop(server: ModelServer) -> Callable[..., Any]:
    async def function() -> None:
        with source.stream():
            await crew_of(agent_of(server)).akickoff()

    return function


@pytest.mark.parametrize("made", [in_thread, on_loop])
def test_cancelling_in_the_middle_of_an_answer_closes_it(
    made: Callable[[ModelServer], Callable[..., Any]],
) -> None:
    events = []
    with ModelServer([LONG]) as server, runcast.open_hub() as hub:
        run = hub.start(runcast.function(made(server)))
        for event in hub.watch(run.run_id):
            events.append(event)
            cancel_at_third_word(hub, run.run_id, event)

        assert server.calls[0].wait() == "left"

    assert text_of(events) == "word word word "
    assert events[-1].type == "cancelled"
    assert events[-1].data["reason"] == "enough"
    assert not data_of(events, "error")


def test_cancelling_in_a_tool_ends_the_crew_when_the_tool_writes() -> None:
    began, cancelled = threading.Event(), threading.Event()
    after: list[str] = []

    @tool("wait")  # type: ignore[untyped-decorator]
    def wait() -> str:
        """Wait until the run is cancelled."""
        began.set()
        cancelled.wait(WAIT_S)
        runcast.log("not written")
        after.append("the tool went on")
        return "waited"

    def act(hub: Any, run_id: str, event: Event) -> None:
        if event.type == "tool_call":
            began.wait(WAIT_S)
            hub.cancel(run_id)
            cancelled.set()

    events = events_of(
        [ModelTurn(tools=[("wait", {})]), ModelTurn(text="never said")],
        lambda server: crew_of(agent_of(server, "Reporter", wait)).kickoff(),
        act,
    )

    assert events[-1].type == "cancelled"
    assert not after
    assert text_of(events) == ""
    assert not data_of(events, "error")


def test_cancelling_while_a_person_is_asked_ends_the_crew() -> None:
    def act(hub: Any, run_id: str, event: Event) -> None:
        if event.type == "interrupt_request":
            hub.cancel(run_id)

    events = events_of(
        [ModelTurn(tools=[("weather", {"city": "Paris"})])],
        lambda server: crew_of(agent_of(server, "Reporter", weather)).kickoff(),
        act,
        approve=True,
    )

    assert events[-1].type == "cancelled"
    assert not data_of(events, "tool_result")
    assert not data_of(events, "error")


def test_a_crew_ends_that_goes_on_after_its_run() -> None:
    ended: list[BaseException] = []
    has_ended, threads = threading.Event(), []

    with ModelServer([LONG]) as server, runcast.open_hub() as hub:

        def work() -> None:
            try:
                crew_of(agent_of(server, max_retry_limit=0)).kickoff()
            except BaseException as error:  # noqa: BLE001 - what ends it is of interest
                ended.append(error)
            has_ended.set()

        @runcast.function
        def function() -> None:
            thread = threading.Thread(target=runcast.bind(work))
            thread.start()
            threads.append(thread)
            told.wait(WAIT_S)

        told = threading.Event()
        with source.stream():
            run = hub.start(function)
            for event in hub.watch(run.run_id):
                if event.type == "content" and event.data["index"] == 2:
                    told.set()
            server.release()
            assert has_ended.wait(START_S)
            threads[0].join(START_S)

    assert [type(error) for error in ended] == [runcast.RunClosed]
