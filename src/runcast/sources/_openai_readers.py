"""What OpenAI's chat completions and Responses say, streamed or whole, as events of a run.

Source: https://platform.openai.com/docs/api-reference
"""

from typing import Any

from runcast.sources._model_calls import ModelCall, Tokens, field_of, parsed

__all__ = ("ChatReader", "ResponseReader", "read_chat", "read_response", "reader_for")

_TEXTS = ("response.output_text.delta", "response.refusal.delta")
_THOUGHTS = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
_PIECES = ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta")
_NO_ID = "__fake_id__"
_ENDS = ("response.completed", "response.incomplete")


class ChatReader:
    """Reads the chunks of a streamed chat completion."""

    def __init__(self, call: ModelCall) -> None:
        self._call = call
        self._model: object = ""
        self._used: Tokens | None = None
        self._open: set[int] = set()
        """The choices that have begun and not finished."""
        self._tools: dict[int, list[object]] = {}
        """For each choice, the keys of its tool calls; the latest is the last."""

    def see(self, chunk: Any) -> None:
        """Write what a chunk holds."""
        for choice in chunk.choices or ():
            self._see_choice(chunk.id, choice)
        if chunk.usage is not None:
            self._model, self._used = chunk.model, _chat_tokens(chunk.usage)

    def _see_choice(self, message_id: str, choice: Any) -> None:
        delta, index = choice.delta, choice.index or 0
        self._open.add(index)
        if index:
            message_id = f"{message_id}.{index}"
        if delta is not None:
            if delta.content:
                self._call.text(delta.content, message_id)
            extra = delta.model_extra
            if extra:
                thought = extra.get("reasoning_content") or extra.get("reasoning")
                self._call.thought(thought, message_id)
            if delta.refusal:
                self._call.text(delta.refusal, message_id)
            for piece in delta.tool_calls or ():
                self._see_tool(index, piece)
        if choice.finish_reason:
            self._open.discard(index)
            for key in self._tools.pop(index, ()):
                self._call.end_tool(key)

    def _see_tool(self, index: int, piece: Any) -> None:
        keys = self._tools.setdefault(index, [])
        key: object = (index, piece.index)
        if piece.index is None:  # some servers number no calls; a new id begins a new call
            key = (index, piece.id) if piece.id or not keys else keys[-1]
        if key not in keys:
            keys.append(key)
        function = piece.function
        self._call.begin_tool(key, piece.id, function.name if function is not None else "")
        if function is not None:
            self._call.tool_piece(key, function.arguments)

    def end(self) -> None:
        """Write what is left once the stream has ended by itself."""
        if self._open:
            self._call.error("the answer ended before it was complete", "truncated")
        self.leave()

    def leave(self) -> None:
        """Write what is known once nobody reads on."""
        if self._used is not None:
            self._call.usage(self._model, self._used)
            self._used = None


class ResponseReader:
    """Reads the events of a streamed Response."""

    def __init__(self, call: ModelCall) -> None:
        self._call = call
        self._has_begun = False
        self._is_over = False

    def see(self, event: Any) -> None:
        """Write what an event holds."""
        kind = event.type
        if kind in _TEXTS:
            self._call.text(event.delta, _text_id(event))
        elif kind in _THOUGHTS:
            self._call.thought(event.delta, _text_id(event))
        elif kind in _PIECES:
            self._call.tool_piece(event.output_index, event.delta)
        elif kind == "response.output_item.added":
            item = event.item
            if field_of(item, "type") in ("function_call", "custom_tool_call"):
                self._call.begin_tool(event.output_index, item.call_id, item.name)
        elif kind == "response.output_item.done":
            _read_tool(self._call, event.item)
        elif kind == "response.reasoning_summary_part.added":
            if event.summary_index:
                self._call.thought("\n\n", _text_id(event))
        elif kind == "response.created":
            self._has_begun = True
        elif kind in _ENDS:
            self._is_over = True
            _read_usage(self._call, event.response)
        elif kind == "response.failed":
            self._is_over = True
            _read_usage(self._call, event.response)
            _read_failure(self._call, event.response)
        elif kind == "error":
            self._is_over = True
            self._call.error(field_of(event, "message"), field_of(event, "code"))

    def end(self) -> None:
        """Write what is left once the stream has ended by itself."""
        if self._has_begun and not self._is_over:
            self._call.error("the answer ended before it was complete", "truncated")

    def leave(self) -> None:
        """Write what is known once nobody reads on: nothing, because usage comes last."""


