"""The `flat` dialect: one flat message per event, for watchers of multi-agent graphs.

    id: 01hq3v5k2m-7
    data: {"message_type":"tool_call","content":"…","node":"research","timestamp":1703123456.789,
           "agent":"research","tool_name":"web_search","args":{"query":"…"}}

Every message has `message_type`, `content` (a string), `node` and `timestamp` (Unix seconds); also
`duration` (seconds, 2 decimals), `agent` and `agent_hierarchy` (outermost first, down to the
agent) if the event has them.

| event | `message_type` | `content` | further fields |
|---|---|---|---|
| `step_start{message}` `step_complete` | the same | message | |
| `step_progress{percent,message}` `progress` | `step_progress` | message | progress |
| `node_complete{message}` | `node_complete` | message | aggregated: true |
| `tool_call{tool,args,message?}` | `tool_call` | message, or tool | tool_name, args |
| `tool_result{tool,result,length?}` | `tool_result` | result | tool_name, length |
| `thinking{text}` `reasoning{text}` | the same | text | |
| `content{text,index}` | `content_streaming` | text | length, chunk_index |
| `content_complete{message}` | `content_complete` | message | |
| `interrupt_request{message,action,args,interrupt_id}` | the same | message, or action | action, \
args, interrupt_id, requires_approval: true |
| `interrupt_response{answer,approved,interrupt_id}` | the same | answer, or its args or its type \
| approved, interrupt_id |
| `interrupt_waiting{message,interrupt_id}` | the same | message | interrupt_id, status: waiting |
| `interrupt_resolved{message,interrupt_id}` | the same | message | interrupt_id, status: resolved |
| `result{value,execution_summary}` | `final_result` | value | execution_summary, is_final: true |
| `done{result,summary}` | `final_result` | result | execution_summary, is_final: true |
| `done{summary: {}}`, with nothing to add to a `result` | `done` | | execution_summary, is_final: \
true |
| `error{message,code}` | `error` | message | error_type |
| `failed{message,code}` | `error` | message | error_type, is_final: true |
| `cancelled{reason}` | `error` | reason | error_type: Cancelled, is_final: true |
| `tool_call_delta` | not shown: its `tool_call` has all of the arguments | | |
| any other | its type | its `message`, `content` or `text` | |

Content that is not a string is JSON text. An outcome that is an object is the `execution_summary`.
Lengths count characters (code points): of the text sent, or of the result before it was shortened
if the event has its `length`. `chunk_index` is the event's `index`, and is left out without one.
All other fields of the data follow unchanged. None of them replaces a field above: a name that is
taken gets underscores appended. A loss is sent as a message of the type `gap`.

Read from right to left, the table gives the event for a message of this format; the message's
further fields are further fields of the data.

Source: the format's published messages; `failed`, `cancelled`, `gap` and the treatment of other
types and of taken names are ours.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, Final, TypeAlias

from runcast._wire.dialects.base import (
    LogRef,
    Stateless,
    flatten,
    frame,
)
from runcast.events.model import Event
from runcast.events.vocabulary import as_number, as_text, outcome_of, percent_of, pick, text_of

__all__ = ("Flat",)

_Message: TypeAlias = dict[str, object]

_BASE: Final = frozenset(
    {"message_type", "content", "node", "timestamp", "duration", "agent", "agent_hierarchy"}
)
"""Names that no further field may have, even if the message does not use them."""


class Flat(Stateless):
    """Flat messages with a `message_type`, unnamed."""

    name: ClassVar[str] = "flat"

    def encode(self, log: LogRef, event: Event) -> bytes:
        """Return the event's one frame, without id; `b""` for a `tool_call_delta`."""
        if event.type == "tool_call_delta":
            return b""
        return frame(self.message(event))

    def message(self, event: Event) -> dict[str, object]:
        """Return the message for an event."""
        content, rest = text_of(event.type, event.data)
        message: _Message = {
            "message_type": event.type,
            "content": content,
            "node": event.node,
            "timestamp": event.time,
        }
        if event.duration is not None:
            message["duration"] = round(event.duration, 2)
        if event.agent:
            message["agent"] = event.agent
        if event.path:
            message["agent_hierarchy"] = _hierarchy(event)
        complete = _FURTHER.get(event.type)
        if complete is not None:
            complete(message, rest, event.data)
        flatten(message, rest, _BASE)
        return message

    def gap(self, log: LogRef, gap: Mapping[str, object]) -> bytes:
        """Return one message of the type `gap`, without id."""
        message: _Message = {
            "message_type": "gap",
            "content": as_text(gap.get("reason")),
            "node": "",
        }
        flatten(message, gap, _BASE)
        return frame(message)


