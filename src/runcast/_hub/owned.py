"""Logs that this process owns: begun or claimed here, kept by its lease, ended once.

`Hub.begin` makes them. Everything that writes a log from its first event to its last uses it:
functions, blocks of code, streams of other programs.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from runcast._clock import Clock
from runcast._hub.inlets import Inlet
from runcast._hub.lease import Lease
from runcast._logs import get_logger
from runcast.errors import BackendError, NotFound, RuncastError, RunClosed, Stale
from runcast.events.model import OWN_EVENT_BYTES, encode_record
from runcast.events.outcome import Outcome, cancelled, failed
from runcast.events.position import RUN, describe_log, kind_of, make_log_id
from runcast.stores.base import Change, LogInfo, Once

__all__ = ("CANCEL_LABEL", "REPLACED", "TERMINAL_KEY", "OwnedLog", "OwnedLogs")

CANCEL_LABEL: Final = "runcast.cancel"
"""Set on a log by a process that does not own the log: the reason to cancel it."""

REPLACED: Final = "replaced by a new run of the same id"
"""The reason for cancelling a log that is begun again."""

TERMINAL_KEY: Final = "terminal"
"""The idempotency key of a log's terminal event: its first use ends the log."""

_UNCONFIRMED_S: Final = 60.0
"""How long after a failed beginning the store may still begin the log: it may have stalled with the
request in its hands, or the network may deliver the request late."""

_LOOK_AGAIN_S: Final = 1.0
"""Pause before the store is asked again."""

_log: Final = get_logger("runcast.hub")


class OwnedLog:
    """A log that only this process may end. Made by `Hub.begin` and `Hub.take`.

    The owner's lease keeps the log open. If the process dies, other processes end it as lost.
    """

    def __init__(self, inlet: Inlet, clock: Clock, max_event_bytes: int, logs: "OwnedLogs") -> None:
        self.inlet = inlet
        """The inlet for the log's records."""
        self.on_cancel: Callable[[str], None] | None = None
        """Called on the loop with the reason if the log is cancelled, deleted or replaced. It must
        lead to a call of `end`. If it is None, the log is ended at once."""
        self.end_of_question: Callable[[str], float | None] = lambda interrupt_id: None
        """Returns when a question of the log's writer expires, by the monotonic clock; None if
        unknown."""
        self.is_ending = False
        """Whether the log's end is being stored."""
        self.must_look = self.is_looking = False
        """Whether the store may have a command, and whether somebody looks for it."""
        self.left = asyncio.Event()
        """Set once the log is no longer owned: it has ended, was released, or has another owner."""
        self._clock = clock
        self._max_event_bytes = max_event_bytes
        self._logs = logs

    @property
    def log_id(self) -> str:
        """The log's id, which holds its kind."""
        return self.inlet.run_id

    @property
    def epoch(self) -> str:
        """The owned epoch."""
        return self.inlet.epoch

    async def end(
        self, outcome: Outcome, *, agent: str = "", files: Mapping[str, Any] | None = None
    ) -> Outcome:
        """Append the terminal event and close the log, in one step, unless it is closed already.

        Returns the outcome that was written. It differs from `outcome` if a result cannot be
        stored.

        Args:
            outcome: a `done`, which holds a result, may be as long as `max_event_bytes`; any other
                may be as long as any event of ours.
            agent: the agent that gave the outcome.
            files: the data of a `files` event, written right before the terminal event.

        Raises:
            RunClosed: the log has already ended.
            Stale, NotFound: the log has another owner now, or was deleted.
            BackendError: the hub closes before the end could be committed.
        """
        outcome, records = self._last_records(outcome, agent, files)
        self.is_ending = True
        try:
            appended = await self.inlet.append(records, close=True, once=Once(TERMINAL_KEY))
        except (RunClosed, Stale, NotFound):
            self._logs.discard(self)
            raise
        self._logs.discard(self)
        if appended.repeated:
            raise RunClosed(f"{describe_log(self.log_id)} was ended before")
        return outcome

    def _last_records(
        self, outcome: Outcome, agent: str, files: Mapping[str, Any] | None
    ) -> tuple[Outcome, list[bytes]]:
        now, place = self._clock.time(), ("", agent, (), None) if agent else None
        longest = max(self._max_event_bytes, OWN_EVENT_BYTES)
        limit = self._max_event_bytes if outcome.type == "done" else longest
        try:
            record = encode_record(outcome.type, outcome.data, now, place, limit)
        except RuncastError as error:
            # The result cannot be stored, but the end must be.
            outcome = failed(f"the result cannot be stored: {error.public}", error.code)
            record = encode_record(outcome.type, outcome.data, now, None, longest)
        if files is None:
            return outcome, [record]
        return outcome, [encode_record("files", files, now, None, longest), record]

    def release(self) -> None:
        """Leave the log open for another owner."""
        self._logs.discard(self)

    async def cancel(self, reason: str) -> None:
        """End the log as cancelled: through `on_cancel`, or at once if it is None."""
        if self.on_cancel is not None:
            self.on_cancel(reason)
            return
        with suppress(RunClosed, Stale, NotFound):  # the log has ended, or has another owner by now
            await self.end(cancelled(reason))


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
        replace: bool,
        attachment: bytes = b"",
    ) -> Inlet: ...

    async def info(self, log_id: str, /) -> LogInfo: ...

    def inlet(self, log_id: str, epoch: str, fence: int | None, /) -> Inlet: ...


