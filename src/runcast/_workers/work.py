"""A function at work: in a task of the loop, in a thread, or in its own process.

Each kind of work ends in its own way: a task is cancelled, a thread can only be asked, a process
can be killed. `Work` is their common interface for a run.
"""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple, NoReturn, Protocol

from runcast._functions.function import Function
from runcast._functions.secrets import Redactor, texts_in
from runcast._hub.forks import ending_forks, when_forked
from runcast._hub.inlets import Inlet
from runcast._logs import get_logger
from runcast._producing.context import current_writer, using
from runcast._producing.writer import Writer
from runcast._workers.continuation import Continuation
from runcast._workers.drive import drive_async, drive_in_thread, outcome_of
from runcast._workers.left_behind import LeftThreads
from runcast._workers.loop_watch import FunctionAt, LoopWatch
from runcast._workers.processes import control
from runcast._workers.processes.pool import Preparation, Processes
from runcast._workers.processes.process import REAP_S
from runcast._workers.processes.process_call import ProcessCall
from runcast._workers.threads import Threads
from runcast._workers.traces import trace_of_function
from runcast.errors import Cancelled, RuncastError
from runcast.events.outcome import Outcome, cancelled, failed, is_clean_exit

__all__ = ("Ended", "Job", "Work", "Workers", "how_it_ended")

_log: Final = get_logger("runcast.runs")


@dataclass(frozen=True, slots=True)
class Job:
    """The task of a worker: a function, its arguments, and the target of its events.

    `arguments` are converted, except for a function with its own process, which converts them
    itself. A handler with its own process has a `continuation` instead. `open_folder` returns the
    working directory. `secrets` are for the environment. `on_stream` is called on the loop once the
    function has returned an iterator, unless it is known in advance that it does.
    """

    function: Function[..., Any]
    arguments: dict[str, Any]
    inlet: Inlet
    writer: Writer
    secrets: Mapping[str, str] = field(repr=False)
    open_folder: Callable[[], Awaitable[Path]]
    on_stream: Callable[[], None] = lambda: None
    continuation: Continuation | None = None


class Work(Protocol):
    """A function at work."""

    @property
    def ending(self) -> "asyncio.Future[Outcome]":
        """Its outcome, or the error that it raises."""
        ...

    @property
    def raised(self) -> BaseException | None:
        """The function's exception if `ending` cannot have it: from another process."""
        ...

    @property
    def grace_s(self) -> float:
        """How long it may continue after it was asked to stop, before it is given up."""
        ...

    def withdraw(self) -> bool:
        """Withdraw it if it has not begun; False if it has begun."""
        ...

    def ask_to_stop(self, reason: str) -> None:
        """Ask it to end; it may react as it likes."""
        ...

    def hurry(self) -> None:
        """End it sooner than `ask_to_stop` does, if there is a way."""
        ...

    @property
    def is_stopping(self) -> bool:
        """Whether it may have noticed that it was asked to stop, and clean up."""
        ...

    def give_up(self) -> None:
        """Abandon it, because it does not end."""
        ...


class Workers:
    """A hub's threads and processes, and its loop: where functions run."""

    def __init__(self, threads: Threads, processes: Processes) -> None:
        self.threads = threads
        self.processes = processes
        self.left_threads = LeftThreads()
        """The threads that functions leave running."""
        settings = processes.settings
        self._watch = LoopWatch(processes.clock, settings.blocked_loop_s, _job_in)

    def prepare(self, functions: Iterable[Function[..., Any]]) -> None:
        """Prepare what functions need before they are called."""
        separate = [function for function in functions if function.isolation == "process"]
        self.processes.hide(secret.name for function in separate for secret in function.secrets)
        for function in separate:
            self.processes.prepare(_preparation(function))

    def open(self) -> None:
        """Keep threads and processes ready. Idempotent. May be called again after `close`."""
        self.threads.open()
        self.processes.open()
        self._watch.open()

    async def close(self) -> None:
        """Release threads and processes once no work runs any more. Idempotent."""
        self._watch.close()
        self.threads.close()
        await self.processes.close()
        for thread in self.left_threads.at_work():
            if thread.run_ids:
                _log.warning("%s still runs: Python waits for it before the process ends", thread)

    def begin(self, job: Job, context: Context) -> Work:
        """Start a function in the place for its kind."""
        if job.function.isolation == "process":
            self.processes.hide(secret.name for secret in job.function.secrets)
            return _InProcess(self.processes, job)
        grace_s = self.processes.settings.cancel_grace_s
        if job.function.kind in ("coroutine", "async_generator"):
            return _InTask(job, context, grace_s, self.left_threads)
        return _InThread(self.threads, job, context, grace_s, self.left_threads)


