"""Crews for pages that expect `start`, `thought`, `action`, `output`, `end` and `error`."""

import asyncio
import json
from typing import Any

import runcast
from runcast.compat import using_hub
from runcast.compat.stream_manager import StreamEvent, create_sse_generator, stream_manager
from runcast.sources import crewai as source
from runcast.testing import ModelServer, ModelTurn
from tests.compat.serving import serving
from tests.crewai.crews import LOOK, agent_of, broken, crew_of, llm_of, weather
from tests.http.client import watch
from tests.waiting import START_S

FIELDS = ("task_id", "sequence", "agent_name", "event_type", "content", "timestamp")


async def frames_of(
    turns: list[ModelTurn], *tools: Any, is_native: bool = True, **options: Any
) -> list[dict[str, Any]]:
    """Return what a page gets of a crew, up to the end of its connection."""
    async with ModelServer(turns) as server, runcast.open_hub() as hub:

        def function() -> str:
            with source.stream():
                llm = llm_of(server, is_native=is_native)
                reporter = agent_of(server, "Reporter", *tools, llm=llm, **options)
                crew = crew_of(reporter, agent_of(server, "Writer"))
                return str(crew.kickoff().raw)

        app = await asyncio.to_thread(runcast.asgi, hub, authorize=runcast.everyone)
        async with serving(app) as address:
            await hub.start(runcast.function(function), run_id="t")
            async with watch(address, "/runs/t/events?dialect=task") as watching:
                events = await asyncio.wait_for(watching.rest(), START_S)
    return [json.loads(event.data) for event in events]


def told(frames: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return the type, the agent and the content; pieces of one text are joined."""
    found: list[tuple[str, str, str]] = []
    last: object = None
    for frame in frames[:-1]:
        message = (frame["event_type"], frame.get("message_id")) if "message_id" in frame else None
        if message is not None and message == last:
            kind, agent, content = found.pop()
            found.append((kind, agent, content + frame["content"]))
        else:
            found.append((frame["event_type"], frame["agent_name"], frame["content"]))
        last = message
    return found


async def test_a_crew_is_shown_as_start_thought_action_output_and_end() -> None:
    text = 'Thought: I look\nAction: weather\nAction Input: {"city": "Paris"}\n'
    frames = await frames_of(
        [
            *(ModelTurn(text=text), ModelTurn(text="Thought: So\nFinal Answer: It is sunny.")),
            ModelTurn(text="Sun today."),
        ],
        weather,
        is_native=False,
    )

    assert [it for it in told(frames) if it[0] != "usage"] == [
        ("start", "", "function"),
        ("start", "Reporter", "reporter"),
        ("thought", "Reporter", "I look"),
        ("action", "Reporter", "weather"),
        ("action", "", "looking at Paris"),
        ("output", "Reporter", "sunny in Paris"),
        ("thought", "Reporter", "So"),
        ("output", "Reporter", "It is sunny."),
        ("output", "Reporter", ""),
        ("start", "Writer", "writer"),
        ("output", "Writer", "Sun today."),
        ("output", "Writer", ""),
        ("end", "", "Sun today."),
    ]
    assert all(name in frame for frame in frames[:-1] for name in FIELDS)
    sequence = [frame["sequence"] for frame in frames[:-1]]
    assert sequence == sorted(set(sequence))
    assert frames[-1]["type"] == "connection_end"


async def test_the_calls_of_tools_are_actions_and_their_results_outputs() -> None:
    frames = await frames_of(
        [
            ModelTurn(tools=[LOOK]),
            *(ModelTurn(text="It is sunny."), ModelTurn(text="Sun today.")),
        ],
        weather,
    )

    shown = [it for it in told(frames) if it[0] != "usage"]
    assert shown == [
        ("start", "", "function"),
        ("start", "Reporter", "reporter"),
        ("action", "Reporter", "weather"),
        ("action", "", "looking at Paris"),
        ("output", "Reporter", "sunny in Paris"),
        ("output", "Reporter", "It is sunny."),
        ("output", "Reporter", ""),
        ("start", "Writer", "writer"),
        ("output", "Writer", "Sun today."),
        ("output", "Writer", ""),
        ("end", "", "Sun today."),
    ]


async def test_an_error_of_the_model_is_an_error() -> None:
    frames = await frames_of([ModelTurn(status=500)] * 9, broken, max_retry_limit=0)

    errors = [frame for frame in frames[:-1] if frame["event_type"] == "error"]
    assert [frame["agent_name"] for frame in errors] == ["Reporter", ""]
    assert "The model failed" in errors[0]["content"]


async def test_the_documented_names_work_with_callbacks_of_a_crew() -> None:
    async with (
        ModelServer([ModelTurn(text="It is sunny.")]) as server,
        runcast.open_hub() as hub,
        using_hub(hub),
    ):
        stream = await stream_manager.create_stream("t")

        def on_task(output: Any) -> None:
            assert stream.put_nowait(StreamEvent("output", output.agent, output.raw, "t"))

        def on_step(step: Any) -> None:
            assert stream.put_nowait(StreamEvent("thought", "Reporter", step.text, "t"))

        def work() -> None:
            crew = crew_of(agent_of(server, "Reporter", weather, step_callback=on_step))
            crew.task_callback = on_task
            assert stream.put_nowait(StreamEvent("start", "Reporter", "begins", "t"))
            crew.kickoff()
            assert stream.put_nowait(StreamEvent("end", "Reporter", "that is all", "t"))

        working = asyncio.create_task(asyncio.to_thread(work))
        frames = [frame async for frame in create_sse_generator("t")]
        await working

    payloads = [json.loads(frame.partition("data: ")[2]) for frame in frames if "data: " in frame]
    assert [(it.get("event_type"), it.get("content")) for it in payloads] == [
        ("start", "begins"),
        ("thought", "It is sunny."),
        ("output", "It is sunny."),
        ("end", "that is all"),
        (None, None),
    ]
