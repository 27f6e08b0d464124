"""The source for Dramatiq: each message that an actor processes is a run, under the message's id.

    broker.add_middleware(runcast.sources.dramatiq.Runs(store="redis://redis.example.org/0"))

Inside the actor `runcast.progress`, `ask` and all others write to the run. A message that is tried
again continues its run. A message that is delivered again after its run has failed, for example
from the dead letters, begins the run again.
"""

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, Final

from runcast._producing.attaching import AttachedJob, JobRun
from runcast.errors import Cancelled
from runcast.sources._jobs import (
    MAX_ATTEMPTS,
    AnotherHasIt,
    enter,
    keep_result,
    leave,
    run_name,
)
from runcast.sources._packages import check_package

check_package("dramatiq", (1, 17))

from dramatiq.errors import Retry  # noqa: E402
from dramatiq.middleware import Middleware, Retries, SkipMessage  # noqa: E402

__all__ = ("Runs",)

_Entered = tuple[AbstractContextManager[AttachedJob], AttachedJob]


class Runs(Middleware):
    """A middleware that makes each processed message a run.

    If the store cannot be reached, messages are processed without runs, and the log has warnings.

    Args:
        store: the URL of the store; by default that in `RUNCAST_STORE`.
        labels: labels of the runs.
        actors: the names of the actors; by default all.
        max_attempts: how often a run continues after its worker was killed.
    """

    def __init__(
        self,
        *,
        store: str = "",
        labels: Mapping[str, str] = MappingProxyType({}),
        actors: frozenset[str] | None = None,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        self._store = store
        self._labels = labels
        self._actors = actors
        self._max_attempts = max_attempts
        self._in_thread: Final = threading.local()

    def before_process_message(self, broker: Any, message: Any) -> None:
        """Begin or continue the run. Raises `SkipMessage` if the message was delivered twice."""
        self._in_thread.entered = None
        if self._actors is not None and message.actor_name not in self._actors:
            return
        job = JobRun(
            run_id=message.message_id,
            name=run_name(message.actor_name),
            store=self._store,
            labels=self._labels,
            max_attempts=self._max_attempts,
        )
        try:
            self._in_thread.entered = enter(job)
        except AnotherHasIt as error:
            raise SkipMessage(str(error)) from None

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        """End the run, or leave it open for the next try."""
        entered: _Entered | None = getattr(self._in_thread, "entered", None)
        self._in_thread.entered = None
        if entered is None:
            return
        block, run = entered
        if exception is None:
            keep_result(run, result)
        leave(block, run, exception, retry_s=_retry_of(broker, message, exception))

    def after_skip_message(self, broker: Any, message: Any) -> None:
        """End the run of a message that another middleware skips."""
        entered: _Entered | None = getattr(self._in_thread, "entered", None)
        self._in_thread.entered = None
        if entered is not None:
            leave(*entered, Cancelled("the message was skipped"))


def _retry_of(broker: Any, message: Any, exception: BaseException | None) -> float | None:
    """Return after how many seconds, at most, the middleware `Retries` sends a message again, by
    its own rules; None if it does not."""
    retries = next((it for it in broker.middleware if isinstance(it, Retries)), None)
    if retries is None or exception is None:
        return None
    options = {**broker.get_actor(message.actor_name).options, **message.options}
    if (throws := options.get("throws")) and isinstance(exception, throws):
        return None
    tried = message.options.get("retries", 0)
    most = options.get("max_retries", retries.max_retries)
    retry_when = options.get("retry_when", retries.retry_when)
    if retry_when is not None:
        is_over = not retry_when(tried, exception)
    else:
        is_over = most is not None and tried >= most
    if is_over:
        return None
    if isinstance(exception, Retry) and exception.delay is not None:
        return exception.delay / 1000
    least = options.get("min_backoff", retries.min_backoff)
    longest = options.get("max_backoff", retries.max_backoff)
    return float(min(2 * least * 2**tried, longest)) / 1000  # with the most jitter
