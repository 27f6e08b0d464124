"""Read a run's log chunk by chunk, for readers that may leave without closing."""

import asyncio
from typing import TYPE_CHECKING, Self

from runcast import OpenHub, Position
from runcast._hub.cursor import Chunk
from runcast.errors import NotFound

if TYPE_CHECKING:
    from runcast._hub.watcher import Watch

__all__ = ("LogReader",)


class LogReader:
    """A reader's place in a run's log.

    Between two reads it holds nothing of the hub, so a reader need not close it. In a `with` block
    the cursor is kept between reads, for readers that do close.

    Args:
        after: the position to continue from; None is the beginning.
        wait_s: longest wait of `next`; None waits for ever.
        follows: whether to continue in a log that replaces this one.
    """

    def __init__(
        self,
        hub: OpenHub,
        run_id: str,
        after: Position | None = None,
        *,
        wait_s: float | None = None,
        follows: bool = True,
    ) -> None:
        self._hub = hub.hub
        self._run_id = run_id
        self._wait_s = wait_s
        self._epoch = after.epoch if after is not None and not follows else ""
        self._watch: Watch[Chunk] | None = None
        self._is_kept = False
        self.position = after
        """The position after everything read so far; None before the first chunk."""
        self.has_ended = False
        """Whether nothing more can follow."""

    async def next(self) -> Chunk | None:
        """Return the next chunk; None if nothing can follow, as in a deleted run.

        Raises:
            TimeoutError: nothing came for `wait_s`.
            StoreUnavailable: the log cannot be read at present.
        """
        if self.has_ended:
            return None
        try:
            if self._watch is None:
                self._watch = await self._hub.watch(self._run_id, self.position)
            async with asyncio.timeout(self._wait_s):
                chunk = await self._watch.next()
        except NotFound:
            chunk = None
        finally:
            if not self._is_kept:
                self._let_go()
        if chunk is None or (self._epoch and chunk.position.epoch != self._epoch):
            self.has_ended = True
            return None
        self.position, self.has_ended = chunk.position, chunk.ended
        return chunk

    def _let_go(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def __enter__(self) -> Self:
        self._is_kept = True
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_kept = False
        self._let_go()
