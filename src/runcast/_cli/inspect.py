"""`runcast show`: shows the present state of one run."""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from runcast._cli.bars import percent_beside
from runcast._cli.formatting import HelpFormatter
from runcast._cli.lines import called, proposed
from runcast._cli.reaching import add_options, sendable, with_client
from runcast._cli.show import print_json
from runcast._cli.texts import plain, plain_lines, readable_bytes, readable_s, table, without_codes
from runcast._cli.usage import describe_usage
from runcast.events.snapshot import Usage
from runcast.events.vocabulary import as_number

if TYPE_CHECKING:
    from runcast.client.threads import Client

__all__ = ("add_to", "moment", "run")

_LOG_LINES: Final = 10
"""Most log lines that are shown; `--json` has all that the state keeps."""


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "show",
        help="show the present state of a run",
        description="Shows where a run is now, or how it ended: steps, questions, unread messages, "
        "texts, the last log lines, usage, files and the result. `runcast watch` shows its events "
        "instead.",
        epilog="examples:\n  runcast show RUN_ID\n  runcast show RUN_ID --json | jq .state.result",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("run_id", metavar="RUN_ID", type=sendable, help="`runcast runs` lists them")
    parser.add_argument("--json", action="store_true", help="print the state as JSON")
    add_options(parser)
    parser.set_defaults(run=with_client(run))


def run(client: "Client", arguments: argparse.Namespace) -> int:
    """Print a run's state. Raises what `Client.snapshot` raises."""
    shown = msgspec.to_builtins(client.snapshot(arguments.run_id))
    if not shown["traceback"]:
        del shown["traceback"]
    if arguments.json:
        print_json(shown)
        return 0
    state = shown["state"]
    rows = [(name, value) for name, value in _summary(shown) if value]
    print(table(("RUN", plain(str(shown.get("run_id")))), rows, sys.stdout))
    parts = [("inputs", _inputs(shown.get("inputs")))]
    for title, lines in [*parts, *_parts(state)]:
        if lines:
            print(f"\n{title}")
            print("\n".join(f"  {line}" for line in lines))
    return 0


def moment(seconds: object) -> str:
    """Return a time (Unix seconds) in the local zone, or ""."""
    number = as_number(seconds)
    if number is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(number).astimezone():%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return "?" * 19


def _summary(shown: dict[str, Any]) -> Iterator[tuple[str, str]]:
    began, ended = as_number(shown.get("created_at")), as_number(shown.get("ended_at"))
    yield "function", plain(str(shown.get("function") or ""))
    yield "status", plain(str(shown.get("status")))
    place = as_number(shown.get("queue_position"))
    yield "in queue", f"at {place}" if place else ""
    yield "began", moment(began)
    yield "ended", moment(ended)
    yield "took", readable_s(ended - began) if began is not None and ended is not None else ""
    yield "events", str(as_number(shown.get("events")) or 0)
    state = shown.get("state")
    attempt = as_number(state.get("attempt")) if isinstance(state, dict) else None
    yield "attempt", str(attempt) if attempt is not None and attempt > 1 else ""
    labels = shown.get("labels")
    if isinstance(labels, dict):
        yield "labels", plain(", ".join(f"{name}={value}" for name, value in labels.items()))


