"""A store that fails and stalls on command, and counts its calls."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Self

from runcast.errors import RuncastError
from runcast.events.lifecycle import Status
from runcast.events.position import RUN, Position
from runcast.stores.base import (
    MAX_LIST,
    PAGE_BYTES,
    Append,
    Appended,
    Change,
    ChangePage,
    LogInfo,
    Owner,
    Page,
    Store,
    listen_to,
)
from runcast.testing.contract.harness import WAIT_S

__all__ = ("FaultyStore", "StoreCalls")


@dataclass(slots=True)
class StoreCalls:
    """Counts of a store's calls. A call counts when it is made, even if it then fails."""

    commits: int = 0
    appends: int = 0
    """Appends in the groups of all commits."""
    records: int = 0
    """Records in all appends."""
    reads: int = 0
    failed: int = 0
    """Calls that `fail_next` made fail."""
    most_at_once: int = 0
    """Most commits under way at the same time."""


class FaultyStore(Store):
    """Passes every call on to another store, but makes commits and reads fail or wait on command.

    A failing commit may or may not reach the other store (`is_applied`); its caller cannot know.
    Use the store on one loop.
    """

    def __init__(self, inner: Store) -> None:
        self.inner: Final = inner
        self.calls: Final = StoreCalls()
        self._faults: Final[dict[str, deque[tuple[RuncastError, bool]]]] = {
            "commit": deque(),
            "read": deque(),
        }
        self._is_holding = False
        self._held: Final[deque[asyncio.Future[None]]] = deque()
        self._came: Final = asyncio.Event()
        self._under_way = 0

    def fail_next(
        self,
        count: int,
        error: RuncastError,
        *,
        call: Literal["commit", "read"] = "commit",
        is_applied: bool = False,
    ) -> None:
        """Let the next `count` commits, or reads, raise `error`; adds to earlier calls.

        Args:
            is_applied: whether the commit is still made before it raises.
        """
        self._faults[call].extend([(error, is_applied)] * count)

    def hold(self) -> None:
        """Stall every later commit before it reaches the other store."""
        self._is_holding = True

    def release(self, count: int | None = None) -> None:
        """Let the `count` oldest held commits continue, and keep holding; None ends the hold."""
        if count is None:
            self._is_holding = False
            count = len(self._held)
        while count and self._held:
            future = self._held.popleft()
            if not future.done():  # if done, its commit was cancelled while it waited
                future.set_result(None)
                count -= 1

    @property
    def held(self) -> int:
        """Commits that wait for `release` now."""
        return sum(not future.done() for future in self._held)

    async def wait_held(self, count: int = 1) -> None:
        """Wait until at least `count` commits are held. Raises `TimeoutError` after 5 s."""
        async with asyncio.timeout(WAIT_S):
            while self.held < count:
                self._came.clear()
                await self._came.wait()

    @property
    def is_lasting(self) -> bool:
        return self.inner.is_lasting

    @property
    def identity(self) -> str:
        return self.inner.identity

    @property
    def path(self) -> str | None:
        return self.inner.path

    async def open(self) -> Self:
        await self.inner.open()
        return self

    async def close(self) -> None:
        await self.inner.close()

    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        self.calls.commits += 1
        self.calls.appends += len(group)
        self.calls.records += sum(len(append.records) for append in group)
        self._under_way += 1
        self.calls.most_at_once = max(self.calls.most_at_once, self._under_way)
        try:
            if self._is_holding:
                future = asyncio.get_running_loop().create_future()
                self._held.append(future)
                self._came.set()
                await future
            fault = self._next_fault("commit")
            if fault is None:
                return await self.inner.commit(group)
            error, is_applied = fault
            if is_applied:
                await self.inner.commit(group)
            raise error
        finally:
            self._under_way -= 1

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        self.calls.reads += 1
        fault = self._next_fault("read")
        if fault is not None:
            raise fault[0]
        return await self.inner.read(log_id, after, max_bytes)

    def _next_fault(self, call: str) -> tuple[RuncastError, bool] | None:
        if not self._faults[call]:
            return None
        self.calls.failed += 1
        return self._faults[call].popleft()

    # Everything else is passed on.

    async def create(
        self,
        log_id: str,
        *,
        kind: str = RUN,
        owner_id: str = "",
        labels: Mapping[str, str] | None = None,
        ttl_s: float | None = None,
        replace: bool | str = False,
        attachment: bytes = b"",
    ) -> LogInfo:
        return await self.inner.create(
            log_id,
            kind=kind,
            owner_id=owner_id,
            labels=labels,
            ttl_s=ttl_s,
            replace=replace,
            attachment=attachment,
        )

    async def attachment(self, log_id: str) -> tuple[str, bytes]:
        return await self.inner.attachment(log_id)

    async def info(self, log_id: str) -> LogInfo:
        return await self.inner.info(log_id)

    async def trim(self, log_id: str, first: int, snapshot: bytes) -> LogInfo:
        return await self.inner.trim(log_id, first, snapshot)

    async def trim_epoch(self, log_id: str, epoch: str, first: int, snapshot: bytes) -> LogInfo:
        return await self.inner.trim_epoch(log_id, epoch, first, snapshot)

    async def snapshot(self, log_id: str) -> tuple[int, bytes] | None:
        return await self.inner.snapshot(log_id)

    async def save_state(self, log_id: str, epoch: str, seq: int, state: bytes) -> None:
        await self.inner.save_state(log_id, epoch, seq, state)

    async def saved_state(self, log_id: str, epoch: str) -> tuple[int, bytes] | None:
        return await self.inner.saved_state(log_id, epoch)

    async def delete(self, log_id: str) -> None:
        await self.inner.delete(log_id)

    async def delete_epoch(self, log_id: str, epoch: str) -> None:
        await self.inner.delete_epoch(log_id, epoch)

    async def expired(self, limit: int = 100) -> Sequence[str]:
        return await self.inner.expired(limit)

    async def renew(self, owner: Owner, ttl_s: float) -> None:
        await self.inner.renew(owner, ttl_s)

    async def claim(self, log_id: str, owner_id: str) -> LogInfo:
        return await self.inner.claim(log_id, owner_id)

    async def orphans(self, limit: int = 100) -> Sequence[LogInfo]:
        return await self.inner.orphans(limit)

    async def list(
        self,
        *,
        kind: str | None = RUN,
        status: Status | None = None,
        labels: Mapping[str, str] | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[LogInfo]:
        return await self.inner.list(
            kind=kind, status=status, labels=labels, before=before, limit=limit
        )

    async def changes(self, after: str = "", *, limit: int = MAX_LIST) -> ChangePage:
        return await self.inner.changes(after, limit=limit)

    def listen(self, callback: Callable[[Change | None], None]) -> Callable[[], None]:
        return listen_to(self.inner, callback)
