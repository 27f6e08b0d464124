"""Fold events into the present state of a run, one event at a time.

    fold(events) == fold(tail, start=decode(encode(fold(head))))      for every cut of the events

No event can make the fold fail. Data of an unexpected shape changes only the counts, and an event
of an unknown type is only counted. Events that the snapshot has already seen, and events without
a `seq`, are ignored. `_LAW`, at the end of this module, maps each type to its function. The
functions of steps, texts, tools and questions are in `folding`.
"""

from collections.abc import Iterable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Final

import msgspec

from runcast.events import snapshot as caps
from runcast.events.folding.fields import Fields, Law, push
from runcast.events.folding.questions import QUESTIONS
from runcast.events.folding.steps import STEPS
from runcast.events.folding.texts import TEXTS
from runcast.events.folding.tools import TOOLS
from runcast.events.lifecycle import DECISIVE, Standing, advance, question_of
from runcast.events.model import Event
from runcast.events.snapshot import (
    ErrorNote,
    Failure,
    LogLine,
    Snapshot,
    Unread,
    Usage,
)
from runcast.events.vocabulary import (
    TERMINAL,
    as_number,
    outcome_of,
    pick,
)

__all__ = ("apply", "fold")


def fold(events: Iterable[Event], start: Snapshot | None = None) -> Snapshot:
    """Return the state of a run after these events.

    Args:
        events: in order of `seq`.
        start: the state before these events, which is not changed; None for a run's beginning.
    """
    snapshot = Snapshot() if start is None else _decode(_encode(start))
    for event in events:
        apply(snapshot, event)
    return snapshot


def apply(snapshot: Snapshot, event: Event) -> None:
    """Update a snapshot in place with one more event."""
    if event.seq <= snapshot.seq:
        return
    fields = Fields(snapshot, event)
    snapshot.missed += fields.seq - snapshot.seq - 1
    snapshot.seq = fields.seq
    snapshot.updated_at = fields.time
    if fields.type in snapshot.counts or len(snapshot.counts) < caps.MAX_TYPES:
        snapshot.counts[fields.type] = snapshot.counts.get(fields.type, 0) + 1
    else:
        snapshot.dropped.types += 1
    if snapshot.status in TERMINAL:  # nothing follows an ending
        return
    if fields.type in DECISIVE or snapshot.status == "queued":
        questions = tuple(interrupt.interrupt_id for interrupt in snapshot.interrupts)
        standing = Standing(snapshot.status, questions)
        snapshot.status = advance(standing, fields.type, question_of(fields.data)).status
    law = _LAW.get(fields.type)
    if law is not None:
        law(snapshot, fields)
    if snapshot.status in TERMINAL:
        snapshot.ended_at = fields.time
        snapshot.interrupts_lapsed += len(snapshot.interrupts)
        snapshot.interrupts.clear()


def _started(snapshot: Snapshot, fields: Fields) -> None:
    # A resumed run starts again: it keeps its first time and function.
    if snapshot.started_at is None:
        snapshot.started_at = fields.time
    else:
        snapshot.attempt = max(snapshot.attempt + 1, fields.attempt())
    if pick(fields.data, "recovered") is True:
        _recovered(snapshot, fields)
    snapshot.function = snapshot.function or fields.name("function")
    labels = pick(fields.data, "labels")
    if isinstance(labels, dict):
        snapshot.dropped.labels += max(0, len(labels) - caps.MAX_LABELS)
        for key, value in islice(labels.items(), caps.MAX_LABELS):
            name = fields.cut(key)
            if name in snapshot.labels or len(snapshot.labels) < caps.MAX_LABELS:
                snapshot.labels[name] = fields.cut(value)
            else:
                snapshot.dropped.labels += 1


def _recovered(snapshot: Snapshot, fields: Fields) -> None:
    """Begin an attempt after a crash: what the one before was at does not go on."""
    snapshot.recovered_seq = fields.seq
    snapshot.steps.clear()
    snapshot.bars.clear()
    snapshot.progress = None
    for tool in snapshot.tools:
        if tool.ended_at is None and not tool.call_id:
            tool.ended_at, tool.ok = fields.time, False


def _done(snapshot: Snapshot, fields: Fields) -> None:
    result, summary = outcome_of(fields.data)
    if result is not None:
        _set_result(snapshot, fields, result)
    snapshot.summary, snapshot.summary_dropped = fields.kept(summary, caps.MAX_RESULT_CHARS)


