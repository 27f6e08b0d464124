"""Decide questions: by an answer, or by the deadline. The first decision counts.

An answer and an expiry are appended under the same idempotency key, on any node and in any process.
The same decision again changes nothing; another decision is refused.
"""

import contextlib
from typing import Any

import msgspec

from runcast._clock import Clock
from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet
from runcast._producing.answers import Answer, check_allowed, check_interrupt_id
from runcast._producing.labels import ANSWERED_LABEL, RESUMABLE_LABEL
from runcast.errors import AlreadyAnswered, Conflict, Gone, NotFound, RunClosed
from runcast.events.model import Event, decode_event, encode_record
from runcast.events.plain import encode_line
from runcast.events.position import Position, split_frames
from runcast.events.snapshot import Interrupt
from runcast.stores.base import LogInfo, Once

__all__ = (
    "answer_in",
    "answer_question",
    "expire_question",
    "find_decision",
    "is_expired",
)


async def answer_question(
    hub: Hub,
    run_id: str,
    interrupt_id: str,
    answer: Answer,
    ends: float | None = None,
    *,
    epoch: str = "",
) -> tuple[Answer, bool]:
    """Answer an open question; return the decision and whether it was made before.

    Args:
        ends: when the question expires, by the monotonic clock, if its run runs here; otherwise
            the wall clock decides.
        epoch: the epoch that asked; "" is any epoch.

    Raises:
        NotFound: the run does not exist, or never asked this question.
        Stale: the run is in another epoch.
        InvalidValue: the question does not allow this kind of answer.
        EventTooLarge: the answer is longer than `max_event_bytes`.
        Conflict: the question has another answer, or expired; the message has the first decision.
        RunClosed: the run has ended without an answer.
    """
    check_interrupt_id(interrupt_id)
    info, snapshot = await hub.present(run_id, epoch)
    asked = [each for each in snapshot.interrupts if each.interrupt_id == interrupt_id]
    if not asked or asked[0].is_answered:
        return await _decided_before(hub, info, interrupt_id, answer)
    question = asked[0]
    inlet = hub.inlet(run_id, info.epoch)
    over = is_expired(question, hub.clock) if ends is None else ends <= hub.clock.monotonic()
    if over:  # the run has not noticed, or has no process at present
        with contextlib.suppress(Conflict):
            await expire_question(hub, inlet, interrupt_id, hub.clock)
        return await _decided_before(hub, info, interrupt_id, answer)
    check_allowed(question.config, answer)
    data: dict[str, Any] = {
        "interrupt_id": interrupt_id,
        "approved": answer.approved,
        "answer": {"type": answer.type, "args": answer.args},
    }
    if answer.by:
        data["by"] = answer.by
    now = hub.clock.time()
    labels = {ANSWERED_LABEL: interrupt_id} if RESUMABLE_LABEL in info.labels else None
    records = [
        encode_record("interrupt_response", data, now, None, hub.settings.max_event_bytes),
        encode_record(
            "interrupt_resolved", {"interrupt_id": interrupt_id, "outcome": "answered"}, now
        ),
    ]
    try:
        appended = await inlet.append(
            records, once=Once(f"answer:{interrupt_id}", answer.digest), labels=labels
        )
    except Conflict:
        return await _decided_before(hub, info, interrupt_id, answer)
    return answer, appended.repeated


def is_expired(question: Interrupt, clock: Clock) -> bool:
    """Return whether an open question has expired."""
    expires_at = question.expires_at
    return isinstance(expires_at, int | float) and expires_at <= clock.time()


async def expire_question(hub: Hub, inlet: Inlet, interrupt_id: str, clock: Clock) -> None:
    """Close a question without an answer in time. Raises `Conflict` if it was answered."""
    info = await hub.info(inlet.run_id)
    record = encode_record(
        "interrupt_resolved", {"interrupt_id": interrupt_id, "outcome": "expired"}, clock.time()
    )
    labels = {ANSWERED_LABEL: interrupt_id} if RESUMABLE_LABEL in info.labels else None
    await inlet.append([record], once=Once(f"answer:{interrupt_id}", "expired"), labels=labels)


async def _decided_before(
    hub: Hub, info: LogInfo, interrupt_id: str, answer: Answer
) -> tuple[Answer, bool]:
    """Return the first decision if it equals this answer. Reads the log; rarely needed."""
    first = await find_decision(hub, info.log_id, interrupt_id, epoch=info.epoch)
    if first is None and info.closed:
        raise RunClosed(f"the run {info.log_id!r} has ended; its questions are closed")
    if first is None:
        raise NotFound(f"the run {info.log_id!r} asks no question {interrupt_id!r:.140}")
    if first.digest != answer.digest:
        shown = msgspec.json.encode({"type": first.type, "args": first.args}).decode()
        raise AlreadyAnswered(
            f"the question {interrupt_id!r} was answered before: {shown[:500]}", first.document()
        )
    return first, True


async def find_decision(
    hub: Hub, run_id: str, interrupt_id: str, before: int | None = None, *, epoch: str = ""
) -> Answer | None:
    """Return the decision on a question, or None. Raises `NotFound`, `Stale`.

    Args:
        before: look only at events up to this `seq`; None looks at the whole log.
        epoch: the epoch that asked; "" is any epoch.
    """
    while True:
        try:
            info = await hub.info(run_id, epoch)
            end = info.head + 1 if before is None else before
            return await _find_decision(hub, info, interrupt_id, end)
        except Gone:
            continue  # restarted or trimmed while it was read


async def _find_decision(hub: Hub, info: LogInfo, interrupt_id: str, end: int) -> Answer | None:
    position, wanted = Position(info.epoch, info.first - 1), encode_line(interrupt_id)
    while position.seq + 1 < end:
        page = await hub.read_page(info.log_id, position)
        if wanted in page.frames:
            for canonical in split_frames(page.frames):
                if wanted in canonical:
                    event = decode_event(canonical)
                    answer = answer_in(event, interrupt_id)
                    if answer is not None and event.seq < end:
                        return answer
        position = page.position
    return None


def answer_in(event: Event, interrupt_id: str) -> Answer | None:
    """Return the decision on a question in an event, or None."""
    data = event.data
    if not isinstance(data, dict) or data.get("interrupt_id") != interrupt_id:
        return None
    if event.type == "interrupt_response" and isinstance(data.get("answer"), dict):
        # A function may also write such events, in any form.
        with contextlib.suppress(msgspec.ValidationError):
            return msgspec.convert({**data["answer"], "by": data.get("by", "")}, Answer)
    if event.type == "interrupt_resolved" and data.get("outcome") == "expired":
        return Answer("expired")
    return None
