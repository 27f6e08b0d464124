"""Pages as a view shows them and a dialect writes them, computed once for all equal watchers.

The memory of a view or encoder at a position depends on the log and on the position where it
began: the first event, or the first event that was kept. So the state after each page is cached
with the page's result. Live watchers share both. A watcher that resumes starts from the nearest
cached state, or from the beginning of the kept log.
"""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeAlias

from msgspec.structs import replace

from runcast._hub.cache import Cache
from runcast._wire.dialects import Dialect, Encoder, LogRef
from runcast.errors import Gone
from runcast.events.model import Event, decode_event
from runcast.events.position import Position, split_frames
from runcast.events.view import View, ViewState
from runcast.events.vocabulary import TERMINAL
from runcast.stores.base import LogInfo, Page

__all__ = ("RenderState", "Rendered", "RenderedPages", "Rendering")

_STATES: Final = 512
"""States kept: one per page of a few long logs, or one per run of many."""

_PAGES: Final = 4096
"""Results kept: a bound on their number, because they can be small."""

_LEAST_BYTES: Final = 1024
"""Memory of a state or a result besides its text."""


class RenderState(NamedTuple):
    """The memory of a view and an encoder after an event; both began at `since`."""

    since: int
    view: ViewState | None
    encoder: Encoder | None

    def copy(self) -> "RenderState":
        """Return an independent copy."""
        view, encoder = self.view, self.encoder
        return RenderState(
            self.since,
            None if view is None else view.copy(),
            None if encoder is None else encoder.copy(),
        )

    @property
    def size(self) -> int:
        """Characters remembered."""
        view, encoder = self.view, self.encoder
        return (0 if view is None else view.size) + (0 if encoder is None else encoder.size)


_NOTHING: Final = RenderState(0, None, None)


class Rendered(NamedTuple):
    """What a watcher sees of a page: `groups` without a dialect, `frames` in a dialect.

    A group holds what is shown because of one event of the log; events that show nothing have no
    group. `end` is what the dialect writes after a terminal event, the page's last. `hidden`
    counts the events at the page's end that show nothing. `state` is the state after the page.
    """

    groups: list[list[Event]]
    frames: bytes
    end: bytes
    hidden: int
    state: RenderState


class Rendering:
    """A way to show a log: through a view, in a dialect, or both. Immutable."""

    __slots__ = ("dialect", "has_state", "is_stored_form", "key", "view")

    def __init__(self, view: View | None = None, dialect: Dialect | None = None) -> None:
        self.view = view
        self.dialect = dialect
        self.key = f"{view.key if view else ''}/{dialect.name if dialect else ''}"
        """The rendering's key."""
        self.has_state = view is not None or (dialect is not None and dialect.has_state)
        """Whether what is shown of an event depends on the events before."""
        self.is_stored_form = view is None and dialect is not None and dialect.name == "runcast"
        """Whether pages are shown as stored, so that there is nothing to render."""

    def start(self, log: LogRef, since: int = 0) -> RenderState:
        """Return the state before the event `since` + 1, if earlier events are unknown."""
        if self.is_stored_form:
            return _NOTHING
        since = since if self.has_state else 0
        view = None if self.view is None else ViewState(since)
        encoder = None if self.dialect is None else self.dialect.start(log, since)
        return RenderState(since, view, encoder)

    def render(self, before: RenderState, page: Page) -> Rendered:
        """Return what is shown of a page with events; `before` is not changed."""
        if self.view is None and self.dialect is not None and not self.dialect.has_state:
            rewritten = self.dialect.rewrite(page.frames)
            if rewritten is not None:
                return Rendered([], rewritten, b"", 0, before)
        after = before.copy()
        groups: list[list[Event]] = []
        frames: list[bytes] = []
        hidden = 0
        for canonical in split_frames(page.frames):
            event = decode_event(canonical)
            hidden += 1
            group = [event] if self.view is None else self._see(after, event)
            if group and after.encoder is not None:
                encoded = after.encoder.group(group)
                if encoded:
                    frames.append(encoded)
                    hidden = 0
            elif group:
                groups.append(group)
                hidden = 0
        end = b""
        if after.encoder is not None and (page.closed or event.type in TERMINAL):
            end = after.encoder.copy().end(event)
        return Rendered(groups, b"".join(frames), end, hidden, after)

    def _see(self, state: RenderState, event: Event) -> list[Event]:
        assert self.view is not None
        assert state.view is not None
        return self.view.step(state.view, event)


