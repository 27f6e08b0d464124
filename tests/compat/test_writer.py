"""Flat messages of multi-agent graphs: the documented messages, and what must not happen."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

import runcast
from runcast._app import OpenHub
from runcast._settings import Settings
from runcast._wire.dialects.flat import Flat
from runcast.compat import using_hub
from runcast.compat.stream_writer_util import send_queue
from runcast.compat.writer import (
    AgentStreamCollector,
    AgentWorkflowProcessor,
    FlatDataProcessor,
    InterruptHandler,
    StreamWriter,
    create_agent_stream_collector,
    create_flat_processor,
    create_interrupt_handler,
    create_stream_writer,
    create_workflow_processor,
)
from runcast.compat.writer.flat_writer import Config
from runcast.compat.writer.graph_reader import read_chunk
from runcast.compat.writer.interrupts import resume_value
from runcast.errors import EventTooLarge, InvalidValue, Overloaded
from runcast.events.model import Event
from runcast.sources._graph_chunks import GraphChunk
from runcast.stores.memory import MemoryStore
from runcast.testing import FakeClock, FaultyStore
from tests.compat.serving import serving
from tests.http.client import watch
from tests.opening import events_of, eventually, soon, wait_for

TIME = 1703123456.789


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(TIME)


Writing = Callable[[], Any]


async def events(hub: OpenHub, write: Writing) -> list[Event]:
    """Return what is written inside a run, up to its terminal event."""
    run = await hub.start(runcast.Function(write, name="write"))
    found = await events_of(hub, run.run_id)
    assert found[-1].type == "done", found[-1]
    return found[1:-1]


async def messages(hub: OpenHub, write: Writing) -> list[dict[str, Any]]:
    """Return it as flat messages."""
    return [flat(event) for event in await events(hub, write)]


def flat(event: Event) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(json.dumps(Flat().message(event)))
    return message


def said(found: list[dict[str, Any]], *names: str) -> list[Any]:
    """Return the type and content of messages, and further fields."""
    return [tuple(m.get(n) for n in ("message_type", "content", *names)) for m in found]


# --- the documented messages ----------------------------------------------------------------------

TEXT = "# 第一章 人工智能概述\n\n人工智能(AI)是计算机科学的一个分支...".ljust(156, "。")

EXAMPLES: list[tuple[str, str, float, Callable[[StreamWriter], None], str]] = [
    (
        "outline_generation",
        "",
        0,
        lambda w: w.step_start("开始生成研究大纲"),
        """{
  "message_type": "step_start",
  "content": "开始生成研究大纲",
  "node": "outline_generation",
  "timestamp": 1703123456.789,
  "duration": 0
}""",
    ),
    (
        "research",
        "research",
        2.34,
        lambda w: w.step_progress(
            "发现研究资料: AI在医疗领域的应用", 25, research_title="AI在医疗领域的应用"
        ),
        """{
  "message_type": "step_progress",
  "content": "发现研究资料: AI在医疗领域的应用",
  "node": "research",
  "agent": "research",
  "progress": 25,
  "research_title": "AI在医疗领域的应用",
  "timestamp": 1703123456.789,
  "duration": 2.34
}""",
    ),
    (
        "outline_generation",
        "",
        15.67,
        lambda w: w.step_complete("大纲生成完成，包含5个主要章节"),
        """{
  "message_type": "step_complete",
  "content": "大纲生成完成，包含5个主要章节",
  "node": "outline_generation",
  "duration": 15.67,
  "timestamp": 1703123456.789
}""",
    ),
    (
        "research",
        "research",
        0,
        lambda w: w.tool_call("web_search", {"query": "人工智能医疗应用", "num_results": 10}),
        """{
  "message_type": "tool_call",
  "content": "调用了 web_search 工具",
  "node": "research",
  "agent": "research",
  "tool_name": "web_search",
  "args": {
    "query": "人工智能医疗应用",
    "num_results": 10
  },
  "timestamp": 1703123456.789
}""",
    ),
    (
        "research",
        "research",
        3.45,
        lambda w: w.tool_result("web_search", "x" * 2847, "找到了15篇关于AI医疗应用的相关文献..."),
        """{
  "message_type": "tool_result",
  "content": "找到了15篇关于AI医疗应用的相关文献...",
  "node": "research",
  "agent": "research",
  "tool_name": "web_search",
  "length": 2847,
  "timestamp": 1703123456.789,
  "duration": 3.45
}""",
    ),
    (
        "content_creation",
        "writing",
        0,
        lambda w: w.content_streaming(TEXT, 0),
        # The document shortens the text that has this length.
        json.dumps(
            {
                "message_type": "content_streaming",
                "content": TEXT,
                "node": "content_creation",
                "agent": "writing",
                "length": 156,
                "chunk_index": 0,
                "timestamp": TIME,
            }
        ),
    ),
    (
        "content_creation",
        "writing",
        45.23,
        lambda w: w.content_complete(
            "完成章节: 人工智能概述", word_count=1245, section_title="人工智能概述"
        ),
        """{
  "message_type": "content_complete",
  "content": "完成章节: 人工智能概述",
  "node": "content_creation",
  "agent": "writing",
  "word_count": 1245,
  "section_title": "人工智能概述",
  "timestamp": 1703123456.789,
  "duration": 45.23
}""",
    ),
    (
        "research",
        "research",
        0,
        lambda w: w.thinking("需要搜索更多关于AI医疗诊断的资料"),
        """{
  "message_type": "thinking",
  "content": "需要搜索更多关于AI医疗诊断的资料",
  "node": "research",
  "agent": "research",
  "timestamp": 1703123456.789
}""",
    ),
    (
        "research",
        "research",
        1.23,
        lambda w: w.reasoning(
            "基于收集到的资料，AI在医疗领域主要应用于诊断、治疗和药物研发三个方面"
        ),
        """{
  "message_type": "reasoning",
  "content": "基于收集到的资料，AI在医疗领域主要应用于诊断、治疗和药物研发三个方面",
  "node": "research",
  "agent": "research",
  "timestamp": 1703123456.789,
  "duration": 1.23
}""",
    ),
    (
        "research",
        "research",
        0,
        lambda w: w.interrupt_request(
            "search_20241201_001",
            "web_search",
            {"query": "2024年AI医疗最新发展", "num_results": 5},
            "需要进行网络搜索以获取最新信息，是否继续？",
        ),
        """{
  "message_type": "interrupt_request",
  "content": "需要进行网络搜索以获取最新信息，是否继续？",
  "node": "research",
  "agent": "research",
  "action": "web_search",
  "args": {
    "query": "2024年AI医疗最新发展",
    "num_results": 5
  },
  "interrupt_id": "search_20241201_001",
  "requires_approval": true,
  "timestamp": 1703123456.789
}""",
    ),
    (
        "report_generation",
        "",
        180.5,
        lambda w: w.final_result(
            "研究报告已完成，总计15000字，包含5个主要章节",
            {
                "total_words": 15000,
                "sections": 5,
                "research_sources": 25,
                "generation_time": 180.5,
            },
        ),
        """{
  "message_type": "final_result",
  "content": "研究报告已完成，总计15000字，包含5个主要章节",
  "node": "report_generation",
  "execution_summary": {
    "total_words": 15000,
    "sections": 5,
    "research_sources": 25,
    "generation_time": 180.5
  },
  "is_final": true,
  "timestamp": 1703123456.789,
  "duration": 180.5
}""",
    ),
    (
        "research",
        "research",
        0,
        lambda w: w.error("网络搜索超时，请稍后重试", "NetworkTimeout"),
        """{
  "message_type": "error",
  "content": "网络搜索超时，请稍后重试",
  "node": "research",
  "agent": "research",
  "error_type": "NetworkTimeout",
  "timestamp": 1703123456.789
}""",
    ),
]


@pytest.mark.parametrize(
    ("node", "agent", "after_s", "write", "expected"),
    EXAMPLES,
    ids=[json.loads(example[-1])["message_type"] for example in EXAMPLES],
)
async def test_a_message_is_exactly_the_documents(
    node: str, agent: str, after_s: float, write: Callable[[StreamWriter], None], expected: str
) -> None:
    clock = FakeClock(TIME - after_s)
    async with using_hub(OpenHub(clock=clock)) as hub:

        async def work() -> None:
            writer = StreamWriter(node, agent, clock=clock)
            clock.advance(after_s)
            write(writer)

        run = await hub.start(work)
        await run.wait()
        async with (
            serving(
                await asyncio.to_thread(runcast.asgi, hub, authorize=runcast.everyone)
            ) as address,
            watch(address, f"/runs/{run.run_id}/events?dialect=flat") as watching,
        ):
            found = [json.loads(event.data) for event in await watching.rest()]

    message = found[1]
    assert message.pop("timestamp") == pytest.approx(TIME)
    wanted = json.loads(expected)
    del wanted["timestamp"]
    assert message == wanted


async def test_messages_without_an_example_have_the_documented_fields(
    hub: OpenHub, clock: FakeClock
) -> None:
    writer = StreamWriter("n", "a", clock=clock)

    def write() -> None:
        writer.node_complete("all of it")
        writer.interrupt_response("looks good", True, "i-1")
        writer.interrupt_waiting("waiting for you", "i-1")
        writer.interrupt_resolved("done with it", "i-1")

    base = {"node": "n", "agent": "a", "timestamp": TIME}
    assert await messages(hub, write) == [
        {
            "message_type": "node_complete",
            "content": "all of it",
            "duration": 0,
            "aggregated": True,
            **base,
        },
        {
            "message_type": "interrupt_response",
            "content": "looks good",
            "approved": True,
            "interrupt_id": "i-1",
            **base,
        },
        {
            "message_type": "interrupt_waiting",
            "content": "waiting for you",
            "interrupt_id": "i-1",
            "status": "waiting",
            **base,
        },
        {
            "message_type": "interrupt_resolved",
            "content": "done with it",
            "interrupt_id": "i-1",
            "status": "resolved",
            **base,
        },
    ]


YAML = """
# 只显示核心消息
messages:
  include: ["step_start", "step_complete", "content_streaming", "final_result"]
  exclude: ["thinking", "reasoning"]

