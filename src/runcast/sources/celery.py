"""The source for Celery: each call of a task is a run, under the id of the task.

    @runcast.sources.celery.task(store="redis://redis.example.org/0")
    @app.task(bind=True)
    def resize(self, paths):
        for number, path in enumerate(paths):
            self.update_state(state="PROGRESS", meta={"current": number, "total": len(paths)})

What the task reports by `update_state` becomes `progress` events, its result the run's result.
Inside the task `runcast.progress`, `ask` and all others write to the run. A task that is tried
again continues its run, and so does one whose worker was killed, if Celery delivers it again
(`acks_late`). If a task is delivered twice at once, the second one is ignored. If somebody cancels
the run, the task ends at its next report, with the state `REVOKED`.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from runcast._producing.attaching import JobRun
from runcast.errors import Cancelled, InvalidValue
from runcast.sources._celery import Ignore, Reject, Retry, Task
from runcast.sources._jobs import (
    MAX_ATTEMPTS,
    AnotherHasIt,
    report,
    run_job,
    run_name,
)

__all__ = ("task",)

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
        max_attempts: how often a run continues after its worker was killed.

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

        def call_in_run(*args: Any, **kwargs: Any) -> Any:
            request = known.request
            if request.called_directly or not request.id:
                return run(*args, **kwargs)
            job = JobRun(
                run_id=request.id,
                name=name or run_name(known.name),
                store=store,
                labels=labels,
                max_attempts=max_attempts,
            )
            try:
                return run_job(job, lambda: run(*args, **kwargs), _will_retry)
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

        known.run = functools.wraps(run)(call_in_run)
        known.update_state = update_and_report
        return found

    return decorate


def _will_retry(error: BaseException) -> bool:
    return isinstance(error, Retry) or (isinstance(error, Reject) and bool(error.requeue))
