"""What Anthropic's messages say, streamed or whole, as events of a run.

Source: https://docs.anthropic.com/en/api/messages
"""

from typing import Any

from runcast.sources._model_calls import ModelCall, Tokens, field_of

__all__ = ("MessageReader", "read_message", "reader_for")

_TOOLS = ("tool_use", "server_tool_use", "mcp_tool_use")


class MessageReader:
    """Reads the events of a streamed message."""

    def __init__(self, call: ModelCall) -> None:
        self._call = call
        self._message_id = ""
        self._model: object = ""
        self._kinds: dict[int, str] = {}
        """The types of the blocks, by their index."""
        self._names: dict[int, str] = {}
        """The ids of the blocks' texts."""
        self._counts: dict[str, int] = {}
        """Tokens as they were reported last."""
        self._is_over = False

    def see(self, event: Any) -> None:
        """Write what an event holds."""
        kind = event.type
        if kind == "content_block_delta":
            self._see_delta(event.index, event.delta)
        elif kind == "content_block_start":
            self._begin_block(event.index, event.content_block)
        elif kind == "content_block_stop":
            self._call.end_tool(event.index)
        elif kind == "message_start":
            message = event.message
            self._message_id, self._model = message.id or "", message.model
            self._count(message.usage)
        elif kind == "message_delta":
            self._count(event.usage)
        elif kind == "message_stop":
            self._is_over = True
            self.leave()

    def _begin_block(self, index: int, block: Any) -> None:
        kind = self._kinds[index] = block.type
        is_known = kind in [self._kinds[it] for it in self._kinds if it != index]
        self._names[index] = f"{self._message_id}.{index}" if is_known else self._message_id
        if kind in _TOOLS:
            self._call.begin_tool(index, block.id, block.name)
        elif kind == "text":
            self._call.text(block.text, self._names[index])
        elif kind == "thinking":
            self._call.thought(block.thinking, self._names[index])

    def _see_delta(self, index: int, delta: Any) -> None:
        kind = delta.type
        if kind == "text_delta":
            self._call.text(delta.text, self._names[index])
        elif kind == "thinking_delta":
            self._call.thought(delta.thinking, self._names[index])
        elif kind == "input_json_delta":
            self._call.tool_piece(index, delta.partial_json)

    def _count(self, used: Any) -> None:
        for name in _COUNTED:
            count = field_of(used, name)
            if count is not None:
                self._counts[name] = count

    def end(self) -> None:
        """Write what is left once the stream has ended by itself."""
        if self._message_id and not self._is_over:
            self._call.error("the answer ended before it was complete", "truncated")
        self.leave()

    def leave(self) -> None:
        """Write what is known once nobody reads on: the prompt's tokens come first."""
        if self._counts:
            self._call.usage(self._model, _tokens(self._counts))
            self._counts = {}


def reader_for(item: Any, call: ModelCall) -> MessageReader | None:
    """Return a reader for a stream by its first item; None if it is the stream of another API."""
    return MessageReader(call) if getattr(item, "type", None) == "message_start" else None


def read_message(call: ModelCall, answer: Any) -> None:
    """Write a message that came as a whole."""
    kinds: list[str] = []
    for index, block in enumerate(answer.content or ()):
        kind = block.type
        name = f"{answer.id}.{index}" if kind in kinds else answer.id
        kinds.append(kind)
        if kind == "text":
            call.text(block.text, name)
        elif kind == "thinking":
            call.thought(block.thinking, name)
        elif kind in _TOOLS:
            call.tool(block.name, block.input, block.id)
    counts = {name: field_of(answer.usage, name) or 0 for name in _COUNTED}
    call.usage(answer.model, _tokens(counts))


_COUNTED = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)


def _tokens(counts: dict[str, int]) -> Tokens:
    """Return the tokens; this API counts those of the cache apart from the rest of the prompt."""
    fresh, written, cached, kept = (counts.get(name, 0) for name in _COUNTED)
    return Tokens(fresh + cached + kept, written, cached or None)
