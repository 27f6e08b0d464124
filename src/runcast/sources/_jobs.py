"""A job of a task engine as a run: what the sources of Celery, RQ and Dramatiq have in common."""

import logging
import re
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from numbers import Real
from typing import Final, TypeVar

from runcast._producing.attaching import AttachedJob, JobRun, JobRuns, job_runs
from runcast._producing.context import current_writer
from runcast._producing.writer import Writer
from runcast.errors import (
    BackendError,
    Cancelled,
    Conflict,
    EventTooLarge,
    InvalidValue,
    RuncastError,
    RunClosed,
    Stale,
)
from runcast.sources._telling import tell

__all__ = (
    *("MAX_ATTEMPTS", "AnotherHasIt", "cancel_soon"),
    *("enter", "keep_result", "leave", "report", "run_job", "run_name"),
)

T = TypeVar("T")

MAX_ATTEMPTS: Final = 3
"""How often the run of a job continues after its process died."""

_MOST_CANCELS: Final = 10_000
"""Most runs that wait to be cancelled. Those of further jobs are not, and the log says so."""

_CURRENT: Final = ("current", "done", "completed", "processed", "step")
_TOTAL: Final = ("total", "of", "count")
_PERCENT: Final = ("percent", "percentage", "progress")
_MESSAGE: Final = ("message", "status", "description", "stage")

_jobs: Final[weakref.WeakKeyDictionary[Writer, AttachedJob]] = weakref.WeakKeyDictionary()
"""The jobs that run in this process, by the writers of their runs."""

_log: Final = logging.getLogger("runcast.sources")


class AnotherHasIt(Exception):
    """The job runs in another process, or has ended: it was delivered twice."""


def run_name(name: str) -> str:
    """Return a name for the runs of a job, in the characters that names of runs have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:128] or "job"


def enter(job: JobRun) -> tuple[AbstractContextManager[AttachedJob], AttachedJob] | None:
    """Attach a job to its run; return the entered block and the run.

    Returns None if the run cannot be written: if the store cannot be reached, say. Then the job
    works without a run.

    Raises:
        AnotherHasIt: the job must not be run.
    """
    block = job_runs().attach(job)
    try:
        run = block.__enter__()
    except (Conflict, RunClosed) as error:
        _log.warning("the job %s is not run: %s", job.run_id, error)
        raise AnotherHasIt(str(error)) from None
    except RuncastError as error:
        _log.warning("the job %s has no run: %s", job.run_id, error)
        return None
    _jobs[run.writer] = run
    return block, run


def run_job(
    job: JobRun,
    call: Callable[[], T],
    retry_of: Callable[[BaseException], float | None],
    again_of: Callable[[T], float | None] = lambda result: None,
    exit_of: Callable[[SystemExit, float], BaseException | None] = lambda error, elapsed_s: error,
) -> T:
    """Call a job, with its run around it, and return or raise what the job does.

    Args:
        retry_of: returns after how many seconds the engine tries the job again after it has raised
            this; None if it does not.
        again_of: the same for what the job returned.
        exit_of: for the `SystemExit` by which the engine ends the process, and the time that the
            job was at work, returns the error by which the run ends; None leaves the run to the
            next process that gets the job, like one whose process was killed.

    Raises:
        AnotherHasIt: the job was not called; or it was paused for so long that another process
            continues it, and has stopped.
    """
    entered = enter(job)
    if entered is None:
        return call()
    block, run = entered
    try:
        result = call()
    except SystemExit as error:
        shown = exit_of(error, run.elapsed_s())
        if shown is None:
            run.abandon()
        leave(block, run, shown or error)
        raise
    except BaseException as error:
        is_lost = isinstance(error, Stale | Cancelled) and _is_lost_to_another(run.writer)
        leave(block, run, error, retry_s=retry_of(error))
        if is_lost:
            _log.warning("the job %s has stopped: another process continues it", job.run_id)
            raise AnotherHasIt(str(error)) from None
        raise
    retry_s = again_of(result)
    if retry_s is None:
        keep_result(run, result)
    leave(block, run, retry_s=retry_s)
    return result


class _Cancelling:
    """Cancels the runs of jobs, in a thread while there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[JobRun, str]] = []
        self._is_at_work = False

    def add(self, job: JobRun, reason: str) -> None:
        runs = job_runs()  # imports much: a fork beside a thread that imports would hang
        with self._lock:
            if len(self._waiting) >= _MOST_CANCELS:
                _log.warning("the run of the job %s is not cancelled: too many wait", job.run_id)
                return
            self._waiting.append((job, reason))
            if self._is_at_work:
                return
            self._is_at_work = True
        work = threading.Thread(target=self._work, args=(runs,), name="runcast-cancel", daemon=True)
        work.start()

    def _work(self, runs: JobRuns) -> None:
        while taken := self._take():
            for run_id, why in runs.cancel(taken).items():
                _log.warning("the run of the job %s could not be cancelled: %s", run_id, why)

    def _take(self) -> list[tuple[JobRun, str]]:
        with self._lock:
            taken, self._waiting = self._waiting, []
            self._is_at_work = bool(taken)
        return taken


