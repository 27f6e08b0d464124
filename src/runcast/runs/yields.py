"""What a generator yields, as events, and how its own `done` and `error` end a run.

| yielded | becomes |
|---|---|
| an `Event` | that event |
| a dict with a string `type` | an event of that type with its `data`; `error_code` becomes `code` |
| a string | `content{text}` |
| None | nothing: a generator may yield only to let cancelling in |
| anything else | `result{value}` |

A yielded `done` is held until the generator returns, since only then has the run ended; its data
becomes the `summary`. A yielded `error` is held until it is known whether the generator goes on: if
it does, the error was one that it survived; if it returns, the run has failed.
"""

from collections.abc import Mapping
from typing import Any

from runcast.events.model import Event
from runcast.events.vocabulary import DELTA_TYPES
from runcast.runs.outcome import done, failed
from runcast.runs.protocols import Ending
from runcast.runs.writer import Writer

__all__ = ("Yields",)


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
        if self._error is not None:
            error, self._error = self._error, None
            self._writer.emit("error", error)
        if event.type == "done":
            self._summary = event.data
        elif event.type == "error":
            self._error = _error_data(event.data)
        else:
            self._writer.emit_event(event)

    def outcome(self, result: object = None) -> Ending:
        """Return how the run ended, now that the generator has returned `result`."""
        if self._error is not None:
            return failed(
                str(self._error.get("message", "")), str(self._error.get("code", "error"))
            )
        return done(result, self._summary)


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
    type, data = item["type"], item.get("data")
    if type in DELTA_TYPES and isinstance(data, str):
        data = {"text": data}
    elif type == "error":
        data = _error_data(data)
        if item.get("error_code") is not None:
            data["code"] = str(item["error_code"])
    if item.get("metadata") is not None and isinstance(data, dict):
        data = {"metadata": item["metadata"], **data}
    place = {name: item[name] for name in ("node", "agent") if isinstance(item.get(name), str)}
    return Event(type=type, data=data, **place)


def _error_data(data: object) -> dict[str, Any]:
    if isinstance(data, Mapping):
        return {"message": str(data.get("message", data)), **data}
    return {"message": "" if data is None else str(data)}
