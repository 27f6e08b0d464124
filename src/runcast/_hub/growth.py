"""Which logs have become so long that their old events must be cut, and which producers wait for
it.

A log's length here is an estimate: only appends of this process count. The trimmer knows better,
and corrects it.
"""

import asyncio
import sys
from typing import Final, Protocol

__all__ = ("Growing", "Growth")

_LEAST_SLACK: Final = 1024 * 1024
"""How far a log may grow before it is cut, at least: each cut writes the snapshot of the cut
events, which may be large."""


class Growing(Protocol):
    """The part of an inlet that this module needs."""

    run_id: str
    kept: int
    """About how many bytes of the log are not cut."""

    def hold(self) -> None:
        """Make producers wait: in threads, and in `drain`."""
        ...

    def release(self) -> None:
        """Let the producers continue. Idempotent."""
        ...


class Growth:
    """Notes logs that have grown, for the trimmer. Call all methods on the loop.

    Args:
        keep_bytes: how much of each log to keep; 0 keeps everything.
    """

    def __init__(self, keep_bytes: int) -> None:
        self._keep = keep_bytes
        self._slack = max(keep_bytes // 4, _LEAST_SLACK)
        self.most_pending = max(self._slack // 2, _LEAST_SLACK) if keep_bytes else sys.maxsize
        """Most bytes of one log that may wait for their commit: they come on top of what a log has
        when its producers are held."""
        self._grown: dict[Growing, None] = {}
        self._has_grown = asyncio.Event()
        self.limit = sys.maxsize
        """Length of a log from which on `note` must be called."""

    def follow(self) -> None:
        """Begin to note logs, because a trimmer runs now."""
        if self._keep:
            self._has_grown = asyncio.Event()
            self.limit = self._keep + self._slack

    def leave(self) -> None:
        """Stop noting logs, and let all producers continue: the trimmer has ended. Idempotent."""
        self.limit = sys.maxsize
        for log in self._grown:
            log.release()
        self._grown.clear()

    def note(self, log: Growing) -> None:
        """Note a log to be cut; make its producers wait if the cut is overdue."""
        self._grown[log] = None
        self._has_grown.set()
        if log.kept > self.limit + self._slack:
            log.hold()

    async def grown(self) -> list[Growing]:
        """Return the logs to be cut, longest first, once there are any.

        A log is returned again until `was_cut`.
        """
        await self._has_grown.wait()
        return sorted(self._grown, key=lambda log: -log.kept)

    def was_cut(self, log: Growing, kept_before: int) -> None:
        """Note that a log was cut as far as possible; before, `kept_before` bytes were kept."""
        log.kept += self._keep - kept_before
        self._grown.pop(log, None)
        log.release()
        if not self._grown:
            self._has_grown.clear()
        if log.kept > self.limit:
            self.note(log)
