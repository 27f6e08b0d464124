"""The `prefab` dialect: `{"type": …, "data": …}`, as yielded by functions that are generators.

    id: 01hq3v5k2m-7
    data: {"type":"progress","data":{"percentage":40,"current":2,"total":5}}

| event | frame |
|---|---|
| `started` | none: the function's own `start` comes first |
| `content{text,…}` `thinking{text,…}` `reasoning{text,…}` `tool_call_delta{text,…}` | `data` is \
the text |
| `progress{percent,…}` | `data` has `percentage` |
| `done{summary,result}` | `data` is the summary, or the result |
| `done` with data of its own shape | `data` is that data |
| `error{message,code}` | `data` is the message, `error_code` the code |
| `failed{message,code,…}` | the same, of the type `error` |
| `cancelled{reason}` | the same, of the type `error`, with `"error_code":"CANCELLED"` |
| any other | its type, its data |

Fields without a place in `data` follow in `metadata`, an object that is left out when empty; a
`retryable` that is false is also left out. Data that already has this format passes unchanged.
`node`, `agent`, `path`, `time` and `duration` are not sent, because this format has no place for
them. A loss is sent as `{"type":"gap","data":{…}}`.

The other way round: a yielded item keeps its type and data; `error_code` is the `code` of an
`error{message,code}`.

Source: the format's published events; `failed`, `cancelled`, `gap` and `metadata` of ours are ours.
"""

from collections.abc import Mapping
from typing import ClassVar

from runcast._wire.dialects.base import LogRef, Stateless, frame
from runcast.events.model import Event
from runcast.events.vocabulary import DELTA_TYPES, as_text, outcome_of, percent_of, pick, text_of

__all__ = ("Prefab",)


class Prefab(Stateless):
    """Objects with `type` and `data`, unnamed."""

    name: ClassVar[str] = "prefab"

    def encode(self, log: LogRef, event: Event) -> bytes:
        """Return the event's one frame, without id; none for `started`."""
        if event.type == "started":
            return b""
        return frame(_payload(event))

    def gap(self, log: LogRef, gap: Mapping[str, object]) -> bytes:
        """Return one frame of the type `gap`, without id."""
        return frame({"type": "gap", "data": dict(gap)})


def _payload(event: Event) -> dict[str, object]:
    data = event.data
    match event.type:
        case "failed" | "cancelled":
            return _error(event)
        case "error" if pick(data, "message") is not None:
            return _error(event)
        case "done":
            result, summary = outcome_of(data)
            if summary is None:
                return {"type": "done", "data": result}
            rest = {} if result is None else {"result": result}
            return _with_metadata({"type": "done", "data": summary}, rest)
        case kind if kind in DELTA_TYPES and isinstance(data, dict):
            text, rest = text_of(kind, data)
            return _with_metadata({"type": kind, "data": text}, rest)
        case "progress" if isinstance(data, dict) and "percentage" not in data:
            percent = percent_of(data)
            if percent is not None:
                rest = {name: value for name, value in data.items() if name != "percent"}
                return {"type": "progress", "data": {"percentage": percent, **rest}}
    return {"type": event.type, "data": data}


def _error(event: Event) -> dict[str, object]:
    text, rest = text_of(event.type, event.data)
    payload: dict[str, object] = {"type": "error", "data": text}
    if event.type == "cancelled":
        payload = {"type": "error", "data": text or "cancelled", "error_code": "CANCELLED"}
        return _with_metadata(payload, rest)
    if rest.get("retryable") is False:
        del rest["retryable"]  # the default for readers without this field
    for name in ("code", "error_code"):
        code = rest.pop(name, None)
        if code is not None:
            payload["error_code"] = as_text(code)
            break
    return _with_metadata(payload, rest)


def _with_metadata(payload: dict[str, object], rest: dict[str, object]) -> dict[str, object]:
    if rest:
        payload["metadata"] = rest
    return payload
