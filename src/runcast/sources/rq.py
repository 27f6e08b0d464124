"""The source for RQ: each execution of a job is a run, under the id of the job.

    @runcast.sources.rq.job(store="redis://redis.example.org/0")
    def resize(paths):
        job = rq.get_current_job()
        job.meta["current"] = 3
        job.save_meta()

What the job saves in its `meta` becomes `progress` events, and its result the run's result. A job
that is tried again continues its run. A job that has ended and is run again, because it repeats, or
was enqueued again under its id, begins the run again.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar

from runcast._producing.attaching import JobRun
from runcast.errors import Cancelled
from runcast.sources._jobs import MAX_ATTEMPTS, AnotherHasIt, report, run_job, run_name
from runcast.sources._packages import check_package

check_package("rq", (2, 1))

from rq import Retry, get_current_job  # noqa: E402 - after the check that it is installed

__all__ = ("job",)

P = ParamSpec("P")
T = TypeVar("T")


def job(
    *,
    store: str = "",
    name: str = "",
    labels: Mapping[str, str] = MappingProxyType({}),
    max_attempts: int = MAX_ATTEMPTS,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make each execution of a job a run. Outside a worker the function is called as it is.

    If the store cannot be reached, the job works without a run, and the log has a warning.

    Args:
        store: the URL of the store; by default that in `RUNCAST_STORE`.
        name: the name of the runs; by default the function's name.
        labels: labels of the runs.
        max_attempts: how often a run continues after its worker was killed. It counts only for
            jobs with `retry=`; RQ does not run others again.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call_in_run(*args: P.args, **kwargs: P.kwargs) -> T:
            current: Any = get_current_job()
            if current is None:
                return function(*args, **kwargs)
            save_meta = current.save_meta

            def save_and_report() -> None:
                save_meta()
                report(current.meta)

            current.save_meta = save_and_report
            known = JobRun(
                run_id=current.id,
                name=name or run_name(function.__name__),
                store=store,
                labels=labels,
                max_attempts=max_attempts if current.should_retry else 0,
                is_reused=True,
            )
            try:
                return run_job(
                    known,
                    lambda: function(*args, **kwargs),
                    lambda error: _retry_after_error(current),
                    lambda result: _retry_by_result(current, result),
                )
            except (AnotherHasIt, Cancelled):
                current.retries_left = None  # RQ must not try it again
                raise
            finally:
                del current.save_meta

        return call_in_run

    return decorate


def _retry_after_error(current: Any) -> float | None:
    """Return after how many seconds RQ tries a job again that has raised; None if it does not."""
    return float(current.get_retry_interval()) if current.should_retry else None


def _retry_by_result(current: Any, result: object) -> float | None:
    """Return after how many seconds RQ runs a job again because it has returned a `Retry`; None if
    it does not."""
    if not isinstance(result, Retry):
        return None
    tried = current.number_of_retries or 0
    return float(Retry.get_interval(tried, result.intervals)) if tried < result.max else None
