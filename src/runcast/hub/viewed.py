"""Pages as a view shows them, computed once for all who watch a run through the same view.

What a view remembers at a position depends on the log, and on where it began to look: at the first
event, or behind those that were gone by then. So the state behind each page is kept with the page's
result: watchers who follow live share both, and whoever resumes starts from the nearest state that
is kept, or from the beginning of what is left of the log.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeAlias

from msgspec.structs import replace

from runcast.events.model import Event, decode_event
from runcast.events.position import Position, split_frames
from runcast.events.view import View, ViewState
from runcast.stores.base import Page

__all__ = ("Viewed", "ViewedPages")

_STATES: Final = 512
"""States kept: a page's worth apart for a few long logs, or the heads of many runs."""

_PAGES: Final = 1024
"""Results kept, besides the bound on their events."""

_EVENTS: Final = 50_000
"""Most events in the results kept."""


class Viewed(NamedTuple):
    """What a view shows of a page, and what it remembers behind it.

    `shown` holds, for each event of the page that shows anything, what it shows.
    """

    shown: list[list[Event]]
    state: ViewState


_StateKey: TypeAlias = tuple[str, str, str, int, int]
"""View, run, epoch, where the state began to look, and where it stands."""

_ResultKey: TypeAlias = tuple[str, str, str, int, int, int]
"""View, run, epoch, where the state began to look, and the page's first and last event."""


class ViewedPages:
    """Runs views over pages. Call from the loop's thread."""

    def __init__(self, read: Callable[[str, Position], Awaitable[Page]]) -> None:
        self._read = read
        self._states: OrderedDict[_StateKey, ViewState] = OrderedDict()
        self._results: OrderedDict[_ResultKey, Viewed] = OrderedDict()
        self._events = 0
        self.computed = 0
        """Events that went through a view since the start."""

    def get(self, run_id: str, view: View, state: ViewState, page: Page) -> Viewed:
        """Return what a view shows of a page; `state` is its state before the page."""
        key = (view.key, run_id, page.epoch, state.since, page.first, page.last)
        viewed = self._results.get(key)
        if viewed is not None:
            self._results.move_to_end(key)
            return viewed
        after = state.copy()
        shown: list[list[Event]] = []
        for canonical in split_frames(page.frames):
            events = view.step(after, decode_event(canonical))
            if events:
                shown.append(events)
        self.computed += page.last - page.first + 1
        viewed = self._results[key] = Viewed(shown, after)
        self._events += len(shown) + 1
        while self._events > _EVENTS or len(self._results) > _PAGES:
            self._events -= len(self._results.popitem(last=False)[1].shown) + 1
        self._keep((view.key, run_id, page.epoch, state.since, page.last), after)
        return viewed

    def _keep(self, key: _StateKey, state: ViewState) -> None:
        self._states[key] = state
        self._states.move_to_end(key)
        while len(self._states) > _STATES:
            self._states.popitem(last=False)

    async def state_at(self, run_id: str, view: View, position: Position, first: int) -> ViewState:
        """Return a view's state at a position; `first` is the first event the log still has.

        Events that are gone are as if they had never been: the gap before them was told.
        """
        seq = min(first - 1, position.seq)
        state = ViewState(seq)
        begun = (view.key, run_id, position.epoch, seq)
        for key, kept in self._states.items():
            if key[:4] == begun and seq < key[4] <= position.seq:
                seq, state = key[4], kept
        while seq < position.seq:
            page = await self._read(run_id, Position(position.epoch, seq))
            if not page.frames:
                break
            if page.last > position.seq:
                page = _until(page, position.seq)
            state = self.get(run_id, view, state, page).state
            seq = page.last
        return state

    def forget(self, run_id: str) -> None:
        """Drop what is kept of a run."""
        for key in [key for key in self._states if key[1] == run_id]:
            del self._states[key]
        for result in [key for key in self._results if key[1] == run_id]:
            self._events -= len(self._results.pop(result).shown) + 1


def _until(page: Page, seq: int) -> Page:
    """Return the part of a page up to `seq`."""
    end = page.frames.index(b"\nid: %b-%d\n" % (page.epoch.encode(), seq + 1)) + 1
    return replace(page, last=seq, frames=page.frames[:end], closed=False)
