"""What the sources for logging, tqdm, rich and pools add to a call of the program.

    .venv/bin/python -m benchmarks.sources

CrewAI is measured in its own environment: `.venv-crewai/bin/python -m benchmarks.sources crewai`.

Prints one line for each: the call without the source, with the source outside of a run, and inside
a run whose events go to memory. Then it prints what sources of models add to a token, compared with
the same program that calls `runcast.content` for each token itself. Medians of `ROUNDS` rounds, in
microseconds of CPU of the thread that calls. `per_token` adds a source of a model.
"""

import asyncio
import importlib
import importlib.util
import io
import json
import logging
import math
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it can be run as a file

import runcast

CALLS = 2000
ROUNDS = 7


def per_call_us(work: Callable[[], None]) -> float:
    """Return the median time of one of the `CALLS` calls that `work` makes, in microseconds."""
    work()
    rounds = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        work()
        rounds.append((time.thread_time() - began) / CALLS * 1e6)
    return statistics.median(rounds)


def log_records() -> None:
    logger = logging.getLogger("bench")
    for number in range(CALLS):
        logger.info("record %d", number)


def move_a_bar_of_tqdm() -> None:
    from tqdm import tqdm

    with tqdm(total=CALLS, file=io.StringIO()) as bar:
        for _ in range(CALLS):
            bar.update()


def iterate_over_a_bar_of_tqdm() -> None:
    from tqdm import tqdm

    for _ in tqdm(range(CALLS), file=io.StringIO()):
        pass


def move_a_bar_of_rich() -> None:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=io.StringIO()), auto_refresh=False) as progress:
        task = progress.add_task("bench", total=CALLS)
        for _ in range(CALLS):
            progress.advance(task)


def emit_content() -> None:
    for _ in range(CALLS):
        runcast.content("a word")


def submit_to(pool: ThreadPoolExecutor) -> Callable[[], None]:
    def submit() -> None:
        for future in [pool.submit(int) for _ in range(CALLS)]:
            future.result()

    return submit


Work = Callable[[Callable[[str], None]], None]


@dataclass(frozen=True)
class PerToken:
    """A source of a model: `work` reads an answer of `CALLS` tokens, and calls its argument with
    the text of each."""

    name: str
    source: Callable[[], AbstractContextManager[None]]
    work: Work
    budget_us: float
    """Most microseconds that a token may cost more than `content`."""
    plain: Work
    """What reads the same answer without the source."""
    needs: str = ""
    """A package that is not in the environment of the tests."""


SOURCES_OF_MODELS: list[PerToken] = []


def per_token(
    name: str,
    source: Callable[[], AbstractContextManager[None]] = nullcontext,
    budget_us: float = 10,
    plain: Work | None = None,
    needs: str = "",
) -> Callable[[Work], Work]:
    """Add a function that reads an answer of `CALLS` tokens to what is measured.

    Args:
        source: turns the source on.
        plain: the same program without the source; by default the function itself.
    """

    def add(work: Work) -> Work:
        SOURCES_OF_MODELS.append(PerToken(name, source, work, budget_us, plain or work, needs))
        return work

    return add


