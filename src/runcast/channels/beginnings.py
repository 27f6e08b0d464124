"""How the log of a delivery begins: once, and again if the delivery failed before anything could be
in the chat.

Source: ours.
"""

from collections.abc import Mapping
from typing import NamedTuple

from runcast._hub.hub import Hub
from runcast._hub.owned_log import OwnedLog
from runcast.channels.receipts import DELIVERY, DeliveryState, state_of
from runcast.errors import Conflict, NotFound
from runcast.events.position import make_log_id

__all__ = ("BegunLog", "begin_log")


class BegunLog(NamedTuple):
    """A delivery's log, and the beginning of the keys of its sends."""

    log: OwnedLog
    key: str
    """Another one than the earlier delivery had: the platform may remember its refused sends."""


async def begin_log(hub: Hub, name: str, labels: Mapping[str, str]) -> BegunLog:
    """Begin the log of a delivery. If the same delivery has failed before, and no message of it can
    be in the chat, its log is replaced.

    Args:
        labels: of the log; `run` and `to` are named in errors.

    Raises:
        Conflict: the earlier delivery goes on, or its text is in the chat, or may be.
        BackendError: the store could not be reached.
    """
    try:
        return BegunLog(await hub.begin(name, kind=DELIVERY, labels=labels), name)
    except Conflict:
        pass
    try:
        earlier = await hub.info(make_log_id(DELIVERY, name))
        state = await state_of(hub, earlier)
    except NotFound:
        state = None  # it was deleted since
    if state is None or not (state.status == "failed" and not state.may_be_shown):
        raise Conflict(_why_not(labels, state))
    try:
        # Only the epoch that was looked at: another process may begin the delivery again, too.
        log = await hub.begin(name, kind=DELIVERY, labels=labels, replace=earlier.epoch)
    except Conflict:
        raise Conflict(_why_not(labels, None)) from None
    return BegunLog(log, f"{name}.{log.epoch}")


def _why_not(labels: Mapping[str, str], state: DeliveryState | None) -> str:
    """Return why a run is not delivered once more; None: another process changes the delivery."""
    run, to = f"run {labels['run']}", labels["to"]
    if state is None or state.status == "delivering":
        return f"{run} is being delivered to {to} already: its deliveries have the receipt"
    known = "its deliveries have the receipt; to deliver it once more, name another chat"
    if state.status == "delivered":
        return f"{run} was delivered to {to} already: {known}"
    if state.status == "uncertain":
        return f"{run} was delivered to {to} already, perhaps not completely: {known}"
    return f"{run} was not delivered to {to}, but a part may be in the chat: {known}"