def _bars(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the named bars, and the latest progress if it has no name."""
    progress = state.get("progress")
    bars = _list(state, "bars")
    if isinstance(progress, dict) and not (bars and _get(progress, "task")):
        bars = [*bars, progress]
    return bars


def _progress(bar: dict[str, Any]) -> str:
    message = _get(bar, "message") or _get(bar, "task")
    percent = percent_beside(message, as_number(bar.get("percent")))
    return plain(" ".join(filter(None, (_get(bar, "node"), _get(bar, "agent"), percent, message))))


def _parts(state: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    yield "progress", [_progress(one) for one in _bars(state)]
    yield "steps", [_named(step) for step in _list(state, "steps")]
    yield "completed", [_completed(step) for step in _list(state, "completed_steps")]
    yield "questions", [_question(one) for one in _list(state, "interrupts")]
    yield "answers", [_answered(one) for one in _list(state, "answered")]
    yield "unread messages", [_message(one) for one in _list(state, "messages")]
    yield "tools", [_tool(one) for one in _list(state, "tools")]
    for text in _list(state, "texts"):
        where = " ".join(filter(None, (_get(text, "node"), _get(text, "agent"))))
        kind = _get(text, "kind")
        lines = plain_lines(_get(text, "text").rstrip("\n")).split("\n")
        if as_number(text.get("dropped")):
            lines.insert(0, f"({text['dropped']} characters before)")
        yield plain(f"{kind} {where}".strip()), lines
    yield "log", _last_logs(state)
    yield "usage", [_used(one) for one in _list(state, "usage")]
    yield "errors", [plain(_get(one, "message")) for one in _list(state, "errors")]
    yield "files", [_file(one) for one in _list(state, "files")]
    failure = state.get("failure") or {}
    if isinstance(failure, dict) and failure:
        yield "failure", [plain(f"{_get(failure, 'message')} ({_get(failure, 'code')})")]
    if state.get("cancel_reason"):
        yield "cancelled", [plain(_get(state, "cancel_reason"))]
    for name in ("result", "summary"):
        if state.get(name) is not None:
            yield name, [plain(json.dumps(state[name], ensure_ascii=False))]


def _inputs(kept: object) -> list[str]:
    """Return a line for each input of a run, and for each that was not kept."""
    if not isinstance(kept, dict):
        return []
    values, left_out, files = (kept.get(name) or {} for name in ("values", "left_out", "files"))
    return [
        *(
            plain(f"{name} = {json.dumps(each, ensure_ascii=False)}")
            for name, each in values.items()
        ),
        *(plain(f"{name}: not kept ({reason})") for name, reason in left_out.items()),
        *(plain(f"{group}: {count} files") for group, count in files.items()),
    ]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _list(state: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = state.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _get(one: dict[str, Any], name: str) -> str:
    value = one.get(name)
    return "" if value is None else str(value)


def _named(step: dict[str, Any]) -> str:
    where = " ".join(filter(None, (_get(step, "node"), _get(step, "agent"))))
    said = _get(step, "note") or _get(step, "message")
    # A step may be named after its node.
    return plain(": ".join(filter(None, (where, said if said != _get(step, "node") else ""))))


def _tool(one: dict[str, Any]) -> str:
    is_over = one.get("ended_at") is not None
    status = ("failed" if one.get("ok") is False else "done") if is_over else "running"
    called_with = called(plain(_get(one, "tool")), one.get("args"))
    return f"{called_with}{_dropped_args(one)} ({status})"


def _question(one: dict[str, Any]) -> str:
    answered = " (answered)" if one.get("is_answered") else ""
    asked = plain(f"{_get(one, 'interrupt_id')}: {_get(one, 'message')}")
    return " ".join(filter(None, (asked, proposed(one)))) + _dropped_args(one) + answered


def _dropped_args(one: dict[str, Any]) -> str:
    dropped = as_number(one.get("args_dropped"))
    return f" (and {dropped:g} more characters)" if dropped else ""


def _completed(step: dict[str, Any]) -> str:
    duration = as_number(step.get("duration"))
    took = "" if duration is None else f" ({duration:.3g} s)"
    return f"{_named(step) or 'a step'}{plain(took)}"


def _answered(one: dict[str, Any]) -> str:
    given = _get(one, "answer") or _get(one, "outcome") or "answered"
    args = "" if one.get("args") is None else f" {json.dumps(one['args'], ensure_ascii=False)}"
    by = f" by {_get(one, 'by')}" if one.get("by") else ""
    return plain(f"{_get(one, 'interrupt_id')}: {_get(one, 'message')} ({given}{args}{by})")


def _message(one: dict[str, Any]) -> str:
    sender = _get(one, "from")
    return plain(f"{f'{sender}: ' if sender else ''}{_json(one.get('data'))}")


def _last_logs(state: dict[str, Any]) -> list[str]:
    """Return the last log lines, below a line that says how many there were before."""
    logs = _list(state, "logs")
    shown = [
        plain(f"{_get(one, 'level')}: {without_codes(_get(one, 'message'))}")
        for one in logs[-_LOG_LINES:]
    ]
    dropped = state.get("dropped")
    earlier = as_number(dropped.get("logs")) if isinstance(dropped, dict) else None
    before = int(earlier or 0) + len(logs) - len(shown)
    return [f"({before} before)", *shown] if before else shown


def _used(one: dict[str, Any]) -> str:
    try:
        return describe_usage(msgspec.convert(one, Usage))
    except msgspec.ValidationError:
        return plain(_json(one))


def _file(one: dict[str, Any]) -> str:
    return plain(f"{_get(one, 'path')} ({readable_bytes(as_number(one.get('size')) or 0)})")
