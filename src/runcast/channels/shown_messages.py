"""Which run a message in a chat shows, by what deliveries have stored: those of other processes,
and those that have ended.

Source: ours.
"""

from collections import OrderedDict
from collections.abc import Container, Mapping
from typing import Any, Final, NamedTuple

from runcast._hub.hub import Hub
from runcast.channels._worker import STATE
from runcast.channels.callbacks import read_callback
from runcast.channels.receipts import DELIVERY
from runcast.errors import Gone, NotFound
from runcast.events.model import decode_event
from runcast.events.position import Position, split_frames
from runcast.stores.base import MAX_LIST, LogInfo

__all__ = ("Shown", "ShownMessages", "is_present", "last_state", "shown_by")

_MAX_LISTS: Final = 4
"""Most pages of a target's open deliveries, of `MAX_LIST` each, among which a message is looked
for. There are more only if as many runs write into one chat at once."""

_MAX_ENDED: Final = 100
"""Most ended deliveries to a target among which a message is looked for: the newest."""

_MAX_KEPT: Final = 1000
"""Most ended deliveries whose messages a process keeps in memory."""


class Shown(NamedTuple):
    """What a message in a chat shows: a run in one epoch, and perhaps one of its questions."""

    run_id: str
    epoch: str
    target: str
    question_id: str


class ShownMessages:
    """Finds the run of a message in the store."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._ended: OrderedDict[tuple[str, str], dict[str, Any]] = OrderedDict()

    async def find(
        self, target: str, message_id: str, pressed: str, besides: Container[str]
    ) -> Shown | None:
        """Return what a message shows that an open delivery to a target has sent.

        Raises `BackendError`.

        Args:
            target: as `Target.shown` has it.
            pressed: what the message's button sends; see `shown_by`.
            besides: the ids of deliveries that are not looked at.
        """
        before: tuple[float, str] | None = None
        for _ in range(_MAX_LISTS):
            infos = await self._hub.store.list(
                kind=DELIVERY,
                status="running",
                labels={"to": target[:200]},
                before=before,
                limit=MAX_LIST,
            )
            for info in infos:
                if info.name not in besides:
                    record = await last_state(self._hub, info)
                    state = record.get("state") if record else None
                    if record and (found := shown_by(record, state, message_id, pressed)):
                        return found
            if len(infos) < MAX_LIST:
                break
            before = infos[-1].created_at, infos[-1].log_id
        return None

    async def find_ended(self, target: str, message_id: str) -> Shown | None:
        """Return what a message shows that an ended delivery to a target has sent: one of the
        newest `_MAX_ENDED`. Raises `BackendError`."""
        infos = await self._hub.store.list(
            kind=DELIVERY, labels={"to": target[:200]}, limit=_MAX_ENDED
        )
        for info in infos:
            if info.closed:
                record = await self._state_of_ended(info)
                if found := record and shown_by(record, record.get("state"), message_id, ""):
                    return found
        return None

    async def _state_of_ended(self, info: LogInfo) -> dict[str, Any]:
        """Return the last state of a delivery that changes no more; {} if there is none."""
        key = info.log_id, info.epoch
        if key not in self._ended:
            try:
                self._ended[key] = await last_state(self._hub, info) or {}
            except (NotFound, Gone):
                return {}
            if len(self._ended) > _MAX_KEPT:
                self._ended.popitem(last=False)
        self._ended.move_to_end(key)
        return self._ended[key]


async def is_present(hub: Hub, shown: Shown) -> bool:
    """Return whether a message is about its run's present epoch. Raises `BackendError`."""
    try:
        return (await hub.info(shown.run_id)).epoch == shown.epoch
    except NotFound:
        return False


async def last_state(hub: Hub, info: LogInfo) -> dict[str, Any] | None:
    """Return the last state that a delivery has stored; None if there is none. Raises
    `BackendError`."""
    if info.head == 0:
        return None
    # Behind the last state an ended log has its ending.
    after = max(0, info.head - (2 if info.closed else 1))
    page = await hub.store.read(info.log_id, Position(info.epoch, after))
    events = [decode_event(each) for each in split_frames(page.frames)]
    states = [event.data for event in events if event.type == STATE]
    return dict(states[-1]) if states else None


def shown_by(about: Mapping[str, Any], state: Any, message_id: str, pressed: str) -> Shown | None:
    """Return what a message shows, if it is among the pages of a delivery's state: by its id; or by
    what its button sends, if a message of the page may be there whose id nobody knows."""
    epoch = str(about["epoch"])
    for page in state["pages"] if isinstance(state, dict) else ():
        question_id = page.get("question_id", "")
        is_known = message_id in (page["message_id"], page["old_message_id"])
        may_be_lost = not page["message_id"] or page["generation"]
        is_lost = may_be_lost and question_id and epoch
        if is_known or (is_lost and read_callback(pressed, question_id, epoch) is not None):
            return Shown(str(about["run"]), epoch, str(about["target"]), question_id)
    return None
