"""The runs of this process: started, queued, cancelled, waited for.

Long because every way into and out of a run goes through the runner.
"""

import asyncio
import contextvars
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from runcast._files.files import Files, RunFiles
from runcast._files.inputs import GivenFiles
from runcast._functions.function import Function
from runcast._functions.kept_inputs import NO_INPUTS, keep_inputs, left_out_of
from runcast._hub.hub import Hub
from runcast._hub.interrupts import wait_for_first
from runcast._hub.owned import REPLACED
from runcast._hub.owned_log import OwnedLog
from runcast._logs import get_logger
from runcast._producing.answers import Answer
from runcast._producing.budgets import Meter, load_prices
from runcast._producing.decisions import answer_question
from runcast._producing.inbox import HubMailbox
from runcast._producing.keeping import Keeper
from runcast._producing.labels import (
    CANCEL_LABEL,
    DIGEST_LABEL,
    RESUMABLE_LABEL,
    check_labels,
)
from runcast._producing.questions import Questions
from runcast._producing.writer import Writer
from runcast._runs.attempts import Attempt, Attempts
from runcast._runs.continuing import Continuing
from runcast._runs.function_run import FunctionRun
from runcast._runs.launch import Launch, Launcher
from runcast._runs.launches import Launches
from runcast._runs.recoverable import Recoverable
from runcast._runs.recovery import Begin, Recovery
from runcast._runs.retention import Retention
from runcast._runs.room import Place, Room
from runcast._runs.run import Run, make_run_id
from runcast._runs.shutdown import Shutdown
from runcast._runs.tracebacks import Tracebacks
from runcast._workers.left_behind import LeftThreads
from runcast._workers.processes.pool import Processes
from runcast._workers.threads import Threads, ThreadStatistics
from runcast._workers.work import Workers
from runcast.errors import NotFound, Overloaded, RunClosed, Stale
from runcast.events.outcome import checked_reason
from runcast.events.vocabulary import mend
from runcast.stores.base import LogInfo

if TYPE_CHECKING:
    from runcast._files.workspace import Workspace

__all__ = ("Runner", "RunnerStatistics")

_log: Final = get_logger("runcast.runs")


class RunnerStatistics(NamedTuple):
    """Running and waiting runs, and the threads' numbers."""

    running: int
    queued: int
    threads: ThreadStatistics


