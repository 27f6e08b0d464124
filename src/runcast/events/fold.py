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
    told = _Told(snapshot, event)
    snapshot.missed += told.seq - snapshot.seq - 1
    snapshot.seq = told.seq
    snapshot.updated_at = told.time
    if told.type in snapshot.counts or len(snapshot.counts) < caps.MAX_TYPES:
        snapshot.counts[told.type] = snapshot.counts.get(told.type, 0) + 1
    else:
        snapshot.dropped.types += 1
    if snapshot.status in TERMINAL:  # nothing follows an ending, whoever wrote it
        return
    if told.type in DECISIVE or snapshot.status == "queued":
        questions = tuple(interrupt.interrupt_id for interrupt in snapshot.interrupts)
        standing = Standing(snapshot.status, questions)
        snapshot.status = advance(standing, told.type, question_of(told.data)).status
    law = _LAW.get(told.type)
    if law is not None:
        law(snapshot, told)
    if snapshot.status in TERMINAL:
        snapshot.ended_at = told.time
        snapshot.interrupts_lapsed += len(snapshot.interrupts)
        snapshot.interrupts.clear()


class _Told:
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
        told = data if isinstance(data, str) else pick(data, *names, "message", "content")
        return self.cut(told, caps.MAX_MESSAGE_CHARS)

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


def _started(snapshot: Snapshot, told: _Told) -> None:
    # A resumed run starts again: it keeps its first time and function.
    if snapshot.started_at is None:
        snapshot.started_at = told.time
    snapshot.function = snapshot.function or told.name("function")
    labels = pick(told.data, "labels")
    if isinstance(labels, dict):
        snapshot.dropped.labels += max(0, len(labels) - caps.MAX_LABELS)
        for key, value in islice(labels.items(), caps.MAX_LABELS):
            name = told.cut(key)
            if name in snapshot.labels or len(snapshot.labels) < caps.MAX_LABELS:
                snapshot.labels[name] = told.cut(value)
            else:
                snapshot.dropped.labels += 1


def _done(snapshot: Snapshot, told: _Told) -> None:
    result, summary = outcome_of(told.data)
    if result is not None:
        _set_result(snapshot, told, result)
    snapshot.summary, snapshot.summary_dropped = told.kept(summary, caps.MAX_RESULT_CHARS)


def _failed(snapshot: Snapshot, told: _Told) -> None:
    is_retryable = pick(told.data, "retryable") is True
    snapshot.failure = Failure(*_error(told), is_retryable)


def _cancelled(snapshot: Snapshot, told: _Told) -> None:
    snapshot.cancel_reason = told.message("reason")


def _step_start(snapshot: Snapshot, told: _Told) -> None:
    _take_step(snapshot, told)
    step_id = told.name("step_id")
    _tell_step(snapshot, Step(told.time, told.node, told.agent, told.message(), step_id=step_id))


def _step_progress(snapshot: Snapshot, told: _Told) -> None:
    step = _take_step(snapshot, told)
    if step is None:
        step = Step(told.time, told.node, told.agent, step_id=told.name("step_id"))
    step.note = told.message()
    step.percent = percent_of(told.data)
    _tell_step(snapshot, step)


def _tell_step(snapshot: Snapshot, step: Step) -> None:
    snapshot.dropped.steps += _push(snapshot.steps, step, caps.MAX_STEPS)


def _step_complete(snapshot: Snapshot, told: _Told) -> None:
    step = _take_step(snapshot, told)
    since = None if step is None else step.since
    duration = as_number(told.duration)
    if duration is None and since is not None:
        duration = round(max(0.0, told.time - since), 3)  # to the millisecond, in every language
    complete = CompletedStep(
        seq=told.seq,
        ended_at=told.time,
        node=told.node,
        agent=told.agent,
        message="" if step is None else step.message,
        note=told.message() or ("" if step is None else step.note),
        since=since,
        duration=duration,
        step_id=told.name("step_id"),
    )
    over = _push(snapshot.completed_steps, complete, caps.MAX_COMPLETED_STEPS)
    snapshot.dropped.completed_steps += over


def _take_step(snapshot: Snapshot, told: _Told) -> Step | None:
    """Take out the open step of this place and id, if there is one."""
    key = (told.node, told.agent, told.name("step_id"))
    for index, step in enumerate(snapshot.steps):
        if (step.node, step.agent, step.step_id) == key:
            return snapshot.steps.pop(index)
    return None


def _progress(snapshot: Snapshot, told: _Told) -> None:
    snapshot.progress = Progress(
        as_number(pick(told.data, "current", "processed")),
        as_number(pick(told.data, "total")),
        percent_of(told.data),
        told.message() or told.name("status"),
    )


