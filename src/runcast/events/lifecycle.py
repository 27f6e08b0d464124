"""The statuses of a run, and which event leads to which status.

    queued ──► running ◄──► waiting
      │          │            │
      └──────────┴────────────┴──► done | failed | cancelled   (exactly one, for ever)

A status depends only on the events so far. Between two events a `Standing` remembers what is
needed: the status and the open questions. A run that asked two questions and got one answer
still waits.

A run is queued until something happens in the run. The runner writes `started`. A log that is
written without a runner is running from its first event.

Code that holds events calls `advance`. A store holds records and may not read each of them, so a
store calls `standing_after`: one of our records has its type at a fixed place, and few types
matter.
"""

import re
from typing import Final, Literal, NamedTuple

from runcast.errors import PeerError
from runcast.events.model import decode_event
from runcast.events.vocabulary import TERMINAL, as_text, pick

__all__ = (
    "BEGINNING",
    "DECISIVE",
    "MAX_QUESTIONS",
    "STATUSES",
    "Standing",
    "Status",
    "advance",
    "is_decisive",
    "next_status",
    "question_of",
    "standing_after",
    "standing_after_frames",
)

Status = Literal["queued", "running", "waiting", "done", "failed", "cancelled"]

STATUSES: Final[tuple[Status, ...]] = (
    "queued",
    "running",
    "waiting",
    "done",
    "failed",
    "cancelled",
)

MAX_QUESTIONS: Final = 20
"""Most open questions remembered for a run; the oldest is dropped first."""

_MAX_ID_CHARS: Final = 256
"""Most characters of a question's id that are compared, from its beginning."""

_ENDINGS: Final[dict[str, Status]] = {status: status for status in STATUSES if status in TERMINAL}
"""A terminal event has the name of the status that it leads to."""

_LAW: Final[dict[Status, dict[str, Status]]] = {
    "queued": {"interrupt_request": "waiting", **_ENDINGS},  # any other event begins the run
    "running": {"interrupt_request": "waiting", **_ENDINGS},
    # `started` while waiting: a restarted process resumes the run in the same epoch.
    "waiting": {"interrupt_resolved": "running", "started": "running", **_ENDINGS},
    "done": {},
    "failed": {},
    "cancelled": {},
}

_FROM_OTHERS: Final = frozenset({"message", "interrupt_response", "interrupt_resolved"})
"""Types that others write for a run to read. They do not begin a queued run."""

_QUESTIONS: Final = frozenset({"interrupt_request", "interrupt_waiting", "interrupt_resolved"})
"""Types that concern a question, and so may change the status."""

DECISIVE: Final = frozenset({"started", *TERMINAL, *_QUESTIONS})
"""The types that may change the standing of a run that is no longer queued."""


class Standing(NamedTuple):
    """The status and the open questions of a run after some of its events.

    `questions` holds the ids of the open questions, the latest last; at most MAX_QUESTIONS.
    """

    status: Status
    questions: tuple[str, ...] = ()


BEGINNING: Final[Standing] = Standing("queued")
"""The standing of a run before its first event."""


def next_status(status: Status, event_type: str) -> Status:
    """Return the status after an event of that type, if no question is open."""
    if status == "queued" and event_type not in _FROM_OTHERS:
        return _LAW[status].get(event_type, "running")
    return _LAW[status].get(event_type, status)


def advance(standing: Standing, event_type: str, question: str = "") -> Standing:
    """Return the standing after one more event.

    Args:
        question: what `question_of` returns for the event's data.
    """
    before, questions = standing
    if before in TERMINAL:
        return standing  # nothing follows an ending
    if event_type not in DECISIVE and before != "queued":
        return standing
    status = next_status(before, event_type)
    if event_type in _QUESTIONS:
        is_open = question in questions
        if event_type == "interrupt_waiting":
            # Asked again, by an attempt that began when another question was answered.
            return Standing("waiting" if is_open else status, questions)
        if is_open:
            questions = tuple(each for each in questions if each != question)
        if event_type == "interrupt_request":
            questions = (*questions, question)[-MAX_QUESTIONS:]
        elif before == "waiting" and questions:
            status = "waiting"  # for the other answers
    return Standing(status, () if status in TERMINAL else questions)


def question_of(data: object) -> str:
    """Return the id of the question that an event's data names, or ""."""
    return as_text(pick(data, "interrupt_id"))[:_MAX_ID_CHARS]


# The time of a record is a number, so no user's text comes before its type.
_HEAD: Final = rb'"time":[0-9.eE+-]++,"type":"'
_RECORD: Final = re.compile(rb'%b([a-z0-9_.-]+)",' % _HEAD).match
_FRAME: Final = re.compile(
    rb'\ndata: (\{"seq":([0-9]+),%b([a-z0-9_.-]+)",.*)' % _HEAD,
).finditer

_INITIALS: Final = "".join(sorted({name[0] for name in DECISIVE})).encode()
_TYPES: Final = "|".join(sorted(DECISIVE)).encode()

is_decisive: Final = re.compile(rb'%b(?=[%b])(?:%b)",' % (_HEAD, _INITIALS, _TYPES)).match
"""Matches a record whose type is in DECISIVE. It is called for every committed event, and takes
some 150 ns whatever the event's size."""


def standing_after(standing: Standing, record: bytes) -> Standing:
    """Return the standing after one more record.

    Records that are not `is_decisive` count only while a run is queued. Bytes that are not an event
    leave the standing unchanged. The event's data never matters.
    """
    found = _RECORD(record)
    return standing if found is None else _after(standing, found[1].decode(), b"{" + record)


def standing_after_frames(standing: Standing, frames: bytes, after_seq: int = 0) -> Standing:
    """Return the standing after joined frames; frames up to `after_seq` are skipped."""
    for canonical, seq, kind in (found.groups() for found in _FRAME(frames)):
        if int(seq) > after_seq:
            standing = _after(standing, kind.decode(), canonical)
    return standing


def _after(standing: Standing, event_type: str, canonical: bytes) -> Standing:
    if event_type not in _QUESTIONS:
        return advance(standing, event_type)
    try:
        event = decode_event(canonical)
    except PeerError:
        return standing
    return advance(standing, event_type, question_of(event.data))