# 只显示特定Agent
agents:
  include: ["research", "writing"]
  exclude: ["supervisor"]

# 节点流式控制
streaming:
  nodes:
    outline_generation: true      # 大纲生成：流式
    content_creation: false       # 内容创建：汇总输出
"""


async def test_the_documented_configuration_is_obeyed(hub: OpenHub, tmp_path: Any) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(YAML)

    def write() -> None:
        for agent in ("research", "supervisor", ""):
            writer = create_stream_writer("outline_generation", agent, config=file)
            writer.step_start("start")
            writer.thinking("hidden")
            writer.tool_call("hidden", {})
            writer.content_streaming("text")
        gathering = create_stream_writer("content_creation", "writing", config=file)
        for piece in ("第一", " ", "章\n"):
            gathering.content_streaming(piece)
        gathering.step_complete("written")

    assert said(await messages(hub, write), "node", "agent") == [
        ("step_start", "start", "outline_generation", "research"),
        ("content_streaming", "text", "outline_generation", "research"),
        ("step_start", "start", "outline_generation", None),
        ("content_streaming", "text", "outline_generation", None),
        ("node_complete", "第一 章\n", "content_creation", "writing"),
    ]


@pytest.mark.parametrize("config", ["missing.yaml", {"mesages": {}}, {"agents": {"include": [[]]}}])
def test_a_bad_configuration_is_not_taken_for_everything(config: Config) -> None:
    with pytest.raises(InvalidValue):
        StreamWriter("n", config=config)


@pytest.mark.parametrize("templates", [{"tool": "x"}, {"tool_call": "{0}"}, {"tool_call": "{x}"}])
def test_a_text_that_cannot_be_filled_in_is_refused(templates: dict[str, str]) -> None:
    with pytest.raises(InvalidValue):
        StreamWriter("n", custom_templates=templates)


def test_outside_a_run_nothing_happens() -> None:
    writer = StreamWriter("n")
    writer.step_start("a")
    writer.content_streaming("b")
    writer.final_result("c")
    writer.flush_buffer()
    create_workflow_processor("n").process_chunk(("custom", {"message_type": "error"}))


# --- a graph's stream -----------------------------------------------------------------------------


@dataclass
class AIMessage:
    content: Any = ""
    id: str | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    additional_kwargs: dict[str, Any] = field(default_factory=dict)
    type: str = "ai"


@dataclass
class AIMessageChunk(AIMessage):
    type: str = "AIMessageChunk"


@dataclass
class ToolMessage:
    content: Any
    name: str
    tool_call_id: str = ""
    type: str = "tool"


@dataclass
class Interrupt:
    value: Any
    id: str


def processed(*chunks: object, **options: Any) -> Writing:
    def write() -> None:
        processor = AgentWorkflowProcessor(StreamWriter("graph"), **options)
        for chunk in chunks:
            processor.process_chunk(chunk)
        processor.get_summary()

    return write


IN_RESEARCH = ("research:3f2a",)

PROGRESS = {
    "message_type": "step_progress",
    "content": "half",
    "node": "search",
    "progress": 50,
    "research_title": "T",
    "duration": 1.5,
    "extra": [1],
}


async def test_what_a_subgraph_writes_itself_is_not_dropped(hub: OpenHub) -> None:
    (found,) = await messages(hub, processed((IN_RESEARCH, "custom", PROGRESS)))

    assert found == {**PROGRESS, "agent": "research", "timestamp": TIME}


async def test_a_token_of_white_space_is_not_dropped(hub: OpenHub) -> None:
    tokens = ["深度", " ", "研究", "\n\n", "\t", "x"]

    def write() -> None:
        writer = StreamWriter("n")
        for token in tokens:
            writer.content_streaming(token)

    written = await messages(hub, write)
    chunks = [("messages", (AIMessageChunk(t, "m"), {"langgraph_node": "w"})) for t in tokens]
    streamed = await messages(hub, processed(*chunks))

    assert [m["content"] for m in written] == [m["content"] for m in streamed] == tokens


async def test_tokens_of_the_root_graph_are_not_ignored(hub: OpenHub) -> None:
    chunks = [
        ("messages", (AIMessageChunk("a", "m"), {"langgraph_node": "write"})),
        ((), "messages", (AIMessageChunk("b", "m"), {"langgraph_node": "write"})),
        (AIMessageChunk("c", "m"), {"langgraph_node": "write"}),
    ]

    assert said(await messages(hub, processed(*chunks)), "node", "chunk_index", "length") == [
        ("content_streaming", "a", "write", 0, 1),
        ("content_streaming", "b", "write", 1, 1),
        ("content_streaming", "c", "write", 2, 1),
    ]


@pytest.mark.parametrize("length", [1, 40, 120, 900])
async def test_a_final_message_is_neither_lost_nor_cut_nor_relabelled(
    hub: OpenHub, length: int
) -> None:
    text = "字" * length
    (found,) = await messages(hub, processed({"answer": {"messages": [AIMessage(text)]}}))

    assert (found["message_type"], found["content"]) == ("content_streaming", text)
    assert (found["node"], found["length"]) == ("answer", length)


@pytest.mark.parametrize("message_id", ["m-1", None])
async def test_streamed_text_does_not_come_again_in_the_final_message(
    hub: OpenHub, message_id: str | None
) -> None:
    metadata = {"langgraph_node": "write"}
    whole = AIMessage("ab", message_id)
    chunks = [
        (IN_RESEARCH, "messages", (AIMessageChunk("a", message_id), metadata)),
        (IN_RESEARCH, "messages", (AIMessageChunk("b", message_id), metadata)),
        (IN_RESEARCH, "updates", {"write": {"messages": [whole]}}),
        ((), "updates", {"research": {"messages": [whole]}}),
    ]

    found = await messages(hub, processed(*chunks))

    assert [m["content"] for m in found] == ["a", "b"]


async def test_a_flat_processor_does_not_crash_on_a_tool_call() -> None:
    call = {
        "message_type": "tool_call",
        "content": "调用了 web_search 工具",
        "node": "research",
        "tool_name": "web_search",
        "args": {"query": "x"},
        "timestamp": TIME,
    }
    assert create_flat_processor().flatten_chunk(("custom", call)) == call
    assert create_flat_processor().flatten_chunk((IN_RESEARCH, "custom", call)) == {
        **call,
        "agent": "research",
    }
    assert create_flat_processor().flatten_chunk(None) is None
    assert create_flat_processor().flatten_chunk(("updates", {"n": None})) is None


@pytest.mark.parametrize(
    "expected",
    [example[-1] for example in EXAMPLES]
    + ['{"message_type": "Of Its Own", "content": "", "node": "", "timestamp": 0}'],
)
def test_flattening_a_flat_message_loses_nothing(expected: str) -> None:
    message = json.loads(expected)
    message["unknown"] = {"a": 1}
    message["agent_hierarchy"] = ["supervisor", message.setdefault("agent", "research")]

    once = FlatDataProcessor().flatten_chunk(message)
    again = FlatDataProcessor().flatten_chunk(once)

    assert once == again == message


def test_flattening_gives_every_message_of_a_chunk() -> None:
    state = {"messages": [AIMessage("a"), AIMessage("b")]}
    found = FlatDataProcessor().flatten(("updates", {"n": state}))

    assert said(found, "node") == [("content_streaming", "a", "n"), ("content_streaming", "b", "n")]
    assert all(set(message) >= {"length", "chunk_index"} for message in found)


def test_a_flat_processor_counts_the_pieces_of_each_message() -> None:
    processor = FlatDataProcessor()
    pieces = [("a", "m", "w"), ("b", "m", "w"), ("c", "other", "w"), ("d", "m", "w")]
    chunks = [
        ("messages", (AIMessageChunk(text, message_id), {"langgraph_node": node}))
        for text, message_id, node in pieces
    ]

    found = [message for chunk in chunks for message in processor.flatten(chunk)]

    assert said(found, "chunk_index") == [
        ("content_streaming", "a", 0),
        ("content_streaming", "b", 1),
        ("content_streaming", "c", 0),
        ("content_streaming", "d", 2),
    ]


def test_a_tool_without_an_id_is_told_without_one() -> None:
    state = {
        "messages": [AIMessage("", tool_calls=[{"name": "t", "args": {}}]), ToolMessage("x", "t")]
    }

    found = FlatDataProcessor().flatten({"n": state})

    assert [message["message_type"] for message in found] == ["tool_call", "tool_result"]
    assert not any("call_id" in message for message in found)


async def test_the_tail_of_a_batch_is_not_lost(hub: OpenHub) -> None:
    def write() -> None:
        writer = StreamWriter(
            "n", config={"streaming": {"enabled": False, "batch_size": 4, "max_buffer": 50}}
        )
        for number in range(13):
            writer.content_streaming(f"{number} ")

    found = await messages(hub, write)

    assert [m["content"] for m in found] == ["0 1 2 3 ", "4 5 6 7 ", "8 9 10 11 ", "12 "]
    assert [m["chunk_index"] for m in found] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("streaming", "texts"),
    [
        ({"enabled": False, "batch_size": 4}, ["0 1 2 3 ", "4 5 6 7 ", "8 9 "]),
        ({"enabled": False, "batch_size": 1}, [f"{number} " for number in range(10)]),
        ({"nodes": {"n": False}}, ["".join(f"{number} " for number in range(10))]),
    ],
)
async def test_what_was_gathered_outlasts_a_time_without_room(
    streaming: dict[str, Any], texts: list[str]
) -> None:
    store = FaultyStore(MemoryStore())
    narrow = Settings(pending_bytes_per_run=2000, max_event_bytes=1000)

    async def patiently(write: Callable[[], None]) -> None:
        store.hold()
        with suppress(Overloaded):
            while True:
                runcast.emit("filler")
        try:
            write()
        except Overloaded:
            store.release()
            await runcast.drain()
            write()
        store.release()
        await runcast.drain()

    async def work() -> None:
        writer = StreamWriter("n", config={"streaming": streaming})
        for number in range(10):
            await patiently(lambda number=number: writer.content_streaming(f"{number} "))  # type: ignore[misc]
        await patiently(lambda: writer.reasoning("why"))
        await patiently(lambda: writer.step_complete("over"))
        await patiently(writer.flush_buffer)

    async with runcast.open_hub(store, settings=narrow) as hub:
        run = await hub.start(work)
        found = [event for event in await events_of(hub, run.run_id) if event.type != "filler"]

    assert found[-1].type == "done"
    is_off = "nodes" in streaming
    name, kind = ("message", "node_complete") if is_off else ("text", "content")
    assert [event.data[name] for event in found if event.type == kind] == texts
    if not is_off:
        assert [event.data["index"] for event in found if event.type == kind] == [
            *range(len(texts))
        ]
        assert [event.type for event in found[-3:-1]] == ["reasoning", "step_complete"]


async def test_a_node_that_is_switched_off_is_told_as_one_message(
    hub: OpenHub, clock: FakeClock
) -> None:
    def write() -> None:
        writer = StreamWriter("n", config={"streaming": {"nodes": {"n": False}}}, clock=clock)
        writer.step_start("begin")
        writer.content_streaming("a")
        clock.advance(2)
        writer.content_streaming("b")

    (found,) = await messages(hub, write)

    assert (found["message_type"], found["content"], found["aggregated"]) == (
        "node_complete",
        "ab",
        True,
    )
    assert found["duration"] == 2
    assert "of" not in found


async def test_filters_are_not_bypassed_by_subgraphs_or_the_main_graph(hub: OpenHub) -> None:
    def state(text: str) -> dict[str, Any]:
        return {"messages": [AIMessage(text)]}

    config = {
        "nodes": {"main": {"exclude": ["secret"]}, "subgraph": {"exclude": ["inner"]}},
        "agents": {"exclude": ["spy"]},
        "messages": {"exclude": ["reasoning", "interrupt_request", "interrupt_waiting"]},
    }
    results: list[dict[str, Any]] = []

    def write() -> None:
        processor = create_workflow_processor("graph", config=config)
        results.extend(
            processor.process_chunk(chunk)
            for chunk in [
                ((), "updates", {"secret": state("a")}),
                (("a:1",), "updates", {"inner": state("b")}),
                (("spy:1",), "updates", {"x": state("c")}),
                (("a:1",), "custom", {"message_type": "reasoning", "content": "d", "node": "x"}),
                (("a:1",), "updates", {"__interrupt__": (Interrupt("e?", "i"),)}),
                ((), "updates", {"shown": state("f")}),
            ]
        )

    assert said(await messages(hub, write)) == [("content_streaming", "f")]
    assert results[0] == {"filtered_node": "secret"}
    assert results[1] == {"filtered_node": "inner"}
    assert results[2] == {"filtered_agent": "spy"}
    assert results[-1] == {"processed": "updates", "messages": 1}


async def test_verbosity_is_not_ignored(hub: OpenHub, clock: FakeClock) -> None:
    config = {"verbosity": {"level": "normal", "show_timing": False, "show_agent_hierarchy": False}}
    message = {"message_type": "step_progress", "content": "x", "node": "n", "duration": 1}
    thought = {"message_type": "thinking", "content": "hm", "node": "n"}

    (found,) = await messages(
        hub,
        processed(
            (("a:1", "b:2"), "custom", message), (("a:1",), "custom", thought), config=config
        ),
    )

    assert found.keys() == {"message_type", "content", "node", "agent", "timestamp"}


@pytest.mark.parametrize("text", ["messages:\n  include:\n", "agents:\n", "nodes:\n  main:\n"])
async def test_an_empty_include_does_not_crash(hub: OpenHub, tmp_path: Any, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)

    found = await messages(hub, lambda: StreamWriter("n", config=str(file)).thinking("a"))

    assert said(found) == [("thinking", "a")]


async def test_a_duration_that_was_given_is_not_replaced(hub: OpenHub, clock: FakeClock) -> None:
    def write() -> None:
        writer = StreamWriter("n", clock=clock)
        writer.step_complete("a", duration=42.0)
        writer.step_start("b")
        clock.advance(3)
        writer.step_complete("b")
        writer.step_start("c")
        clock.advance(1)
        writer.step_complete("c")

    found = await messages(hub, write)

    assert [m["duration"] for m in found] == [42, 0, 3, 0, 1]


async def test_cleaning_does_not_delete_what_a_tool_said(hub: OpenHub) -> None:
    text = "总结：最终 结果: 见附件"

    def write() -> None:
        StreamWriter("n").tool_result("t", text)

    (written,) = await messages(hub, write)
    chunk = {"tools": {"messages": [ToolMessage(text, "t", "c-1")]}}
    (read,) = await messages(hub, processed(chunk))

    assert written["content"] == read["content"] == text
    assert written["length"] == read["length"] == len(text)


async def test_no_question_is_ignored(hub: OpenHub) -> None:
    asked = (
        Interrupt(
            {
                "action_request": {"action": "search", "args": {"q": "x"}},
                "config": {"allow_accept": True},
                "description": "Search?",
            },
            "a",
        ),
        Interrupt("Sure?", "b"),
        Interrupt({"action": "write", "args": {}, "description": "Write?"}, "c"),
    )
    results: list[dict[str, Any]] = []

    def write() -> None:
        processor = create_workflow_processor("graph")
        chunks = [(names, "updates", {"__interrupt__": asked}) for names in (IN_RESEARCH, ())]
        results.extend(map(processor.process_chunk, chunks))

    found = await messages(hub, write)

    assert said(found, "interrupt_id", "action", "requires_approval", "agent") == [
        ("interrupt_request", "Search?", "a", "search", True, "research"),
        ("interrupt_waiting", "等待用户响应", "a", None, None, "research"),
        ("interrupt_request", "Sure?", "b", "", True, "research"),
        ("interrupt_waiting", "等待用户响应", "b", None, None, "research"),
        ("interrupt_request", "Write?", "c", "write", True, "research"),
        ("interrupt_waiting", "等待用户响应", "c", None, None, "research"),
    ]
    assert found[0]["config"] == {"allow_accept": True}
    assert results[0]["interrupt_processed"] is True
    assert (results[0]["interrupt_id"], results[0]["action"]) == ("a", "search")
    assert [each["interrupt_id"] for each in results[0]["interrupts"]] == ["a", "b", "c"]
    assert results[1] == {"interrupt_skipped": True, "interrupt_id": "a"}


async def test_an_agent_nobody_thought_of_is_not_unknown(hub: OpenHub) -> None:
    chunk = (("boss:1", "my_own_agent:2"), "updates", {"n": {"messages": [AIMessage("a")]}})

    (found,) = await messages(hub, processed(chunk))

    assert found["agent"] == "my_own_agent"
    assert found["agent_hierarchy"] == ["boss", "my_own_agent"]


async def test_chunk_indexes_are_not_all_zero(hub: OpenHub) -> None:
    deep = ("boss:1", "writer:2")

    def write() -> None:
        writer = StreamWriter("n")
        for piece in "abc":
            writer.content_streaming(piece, 0)
        processor = create_workflow_processor("graph")
        for piece in "de":
            token = (AIMessageChunk(piece, "m"), {"langgraph_node": "w"})
            processor.process_chunk((deep, "messages", token))

    found = await messages(hub, write)

    assert [m["chunk_index"] for m in found] == [0, 1, 2, 0, 1]
    assert found[-1]["agent_hierarchy"] == ["boss", "writer"]


async def test_content_blocks_are_not_shown_as_python(hub: OpenHub) -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "Hello"},
        " there",
        {"type": "tool_use", "name": "t", "input": {}},
    ]
    chunk = {"n": {"messages": [AIMessage(blocks, "m")]}}

    assert said(await messages(hub, processed(chunk))) == [
        ("thinking", "hm"),
        ("content_streaming", "Hello there"),
    ]


async def test_the_same_reasoning_later_is_still_the_same(hub: OpenHub, clock: FakeClock) -> None:
    def write() -> None:
        writer = StreamWriter("n", clock=clock)
        writer.reasoning("because")
        clock.advance(1)
        writer.reasoning("because")
        clock.advance(0.1)
        writer.reasoning("because of that")

    assert said(await messages(hub, write)) == [
        ("reasoning", "because"),
        ("reasoning", "because of that"),
    ]


async def test_the_same_question_is_not_asked_twice(hub: OpenHub) -> None:
    def write() -> None:
        writer = StreamWriter("n")
        for _ in range(3):
            writer.interrupt_request("i-1", "search", {}, "Search?")

    assert said(await messages(hub, write)) == [("interrupt_request", "Search?")]


def chunk_of(chunk: object) -> GraphChunk:
    read = read_chunk(chunk)
    assert read is not None
    return read


async def test_what_is_remembered_does_not_grow_for_ever(hub: OpenHub) -> None:
    def write() -> None:
        writer = create_stream_writer("n")
        processor = AgentWorkflowProcessor(writer)
        for number in range(6000):
            writer.reasoning(f"reason {number}")
            token = (AIMessageChunk(f"t{number}", f"m{number}"), {"langgraph_node": "w"})
            processor._reader.read(chunk_of(("messages", token)))
            processor._reader.read(chunk_of({"n": {"messages": [AIMessage("x", f"w{number}")]}}))
        assert len(processor._reader._seen._keys) <= 4096
        assert len(processor._reader._spoken) <= 4096

    await soon((await hub.start(write)).result())


async def test_a_chapter_that_was_written_anew_is_told_again(hub: OpenHub) -> None:
    def sections(*texts: str) -> dict[str, Any]:
        return {"write": {"sections": [{"title": "T", "content": text} for text in texts]}}

    found = await messages(hub, processed(sections("a"), sections("a"), sections("a", "ab")))

    assert said(found, "section_title", "word_count") == [
        ("content_complete", "完成章节: T", "T", 1),
        ("content_complete", "完成章节: T", "T", 2),
    ]


async def test_further_fields_never_replace_a_messages_own(hub: OpenHub) -> None:
    evil: dict[str, Any] = {
        "message_type": "evil",
        "node": "evil",
        "agent": "evil",
        "timestamp": 0,
        "text": "e",
    }

    def write() -> None:
        writer = StreamWriter("n", "a")
        writer.step_progress("s", 10, percent=99, message="evil", **evil)
        writer.tool_result("t", "r", tool="evil", length=0, result_="evil", **evil)
        writer.final_result("f", {}, value="evil", is_final=False, **evil)
        writer.error("e", code="evil", **evil)
        writer.interrupt_request("i", "x", {}, "d", requires_approval=False, **evil)

    for message in await messages(hub, write):
        assert (message["node"], message["agent"], message["timestamp"]) == ("n", "a", TIME)
        assert message["message_type"] != "evil"
        assert message.get("progress", 10) == 10
        assert message.get("tool_name", "t") == "t"
        assert message.get("length", 1) == 1
        assert message.get("is_final", True) is True
        assert message.get("requires_approval", True) is True
        assert message.get("error_type", "GeneralError") == "GeneralError"
        assert "evil" in message.values(), "nor are they lost"


async def test_a_run_that_breaks_does_not_stay_running(hub: OpenHub) -> None:
    async def work() -> None:
        StreamWriter("n").step_start("a")
        raise ValueError

    run = await hub.start(work)
    await events_of(hub, run.run_id)

    assert (await hub.present(run.run_id))[1].status == "failed"


async def test_a_graph_is_summed_up(hub: OpenHub) -> None:
    summaries = []

    def write() -> None:
        processor = create_workflow_processor("graph")
        for chunk in [
            ("updates", {"plan": {"messages": [AIMessage("the plan", tool_calls=[CALL])]}}),
            ("updates", {"tools": {"messages": [ToolMessage("15 hits", "web_search", "c-1")]}}),
            ("updates", {"research": {"research_results": [{"title": "R", "content": "x"}]}}),
            ("updates", {"write": {"sections": [{"title": "S", "content": "y" * 7}]}}),
            ("updates", {"end": {"final_report": "the report"}}),
            ("debug", {}),
            42,
        ]:
            processor.process_chunk(chunk)
        summaries.append(processor.get_summary())

    found = await messages(hub, write)

    assert said(found, "node") == [
        ("thinking", "the plan", "plan"),
        ("tool_call", "调用了 web_search 工具", "plan"),
        ("tool_result", "15 hits", "tools"),
        ("step_progress", "发现研究资料: R", "research"),
        ("content_complete", "完成章节: S", "write"),
        ("content_complete", "the report", "end"),
    ]
    assert found[1]["args"] == {"query": "x"}
    assert summaries == [
        {
            "chunk_count": 7,
            "current_step": "end",
            "sections_completed": 1,
            "research_findings": 1,
            "final_output": "the report",
        }
    ]


CALL = {"id": "c-1", "name": "web_search", "args": {"query": "x"}}


async def test_an_agents_stream_is_collected(hub: OpenHub) -> None:
    collectors: list[AgentStreamCollector] = []

    async def stream() -> AsyncIterator[object]:
        yield "updates", {"n": {"messages": [AIMessage("", "m", [CALL])]}}
        for piece in ("Hello", " ", "there"):
            yield "messages", (AIMessageChunk(piece, "k"), {"langgraph_node": "n"})
        yield "updates", {"n": {"messages": [AIMessage("Hello there", "k")]}}

    async def write() -> None:
        collectors.append(create_agent_stream_collector("n", "writer"))
        assert await collectors[0].process_agent_stream(stream(), "writer") == "Hello there"

    found = await messages(hub, write)

    assert said(found[-1:], "word_count", "tools_used", "total_chunks") == [
        ("content_complete", "writer任务完成", 11, ["web_search"], 5)
    ]
    assert collectors[0].full_response == "Hello there"


async def test_what_the_hub_takes_is_not_refused_for_its_size(clock: FakeClock) -> None:
    text = "x" * (2 << 20)
    async with using_hub(OpenHub(settings=Settings(max_event_bytes=4 << 20), clock=clock)) as hub:
        found = await messages(hub, lambda: create_stream_writer("n").thinking(text))

    assert [m["content"] for m in found] == [text]


async def test_what_the_hub_does_not_take_is_not_gathered(clock: FakeClock) -> None:
    def write() -> None:
        writer = create_stream_writer("n", config={"streaming": {"enabled": False}})
        with pytest.raises(EventTooLarge):
            writer.content_streaming("x" * 5_000)
        writer.content_streaming("short")

    async with using_hub(OpenHub(settings=Settings(max_event_bytes=2_000), clock=clock)) as hub:
        assert [m["content"] for m in await messages(hub, write)] == ["short"]


@pytest.mark.parametrize(
    ("streaming", "kind"),
    [({"enabled": False}, "content_streaming"), ({"nodes": {"n": False}}, "node_complete")],
)
async def test_what_is_too_long_once_it_is_joined_is_not_lost(
    clock: FakeClock, streaming: dict[str, Any], kind: str
) -> None:
    pieces = [str(number) * 900 for number in range(10)]

    def write() -> None:
        writer = create_stream_writer("n", config={"streaming": streaming})
        for piece in pieces:
            writer.content_streaming(piece)

    async with using_hub(OpenHub(settings=Settings(max_event_bytes=2_000), clock=clock)) as hub:
        found = await messages(hub, write)

    assert {m["message_type"] for m in found} == {kind}
    assert "".join(m["content"] for m in found) == "".join(pieces)


@pytest.mark.parametrize("is_held", [False, True])
async def test_what_is_written_last_is_not_lost_because_much_waits(
    clock: FakeClock, is_held: bool
) -> None:
    store = FaultyStore(MemoryStore(clock))
    settings = Settings(pending_bytes_per_run=2000, max_event_bytes=1000)
    waits, go, is_full = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        if is_held:
            send_queue("the tail", "error")
        else:
            create_stream_writer("n", config={"streaming": {"enabled": False}}).content_streaming(
                "the tail"
            )
        waits.set()
        wait_for(go)
        for _ in range(2):
            runcast.emit("full", "x" * 950)
        is_full.set()
        raise ValueError

    async with using_hub(OpenHub(store, settings=settings, clock=clock)) as hub:
        run = await hub.start(work)
        await asyncio.to_thread(wait_for, waits)
        store.hold()
        go.set()
        await asyncio.to_thread(wait_for, is_full)
        await eventually(
            lambda: not hub.runner.runs[run.run_id].writer._last_words
        )  # the hooks were called
        store.release()
        found = await events_of(hub, run.run_id)

    types = ["started", "full", "full", "error" if is_held else "content", "failed"]
    assert [event.type for event in found] == types


# --- questions ------------------------------------------------------------------------------------


async def test_a_handler_asks_and_tells_the_answer(hub: OpenHub) -> None:
    def write() -> None:
        handler = create_interrupt_handler("n", "a")
        handler.handle_interrupt_request("i", "search", {"q": 1}, "Search?", {"allow_edit": True})
        assert handler.get_pending_interrupts() == {
            "i": {
                "interrupt_id": "i",
                "action": "search",
                "args": {"q": 1},
                "description": "Search?",
                "config": {"allow_edit": True},
            }
        }
        assert handler.handle_user_response("i", "go ahead", True)
        assert handler.get_pending_interrupts() == {}
        assert not handler.handle_user_response("i", "again", True)
        handler.handle_interrupt_request("j", "write", {}, "Write?")
        assert handler.handle_user_response("j", "no", False)
        handler.handle_interrupt_request("k", "x", {}, "?")
        handler.clear_interrupt("k")
        assert handler.get_pending_interrupts() == {}

    assert said(await messages(hub, write), "interrupt_id", "approved", "error_type") == [
        ("interrupt_request", "Search?", "i", None, None),
        ("interrupt_waiting", "等待用户响应", "i", None, None),
        ("interrupt_response", "go ahead", "i", True, None),
        ("interrupt_resolved", "操作已批准: search", "i", None, None),
        ("error", "there is no question 'i'", None, None, "InterruptNotFound"),
        ("interrupt_request", "Write?", "j", None, None),
        ("interrupt_waiting", "等待用户响应", "j", None, None),
        ("interrupt_response", "no", "j", False, None),
        ("interrupt_resolved", "操作已取消", "j", None, None),
        ("interrupt_request", "?", "k", None, None),
        ("interrupt_waiting", "等待用户响应", "k", None, None),
    ]


async def test_a_graph_is_not_resumed_with_anything_but_the_answer(hub: OpenHub) -> None:
    """The run waits for the answer, from whomever it comes, and gets it as graphs take it."""
    got = []

    async def work() -> None:
        answer = await runcast.ask("Search?", action="search", args={"q": 1}, interrupt_id="i")
        got.append(resume_value(answer))

    run = await hub.start(work)
    async with asyncio.timeout(5):
        while not (await hub.present(run.run_id))[1].interrupts:  # noqa: ASYNC110 - the store's
            await asyncio.sleep(0)
    await hub.answer(run.run_id, "i", {"type": "edit", "args": {"q": 2}})
    await soon(run.result())

    assert got == [{"type": "edit", "args": {"q": 2}}]


@pytest.mark.parametrize("is_early", [False, True])
async def test_asking_for_the_answer_to_a_question_that_was_told_does_not_hang(
    hub: OpenHub, is_early: bool
) -> None:
    told, go = asyncio.Event(), asyncio.Event()

    async def work() -> dict[str, Any]:
        processor = create_workflow_processor("n")
        result = processor.process_chunk(("updates", {"__interrupt__": (Interrupt("Go?", "i"),)}))
        await runcast.flush()
        told.set()
        await go.wait()
        return resume_value(await runcast.ask("Go?", interrupt_id=result["interrupt_id"]))

    run = await hub.start(work)
    await soon(told.wait())
    if is_early:
        await hub.answer(run.run_id, "i", {"type": "edit", "args": 1})
    go.set()
    if not is_early:
        while (await hub.present(run.run_id))[0].status != "waiting":  # noqa: ASYNC110
            await asyncio.sleep(0)
        await hub.answer(run.run_id, "i", {"type": "edit", "args": 1})

    assert await soon(run.result()) == {"type": "edit", "args": 1}
    snapshot = (await hub.present(run.run_id))[1]
    assert (snapshot.interrupts, snapshot.interrupts_lapsed) == ([], 0)


async def test_a_question_does_not_outlive_its_run(hub: OpenHub) -> None:
    handlers: list[InterruptHandler] = []

    def work() -> None:
        handlers.append(create_interrupt_handler("n"))
        handlers[0].handle_interrupt_request("i", "search", {}, "Search?")

    run = await hub.start(work)
    await events_of(hub, run.run_id)

    assert handlers[0].get_pending_interrupts() == {}
    assert not handlers[0].handle_user_response("i", "yes", True)


@pytest.mark.parametrize("is_over_http", [False, True])
async def test_an_answer_from_outside_does_not_go_astray(hub: OpenHub, is_over_http: bool) -> None:
    handlers: list[InterruptHandler] = []
    go = asyncio.Event()

    async def work() -> None:
        handlers.append(create_interrupt_handler("n"))
        handlers[0].handle_interrupt_request("i", "search", {}, "Search?")
        await go.wait()

    run = await hub.start(work)
    await eventually(lambda: bool(handlers and handlers[0].get_pending_interrupts()))

    await hub.flush(run.run_id)
    (question,) = (await hub.present(run.run_id))[1].interrupts
    assert (question.interrupt_id, question.message) == ("i", "Search?")
    if is_over_http:
        await soon(hub.answer(run.run_id, "i", {"type": "response", "args": "yes"}))
    else:
        assert handlers[0].handle_user_response("i", "yes", True)
    await hub.flush(run.run_id)
    assert not [q for q in (await hub.present(run.run_id))[1].interrupts if not q.is_answered]
    go.set()
    found = [flat(event) for event in await events_of(hub, run.run_id)]

    answers = [m for m in found if m["message_type"] == "interrupt_response"]
    assert [(m["content"], m["approved"]) for m in answers] == [("yes", True)]
    assert not handlers[0].handle_user_response("i", "late", True)


async def test_what_finds_no_room_is_neither_asked_nor_answered_and_may_be_again() -> None:
    store = FaultyStore(MemoryStore())

    async def refuses(call: Callable[[], object]) -> None:
        store.hold()
        with suppress(Overloaded):
            while True:
                runcast.emit("filler")
        with pytest.raises(Overloaded):
            call()
        store.release()
        await runcast.drain()

    async def work() -> None:
        handler = create_interrupt_handler("n")

        def ask() -> None:
            handler.handle_interrupt_request("i", "search", {}, "Search?")

        await refuses(ask)
        assert handler.get_pending_interrupts() == {}
        ask()
        await refuses(lambda: handler.handle_user_response("i", "yes", True))
        assert handler.handle_user_response("i", "yes", True)

    narrow = Settings(pending_bytes_per_run=2000, max_event_bytes=1000)
    async with runcast.open_hub(store, settings=narrow) as hub:
        run = await hub.start(work)
        found = [event.type for event in await events_of(hub, run.run_id)]

    told = [kind for kind in found if kind != "filler"]
    asked = ["interrupt_request", "interrupt_waiting", "interrupt_response", "interrupt_resolved"]
    assert told == ["started", *asked, "done"]


async def test_writers_of_many_threads_keep_their_order(hub: OpenHub) -> None:
    def speak(name: str) -> None:
        writer = StreamWriter(name)
        for number in range(50):
            writer.content_streaming(str(number))

    async def write() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(loop.run_in_executor(pool, runcast.bind(speak), name) for name in "abcd")
        )

    with ThreadPoolExecutor(4) as pool:
        found = await messages(hub, write)

    for name in "abcd":
        own = [(m["content"], m["chunk_index"]) for m in found if m["node"] == name]
        assert own == [(str(number), number) for number in range(50)]


async def test_a_writer_that_runs_share_does_not_mix_them(hub: OpenHub) -> None:
    writer = create_stream_writer("n", config={"streaming": {"enabled": False, "batch_size": 3}})

    async def work(name: str) -> None:
        for number in range(10):
            writer.content_streaming(f"{name}{number} ")
            writer.reasoning("the same in every run")
            await asyncio.sleep(0)

    runs = [await hub.start(work, {"name": name}) for name in "abc"]
    found = [await events_of(hub, run.run_id) for run in runs]

    for name, told in zip("abc", found, strict=True):
        text = "".join(event.data["text"] for event in told if event.type == "content")
        assert text == "".join(f"{name}{number} " for number in range(10))
    assert writer._viewed == {}, "nothing is kept of runs that are over"


TOKEN = (AIMessageChunk("a", "m"), {"langgraph_node": "w"})
WHOLE = {"w": {"messages": [{"role": "assistant", "content": "a"}]}}


@pytest.mark.parametrize(
    ("chunk", "agent"),
    [
        (("messages", TOKEN), None),
        (["messages", TOKEN], None),
        (TOKEN, None),
        (((), "messages", TOKEN), None),
        ((("x:1",), "messages", TOKEN), "x"),
        ((["x:1"], "messages", TOKEN), "x"),
        (("x:1", "messages", TOKEN), "x"),
        ((("x:1",), TOKEN), "x"),
        ({"ns": ("x:1",), "type": "messages", "data": TOKEN}, "x"),
        (("messages", AIMessageChunk("a", "m")), None),
        (("updates", WHOLE), None),
        ((("x:1",), WHOLE), "x"),
        (WHOLE, None),
        (((), "updates", {"w": [WHOLE["w"], None]}), None),
        (("messages", ({"type": "ai", "content": "a"}, {"langgraph_node": "w"})), None),
    ],
)
async def test_every_shape_of_a_chunk_is_understood(
    hub: OpenHub, chunk: object, agent: str | None
) -> None:
    (found,) = await messages(hub, processed(chunk))

    assert (found["message_type"], found["content"], found.get("agent")) == (
        "content_streaming",
        "a",
        agent,
    )


@pytest.mark.parametrize(
    "chunk",
    [
        None,
        "text",
        (),
        (1, 2, 3),
        ("debug", {"a": 1}),
        ("values", {"messages": [AIMessage("a")]}),
        ((), "messages", ()),
        ((), "messages", (object(), {})),
        ("messages", (AIMessage("hi", type="human"), {})),
        ("updates", None),
        ("updates", {"n": {"messages": None, "sections": [{}, None, 3], "final_report": 7}}),
        ("updates", {"n": {"messages": [None, 3, AIMessage(None), {"type": "ai"}]}}),
    ],
)
async def test_a_chunk_that_says_nothing_does_no_harm(hub: OpenHub, chunk: object) -> None:
    assert await messages(hub, processed(chunk)) == []
    assert FlatDataProcessor().flatten(chunk) == []


async def test_thoughts_are_told_apart_and_once(hub: OpenHub) -> None:
    blocks = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "so"}]
    metadata = {"langgraph_node": "w"}
    part = AIMessageChunk("", "m", additional_kwargs={"reasoning_content": "hm"})

    found = await messages(
        hub,
        processed(
            ("messages", (part, metadata)),
            ("messages", (AIMessageChunk("so", "m"), metadata)),
            {"w": {"messages": [AIMessage(blocks, "m")]}},
            {"w": {"messages": [AIMessage(blocks, "k")]}},
        ),
    )

    assert said(found) == [("thinking", "hm"), ("content_streaming", "so")] * 2


async def test_what_is_said_twice_without_ids_is_not_taken_for_the_same(hub: OpenHub) -> None:
    deep, root = (IN_RESEARCH, "updates", WHOLE), ((), "updates", WHOLE)

    found = await messages(hub, processed(deep, root, deep, deep))

    assert [m.get("agent") for m in found] == ["research"] * 3


async def test_a_graph_may_write_in_the_newer_vocabulary(hub: OpenHub) -> None:
    chunks = [
        ("custom", {"message_type": "processing", "content": "p", "node": "n", "progress": 40}),
        ("custom", {"message_type": "content", "content": "c", "node": "n", "chunk_index": 3}),
        ("custom", {"message_type": "interrupt", "content": "i", "interrupt_id": "q"}),
        ("custom", {"message_type": "final_result", "content": "f"}),
        ("custom", {"message_type": "Made Up", "content": "m"}),
        ("custom", {"message_type": "done", "content": "no ending"}),
        ("custom", {"my": "own"}),
    ]

    found = await messages(hub, processed(*chunks))

    assert said(found[:4], "progress", "chunk_index", "interrupt_id", "is_final") == [
        ("step_progress", "p", 40, None, None, None),
        ("content_streaming", "c", None, 3, None, None),
        ("interrupt_request", "i", None, None, "q", None),
        ("final_result", "f", None, None, None, True),
    ]
    assert [m["message_type"] for m in found[4:]] == ["custom"] * 3
    assert found[-1]["my"] == "own"