def _log(snapshot: Snapshot, told: _Told) -> None:
    level, message, logger = told.name("level", "type"), told.message(), told.name("logger")
    line = LogLine(told.seq, told.time, level, message, logger, told.node, told.agent)
    snapshot.dropped.logs += _push(snapshot.logs, line, caps.MAX_LOGS)


def _delta(snapshot: Snapshot, told: _Told) -> None:
    piece = told.data if isinstance(told.data, str) else pick(told.data, "text", "content")
    if not isinstance(piece, str) or not piece:
        return
    message_id = told.name("message_id")
    attempt = told.attempt()
    text = _open_text(snapshot, (told.type, told.node, told.agent, message_id))
    if text is None:
        _make_room(snapshot)
        text = Text(told.type, told.seq, told.seq, told.node, told.agent, message_id)
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
    text.last_seq = told.seq
    snapshot.dropped.chars += over


def _content_complete(snapshot: Snapshot, told: _Told) -> None:
    text = _open_text(snapshot, ("content", told.node, told.agent, told.name("message_id")))
    if text is not None and told.attempt() >= text.attempt:
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


def _tool_call(snapshot: Snapshot, told: _Told) -> None:
    call_id = told.name("call_id")
    tool = _call_with(snapshot, call_id) or _new_call(snapshot, told, call_id)
    if not _is_of_attempt(tool, told):
        return
    tool.tool = tool.tool or told.name("tool", "tool_name")
    tool.called_at = told.time
    tool.args, tool.args_dropped = told.kept(pick(told.data, "args"), caps.MAX_VALUE_CHARS)
    tool.args_text = ""


def _tool_call_delta(snapshot: Snapshot, told: _Told) -> None:
    call_id, piece = told.name("call_id"), pick(told.data, "text", "content")
    if not call_id or not isinstance(piece, str):
        return
    tool = _call_with(snapshot, call_id) or _new_call(snapshot, told, call_id)
    if not _is_of_attempt(tool, told) or tool.called_at is not None or tool.ended_at is not None:
        return
    whole = tool.args_text + as_text(piece)
    over = max(0, len(whole) - caps.MAX_VALUE_CHARS)
    tool.args_text = whole[: caps.MAX_VALUE_CHARS]
    tool.args_dropped += over
    snapshot.dropped.chars += over


def _is_of_attempt(tool: Tool, told: _Told) -> bool:
    """Tell whether an event is of a call's last attempt; a higher one begins the call again."""
    attempt = told.attempt()
    if attempt > tool.attempt:
        tool.attempt = attempt
        tool.args = tool.result = tool.ok = tool.called_at = tool.ended_at = None
        tool.args_dropped = tool.result_dropped = 0
        tool.args_text = ""
    return attempt == tool.attempt


def _tool_result(snapshot: Snapshot, told: _Told) -> None:
    call_id = told.name("call_id")
    known = _call_with(snapshot, call_id) if call_id else _running_call(snapshot, told)
    tool = known or _new_call(snapshot, told, call_id)
    if not _is_of_attempt(tool, told):
        return
    ok, result = pick(told.data, "ok"), pick(told.data, "result", "content")
    tool.ended_at = told.time
    tool.ok = ok if isinstance(ok, bool) else None
    tool.result, tool.result_dropped = told.kept(result, caps.MAX_VALUE_CHARS)


def _call_with(snapshot: Snapshot, call_id: str) -> Tool | None:
    if call_id:
        for tool in reversed(snapshot.tools):
            if tool.call_id == call_id:
                return tool
    return None


def _running_call(snapshot: Snapshot, told: _Told) -> Tool | None:
    """Return the last unfinished call without an id of this tool in this place, or None."""
    key = ("", told.name("tool", "tool_name"), told.node, told.agent)
    for tool in reversed(snapshot.tools):
        if tool.ended_at is None and (tool.call_id, tool.tool, tool.node, tool.agent) == key:
            return tool
    return None


def _new_call(snapshot: Snapshot, told: _Told, call_id: str) -> Tool:
    tools = snapshot.tools
    if len(tools) >= caps.MAX_TOOLS:
        del tools[next((index for index, tool in enumerate(tools) if tool.ended_at is not None), 0)]
        snapshot.dropped.tools += 1
    tools.append(Tool(told.seq, call_id, told.name("tool", "tool_name"), told.node, told.agent))
    return tools[-1]


def _usage(snapshot: Snapshot, told: _Told) -> None:
    model, currency = told.name("model"), told.name("currency")
    used = _usage_of(snapshot, (model, told.agent, currency))
    if used is None:
        return
    used.calls += 1
    used.input_tokens += told.count("input_tokens")
    used.output_tokens += told.count("output_tokens")
    used.cached_tokens += told.count("cached_tokens")
    used.reasoning_tokens += told.count("reasoning_tokens")
    cost = as_number(pick(told.data, "cost"))
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


