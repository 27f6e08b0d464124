"""A run that code elsewhere owns, by the URL of the store: begun for it or by it, or continued."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from math import inf
from typing import Any, Final, Literal, NamedTuple, Self

from runcast._files.files import Files
from runcast._files.run_files import RunFiles
from runcast._hub.hub import Hub
from runcast._hub.owned_log import OwnedLog
from runcast._producing.keeping import Keeper, last_kept
from runcast._producing.labels import CANCEL_LABEL, check_labels
from runcast._runs.launch import ATTACHING, Launch
from runcast._runs.owned_run import OwnedRun
from runcast._runs.recoverable import TOO_MANY_ATTEMPTS, Recoverable, as_living, too_many_attempts
from runcast.errors import (
    BackendError,
    Conflict,
    InvalidValue,
    NotFound,
    RunClosed,
    Stale,
)
from runcast.events.model import OWN_EVENT_BYTES, encode_record
from runcast.events.outcome import LOST, Outcome, cancelled
from runcast.events.position import is_run_id
from runcast.stores.base import LogInfo

__all__ = ("AttachOptions", "AttachedRun", "BeginsAgain", "check_wait")

_LOOK_AGAIN_S: Final = 0.1
"""Pause before another try to attach, while another process has the run."""


BeginsAgain = Literal["never", "failed", "ended"]
"""When a run that has ended is begun again, as the next epoch: never; if it failed, except as too
often continued; or however it ended."""


class AttachOptions(NamedTuple):
    """What `runcast.attach` is given."""

    run_id: str
    name: str
    labels: Mapping[str, str]
    max_attempts: int
    wait_s: float
    begins_again: BeginsAgain = "never"


_AT_WORK: Final = ""
"""The owner in the label of a run that a process writes. If that process dies, the label shows that
the run was not left for another one."""


class _OtherOwner(Conflict):
    """The run is not one that code attaches to, and will not become one."""


class AttachedRun(OwnedRun):
    """The run of a block of code that attached to it; `runcast.attach` returns it.

    It is the current writer in the block. Leaving the block ends the run as `runcast.run` does,
    unless `leave_open` was called.
    """

    def __init__(
        self, hub: Hub, log: OwnedLog, name: str, files: RunFiles | None, past: "_Past"
    ) -> None:
        workspace = files.workspace if files is not None else None
        super().__init__(hub, log, name, workspace, Keeper(past.attachment))
        self.attempt = past.attempts + 1
        """1 for the process that began the run, 2 for the first one that continued it, and so
        on."""
        self.kept: Any = last_kept(past.attachment)
        """What an earlier attempt kept last, by `runcast.keep(value)` or `ask(…, keep=value)`; None
        if none did."""
        self._files = files
        self._is_left_open = self._is_abandoned = False
        self._delay_s = 0.0
        self._begun = hub.clock.monotonic()

    def leave_open(self, delay_s: float = 0.0) -> None:
        """Leave the run open when the block is left, however it is left.

        The next process that attaches continues it. For a job that its engine will try again.

        Args:
            delay_s: how long the engine waits before the next try. If nothing attaches within
                `launch_wait_s` after that, the run ends as failed.

        Raises:
            InvalidValue: `delay_s` is not a number of seconds, at least 0.
        """
        check_wait("delay_s", delay_s)
        self._is_left_open, self._delay_s = True, float(delay_s)

    def _abandon(self) -> None:
        """When the block is left, do with the run what happens to one whose process was killed.

        For an engine that ends the process, and may deliver the job to another one.
        """
        self._is_abandoned = True

    def _elapsed_s(self) -> float:
        """Return how long ago this process began to attach."""
        return self._hub.clock.monotonic() - self._begun

    def _is_continued_elsewhere(self) -> bool:
        """Return whether another process has continued the run since, or has begun it again.

        It may have done so if this process was paused for longer than its lease. Call it in a
        thread; it blocks. False also if the store does not answer.
        """
        found: bool = self._on_loop(self._look_elsewhere(), "a look at its log")
        return found

    async def _look_elsewhere(self) -> bool:
        try:
            info, snapshot = await self._hub.present(self.run_id)
        except (NotFound, BackendError):
            return False
        return info.epoch != self.epoch or snapshot.attempt > self.attempt

    @classmethod
    async def _attach(cls, hub: Hub, files: Files | None, options: AttachOptions) -> Self:
        """Own a run and return it; it has its `started` event when this returns.

        Raises what `runcast.attach` raises.
        """
        name = options.name
        if name and not is_run_id(name):
            raise InvalidValue(f"expected a name like 'train' for the run, got {name!r:.140}")
        check_labels(options.labels)
        await hub.lease.hold()
        begun = hub.clock.monotonic()
        while True:
            try:
                run = await cls._attach_now(hub, files, options)
            except _OtherOwner:
                raise
            except Conflict as error:
                if hub.clock.monotonic() >= begun + options.wait_s:
                    raise _still_owned(hub, error) from None
            else:
                run._begun = begun
                return run
            await asyncio.sleep(_LOOK_AGAIN_S)

    @classmethod
    async def _attach_now(cls, hub: Hub, files: Files | None, options: AttachOptions) -> Self:
        run_id = options.run_id
        try:
            info = await hub.info(run_id)
        except NotFound:
            if not options.name:
                raise NotFound(
                    f"there is no run {run_id!r:.140}: begin it with hub.reserve(…), or "
                    "give name= to begin it here"
                ) from None
        else:
            if not info.closed:
                return await cls._continue(hub, files, options, info)
            with suppress(NotFound, Stale):  # another process begins it again just now
                await _forget_ended(hub, options, info)
        try:
            return await cls._begin_here(hub, files, options)
        except Conflict:  # another process was faster
            return await cls._continue(hub, files, options, await hub.info(run_id))

    @classmethod
    async def _begin_here(cls, hub: Hub, files: Files | None, options: AttachOptions) -> Self:
        log = await hub.begin(
            options.run_id,
            labels={
                **options.labels,
                "function": options.name,
                **Launch(ATTACHING, hub.clock.time(), _AT_WORK).labels(),
                **(Recoverable(options.max_attempts).labels() if options.max_attempts else {}),
            },
            ttl_s=hub.settings.keep_runs_s or None,
        )
        return await cls._start(hub, files, log, options.name, _Past(), {})

    @classmethod
    async def _continue(
        cls, hub: Hub, files: Files | None, options: AttachOptions, info: LogInfo
    ) -> Self:
        run_id, launch = options.run_id, Launch.of(info.labels)
        if launch is None or launch.engine != ATTACHING:
            raise _OtherOwner(
                f"the run {run_id!r} belongs to a function, or to another program; code can attach "
                "to runs of hub.reserve(…) and of runcast.attach(…)"
            )
        try:
            claimed = await hub.store.claim(run_id, hub.lease.owner_id)
        except RunClosed:  # a server has ended it just now
            if options.begins_again == "never":
                raise
            return await cls._attach_now(hub, files, options)
        # Only what is read now is true: until the claim another process may have had the run.
        past = await _Past.of(hub, run_id)
        known = Recoverable.of(claimed.labels)
        if known is None and options.max_attempts:
            known = Recoverable(options.max_attempts)
        has_crashed = claimed.status != "queued" and _was_at_work(claimed)
        log = hub.take(claimed)
        if CANCEL_LABEL in claimed.labels:
            reason = claimed.labels[CANCEL_LABEL]
            await log.end(cancelled(reason))
            raise RunClosed(f"the run {run_id!r} was cancelled before anything attached: {reason}")
        if has_crashed and (known is None or not known.may_continue(has_begun=True)):
            await log.end(LOST if known is None else too_many_attempts())
            if options.begins_again != "never":
                return await cls._attach_now(hub, files, options)
            raise _cannot_continue(run_id, known)
        labels = Launch(ATTACHING, hub.clock.time(), _AT_WORK).labels()
        if known is not None:
            labels |= known.continued(has_begun=has_crashed).labels()
        name = claimed.labels.get("function", "")
        run = await cls._start(hub, files, log, name, past, labels)
        hub.owned.look(run_id)  # it may have been cancelled meanwhile
        return run

    @classmethod
    async def _start(
        cls,
        hub: Hub,
        files: Files | None,
        log: OwnedLog,
        name: str,
        past: "_Past",
        labels: Mapping[str, str],
    ) -> Self:
        of_run = None
        if files is not None:
            of_run = files.for_run(log.log_id, log.epoch, {}, is_resumed=past.attempts > 0)
        try:
            run = cls(hub, log, name, of_run, past)
            run._take_over(log)
            data: dict[str, Any] = {"function": name}
            if run.attempt > 1:
                data |= {"attempt": run.attempt, "recovered": True}
            started = encode_record("started", data, hub.clock.time(), None, OWN_EVENT_BYTES)
            await log.inlet.append([started], labels=labels)
            log.correct = lambda changed: as_living(changed, labels)
        except BaseException:
            log.on_cancel = None
            hub.owned.do(log.cancel("its beginning was cancelled"))
            raise
        return run

    async def _finish(self, error: BaseException | None) -> None:
        if self._is_abandoned and self._reason is None:
            self._owned.release()
            return
        if self._is_left_open and self._inbox is not None:
            self._inbox.take_read()  # the next attempt gets the message in hand again
        await super()._finish(error)

    async def _end(self, outcome: Outcome) -> None:
        if self._is_left_open and outcome.type != "cancelled":
            since = self._hub.clock.time() + self._delay_s
            waits = Launch(ATTACHING, since, self._hub.lease.owner_id)
            await self._owned.inlet.append(labels=waits.labels())
            self._owned.release()
            return
        files = None
        if self._files is not None:
            outcome, files = await self._files.collect(outcome)
        await self._owned.end(outcome, files=files)


class _Past(NamedTuple):
    """What earlier attempts of a run left."""

    attempts: int = 0
    attachment: bytes = b""

    @classmethod
    async def of(cls, hub: Hub, run_id: str) -> Self:
        """Return what is stored of a run."""
        _, snapshot = await hub.present(run_id)
        _, attachment = await hub.store.attachment(run_id)
        return cls(snapshot.attempt if snapshot.started_at is not None else 0, attachment)


def check_wait(name: str, given: object) -> None:
    """Raise `InvalidValue` unless an option is a time of at least 0 seconds."""
    if isinstance(given, bool) or not (isinstance(given, int | float) and 0 <= given < inf):
        raise InvalidValue(f"expected {name} to be seconds, at least 0, got {given!r:.80}")


async def _forget_ended(hub: Hub, options: AttachOptions, info: LogInfo) -> None:
    """Delete a run that has ended, if it is to begin again.

    Raises:
        RunClosed: it is not to begin again.
        NotFound, Stale: another process was faster.
    """
    launch = Launch.of(info.labels)
    is_ours = launch is not None and launch.engine == ATTACHING
    if not is_ours or not await _begins_again(hub, options, info):
        raise RunClosed(
            f"the run {options.run_id!r} has ended as {info.status}; nothing can attach to it"
        )
    await hub.delete(options.run_id, info.epoch)


async def _begins_again(hub: Hub, options: AttachOptions, info: LogInfo) -> bool:
    if options.begins_again == "ended":
        # A run that was cancelled while it waited for this very try must not be tried.
        return info.status != "cancelled" or _was_at_work(info)
    if options.begins_again == "never" or info.status != "failed":
        return False
    _, snapshot = await hub.present(options.run_id)
    return snapshot.failure is None or snapshot.failure.code != TOO_MANY_ATTEMPTS


def _still_owned(hub: Hub, error: Conflict) -> Conflict:
    """Return the error for a run that another process has, or had until a moment ago."""
    if hub.store.path is not None or not hub.store.is_lasting:
        return error  # on one machine a dead process is noticed at once
    return Conflict(
        f"{error.message}; if that process was killed just now, its lease holds for up to "
        f"{hub.settings.lease_s:g} s more (lease_s): give wait_s= to wait for that"
    )


def _cannot_continue(run_id: str, known: Recoverable | None) -> RunClosed:
    """Return the error for a run whose process has died, and which was ended for that."""
    if known is None:
        return RunClosed(
            f"the run {run_id!r} is lost with the process that wrote it: give max_attempts= "
            "when it begins, so that it may be continued"
        )
    return RunClosed(
        f"the run {run_id!r} has failed: the process that wrote it died, and the run was continued "
        "as often before as it may be (max_attempts, when it begins); begin another run"
    )


def _was_at_work(info: LogInfo) -> bool:
    """Return whether the last process that wrote a run has not left it open for another one."""
    launch = Launch.of(info.labels)
    return launch is not None and launch.owner_id == _AT_WORK
