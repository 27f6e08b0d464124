"""What questions and their answers change in the state of a run."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from runcast.events import snapshot as caps
from runcast.events.folding.fields import Fields, Law, push
from runcast.events.snapshot import Answered, Interrupt, Snapshot
from runcast.events.vocabulary import as_number, pick

__all__ = ("QUESTIONS",)

_ALLOWS: Final = ("allow_accept", "allow_edit", "allow_respond")


def _interrupt_request(snapshot: Snapshot, fields: Fields) -> None:
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
    dropped = push(snapshot.interrupts, interrupt, caps.MAX_INTERRUPTS)
    snapshot.dropped.interrupts += dropped


def _interrupt_response(snapshot: Snapshot, fields: Fields) -> None:
    interrupt_id = fields.name("interrupt_id")
    for interrupt in snapshot.interrupts:
        if interrupt.interrupt_id == interrupt_id and not interrupt.is_answered:
            interrupt.is_answered = True
            _push_answered(snapshot, _answered(fields, interrupt))


def _answered(fields: Fields, question: Interrupt) -> Answered:
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
    snapshot.dropped.answered += push(snapshot.answered, answered, caps.MAX_ANSWERED)


def _interrupt_resolved(snapshot: Snapshot, fields: Fields) -> None:
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


QUESTIONS: Final[Mapping[str, Law]] = MappingProxyType(
    {
        "interrupt_request": _interrupt_request,
        "interrupt_response": _interrupt_response,
        "interrupt_resolved": _interrupt_resolved,
    }
)
"""The laws, by event type."""
