"""Fold events into the present state of a run, one event at a time.

    fold(events) == fold(tail, start=decode(encode(fold(head))))      for every cut of the events

No event can make the fold fail. Data of an unexpected shape changes only the counts, and an event
of an unknown type is only counted. Events that the snapshot has already seen, and events without
a `seq`, are ignored. `_LAW`, at the end of this module, maps each type to its function.

Long because it holds the function of every event type.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

import msgspec

from runcast.events import snapshot as caps
from runcast.events.lifecycle import DECISIVE, Standing, advance, question_of
from runcast.events.model import Event
from runcast.events.plain import MAX_DEPTH
from runcast.events.snapshot import (
    Answered,
    CompletedStep,
    ErrorNote,
    Failure,
    Interrupt,
    LogLine,
    Progress,
    Snapshot,
    Step,
    Text,
    Tool,
    Unread,
    Usage,
)
from runcast.events.vocabulary import (
    TERMINAL,
    as_number,
    as_text,
    is_deeper,
    outcome_of,
    percent_of,
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
    fields = _Fields(snapshot, event)
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


class _Fields:
    """The fields of one event, cut to the caps. Each cut is counted once, when the field is
    read."""

    __slots__ = ("agent", "data", "dropped", "duration", "node", "seq", "time", "type")

    def __init__(self, snapshot: Snapshot, event: Event) -> None:
        self.dropped = snapshot.dropped
        self.data: object = event.data
        self.duration: object = event.duration
        self.seq = event.seq
        self.time = float(as_number(event.time) or 0.0)
        self.type = self.cut(event.type)
        self.node = self.cut(event.node)
        self.agent = self.cut(event.agent)

    def name(self, *names: str) -> str:
        """Return the first of these fields as a name, or ""."""
        return self.cut(pick(self.data, *names))

    def attempt(self) -> int:
        """Return which try the event is part of, from 1."""
        attempt = as_number(pick(self.data, "attempt"))
        return attempt if isinstance(attempt, int) and attempt >= 1 else 1

    def count(self, name: str) -> int:
        """Return a field as a whole number from 0; 0 if it is something else."""
        number = as_number(pick(self.data, name))
        return number if isinstance(number, int) and number > 0 else 0

    def message(self, *names: str) -> str:
        """Return the event's text for people: its data if that is a string, else a field."""
        data = self.data
        fields = data if isinstance(data, str) else pick(data, *names, "message", "content")
        return self.cut(fields, caps.MAX_MESSAGE_CHARS)

    def cut(self, value: object, most_chars: int = caps.MAX_NAME_CHARS) -> str:
        text = as_text(value)
        over = len(text) - most_chars
        if over <= 0:
            return text
        self.dropped.chars += over
        return text[:most_chars]

    def kept(self, value: object, most_chars: int) -> tuple[Any, int]:
        """Return a copy of a value, or the beginning of its text, and how many chars were cut."""
        if value is None or isinstance(value, bool):
            return value, 0
        text = as_text(value)
        over = max(0, len(text) - most_chars)
        if over or isinstance(value, str):
            self.dropped.chars += over
            return text[:most_chars], over
        try:
            copy = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):  # not JSON, so its text is kept
            return text, 0
        return (text if is_deeper(copy, MAX_DEPTH) else copy), 0


def _started(snapshot: Snapshot, fields: _Fields) -> None:
    # A resumed run starts again: it keeps its first time and function.
    if snapshot.started_at is None:
        snapshot.started_at = fields.time
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


def _done(snapshot: Snapshot, fields: _Fields) -> None:
    result, summary = outcome_of(fields.data)
    if result is not None:
        _set_result(snapshot, fields, result)
    snapshot.summary, snapshot.summary_dropped = fields.kept(summary, caps.MAX_RESULT_CHARS)


def _failed(snapshot: Snapshot, fields: _Fields) -> None:
    is_retryable = pick(fields.data, "retryable") is True
    snapshot.failure = Failure(*_error(fields), is_retryable)


def _cancelled(snapshot: Snapshot, fields: _Fields) -> None:
    snapshot.cancel_reason = fields.message("reason")


def _step_start(snapshot: Snapshot, fields: _Fields) -> None:
    _take_step(snapshot, fields)
    step_id = fields.name("step_id")
    _add_step(
        snapshot, Step(fields.time, fields.node, fields.agent, fields.message(), step_id=step_id)
    )


def _step_progress(snapshot: Snapshot, fields: _Fields) -> None:
    step = _take_step(snapshot, fields)
    if step is None:
        step = Step(fields.time, fields.node, fields.agent, step_id=fields.name("step_id"))
    step.note = fields.message()
    step.percent = percent_of(fields.data)
    _add_step(snapshot, step)


