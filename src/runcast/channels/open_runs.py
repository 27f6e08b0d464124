"""The runs that are delivered to a chat, by any process.

Source: ours.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from runcast._hub.hub import Hub
from runcast.channels.receipts import DELIVERY
from runcast.channels.shown_messages import Shown
from runcast.errors import NotFound
from runcast.stores.base import MAX_LIST, LogInfo

__all__ = ("DeliveredRun", "delivered_runs")

_OPEN: Final = ("queued", "running")
"""The statuses of a delivery that goes on: a log is queued until its first record."""

_CLOCK_S: Final = 2.0
"""How much the clock of a platform may be behind ours."""

_STAMP_S: Final = 0.001
"""What platforms that count milliseconds cut off a time."""


class DeliveredRun(NamedTuple):
    """A run that is delivered to a chat."""

    shown: Shown
    is_at_work: bool
    """False if the run has ended since the text was written."""


async def delivered_runs(hub: Hub, targets: Sequence[str], written_at: float) -> list[DeliveredRun]:
    """Return the runs that were at work and delivered to one of these targets when a text was
    written, each once. If that is not certain, a run is among them.

    At most `MAX_LIST` deliveries of a target are looked at. Raises `BackendError`.

    Args:
        targets: as `Target.shown` has them.
        written_at: Unix seconds; 0.0 for now.
    """
    found: dict[tuple[str, str], Shown] = {}
    for target in targets:
        for info in await _deliveries_to(hub, target, written_at):
            if not written_at or info.created_at <= written_at + _CLOCK_S:
                key = info.labels.get("run", ""), info.labels.get("epoch", "")
                found.setdefault(key, Shown(*key, target, ""))
    runs = []
    for shown in found.values():
        ended_at = await _ended_at(hub, shown)
        if ended_at is None or (written_at and ended_at >= written_at + _STAMP_S):
            runs.append(DeliveredRun(shown, ended_at is None))
    return runs


async def _deliveries_to(hub: Hub, target: str, written_at: float) -> list[LogInfo]:
    """Return the deliveries to a target that go on, or have ended since a text was written."""
    labels = {"to": target[:200]}
    infos: list[LogInfo] = []
    for status in _OPEN:  # in the order in which a log has them, so that none is missed
        infos += await hub.store.list(kind=DELIVERY, status=status, labels=labels, limit=MAX_LIST)
    if written_at:
        newest = await hub.store.list(kind=DELIVERY, labels=labels, limit=MAX_LIST)
        infos += [each for each in newest if each.closed and (each.closed_at or 0.0) >= written_at]
    return infos


async def _ended_at(hub: Hub, shown: Shown) -> float | None:
    """Return when a run has ended, Unix seconds; None if it is at work."""
    try:
        info = await hub.info(shown.run_id)
    except NotFound:
        return 0.0
    if info.epoch != shown.epoch:
        return 0.0
    return info.closed_at or 0.0 if info.closed else None
