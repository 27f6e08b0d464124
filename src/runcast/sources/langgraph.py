"""Run a graph of LangGraph inside a run: its interrupts become questions of the run.

    @runcast.function
    async def research(topic: str) -> str:
        state = await runcast.sources.langgraph.run(graph, {"topic": topic})
        return state["report"]

Everything else becomes events as with `runcast.sources.langchain.stream()`; what a node writes with
`get_stream_writer()` becomes `custom`. Tested with langgraph 1.2 and its checkpointers in memory
and in SQLite.
"""

import asyncio
from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

from runcast._producing.answers import Answer
from runcast._producing.context import ask, current_writer
from runcast._producing.pools import ThreadPoolExecutor
from runcast._producing.writer import Writer
from runcast.errors import InvalidValue
from runcast.sources._graph_chunks import Asked
from runcast.sources._graph_places import spot_of
from runcast.sources._graph_questions import Interrupted, read_interrupted
from runcast.sources._packages import check_package
from runcast.sources._plain import as_plain
from runcast.sources._telling import tell, warn_once

check_package(
    "langgraph", (1, 2)
)  # before the source for LangChain checks a package that it brings

# Names that are exported again are for the demo: only this module imports LangGraph.
from langgraph.checkpoint.memory import InMemorySaver as InMemorySaver  # noqa: E402 - after the check
from langgraph.config import get_config  # noqa: E402
from langgraph.graph import START as START  # noqa: E402
from langgraph.graph import StateGraph as StateGraph  # noqa: E402
from langgraph.runtime import Runtime  # noqa: E402
from langgraph.types import Command  # noqa: E402
from langgraph.types import Send as Send  # noqa: E402
from langgraph.types import interrupt as interrupt  # noqa: E402

from runcast.sources import langchain  # noqa: E402

try:
    from langgraph.pregel.protocol import StreamProtocol
except ImportError:  # it is not documented, and may move
    StreamProtocol = None  # type: ignore[assignment,misc]

__all__ = ("run", "run_sync")

_RUNTIME_KEY, _STREAM_KEY = "__pregel_runtime", "__pregel_stream"
"""Where LangGraph keeps the writer of the graph above, for a graph that runs inside of it."""


async def run(
    graph: Any,
    input: Any,  # noqa: A002 - LangGraph's name
    config: Mapping[str, Any] | None = None,
    *,
    tokens: bool = True,
    **options: Any,
) -> Any:
    """Run a graph to its end, with `ainvoke`, and return its output.

    If the graph is interrupted, its questions are asked in the run, all at once, and the answers
    resume it. That goes on until the graph ends. A `HumanInTheLoopMiddleware` gets the answers as
    its decisions. `interrupt(value)` returns the `args` of an answer, or True or False for a yes or
    no without any.

    The thread of the graph is that of the run, unless `config` names a `thread_id`. If the thread
    of the run has begun already, in an attempt whose process died, the graph continues where it
    was, and `input` is not used again. With a `thread_id` of your own, pass None as the input to
    continue.

    Args:
        graph: a compiled graph, or an agent. It needs a checkpointer to ask questions, and a
            durable one to survive its process.
        tokens: ask models for their answers in pieces; see `langchain.stream`.
        options: those of `ainvoke`. `durability` is "sync" unless you say otherwise.

    Raises:
        InvalidValue: `graph` is not a compiled graph, or the graph asks a question and has no
            checkpointer, or is outside a run.
    """
    with langchain.stream(tokens=tokens):
        turns = _turns(graph, input, config, options, await _own_thread())
        request = next(turns)
        while True:
            done: Any
            match request:
                case _State(own):
                    done = await graph.aget_state(own)
                case _Call(given, own, more):
                    done = await graph.ainvoke(given, own, **more)
                case _Ask(questions):
                    done = await asyncio.gather(*(_ask(asked) for asked in questions))
                case _:
                    return request
            request = turns.send(done)


def run_sync(
    graph: Any,
    input: Any,  # noqa: A002 - LangGraph's name
    config: Mapping[str, Any] | None = None,
    *,
    tokens: bool = True,
    **options: Any,
) -> Any:
    """Run a graph to its end, with `invoke`, in a thread; see `run`."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise InvalidValue("expected `await runcast.sources.langgraph.run(…)` in a coroutine")
    with langchain.stream(tokens=tokens):
        turns = _turns(graph, input, config, options, _own_thread_here())
        request = next(turns)
        while True:
            done: Any
            match request:
                case _State(own):
                    done = graph.get_state(own)
                case _Call(given, own, more):
                    done = graph.invoke(given, own, **more)
                case _Ask(questions):
                    done = _ask_all(questions)
                case _:
                    return request
            request = turns.send(done)


class _State(NamedTuple):
    """Asks for the state of the graph's thread."""

    config: dict[str, Any]


class _Call(NamedTuple):
    """Asks for a call of the graph."""

    input: Any
    config: dict[str, Any]
    options: Mapping[str, Any]


