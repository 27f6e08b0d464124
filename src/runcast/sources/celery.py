"""The source for Celery: each call of a task is a run, under the id of the task.

    @runcast.sources.celery.task(store="redis://redis.example.org/0")
    @app.task(bind=True)
    def resize(self, paths):
        for number, path in enumerate(paths):
            self.update_state(state="PROGRESS", meta={"current": number, "total": len(paths)})

What the task reports by `update_state` becomes `progress` events, its result the run's result.
Inside the task `runcast.progress`, `ask` and all others write to the run. A task that is tried
again continues its run, and so does one whose worker was killed, if Celery delivers it again
(`acks_late`). If a task is delivered twice at once, the second one is ignored, and so is a task
whose run is done or was cancelled; a task whose run has failed begins it again. If somebody cancels
the run, the task ends at its next report, with the state `REVOKED`.
"""

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, TypeVar

from runcast._producing.attaching import JobRun
from runcast.errors import Cancelled, InvalidValue, RunFailed
from runcast.sources._celery import (
    Ignore,
    Reject,
    Retry,
    Task,
    task_revoked,
    worker_time_limit,
)
from runcast.sources._jobs import (
    MAX_ATTEMPTS,
    AnotherHasIt,
    cancel_soon,
    report,
    run_job,
    run_name,
)

__all__ = ("task",)

_REVOKED: Final = "the task was revoked"
"""The reason of runs whose task was revoked."""

_SLACK_S: Final = 1.0
"""How much later than Celery's own clock that of a task may begin."""

T = TypeVar("T")


def task(
    *,
    store: str = "",
    name: str = "",
    labels: Mapping[str, str] = MappingProxyType({}),
    max_attempts: int = MAX_ATTEMPTS,
) -> Callable[[T], T]:
    """Make each call of a task a run. Put it above `@app.task` or `@shared_task`.

    A direct call of the task, outside a worker, is a plain call. If the store cannot be reached,
    the task works without a run, and the log has a warning.

    Args:
        store: the URL of the store; by default that in `RUNCAST_STORE`.
        name: the name of the runs; by default the task's name.
        labels: labels of the runs.
        max_attempts: how often a run continues after its worker was killed. It counts only for
            tasks with `acks_late`; Celery does not deliver others again.

    Raises:
        InvalidValue: what is decorated is no task.
    """

    def decorate(found: T) -> T:
        if not isinstance(found, Task):
            raise InvalidValue(
                f"expected a task of Celery, got {type(found).__name__}: put this decorator above "
                "@app.task"
            )
        known: Any = found
        run, update_state = known.run, known.update_state

        def job_of(request: Any) -> JobRun:
            return JobRun(
                run_id=request.id,
                name=name or run_name(known.name),
                store=store,
                labels=labels,
                max_attempts=max_attempts if known.acks_late else 0,
            )

        def call_in_run(*args: Any, **kwargs: Any) -> Any:
            request = known.request
            if request.called_directly or not request.id:
                return run(*args, **kwargs)

            def exit_of(error: SystemExit, elapsed_s: float) -> BaseException | None:
                return _exit_of(known, elapsed_s)

            try:
                return run_job(
                    job_of(request),
                    functools.partial(run, *args, **kwargs),
                    functools.partial(_retry_of, known),
                    exit_of=exit_of,
                )
            except AnotherHasIt as error:
                raise Ignore(str(error)) from None
            except Cancelled as error:
                known.backend.mark_as_revoked(request.id, str(error), request)
                raise Ignore(str(error)) from None  # Celery would end its process

        def update_and_report(
            task_id: str | None = None, state: str | None = None, meta: Any = None, **more: Any
        ) -> None:
            update_state(task_id, state, meta, **more)
            if task_id is None or task_id == known.request.id:
                report(meta, state or "")

        def cancel_revoked(request: Any = None, expired: bool = False, **more: object) -> None:
            # In the worker's first process. What was revoked does not know it.
            cancel_soon(job_of(request), "the task has expired" if expired else _REVOKED)

        task_revoked.connect(cancel_revoked, sender=found, weak=False)
        known.run = functools.wraps(run)(call_in_run)
        known.update_state = update_and_report
        return found

    return decorate


def _exit_of(task: Any, elapsed_s: float) -> BaseException | None:
    """Return by which error the run of a task ends whose process Celery ends; None if Celery may
    deliver the task again."""
    own = (task.request.timelimit or (None,))[0] or task.time_limit
    longest = own or worker_time_limit()
    is_late = elapsed_s + _SLACK_S >= longest if longest else False
    if is_late and not (task.acks_late and not task.acks_on_failure_or_timeout):
        return RunFailed(f"the task took longer than its time limit of {longest:g} s", "timed_out")
    return None if task.acks_late else Cancelled("Celery has ended the task, or its worker")


def _retry_of(task: Any, error: BaseException) -> float | None:
    """Return after how many seconds Celery tries a task again; None if it does not."""
    if isinstance(error, Reject):
        return 0.0 if error.requeue else None
    if not isinstance(error, Retry):
        return None
    when = error.when
    if isinstance(when, datetime):
        now = task.app.now()
        aware = when if when.tzinfo is not None else when.replace(tzinfo=now.tzinfo)
        return float((aware - now).total_seconds())
    return float(when or 0.0)
