"""Events of a crew as events of a run: CrewAI's events in, calls of a writer out.

| event of CrewAI | event of the run |
|---|---|
| `task_started` `task_completed` `task_failed` | `step_start`, `step_complete` |
| `method_execution_*` of a flow, `lite_agent_execution_*` | `step_start`, `step_complete` |
| `llm_stream_chunk` | `content`; `tool_call_delta` for the arguments of a call |
| `llm_thinking_chunk` | `thinking` |
| `llm_call_completed` | `usage`; `content` if the text was not streamed |
| `agent_reasoning_completed` | `reasoning`: the plan |
| `tool_usage_started` | `tool_call` |
| `tool_usage_finished` `tool_usage_error` `tool_failure_detected` | `tool_result` |
| `llm_guardrail_completed` that refuses an output | `log` |
| the first of the events that report one error | `error` |

The rest is left out, and so are model calls that CrewAI makes for itself: planning, memory,
knowledge, guardrails. Their usage is counted. CrewAI is not imported here, and events are never
serialised as a whole, which takes longer than a token.

Call from any thread.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from runcast._producing.typed_events import TypedEvents
from runcast.events.vocabulary import as_text, pick
from runcast.sources._crew_calls import Executions
from runcast.sources._crew_fields import (
    Opened,
    key_of,
    place_of,
    seconds_between,
    short_name,
    short_text,
)
from runcast.sources._crew_models import CrewModels
from runcast.sources._crew_tools import CrewTools

__all__ = ("CrewReader",)

_EXECUTOR: Final = "AgentExecutor"
"""The flow in which CrewAI runs each agent."""

_INTERNAL: Final = ("memory_", "knowledge_", "llm_guardrail_", "agent_reasoning_")
"""How the types of events begin whose model calls CrewAI makes for itself."""


class CrewReader:
    """Writes the events of all crews, agents and flows of one run.

    Args:
        out: where to write.
        is_cancelled: whether the run was cancelled; errors are its consequences then.
    """

    def __init__(self, out: TypedEvents, is_cancelled: Callable[[], bool] = lambda: False) -> None:
        self._out = out
        self._is_cancelled = is_cancelled
        self._executions = Executions()
        self._models = CrewModels(out, self._executions, self._is_internal)
        self.tools = CrewTools(out, self._executions, self._is_internal)
        """The calls of tools, for those who decide about them."""
        self._open = Opened()
        """Steps that have begun."""
        self._hidden = Opened()
        """Scopes in which CrewAI calls models for itself."""
        self._failed = Opened()
        """Scopes in which an error was reported, with its message."""
        self._readers: dict[str, Callable[[Any], None]] = {
            "llm_stream_chunk": self._models.chunk,
            "llm_thinking_chunk": self._models.thought,
            "llm_call_started": self._models.started,
            "llm_call_completed": self._models.completed,
            "llm_call_failed": self._call_failed,
            "task_started": self._task_started,
            "task_completed": self._task_completed,
            "task_failed": self._task_failed,
            "agent_execution_started": self._agent_started,
            "agent_execution_completed": self._scope_ended,
            "agent_execution_error": self._scope_failed,
            "lite_agent_execution_started": self._lite_started,
            "lite_agent_execution_completed": self._lite_ended,
            "lite_agent_execution_error": self._lite_ended,
            "agent_reasoning_completed": self._plan,
            "tool_usage_started": self.tools.started,
            "tool_usage_finished": self.tools.finished,
            "tool_usage_error": self.tools.raised,
            "tool_failure_detected": self.tools.failed,
            "method_execution_started": self._method_started,
            "method_execution_finished": self._method_ended,
            "method_execution_failed": self._method_ended,
            "flow_started": self._scope_started,
            "flow_finished": self._scope_ended,
            "flow_failed": self._scope_failed,
            "crew_kickoff_completed": self._scope_ended,
            "crew_kickoff_failed": self._scope_failed,
            "llm_guardrail_completed": self._guarded,
        }

    def reads(self, kind: str) -> bool:
        """Return whether events of a type may become events of the run."""
        return kind in self._readers or kind.startswith(_INTERNAL)

    def read(self, event: Any) -> None:
        """Write what an event tells. Raises what writing raises."""
        kind = event.type
        if kind.startswith(_INTERNAL):
            self._note_internal(event)
        reader = self._readers.get(kind)
        if reader is not None:
            reader(event)

    # Tasks, agents and flows.

    def _task_started(self, event: Any) -> None:
        self._executions.forget_task(key_of(event)[0])
        task = event.task
        role = getattr(getattr(task, "agent", None), "role", "")
        node, agent = _task_name(event), short_name(role)
        self._open.note(event.event_id, (node, agent, event.timestamp))
        self._out.step_start(
            short_text(getattr(task, "name", "") or _task_name(event)),
            step_id=event.event_id,
            node=node,
            agent=agent,
        )

    def _task_completed(self, event: Any) -> None:
        raw = as_text(getattr(event.output, "raw", ""))
        is_shown = self._executions.has_answered(key_of(event)[0], raw)
        self._end_step(event, "" if is_shown else short_text(raw))
        self._executions.forget_task(key_of(event)[0])
        self._scope_ended(event)

    def _task_failed(self, event: Any) -> None:
        self._fail(event)
        self._end_step(event, "failed")
        self._executions.forget_task(key_of(event)[0])

    def _end_step(self, event: Any, message: str) -> None:
        begun = self._open.take(event.started_event_id)
        if begun is None:
            return
        node, agent, start = begun
        self._out.step_complete(
            message,
            step_id=str(event.started_event_id),
            node=node,
            agent=agent,
            duration=seconds_between(start, event.timestamp),
        )

    def _agent_started(self, event: Any) -> None:
        self._executions.begin(key_of(event))
        self._scope_started(event)

    def _lite_started(self, event: Any) -> None:
        """An agent that works without a task."""
        if self._is_internal(event):
            self._hidden.note(event.event_id)
            return
        self._executions.forget_agent(as_text(pick(event.agent_info, "id")))
        agent = short_name(pick(event.agent_info, "role"))
        self._open.note(event.event_id, ("", agent, event.timestamp))
        self._out.step_start("", step_id=event.event_id, agent=agent)

    def _lite_ended(self, event: Any) -> None:
        is_hidden = self._hidden.take(event.started_event_id) is not None
        if event.type.endswith("_error"):
            self._fail(event, hides=is_hidden)
        self._end_step(event, "failed" if event.type.endswith("_error") else "")

    def _method_started(self, event: Any) -> None:
        if event.flow_name != _EXECUTOR:
            node = short_name(event.method_name)
            self._open.note(event.event_id, (node, "", event.timestamp))
            self._out.step_start(node, step_id=event.event_id, node=node)

    def _method_ended(self, event: Any) -> None:
        has_failed = event.type == "method_execution_failed"
        if has_failed:
            self._fail(event)
        self._end_step(event, "failed" if has_failed else "")

    def _plan(self, event: Any) -> None:
        if event.plan:
            node, agent = place_of(event)
            self._out.emit_at(
                (node, agent, (), None),
                "reasoning",
                {"text": short_text(event.plan), "message_id": event.event_id},
            )

    def _guarded(self, event: Any) -> None:
        if event.success is False:
            self._out.log(f"the guardrail refused the output: {short_text(event.error)}", "warning")

    # Errors, and what is left out.

    def _scope_started(self, event: Any) -> None:
        if self._is_internal(event):
            self._hidden.note(event.event_id)

    def _scope_ended(self, event: Any) -> None:
        self._failed.take(event.started_event_id)
        self._hidden.take(event.started_event_id)

    def _scope_failed(self, event: Any) -> None:
        self._fail(event, hides=self._hidden.take(event.started_event_id) is not None)

    def _call_failed(self, event: Any) -> None:
        call = self._models.failed(event)
        if call is None:
            self._fail(event)
            return
        again = {"attempt": call.attempt} if call.attempt != 1 else {}
        self._fail(event, hides=call.is_hidden, more={"message_id": call.message_id, **again})

    def _fail(
        self, event: Any, *, hides: bool = False, more: Mapping[str, object] | None = None
    ) -> None:
        """Report an error, unless an inner scope has reported it."""
        message = short_text(str(event.error))
        known = self._failed.take(event.started_event_id)
        if event.parent_event_id is not None:
            self._failed.note(event.parent_event_id, message)
        is_known = known is not None and (message in known or known in message)
        if is_known or hides or self._is_cancelled():
            return
        node, agent = place_of(event)
        self._out.emit_at(
            (node, agent, (), None) if node or agent else None,
            "error",
            {"message": message, "code": event.type, **(more or {})},
        )

    def _note_internal(self, event: Any) -> None:
        if event.type.endswith("_started"):
            self._hidden.note(event.event_id)
        else:
            self._hidden.take(event.started_event_id)

    def _is_internal(self, event: Any) -> bool:
        return str(event.parent_event_id) in self._hidden


def _task_name(event: Any) -> str:
    task = getattr(event, "task", None)
    name = getattr(task, "name", None) or event.task_name or getattr(task, "description", None)
    return short_name(name)
