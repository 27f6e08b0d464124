"""The typed events of a writer: one method for each type that functions and adapters write.

Each method checks its arguments, builds the event's `data` with the documented fields, and leaves
out empty fields. For further fields, use `emit`.

Source: docs/protocol.md R-1.8.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any, Final, Unpack, cast

from runcast._hub.forks import make_rlock
from runcast._producing.calls import PlaceFields, not_a_place, place_of
from runcast.errors import InvalidValue
from runcast.events.model import Place
from runcast.events.pieces import Pieces
from runcast.events.plain import checked_number
from runcast.events.vocabulary import as_text, percent_of

__all__ = ("TypedEvents",)

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


class TypedEvents(ABC):
    """Builds typed events and appends them by `emit_at`. Call from any thread.

    Every method raises what `Writer.emit` raises. The keywords `node`, `agent`, `path` and
    `duration` give the place of an event; see `PlaceFields`.
    """

    def __init__(self) -> None:
        self._lock = make_rlock()  # a signal handler may emit
        self._pieces = Pieces()

    @abstractmethod
    def emit_at(self, place: Place | None, kind: str, data: object) -> None:
        """Append an event with its place."""

    # Progress and log.

    def progress(
        self,
        current: float | None = None,
        total: float | None = None,
        message: str = "",
        *,
        percent: float | None = None,
        node: str = "",
        agent: str = "",
        **more: object,
    ) -> None:
        """Append a `progress` event; `percent` (0-100) is computed if possible.

        Raises what `emit` raises, and `InvalidValue` if an argument is not a number.
        """
        current, total = checked_number("current", current), checked_number("total", total)
        percent = checked_number("percent", percent)
        if percent is None:
            percent = percent_of({"current": current, "total": total})
        known = {"current": current, "total": total, "percent": percent}
        data = {name: value for name, value in known.items() if value is not None}
        if message:
            data["message"] = message  # type: ignore[assignment]
        place = (node, agent, (), None) if node or agent else None
        self.emit_at(place, "progress", {**more, **data})

    def log(self, message: object, level: str = "info", *, logger: str = "") -> None:
        """Append a `log` event; `level` is debug, info, warning, error or critical."""
        if level not in _LEVELS:
            raise InvalidValue(f"expected a level of {', '.join(_LEVELS)}, got {level!r}")
        data = {"level": level, "message": str(message)}
        if logger:
            data["logger"] = logger
        self.emit_at(None, "log", data)

    # Text and thought.

    def content(
        self,
        text: str,
        *,
        message_id: str = "",
        attempt: int = 1,
        node: str = "",
        agent: str = "",
        path: Sequence[str] = (),
    ) -> None:
        """Append a piece of text; the pieces of a message are counted from 0.

        Args:
            text: the text after the previous piece.
            message_id: the text's id; pieces with one place and id form one text.
            attempt: the number of the attempt to write this text, from 1. The first piece of a
                higher attempt begins the text again: watchers drop what earlier attempts wrote.
        """
        _check_texts(text, message_id, node, agent)
        data: dict[str, object] = {"text": text, "index": 0}
        if message_id:
            data["message_id"] = message_id
        if attempt != 1:
            data["attempt"] = _checked_attempt(attempt)
        place: Place | None = None
        if node or agent or path:
            place = (node, agent, cast("tuple[str, ...]", path), None)
        self._put_piece("content", (node, agent, message_id, attempt), data, place)

    def thinking(
        self,
        text: str,
        *,
        message_id: str = "",
        attempt: int = 1,
        **place: Unpack[PlaceFields],
    ) -> None:
        """Append a piece of a thought; see `content` for `message_id` and `attempt`."""
        _check_texts(text, message_id)
        where = _place("thinking", place)
        data: dict[str, object] = {"text": text, "index": 0}
        if message_id:
            data["message_id"] = message_id
        if attempt != 1:
            data["attempt"] = _checked_attempt(attempt)
        node, agent = where[:2] if where else ("", "")
        self._put_piece("thinking", ("thinking", node, agent, message_id, attempt), data, where)

    def _put_piece(
        self, kind: str, text: Hashable, data: dict[str, object], place: Place | None
    ) -> None:
        """Append a piece with its number among the pieces of its text."""
        with self._lock:
            data["index"] = index = self._pieces.number(text)
        try:
            self.emit_at(place, kind, data)
        except BaseException:
            with self._lock:
                self._pieces.give_back(text, index)
            raise

    # Tools.

    def tool_call(
        self,
        tool: str,
        args: object = None,
        *,
        call_id: str = "",
        message: str = "",
        attempt: int = 1,
        **place: Unpack[PlaceFields],
    ) -> None:
        """Append a `tool_call` event.

        Args:
            tool: the tool's name.
            args: the arguments of the call.
            call_id: the id that the call and its result share; without it a result belongs to
                the last open call of the same tool, node and agent.
            message: the text for people.
            attempt: see `content`; a higher attempt of a call drops the result of earlier ones.
        """
        _check_texts(tool, call_id, message)
        data = _filled(call_id=call_id) | {"tool": tool, "args": args}
        data |= _filled(message=message, attempt=_extra_attempt(attempt))
        self.emit_at(_place("tool_call", place), "tool_call", data)

    def tool_call_delta(
        self,
        text: str,
        *,
        call_id: str,
        tool: str = "",
        attempt: int = 1,
        **place: Unpack[PlaceFields],
    ) -> None:
        """Append a piece of a call's arguments, as JSON text that a model is writing.

        A `tool_call` with all of the arguments must follow; it replaces the pieces.
        """
        _check_texts(text, call_id, tool)
        if not call_id:
            raise InvalidValue("expected a call_id: it identifies the pieces of a call")
        data: dict[str, object] = {"call_id": call_id, **_filled(tool=tool)}
        data |= {"text": text, "index": 0, **_filled(attempt=_extra_attempt(attempt))}
        where = _place("tool_call_delta", place)
        self._put_piece("tool_call_delta", ("call", call_id, attempt), data, where)

    def tool_result(
        self,
        tool: str,
        result: object = None,
        *,
        call_id: str = "",
        ok: bool | None = None,
        attempt: int = 1,
        **place: Unpack[PlaceFields],
    ) -> None:
        """Append a `tool_result` event, with the length of the result in characters.

        Args:
            ok: whether the call succeeded; None if unknown.
        """
        _check_texts(tool, call_id)
        if ok is not None and not isinstance(ok, bool):
            raise InvalidValue(f"expected ok to be True, False or None, got {ok!r:.80}")
        data = _filled(call_id=call_id) | {"tool": tool, "result": result}
        data |= _filled(ok=ok, length=len(as_text(result)), attempt=_extra_attempt(attempt))
        self.emit_at(_place("tool_result", place), "tool_result", data)

    # Usage of models.

    def usage(
        self,
        model: str,
        input_tokens: int = 0,
        output_tokens: int = 0,
        *,
        cached_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        cost: float | None = None,
        currency: str = "",
        **place: Unpack[PlaceFields],
    ) -> None:
        """Append a `usage` event: the usage of one model call.

        Args:
            input_tokens: all tokens of the prompt, including tokens read from a cache.
            output_tokens: all written tokens, including reasoning.
            cached_tokens: how many of the input tokens were read from a cache.
            reasoning_tokens: how many of the output tokens were reasoning.
            cost: the cost of this call; None computes it from the `prices_file` if possible.
            currency: the currency of the cost, like "USD".

        Raises:
            Cancelled: in a thread, if the run has now exceeded its function's budget
                (`max_tokens`, `max_cost`). A coroutine is cancelled at its next `await`.
        """
        _check_texts(model, currency)
        counts = {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cached_tokens": cached_tokens,
            "reasoning_tokens": reasoning_tokens,
        }
        for name, count in counts.items():
            if count is not None:
                _check_count(name, count)
        cost = checked_number("cost", cost)
        if cost is not None and not 0 <= cost < math.inf:
            raise InvalidValue(f"expected cost to be a number from 0, got {cost!r:.80}")
        data = {"model": model, **_filled(**counts, cost=cost, currency=currency)}
        self.emit_at(_place("usage", place), "usage", data)

    # Steps.

    def step_start(
        self, message: str = "", *, step_id: str = "", **place: Unpack[PlaceFields]
    ) -> None:
        """Append a `step_start` event.

        Args:
            message: the text for people.
            step_id: distinguishes steps of one node and agent that are open at the same time.
        """
        _check_texts(message, step_id)
        data = {"message": message, **_filled(step_id=step_id)}
        self.emit_at(_place("step_start", place), "step_start", data)

    def step_progress(
        self,
        percent: float | None = None,
        message: str = "",
        *,
        step_id: str = "",
        **place: Unpack[PlaceFields],
    ) -> None:
        """Append a `step_progress` event; `percent` is 0 to 100."""
        _check_texts(message, step_id)
        data = _filled(percent=checked_number("percent", percent), message=message, step_id=step_id)
        self.emit_at(_place("step_progress", place), "step_progress", data)

    def step_complete(
        self, message: str = "", *, step_id: str = "", **place: Unpack[PlaceFields]
    ) -> None:
        """Append a `step_complete` event: end the step with this place and `step_id`."""
        _check_texts(message, step_id)
        data = {"message": message, **_filled(step_id=step_id)}
        self.emit_at(_place("step_complete", place), "step_complete", data)


def _filled(**fields: object) -> dict[str, object]:
    """Return the fields that are neither None nor an empty text."""
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def _place(kind: str, fields: PlaceFields) -> Place | None:
    if not fields:
        return None
    try:
        return place_of(**fields)
    except TypeError:
        raise not_a_place(kind, cast("dict[str, Any]", fields)) from None


def _check_texts(*given: object) -> None:
    for text in given:
        if not isinstance(text, str):
            raise InvalidValue(f"expected a text, got {text!r:.80}")


def _check_count(name: str, count: object) -> None:
    if type(count) is not int or not 0 <= count <= 2**53:
        raise InvalidValue(f"expected {name} to be a whole number from 0, got {count!r:.80}")


def _checked_attempt(attempt: object) -> int:
    if type(attempt) is not int or not 1 <= attempt <= 2**53:
        raise InvalidValue(f"expected attempt to be a whole number from 1, got {attempt!r:.80}")
    return attempt


def _extra_attempt(attempt: int) -> int | None:
    """Return the `attempt` field; None for the first attempt."""
    return None if _checked_attempt(attempt) == 1 else attempt
