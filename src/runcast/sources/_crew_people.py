"""What people say to the agents of a crew: messages, approvals of tool calls, feedback.

CrewAI is not imported here.
"""

import asyncio
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeVar

from runcast._producing.answers import Answer
from runcast._producing.writer import Writer
from runcast.errors import InvalidValue, RuncastError
from runcast.events.plain import shown
from runcast.events.vocabulary import as_text, pick
from runcast.sources._crew_fields import place_of

__all__ = (
    "Options",
    "OptionsOfRuns",
    "ask_about_call",
    "ask_about_output",
    "call_of",
    "checked_names",
    "in_thread",
    "judge",
    "said_by",
    "unread_texts",
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """What a program wants of people. `approve` has names of tools; None stands for all."""

    approve: frozenset[str] | None
    messages: bool


class OptionsOfRuns:
    """The options of the blocks that are open, by their run; None stands for every run."""

    def __init__(self) -> None:
        self._open: dict[Writer | None, tuple[Options, ...]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def entered(self, run: Writer | None, options: Options) -> Iterator[None]:
        """Add options inside the block."""
        with self._lock:
            self._open[run] = (*self._open.get(run, ()), options)
        try:
            yield
        finally:
            with self._lock:
                rest = [*self._open.pop(run)]
                rest.remove(options)
                if rest:
                    self._open[run] = tuple(rest)

    def of(self, run: Writer) -> tuple[Options, ...]:
        """Return the options of every open block of a run."""
        return (*self._open.get(run, ()), *self._open.get(None, ()))


def checked_names(approve: object, plain: Callable[[str], str]) -> frozenset[str] | None:
    """Return the names of tools to approve; None for all. Raises `InvalidValue`.

    Args:
        plain: returns a name as it is compared.
    """
    if isinstance(approve, bool):
        return None if approve else frozenset()
    if isinstance(approve, Collection) and not isinstance(approve, str | bytes):
        names = [*approve]
        if all(isinstance(name, str) for name in names):
            return frozenset(plain(name) for name in names)
    raise InvalidValue(f"expected approve to be names of tools, or True, got {shown(approve)}")


def in_thread(run: Writer, call: Callable[[], T]) -> T:
    """Return what a call returns that waits in threads, wherever it is called.

    Raises `InvalidValue` on the run's own loop, which would wait for itself.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return call()
    if run.is_on_loop(loop):
        raise InvalidValue("expected a thread: the run's loop cannot wait here")
    outcome: list[T] = []
    errors: list[BaseException] = []
    context = copy_context()

    def work() -> None:
        try:
            outcome.append(context.run(call))
        except BaseException as error:  # noqa: BLE001 - raised where it was called
            errors.append(error)

    thread = threading.Thread(target=work, name="runcast-crew-wait", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return outcome[0]


def said_by(data: object) -> str:
    """Return the text of a message or an answer; "" if it has none."""
    if data is None:
        return ""
    text = pick(data, "text", "message", "content")
    return as_text(data if text is None else text)


def unread_texts(run: Writer) -> list[str]:
    """Return the texts of the run's unread messages. The next call acknowledges them.

    Returns none where they cannot be read: on the run's loop, or if the run's code reads them.
    """
    try:
        return [said_by(message.data) for message in in_thread(run, run.inbox().poll_all)]
    except RuncastError:
        return []


def call_of(context: Any, begun: Any) -> Any:
    """Return the call that a hook is about, with the fields of a `tool_usage_started`.

    Args:
        begun: the event with which CrewAI has reported the call, or None.
    """
    task, agent = context.task, context.agent
    return SimpleNamespace(
        event_id=f"call-{id(context):x}" if begun is None else begun.event_id,
        tool_name=context.tool_name,
        tool_args=dict(context.tool_input),
        task=None,
        agent=None,
        task_id=str(getattr(task, "id", "") or ""),
        agent_id=str(getattr(agent, "id", "") or ""),
        task_name=_name_of_task(task),
        agent_role=getattr(agent, "role", None),
    )


def _name_of_task(task: Any) -> Any:
    return getattr(task, "name", None) or getattr(task, "description", None)


def ask_about_call(run: Writer, call: Any) -> Answer:
    """Ask whether a tool may be called; an `edit` has the arguments as an object.

    Raises what asking raises.
    """
    node, agent = place_of(call)
    asked = {"action": call.tool_name, "args": call.tool_args, "node": node, "agent": agent}
    message = f"{agent or 'An agent'} wants to call {call.tool_name}"
    while True:
        text = message
        answer: Answer = in_thread(run, lambda text=text: run.ask(text, **asked))  # type: ignore[misc]
        if answer.type != "edit" or isinstance(answer.args, Mapping):
            return answer
        message = f"{call.tool_name} needs its arguments as an object, such as {{}}"


def ask_about_output(run: Writer, output: str, context: Any) -> Any:
    """Ask whether an agent's output is right; in a coroutine, return an awaitable."""
    task, agent = context.task, context.agent
    about = SimpleNamespace(task_name=_name_of_task(task), agent_role=getattr(agent, "role", None))
    node, role = place_of(about)
    return run.ask(
        "Is this output right? Approve it, or say what to change.",
        action="feedback",
        args={"output": output},
        node=node,
        agent=role,
    )


def judge(given: Answer) -> tuple[str | None, str | None]:
    """Return the output that a person wrote instead, and the feedback to work on; or None."""
    said = said_by(given.args)
    if given.type == "edit":
        output = pick(given.args, "output")
        return as_text(given.args if output is None else output), None
    if given.type == "reject":
        return None, said or "A person has rejected this output."
    return None, said if given.type == "response" and said else None
