"""A writer with one method per message of multi-agent graphs, for one node of such a graph.

    writer = runcast.StreamWriter("research", agent="research")
    writer.step_start("Looking for sources")
    writer.tool_call("web_search", {"query": "…"})
    writer.step_complete("15 sources found")

The methods write typed events. A watcher of the `flat` dialect sees them as messages with the
methods' names. Durations are measured from `step_start`, or from the writer's creation; a duration
given by the caller wins. Further fields never replace a message's own fields: if the name is taken,
an underscore is appended.

Source: the messages are the `flat` format's; see `runcast._wire.dialects.flat`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from runcast._clock import Clock, SystemClock
from runcast._producing.context import current_writer
from runcast._producing.writer import Writer
from runcast._wire.dialects.base import flatten
from runcast.errors import InvalidValue
from runcast.events.outcome import Outcome
from runcast.events.vocabulary import as_text

__all__ = ("EventSink", "StreamWriter")


class EventSink(Protocol):
    """The target of a `StreamWriter`: a `Writer`, or an object in front of one."""

    def emit(
        self,
        type: str,  # noqa: A002 - the name of the field
        data: object = None,
        *,
        node: str = "",
        agent: str = "",
        duration: float | None = None,
    ) -> None:
        """Append an event; see `Writer.emit`."""
        ...

    def content(self, text: str, *, message_id: str = "", node: str = "", agent: str = "") -> None:
        """Append a piece of text; see `Writer.content`."""
        ...

    def before_end(self, hook: Callable[[Outcome], Outcome]) -> None:
        """Call a hook before the run ends; see `Writer.before_end`."""
        ...


class StreamWriter:
    """Writes the messages of one node (and maybe agent) of a graph. For one step at a time.

    Every method raises what `Writer.emit` raises, and does nothing outside a run.

    Args:
        node: the node of the messages.
        agent: the agent of the messages.
        writer: the run's writer; None looks up the current one at each call.
        clock: the clock for durations.
    """

    def __init__(
        self,
        node: str = "",
        agent: str = "",
        writer: Writer | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.node = node
        self.agent = agent
        self._writer = writer
        self._now = (clock or SystemClock()).monotonic
        self._began = self._now()
        self._finished: Writer | EventSink | None = None

    def sink(self) -> Writer | EventSink | None:
        """Return the target of the next event; None outside a run."""
        return self._writer or current_writer()

    # Steps.

    def step_start(self, description: str, **extra: object) -> None:
        """Begin a step, and measure its duration from now on."""
        self._began = self._now()
        self._emit("step_start", {"message": description}, extra, measured=True)

    def step_progress(self, status: str, progress: float, **extra: object) -> None:
        """Report the step's progress: `progress` is 0 to 100."""
        core = {"percent": progress, "message": status}
        self._emit("step_progress", core, extra, measured=True)

    def step_complete(self, summary: str, **extra: object) -> None:
        """End the step, with its duration; `duration=` (seconds) overrides the measured one."""
        self._emit("step_complete", {"message": summary}, extra, measured=True)

    def node_complete(self, summary: str, **extra: object) -> None:
        """Write the whole text of a node as one message."""
        core = {"message": summary, "aggregated": True}
        self._emit("node_complete", core, extra, measured=True)

    # Tools.

    def tool_call(
        self,
        tool_name: str,
        args: object,
        content: str | None = None,
        call_id: str = "",
        **extra: object,
    ) -> None:
        """Report a tool call; `content` is the text for people, by default the tool's name."""
        core: dict[str, object] = {"call_id": call_id} if call_id else {}
        core |= {"tool": tool_name, "args": args}
        if content is not None:
            core["message"] = content
        self._emit("tool_call", core, extra)

    def tool_result(
        self,
        tool_name: str,
        result: object,
        content: str | None = None,
        call_id: str = "",
        **extra: object,
    ) -> None:
        """Report a tool's result, with its length in characters.

        Args:
            content: a text sent in place of a long result; the length is still that of the result.
        """
        shown = result if content is None else content
        core: dict[str, object] = {"call_id": call_id} if call_id else {}
        core |= {"tool": tool_name, "result": shown, "length": len(as_text(result))}
        self._emit("tool_result", core, extra, measured=True)

    # Thought and text.

    def thinking(self, thought: str, **extra: object) -> None:
        """Write a thought."""
        self._emit("thinking", {"text": thought}, extra)

    def reasoning(self, text: str, **extra: object) -> None:
        """Write a reasoning text."""
        self._emit("reasoning", {"text": text}, extra, measured=True)

    def content_streaming(self, chunk: str, message_id: str = "") -> None:
        """Write a piece of text, also white space; a message's pieces are counted from 0."""
        sink = self.sink()
        if sink is not None and chunk:
            sink.content(chunk, message_id=message_id, node=self.node, agent=self.agent)

    def content_complete(self, summary: str, **extra: object) -> None:
        """Complete a text."""
        self._emit("content_complete", {"message": summary}, extra, measured=True)

    # Questions.

    def interrupt_request(
        self,
        interrupt_id: str,
        action: str,
        args: object = None,
        description: str = "",
        config: Mapping[str, Any] | None = None,
        **extra: object,
    ) -> None:
        """Ask for an approval; `Writer.ask` also waits for the answer."""
        core: dict[str, object] = {"interrupt_id": interrupt_id, "action": action, "args": args}
        core["message"] = description
        if allowed := _as_dict("config", config):
            core["config"] = allowed
        self._emit("interrupt_request", core, extra)

    def interrupt_waiting(self, description: str, interrupt_id: str = "", **extra: object) -> None:
        """Report that the run waits for an answer."""
        core: dict[str, object] = {"interrupt_id": interrupt_id, "message": description}
        self._emit("interrupt_waiting", core, extra)

    def interrupt_response(
        self, response: object, approved: bool, interrupt_id: str = "", **extra: object
    ) -> None:
        """Report the answer."""
        core = {"interrupt_id": interrupt_id, "approved": approved, "answer": response}
        self._emit("interrupt_response", core, extra)

    def interrupt_resolved(self, result: str, interrupt_id: str = "", **extra: object) -> None:
        """Close the question with its result."""
        core: dict[str, object] = {"interrupt_id": interrupt_id, "message": result}
        self._emit("interrupt_resolved", core, extra)

    # The end.

    def final_result(
        self,
        result: object,
        execution_summary: Mapping[str, Any] | None = None,
        **extra: object,
    ) -> None:
        """Write the outcome at once. The run continues until its function returns.

        If its function returns None, the run then ends with a `done` that adds nothing.
        """
        summary = _as_dict("execution_summary", execution_summary)
        core = {"value": result, "execution_summary": summary}
        self._emit("result", core, extra, measured=True)
        sink = self.sink()
        if sink is not None and sink is not self._finished:
            self._finished = sink
            sink.before_end(_add_nothing)

    def error(self, message: str, error_type: str = "GeneralError", **extra: object) -> None:
        """Report an error that the run survives."""
        self._emit("error", {"message": message, "code": error_type}, extra)

    def _emit(
        self,
        type: str,  # noqa: A002 - the name of the field
        core: dict[str, object],
        extra: Mapping[str, object],
        *,
        measured: bool = False,
    ) -> None:
        sink = self.sink()
        if sink is None:
            return
        rest = dict(extra)
        seconds = self._now() - self._began if measured else None
        given = rest.get("duration")
        if isinstance(given, int | float) and not isinstance(given, bool):
            del rest["duration"]
            seconds = given
        flatten(core, rest, _READ_INSTEAD.get(type, ()))
        sink.emit(type, core, node=self.node, agent=self.agent, duration=seconds)


_READ_INSTEAD: Final[Mapping[str, tuple[str, ...]]] = {
    "step_progress": ("percentage", "progress", "current", "total"),
    "tool_call": ("tool_name", "message"),
    "tool_result": ("tool_name", "content"),
    "result": ("message", "content"),
    "error": ("error", "error_code", "error_type"),
}
"""Other names of a message's own fields; a further field may not use them."""


def _as_dict(name: str, given: object) -> dict[str, object]:
    if given is not None and not isinstance(given, Mapping):
        raise InvalidValue(f"expected {name} to be a dict or None, got {given!r:.80}")
    return dict(given or {})


def _add_nothing(ending: Outcome) -> Outcome:
    is_empty = ending.type == "done" and not ending.data
    return ending._replace(data={"summary": {}}) if is_empty else ending
