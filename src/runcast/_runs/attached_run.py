"""A run that code elsewhere owns, by the URL of the store: begun for it or by it, or continued."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

from runcast._files.files import Files
from runcast._files.run_files import RunFiles
from runcast._hub.hub import Hub
from runcast._hub.owned import OwnedLog
from runcast._producing.labels import CANCEL_LABEL, check_labels
from runcast._runs.launch import ATTACHING, Launch
from runcast._runs.owned_run import OwnedRun
from runcast._runs.recoverable import Recoverable, too_many_attempts
from runcast.errors import Conflict, InvalidValue, NotFound, RunClosed
from runcast.events.model import OWN_EVENT_BYTES, encode_record
from runcast.events.outcome import LOST, Outcome, cancelled
from runcast.events.position import is_run_id
from runcast.stores.base import LogInfo

__all__ = ("AttachOptions", "AttachedRun")

_LOOK_AGAIN_S: Final = 0.1
"""Pause before another try to attach, while another process has the run."""


class AttachOptions(NamedTuple):
    """What `runcast.attach` is given."""

    run_id: str
    name: str
    labels: Mapping[str, str]
    max_attempts: int
    wait_s: float


class AttachedRun(OwnedRun):
    """The run of a block of code that attached to it; `runcast.attach` returns it.

    It is the current writer in the block. Leaving the block ends the run as `runcast.run` does,
    unless `leave_open` was called.
    """

    def __init__(
        self, hub: Hub, log: OwnedLog, name: str, files: RunFiles | None, attempt: int
    ) -> None:
        super().__init__(hub, log, name, files.workspace if files is not None else None)
        self.attempt = attempt
        """1 for the process that began the run, 2 for the first one that continued it, and so
        on."""
        self._files = files
        self._is_left_open = False

    def leave_open(self) -> None:
        """Leave the run open when the block is left, however it is left.

        The next process that attaches continues it. If none does within `launch_wait_s`, the run
        ends as failed. For a job that its engine will try again.
        """
        self._is_left_open = True

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
        ends = hub.clock.monotonic() + options.wait_s
        while True:
            try:
                return await cls._attach_now(hub, files, options)
            except Conflict:
                if hub.clock.monotonic() >= ends:
                    raise
            await asyncio.sleep(_LOOK_AGAIN_S)

    @classmethod
    async def _attach_now(cls, hub: Hub, files: Files | None, options: AttachOptions) -> Self:
        name = options.name
        try:
            info = await hub.info(options.run_id)
        except NotFound:
            if not name:
                raise NotFound(
                    f"there is no run {options.run_id!r:.140}: begin it with hub.reserve(…), or "
                    "give name= to begin it here"
                ) from None
            return await cls._begin_here(hub, files, options)
        return await cls._continue(hub, files, options, info)

    @classmethod
    async def _begin_here(cls, hub: Hub, files: Files | None, options: AttachOptions) -> Self:
        log = await hub.begin(
            options.run_id,
            labels={
                **options.labels,
                "function": options.name,
                **Launch(ATTACHING, hub.clock.time(), "").labels(),
                **(Recoverable(options.max_attempts).labels() if options.max_attempts else {}),
            },
            ttl_s=hub.settings.keep_runs_s or None,
        )
        return await cls._start(hub, files, log, options.name, 1, {})

    @classmethod
    async def _continue(
        cls, hub: Hub, files: Files | None, options: AttachOptions, info: LogInfo
    ) -> Self:
        run_id, has_begun = options.run_id, info.status != "queued"
        launch, known = Launch.of(info.labels), Recoverable.of(info.labels)
        if info.closed:
            raise RunClosed(f"the run {run_id!r} has ended; nothing can attach to it")
        if launch is None or launch.engine != ATTACHING:
            raise Conflict(
                f"the run {run_id!r} belongs to a function, or to another program; code can attach "
                "to runs of hub.reserve(…) and of runcast.attach(…)"
            )
        if known is None and options.max_attempts:
            known = Recoverable(options.max_attempts)
        has_crashed = has_begun and not launch.is_waiting(info)
        _, snapshot = await hub.present(run_id)
        claimed = await hub.store.claim(run_id, hub.lease.owner_id)
        log = hub.take(claimed)
        if CANCEL_LABEL in claimed.labels:
            reason = claimed.labels[CANCEL_LABEL]
            await log.end(cancelled(reason))
            raise RunClosed(f"the run {run_id!r} was cancelled before anything attached: {reason}")
        if has_crashed and (known is None or not known.may_continue(has_begun=True)):
            await log.end(LOST if known is None else too_many_attempts())
            raise RunClosed(
                f"the run {run_id!r} is lost with the process that wrote it: give max_attempts= "
                "when it begins, so that it may be continued"
            )
        labels = Launch(ATTACHING, hub.clock.time(), "").labels()
        if known is not None:
            labels |= known.continued(has_begun=has_crashed).labels()
        attempt = snapshot.attempt + 1 if snapshot.started_at is not None else 1
        name = claimed.labels.get("function", "")
        run = await cls._start(hub, files, log, name, attempt, labels)
        hub.owned.look(run_id)  # it may have been cancelled meanwhile
        return run

    @classmethod
    async def _start(
        cls,
        hub: Hub,
        files: Files | None,
        log: OwnedLog,
        name: str,
        attempt: int,
        labels: Mapping[str, str],
    ) -> Self:
        of_run = None
        if files is not None:
            of_run = files.for_run(log.log_id, log.epoch, {}, is_resumed=attempt > 1)
        try:
            run = cls(hub, log, name, of_run, attempt)
            run._take_over(log)
            data: dict[str, Any] = {"function": name}
            if attempt > 1:
                data |= {"attempt": attempt, "recovered": True}
            started = encode_record("started", data, hub.clock.time(), None, OWN_EVENT_BYTES)
            await log.inlet.append([started], labels=labels)
        except BaseException:
            log.on_cancel = None
            hub.owned.do(log.cancel("its beginning was cancelled"))
            raise
        return run

    async def _end(self, outcome: Outcome) -> None:
        if self._is_left_open and outcome.type != "cancelled":
            waits = Launch(ATTACHING, self._hub.clock.time(), self._hub.lease.owner_id)
            await self._owned.inlet.append(labels=waits.labels())
            self._owned.release()
            return
        files = None
        if self._files is not None:
            outcome, files = await self._files.collect(outcome)
        await self._owned.end(outcome, files=files)
