"""The events of one agent of pydantic-ai, as events of a run."""

from typing import Any, Final

from runcast._producing.writer import Writer
from runcast.sources._model_calls import ModelCall, Tokens, code_of, field_of, message_in

__all__ = ("PydanticRecorder",)

_CALLS: Final = ("function_tool_call", "output_tool_call")
_RESULTS: Final = ("function_tool_result", "output_tool_result")


class PydanticRecorder:
    """Writes the events that an agent yields. Raises nothing but `Cancelled`."""

    def __init__(self, writer: Writer, agent: str) -> None:
        self.writer = writer
        self._call = ModelCall(writer, agent)
        self._is_lost = False
        self._errors: list[Exception] = []
        """The error that was written last: it passes several hooks."""

    def take(self, step: str, event: Any) -> None:
        """Write an event.

        Args:
            step: names the model call among all of them.
        """
        if self._is_lost:
            return
        try:
            self._take(step, event)
        except Exception as error:  # noqa: BLE001 - the program must not fail because of us
            self._is_lost = True
            self._call.warn(
                f"runcast cannot read the rest of this agent: {type(error).__name__}; this "
                "version of pydantic-ai is unknown to it",
                "runcast.sources.pydantic_ai",
            )

    def _take(self, step: str, event: Any) -> None:
        kind = getattr(event, "event_kind", "")
        if kind == "part_delta":
            self._take_delta(f"{step}.{event.index}", event.delta)
        elif kind == "part_start":
            self._take_start(f"{step}.{event.index}", event.part)
        elif kind in _CALLS:
            part = event.part
            self._call.tool(part.tool_name, part.args_as_dict(), part.tool_call_id)
        elif kind in _RESULTS:
            part = event.part
            has_succeeded = field_of(part, "outcome") in (None, "success")
            if part.part_kind == "retry-prompt":
                has_succeeded = False
            name = part.tool_name or ""
            self._call.tool_result(name, part.content, part.tool_call_id, has_succeeded)

    def _take_start(self, key: str, part: Any) -> None:
        if part.part_kind == "text":
            self._call.text(part.content, key)
        elif part.part_kind == "thinking":
            self._call.thought(part.content, key)
        elif part.part_kind == "tool-call":
            self._call.begin_tool(key, part.tool_call_id, part.tool_name)
            self._call.tool_piece(key, part.args)

    def _take_delta(self, key: str, delta: Any) -> None:
        kind = delta.part_delta_kind
        if kind == "text":
            self._call.text(delta.content_delta, key)
        elif kind == "thinking":
            self._call.thought(delta.content_delta, key)
        elif kind == "tool_call":
            self._call.tool_piece(key, delta.args_delta)

    def usage(self, response: Any) -> None:
        """Write what a call of a model used."""
        used = response.usage
        # Each provider has its own name for it in the details; without them, 0 may mean unknown.
        thought = field_of(used, "output_reasoning_tokens")
        tokens = Tokens(
            used.input_tokens or 0,
            used.output_tokens or 0,
            used.cache_read_tokens or None,
            thought or (field_of(used, "details") or {}).get("reasoning_tokens"),
        )
        if tokens.read or tokens.written:
            self._call.usage(response.model_name, tokens)

    def raised(self, call: Any, error: Exception) -> None:
        """Write that a tool has raised."""
        self._errors = [error]
        self._call.tool_result(call.tool_name, type(error).__name__, call.tool_call_id, False)

    def fail(self, error: Exception) -> None:
        """Write that a model has failed."""
        if any(error is known for known in self._errors):
            return
        self._errors = [error]
        self._call.error(message_in(error), code_of(error))
