"""Which logs have become so long that their old events are to be cut, and who waits for that.

A log is measured by what is appended in this process, about; whoever cuts knows better and says so.
"""

import asyncio
import sys
from typing import Final, Protocol

__all__ = ("Growing", "Growth")

_LEAST_SLACK: Final = 4 * 1024 * 1024
"""What a log may grow by, at least, before it is cut: each cut writes the state that the events
before it led to, which may be large."""


class Growing(Protocol):
    """What records are appended to a log through."""

    run_id: str
    kept: int
    """Bytes of the log, about, that are not cut."""

    def hold(self) -> None:
        """Let producers in threads, and those that drain, wait."""
        ...

    def release(self) -> None:
        """Let them go on. Idempotent."""
        ...


class Growth:
    """Notes what grows, for one that cuts. All methods are called on the loop.

    Args:
        keep_bytes: how much is kept of a log; 0: all.
    """

    def __init__(self, keep_bytes: int) -> None:
        self._keep = keep_bytes
        self._slack = max(keep_bytes // 4, _LEAST_SLACK)
        self._grown: dict[Growing, None] = {}
        self._has_grown = asyncio.Event()
        self.limit = sys.maxsize
        """Length of a log from which on `note` is to be called."""

    def follow(self) -> None:
        """Begin to note: from now on somebody cuts."""
        if self._keep:
            self._has_grown = asyncio.Event()
            self.limit = self._keep + self._slack

    def leave(self) -> None:
        """Stop to note, and let everybody go on: nobody cuts any more. Idempotent."""
        self.limit = sys.maxsize
        for log in self._grown:
            log.release()
        self._grown.clear()

    def note(self, log: Growing) -> None:
        """Have a log cut, and its producers wait if that is overdue."""
        self._grown[log] = None
        self._has_grown.set()
        if log.kept > self.limit + self._slack:
            log.hold()

    async def grown(self) -> list[Growing]:
        """Return what is to be cut, once there is something; until `was_cut` it is returned again.

        The longest comes first.
        """
        await self._has_grown.wait()
        return sorted(self._grown, key=lambda log: -log.kept)

    def was_cut(self, log: Growing, kept_before: int) -> None:
        """Note that nothing more can be cut from a log that had `kept_before` bytes then."""
        log.kept += self._keep - kept_before
        self._grown.pop(log, None)
        log.release()
        if not self._grown:
            self._has_grown.clear()
        if log.kept > self.limit:
            self.note(log)
