"""From producers to the store: sequencing and group commit.

All inlets with pending records are taken together and committed as one group. While a group
commits, the next one gathers. So all producers share the cost of a commit, and an event waits at
most for the commit before its own, and 8 ms in a flood or while coroutines emit in every turn.
"""

import asyncio
import copy
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from runcast._clock import Clock
from runcast._hub.growth import Growth
from runcast._hub.inlets import Inlet, Part, Pending, has_ended
from runcast._hub.numbering import Numbering
from runcast._logs import get_logger
from runcast._settings import Settings
from runcast.errors import BackendError, RuncastError, StoreUnavailable
from runcast.stores.base import Appended, Store

__all__ = ("Pipeline", "PipelineStatistics")

_log: Final = get_logger("runcast.hub")

_FLOOD: Final = 16
"""From this many emitted events for each run on, a commit counts as a flood: the next one gathers.
Appends that a task awaits do not count: their task sends no more before the commit, and their
writer has gathered them."""

_GATHER_S: Final = 0.008
"""How long, seconds. Whoever emits so fast has the interpreter's lock for itself meanwhile, and
nobody sees the delay. Events of many runs do not gather: most of their cost is their own, and
each has a watcher who waits for it."""

_TURNS: Final = 16
"""Most turns of the loop in which coroutines emit more before a commit."""

_MOST_LOSSES: Final = 1000
"""Most logs of which a loss is remembered, for `loss_of`."""

_MOST_RENUMBERINGS: Final = 3
"""How often appends are sent again under new numbers before they are refused. Each time their log
must have begun again meanwhile."""


class PipelineStatistics(NamedTuple):
    """`pending_bytes` wait for their commit in `pending_appends`. `commits` and the fields after it
    count from the start."""

    pending_bytes: int
    pending_appends: int
    waiting_threads: int
    commits: int
    appended: int
    refused: int
    failed_commits: int