_StateKey: TypeAlias = tuple[str, LogRef, int, int]
"""Rendering, log, the `seq` where the state began, and its present `seq`."""

_ResultKey: TypeAlias = tuple[str, LogRef, int, int, int]
"""Rendering, log, the `seq` where the state began, and the page's first and last `seq`."""


class RenderedPages:
    """Renders pages, and caches the results. Call from the loop's thread.

    Results and states are each bounded in bytes.
    """

    def __init__(
        self,
        read: Callable[[str, Position], Awaitable[Page]],
        info: Callable[[str], Awaitable[LogInfo]],
        limit_bytes: int,
    ) -> None:
        self._read = read
        self._info = info
        self._states: Cache[_StateKey, RenderState] = Cache(_STATES, limit_bytes)
        self._results: Cache[_ResultKey, Rendered] = Cache(_PAGES, limit_bytes)
        self._whole: dict[str, Rendering] = {}
        self.computed = 0
        """Events that were rendered since the start."""

    def rendering(self, view: View | None, dialect: Dialect) -> Rendering:
        """Return a rendering; the same object for all watchers of a dialect without a view."""
        if view is not None:
            return Rendering(view, dialect)
        return self._whole.setdefault(dialect.name, Rendering(None, dialect))

    @property
    def size(self) -> int:
        """About how many bytes are cached."""
        return self._states.size + self._results.size

    def get(self, log: LogRef, rendering: Rendering, before: RenderState, page: Page) -> Rendered:
        """Return what is shown of a page with events; `before` is the state before it."""
        key = (rendering.key, log, before.since, page.first, page.last)
        rendered = self._results.get(key)
        if rendered is not None:
            return rendered
        rendered = rendering.render(before, page)
        self.computed += page.last - page.first + 1
        size = (rendered.state.size if rendering.has_state else 0) + _LEAST_BYTES
        self._results.keep(key, rendered, size + (len(rendered.frames) or len(page.frames)))
        if rendering.has_state:
            at = (rendering.key, log, before.since, page.last)
            self._states.keep(at, rendered.state, size)
        return rendered

    async def state_at(self, run_id: str, rendering: Rendering, position: Position) -> RenderState:
        """Return the state after a position; the first state if the log has another epoch by now.

        Events that are gone count as missing: watchers get a gap before the next events.

        Raises what `Store.read` raises, except `Gone`.
        """
        log = LogRef(run_id, position.epoch)
        while (info := await self._info(run_id)).epoch == position.epoch:
            try:
                since = min(info.first - 1, position.seq)
                return await self._fold(log, rendering, since, position.seq)
            except Gone:
                continue  # trimmed or restarted meanwhile: read again
        return rendering.start(log)

    async def _fold(self, log: LogRef, rendering: Rendering, since: int, to: int) -> RenderState:
        at, state = since, rendering.start(log, since)
        begun = (rendering.key, log, since)
        for key, kept in self._states.items():
            if key[:3] == begun and at < key[3] <= to:
                at, state = key[3], kept
        while at < to:
            page = await self._read(log.run_id, Position(log.epoch, at))
            if not page.frames:
                break
            if page.last > to:
                page = _until(page, to)
            state = self.get(log, rendering, state, page).state
            at = page.last
        return state

    def forget(self, run_id: str) -> None:
        """Drop a run's cached states and results."""
        self._states.forget(lambda key: key[1].run_id == run_id)
        self._results.forget(lambda key: key[1].run_id == run_id)


def _until(page: Page, seq: int) -> Page:
    """Return the part of a page up to `seq`."""
    end = page.frames.index(b"\nid: %b-%d\n" % (page.epoch.encode(), seq + 1)) + 1
    return replace(page, last=seq, frames=page.frames[:end], closed=False)
