"""The law of a run's life, as a table.

queued ──► running ◄──► waiting
   │          │            │
   └──────────┴────────────┴──► done | failed | cancelled   (exactly one, for ever)
"""

from typing import Final, Literal

from runcast.events.vocabulary import TERMINAL

__all__ = ("STATUSES", "Status", "next_status")

Status = Literal["queued", "running", "waiting", "done", "failed", "cancelled"]

STATUSES: Final[tuple[Status, ...]] = (
    "queued",
    "running",
    "waiting",
    "done",
    "failed",
    "cancelled",
)

_ENDINGS: Final[dict[str, Status]] = {status: status for status in STATUSES if status in TERMINAL}
"""Terminal events bear the names of the statuses that they cause, which nothing follows."""

_LAW: Final[dict[Status, dict[str, Status]]] = {
    "queued": {"started": "running", **_ENDINGS},
    "running": {"interrupt_request": "waiting", **_ENDINGS},
    # `started` while waiting: a restarted process resumes the run in the same epoch.
    "waiting": {"interrupt_resolved": "running", "started": "running", **_ENDINGS},
    "done": {},
    "failed": {},
    "cancelled": {},
}


def next_status(status: Status, event_type: str) -> Status:
    """Return the status after an event of that type; most types leave it as it is."""
    return _LAW[status].get(event_type, status)
