"""Waiting for the end of a run that another process runs."""

from typing import Final

from runcast._hub.hub import Hub
from runcast._logs import get_logger
from runcast.errors import NotFound, RuncastError
from runcast.events.model import decode_event
from runcast.events.outcome import TAKEN_OVER, Outcome, cancelled
from runcast.events.position import Position, split_frames

__all__ = ("find_outcome", "follow")

_log: Final = get_logger("runcast.runs")


async def follow(hub: Hub, run_id: str, epoch: str) -> Outcome:
    """Wait for the end of a run, whoever runs it, and return its outcome.

    A run that is deleted counts as cancelled. If the end cannot be known, the run counts as lost.
    """
    try:
        head = (await hub.info(run_id)).head
        with await hub.watch(run_id, Position(epoch, head)) as watch:
            async for _ in watch:
                pass
        return await find_outcome(hub, run_id, epoch) or TAKEN_OVER
    except NotFound:
        return cancelled("deleted")
    except RuncastError as error:
        _log.warning("the end of run %s is not known: %s", run_id, error)
        return TAKEN_OVER


async def find_outcome(hub: Hub, run_id: str, epoch: str) -> Outcome | None:
    """Return a log's outcome; None if the log is open or in another epoch by now.

    Raises `NotFound`, `BackendError`.
    """
    info = await hub.info(run_id)
    if not info.closed or info.epoch != epoch:
        return None
    page = await hub.store.read(run_id, Position(epoch, info.head - 1))
    event = decode_event(split_frames(page.frames)[-1])
    return Outcome(event.type, event.data)