_cancelling: Final = _Cancelling()


def cancel_soon(job: JobRun, reason: str) -> None:
    """Cancel the run of a job, if there is one, in a thread. A failure is logged."""
    _cancelling.add(job, reason)


def keep_result(run: AttachedJob, result: object) -> None:
    """Make what the job returned the result of its run, if JSON can hold it."""
    try:
        run.set_result(result)
    except (InvalidValue, EventTooLarge) as error:
        said = f"the result is not kept: {error}"
        tell(run.writer, lambda: run.writer.log(said, "warning"))


def leave(
    block: AbstractContextManager[AttachedJob],
    run: AttachedJob,
    error: BaseException | None = None,
    *,
    retry_s: float | None = None,
) -> None:
    """Leave the block of a job, as the job ended.

    Args:
        retry_s: after how many seconds the engine tries the job again; None if it does not.
    """
    if retry_s is not None and not isinstance(error, Cancelled):
        why = f"{type(error).__name__}: " if error is not None else ""
        with suppress(Cancelled):
            tell(run.writer, lambda: run.writer.log(f"{why}the job will be tried again", "warning"))
        run.leave_open(max(retry_s, 0.0))
    try:
        block.__exit__(type(error) if error is not None else None, error, None)
    except BackendError as failure:
        _log.warning("the end of a run could not be stored: %s", failure)


def report(meta: object, state: str = "") -> None:
    """Report what a job says of its progress to the current run, if there is one.

    Numbers become a `progress` event. A text without numbers becomes a `log` line. Anything else is
    an event of the type `job_state`.

    Raises:
        Cancelled: the run was cancelled.
        Stale: this process was paused for so long that another one has continued the job.
    """
    writer = current_writer()
    if writer is None:
        return
    known: Mapping[object, object] = meta if isinstance(meta, Mapping) else {}
    current, total, percent = (_number(known, names) for names in (_CURRENT, _TOTAL, _PERCENT))
    message = next((str(known[name]) for name in _MESSAGE if known.get(name)), "")

    def write() -> None:
        if current is not None or percent is not None:
            writer.progress(current, total, message, percent=percent)
        elif message:
            writer.log(message)
        else:
            writer.emit("job_state", {"state": state, "meta": meta})

    try:
        tell(writer, write, (Stale,))
    except Stale:
        if _is_lost_to_another(writer):
            raise


def _is_lost_to_another(writer: Writer) -> bool:
    """Return whether another process has continued the job, as engines let it do if this one was
    paused. If not, the run has ended as lost, and the job works on without it."""
    job = _jobs.get(writer)
    if job is None:
        return False
    if not job.is_continued_elsewhere():
        del _jobs[writer]  # it has ended: no need to ask again
        return False
    return True


def _number(known: Mapping[object, object], names: tuple[str, ...]) -> float | None:
    for name in names:
        value = known.get(name)
        if isinstance(value, Real) and not isinstance(value, bool):
            return float(value) if not isinstance(value, int) else value
    return None
