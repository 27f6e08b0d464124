"""Calls of tools by agents of CrewAI, as events of a run.

CrewAI does not say which call of a model asked for the call of a tool. A call gets the id under
which the model wrote its arguments; see `Execution.take_call`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from runcast._producing.typed_events import TypedEvents
from runcast.events.vocabulary import as_text
from runcast.sources._crew_calls import Executions, ToolCall
from runcast.sources._crew_fields import (
    Opened,
    arguments_of,
    key_of,
    place_of,
    plain_name,
    seconds_between,
    short_text,
)

__all__ = ("PLAN_TOOL", "CrewTools")

PLAN_TOOL: Final = "create_reasoning_plan"
"""A tool of CrewAI itself, whose outcome is the plan."""


class CrewTools:
    """Writes the calls of tools.

    Args:
        out: where to write.
        is_internal: whether an event belongs to what CrewAI does for itself.
    """

    def __init__(
        self, out: TypedEvents, executions: Executions, is_internal: Callable[[Any], bool]
    ) -> None:
        self._out = out
        self._executions = executions
        self._is_internal = is_internal
        self._open = Opened()
        """Calls that have begun: the call, and the time."""
        self._edited = Opened()
        """Arguments of calls that are not reported yet."""
        self._denied = Opened()
        """Calls that a person refused."""
        self._failed = Opened()
        """Calls whose failure was reported."""

    # What CrewAI reports.

    def started(self, event: Any) -> None:
        """Read `tool_usage_started`."""
        if event.tool_name == PLAN_TOOL or self._is_internal(event):
            return
        made = self._take_call(event)
        self._open.note(event.event_id, (made, event.timestamp))
        edited = self._edited.take(_tool_key(event))
        self._write_call(made, event, event.tool_args if edited is None else edited)

    def finished(self, event: Any) -> None:
        """Read `tool_usage_finished`."""
        is_denied = self._denied.take(event.started_event_id)
        self._end(event, event.output, ok=event.failure is None and not is_denied)
        if event.failure is not None:
            self._failed.note(_tool_key(event))

    def raised(self, event: Any) -> None:
        """Read `tool_usage_error`."""
        self._end(event, event.error, ok=False)
        self._failed.note(_tool_key(event))

    def failed(self, event: Any) -> None:
        """Read `tool_failure_detected`: of a call that was reported, or that never began."""
        is_known = self._failed.take(_tool_key(event))
        if not is_known and event.tool_name != PLAN_TOOL and not self._is_internal(event):
            self.write_call(event, as_text(getattr(event.failure, "message", "")), ok=False)

    # What a person decides.

    def edit(self, call: Any, args: object) -> None:
        """Write the arguments with which a tool is called instead of those of the call.

        Args:
            call: has the fields of a `tool_usage_started`.
        """
        made, _ = self._open.get(str(call.event_id), (None, None))
        if made is None:
            self._edited.note(_tool_key(call), args)  # CrewAI has not reported the call yet
        else:
            self._write_call(made, call, args)

    def deny(self, call: Any) -> None:
        """Note that a person refused a call that CrewAI has reported."""
        self._denied.note(call.event_id)

    def write_call(self, call: Any, result: str, *, ok: bool) -> None:
        """Write a call with its result, which CrewAI does not report."""
        made = self._take_call(call)
        self._write_call(made, call, call.tool_args)
        self._write_result(made, call, result, ok=ok)

    def _take_call(self, event: Any) -> ToolCall:
        execution = self._executions.find(key_of(event))
        tries = getattr(event, "run_attempts", 0) or 0
        return execution.take_call(event.tool_name, event.tool_args, event.event_id, tries)

    def _end(self, event: Any, result: object, *, ok: bool) -> None:
        made, start = self._open.take(event.started_event_id) or (None, None)
        if made is not None:
            seconds = seconds_between(start, event.timestamp)
            self._write_result(made, event, result, ok=ok, duration=seconds)

    def _write_call(self, made: ToolCall, event: Any, args: object) -> None:
        node, agent = place_of(event)
        self._out.tool_call(
            event.tool_name,
            arguments_of(args),
            call_id=made.call_id,
            attempt=made.attempt,
            node=node,
            agent=agent,
        )

    def _write_result(
        self, made: ToolCall, event: Any, result: object, *, ok: bool, duration: float | None = None
    ) -> None:
        node, agent = place_of(event)
        self._out.tool_result(
            event.tool_name,
            short_text(result if isinstance(result, str | Mapping | list) else str(result)),
            call_id=made.call_id,
            ok=ok,
            attempt=made.attempt,
            node=node,
            agent=agent,
            duration=duration,
        )


def _tool_key(event: Any) -> str:
    return "\n".join((*key_of(event), plain_name(event.tool_name)))
