"""Pages as a view shows them, computed once for all who watch a run through the same view.

What a view remembers at a position depends on the log, and on where it began to look: at the first
event, or behind those that were gone by then. So the state behind each page is kept with the page's
result: watchers who follow live share both, and whoever resumes starts from the nearest state that
is kept, or from the beginning of what is left of the log.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from msgspec.structs import replace

from runcast.events.model import Event, decode_event
from runcast.events.position import Position, split_frames
from runcast.events.view import View, ViewState
from runcast.stores.base import Page

__all__ = ("Viewed", "ViewedPages")

K = TypeVar("K")
V = TypeVar("V")

_STATES: Final = 512
"""States kept: a page's worth apart for a few long logs, or the heads of many runs."""

_PAGES: Final = 1024
"""Results kept."""

_LEAST_BYTES: Final = 1024
"""What anything that is kept takes, besides its text."""


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
    """Runs views over pages. Call from the loop's thread.

    What is kept is bounded in bytes, as long as the pages and what was gathered from them: results
    and states each by themselves. The least recently used goes first.
    """

    def __init__(self, read: Callable[[str, Position], Awaitable[Page]], limit_bytes: int) -> None:
        self._read = read
        self._states: _Kept[_StateKey, ViewState] = _Kept(_STATES, limit_bytes)
        self._results: _Kept[_ResultKey, Viewed] = _Kept(_PAGES, limit_bytes)
        self.computed = 0
        """Events that went through a view since the start."""

    @property
    def size(self) -> int:
        """Bytes kept, about."""
        return self._states.size + self._results.size

    def get(self, run_id: str, view: View, state: ViewState, page: Page) -> Viewed:
        """Return what a view shows of a page; `state` is its state before the page."""
        key = (view.key, run_id, page.epoch, state.since, page.first, page.last)
        viewed = self._results.get(key)
        if viewed is not None:
            return viewed
        after = state.copy()
        shown: list[list[Event]] = []
        for canonical in split_frames(page.frames):
            events = view.step(after, decode_event(canonical))
            if events:
                shown.append(events)
        self.computed += page.last - page.first + 1
        viewed, size = Viewed(shown, after), after.size
        self._results.keep(key, viewed, len(page.frames) + size)
        self._states.keep((view.key, run_id, page.epoch, state.since, page.last), after, size)
        return viewed

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
        self._states.forget(lambda key: key[1] == run_id)
        self._results.forget(lambda key: key[1] == run_id)


class _Kept(Generic[K, V]):
    """What was used last, as much as may be."""

    def __init__(self, most: int, limit_bytes: int) -> None:
        self._most = most
        self._limit = limit_bytes
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.size = 0

    def get(self, key: K) -> V | None:
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def keep(self, key: K, value: V, size: int) -> None:
        self._drop(key)
        self._kept[key] = value, size + _LEAST_BYTES
        self.size += size + _LEAST_BYTES
        while self.size > self._limit or len(self._kept) > self._most:
            self._drop(next(iter(self._kept)))

    def items(self) -> Iterator[tuple[K, V]]:
        return ((key, value) for key, (value, _) in self._kept.items())

    def forget(self, is_forgotten: Callable[[K], bool]) -> None:
        for key in list(filter(is_forgotten, self._kept)):
            self._drop(key)

    def _drop(self, key: K) -> None:
        _, size = self._kept.pop(key, (None, 0))
        self.size -= size


def _until(page: Page, seq: int) -> Page:
    """Return the part of a page up to `seq`."""
    end = page.frames.index(b"\nid: %b-%d\n" % (page.epoch.encode(), seq + 1)) + 1
    return replace(page, last=seq, frames=page.frames[:end], closed=False)