class Pipeline:
    """Commits the inlets' records, group by group.

    Args:
        publish: called on the loop with (run_id, outcome) for each committed append, before the
            tasks that wait for that append continue.
        failed: called on the loop when a commit fails, before it is tried again.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        publish: Callable[[list[tuple[str, Appended]]], None],
        failed: Callable[[BackendError], None],
        clock: Clock,
    ) -> None:
        self._store = store
        self._retry_s = settings.store_retry_s
        self._publish = publish
        self._failed = failed
        self._pending = Pending(settings, clock)
        self._numbering = Numbering()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._losses: dict[tuple[str, str], RuncastError] = {}
        """Why records that nobody awaited are not stored, by log and epoch."""
        self._commits = self._appended = self._refused = self._failed_commits = 0

    def statistics(self) -> PipelineStatistics:
        """Return what waits now and the counters so far."""
        return PipelineStatistics(
            self._pending.size,
            len(self._pending.batch),
            self._pending.waiting,
            self._commits,
            self._appended,
            self._refused,
            self._failed_commits,
        )

    @property
    def growth(self) -> Growth:
        """The logs that have become so long that they must be cut."""
        return self._pending.growth

    def check(self) -> None:
        """Raise the error of the last commit if commits fail at present."""
        if self._pending.failure is not None:
            raise copy.copy(self._pending.failure)

    def inlet(self, run_id: str, epoch: str, fence: int | None) -> Inlet:
        """Return an inlet of a log."""
        return Inlet(self._pending, run_id, epoch, fence)

    async def open(self) -> None:
        """Begin to commit on the running loop; may be called again after `close`."""
        self._stopping.clear()
        self._pending.open()
        self._numbering.open()
        self._task = asyncio.create_task(self._run(), name="runcast-pipeline")

    async def close(self) -> None:
        """Commit pending records (one more try if the store fails), and stop. Idempotent."""
        if self._task is None:
            return
        self._pending.refuse_more()
        self._pending.wake.set()
        self._stopping.set()
        await self._task
        self._task = None

    async def _run(self) -> None:
        pending = self._pending
        try:
            while pending.batch or not pending.is_closed:
                await pending.wake.wait()
                await self._let_coroutines_emit()
                pending.wake.clear()
                taken = pending.take()
                if taken:
                    await self._commit(taken)
                emitted = [len(part.records) for part in taken if part.future is None]
                is_flood = emitted and sum(emitted) >= _FLOOD * len(emitted)
                if is_flood and not pending.is_behind and not pending.is_closed:
                    pending.is_woken = True  # the clock wakes us; producers need not
                    await asyncio.sleep(_GATHER_S)
                    pending.wake.set()
        finally:
            # Maybe cancelled with its loop: nobody may wait for a commit that will not come.
            pending.refuse_more()
            while pending.batch:
                left = pending.take()
                self._settle(left, [StoreUnavailable("the hub has stopped")] * len(left))

    async def _let_coroutines_emit(self) -> None:
        """Wait while coroutines emit more in each turn of the loop.

        A commit would take their time, and an append costs much more than one more of its events.
        """
        pending, time = self._pending, asyncio.get_running_loop().time
        ends_at = time() + _GATHER_S
        for _ in range(_TURNS):
            size = pending.size
            if not pending.is_gathering or pending.is_behind or time() >= ends_at:
                return
            await asyncio.sleep(0)
            if pending.size == size:
                return

    async def _commit(self, taken: Sequence[Part]) -> None:
        try:
            while taken := self._refuse_behind_losses(taken):
                count = self._numbering.number(taken)
                group, taken = taken[:count], taken[count:]
                await self._commit_together(group)
        finally:
            if taken:  # cancelled together with the loop
                self._settle(taken, [StoreUnavailable("the hub has stopped")] * len(taken))

    def _refuse_behind_losses(self, taken: Sequence[Part]) -> Sequence[Part]:
        """Refuse the parts that come behind lost records of their inlet, and return the others.

        These records were accepted before the part was added. To store the part without them would
        make a hole in the log, and a flush would confirm them.
        """
        kept: list[Part] = []
        for part in taken:
            lost = part.inlet.lost
            if lost is None or part.is_after_loss:
                kept.append(part)
            else:
                self._settle([part], [lost])
        return kept

    async def _commit_together(self, taken: Sequence[Part]) -> None:
        """Commit parts as one group, and settle each."""
        outcomes: list[Appended | RuncastError]
        outcomes = [StoreUnavailable("the hub stopped before the store had answered")] * len(taken)
        try:
            outcomes = await self._persist(taken)
            for _ in range(_MOST_RENUMBERINGS):
                again = self._numbering.renumber(taken, outcomes)
                if not again:
                    break
                more = await self._persist([taken[index] for index in again])
                for index, outcome in zip(again, more, strict=True):
                    outcomes[index] = outcome
        finally:
            self._settle(taken, outcomes)

    async def _persist(self, taken: Sequence[Part]) -> list[Appended | RuncastError]:
        """Commit a group; return an outcome or an error per part."""
        try:
            return list(await self._try(taken))
        except BackendError as error:
            self._pending.recover()  # the next records show whether the store still fails
            return [error] * len(taken)
        except Exception as error:  # noqa: BLE001 - a store's error must not end all commits
            self._pending.recover()
            _log.exception("a commit failed unexpectedly; %d appends are refused", len(taken))
            return [BackendError(f"the store failed: {type(error).__name__}")] * len(taken)

    async def _try(self, taken: Sequence[Part]) -> Sequence[Appended | RuncastError]:
        """Commit a group, repeatedly while the store cannot be reached.

        Raises the store's error if trying again does not help, or if the hub closes; then nobody
        knows whether the group was appended.
        """
        while True:
            try:
                outcomes = await self._store.commit(taken)
            except BackendError as error:
                self._failed_commits += 1
                if not error.retryable:
                    raise
                if self._pending.failure is None:
                    _log.error("a commit failed and will be tried again: %s", error)
                self._numbering.send_again(taken)
                self._pending.fail(error, taken)
                self._failed(error)
                if self._stopping.is_set():
                    raise
                await self._pause()
            else:
                self._commits += 1
                if self._pending.failure is not None:
                    self._pending.recover()
                    _log.warning("commits succeed again; nothing was lost")
                return outcomes

    async def _pause(self) -> None:
        """Wait before the next try, unless the hub closes."""
        try:
            async with asyncio.timeout(self._retry_s):
                await self._stopping.wait()
        except TimeoutError:
            pass

    def _settle(self, taken: Sequence[Part], outcomes: Sequence[Appended | RuncastError]) -> None:
        """Publish what was committed, then resume the waiting tasks."""
        published: list[tuple[str, Appended]] = []
        for part, outcome in zip(taken, outcomes, strict=True):
            if part.is_flush and part.inlet.lost is not None:
                part.resolve(part.inlet.lost)  # it confirms nothing, whatever its own outcome
            if isinstance(outcome, RuncastError) or outcome.repeated:
                self._numbering.settle(part, outcome)
            elif part.producer is not None and not part.is_numbered:
                part.inlet.number = part.inlet.sent = part.producer.number
            if isinstance(outcome, RuncastError):
                if part.future is None:
                    self._refuse(part, outcome)
                continue
            if outcome.is_resent or not outcome.repeated:
                self._appended += len(part.records)
            if outcome.closed:
                part.inlet.end(has_ended(part.log_id))
            if outcome.pages or outcome.closed or outcome.repeated:
                published.append((part.log_id, outcome))
        self._publish(published)
        for part, outcome in zip(taken, outcomes, strict=True):
            if part.future is not None:
                part.resolve(outcome if part.is_numbered else _as_first_made(outcome))
        self._pending.free(taken)

    def _refuse(self, part: Part, error: RuncastError) -> None:
        """Report lost records that nobody awaits: in the log, and at the next emit or flush."""
        count, inlet = len(part.records), part.inlet
        fate = "may be lost" if isinstance(error, BackendError) else "were not taken"
        if error is inlet.lost:
            fate = "are not stored either"
        _log.warning("%d events of run %s %s: %s", count, part.log_id, fate, error)
        self._refused += count
        if inlet.lost is None:
            inlet.lose(_as_loss(error))
        while len(self._losses) >= _MOST_LOSSES:
            del self._losses[next(iter(self._losses))]
        self._losses.setdefault((part.log_id, inlet.epoch), inlet.lost or error)

    def loss_of(self, log_id: str, epoch: str) -> RuncastError | None:
        """Return why records that were put into a log are not stored; None if that is not known of
        any."""
        return self._losses.get((log_id, epoch))


def _as_loss(error: RuncastError) -> RuncastError:
    """Return an error as it is reported to those who put the lost records."""
    if not isinstance(error, BackendError):
        return error
    loss, what = copy.copy(error), "events that were emitted before may be lost"
    loss.args = (f"{what}: {error.message}", f"{what}: {error.public}")
    return loss


def _as_first_made(outcome: Appended | RuncastError) -> Appended | RuncastError:
    """Return a repeated append's outcome as if this were its first time."""
    if isinstance(outcome, Appended) and outcome.is_resent:
        return msgspec.structs.replace(outcome, repeated=False, is_resent=False)
    return outcome