class OwnedLogs:
    """The owned logs of one hub, and other processes' commands to them.

    A command is a change of the log by another process: it sets `CANCEL_LABEL`, deletes the log,
    or begins another epoch.

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
        self._written: set[str] = set()
        self._beginning: set[asyncio.Task[OwnedLog]] = set()
        self._listeners: dict[str, set[Callable[[], None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(
        self,
        log_id: str,
        *,
        kind: str,
        labels: Mapping[str, str] | None,
        ttl_s: float | None,
        replace: bool,
        attachment: bytes = b"",
    ) -> OwnedLog:
        """See `Hub.begin`."""

        async def begin() -> OwnedLog:
            await self._lease.hold()
            owner_id, asked_at = self._lease.owner_id, self._clock.time()
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
                    self.do(self._end_unconfirmed(make_log_id(kind, log_id), owner_id, asked_at))
                raise
            return self.add(inlet)

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
        owned = OwnedLog(inlet, self._clock, self._max_event_bytes, self)
        self._logs[inlet.run_id] = owned
        self._written.add(inlet.run_id)
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
        written, self._written = self._written, set(self._logs)
        return [log_id for log_id in written if kind_of(log_id) == RUN]

    def note_written(self, log_id: str) -> None:
        """Note that a log is written here that a writer outside owns."""
        self._written.add(log_id)

    def listen(self, log_id: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` when a log, owned here or not, may have been cancelled or deleted.

        Returns a function that ends the listening.
        """
        listeners = self._listeners.setdefault(log_id, set())
        listeners.add(wake)

        def leave() -> None:
            listeners.discard(wake)
            if not listeners and self._listeners.get(log_id) is listeners:
                del self._listeners[log_id]

        return leave

    def notify(self, log_id: str | None) -> None:
        """Call the listeners of a log; None means all logs."""
        for each in [log_id] if log_id is not None else list(self._listeners):
            for wake in list(self._listeners.get(each, ())):
                wake()

    def heed(self, change: Change) -> None:
        """Do what another process commanded of a log."""
        self.notify(change.log_id)
        owned = self._logs.get(change.log_id)
        if owned is None:
            return
        if change.is_deleted:
            self.look(change.log_id)  # it may have been made again since
        elif (reason := _commanded(owned, change.info)) is not None:
            self.do(owned.cancel(reason))

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
        try:
            while owned.must_look and self._logs.get(owned.log_id) is owned:
                owned.must_look = False
                try:
                    reason = _commanded(owned, await self._hub.info(owned.log_id))
                except NotFound:
                    reason = "deleted"
                except BackendError:
                    owned.must_look = True  # nobody says it again
                    await asyncio.sleep(_LOOK_AGAIN_S)
                    continue
                if reason is not None:
                    await owned.cancel(reason)
        finally:
            owned.is_looking = False

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something to a log in a task that nothing waits for."""
        task = asyncio.ensure_future(self._logged(work))
        self._tasks.add(task)

        def forget(done: "asyncio.Task[None]") -> None:
            self._tasks.discard(done)
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
    return info.labels.get(CANCEL_LABEL)


async def _wait_for(waits: Sequence[Coroutine[Any, Any, object]], timeout_s: float) -> None:
    """Wait for all, at most `timeout_s`."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=timeout_s)
        for task in late:
            task.cancel()
