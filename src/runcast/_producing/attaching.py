"""A run for a job of a task engine, for the sources.

This layer opens no store. The program that assembles runcast sets how a job attaches to its run.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from runcast._producing.writer import Writer

__all__ = ("AttachedJob", "Attaching", "JobRun", "attach_job", "set_attaching")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRun:
    """Which run a job is.

    Attributes:
        run_id: the job's id.
        name: lists show it as the run's function.
        store: the store's URL; "" for the one in `RUNCAST_STORE`.
        max_attempts: how often the run continues if its process dies and the job is delivered
            again.
    """

    run_id: str
    name: str
    store: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    max_attempts: int = 0


class AttachedJob(NamedTuple):
    """A job's run.

    `set_result` sets the run's result, and raises `InvalidValue`, `EventTooLarge`. `leave_open`
    leaves the run open when the block is left, because the job will be tried again.
    """

    writer: Writer
    set_result: Callable[[object], None]
    leave_open: Callable[[], None]


class Attaching(Protocol):
    """Attaches a job to its run; the run is the current one in the block.

    If another process has the run, it waits for as long as that process may count as alive although
    it was killed: engines deliver its job again at once.
    """

    def __call__(self, job: JobRun) -> AbstractContextManager[AttachedJob]: ...


_attaching: Final[list[Attaching]] = []


def set_attaching(attaching: Attaching) -> None:
    """Set how jobs attach to their runs."""
    _attaching[:] = [attaching]


def attach_job(job: JobRun) -> AbstractContextManager[AttachedJob]:
    """Return the block of a job's run; see `runcast.attach` for what entering it raises."""
    return _attaching[0](job)
