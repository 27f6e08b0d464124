"""Events as lines for people."""

import json
import shlex
from collections.abc import Mapping
from typing import Any, Final

from runcast._cli.texts import colored, plain, readable_bytes, without_codes
from runcast.events.model import Event
from runcast.events.vocabulary import as_number, pick, text_of

__all__ = ("PROGRESS", "QUIET", "called", "decided", "line_of", "proposed")

PROGRESS: Final = frozenset({"progress", "step_progress"})
"""Types that move a bar."""

QUIET: Final = frozenset(
    {"started", "content_complete", "interrupt_waiting", "tool_call_delta", "usage", "message_read"}
)
"""Types that tell people nothing new."""


def line_of(event: Event, run: str, *, has_color: bool = False) -> str:
    """Return an event as one line (several for files), free of control characters, of any length.

    Args:
        run: the run's id, for the commands in hints; "" leaves hints out.
        has_color: whether the colors that a log line brings along stay in it.
    """
    place = _place_of(event)
    head = f"{place}: " if place else ""
    data: dict[str, Any] = event.data if isinstance(event.data, dict) else {}
    message, rest = text_of(event.type, event.data)
    if event.type != "log":
        message = plain(message)
    else:
        message = colored(message) if has_color else plain(without_codes(message))
    match event.type:
        case "log":
            return f"{head}{plain(str(data.get('level', 'info')))}: {message}"
        case "failed":
            return f"{head}failed ({plain(str(data.get('code', '')))}): {message}"
        case "error":
            return f"{head}error: {message}"
        case "cancelled":
            return f"{head}cancelled: {message}"
        case "interrupt_request":
            question = shlex.quote(plain(str(data.get("interrupt_id", ""))))
            asked = " ".join(filter(None, (message, proposed(rest))))
            hint = f" (answer with: runcast answer {run} {question})" if run else ""
            return f"{head}asks: {asked}{hint}"
        case "interrupt_response":
            answer = data.get("answer")
            said: dict[str, Any] = {"type": "accept" if data.get("approved") else "reject"}
            said |= answer if isinstance(answer, dict) else {}
            who = plain(str(data.get("by") or ""))
            return f"{head}answered{f' by {who}' if who else ''}: {decided(said)}"
        case "interrupt_resolved":
            return f"{head}question closed: {plain(str(data.get('outcome', '')))}"
        case "message":
            sender = plain(str(data.get("from") or ""))
            return f"{head}message{f' from {sender}' if sender else ''}: {message}"
        case "tool_call":
            return f"{head}{called(_tool(data), data.get('args'))}"
        case "tool_result":
            return f"{head}{_tool(data)} gave {message or _value(event.data)}"
        case "done":
            return _ending("done", event.data)
        case "gap":
            return f"some events are missing here ({plain(str(data.get('reason', '')))})"
        case "files":
            return _files(data)
        case _:
            more = _value(event.data) if rest.keys() - {"step_id"} else ""
            return f"{head}{event.type} {message or more}".rstrip()


def _place_of(event: Event) -> str:
    return plain(" ".join(filter(None, (event.node, event.agent))))


def proposed(question: Mapping[str, object]) -> str:
    """Return what a question proposes: `deploy({"to": "production"})`, "" for nothing."""
    action, args = question.get("action"), question.get("args")
    if action:
        return called(plain(str(action)), args)
    return "" if args in (None, {}, []) else _value(args)


def decided(decision: Mapping[str, object]) -> str:
    """Return a decision: `edit {"to": "b"} (by ann)`."""
    kind = plain(str(decision.get("type") or "answered"))
    given = pick(decision, "args", "content")
    by = plain(str(decision.get("by") or ""))
    more = "" if given is None else f" {_value(given)}"
    return f"{kind}{more}{f' (by {by})' if by else ''}"


def called(name: str, args: object) -> str:
    """Return a call with its arguments: `search({"q": "events"})`."""
    return f"{name}({'' if args is None else _value(args)})"


def _tool(data: dict[str, Any]) -> str:
    return plain(str(pick(data, "tool", "name") or "a tool"))


def _ending(name: str, data: object) -> str:
    shown = pick(data, "result", "summary")
    if shown is None and isinstance(data, dict) and not {"result", "summary"} & data.keys():
        shown = data or None
    return name if shown is None else f"{name}: {_value(shown)}"


def _files(data: dict[str, Any]) -> str:
    files, skipped = data.get("files"), data.get("skipped")
    lines = [
        f"file {plain(str(pick(file, 'path')))} "
        f"({readable_bytes(as_number(pick(file, 'size')) or 0)})"
        for file in (files if isinstance(files, list) else ())
    ]
    lines += [
        f"not kept: {plain(str(pick(file, 'path')))} ({plain(str(pick(file, 'reason')))})"
        for file in (skipped if isinstance(skipped, list) else ())
    ]
    return "\n".join(lines) or "no files"


def _value(value: object) -> str:
    if as_number(value) is not None or isinstance(value, str):
        return plain(str(value))
    return plain(json.dumps(value, ensure_ascii=False))