def _failed(snapshot: Snapshot, fields: Fields) -> None:
    is_retryable = pick(fields.data, "retryable") is True
    snapshot.failure = Failure(*_error(fields), is_retryable)


def _cancelled(snapshot: Snapshot, fields: Fields) -> None:
    snapshot.cancel_reason = fields.message("reason")


def _log(snapshot: Snapshot, fields: Fields) -> None:
    level, message, logger = fields.name("level", "type"), fields.message(), fields.name("logger")
    line = LogLine(fields.seq, fields.time, level, message, logger, fields.node, fields.agent)
    snapshot.dropped.logs += push(snapshot.logs, line, caps.MAX_LOGS)


def _message(snapshot: Snapshot, fields: Fields) -> None:
    message_id = fields.name("message_id")
    if not message_id or any(message_id == unread.message_id for unread in snapshot.messages):
        return  # an event of the function's own
    if len(snapshot.messages) >= caps.MAX_MESSAGES:
        snapshot.dropped.messages += 1
        return
    data, data_dropped = fields.kept(pick(fields.data, "data"), caps.MAX_INBOX_BYTES)
    sender = fields.name("from")
    unread = Unread(fields.seq, fields.time, message_id, sender, data, data_dropped)
    snapshot.messages.append(unread)


def _message_read(snapshot: Snapshot, fields: Fields) -> None:
    read = pick(fields.data, "message_ids")
    if isinstance(read, list):
        left = [each for each in snapshot.messages if each.message_id not in read]
        snapshot.messages_read += len(snapshot.messages) - len(left)
        snapshot.messages = left


def _usage(snapshot: Snapshot, fields: Fields) -> None:
    model, currency = fields.name("model"), fields.name("currency")
    used = _usage_of(snapshot, (model, fields.agent, currency))
    if used is None:
        return
    used.calls += 1
    used.input_tokens += fields.count("input_tokens")
    used.output_tokens += fields.count("output_tokens")
    used.cached_tokens += fields.count("cached_tokens")
    used.reasoning_tokens += fields.count("reasoning_tokens")
    cost = as_number(pick(fields.data, "cost"))
    if cost is None or cost < 0:
        used.unpriced += 1
    else:
        used.cost = min(used.cost + cost, caps.MAX_COST)


def _usage_of(snapshot: Snapshot, key: tuple[str, str, str]) -> Usage | None:
    for used in snapshot.usage:
        if (used.model, used.agent, used.currency) == key:
            return used
    if len(snapshot.usage) >= caps.MAX_USAGE:
        snapshot.dropped.usage += 1
        return None
    snapshot.usage.append(Usage(*key))
    return snapshot.usage[-1]


def _error_survived(snapshot: Snapshot, fields: Fields) -> None:
    note = ErrorNote(fields.seq, fields.time, *_error(fields), fields.node, fields.agent)
    snapshot.dropped.errors += push(snapshot.errors, note, caps.MAX_ERRORS)


def _error(fields: Fields) -> tuple[str, str]:
    return fields.message("error"), fields.name("code", "error_code", "error_type")


def _result(snapshot: Snapshot, fields: Fields) -> None:
    data = fields.data
    value = data["value"] if isinstance(data, dict) and "value" in data else data
    _set_result(snapshot, fields, value)


def _set_result(snapshot: Snapshot, fields: Fields, result: object) -> None:
    snapshot.result, snapshot.result_dropped = fields.kept(result, caps.MAX_RESULT_CHARS)


def _files(snapshot: Snapshot, fields: Fields) -> None:
    files = pick(fields.data, "files")
    if not isinstance(files, list):
        return
    snapshot.dropped.files += max(0, len(files) - caps.MAX_FILES)
    for item in files[: caps.MAX_FILES]:
        file, _ = fields.kept(item, caps.MAX_FILE_CHARS)
        if file in snapshot.files:
            continue
        if len(snapshot.files) < caps.MAX_FILES:
            snapshot.files.append(file)
        else:
            snapshot.dropped.files += 1


_LAW: Final[Mapping[str, Law]] = MappingProxyType(
    {
        **STEPS,
        **TEXTS,
        **TOOLS,
        **QUESTIONS,
        "started": _started,
        "done": _done,
        "failed": _failed,
        "cancelled": _cancelled,
        "log": _log,
        "usage": _usage,
        "message": _message,
        "message_read": _message_read,
        "error": _error_survived,
        "result": _result,
        "files": _files,
    }
)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Snapshot).decode
