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

_PRICED: Final = ("cost", "currency")
"""What runcast adds to the data of `usage`, by prices that may have changed since."""


async def is_same_batch(
    hub: Hub, run_id: str, written: Appended, records: Sequence[bytes], *, has_files: bool = False
) -> bool:
    """Return whether the log has these records where an earlier append has written.

    Returns True if the log has forgotten them. The times are not compared: if a writer sends none,
    they differ. Raises what `Store.read` raises, except for `Gone`.

    Args:
        has_files: the writer has sent files: the end may have a `files` event before it, and may
            have become `failed` because files are missing.
    """
    count = written.last - written.first + 1
    if count != len(records) and not (has_files and count == len(records) + 1):
        return False
    position, stored = Position(written.epoch, written.first - 1), list[bytes]()
    try:
        while len(stored) < count:
            page = await hub.read_page(run_id, position)
            if page.position == position:
                return True  # begun again, and so forgotten
            stored += split_frames(page.frames)
            position = page.position
    except Gone:
        return True
    if has_files and decode_event(stored[-1]).type in TERMINAL:
        if count > len(records) and decode_event(stored.pop(-2)).type != "files":
            return False
        ended = decode_event(stored[-1])
        if isinstance(ended.data, dict) and ended.data.get("code") == "invalid_outputs":
            stored, records = stored[:-1], records[:-1]
    return len(stored) == len(records) and all(
        _compared(old) == _compared(b"{" + new) for old, new in zip(stored, records, strict=False)
    )


def _compared(canonical: bytes) -> tuple[Any, ...]:
    event = decode_event(canonical)
    data = event.data
    if event.type == "usage" and isinstance(data, dict):
        data = {name: value for name, value in data.items() if name not in _PRICED}
    return event.type, data, event.node, event.agent, event.path, event.duration
