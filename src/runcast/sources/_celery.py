"""What runcast uses of Celery: handing over runs, workers that run them, and its exceptions.

The only module that imports Celery.
"""

import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from runcast.errors import BackendError, Overloaded, ServerUnavailable
from runcast.sources._packages import check_package

check_package("celery", (5, 3))

from celery import Celery, Task, signals  # noqa: E402 - after the check that it is installed
from celery.exceptions import Ignore, InvalidTaskError, Reject, Retry  # noqa: E402
from celery.signals import task_revoked  # noqa: E402
from kombu.exceptions import OperationalError  # noqa: E402

__all__ = (
    "Ignore",
    "Reject",
    "Retry",
    "Sender",
    "Task",
    "check_transport",
    "make_app",
    "task_revoked",
    "work",
    "worker_time_limit",
)

_TASK: Final = "runcast.run"
"""The name of the task that runs a run."""

_CONNECT_S: Final = 5.0
"""How long a server waits for its broker."""

_STORE_AGAIN_S: Final = 5.0
"""After how long a worker tries a run again whose store did not answer."""

_REDIS: Final = frozenset({"redis", "rediss", "valkey", "valkeys", "unix"})


_limits: Final[list[float | None]] = [None]
"""The time limit of this worker's tasks, seconds: of `--time-limit` or `task_time_limit`."""


def _note_time_limit(instance: Any = None, **more: object) -> None:
    # In the worker's first process; the processes of its pool are forked from it later.
    _limits[0] = getattr(instance, "time_limit", None)


signals.celeryd_after_setup.connect(_note_time_limit, weak=False)


def worker_time_limit() -> float | None:
    """Return after how many seconds this worker ends any task; None outside a worker, or if it does
    not."""
    return _limits[0]


def check_transport(broker: str) -> None:
    """Check that Celery has what it needs for such a broker, without connecting.

    Raises:
        ImportError: a package for this kind of broker is missing.
        KeyError, ValueError: there is no such kind, or its URL is malformed.
    """
    make_app(broker, "").connection_for_write().create_transport()


def make_app(broker: str, queue: str, *, is_worker: bool = False) -> Any:
    """Return a Celery application that knows the broker and the queue of runs."""
    app = Celery("runcast", broker=broker, set_as_current=is_worker)
    app.conf.update(
        task_default_queue=queue,
        # A message is taken off the queue after its run has ended, so that the run of a worker that
        # is killed is delivered again. The store decides whether it may run.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
        broker_connection_retry_on_startup=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    if not is_worker:
        app.conf.update(broker_connection_timeout=_CONNECT_S)
        if urlsplit(broker).scheme in _REDIS:
            waits = {"socket_connect_timeout": _CONNECT_S, "socket_timeout": _CONNECT_S}
            app.conf.update(broker_transport_options=waits)
    return app


class Sender:
    """Sends runs to a queue over one connection. Its methods block; use it in one thread.

    Args:
        most: most runs in the queue.
    """

    def __init__(self, broker: str, queue: str, most: int) -> None:
        self._app = make_app(broker, queue)
        self._queue = queue
        self._most = most
        self._connection: Any = None

    def send(self, run_id: str, epoch: str, function: str) -> None:
        """Send a run.

        Raises:
            ServerUnavailable: the broker cannot be reached, or refuses the message.
            Overloaded: the queue is full.
        """
        was_connected = self._connection is not None
        try:
            self._try(run_id, epoch, function)
        except Overloaded:
            raise
        except Exception as error:
            # Every transport has its own exceptions.
            self.close()
            if was_connected:  # it may have been cut long ago
                self.send(run_id, epoch, function)
                return
            why = type(error.__cause__ if isinstance(error, OperationalError) else error).__name__
            raise ServerUnavailable(
                f"the broker at {self._app.connection_for_write().as_uri()} does not take the run "
                f"({why}); no run was begun, try again later"
            ) from error

    def _try(self, run_id: str, epoch: str, function: str) -> None:
        if self._connection is None:
            self._connection = self._app.connection_for_write()
            self._connection.ensure_connection(max_retries=1, timeout=_CONNECT_S)
        waiting = self._waiting()
        if waiting >= self._most:
            raise Overloaded(
                f"{waiting} runs wait in the queue {self._queue!r} of the broker, as many as may "
                "(max_launched); try again later, or start more workers"
            )
        producer = self._app.amqp.Producer(self._connection, auto_declare=False)
        self._app.send_task(
            _TASK,
            args=[run_id, epoch],
            task_id=f"{run_id}.{epoch}",
            shadow=function,
            producer=producer,
            retry=False,
        )

    def _waiting(self) -> int:
        """Return how many runs no worker has taken yet."""
        with self._connection.channel() as channel:
            try:
                found = channel.queue_declare(queue=self._queue, passive=True)
            except self._connection.channel_errors:  # there is no such queue yet
                return 0
            return int(found.message_count)

    def close(self) -> None:
        """Close the connection. Idempotent; `send` opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.release()


def work(
    app: Any,
    run: Callable[[str, str], None],
    close: Callable[[], None],
    *,
    pool: str,
    concurrency: int,
    log_level: str,
) -> int:
    """Run a worker until a signal ends it; return its exit code.

    Args:
        run: runs a run, given by its id and epoch, in the process that calls it.
        close: releases what `run` holds in a process.
    """
    # Here, because servers need no workers.
    from celery.worker.request import Request

    class RunRequest(Request):  # type: ignore[misc]
        """A message that has the id and the epoch of a run.

        Celery would end the whole worker with an error of a message that it cannot take apart, and
        the next worker with the same message. An `InvalidTaskError` is logged, and the message is
        dropped.
        """

        def __init__(self, message: Any, **known: Any) -> None:
            _check_message(message)
            try:
                super().__init__(message, **known)
            except InvalidTaskError:
                raise
            except Exception as error:
                raise InvalidTaskError(f"{type(error).__name__}: {error}") from error

    decorate = app.task(name=_TASK, bind=True, max_retries=None, Request=RunRequest)

    @decorate  # type: ignore[untyped-decorator]
    def run_handed_over(task: Any, run_id: str, epoch: str) -> None:
        try:
            run(run_id, epoch)
        except BackendError as error:
            raise task.retry(exc=error, countdown=_STORE_AGAIN_S) from error

    def begin(**known: object) -> None:
        signal.signal(signal.SIGTERM, _leave)

    def end(**known: object) -> None:
        close()

    signals.worker_process_init.connect(begin)
    signals.worker_process_shutdown.connect(end)
    signals.worker_shutdown.connect(end)
    worker = app.Worker(
        pool=pool, concurrency=concurrency or None, loglevel=log_level, without_mingle=True
    )
    with suppress(SystemExit):
        worker.start()
    return int(worker.exitcode or 0)


def _check_message(message: Any) -> None:
    """Raise `InvalidTaskError` unless a message has the id and the epoch of a run."""
    try:
        (run_id, epoch), named, _ = message.payload
    except (TypeError, ValueError):  # a payload of another shape
        run_id = epoch = named = None
    if not (isinstance(run_id, str) and isinstance(epoch, str)) or named:
        raise InvalidTaskError("expected the id and the epoch of a run")


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End a process of the pool so that it can leave its run; the default would kill it."""
    raise SystemExit(0)
