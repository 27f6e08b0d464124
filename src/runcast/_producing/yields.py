"""What a generator yields, as events, and how its own `done` and `error` end a run.

| yielded | becomes |
|---|---|
| an `Event` | that event |
| a dict with a string `type` | an event of that type with its `data`, or else its other fields |
| a string | `content{text}` |
| None | nothing: a generator may yield only to let cancelling in |
| anything else | `result{value}` |

A yielded `done` is held until the generator returns, since only then has the run ended; its data
becomes the `summary`. A yielded `error` is held until it is known whether the generator goes on: if
it does, the error was one that it survived; if it returns, the run has failed.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from runcast._producing.writer import Writer
from runcast.errors import Cancelled, RuncastError
from runcast.events.fields import as_text, pick
from runcast.events.model import Event, as_stored
from runcast.events.outcome import Outcome, done, failed
from runcast.events.vocabulary import DELTA_TYPES

__all__ = (
    "Yields",
    "as_event",
)

_PLACE: Final = ("node", "agent", "path", "duration")

_NOT_DATA: Final = frozenset({"type", "error_code", "metadata", *_PLACE})
"""Fields of a yielded dict that its `data` does not consist of, where it has no field `data`."""


class Yields:
    """Writes what one generator yields, and tells in the end how it ended."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._summary: object = None
        self._error: dict[str, Any] | None = None

    def take(self, item: object) -> None:
        """Write one item. Raises as `Writer.emit` does."""
        if item is None:
            return
        event = as_event(item)
        self._tell_error()
        # What cannot be stored at the end is refused here.
        most = self._writer.max_event_bytes
        if event.type == "done":
            data = as_stored("done", {"summary": event.data}, max_bytes=most).data
            self._summary = data["summary"]
        elif event.type == "error":
            error = as_stored("error", _error_data(event.data), max_bytes=most).data
            as_stored("failed", _failure(error).data, max_bytes=most)
            self._error = error
        else:
            self._writer.emit_event(event)

    def outcome(self, result: object = None) -> Outcome:
        """Return how the run ended, now that the generator has returned `result`."""
        if self._error is None:
            return done(result, self._summary)
        return _failure(self._error)

    def flush(self) -> None:
        """Write what is held, now that the generator has ended in another way."""
        with suppress(RuncastError, Cancelled):
            self._tell_error()

    def _tell_error(self) -> None:
        if self._error is not None:
            self._writer.emit("error", self._error)  # held on if it is refused
            self._error = None


def _failure(error: dict[str, Any]) -> Outcome:
    """Return the ending of a run whose last word was an error."""
    code = as_text(error.get("code", "error"))
    ending = failed(error["message"], code, retryable=error.get("retryable") is True)
    return ending._replace(data={**error, **ending.data})


def as_event(item: object) -> Event:
    """Return the event that a yielded item stands for."""
    if isinstance(item, Event):
        return item
    if isinstance(item, str):
        return Event(type="content", data={"text": item})
    if isinstance(item, Mapping) and isinstance(item.get("type"), str):
        return _from_mapping(item)
    return Event(type="result", data={"value": item})


def _from_mapping(item: Mapping[str, Any]) -> Event:
    rest = {name: value for name, value in item.items() if name not in _NOT_DATA}
    kind, data = item["type"], item.get("data", rest or None)
    if kind in DELTA_TYPES and isinstance(data, str):
        data = {"text": data}
    elif kind == "error":
        data = _error_data(data)
        if item.get("error_code") is not None:
            data["code"] = as_text(item["error_code"])
    if item.get("metadata") is not None and isinstance(data, dict):
        data = {"metadata": item["metadata"], **data}
    place = {name: item[name] for name in _PLACE if item.get(name) is not None}
    return Event(type=kind, data=data, **place)


def _error_data(data: object) -> dict[str, Any]:
    fields = dict(data) if isinstance(data, Mapping) else {}
    message = pick(fields, "message", "error", "content")
    if message is None:
        message = data
    return {
        **fields,
        "message": str(message) if isinstance(message, Exception) else as_text(message),
    }
