"""The source for CrewAI: the events of crews, agents and flows, in the order in which they happen.

    with runcast.sources.crewai.stream():
        crew.kickoff(inputs={"topic": "tides"})

    step_start   {"message": "research", …}                  node "research", agent "Researcher"
    content      {"text": "Tides ", "index": 0, "message_id": "…"}
    tool_call    {"call_id": "…", "tool": "search", "args": {"query": "tides"}}
    tool_result  {"call_id": "…", "tool": "search", "result": "…", "ok": true}
    usage        {"model": "gpt-5", "input_tokens": 420, "output_tokens": 96}

The node is the task, the agent is the agent's role. `_crew_reader` has the whole table. Models
stream only if their `LLM` has `stream=True`; otherwise each text comes at once.

A function may also return a `Crew`: it is kicked off with the function's inputs, under this source.
Tasks with `human_input=True` ask their question through `runcast.ask`. Messages that are sent into
the run reach the next agent that calls its model.

Tested with CrewAI 1.15.30. CrewAI has no public way to see the events of every thread in order, so
four of its functions are wrapped; what cannot be wrapped in another version is left out, and a
warning in the run's log says so.
"""

import contextlib
import importlib
import logging
import weakref
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Final

from runcast._producing.answers import Answer
from runcast._producing.context import current_writer
from runcast._producing.writer import Writer
from runcast.errors import RuncastError, RunClosed
from runcast.sources._client_calls import CLOSING
from runcast.sources._crew_fields import Opened
from runcast.sources._crew_people import (
    Options,
    OptionsOfRuns,
    ask_about_call,
    ask_about_output,
    call_of,
    checked_names,
    in_thread,
    judge,
    said_by,
    unread_texts,
)
from runcast.sources._crew_reader import CrewReader
from runcast.sources._crew_runner import CrewRunner
from runcast.sources._packages import check_package
from runcast.sources._recorded_calls import RecordedCall
from runcast.sources._scope import Patch, Scope
from runcast.sources._telling import tell

check_package("crewai", (1, 15))

from crewai import Crew  # noqa: E402 - after the check that it is installed
from crewai.core.providers.human_input import SyncHumanInputProvider  # noqa: E402
from crewai.hooks.dispatch import HookAborted, InterceptionPoint  # noqa: E402
from crewai.utilities.string_utils import sanitize_tool_name  # noqa: E402

__all__ = ("runner_of", "stream")

_log: Final = logging.getLogger("runcast.sources")

_PRE_MODEL: Final = InterceptionPoint.PRE_MODEL_CALL
_PRE_TOOL: Final = InterceptionPoint.PRE_TOOL_CALL
_POST_TOOL: Final = InterceptionPoint.POST_TOOL_CALL


@contextlib.contextmanager
def stream(*, approve: bool | Collection[str] = False, messages: bool = True) -> Iterator[None]:
    """Report crews that work inside the block, in the current run; outside a run, in every run.

    Args:
        approve: tools that a person must approve before each call: their names, or True for all.
            `edit` calls the tool with other arguments; `reject` and `response` do not call it, and
            give the agent the person's text instead of a result.
        messages: whether messages that are sent into the run are given to its agents. The block's
            code should not read `runcast.inbox()` then.

    Raises:
        InvalidValue: `approve` is neither a bool nor a collection of names.
        ImportError: approvals are wanted, and this version of CrewAI does not let us ask for them.
    """
    options = Options(checked_names(approve, sanitize_tool_name), messages)
    if options.approve != frozenset() and "approvals" in _MISSING:
        raise ImportError(
            "runcast.sources.crewai cannot ask for approvals with this version of CrewAI: "
            "pip install 'runcast[crewai]', or do without approve="
        )
    run = current_writer()
    _warn_of_missing(run)
    with contextlib.ExitStack() as entered:
        for client in _CLIENTS:
            entered.enter_context(client.entered(CLOSING))
        entered.enter_context(_SCOPE.entered())
        entered.enter_context(_OPTIONS.entered(run, options))
        yield


_OPTIONS: Final = OptionsOfRuns()

_READERS: Final[weakref.WeakKeyDictionary[Writer, CrewReader]] = weakref.WeakKeyDictionary()


def _reader_of(run: Writer) -> CrewReader:
    reader = _READERS.get(run)
    if reader is None:
        reader = _READERS.setdefault(run, CrewReader(run, lambda: run.is_cancelled))
    return reader


