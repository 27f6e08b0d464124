"""The source for Dramatiq: each message that an actor processes is a run, under the message's id.

    broker.add_middleware(runcast.sources.dramatiq.Runs(store="redis://redis.example.org/0"))

Inside the actor `runcast.progress`, `ask` and all others write to the run. A message that is tried
again continues its run.
"""

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, Final

from runcast._producing.attaching import AttachedJob, JobRun
from runcast.sources._jobs import (
    MAX_ATTEMPTS,
    AnotherHasIt,
    enter,
    keep_result,
    leave,
    run_name,
)
from runcast.sources._packages import check_package

check_package("dramatiq", (2,))

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
        leave(block, run, exception, is_retried=_will_retry(broker, message, exception))


def _will_retry(broker: Any, message: Any, exception: BaseException | None) -> bool:
    """Return whether the middleware `Retries` will send a message again, by its own rules."""
    retries = next((it for it in broker.middleware if isinstance(it, Retries)), None)
    if retries is None or exception is None:
        return False
    options = {**broker.get_actor(message.actor_name).options, **message.options}
    if (throws := options.get("throws")) and isinstance(exception, throws):
        return False
    tried = message.options.get("retries", 0)
    retry_when = options.get("retry_when", retries.retry_when)
    if retry_when is not None:
        return bool(retry_when(tried, exception))
    most = options.get("max_retries", retries.max_retries)
    return most is None or tried < most