def _add_step(snapshot: Snapshot, step: Step) -> None:
    snapshot.dropped.steps += _push(snapshot.steps, step, caps.MAX_STEPS)


def _step_complete(snapshot: Snapshot, fields: _Fields) -> None:
    step = _take_step(snapshot, fields)
    since = None if step is None else step.since
    duration = as_number(fields.duration)
    if duration is None and since is not None:
        duration = round(max(0.0, fields.time - since), 3)  # to the millisecond, in every language
    complete = CompletedStep(
        seq=fields.seq,
        ended_at=fields.time,
        node=fields.node,
        agent=fields.agent,
        message="" if step is None else step.message,
        note=fields.message() or ("" if step is None else step.note),
        since=since,
        duration=duration,
        step_id=fields.name("step_id"),
    )
    over = _push(snapshot.completed_steps, complete, caps.MAX_COMPLETED_STEPS)
    snapshot.dropped.completed_steps += over


def _take_step(snapshot: Snapshot, fields: _Fields) -> Step | None:
    """Take out the open step of this place and id, if there is one."""
    key = (fields.node, fields.agent, fields.name("step_id"))
    for index, step in enumerate(snapshot.steps):
        if (step.node, step.agent, step.step_id) == key:
            return snapshot.steps.pop(index)
    return None


def _progress(snapshot: Snapshot, fields: _Fields) -> None:
    snapshot.progress = Progress(
        as_number(pick(fields.data, "current", "processed")),
        as_number(pick(fields.data, "total")),
        percent_of(fields.data),
        fields.message() or fields.name("status"),
    )


def _log(snapshot: Snapshot, fields: _Fields) -> None:
    level, message, logger = fields.name("level", "type"), fields.message(), fields.name("logger")
    line = LogLine(fields.seq, fields.time, level, message, logger, fields.node, fields.agent)
    snapshot.dropped.logs += _push(snapshot.logs, line, caps.MAX_LOGS)


def _delta(snapshot: Snapshot, fields: _Fields) -> None:
    piece = fields.data if isinstance(fields.data, str) else pick(fields.data, "text", "content")
    if not isinstance(piece, str) or not piece:
        return
    message_id = fields.name("message_id")
    attempt = fields.attempt()
    text = _open_text(snapshot, (fields.type, fields.node, fields.agent, message_id))
    if text is None:
        _make_room(snapshot)
        text = Text(fields.type, fields.seq, fields.seq, fields.node, fields.agent, message_id)
        text.attempt = attempt
        snapshot.texts.append(text)
    elif attempt < text.attempt:
        return  # a late piece of a try that was given up
    elif attempt > text.attempt:
        text.text, text.dropped, text.is_complete, text.attempt = "", 0, False, attempt
    whole = text.text + as_text(piece)
    over = max(0, len(whole) - caps.MAX_TEXT_CHARS)
    text.text = whole[over:]
    text.dropped += over
    text.last_seq = fields.seq
    snapshot.dropped.chars += over


def _content_complete(snapshot: Snapshot, fields: _Fields) -> None:
    text = _open_text(snapshot, ("content", fields.node, fields.agent, fields.name("message_id")))
    if text is not None and fields.attempt() >= text.attempt:
        text.is_complete = True


def _open_text(snapshot: Snapshot, key: tuple[str, str, str, str]) -> Text | None:
    """Return the text that a piece continues, or None.

    That is the last text with the piece's key. A text without a message id is known only by its
    place, and cannot be continued once it was completed.
    """
    for text in reversed(snapshot.texts):
        if (text.kind, text.node, text.agent, text.message_id) == key:
            return None if text.is_complete and not text.message_id else text
    return None


def _make_room(snapshot: Snapshot) -> None:
    texts = snapshot.texts
    chars = sum(len(text.text) for text in texts)
    while len(texts) >= caps.MAX_TEXTS or chars > caps.MAX_ALL_TEXT_CHARS:
        oldest = min(range(len(texts)), key=lambda index: texts[index].last_seq)
        chars -= len(texts[oldest].text)
        snapshot.dropped.chars += len(texts[oldest].text)
        snapshot.dropped.texts += 1
        del texts[oldest]


