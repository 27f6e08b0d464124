"""Logs that this process owns: begun or claimed here, kept by its lease, ended once.

`Hub.begin` makes them. Everything that writes a log from its first event to its last uses it:
functions, blocks of code, streams of other programs.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

from runcast._clock import Clock
from runcast._hub.inlets import Inlet
from runcast._hub.lease import Lease
from runcast._hub.owned_log import OwnedLog
from runcast._logs import get_logger
from runcast.errors import BackendError, NotFound
from runcast.events.position import RUN, kind_of, make_log_id
from runcast.stores.base import Change, LogInfo

__all__ = ("CANCEL_LABEL", "CONTINUED", "REPLACED", "OwnedLogs")

CANCEL_LABEL: Final = "runcast.cancel"
"""Set on a log by a process that does not own the log: the reason to cancel it."""

REPLACED: Final = "replaced by a new run of the same id"
"""The reason for cancelling a log that is begun again."""

CONTINUED: Final = "another process continues the run, because this one was paused past its lease"
"""The reason for cancelling what works on a log that another process has taken over."""

_UNCONFIRMED_S: Final = 60.0
"""How long after a failed beginning the store may still begin the log: it may have stalled with the
request in its hands, or the network may deliver the request late."""

_LOOK_AGAIN_S: Final = 1.0
"""Pause before the store is asked again."""

_log: Final = get_logger("runcast.hub")


class _MakesLogs(Protocol):
    """The needed methods of the hub."""

    async def create(
        self,
        log_id: str,
        *,
        kind: str,
        owner_id: str,
        labels: Mapping[str, str] | None,
        ttl_s: float | None,
        replace: bool | str,
        attachment: bytes = b"",
    ) -> Inlet: ...

    async def info(self, log_id: str, /) -> LogInfo: ...

    def inlet(self, log_id: str, epoch: str, fence: int | None, /) -> Inlet: ...


class OwnedLogs:
    """The owned logs of one hub, and other processes' commands to them.

    A command is a change of the log by another process: it sets `CANCEL_LABEL`, deletes the log,
    begins another epoch, or has taken the log over and continues it.

    Args:
        makes_logs: the hub.
        max_event_bytes: see `OwnedLog.end`.
    """

    def __init__(
        self, makes_logs: "_MakesLogs", lease: Lease, clock: Clock, max_event_bytes: int
    ) -> None:
        self._hub = makes_logs
        self._lease = lease
        self._clock = clock
        self._max_event_bytes = max_event_bytes
        self._logs: dict[str, OwnedLog] = {}
        self._written: dict[str, None] = {}
        self._beginning: set[asyncio.Task[OwnedLog]] = set()
        self._listeners: dict[str, dict[object, Callable[[], None]]] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}

    async def begin(
        self,
        log_id: str,
        *,
        kind: str,
        labels: Mapping[str, str] | None,
        ttl_s: float | None,
        replace: bool | str,
        attachment: bytes = b"",
    ) -> OwnedLog:
        """See `Hub.begin`."""

        async def begin() -> OwnedLog:
            await self._lease.hold()
            owner_id, asked_at = self._lease.owner_id, self._clock.time()
            # Others may command a log that the store has begun, before its answer is here.
            full_id, is_commanded = make_log_id(kind, log_id), asyncio.Event()
            leave = self.listen(full_id, is_commanded.set)
            try:
                inlet = await self._hub.create(
                    log_id,
                    kind=kind,
                    owner_id=owner_id,
                    labels=labels,
                    ttl_s=ttl_s,
                    replace=replace,
                    attachment=attachment,
                )
            except BackendError as error:
                if error.retryable:  # the store may have begun the log, or may do so later
                    self.do(self._end_unconfirmed(full_id, owner_id, asked_at))
                raise
            finally:
                leave()
            owned = self.add(inlet)
            if is_commanded.is_set():
                self.look(full_id)
            return owned

        beginning = asyncio.create_task(begin(), name=f"runcast-begin-{log_id}")
        self._beginning.add(beginning)
        beginning.add_done_callback(self._beginning.discard)
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            # The store may still begin the log. If so, the log gets its ending.
            beginning.add_done_callback(self._end_begun)
            raise

    def _end_begun(self, beginning: "asyncio.Task[OwnedLog]") -> None:
        if not beginning.cancelled() and beginning.exception() is None:
            self.do(beginning.result().cancel("its beginning was cancelled"))

    async def _end_unconfirmed(self, log_id: str, owner_id: str, asked_at: float) -> None:
        """End a log whose beginning failed, if the store begins it all the same.

        Its owner lives, so no other process would end it.
        """
        until = self._clock.monotonic() + _UNCONFIRMED_S
        while self._clock.monotonic() < until:
            await asyncio.sleep(_LOOK_AGAIN_S)
            try:
                info = await self._hub.info(log_id)
            except NotFound:
                continue
            except BackendError:
                until = self._clock.monotonic() + _UNCONFIRMED_S  # the store may catch up later
                continue
            owned = self._logs.get(log_id)
            if owned is not None and owned.epoch == info.epoch:
                return  # begun again since
            if info.owner_id == owner_id and info.created_at >= asked_at:
                if self._beginning:
                    continue  # it may be one of these
                unconfirmed = self.add(self._hub.inlet(log_id, info.epoch, info.fence))
                await unconfirmed.cancel("its beginning could not be confirmed")
            return

    def get(self, log_id: str) -> OwnedLog | None:
        """Return a log if this hub owns it now."""
        return self._logs.get(log_id)

    def add(self, inlet: Inlet) -> OwnedLog:
        """Own a log that was begun or claimed; an earlier owned epoch is cancelled."""
        replaced = self._logs.get(inlet.run_id)
        owned = OwnedLog(inlet, self._clock, self._max_event_bytes, self.discard)
        self._logs[inlet.run_id] = owned
        self._written[inlet.run_id] = None
        if replaced is not None:
            self.do(replaced.cancel(REPLACED))
        return owned

    def discard(self, owned: OwnedLog) -> None:
        """Stop owning a log. Idempotent."""
        owned.left.set()
        if self._logs.get(owned.log_id) is owned:
            del self._logs[owned.log_id]

    def take_written(self) -> list[str]:
        """Return the runs that were owned here since the last call."""
        written, self._written = self._written, dict.fromkeys(self._logs)
        return [log_id for log_id in written if kind_of(log_id) == RUN]

    def note_written(self, log_id: str) -> None:
        """Note that a log is written here that a writer outside owns."""
        self._written[log_id] = None

    def listen(self, log_id: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` when a log, owned here or not, may have been cancelled or deleted.

        Returns a function that ends the listening.
        """
        listeners, key = self._listeners.setdefault(log_id, {}), object()
        listeners[key] = wake

        def leave() -> None:
            listeners.pop(key, None)
            if not listeners and self._listeners.get(log_id) is listeners:
                del self._listeners[log_id]

        return leave

    def notify(self, log_id: str | None) -> None:
        """Call the listeners of a log; None means all logs."""
        for each in [log_id] if log_id is not None else list(self._listeners):
            for wake in list(self._listeners.get(each, {}).values()):
                wake()

    def heed(self, change: Change) -> None:
        """Do what another process commanded of a log."""
        self.notify(change.log_id)
        owned = self._logs.get(change.log_id)
        if owned is None:
            return
        if change.is_deleted:
            self.look(change.log_id)  # it may have been made again since
        elif (reason := _commanded(owned, change.info)) == CONTINUED:
            self.look(change.log_id)
        elif reason is not None:
            self.do(owned.cancel(reason))
        else:
            self._correct(owned, change.info)

    def look(self, log_id: str | None) -> None:
        """Look for commands to a log soon; None means all logs."""
        self.notify(log_id)
        for changed in [log_id] if log_id is not None else list(self._logs):
            owned = self._logs.get(changed)
            if owned is not None:
                owned.must_look = True
                if not owned.is_looking:
                    owned.is_looking = True
                    self.do(self._obey(owned))

    async def _obey(self, owned: OwnedLog) -> None:
        """Look for a command to a log until the store has answered."""
        is_taken_over = False
        try:
            while owned.must_look and self._logs.get(owned.log_id) is owned:
                owned.must_look = False
                try:
                    info = await self._hub.info(owned.log_id)
                    reason = _commanded(owned, info)
                except NotFound:
                    reason = "deleted"
                except BackendError:
                    owned.must_look = True  # nobody says it again
                    await asyncio.sleep(_LOOK_AGAIN_S)
                    continue
                if reason == CONTINUED and not is_taken_over:
                    # Perhaps it was taken over only to be ended, as lost: then it is closed soon.
                    owned.must_look = is_taken_over = True
                    await asyncio.sleep(_LOOK_AGAIN_S)
                elif reason is not None:
                    await owned.cancel(reason)
                else:
                    self._correct(owned, info)
        finally:
            owned.is_looking = False

    def _correct(self, owned: OwnedLog, info: LogInfo) -> None:
        """Set the labels that another process must not have changed."""
        if info.epoch == owned.epoch and (labels := owned.correct(info.labels)):
            self.do(owned.set_labels(labels))

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something to a log in a task that nothing waits for."""
        task = asyncio.ensure_future(self._logged(work))
        self._tasks[task] = None

        def forget(done: "asyncio.Task[None]") -> None:
            self._tasks.pop(done, None)
            work.close()  # it never began if the task was cancelled before its first step

        task.add_done_callback(forget)

    async def _logged(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BackendError as error:
            _log.warning("a log could not be ended: %s", error)

    async def _cancel_late(self, log: OwnedLog, reason: str) -> None:
        await self._logged(log.cancel(reason))

    async def end_all(self, reason: str, grace_s: float) -> None:
        """Cancel the logs that are written here; end the rest if they do not end in time."""
        asked = [log for log in self._logs.values() if log.on_cancel is not None]
        asked = [log for log in asked if not log.is_ending]
        for log in asked:
            await log.cancel(reason)
        await _wait_for([log.left.wait() for log in asked], grace_s)
        late = [log for log in asked if not (log.left.is_set() or log.is_ending)]
        for log in late:
            log.on_cancel = None
        # Bounded, because a failing store stores no end; other processes end the logs as lost.
        await _wait_for([self._cancel_late(log, reason) for log in late], grace_s)

    async def close(self) -> None:
        """Stop all work on logs here; the logs stay open for other owners."""
        if self._beginning:
            await asyncio.wait(self._beginning)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._logs.clear()


def _commanded(owned: OwnedLog, info: LogInfo) -> str | None:
    """Return the reason for cancelling a log; None if it continues."""
    if info.epoch != owned.epoch:
        return REPLACED if info.epoch > owned.epoch else None
    fence = owned.inlet.fence
    if fence is not None and info.fence > fence and not info.closed:
        return CONTINUED  # otherwise code that waits would wait for ever, or act a second time
    return info.labels.get(CANCEL_LABEL)


async def _wait_for(waits: Sequence[Coroutine[Any, Any, object]], timeout_s: float) -> None:
    """Wait for all, at most `timeout_s`."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=timeout_s)
        for task in late:
            task.cancel()
