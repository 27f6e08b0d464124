"""Whether a batch that seems to be sent again is the one that was written under its number.

A writer that was started again may count from 1 again under the id of its producer. Its batches
are new, so they must not count as written.
"""

from collections.abc import Sequence
from typing import Any, Final

from runcast._hub.hub import Hub
from runcast.errors import Gone
from runcast.events.model import decode_event
from runcast.events.position import Position, split_frames
from runcast.events.vocabulary import TERMINAL
from runcast.stores.base import Appended

__all__ = ("is_same_batch",)

_COMPARED_BY_TYPE: Final = frozenset({"usage", *TERMINAL})
"""Types whose data runcast may have changed: it adds the cost of usage, and completes an ending."""


async def is_same_batch(hub: Hub, run_id: str, written: Appended, records: Sequence[bytes]) -> bool:
    """Return whether the log has these records where an earlier append has written.

    Returns True if the log has forgotten them. The times are not compared: if a writer sends none,
    they differ. Raises what `Store.read` raises, except for `Gone`.
    """
    if written.last - written.first + 1 != len(records):
        return False
    position, stored = Position(written.epoch, written.first - 1), list[bytes]()
    try:
        while len(stored) < len(records):
            page = await hub.read_page(run_id, position)
            if page.position == position:
                return True  # begun again, and so forgotten
            stored += split_frames(page.frames)
            position = page.position
    except Gone:
        return True
    return all(
        _compared(old) == _compared(b"{" + new) for old, new in zip(stored, records, strict=False)
    )


def _compared(canonical: bytes) -> tuple[Any, ...]:
    event = decode_event(canonical)
    data = None if event.type in _COMPARED_BY_TYPE else event.data
    return event.type, data, event.node, event.agent, event.path
