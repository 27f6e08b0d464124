"""One call of a model, as events of a run: texts, thoughts, tool calls, usage and errors."""

import json
import threading
import weakref
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypedDict

from runcast._producing.writer import Writer
from runcast.sources._plain import as_plain
from runcast.sources._telling import tell

__all__ = ("ModelCall", "Tokens", "code_of", "field_of", "message_in", "parsed")

_MOST_CODE_CHARS: Final = 80
_MOST_MESSAGE_CHARS: Final = 500

_MOST_IDS: Final = 10_000
"""Ids of texts that are remembered for each run, to notice one that comes again."""

_ids: Final[weakref.WeakKeyDictionary[Writer, dict[str, int]]] = weakref.WeakKeyDictionary()
"""For each run, how often each id of a text was used."""

_lock: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a call used."""

    read: int = 0
    """Tokens of the prompt, including tokens read from a cache."""
    written: int = 0
    cached: int | None = None
    reasoning: int | None = None


class _Place(TypedDict, total=False):
    node: str
    agent: str


class ModelCall:
    """Writes one call of a model to a run. Never raises, except for `Cancelled`.

    Args:
        agent: the agent that calls the model.
    """

    def __init__(self, writer: Writer, agent: str = "") -> None:
        self._writer = writer
        self._place: _Place = {"node": agent, "agent": agent} if agent else {}
        self._texts: dict[str, str] = {}
        self._tools: dict[object, _Tool] = {}
        self.has_failed = False
        """Whether an error was written."""

    def text(self, text: object, message_id: str) -> None:
        """Write a piece of text."""
        if text and isinstance(text, str):
            name = self._texts.get(message_id) or self._name(message_id)
            tell(self._writer, partial(self._writer.content, text, message_id=name, **self._place))

    def thought(self, text: object, message_id: str) -> None:
        """Write a piece of reasoning."""
        if text and isinstance(text, str):
            name = self._texts.get(message_id) or self._name(message_id)
            tell(self._writer, partial(self._writer.thinking, text, message_id=name, **self._place))

    def _name(self, message_id: str) -> str:
        """Return an id that no earlier call of the run has used, even if servers repeat theirs."""
        with _lock:
            used = _ids.setdefault(self._writer, {})
            count = used.pop(message_id, 0) + 1
            used[message_id] = count
            if len(used) > _MOST_IDS:
                del used[next(iter(used))]
        name = message_id if message_id and count == 1 else f"{message_id or 'text'}.{count}"
        self._texts[message_id] = name
        return name

    def begin_tool(self, key: object, call_id: object, name: object) -> None:
        """Note a tool call whose arguments follow in pieces."""
        tool = self._tools.setdefault(key, _Tool())
        tool.call_id = tool.call_id or _text(call_id)
        tool.name = tool.name or _text(name)

    def tool_piece(self, key: object, piece: object) -> None:
        """Write a piece of a call's arguments."""
        if not piece or not isinstance(piece, str):
            return
        tool = self._tools.setdefault(key, _Tool())
        tool.pieces.append(piece)
        if tool.call_id:
            write = self._writer.tool_call_delta
            tell(
                self._writer,
                partial(write, piece, call_id=tool.call_id, tool=tool.name, **self._place),
            )

    def end_tool(self, key: object) -> None:
        """Write the call whose pieces have come; does nothing if it was written before."""
        tool = self._tools.pop(key, None)
        if tool is not None:
            self.tool(tool.name, parsed("".join(tool.pieces)), tool.call_id)

    def tool(self, name: object, args: object, call_id: object) -> None:
        """Write a tool call."""
        write = self._writer.tool_call
        tell(self._writer, partial(write, _text(name), args, call_id=_text(call_id), **self._place))

    def usage(self, model: object, tokens: Tokens) -> None:
        """Write what the call used."""
        write = partial(
            self._writer.usage,
            _text(model),
            tokens.read,
            tokens.written,
            cached_tokens=tokens.cached,
            reasoning_tokens=tokens.reasoning,
            **self._place,
        )
        tell(self._writer, write)

    def tool_result(self, name: str, result: object, call_id: object, ok: bool | None) -> None:
        """Write what a tool returned."""
        write = self._writer.tool_result
        result = as_plain(result)
        tell(
            self._writer, partial(write, name, result, call_id=_text(call_id), ok=ok, **self._place)
        )

    def error(self, message: object, code: object) -> None:
        """Write that the model failed."""
        self.has_failed = True
        data = {"message": _text(message) or "the model failed", "code": _text(code) or "model"}
        tell(self._writer, partial(self._writer.emit, "error", data, **self._place))

    def warn(self, message: str, logger: str = "runcast.sources.llm") -> None:
        """Write a warning to the run's log."""
        tell(self._writer, partial(self._writer.log, message, "warning", logger=logger))


class _Tool:
    """A tool call under way."""

    def __init__(self) -> None:
        self.call_id = ""
        self.name = ""
        self.pieces: list[str] = []


def parsed(text: object) -> Any:
    """Return arguments as JSON has them; the text itself if it is not JSON."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return text


def field_of(thing: object, *names: str) -> Any:
    """Return the attribute at the end of a path of names; None if one is missing."""
    for name in names:
        thing = thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)
    return thing


def message_in(error: Exception) -> str:
    """Return what the provider said inside a stream; else the name of the error."""
    body = field_of(error, "body")
    said = field_of(body, "error", "message") or field_of(body, "message")
    return said[:_MOST_MESSAGE_CHARS] if isinstance(said, str) else type(error).__name__


def code_of(error: Exception, otherwise: str = "connection") -> str:
    """Return the provider's code of an error."""
    body = field_of(error, "body")
    for code in (
        field_of(error, "code"),
        field_of(body, "error", "type"),
        field_of(body, "type"),
        field_of(error, "type"),
    ):
        if isinstance(code, str) and code:
            return code[:_MOST_CODE_CHARS]
    return otherwise if field_of(error, "status_code") is None else "refused"


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