class Runner:
    """Starts functions and sees each to its end. Use `async with`, inside the hub.

    Args:
        find: returns a function of this process by name.
        launcher: hands the runs of functions to workers; by default they run here.
        is_worker: this process runs what a launcher hands over, and looks for nothing else.
    """

    def __init__(
        self,
        hub: Hub,
        files: Files,
        find: Callable[[str], Function[..., Any] | None] = lambda name: None,
        *,
        launcher: Launcher | None = None,
        is_worker: bool = False,
    ) -> None:
        self._files = files
        self.hub = hub
        self.runs: dict[str, FunctionRun] = {}
        """The runs of this process, by id."""
        self._settings = hub.settings
        self.processes = Processes(hub.clock, hub.settings)
        """The child processes of functions with their own process."""
        self._workers = Workers(Threads(hub.settings.threads), self.processes)
        self.tracebacks = Tracebacks()
        """The functions' tracebacks, if they are kept."""
        self._room = Room(hub.settings.max_runs, hub.settings.max_queue)
        # Oldest first, as they are cancelled. Includes replaced runs, until they have ended.
        self._living: dict[FunctionRun, Place] = {}
        self.shutdown = Shutdown(hub, files, self._living)
        """How the runs end when the runner is closed."""
        self._is_worker = is_worker
        self.launches = Launches(hub, files, launcher, self.cancel)
        """The runs that are handed to workers."""
        attempts = Attempts(hub, find, self.processes.find_secrets)
        continuing = Continuing(attempts, self.launches, self._begin_attempt, is_worker=is_worker)
        self._recovery = Recovery(hub, continuing, is_worker=is_worker)
        self._retention = Retention(hub)
        self._beginning: set[asyncio.Task[FunctionRun]] = set()
        self._following: set[asyncio.Task[None]] = set()
        self._closing = False

    async def open(self) -> Self:
        """Take a lease, take over logs of dead owners, and begin. May be called again after
        `close`."""
        self._closing = False
        self.shutdown.open()
        if self._settings.prices_file:
            self.hub.prices = await asyncio.to_thread(load_prices, self._settings.prices_file)
        self._workers.open()
        await self._recovery.open()
        self._retention.open(deletes=not self._is_worker)
        return self

    def hand_over(self, kind: str, begin: Begin) -> None:
        """See `Recovery.hand_over`."""
        self._recovery.hand_over(kind, begin)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give runs `shutdown_grace_s`, cancel them, and end their logs. Idempotent.

        See `Shutdown`, which can be told not to wait.
        """
        self._closing = True
        await self._retention.close()
        await self._recovery.close()
        if self._beginning:
            await asyncio.wait(self._beginning)
        await self.launches.close()
        await self.shutdown.end_runs()
        for task in self._following:
            task.cancel()
        if self._following:
            await asyncio.wait(self._following)
        await self._workers.close()

    @property
    def left_threads(self) -> LeftThreads:
        """The threads that functions leave running."""
        return self._workers.left_threads

    def statistics(self) -> RunnerStatistics:
        """Return the present numbers."""
        queued = self._room.waiting
        return RunnerStatistics(
            max(0, len(self._living) - queued), queued, self._workers.threads.statistics()
        )

    def queue_position(self, run_id: str) -> int:
        """Return a run's place in the queue, from 1; 0 if it does not wait here for room."""
        run = self.runs.get(run_id)
        return self._living[run].number if run is not None else 0

    def prepare(self, functions: Iterable[Function[..., Any]]) -> None:
        """Prepare what functions need before they are called."""
        self._workers.prepare(functions)

    async def start(
        self,
        function: Function[..., Any],
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str = "",
        labels: Mapping[str, str] | None = None,
        replace: bool | str = False,
        secrets: Mapping[str, str] = MappingProxyType({}),
        digest: str = "",
        files: GivenFiles = MappingProxyType({}),
        workspace: str = "",
    ) -> Run[Any]:
        """Begin a run and return it; the run is stored when this returns.

        With a launcher the run is handed to a worker. Then secrets cannot be given, and inputs must
        be such that they can be stored.

        Args:
            run_id: by default a new UUIDv7.
            replace: begin an existing run again, or only this epoch of it; a run in progress here
                is cancelled first.
            digest: stored with the run, to recognise a repeated request for the same id.
            secrets: values of the function's secrets; they take precedence over values found
                elsewhere.
            files: the files for its workspace, by group.
            workspace: the folder of the files that are given as paths.

        Raises:
            InvalidInputs: the inputs break the function's schema, or the files its declared groups.
            MissingSecret: a secret that the function needs is missing.
            Conflict: the run exists, and `replace` is False or another epoch.
            Overloaded: `max_queue` runs wait already, or the process is shutting down.
            ServerUnavailable: the broker of the launcher cannot be reached.
            Forbidden, FileTooLarge, PeerError, BackendError: of the files; see `Inputs.stage`.

        If the caller is cancelled meanwhile, no run begins, or the run is cancelled at once.
        """
        self._check_not_closing()
        self.hub.check_open()
        self.hub.lease.check()
        is_apart = function.isolation == "process" or self.launches.is_on
        arguments = (function.check if is_apart else function.convert)(inputs or {})
        check_labels(labels or {})
        run_id = run_id or make_run_id(self.hub.clock.time(), os.urandom(10))
        if self.launches.is_on:
            kept = self.launches.keep(function, inputs or {}, secrets, files, workspace)
            gathered = await self._files.stage(function.files, files, workspace)
            known = _labels(function, labels or {}, digest, kept, run_id)
            launching = self.launches.begin
            return await launching(function, kept, known, run_id, gathered, replace=replace)
        # Taken before the first await, so that of many simultaneous calls only as many as fit
        # enter.
        place = self._enter(function, is_arriving=bool(files or workspace or function.files))
        staged: Workspace | None = None
        try:
            found = await self.processes.find_secrets(function.secrets, secrets)
            staged = await self._files.stage(function.files, files, workspace)
            place.arrive()
            running = self.runs.get(run_id)
            if running is not None and replace in (True, running.epoch):
                with suppress(NotFound, Stale):  # it is gone already
                    await self.cancel(run_id, REPLACED, running.epoch)
        except BaseException:
            place.leave()
            await self._files.discard(staged)
            raise

        kept = keep_inputs(function, inputs or {}, found, _count(files))

        async def begin() -> FunctionRun:
            known = _labels(function, labels or {}, digest, kept, run_id)
            log = await self._begin(run_id, known, replace, place, staged, kept)
            of_run = self._files.for_run(run_id, log.epoch, function.files, staged)
            first = Attempt(
                function=function,
                declared=function,
                attachment=kept,
                arguments=arguments,
                secrets=found,
            )
            return self._launch(self._run(first, log, of_run), place)

        beginning = asyncio.create_task(begin())
        self._beginning.add(beginning)
        beginning.add_done_callback(self._beginning.discard)
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            # The store may still begin the log. If so, the log gets its ending.
            beginning.add_done_callback(_cancel_begun)
            raise

    async def _begin(
        self,
        run_id: str,
        labels: Mapping[str, str],
        replace: bool | str,
        place: Place,
        staged: "Workspace | None",
        kept_inputs: bytes,
    ) -> OwnedLog:
        """Begin a run's log; on failure discard everything that was prepared for the run."""
        try:
            self._check_not_closing()
            replaced = await self._ended_epoch(run_id) if replace else ""
            log = await self.hub.begin(
                run_id,
                labels=labels,
                ttl_s=self._settings.keep_runs_s or None,
                replace=replace,
                attachment=kept_inputs,
            )
        except BaseException:
            place.leave()
            await self._files.discard(staged)
            raise
        if replaced:
            self._files.forget(run_id, replaced)
        return log

    async def _ended_epoch(self, run_id: str) -> str:
        """Return the epoch of an ended run; "" if the run does not exist or is open."""
        try:
            info = await self.hub.info(run_id)
        except NotFound:
            return ""
        # An open run's owner still writes; its files are swept later
        return info.epoch if info.closed else ""

    def _check_not_closing(self) -> None:
        if self._closing:
            raise Overloaded("the server is shutting down; try another or again later")

    def _enter(self, function: Function[..., Any], **how: bool) -> Place:
        most = function.max_runs or self._settings.max_runs_per_function
        return self._room.enter(function.name, most, **how)

    def _run(self, attempt: Attempt, log: OwnedLog, files: RunFiles) -> FunctionRun:
        keeper = Keeper(attempt.attachment or NO_INPUTS)
        questions = Questions(self.hub, log.inlet, self.hub.clock, keeper)
        most = self._settings.max_event_bytes
        meter = Meter(self.hub.prices, attempt.function.budget)
        meter.resume(attempt.used)
        mailbox = HubMailbox(self.hub, log.inlet, self.hub.clock)
        folder = files.workspace
        writer = Writer(log.inlet, self.hub.clock, most, questions, folder, meter, mailbox)
        writer.begin_delivery = self.hub.begin_delivery
        run = FunctionRun(attempt, log, writer, files, questions)
        run.on_raised = lambda error: self.tracebacks.add(log.log_id, log.epoch, error)
        return run

    def _launch(self, run: FunctionRun, place: Place) -> FunctionRun:
        if run.run_id in self.runs:  # two calls replaced the run at once: the later one counts
            self.runs[run.run_id].cancel(REPLACED)
        self.runs[run.run_id] = run
        self._living[run] = place
        # A copy of the caller's context, so that the run's changes stay in the run.
        context = contextvars.copy_context()
        run.task = asyncio.create_task(
            self._run_to_end(run, place, context), name=f"run-{run.run_id}"
        )
        return run

    async def answer(
        self, run_id: str, interrupt_id: str, answer: Answer, epoch: str = ""
    ) -> tuple[Answer, bool]:
        """Answer a question; see `answer_question`. A run that waits without an owner continues."""
        log = self.hub.owned.get(run_id)
        ends = log.end_of_question(interrupt_id) if log is not None else None
        decision = await answer_question(self.hub, run_id, interrupt_id, answer, ends, epoch=epoch)
        if run_id not in self.runs:
            await self._recovery.take_over(run_id)
        return decision

    async def reap(self) -> None:
        """Take over the runs of dead owners now. Raises `BackendError`."""
        await self._recovery.reap()

    async def run_launched(self, run_id: str, epoch: str) -> None:
        """In a worker: claim a run that was handed over, and run it to its end.

        Does nothing if the run has ended, or if another worker that lives has it. So it may be
        called again for the same run. Raises `BackendError`.
        """
        try:
            info = await self.hub.info(run_id)
        except NotFound:
            _log.warning(
                "the run %s was handed over, but this worker's store does not have it: it was "
                "deleted, or the server has another store (--store)",
                run_id,
            )
            return
        launch = Launch.of(info.labels)
        if info.epoch != epoch or run_id in self.runs or launch is None:
            return
        await self._recovery.take(run_id)
        run = self.runs.get(run_id)
        if run is not None:
            await run.wait()

    def _begin_attempt(self, attempt: Attempt, claimed: LogInfo) -> None:
        """Begin another attempt of a claimed run."""
        function = attempt.declared
        log = self.hub.take(claimed)
        place = self._enter(function, is_promised=True)
        of_run = self._files.for_run(log.log_id, log.epoch, function.files, is_resumed=True)
        self._launch(self._run(attempt, log, of_run), place)
        self.hub.owned.look(log.log_id)  # the run may have been cancelled while it was claimed

    async def _run_to_end(
        self, run: FunctionRun, place: Place, context: contextvars.Context
    ) -> None:
        try:
            await run.prepare()
            if not place.ready.is_set():  # it may begin, or was cancelled before
                await wait_for_first(place.ready.wait(), run.cancel_asked.wait())
            await run.live(self.hub, self._workers, context)
        finally:
            place.leave()
            del self._living[run]
            if self.runs.get(run.run_id) is run:
                del self.runs[run.run_id]
            if run.is_left:
                self._continue(run)

    def _continue(self, run: FunctionRun) -> None:
        """Begin another attempt of a run whose own process died."""
        self._recovery.leave(run.run_id)
        for work in (self._follow(run), self._recovery.take_over(run.run_id)):
            task = asyncio.create_task(work)
            self._following.add(task)
            task.add_done_callback(self._following.discard)

    async def _follow(self, run: FunctionRun) -> None:
        """Wait for the end of a run that was left, and pass on what its starter asks for."""
        following = asyncio.ensure_future(run.follow(self.hub))
        asked = asyncio.ensure_future(run.cancel_asked.wait())
        try:
            await asyncio.wait({following, asked}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                await self.cancel(run.run_id, run.cancel_reason)
            await following
        finally:
            asked.cancel()
            following.cancel()

    async def cancel(self, run_id: str, reason: str = "cancelled", epoch: str = "") -> None:
        """Cancel a run. The run has ended when this returns, unless another process runs it.

        A run that has ended is not changed, nor is an earlier reason.

        Args:
            epoch: the epoch to cancel; "" is any epoch.

        Raises:
            NotFound: the run does not exist.
            Stale: the run is in another epoch.
            InvalidValue: the reason is not a string.
        """
        reason = checked_reason(reason)
        ended = await self._cancel_own(run_id, reason, epoch)
        try:
            info = await self.hub.info(run_id, epoch)
            # The run may have begun here meanwhile.
            if not (info.closed or ended):
                ended = await self._cancel_own(run_id, reason, epoch)
                if ended:
                    info = await self.hub.info(run_id, epoch)
        except (NotFound, Stale):
            if ended:
                return  # it was deleted or begun again since
            raise
        # The end of a run that was here may not be stored: then its log is still open.
        if info.closed or (ended and info.epoch != ended):
            return
        owned = self.hub.owned.get(run_id)
        if owned is not None and owned.epoch != info.epoch:
            owned = None
        with suppress(RunClosed, Stale):  # the run ended meanwhile
            # The run was released, or is just beginning
            if owned is None and info.owner_id == self.hub.lease.owner_id:
                await self.hub.take(info).cancel(reason)
                return
            # The owner notices the label, like every change of the log. Without an owner, or if its
            # process is killed before the end, the next process that takes over the run finds it.
            label = mend(reason[:200]).replace("\0", "\ufffd")  # stores keep no NUL in labels
            inlet = self.hub.inlet(run_id, info.epoch)
            await inlet.append(labels={CANCEL_LABEL: label or "cancelled"})
            self.hub.owned.notify(run_id)
            if owned is not None:
                await owned.cancel(reason)
                return
        await self._recovery.take_over(run_id)

    async def _cancel_own(self, run_id: str, reason: str, epoch: str) -> str:
        """Cancel a run of this process and wait for its end; return its epoch, "" without one."""
        run = self.runs.get(run_id)
        if run is None or run.is_released or epoch not in ("", run.epoch):
            return ""
        run.cancel(reason)
        await run.wait()
        return run.epoch


def _count(files: GivenFiles) -> dict[str, int]:
    return {group: len(given) for group, given in files.items()}


def _labels(
    function: Function[..., Any], given: Mapping[str, str], digest: str, kept: bytes, run_id: str
) -> dict[str, str]:
    recovers = function.recovers
    if recovers and function.recover is None and (lacking := left_out_of(kept)):
        _log.warning(
            "run %s cannot be continued after a crash, because not all of its inputs are kept: %s",
            run_id,
            lacking,
        )
        recovers = False
    return {
        **given,
        "function": function.name,
        **({RESUMABLE_LABEL: "1"} if function.resume else {}),
        **(Recoverable(function.max_attempts).labels() if recovers else {}),
        **({DIGEST_LABEL: digest} if digest else {}),
    }


def _cancel_begun(beginning: asyncio.Task[FunctionRun]) -> None:
    if not beginning.cancelled() and beginning.exception() is None:
        beginning.result().cancel("its caller did not wait for its beginning")
