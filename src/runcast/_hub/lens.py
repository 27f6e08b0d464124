"""One watcher's way through a view: the view, and what it remembers at the watcher's cursor."""

from runcast._hub.hub import Hub
from runcast._hub.viewed import Viewed
from runcast._wire.dialects import Dialect, LogRef
from runcast.events.model import Event
from runcast.events.position import Position
from runcast.events.view import View, ViewState
from runcast.stores.base import Page

__all__ = ("Lens",)


class Lens:
    """Shows pages, in the order of the log, through a view."""

    def __init__(self, hub: Hub, run_id: str, view: View) -> None:
        self._hub = hub
        self._run_id = run_id
        self._view = view
        self._state = ViewState()

    async def begin(self, after: Position, first: int) -> None:
        """Get the state behind `after`; `first` is the first event the log still has."""
        self._state = await self._hub.viewed.state_at(self._run_id, self._view, after, first)

    def restart(self, since: int) -> None:
        """Forget everything: what follows comes behind a gap, which ended at `since`."""
        self._state = ViewState(since)

    def events(self, page: Page) -> list[list[Event]]:
        """Return what the view shows of a page, for each of its events that shows anything."""
        return self._show(page).shown

    def frames(self, page: Page, dialect: Dialect) -> bytes:
        """Return what the view shows of a page, in a dialect; encoded once for all watchers."""
        viewed = self._show(page)
        form = f"{dialect.name}/{self._view.key}/{self._state.since}"
        return self._hub.encoded.keep(
            (form, self._run_id, page.epoch, page.first, page.last),
            lambda: self._encode(viewed, LogRef(self._run_id, page.epoch), dialect),
        )

    def _show(self, page: Page) -> Viewed:
        viewed = self._hub.viewed.get(self._run_id, self._view, self._state, page)
        self._state = viewed.state
        return viewed

    def _encode(self, viewed: Viewed, log: LogRef, dialect: Dialect) -> bytes:
        frames: list[bytes] = []
        for shown in viewed.shown:
            # Where one event becomes several frames only the last may move the cursor: a watcher
            # that lost the connection between them must get them all again.
            encoded = [dialect.encode(log, event) for event in shown]
            *others, last = [b"", *filter(None, encoded)]  # a dialect may leave an event out
            frames += [*map(_without_id, others), last]
        return b"".join(frames)


def _without_id(frame: bytes) -> bytes:
    """Return a frame without its `id:` line, which every dialect puts first."""
    return frame[frame.index(b"\n") + 1 :] if frame.startswith(b"id: ") else frame