def _text_id(event: Any) -> str:
    """Return the id of a text. OpenAI Agents gives every item of a chat completion the same id."""
    item_id: str = event.item_id
    return f"output-{event.output_index}" if item_id == _NO_ID else item_id


def reader_for(item: Any, call: ModelCall) -> ChatReader | ResponseReader | None:
    """Return a reader for a stream by its first item; None if it is the stream of another API."""
    if getattr(item, "object", None) == "chat.completion.chunk":
        return ChatReader(call)
    kind = getattr(item, "type", None)
    if isinstance(kind, str) and (kind == "error" or kind.startswith("response.")):
        return ResponseReader(call)
    # Some servers leave `object` out.
    return ChatReader(call) if hasattr(item, "choices") and _has_delta(item) else None


def _has_delta(chunk: Any) -> bool:
    return all(hasattr(choice, "delta") for choice in chunk.choices or ())


def read_chat(call: ModelCall, answer: Any) -> None:
    """Write a chat completion that came as a whole."""
    for choice in answer.choices or ():
        message, index = choice.message, choice.index or 0
        message_id = f"{answer.id}.{index}" if index else answer.id
        extra = message.model_extra or {}
        call.thought(extra.get("reasoning_content") or extra.get("reasoning"), message_id)
        call.text(message.content, message_id)
        call.text(message.refusal, message_id)
        for tool in message.tool_calls or ():
            if (function := field_of(tool, "function")) is not None:
                call.tool(function.name, parsed(function.arguments), tool.id)
            elif (custom := field_of(tool, "custom")) is not None:
                call.tool(custom.name, custom.input, tool.id)
    if answer.usage is not None:
        call.usage(answer.model, _chat_tokens(answer.usage))


def read_response(call: ModelCall, answer: Any) -> None:
    """Write a Response that came as a whole."""
    for item in answer.output or ():
        kind = field_of(item, "type")
        if kind == "reasoning":
            parts = [*(item.summary or ()), *(field_of(item, "content") or ())]
            call.thought("\n\n".join(field_of(part, "text") or "" for part in parts), item.id)
        elif kind == "message":
            for part in item.content or ():
                call.text(field_of(part, "text") or field_of(part, "refusal"), item.id)
        else:
            _read_tool(call, item)
    _read_usage(call, answer)
    if answer.status == "failed":
        _read_failure(call, answer)


def _read_tool(call: ModelCall, item: Any) -> None:
    """Write the tool call of a finished item; tools of the provider have no name but their type."""
    kind = field_of(item, "type") or ""
    if not kind.endswith("_call"):
        return
    if kind == "custom_tool_call":
        call.tool(item.name, item.input, item.call_id)
        return
    name = field_of(item, "name") or kind.removesuffix("_call")
    call_id = field_of(item, "call_id") or field_of(item, "id")
    args = field_of(item, "arguments")
    if args is None:
        args = next(filter(None, (field_of(item, it) for it in ("action", "queries", "code"))), {})
    call.tool(name, parsed(args) if kind != "code_interpreter_call" else args, call_id)


def _read_usage(call: ModelCall, answer: Any) -> None:
    used = field_of(answer, "usage")
    if used is not None:
        tokens = Tokens(
            used.input_tokens or 0,
            used.output_tokens or 0,
            field_of(used, "input_tokens_details", "cached_tokens"),
            field_of(used, "output_tokens_details", "reasoning_tokens"),
        )
        call.usage(answer.model, tokens)


def _read_failure(call: ModelCall, answer: Any) -> None:
    error = field_of(answer, "error")
    call.error(field_of(error, "message"), field_of(error, "code") or "failed")


def _chat_tokens(used: Any) -> Tokens:
    return Tokens(
        used.prompt_tokens or 0,
        used.completion_tokens or 0,
        field_of(used, "prompt_tokens_details", "cached_tokens"),
        field_of(used, "completion_tokens_details", "reasoning_tokens"),
    )