def _hierarchy(event: Event) -> list[str]:
    above = list(event.path)
    return above if not event.agent or above[-1] == event.agent else [*above, event.agent]


def _step_progress(message: _Message, rest: _Message, data: object) -> None:
    message["message_type"] = "step_progress"
    percent = percent_of(data)
    if percent is not None:
        message["progress"] = percent
        for name in ("percent", "percentage", "progress"):
            rest.pop(name, None)


def _node_complete(message: _Message, rest: _Message, data: object) -> None:
    message["aggregated"] = True


def _tool_call(message: _Message, rest: _Message, data: object) -> None:
    message["tool_name"] = _tool(rest)
    message["args"] = _args(rest)
    message["content"] = message["content"] or message["tool_name"]


def _tool_result(message: _Message, rest: _Message, data: object) -> None:
    message["tool_name"] = _tool(rest)
    length = as_number(rest.get("length"))
    if length is None:
        length = len(as_text(message["content"]))
    else:
        del rest["length"]
    message["length"] = length


def _tool(rest: _Message) -> str:
    return as_text(rest.pop("tool", None) or rest.pop("tool_name", None))


def _args(rest: _Message) -> object:
    args = rest.pop("args", None)
    return {} if args is None else args


def _content(message: _Message, rest: _Message, data: object) -> None:
    message["message_type"] = "content_streaming"
    message["length"] = len(as_text(message["content"]))
    for name in ("index", "chunk_index"):
        index = as_number(rest.get(name))
        if index is not None:
            message["chunk_index"] = index
            del rest[name]
            break


def _interrupt_request(message: _Message, rest: _Message, data: object) -> None:
    message["action"] = as_text(rest.pop("action", None))
    message["args"] = _args(rest)
    message["interrupt_id"] = as_text(rest.pop("interrupt_id", None))
    message["requires_approval"] = True
    message["content"] = message["content"] or message["action"]


def _interrupt_response(message: _Message, rest: _Message, data: object) -> None:
    answer = pick(data, "answer")
    if isinstance(answer, dict):
        # The text is for people, the whole answer for programs.
        message["content"] = as_text(pick(answer, "args", "type"))
        rest["answer"] = answer


def _interrupt_waiting(message: _Message, rest: _Message, data: object) -> None:
    message["status"] = "waiting"


def _interrupt_resolved(message: _Message, rest: _Message, data: object) -> None:
    message["status"] = "resolved"


def _result(message: _Message, rest: _Message, data: object) -> None:
    if not isinstance(rest.get("execution_summary"), dict):
        return
    message["message_type"] = "final_result"
    message["execution_summary"] = rest.pop("execution_summary")
    message["is_final"] = True


def _done(message: _Message, rest: _Message, data: object) -> None:
    result, summary = outcome_of(data)
    rest.clear()
    message["message_type"] = "done" if result is None and summary == {} else "final_result"
    if summary is None and isinstance(result, dict):
        result, summary = None, result
    if isinstance(summary, dict):
        result = pick(summary, "message", "content") if result is None else result
    elif result is None:
        result, summary = summary, {}
    else:
        summary = {} if summary is None else {"summary": summary}
    message["content"] = as_text(result)
    message["execution_summary"] = summary
    message["is_final"] = True


def _error(message: _Message, rest: _Message, data: object) -> None:
    message["message_type"] = "error"
    message["error_type"] = "GeneralError"
    for name in ("code", "error_code", "error_type"):
        code = rest.pop(name, None)
        if code is not None:
            message["error_type"] = as_text(code)
            break


def _failed(message: _Message, rest: _Message, data: object) -> None:
    _error(message, rest, data)
    message["is_final"] = True


def _cancelled(message: _Message, rest: _Message, data: object) -> None:
    message["message_type"] = "error"
    message["error_type"] = "Cancelled"
    message["is_final"] = True


_FURTHER: Final[Mapping[str, Callable[[_Message, _Message, object], None]]] = MappingProxyType(
    {
        "step_progress": _step_progress,
        "progress": _step_progress,
        "node_complete": _node_complete,
        "tool_call": _tool_call,
        "tool_result": _tool_result,
        "content": _content,
        "interrupt_request": _interrupt_request,
        "interrupt_response": _interrupt_response,
        "interrupt_waiting": _interrupt_waiting,
        "interrupt_resolved": _interrupt_resolved,
        "result": _result,
        "done": _done,
        "error": _error,
        "failed": _failed,
        "cancelled": _cancelled,
    }
)
"""Completes a message of each type: takes fields from `rest` and sets the message's fields."""