def replayed(client: Any, events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return options of a client of OpenAI or Anthropic that gets these events for each call."""
    http = importlib.import_module(client.__mro__[1].__module__.partition(".")[0])
    frames = []
    for event in events:
        kind = f"event: {event['type']}\n" if "type" in event else ""
        frames.append(f"{kind}data: {json.dumps(event)}\n\n")
    body = "".join(frames).encode()

    def answer(request: Any) -> Any:
        return http.Response(200, headers={"content-type": "text/event-stream"}, content=body)

    make = http.AsyncClient if issubclass(client, http.AsyncClient) else http.Client
    return {"http_client": make(transport=http.MockTransport(answer)), "api_key": "none"}


def _chunks() -> list[dict[str, Any]]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas: list[Any] = [({"content": "a word"}, None)] * CALLS + [({}, "stop")]
    return [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        for delta, reason in deltas
    ]


def _llm() -> AbstractContextManager[None]:
    return runcast.sources.llm.stream()


@per_token("openai, chat", _llm)
def chat(write: Callable[[str], None]) -> None:
    import openai

    client = openai.OpenAI(**replayed(openai.DefaultHttpxClient, _chunks()))
    for chunk in client.chat.completions.create(model="m", messages=[], stream=True):
        write(chunk.choices[0].delta.content or "")


@per_token("openai, chat, async", _llm)
def chat_async(write: Callable[[str], None]) -> None:
    import openai

    async def read() -> None:
        client = openai.AsyncOpenAI(**replayed(openai.DefaultAsyncHttpxClient, _chunks()))
        stream = await client.chat.completions.create(model="m", messages=[], stream=True)
        async for chunk in stream:
            write(chunk.choices[0].delta.content or "")

    asyncio.run(read())


@per_token("openai, Responses", _llm)
def responses(write: Callable[[str], None]) -> None:
    import openai

    delta = {
        **{"type": "response.output_text.delta", "item_id": "msg_1", "delta": "a word"},
        **{"output_index": 0, "content_index": 0, "logprobs": [], "sequence_number": 1},
    }
    client = openai.OpenAI(**replayed(openai.DefaultHttpxClient, [delta] * CALLS))
    for event in client.responses.create(model="m", input="x", stream=True):
        if event.type == "response.output_text.delta":
            write(event.delta)


@per_token("anthropic", _llm)
def messages(write: Callable[[str], None]) -> None:
    import anthropic

    message = {
        **{"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []},
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    block = {"type": "text", "text": ""}
    delta = {"type": "text_delta", "text": "a word"}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *([{"type": "content_block_delta", "index": 0, "delta": delta}] * CALLS),
        {"type": "message_stop"},
    ]
    client = anthropic.Anthropic(**replayed(anthropic.DefaultHttpxClient, events))
    for event in client.messages.create(model="m", max_tokens=1, messages=[], stream=True):
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            write(event.delta.text)


def _chain() -> AbstractContextManager[None]:
    return runcast.sources.langchain.stream()


def _fake_model() -> Any:
    """Return a chat model of LangChain whose answers cost nothing themselves."""
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import ChatGenerationChunk

    class Fake(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "fake"

        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            for _ in range(CALLS):
                yield ChatGenerationChunk(message=AIMessageChunk(content="a word"))

        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError

    return Fake()


@per_token("langchain", _chain, budget_us=20)
def langchain(write: Callable[[str], None]) -> None:
    for chunk in _fake_model().stream("x"):
        write(chunk.content)


@per_token("langgraph", _chain, budget_us=20)
def langgraph(write: Callable[[str], None]) -> None:
    from langgraph.graph import START, MessagesState, StateGraph

    model = _fake_model()

    def node(state: Any) -> None:
        for chunk in model.stream("x"):
            write(chunk.content)

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
    graph.invoke({"messages": []})


def _responses() -> list[dict[str, Any]]:
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "tools": []}
    head |= {"parallel_tool_calls": True, "tool_choice": "auto"}
    item: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant"}
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "a word", "annotations": []}
    delta = {"type": "response.output_text.delta", **where, "delta": "a word", "logprobs": []}
    begun = {**head, "status": "in_progress", "output": []}
    done = {**item, "status": "completed", "content": [part]}
    used = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    used_details = {
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    ended = {**head, "status": "completed", "output": [done], "usage": {**used, **used_details}}
    added = {**item, "status": "in_progress", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": added},
        {"type": "response.content_part.added", **where, "part": {**part, "text": ""}},
        *([delta] * CALLS),
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": ended},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _agents(write: Callable[[str], None], *, is_followed: bool) -> None:
    import openai
    from agents import Agent, OpenAIResponsesModel, RunConfig, Runner

    async def run() -> None:
        client = openai.AsyncOpenAI(**replayed(openai.DefaultAsyncHttpxClient, _responses()))
        agent = Agent(name="bench", model=OpenAIResponsesModel("m", client))
        result = Runner.run_streamed(agent, "x", run_config=RunConfig(tracing_disabled=True))
        if is_followed:
            await runcast.sources.openai_agents.follow(result)
            return
        async for event in result.stream_events():
            data = getattr(event, "data", None)
            if data is not None and data.type == "response.output_text.delta":
                write(data.delta)

    asyncio.run(run())


@per_token("OpenAI Agents", budget_us=20, plain=partial(_agents, is_followed=False))
def agents(write: Callable[[str], None]) -> None:
    _agents(write, is_followed=True)


def _pydantic_ai(write: Callable[[str], None], *, is_reported: bool) -> None:
    import openai
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async def run() -> None:
        client = openai.AsyncOpenAI(**replayed(openai.DefaultAsyncHttpxClient, _responses()))
        model = OpenAIResponsesModel("m", provider=OpenAIProvider(openai_client=client))
        capabilities = [runcast.sources.pydantic_ai.Reporting()] if is_reported else []
        agent = Agent(model, name="bench", capabilities=capabilities)
        async with agent.run_stream_events("x") as events:
            async for event in events:
                if event.event_kind == "part_delta":
                    write(getattr(event.delta, "content_delta", None) or "")

    asyncio.run(run())


@per_token("pydantic-ai", budget_us=20, plain=partial(_pydantic_ai, is_reported=False))
def pydantic_ai(write: Callable[[str], None]) -> None:
    _pydantic_ai(write, is_reported=True)


def _crew() -> AbstractContextManager[None]:
    return runcast.sources.crewai.stream()


@per_token("CrewAI", _crew, needs="crewai")
def crew(write: Callable[[str], None]) -> None:
    """Publish the events of an answer, without a client, and without CrewAI's own console."""
    from crewai.events import event_bus
    from crewai.events.types import llm_events

    about: dict[str, Any] = {"call_id": str(uuid.uuid4()), "agent_role": "Writer"}
    begun = llm_events.LLMCallStartedEvent(messages=[], **about)
    event_bus.publish_stream_event(None, begun)
    for _ in range(CALLS):
        event = llm_events.LLMStreamChunkEvent(chunk="a word", **about)
        event_bus.publish_stream_event(None, event)
        write("a word")


def _ignore(text: str) -> None:
    pass


def print_tokens() -> None:
    """Print what each source of a model adds to a token."""
    columns = ("without", "by content", "by source", "ratio", "beyond", "budget")
    print(f"\n{'µs a token':<24}" + "".join(f"{name:>11}" for name in columns))
    for each in SOURCES_OF_MODELS:
        if each.needs and importlib.util.find_spec(each.needs) is None:
            print(f"{each.name:<24}  not measured: {each.needs} is not installed here")
            continue
        without = per_call_us(partial(each.plain, _ignore))
        with runcast.run("bench"):
            by_content = per_call_us(partial(each.plain, runcast.content))
        with each.source(), runcast.run("bench"):
            by_source = per_call_us(partial(each.work, _ignore))
        beyond = by_source - by_content
        # Below the noise there is nothing to divide by.
        content = by_content - without
        ratio = (by_source - without) / content if content > 0.5 else math.nan
        figures = (without, by_content, by_source, ratio, beyond, each.budget_us)
        verdict = "" if beyond <= each.budget_us else "  over its budget"
        print(f"{each.name:<24}" + "".join(f"{it:>11.2f}" for it in figures) + verdict)


def main() -> None:
    if len(sys.argv) > 1:  # parts of the names of sources of models
        chosen = [it for it in SOURCES_OF_MODELS if any(p in it.name.lower() for p in sys.argv)]
        SOURCES_OF_MODELS[:] = chosen
        print_tokens()
        return
    logger = logging.getLogger("bench")
    logger.setLevel("INFO")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    print(f"{'µs a call':<24}{'without':>10}{'outside':>10}{'in a run':>10}")
    for name, work in (
        ("logging", log_records),
        ("tqdm, update()", move_a_bar_of_tqdm),
        ("tqdm, iterating", iterate_over_a_bar_of_tqdm),
        ("rich, advance()", move_a_bar_of_rich),
    ):
        without = per_call_us(work)
        with runcast.sources.stream("logging", "tqdm", "rich"):
            outside = per_call_us(work)
            with runcast.run("bench"):
                inside = per_call_us(work)
        print(f"{name:<24}{without:>10.2f}{outside:>10.2f}{inside:>10.2f}")
    with ThreadPoolExecutor(1) as theirs, runcast.ThreadPoolExecutor(1) as ours:
        without, outside = per_call_us(submit_to(theirs)), per_call_us(submit_to(ours))
        with runcast.run("bench"):
            inside = per_call_us(submit_to(ours))
    print(f"{'pool, submit()':<24}{without:>10.2f}{outside:>10.2f}{inside:>10.2f}")
    with runcast.run("bench"):
        inside = per_call_us(emit_content)
    print(f"{'content(), to compare':<24}{'':>20}{inside:>10.2f}")
    print_tokens()


if __name__ == "__main__":
    main()
