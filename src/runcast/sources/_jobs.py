"""A job of a task engine as a run: what the sources of Celery, RQ and Dramatiq have in common."""

import logging
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from numbers import Real
from typing import Final, TypeVar

from runcast._producing.attaching import AttachedJob, JobRun, attach_job
from runcast._producing.context import current_writer
from runcast.errors import (
    BackendError,
    Cancelled,
    Conflict,
    EventTooLarge,
    InvalidValue,
    RunClosed,
)
from runcast.sources._telling import tell

__all__ = (
    *("MAX_ATTEMPTS", "AnotherHasIt"),
    *("enter", "keep_result", "leave", "report", "run_job", "run_name"),
)

T = TypeVar("T")

MAX_ATTEMPTS: Final = 3
"""How often the run of a job continues after its process died."""

_CURRENT: Final = ("current", "done", "completed", "processed", "step")
_TOTAL: Final = ("total", "of", "count")
_PERCENT: Final = ("percent", "percentage", "progress")
_MESSAGE: Final = ("message", "status", "description", "stage")

_log: Final = logging.getLogger("runcast.sources")


class AnotherHasIt(Exception):
    """The job runs in another process, or has ended: it was delivered twice."""


def run_name(name: str) -> str:
    """Return a name for the runs of a job, in the characters that names of runs have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:128] or "job"


def enter(job: JobRun) -> tuple[AbstractContextManager[AttachedJob], AttachedJob] | None:
    """Attach a job to its run; return the entered block and the run.

    Returns None if the store cannot be reached: then the job works without a run.

    Raises:
        AnotherHasIt: the job must not be run.
    """
    block = attach_job(job)
    try:
        return block, block.__enter__()
    except (Conflict, RunClosed) as error:
        _log.warning("the job %s is not run: %s", job.run_id, error)
        raise AnotherHasIt(str(error)) from None
    except BackendError as error:
        _log.warning("the job %s has no run: %s", job.run_id, error)
        return None


def run_job(job: JobRun, call: Callable[[], T], will_retry: Callable[[BaseException], bool]) -> T:
    """Call a job, with its run around it, and return or raise what the job does.

    Args:
        will_retry: returns whether the engine tries the job again after it has raised this.

    Raises:
        AnotherHasIt: the job was not called.
    """
    entered = enter(job)
    if entered is None:
        return call()
    block, run = entered
    try:
        result = call()
    except BaseException as error:
        leave(block, run, error, is_retried=will_retry(error))
        raise
    keep_result(run, result)
    leave(block, run)
    return result


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
    is_retried: bool = False,
) -> None:
    """Leave the block of a job, as the job ended."""
    if is_retried and error is not None:
        said = f"{type(error).__name__}: the job will be tried again"
        with suppress(Cancelled):
            tell(run.writer, lambda: run.writer.log(said, "warning"))
        run.leave_open()
    try:
        block.__exit__(type(error) if error is not None else None, error, None)
    except BackendError as failure:
        _log.warning("the end of a run could not be stored: %s", failure)


def report(meta: object, state: str = "") -> None:
    """Report what a job says of its progress to the current run, if there is one.

    Numbers become a `progress` event. A text without numbers becomes a `log` line. Anything else is
    an event of the type `job_state`.

    Raises only `Cancelled`.
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

    tell(writer, write)


def _number(known: Mapping[object, object], names: tuple[str, ...]) -> float | None:
    for name in names:
        value = known.get(name)
        if isinstance(value, Real) and not isinstance(value, bool):
            return float(value) if not isinstance(value, int) else value
    return None