def _interrupt_request(snapshot: Snapshot, told: _Told) -> None:
    data = told.data
    args, args_dropped = told.kept(pick(data, "args"), caps.MAX_QUESTION_CHARS)
    asked = pick(data, "config")
    config, config_dropped = told.kept(asked, caps.MAX_VALUE_CHARS)
    if config_dropped and isinstance(asked, dict):  # a long config must not lift a prohibition
        config = {name: asked[name] for name in _ALLOWS if isinstance(asked.get(name), bool)}
    expires_at = pick(data, "expires_at")
    interrupt = Interrupt(
        seq=told.seq,
        asked_at=told.time,
        interrupt_id=told.name("interrupt_id"),
        node=told.node,
        agent=told.agent,
        action=told.name("action"),
        message=told.message(),
        args=args,
        args_dropped=args_dropped,
        config=config,
        config_dropped=config_dropped,
        expires_at=told.cut(expires_at) if isinstance(expires_at, str) else as_number(expires_at),
    )
    _take_interrupt(snapshot, interrupt.interrupt_id)  # asked again: keep the new question
    dropped = _push(snapshot.interrupts, interrupt, caps.MAX_INTERRUPTS)
    snapshot.dropped.interrupts += dropped


def _interrupt_response(snapshot: Snapshot, told: _Told) -> None:
    interrupt_id = told.name("interrupt_id")
    for interrupt in snapshot.interrupts:
        if interrupt.interrupt_id == interrupt_id and not interrupt.is_answered:
            interrupt.is_answered = True
            _push_answered(snapshot, _answered(told, interrupt))


def _answered(told: _Told, question: Interrupt) -> Answered:
    """Return a question with what an event says of its answer."""
    data, answer = told.data, pick(told.data, "answer")
    kind, approved = pick(answer, "type"), pick(data, "approved")
    given = pick(answer, "args", "content") if isinstance(answer, dict) else answer
    args, args_dropped = told.kept(given, caps.MAX_VALUE_CHARS)
    return Answered(
        seq=question.seq,
        asked_at=question.asked_at,
        answered_at=told.time,
        interrupt_id=question.interrupt_id,
        node=question.node,
        agent=question.agent,
        action=question.action,
        message=question.message,
        answer=told.cut(kind),
        approved=approved if isinstance(approved, bool) else None,
        args=args,
        args_dropped=args_dropped,
        by=told.name("by"),
    )


def _push_answered(snapshot: Snapshot, answered: Answered) -> None:
    snapshot.dropped.answered += _push(snapshot.answered, answered, caps.MAX_ANSWERED)


def _interrupt_resolved(snapshot: Snapshot, told: _Told) -> None:
    question = _take_interrupt(snapshot, told.name("interrupt_id"))
    if question is None:
        return
    snapshot.interrupts_resolved += 1
    if not question.is_answered:  # its time was over, or it was closed in another way
        _push_answered(snapshot, _answered(told, question))
    for answered in snapshot.answered:
        if answered.seq == question.seq:
            answered.outcome = told.name("outcome")


def _take_interrupt(snapshot: Snapshot, interrupt_id: str) -> Interrupt | None:
    for index, interrupt in enumerate(snapshot.interrupts):
        if interrupt.interrupt_id == interrupt_id:
            return snapshot.interrupts.pop(index)
    return None


def _error_told(snapshot: Snapshot, told: _Told) -> None:
    note = ErrorNote(told.seq, told.time, *_error(told), told.node, told.agent)
    snapshot.dropped.errors += _push(snapshot.errors, note, caps.MAX_ERRORS)


def _error(told: _Told) -> tuple[str, str]:
    return told.message("error"), told.name("code", "error_code", "error_type")


def _result(snapshot: Snapshot, told: _Told) -> None:
    data = told.data
    value = data["value"] if isinstance(data, dict) and "value" in data else data
    _set_result(snapshot, told, value)


def _set_result(snapshot: Snapshot, told: _Told, result: object) -> None:
    snapshot.result, snapshot.result_dropped = told.kept(result, caps.MAX_RESULT_CHARS)


def _files(snapshot: Snapshot, told: _Told) -> None:
    files = pick(told.data, "files")
    if not isinstance(files, list):
        return
    snapshot.dropped.files += max(0, len(files) - caps.MAX_FILES)
    for item in files[: caps.MAX_FILES]:
        file, _ = told.kept(item, caps.MAX_FILE_CHARS)
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


_LAW: Final[Mapping[str, Callable[[Snapshot, _Told], None]]] = MappingProxyType(
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
        "interrupt_request": _interrupt_request,
        "interrupt_response": _interrupt_response,
        "interrupt_resolved": _interrupt_resolved,
        "error": _error_told,
        "result": _result,
        "files": _files,
    }
)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Snapshot).decode