class _InTask:
    """A coroutine function or async generator, on the loop."""

    raised = None
    is_stopping = True

    def __init__(self, job: Job, context: Context, grace_s: float, left: LeftThreads) -> None:
        self._writer = job.writer
        self._thread_id = threading.get_ident()
        self._loop = asyncio.get_running_loop()
        self.grace_s = grace_s
        self.ending = self._loop.create_task(
            _drive(job, left), name=f"runcast-{job.inlet.run_id}", context=context
        )
        when_forked(self)

    def handle_fork(self) -> None:
        """End a process that the function forked, if it returns to the server's loop.

        It has a copy of the loop but shares its files, so it would read data sent to the server.
        """
        is_ours = current_writer() is self._writer and threading.get_ident() == self._thread_id
        if is_ours and not self._loop.is_closed():
            self._loop.call_soon(_end_fork, self._writer.run_id)

    def withdraw(self) -> bool:
        return False

    def ask_to_stop(self, reason: str) -> None:
        self._writer.request_cancel(reason)
        self.ending.cancel()

    def hurry(self) -> None:
        pass

    def give_up(self) -> None:
        pass


async def _drive(job: Job, left: LeftThreads) -> Outcome:
    run_id = job.inlet.run_id
    try:
        with ending_forks(run_id), using(job.writer), left.during(run_id):
            call, arguments = job.function.call, job.arguments
            return await drive_async(call, arguments, job.writer, job.on_stream)
    except (SystemExit, KeyboardInterrupt) as error:
        # A task that raises these would end the loop, and with it all other runs.
        raise _LeftLoop from error


class _LeftLoop(Exception):
    """Wraps an exception (its cause) that a task must not raise."""


def _job_in(frame: FrameType) -> FunctionAt | None:
    """Return the function that a frame drives; None if it is not a function's task."""
    if frame.f_code is not _drive.__code__:
        return None
    job: Job = frame.f_locals["job"]
    return FunctionAt(job.function.name, job.inlet.run_id)


def _end_fork(run_id: str) -> NoReturn:
    _log.error("a process that run %s has forked awaited something of the server's loop", run_id)
    os._exit(1)


class _InThread:
    """A plain function or generator, in a thread."""

    raised = None

    def __init__(
        self, threads: Threads, job: Job, context: Context, grace_s: float, left: LeftThreads
    ) -> None:
        self._threads = threads
        self.grace_s = grace_s
        self._writer = job.writer
        run_id = job.inlet.run_id

        loop, is_certain = asyncio.get_running_loop(), job.function.is_certain

        def on_stream() -> None:
            if not is_certain:
                with suppress(RuntimeError):  # the loop is closed: nobody needs to know
                    loop.call_soon_threadsafe(job.on_stream)

        def drive() -> Outcome:
            with ending_forks(run_id), using(job.writer), left.during(run_id):
                call, arguments = job.function.call, job.arguments
                return drive_in_thread(call, arguments, job.writer, on_stream)

        self.ending = threads.submit(drive, context)

    def withdraw(self) -> bool:
        return self._threads.withdraw(self.ending) and self.ending.cancel()

    def ask_to_stop(self, reason: str) -> None:
        self._writer.request_cancel(reason)

    def hurry(self) -> None:
        pass  # nothing can interrupt a thread

    @property
    def is_stopping(self) -> bool:
        return self._writer.has_raised_cancelled

    def give_up(self) -> None:
        self._threads.give_up(self.ending)


