"""The law of a run's life, as a table.

queued ──► running ◄──► waiting
   │          │            │
   └──────────┴────────────┴──► done | failed | cancelled   (exactly one, for ever)
"""

from typing import Final, Literal

__all__ = ("ENDED", "STATUSES", "Status", "next_status")

Status = Literal["queued", "running", "waiting", "done", "failed", "cancelled"]

STATUSES: Final[tuple[Status, ...]] = (
    "queued",
    "running",
    "waiting",
    "done",
    "failed",
    "cancelled",
)

ENDED: Final = frozenset({"done", "failed", "cancelled"})
"""Statuses that nothing follows. They bear the names of the terminal events that cause them."""

_ENDINGS: Final[dict[str, Status]] = {
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}

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
