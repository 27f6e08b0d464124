"""One watcher's lens on a log: a cursor, and what the watcher sees of each page.

A lens is a source (`watcher`): a view and a dialect over a cursor. `EventLens` gives chunks with
the events that a view shows, for readers inside the process. `FrameLens` gives the bytes that a
stream sends. `find_dialect` finds dialects by name, including those of installed packages.
"""

from abc import ABC, abstractmethod
from typing import Final, Generic, TypeVar

from runcast import _plugins
from runcast._hub.cursor import Chunk, Cursor
from runcast._hub.rendering import Rendered, RenderedPages, Rendering
from runcast._wire.dialects import DIALECTS, Dialect, LogRef
from runcast.errors import InvalidValue
from runcast.stores.base import Page

__all__ = (
    "EventLens",
    "FrameLens",
    "Lens",
    "find_dialect",
)

T = TypeVar("T")

_HIDDEN_EVENTS: Final = 100
"""Hidden events after which a stream moves the watcher's cursor past them."""


class Lens(ABC, Generic[T]):
    """A rendering over a cursor, which it closes. `await begin()` before anything else."""

    __slots__ = ("_log", "_pages", "_rendering", "_state", "cursor")

    def __init__(self, pages: RenderedPages, cursor: Cursor, rendering: Rendering) -> None:
        self._pages = pages
        self._rendering = rendering
        self.cursor = cursor
        self._restart(0)

    def _restart(self, since: int) -> None:
        self._log = LogRef(self.cursor.run_id, self.cursor.position.epoch)
        self._state = self._rendering.start(self._log, since)

    async def begin(self) -> None:
        """Get the state at the cursor. Raises what `Cursor.read` raises."""
        position = self.cursor.position
        if self._rendering.has_state and position.seq:
            self._state = await self._pages.state_at(self._log.run_id, self._rendering, position)

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to poll until the next wake-up, but more will come."""
        return self.cursor.is_current

    @property
    def ended(self) -> bool:
        """Whether nothing follows the taken items."""
        return self.cursor.ended

    @property
    def behind(self) -> bool:
        """Whether only `read()` can return the next item."""
        return self.cursor.behind

    def poll(self) -> T | None:
        """Return the next item from memory, or None."""
        return self._show(self.cursor.poll())

    async def read(self) -> T | None:
        """Return the next item from the store."""
        return self._show(await self.cursor.read())

    def _show(self, chunk: Chunk | None) -> T | None:
        if chunk is None:
            return None
        if chunk.gap is not None:
            self._restart(chunk.position.seq)  # a gap loses the memory of the events before it
        return self.show(chunk)

    @abstractmethod
    def show(self, chunk: Chunk) -> T:
        """Return what a watcher sees of a chunk."""

    def render(self, page: Page) -> Rendered:
        """Return what a watcher sees of a page with events, and advance past the page."""
        rendered = self._pages.get(self._log, self._rendering, self._state, page)
        self._state = rendered.state
        return rendered

    def keep_to(self, epoch: str) -> bool:
        """End before any other epoch; see `Cursor.keep_to`."""
        return self.cursor.keep_to(epoch)

    def close(self) -> None:
        """Close the cursor. Idempotent."""
        self.cursor.close()


class EventLens(Lens[Chunk]):
    """Chunks with the events that a view shows; without a view, unchanged."""

    __slots__ = ()

    def show(self, chunk: Chunk) -> Chunk:
        if self._rendering.view is None or chunk.page is None or not chunk.page.frames:
            return chunk
        return chunk._replace(shown=self.render(chunk.page).groups)


class FrameLens(Lens[bytes]):
    """Bytes in a rendering's dialect, of all events or of the events that its view shows."""

    __slots__ = ("_dialect", "_hidden", "_is_stored_form", "_prelude")

    def __init__(
        self, pages: RenderedPages, cursor: Cursor, rendering: Rendering, dialect: Dialect
    ) -> None:
        super().__init__(pages, cursor, rendering)
        self._dialect = dialect
        self._is_stored_form = rendering.is_stored_form
        self._hidden = 0
        self._prelude = self._prelude_here()

    def _prelude_here(self) -> bytes:
        return self._dialect.prelude(self._log) if self.cursor.is_at_start else b""

    def poll(self) -> bytes | None:
        if self._prelude:
            prelude, self._prelude = self._prelude, b""
            return prelude
        # The usual wake-up, without making a `Chunk`.
        page = self.cursor.take()
        return self._frames(page) if page is not None else super().poll()

    def show(self, chunk: Chunk) -> bytes:
        """Return a chunk in the dialect; empty if nothing is shown."""
        if chunk.gap is not None:
            self._hidden = 0
            return self._dialect.gap(self._log, chunk.gap.data()) + self._prelude_here()
        return self._frames(chunk.page) if chunk.page is not None and chunk.page.frames else b""

    def _frames(self, page: Page) -> bytes:
        """Return the frames of a page with events, and advance past the page."""
        if self._is_stored_form:
            return page.frames
        rendered = self.render(page)
        frames = rendered.frames
        self._hidden = rendered.hidden + (0 if frames else self._hidden)
        if self._hidden >= _HIDDEN_EVENTS or (self._hidden and page.closed):
            self._hidden = 0
            frames += self._dialect.skip(str(page.position))
        return frames + rendered.end if page.closed else frames


def find_dialect(name: str) -> Dialect:
    """Return the dialect with this name, ours or an installed package's.

    Packages offer dialects through entry points of the group `runcast.dialects`.

    Raises:
        InvalidValue: there is no such dialect (the message lists the known ones), or its package
            cannot be imported.
    """
    dialect = DIALECTS.get(name)
    if dialect is not None:
        return dialect
    offered = _plugins.find(_plugins.DIALECTS, name)
    if offered is None:
        known = ", ".join([*DIALECTS, *_plugins.names(_plugins.DIALECTS)])
        raise InvalidValue(f"expected a dialect, one of {known}; got {name[:80]!r}")
    made: object = offered() if isinstance(offered, type) else offered
    if not isinstance(made, Dialect) or made.name != name:
        raise InvalidValue(f"expected the package to offer a Dialect {name!r}, got {made!r:.80}")
    return made
