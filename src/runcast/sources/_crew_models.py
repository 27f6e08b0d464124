"""Calls of models by agents of CrewAI, as events of a run.

A model's text is written as it comes. If CrewAI has told the model to think, act and answer in one
text, the text is split. The events of one call come from one thread, so nothing is locked.
"""

from collections.abc import Callable, Mapping
from typing import Any

from runcast._producing.typed_events import TypedEvents
from runcast.sources._crew_calls import Executions, ModelCall, ToolCall
from runcast.sources._crew_fields import count_of, key_of, place_of, text_of_message
from runcast.sources._crew_tools import PLAN_TOOL
from runcast.sources._react_text import Part, ReactText

__all__ = ("CrewModels",)


class CrewModels:
    """Writes the calls of models.

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
        self._calls: dict[str, ModelCall] = {}

    def started(self, event: Any) -> None:
        """Read `llm_call_started`."""
        self._begin(event)

    def _begin(self, event: Any) -> ModelCall:
        execution = self._executions.find(key_of(event))
        message_id, attempt = execution.next_message(event.call_id)
        node, agent = place_of(event)
        call = ModelCall(
            message_id=message_id,
            attempt=attempt,
            node=node,
            agent=agent,
            execution=execution,
            is_hidden=self._is_internal(event),
            splitter=ReactText() if _may_be_react(event) else None,
        )
        self._calls[event.call_id] = call
        return call

    def chunk(self, event: Any) -> None:
        """Read `llm_stream_chunk`."""
        call = self._calls.get(event.call_id) or self._begin(event)
        if event.tool_call is not None:
            self._argument(call, event)
        elif event.chunk:
            self._say(call, event.chunk)

    def thought(self, event: Any) -> None:
        """Read `llm_thinking_chunk`."""
        call = self._calls.get(event.call_id) or self._begin(event)
        if event.chunk and not call.is_hidden:
            self._think(call, event.chunk)

    def _say(self, call: ModelCall, text: str) -> None:
        call.has_text = True
        if call.is_hidden:
            return
        if call.splitter is None:
            self._answer(call, text)
        else:
            self._write(call, call.splitter.feed(text))

    def _write(self, call: ModelCall, parts: list[Part]) -> None:
        for kind, text in parts:
            if kind == "answer":
                self._answer(call, text)
            elif kind == "thought":
                self._think(call, text)
            elif kind == "tool":
                call.acting = call.execution.stream_call(text, "")
                self._delta(call, call.acting, "")
            elif call.acting is not None:
                self._delta(call, call.acting, text)

    def _answer(self, call: ModelCall, text: str) -> None:
        call.pieces.append(text)
        self._out.content(
            text,
            message_id=call.message_id,
            attempt=call.attempt,
            node=call.node,
            agent=call.agent,
        )

    def _think(self, call: ModelCall, text: str) -> None:
        self._out.thinking(
            text,
            message_id=call.message_id,
            attempt=call.attempt,
            node=call.node,
            agent=call.agent,
        )

    def _argument(self, call: ModelCall, event: Any) -> None:
        """Write a piece of the arguments of a native call."""
        piece = event.tool_call
        name = piece.function.name or ""
        call.has_text = True
        if call.is_hidden or name == PLAN_TOOL:
            return
        made = call.streamed.get(piece.index)
        if made is None:
            made = call.execution.stream_call(name, piece.id or f"{event.call_id}-{piece.index}")
            call.streamed[piece.index] = made
        whole = piece.function.arguments or ""
        # The arguments so far; a provider may send only the piece.
        text = whole[len(made.text) :] if whole.startswith(made.text) else event.chunk
        self._delta(call, made, text)

    def _delta(self, call: ModelCall, made: ToolCall, text: str) -> None:
        made.text += text
        self._out.tool_call_delta(
            text,
            call_id=made.call_id,
            tool=made.tool,
            attempt=made.attempt,
            node=call.node,
            agent=call.agent,
        )

    def completed(self, event: Any) -> None:
        """Read `llm_call_completed`."""
        call = self._calls.pop(event.call_id, None)
        if call is not None:
            if not call.has_text and isinstance(event.response, str):
                self._say(call, event.response)
            self._flush(call)
            if call.pieces:
                call.execution.answer = "".join(call.pieces)
        usage = event.usage
        if isinstance(usage, Mapping):
            node, agent = place_of(event)
            self._out.usage(
                event.model or "",
                count_of(usage, "prompt_tokens", "input_tokens", "prompt_token_count"),
                count_of(usage, "completion_tokens", "output_tokens", "candidates_token_count"),
                cached_tokens=count_of(usage, "cached_prompt_tokens", "cached_tokens") or None,
                reasoning_tokens=count_of(usage, "reasoning_tokens") or None,
                node=node,
                agent=agent,
            )

    def failed(self, event: Any) -> ModelCall | None:
        """Read `llm_call_failed`, and return the call if it is known."""
        call = self._calls.pop(event.call_id, None)
        if call is not None:
            self._flush(call)
        return call

    def _flush(self, call: ModelCall) -> None:
        if call.splitter is not None and not call.is_hidden:
            self._write(call, call.splitter.end())


def _may_be_react(event: Any) -> bool:
    """Return whether a model may answer in the text protocol: CrewAI asks for it in the prompt."""
    if getattr(event, "tools", None):
        return False  # tools are called natively
    messages = getattr(event, "messages", None)
    if not isinstance(messages, list):
        return True
    return any("Final Answer:" in text_of_message(message) for message in messages)
