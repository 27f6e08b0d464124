"""The events of one streamed run of OpenAI Agents, as events of a run of runcast."""

import itertools
from functools import partial
from typing import Any, Final

from runcast._producing.writer import Writer
from runcast.errors import Cancelled
from runcast.sources._model_calls import ModelCall, code_of, field_of, message_in
from runcast.sources._openai_readers import ResponseReader
from runcast.sources._recorded_calls import RecordedCall
from runcast.sources._telling import tell

__all__ = ("AgentsRecorder",)

_STEPS: Final = itertools.count(1)
"""Numbers of steps: agents of one name may run at the same time."""

_TOOL_FAILED: Final = "An error occurred while running the tool."
"""How the result begins that a model gets for a tool that raised."""

_ENDS: Final = ("response.completed", "response.incomplete", "response.failed", "error")


class AgentsRecorder:
    """Writes what happens in streamed runs that follow each other, as before and after an approval.

    Call from the loop on which the agents run.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = self._writer = writer
        self._agent = ""
        self._step_id = ""
        self._call = ModelCall(writer)
        self._reader: ResponseReader | None = None
        self._names: dict[object, str] = {}
        """The names of the tools, by the ids of their calls."""
        self._early: set[int] = set()
        """The events that were written when they came, and not yet read."""
        self._recorded: RecordedCall | None = None
        self._is_lost = False
        self.cancelled: Cancelled | None = None
        """What is to be raised where the run is waited for."""

    def take_early(self, event: Any) -> None:
        """Write an event at the time it comes. Raises nothing."""
        try:
            self._take(event)
        except Cancelled as error:  # it would end the task of the agents without a word
            self.cancelled = error
        self._early.add(id(event))

    def take(self, event: Any) -> None:
        """Write an event that is read, unless it was written when it came."""
        if id(event) in self._early:
            self._early.discard(id(event))
        else:
            self._take(event)

    def _take(self, event: Any) -> None:
        if self._is_lost:
            return
        try:
            kind = getattr(event, "type", "")
            if kind == "raw_response_event":
                self._take_raw(event.data)
            elif kind == "agent_updated_stream_event":
                self._begin_agent(event.new_agent.name)
            elif kind == "run_item_stream_event":
                self._take_item(event.item)
        except Exception as error:  # noqa: BLE001 - the program must not fail because of us
            self._is_lost = True
            self._call.warn(
                f"runcast cannot read the rest of these agents: {type(error).__name__}; this "
                "version of openai-agents is unknown to it",
                "runcast.sources.openai_agents",
            )

    def _take_raw(self, event: Any) -> None:
        kind = event.type
        if kind == "response.created" or self._reader is None:
            self._call = ModelCall(self._writer, self._agent)
            self._reader = ResponseReader(self._call)
        self._reader.see(event)
        if kind == "response.output_item.done":
            item = event.item
            self._names[field_of(item, "call_id")] = field_of(item, "name") or ""
        if kind in _ENDS:
            self._reader = None
            self._end_recorded()

    def _take_item(self, item: Any) -> None:
        if item.type not in ("tool_call_output_item", "handoff_output_item"):
            return
        self._begin_recorded()  # the next model call follows
        raw = item.raw_item
        call_id = field_of(raw, "call_id") or field_of(raw, "id")
        output = item.output if item.type == "tool_call_output_item" else field_of(raw, "output")
        has_failed = isinstance(output, str) and output.startswith(_TOOL_FAILED)
        name = self._names.pop(call_id, "")
        self._call.tool_result(name, output, call_id, False if has_failed else None)
        if item.type == "handoff_output_item":
            data = {"from": item.source_agent.name, "to": item.target_agent.name}
            emit = partial(self._writer.emit, "handoff", data, agent=item.source_agent.name)
            tell(self._writer, emit)

    def know(self, call_id: object, name: object) -> None:
        """Note the name of a tool that was called before."""
        self._names[call_id] = str(name or "")

    def _begin_agent(self, name: str) -> None:
        self._begin_recorded()
        if self._step_id and name == self._agent:
            return
        self._end_agent()
        self._agent, self._step_id = name, str(next(_STEPS))
        self._call = ModelCall(self._writer, name)
        self._step(self._writer.step_start)

    def _end_agent(self) -> None:
        if self._step_id:
            self._step(self._writer.step_complete)
            self._step_id = ""

    def _step(self, write: Any) -> None:
        name = self._agent
        tell(self._writer, partial(write, name, step_id=self._step_id, node=name, agent=name))

    # The task of the agents calls models between two events. What it is told here, at an event,
    # holds in the context of that task.

    def _begin_recorded(self) -> None:
        self._end_recorded()
        self._recorded = RecordedCall()

    def _end_recorded(self) -> None:
        if self._recorded is not None:
            self._recorded.end()
            self._recorded = None

    def fail(self, error: Exception) -> None:
        """Note that the agents have failed."""
        if self._reader is not None:
            self._reader.leave()
            self._reader = None
        if not self._call.has_failed:  # the error in an answer is raised as well
            self._call.error(message_in(error), code_of(error, "agents"))

    def close(self, *, is_over: bool) -> None:
        """Note that nothing follows; with `is_over` False, only until an approval."""
        self._end_recorded()
        self._early.clear()
        if is_over:
            self._end_agent()
