"""What became of the deliveries of a run, in whichever process they are or were."""

from typing import Any, Final

import msgspec

from runcast._hub.hub import Hub
from runcast.channels.outcome import ReceiptStatus
from runcast.errors import Gone, NotFound
from runcast.events.model import decode_event
from runcast.events.position import Position, split_frames
from runcast.stores.base import MAX_LIST, LogInfo

__all__ = ("DELIVERY", "DeliveryState", "receipts_of", "state_of", "wait_for_receipts")

DELIVERY: Final = "delivery"
"""The kind of the logs of deliveries."""


class DeliveryState(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery of a run; times are Unix seconds. See `Receipt` for the other fields."""

    delivery_id: str
    run_id: str
    target: str
    """Without secrets."""
    status: ReceiptStatus | str
    """`delivering`, or what became of it."""
    begun_at: float
    ended_at: float | None = None
    message_ids: tuple[str, ...] = ()
    reason: str = ""
    strays: int = 0
    may_be_shown: bool = True


async def receipts_of(hub: Hub, run: LogInfo, delivery_id: str = "") -> list[DeliveryState]:
    """Return the deliveries of a run in one epoch, newest first; only one if its id is given.

    Another epoch of the same id may belong to somebody else. At most `MAX_LIST`. Raises
    `BackendError`.
    """
    infos = await _logs_of(hub, run, delivery_id)
    return [await state_of(hub, info) for info in infos]


async def wait_for_receipts(hub: Hub, run: LogInfo, delivery_id: str = "") -> None:
    """Wait until deliveries have ended that go on now, of this process and others."""
    for info in await _logs_of(hub, run, delivery_id):
        if not info.closed:
            try:
                watch = await hub.watch(info.log_id, info.position)
            except NotFound:
                continue  # it was deleted
            with watch:
                async for _ in watch:
                    pass


async def _logs_of(hub: Hub, run: LogInfo, delivery_id: str) -> list[LogInfo]:
    labels = {"run": run.log_id, "epoch": run.epoch}
    infos = await hub.store.list(kind=DELIVERY, labels=labels, limit=MAX_LIST)
    return [info for info in infos if delivery_id in ("", info.name)]


async def state_of(hub: Hub, info: LogInfo) -> DeliveryState:
    """Return what became of the delivery with this log. Raises `BackendError`."""
    found: dict[str, Any] = {"status": "delivering"}
    if info.closed:
        found = {"ended_at": info.closed_at} | await _ending(hub, info)
    return DeliveryState(
        delivery_id=info.name,
        run_id=info.labels.get("run", ""),
        target=info.labels.get("to", ""),
        begun_at=info.created_at,
        **found,
    )


async def _ending(hub: Hub, info: LogInfo) -> dict[str, Any]:
    """Return the receipt in a log's last record."""
    try:
        page = await hub.store.read(info.log_id, Position(info.epoch, info.head - 1))
    except (NotFound, Gone) as error:
        if isinstance(error, Gone) and error.reason == "replaced":
            return {"status": "delivering", "ended_at": None}  # it was begun again meanwhile
        return {"status": "failed", "reason": "its record was deleted"}
    event = decode_event(list(split_frames(page.frames))[-1])
    data: Any = event.data if isinstance(event.data, dict) else {}
    if event.type != "done":
        # Before a message is sent, a record is stored: so one that was cancelled first sent none.
        may_be_shown = bool(data.get("may_be_shown", info.head > 1))
        reason = str(data.get("message") or data.get("reason") or "")
        return {"status": "failed", "reason": reason, "may_be_shown": may_be_shown}
    result = data.get("result") or {}
    return {
        "status": result.get("status", "uncertain"),
        "message_ids": tuple(result.get("message_ids", ())),
        "reason": result.get("reason", ""),
        "strays": result.get("strays", 0),
    }