def _tool_call(snapshot: Snapshot, fields: _Fields) -> None:
    call_id = fields.name("call_id")
    tool = _call_with(snapshot, call_id) or _new_call(snapshot, fields, call_id)
    if not _is_of_attempt(tool, fields):
        return
    tool.tool = tool.tool or fields.name("tool", "tool_name")
    tool.called_at = fields.time
    tool.args, tool.args_dropped = fields.kept(pick(fields.data, "args"), caps.MAX_VALUE_CHARS)
    tool.args_text = ""


def _tool_call_delta(snapshot: Snapshot, fields: _Fields) -> None:
    call_id, piece = fields.name("call_id"), pick(fields.data, "text", "content")
    if not call_id or not isinstance(piece, str):
        return
    tool = _call_with(snapshot, call_id) or _new_call(snapshot, fields, call_id)
    if not _is_of_attempt(tool, fields) or tool.called_at is not None or tool.ended_at is not None:
        return
    whole = tool.args_text + as_text(piece)
    over = max(0, len(whole) - caps.MAX_VALUE_CHARS)
    tool.args_text = whole[: caps.MAX_VALUE_CHARS]
    tool.args_dropped += over
    snapshot.dropped.chars += over


def _is_of_attempt(tool: Tool, fields: _Fields) -> bool:
    """Return whether an event is of a call's last attempt; a higher one begins the call again."""
    attempt = fields.attempt()
    if attempt > tool.attempt:
        tool.attempt = attempt
        tool.args = tool.result = tool.ok = tool.called_at = tool.ended_at = None
        tool.args_dropped = tool.result_dropped = 0
        tool.args_text = ""
    return attempt == tool.attempt


def _tool_result(snapshot: Snapshot, fields: _Fields) -> None:
    call_id = fields.name("call_id")
    known = _call_with(snapshot, call_id) if call_id else _running_call(snapshot, fields)
    tool = known or _new_call(snapshot, fields, call_id)
    if not _is_of_attempt(tool, fields):
        return
    ok, result = pick(fields.data, "ok"), pick(fields.data, "result", "content")
    tool.ended_at = fields.time
    tool.ok = ok if isinstance(ok, bool) else None
    tool.result, tool.result_dropped = fields.kept(result, caps.MAX_VALUE_CHARS)


def _call_with(snapshot: Snapshot, call_id: str) -> Tool | None:
    if call_id:
        for tool in reversed(snapshot.tools):
            if tool.call_id == call_id:
                return tool
    return None


def _running_call(snapshot: Snapshot, fields: _Fields) -> Tool | None:
    """Return the last unfinished call without an id of this tool in this place, or None."""
    key = ("", fields.name("tool", "tool_name"), fields.node, fields.agent)
    for tool in reversed(snapshot.tools):
        if tool.ended_at is None and (tool.call_id, tool.tool, tool.node, tool.agent) == key:
            return tool
    return None


def _new_call(snapshot: Snapshot, fields: _Fields, call_id: str) -> Tool:
    tools = snapshot.tools
    if len(tools) >= caps.MAX_TOOLS:
        del tools[next((index for index, tool in enumerate(tools) if tool.ended_at is not None), 0)]
        snapshot.dropped.tools += 1
    tools.append(
        Tool(fields.seq, call_id, fields.name("tool", "tool_name"), fields.node, fields.agent)
    )
    return tools[-1]


def _message(snapshot: Snapshot, fields: _Fields) -> None:
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


def _message_read(snapshot: Snapshot, fields: _Fields) -> None:
    read = pick(fields.data, "message_ids")
    if isinstance(read, list):
        left = [each for each in snapshot.messages if each.message_id not in read]
        snapshot.messages_read += len(snapshot.messages) - len(left)
        snapshot.messages = left


def _usage(snapshot: Snapshot, fields: _Fields) -> None:
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


_ALLOWS: Final = ("allow_accept", "allow_edit", "allow_respond")


def _interrupt_request(snapshot: Snapshot, fields: _Fields) -> None:
    data = fields.data
    args, args_dropped = fields.kept(pick(data, "args"), caps.MAX_QUESTION_CHARS)
    asked = pick(data, "config")
    config, config_dropped = fields.kept(asked, caps.MAX_VALUE_CHARS)
    if config_dropped and isinstance(asked, dict):  # a long config must not lift a prohibition
        config = {name: asked[name] for name in _ALLOWS if isinstance(asked.get(name), bool)}
    expires_at = pick(data, "expires_at")
    interrupt = Interrupt(
        seq=fields.seq,
        asked_at=fields.time,
        interrupt_id=fields.name("interrupt_id"),
        node=fields.node,
        agent=fields.agent,
        action=fields.name("action"),
        message=fields.message(),
        args=args,
        args_dropped=args_dropped,
        config=config,
        config_dropped=config_dropped,
        expires_at=fields.cut(expires_at) if isinstance(expires_at, str) else as_number(expires_at),
    )
    _take_interrupt(snapshot, interrupt.interrupt_id)  # asked again: keep the new question
    dropped = _push(snapshot.interrupts, interrupt, caps.MAX_INTERRUPTS)
    snapshot.dropped.interrupts += dropped


