"""A run of code anywhere, by the URL of the store: `runcast.attach`."""

import os
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from runcast._app.cancelling import Cancel, cancel_apart
from runcast._app.places import files_of, shares_files
from runcast._app.script import STORE_VARIABLE, RunOpener, ScriptHub
from runcast._clock import Clock, SystemClock
from runcast._producing.attaching import AttachedJob, JobRun
from runcast._runs.attached_run import AttachedRun, AttachOptions, check_wait
from runcast._settings import Settings
from runcast.errors import InvalidValue
from runcast.events.position import is_run_id
from runcast.stores import open_url
from runcast.stores.base import Store

if TYPE_CHECKING:
    from runcast._files.files import Files

__all__ = ("AttachHub", "AttachOpener", "StoredJobRuns", "attach")


_LEASES_OF_THE_DEAD: Final = 1.5
"""For how many lease times a job waits for the process that had it before."""


class AttachHub(ScriptHub):
    """A hub for one run that a program attaches to, with the run's files."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        super().__init__(store, settings, clock)
        self.files: Files | None = files_of(self.hub) if shares_files(self.hub) else None

    async def open(self) -> None:
        await super().open()
        if self.files is not None:
            await self.files.open(sweeps=False)

    async def close(self) -> None:
        if self.is_here and self.files is not None:
            await self.files.close()
        await super().close()


class AttachOpener(RunOpener):
    """The result of `runcast.attach`. Use it with `async with` on a loop, or `with` in a thread,
    once."""

    async def __aenter__(self) -> AttachedRun:
        return cast("AttachedRun", await super().__aenter__())

    def __enter__(self) -> AttachedRun:
        return cast("AttachedRun", super().__enter__())


def attach(
    run_id: str,
    *,
    store: str | Store | None = None,
    name: str = "",
    labels: Mapping[str, str] = MappingProxyType({}),
    max_attempts: int = 0,
    wait_s: float = 0.0,
    settings: Settings | None = None,
    clock: Clock | None = None,
) -> AttachOpener:
    """Write into a run from any process that reaches the store: `with runcast.attach(id) as run`.

    For jobs of Ray, Dask, cron, or any other engine. Use `with`, or `async with` in a coroutine.
    The process owns the run in the block. Everything works as in `runcast.run`: events, questions,
    messages, cancelling, and how the run ends when the block is left. Files that the block writes
    into `runcast.workspace()` are kept if other processes can have them: if the store is a file, or
    `data_dir` or `files` is set. If the process dies, the run is lost when its lease is over, or
    waits for the next process that attaches.

    Args:
        run_id: a run that `hub.reserve` began, or one that a block of `attach` left open.
        store: the URL of the store, or your own store; by default that in `RUNCAST_STORE`.
        name: begin the run under this name if it does not exist.
        labels: labels of a run that is begun here.
        max_attempts: how often the run may be continued after the process that wrote it died; a
            server waits `recover_wait_s` for each of them.
        wait_s: how long to wait for another process to leave the run.

    Raises, when the block is entered:
        NotFound: the run does not exist, and `name` is not given.
        Conflict: another process that lives writes the run, or the run is a function's.
        RunClosed: the run has ended, was cancelled, or is lost.
        InvalidValue: an argument is malformed, or there is no store.
        BackendError: the store cannot be reached.
    """
    if not is_run_id(run_id):
        raise InvalidValue(f"expected the id of a run, got {run_id!r:.140}")
    if isinstance(max_attempts, bool) or not isinstance(max_attempts, int) or max_attempts < 0:
        raise InvalidValue(f"expected max_attempts to be 0 or more, got {max_attempts!r:.80}")
    check_wait("wait_s", wait_s)
    options = AttachOptions(run_id, name, labels, max_attempts, wait_s)
    return _opener(options, store, settings, clock)


def _opener(
    options: AttachOptions,
    store: str | Store | None,
    settings: Settings | None,
    clock: Clock | None,
) -> AttachOpener:
    def make() -> AttachHub:
        known, now = settings or Settings.load(), clock or SystemClock()
        where = store if store is not None else os.environ.get(STORE_VARIABLE, "")
        if not where:
            raise InvalidValue(f"expected the URL of a store, as store= or in {STORE_VARIABLE}")
        if not isinstance(where, str) and not hasattr(where, "commit"):
            raise InvalidValue(f"expected the URL of a store, or a Store, got {where!r:.80}")
        opened = open_url(where, known, now) if isinstance(where, str) else where
        return AttachHub(opened, known.with_absolute_paths(), now)

    def begin(hub: ScriptHub) -> Coroutine[Any, Any, AttachedRun]:
        return AttachedRun._attach(hub.hub, cast("AttachHub", hub).files, options)

    return AttachOpener(make, begin)


class StoredJobRuns:
    """The runs of jobs of task engines, in the stores that the jobs name; see `JobRuns`."""

    @contextmanager
    def attach(self, job: JobRun) -> Iterator[AttachedJob]:
        """Return the block of a job; see `JobRuns.attach`."""
        settings = Settings.load()
        options = AttachOptions(
            job.run_id,
            job.name,
            job.labels,
            job.max_attempts,
            _LEASES_OF_THE_DEAD * settings.lease_s,
            # An engine that tries a failed job again must get it run.
            "ended" if job.is_reused else "failed",
        )
        with _opener(options, job.store or None, settings, None) as run:
            yield AttachedJob(
                run,
                run.set_result,
                run.leave_open,
                run._abandon,
                run._elapsed_s,
                run._is_continued_elsewhere,
            )

    def cancel(self, jobs: Sequence[tuple[JobRun, str]]) -> Mapping[str, str]:
        """Cancel the runs of jobs; see `JobRuns.cancel`."""
        usual = os.environ.get(STORE_VARIABLE, "")
        cancels = [Cancel(job.run_id, reason, job.store or usual) for job, reason in jobs]
        return cancel_apart([cancel for cancel in cancels if cancel.store])