class _InProcess:
    """Any function, in its own process."""

    is_stopping = True

    def __init__(self, processes: Processes, job: Job) -> None:
        self._processes = processes
        self._writer = job.writer
        settings = processes.settings
        self.grace_s = settings.cancel_grace_s + settings.terminate_grace_s + 2 * REAP_S
        self._call: ProcessCall | None = None
        self._stopping: asyncio.Task[None] | None = None
        self.ending = asyncio.create_task(
            self._run(job), name=f"runcast-process-{job.inlet.run_id}"
        )

    async def _run(self, job: Job) -> Outcome:
        processes, function = self._processes, job.function
        assert function.source is not None
        settings, preparation = processes.settings, _preparation(function)
        async with processes.room:
            try:
                child, folder = await processes.take_while(preparation, job.open_folder())
            except OSError as error:
                _log.error("no child process can be started: %s", error)
                return failed("no process could be started", "not_started", retryable=True)
            call = control.Call(
                source=function.source,
                attribute=function.attribute,
                inputs=job.arguments,
                is_plain=function.takes_plain_inputs,
                run_id=job.inlet.run_id,
                folder=str(folder),
                environment=dict(job.secrets),
                max_event_bytes=settings.max_event_bytes,
                max_events=settings.max_events_per_run,
                max_bytes=settings.max_bytes_per_run,
                memory_bytes=settings.child_memory_bytes,
                continuation=job.continuation,
            )
            self._call = ProcessCall(
                child,
                job.inlet,
                job.writer,
                processes.clock,
                settings,
                Redactor(job.secrets.values()),
                Redactor(texts_in(_given(job))),
                job.on_stream,
            )
            try:
                return await self._call.run(call)
            finally:
                processes.prepare(preparation)
                if self._stopping is not None:
                    self._stopping.cancel()

    @property
    def raised(self) -> BaseException | None:
        return self._call.raised if self._call is not None else None

    def withdraw(self) -> bool:
        return self._call is None and self.ending.cancel()

    def ask_to_stop(self, reason: str) -> None:
        self._writer.request_cancel(reason)
        if self._call is not None and self._stopping is None:
            self._stopping = asyncio.create_task(self._call.stop(reason))

    def hurry(self) -> None:
        if self._call is not None:
            self._call.hurry()

    def give_up(self) -> None:
        self.ending.cancel()


def _given(job: Job) -> object:
    """Return what a function is given that tracebacks must not show."""
    more = job.continuation
    if more is None:
        return job.arguments
    return [more.inputs, more.kept, more.answer and more.answer.args]


def _preparation(function: Function[..., Any]) -> Preparation:
    """Return what a child may do before the call. An import may read secrets."""
    is_imported = function.preload and not function.secrets
    return Preparation(function.source if is_imported else None, function.preload)


class Ended(NamedTuple):
    """The outcome of work, and its function's exception, or None."""

    outcome: Outcome
    raised: BaseException | None = None


def how_it_ended(work: Work, run_id: str, reason: str = "") -> Ended:
    """Return the outcome of finished work.

    Args:
        run_id: the run, for the server's log, which gets the function's exception.
        reason: the cancellation's reason; "" if the function cancelled itself.
    """
    if work.ending.cancelled():
        return Ended(cancelled(reason or "the function cancelled itself"))
    error = work.ending.exception()
    if isinstance(error, _LeftLoop):
        error = error.__cause__
    if error is None:
        return Ended(work.ending.result(), work.raised)
    error.__traceback__ = trace_of_function(error)
    if not isinstance(error, RuncastError | Cancelled) and not is_clean_exit(error):
        _log.error("the function of run %s raised", run_id, exc_info=error)
    outcome = outcome_of(error)
    return Ended(outcome, error if outcome.type == "failed" else None)