def _interrupt_response(snapshot: Snapshot, fields: _Fields) -> None:
    interrupt_id = fields.name("interrupt_id")
    for interrupt in snapshot.interrupts:
        if interrupt.interrupt_id == interrupt_id and not interrupt.is_answered:
            interrupt.is_answered = True
            _push_answered(snapshot, _answered(fields, interrupt))


def _answered(fields: _Fields, question: Interrupt) -> Answered:
    """Return a question with what an event says of its answer."""
    data, answer = fields.data, pick(fields.data, "answer")
    kind, approved = pick(answer, "type"), pick(data, "approved")
    given = pick(answer, "args", "content") if isinstance(answer, dict) else answer
    args, args_dropped = fields.kept(given, caps.MAX_VALUE_CHARS)
    return Answered(
        seq=question.seq,
        asked_at=question.asked_at,
        answered_at=fields.time,
        interrupt_id=question.interrupt_id,
        node=question.node,
        agent=question.agent,
        action=question.action,
        message=question.message,
        answer=fields.cut(kind),
        approved=approved if isinstance(approved, bool) else None,
        args=args,
        args_dropped=args_dropped,
        by=fields.name("by"),
    )


def _push_answered(snapshot: Snapshot, answered: Answered) -> None:
    snapshot.dropped.answered += _push(snapshot.answered, answered, caps.MAX_ANSWERED)


def _interrupt_resolved(snapshot: Snapshot, fields: _Fields) -> None:
    question = _take_interrupt(snapshot, fields.name("interrupt_id"))
    if question is None:
        return
    snapshot.interrupts_resolved += 1
    if not question.is_answered:  # its time was over, or it was closed in another way
        _push_answered(snapshot, _answered(fields, question))
    for answered in snapshot.answered:
        if answered.seq == question.seq:
            answered.outcome = fields.name("outcome")


def _take_interrupt(snapshot: Snapshot, interrupt_id: str) -> Interrupt | None:
    for index, interrupt in enumerate(snapshot.interrupts):
        if interrupt.interrupt_id == interrupt_id:
            return snapshot.interrupts.pop(index)
    return None


def _error_survived(snapshot: Snapshot, fields: _Fields) -> None:
    note = ErrorNote(fields.seq, fields.time, *_error(fields), fields.node, fields.agent)
    snapshot.dropped.errors += _push(snapshot.errors, note, caps.MAX_ERRORS)


def _error(fields: _Fields) -> tuple[str, str]:
    return fields.message("error"), fields.name("code", "error_code", "error_type")


def _result(snapshot: Snapshot, fields: _Fields) -> None:
    data = fields.data
    value = data["value"] if isinstance(data, dict) and "value" in data else data
    _set_result(snapshot, fields, value)


def _set_result(snapshot: Snapshot, fields: _Fields, result: object) -> None:
    snapshot.result, snapshot.result_dropped = fields.kept(result, caps.MAX_RESULT_CHARS)


def _files(snapshot: Snapshot, fields: _Fields) -> None:
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


def _push(entries: list[Any], entry: object, most: int) -> int:
    """Append to a list, keep its last `most` entries, and return how many were dropped."""
    entries.append(entry)
    over = max(0, len(entries) - most)
    del entries[:over]
    return over


_LAW: Final[Mapping[str, Callable[[Snapshot, _Fields], None]]] = MappingProxyType(
    {
        "started": _started,
        "done": _done,
        "failed": _failed,
        "cancelled": _cancelled,
        "step_start": _step_start,
        "step_progress": _step_progress,
        "step_complete": _step_complete,
        "node_complete": _step_complete,
        "progress": _progress,
        "log": _log,
        "content": _delta,
        "thinking": _delta,
        "reasoning": _delta,
        "content_complete": _content_complete,
        "tool_call": _tool_call,
        "tool_call_delta": _tool_call_delta,
        "tool_result": _tool_result,
        "usage": _usage,
        "message": _message,
        "message_read": _message_read,
        "interrupt_request": _interrupt_request,
        "interrupt_response": _interrupt_response,
        "interrupt_resolved": _interrupt_resolved,
        "error": _error_survived,
        "result": _result,
        "files": _files,
    }
)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Snapshot).decode