class _Ask(NamedTuple):
    """Asks for the answers to questions."""

    questions: Sequence[Asked]


def _turns(
    graph: Any,
    given: Any,
    config: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    own_thread: str,
) -> Generator[Any, Any, None]:
    """Yield what is to be done next, and at last the graph's output; get what came of it."""
    if not hasattr(graph, "invoke") or not hasattr(graph, "checkpointer"):
        raise InvalidValue(
            f"expected a compiled graph or an agent, got {type(graph).__name__}; "
            "compile() of a StateGraph returns one"
        )
    own = _with_thread(config, own_thread) if graph.checkpointer else _with_writer(config)
    if graph.checkpointer:
        options = {"durability": "sync", **options}
    waiting: Sequence[Any] = ()
    if graph.checkpointer and (given is None or _thread_of(own) == own_thread != ""):
        state = yield _State(own)
        if state.created_at is not None:  # the thread has begun before
            given, waiting = None, state.interrupts
    answered: set[str] = set()
    while True:
        if waiting:
            given = Command(resume=(yield from _resume(waiting, answered)))
        output = yield _Call(given, own, options)
        waiting = _interrupts_of(output)
        if graph.checkpointer and not waiting:
            waiting = (yield _State(own)).interrupts
        if not waiting:
            yield output
        if not graph.checkpointer:
            raise InvalidValue(
                "expected a graph with a checkpointer: it asks a question, and continues with the "
                "answer from a checkpoint; pass one to compile() or create_agent()"
            )


def _resume(
    waiting: Sequence[Any], answered: set[str]
) -> Generator[_Ask, list[Answer], dict[str, Any]]:
    """Ask what the graph waits for, all at once; return the values by which it continues."""
    found: list[Interrupted] = []
    for one in waiting:
        name, again = one.id, 2
        while name in answered:  # the same interrupt is asked again, as a new question
            name, again = f"{one.id}-again-{again}", again + 1
        answered.add(name)
        schema = getattr(one, "response_schema", None)
        found.append(read_interrupted(name, one.value, schema))
    answers = iter((yield _Ask([asked for read in found for asked in read.questions])))
    return {
        one.id: read.resume_value([next(answers) for _ in read.questions])
        for one, read in zip(waiting, found, strict=True)
    }


def _interrupts_of(output: object) -> Sequence[Any]:
    found = output.get("__interrupt__") if isinstance(output, Mapping) else None
    return found if isinstance(found, list | tuple) else ()


# Threads of graphs, and of runs.


async def _own_thread() -> str:
    """Return the id of the graph's thread that belongs to the current run, and to this life."""
    writer = current_writer()
    return f"{writer.run_id}:{(await writer.flush()).epoch}" if writer is not None else ""


def _own_thread_here() -> str:
    writer = current_writer()
    return f"{writer.run_id}:{writer.flush().epoch}" if writer is not None else ""


def _with_thread(config: Mapping[str, Any] | None, own_thread: str) -> dict[str, Any]:
    found = _with_writer(config)
    if own_thread and not found["configurable"].get("thread_id"):
        found["configurable"]["thread_id"] = own_thread
    return found


def _thread_of(config: Mapping[str, Any]) -> object:
    return config["configurable"].get("thread_id")


def _with_writer(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a config by which `get_stream_writer()` writes to the current run, at once.

    A stream of LangGraph's own would bring the data later, behind the events that follow it.
    """
    given = dict(config or {})
    configurable = dict(given.get("configurable") or {})
    writer = current_writer()
    if StreamProtocol is None:
        warn_once(
            "this version of langgraph takes a stream writer in a way that runcast does not know, "
            "so data of get_stream_writer() is not shown; use a newer runcast, or runcast.emit"
        )
    elif writer is not None and _RUNTIME_KEY not in configurable:
        configurable[_STREAM_KEY] = StreamProtocol(_drop, set())
        configurable[_RUNTIME_KEY] = Runtime(stream_writer=lambda data: _write(writer, data))
    return {**given, "configurable": configurable}


def _drop(chunk: Any) -> None:
    """Take a chunk of a stream that nobody reads."""


def _write(writer: Writer, data: Any) -> None:
    """Write what a node of the graph gave to its stream writer."""
    spot = spot_of(get_config().get("metadata"))
    place = (spot.node, spot.agent, (), None)
    value = as_plain(data)
    tell(writer, lambda: writer.emit_at(place, "custom", value))


# Questions.


def _ask(asked: Asked) -> Any:
    """Ask a question: a coroutine awaits its answer, a thread waits for it."""
    return ask(
        asked.description,
        action=asked.action,
        args=as_plain(asked.args),
        config=asked.config,
        interrupt_id=asked.interrupt_id,
    )


def _ask_all(questions: Sequence[Asked]) -> list[Answer]:
    """Ask several questions at once, and wait for all answers."""
    if len(questions) == 1:
        return [_ask(questions[0])]
    with ThreadPoolExecutor(len(questions)) as pool:
        return list(pool.map(_ask, questions))
