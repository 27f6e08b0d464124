"""A run for a job of a task engine, for the sources.

This layer opens no store. The program that assembles runcast sets how jobs reach their runs.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from runcast._producing.writer import Writer

__all__ = ("AttachedJob", "JobRun", "JobRuns", "job_runs", "set_job_runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """Which run a job is.

    Attributes:
        run_id: the job's id.
        name: lists show it as the run's function.
        store: the store's URL; "" for the one in `RUNCAST_STORE`.
        max_attempts: how often the run continues if its process dies and the job is delivered
            again.
        is_reused: whether the engine may use the job's id for another job later, or run the job
            again after it has ended.
    """

    run_id: str
    name: str
    store: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    max_attempts: int = 0
    is_reused: bool = False


class AttachedJob(NamedTuple):
    """A job's run, in its block."""

    writer: Writer
    set_result: Callable[[object], None]
    """Sets the run's result. Raises `InvalidValue`, `EventTooLarge`."""
    leave_open: Callable[[float], None]
    """Leaves the run open when the block is left: the job will be tried again after so many
    seconds."""
    abandon: Callable[[], None]
    """When the block is left, does with the run what happens to one whose process was killed."""
    elapsed_s: Callable[[], float]
    """Returns for how long the job is at work."""
    is_continued_elsewhere: Callable[[], bool]
    """Returns whether another process has the run since."""


class JobRuns(Protocol):
    """The runs of jobs."""

    def attach(self, job: JobRun) -> AbstractContextManager[AttachedJob]:
        """Return the block of a job, in which its run is the current one.

        If another process has the run, it waits for as long as that process may count as alive
        although it was killed: engines deliver its job again at once. If the run has failed, it
        begins again as its next epoch, because the engine tries the job again; except a run that
        died too often. Entering raises what that of `runcast.attach` raises.
        """
        ...

    def cancel(self, jobs: Sequence[tuple[JobRun, str]]) -> Mapping[str, str]:
        """Cancel the runs of jobs, each for its reason, where there are any; blocks.

        Opens no store in this process, which may be about to fork. Returns why runs could not be
        cancelled, by their ids.
        """
        ...


_makers: Final[list[Callable[[], JobRuns]]] = []


def set_job_runs(make: Callable[[], JobRuns]) -> None:
    """Set what makes the runs of jobs. It is called for each job."""
    _makers[:] = [make]


def job_runs() -> JobRuns:
    """Return what has the runs of jobs."""
    return _makers[0]()
