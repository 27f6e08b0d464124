"""The feed of a list of runs: the list itself, and then each run that changes."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from runcast._http.api.responses import run_summary
from runcast._hub.hub import Hub
from runcast.errors import Gone
from runcast.events.lifecycle import Status
from runcast.events.plain import encode_line
from runcast.events.position import RUN, kind_of
from runcast.stores.base import Change

__all__ = ("RunsFeed", "Selection")


class Selection(NamedTuple):
    """Which runs a list is of, and how many of them; `is_empty` if the request may see none."""

    status: Status | None
    labels: Mapping[str, str]
    limit: int
    is_empty: bool = False

    def has(self, change: Change) -> bool:
        """Return whether a run that changed belongs to the list, whatever its status is now."""
        labels = change.info.labels
        return (
            not self.is_empty
            and kind_of(change.log_id) == RUN
            and all(labels.get(name) == value for name, value in self.labels.items())
        )


class RunsFeed:
    """Frames of the runs of a list (R-14.7), as a source of a stream.

    Args:
        after: the point after which the client has seen all changes; "" begins with the list.
        wake: called when the feed may have something to send.
    """

    def __init__(
        self, hub: Hub, selection: Selection, after: str, wake: Callable[[], None]
    ) -> None:
        self._hub = hub
        self._selection = selection
        self._after = after
        self._wake = wake
        self._is_woken = True
        self._stop = hub.list_changes.follow(self._look)

    def _look(self) -> None:
        self._is_woken = True
        self._wake()

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to read until the next wake-up."""
        return not self._is_woken

    @property
    def behind(self) -> bool:
        """Whether `read` may have something."""
        return self._is_woken

    @property
    def ended(self) -> bool:
        """A list never ends."""
        return False

    def poll(self) -> bytes | None:
        """Everything comes from the store."""
        return None

    async def read(self) -> bytes | None:
        """Return the frames of what is next: the list, or what changed."""
        self._is_woken = False
        if not self._after:
            return await self._list()
        try:
            page = await self._hub.list_changes.after(self._after)
        except Gone as gone:
            lost = b'data: {"gap":%b}\n\n' % encode_line({"reason": gone.reason})
            return lost + await self._list()
        if page.after == self._after:
            return None
        self._is_woken = True  # there may be another page
        self._after = page.after
        return self._frames([_shown(each) for each in page.changes if self._selection.has(each)])

    async def _list(self) -> bytes:
        # The point first: what changes while the list is read comes again.
        self._after = (await self._hub.store.changes()).after
        status, labels, limit, is_empty = self._selection
        infos = []
        if not is_empty:
            infos = await self._hub.store.list(status=status, labels=labels, limit=limit)
        self._is_woken = True
        return self._frames([{"run": run_summary(info)} for info in reversed(infos)])

    def _frames(self, shown: list[dict[str, Any]]) -> bytes:
        """Return frames, of which only the last has the id: a client that got half of them gets all
        of them again."""
        moves = b"id: %b\n" % self._after.encode()
        if not shown:
            return moves + b"\n"
        *before, last = [b"data: %b\n\n" % encode_line(each) for each in shown]
        return b"".join([*before, moves, last])

    def close(self) -> None:
        """End the feed. Idempotent."""
        self._stop()


def _shown(change: Change) -> dict[str, Any]:
    if change.is_deleted:
        return {"deleted": change.log_id}
    return {"run": run_summary(change.info)}