# Events.

_PASSED: Final = (RunClosed,)
"""Ends a crew that goes on after its run has ended, as `Cancelled` does before."""

_CALL: Final[ContextVar[Any]] = ContextVar("runcast_crew_tool_call", default=None)
"""The last `tool_usage_started` of this context, while its tool has not ended."""

_RECORDED: Final = Opened()
"""The model calls that are under way, by their ids: the tap of the client leaves them alone."""


def _publishing(before: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    def publish_stream_event(source: Any, event: Any) -> None:
        run = _SCOPE.writer()
        if run is not None:
            _report(run, event)
        before(source, event)

    return publish_stream_event


def _report(run: Writer, event: Any) -> None:
    """Write an event. Raises only what ends a crew: `Cancelled`, and `RunClosed`."""
    reader = _reader_of(run)
    try:
        kind = event.type
        if reader.reads(kind):
            tell(run, lambda: reader.read(event), _PASSED)
            _note(kind, event)
    except _PASSED:
        raise
    except Exception:  # noqa: BLE001 - a field of another version; the crew must not fail
        if type(event) not in _UNREADABLE:
            _UNREADABLE.add(type(event))
            _log.warning("an event of CrewAI cannot be read: %s", type(event), exc_info=True)


def _note(kind: str, event: Any) -> None:
    if kind == "llm_stream_chunk":
        return
    if kind == "llm_call_started":
        _RECORDED.note(event.call_id, RecordedCall())
    elif kind in ("llm_call_completed", "llm_call_failed"):
        recorded = _RECORDED.take(event.call_id)
        if recorded is not None:
            recorded.end()
    elif kind == "tool_usage_started":
        _CALL.set(event)
    elif kind in ("tool_usage_finished", "tool_usage_error"):
        _CALL.set(None)


_UNREADABLE: Final[set[object]] = set()
"""Types of events that could not be read, each of which is warned of once."""


# Messages into the run.


def _getting_scoped(before: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    def get_scoped_hooks(point: Any) -> list[Any]:
        hooks = before(point)
        run = _SCOPE.writer() if point == _PRE_MODEL else None
        if run is None or not all(options.messages for options in _OPTIONS.of(run)):
            return hooks
        # An executor asks for these hooks before each call of its model. Without a message there is
        # no hook, so that CrewAI does the same as without this source.
        texts = unread_texts(run)
        return [*hooks, lambda context: _deliver(context, texts)] if texts else hooks

    return get_scoped_hooks


def _deliver(context: Any, texts: list[str]) -> None:
    for text in texts:
        context.messages.append({"role": "user", "content": text})


# Approvals.

_INSTEAD: Final[ContextVar[str | None]] = ContextVar("runcast_crew_instead", default=None)
"""What the agent gets instead of the result of a tool that a person did not let it call."""


def _resolving(before: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    def resolve_hooks(point: Any) -> list[Any]:
        hooks = before(point)
        if point == _PRE_TOOL and _wants_approval():
            return [*hooks, _approve]  # last: a person sees the arguments of the program's hooks
        if point == _POST_TOOL and _INSTEAD.get() is not None:
            return [_answer_instead, *hooks]
        return hooks

    return resolve_hooks


def _wants_approval(tool: str | None = None) -> bool:
    run = _SCOPE.writer()
    wanted = [options.approve for options in _OPTIONS.of(run)] if run is not None else []
    return any(names is None or (tool in names if tool else bool(names)) for names in wanted)


def _approve(context: Any) -> None:
    """Ask a person about the call of a tool. Raises `HookAborted` if it must not be called."""
    run = current_writer()
    if run is None or not _wants_approval(sanitize_tool_name(context.tool_name)):
        return
    begun = _CALL.get()
    if begun is not None and begun.tool_name != context.tool_name:
        begun = None
    call = call_of(context, begun)
    try:
        answer = ask_about_call(run, call)
    except RuncastError as error:  # nobody can be asked here
        answer = Answer("reject", f"It could not be approved: {error}")
    if answer.type == "edit":
        context.tool_input.clear()
        context.tool_input.update(answer.args)
        args = dict(answer.args)
        tell(run, lambda: _reader_of(run).tools.edit(call, args))
    elif answer.type != "accept":
        _refuse(run, call, answer, is_reported=begun is not None)


def _refuse(run: Writer, call: Any, answer: Answer, *, is_reported: bool) -> None:
    is_denied = answer.type != "response"
    if answer.type == "expired":
        text = "Nobody has approved this call in time."
    else:
        text = said_by(answer.args)
        text = f"A person has refused this call. {text}".strip() if is_denied else text
    tools = _reader_of(run).tools
    if not is_reported:
        tell(run, lambda: tools.write_call(call, text, ok=not is_denied), _PASSED)
    elif is_denied:
        tools.deny(call)
    _INSTEAD.set(text)
    raise HookAborted(text, source="runcast")


def _answer_instead(context: Any) -> str | None:
    text = _INSTEAD.get()
    _INSTEAD.set(None)
    return text


# Feedback of people.


class _Asks(SyncHumanInputProvider):  # type: ignore[misc]
    """Asks the watchers of a run about the output of a task with `human_input=True`."""

    def __init__(self, run: Writer) -> None:
        self._run = run

    def handle_feedback(self, formatted_answer: Any, context: Any) -> Any:
        """Ask until the output is accepted; each feedback makes the agent work again."""
        while context.ask_for_human_input:
            output = self._get_output_string(formatted_answer)
            given = in_thread(self._run, lambda: ask_about_output(self._run, output, context))  # noqa: B023 - called at once
            if _take(given, formatted_answer, context):
                formatted_answer = context._invoke_loop()
        return formatted_answer

    async def handle_feedback_async(self, formatted_answer: Any, context: Any) -> Any:
        """Do the same without blocking the loop."""
        while context.ask_for_human_input:
            output = self._get_output_string(formatted_answer)
            given = await ask_about_output(self._run, output, context)
            if _take(given, formatted_answer, context):
                formatted_answer = await context._ainvoke_loop()
        return formatted_answer


def _take(given: Answer, formatted_answer: Any, context: Any) -> bool:
    """Take a person's answer; return whether the agent must work again."""
    output, feedback = judge(given)
    if feedback is not None:
        context.messages.append(context._format_feedback_message(feedback))
        return True
    if output is not None:
        formatted_answer.output = output
    context.ask_for_human_input = False
    return False


def _getting_provider(before: Callable[[], Any]) -> Callable[[], Any]:
    def get_provider() -> Any:
        provider = before()
        run = _SCOPE.writer()
        # A provider of the program's own stays.
        if run is None or not run.can_ask or type(provider) is not SyncHumanInputProvider:
            return provider
        return _Asks(run)

    return get_provider


# A crew that a function returns.


def runner_of(returned: object) -> "CrewRunner | None":
    """Return what runs a crew that a function has returned; None if it is not a crew."""
    return CrewRunner(returned, stream) if isinstance(returned, Crew) else None


# Where all of this is put in.

_MISSING: Final[set[str]] = set()
"""What does not work with this version of CrewAI."""


def _patches() -> Iterator[Patch]:
    places: list[tuple[str, str, str, Callable[[Any], Any]]] = [
        ("events", "crewai.events.event_bus", "publish_stream_event", _publishing),
        ("messages", "crewai.hooks.dispatch", "get_scoped_hooks", _getting_scoped),
        ("approvals", "crewai.hooks.dispatch", "_resolve_hooks", _resolving),
        ("questions", "crewai.agents.agent_executor", "get_provider", _getting_provider),
    ]
    for what, where, name, make in places:
        module = _module(where)
        if module is not None and callable(vars(module).get(name)):
            yield Patch(module, name, make)
        else:
            _MISSING.add(what)


def _module(name: str) -> ModuleType | None:
    # Not by `from crewai.hooks import dispatch`: that is a function of the same name.
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _clients() -> Iterator[Scope]:
    """Yield the scopes of the clients through which CrewAI calls models."""
    for name in ("openai", "anthropic"):
        # First the client alone: what is called once it is there may need the module of its scope.
        module = _module(name) and _module(f"runcast.sources._{name}_client")
        if module is not None:
            yield module.SCOPE


_CLIENTS: Final = (*_clients(),)
"""If the run is cancelled, they close the connections to models."""


def _warn_of_missing(run: Writer | None) -> None:
    if not _MISSING:
        return
    warning = f"this version of CrewAI hides its {', '.join(sorted(_MISSING))} from runcast"
    if run is None:
        _log.warning(warning)
    else:
        tell(run, lambda: run.log(warning, "warning", logger="runcast.sources"))


_SCOPE: Final = Scope(*_patches())
