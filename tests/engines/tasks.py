"""Tasks of Celery, jobs of RQ and actors of Dramatiq, each of them a run, for real workers.

The environment says which broker they use; see `engine_workers`.
"""

import os
import signal
from typing import Any

import dramatiq
import rq
from celery import Celery
from dramatiq.brokers.redis import RedisBroker

import runcast

BROKER = os.environ["BROKER"]

# --- Celery ---------------------------------------------------------------------------------------

app = Celery("tasks", broker=BROKER, backend=BROKER)
app.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)

LATE = {"acks_late": True, "reject_on_worker_lost": True}


def _work() -> Any:
    """Say which process works, and return the first message."""
    runcast.emit("pid", os.getpid())
    runcast.flush()
    for message in runcast.inbox():
        return message.data
    return None


@runcast.sources.celery.task()
@app.task(name="works", **LATE)  # type: ignore[untyped-decorator]
def works() -> Any:
    return _work()


@runcast.sources.celery.task()
@app.task(name="works_once")  # type: ignore[untyped-decorator]
def works_once() -> Any:
    return _work()


@runcast.sources.celery.task()
@app.task(name="hangs_once")  # type: ignore[untyped-decorator]
def hangs_once() -> None:
    """Do not heed that the engine ends the process, as code in C that never returns."""
    runcast.emit("pid", os.getpid())
    runcast.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # other threads get it, in vain
    signal.pause()


@runcast.sources.celery.task()
@app.task(name="reports", bind=True, **LATE)  # type: ignore[untyped-decorator]
def reports(self: Any) -> str:
    """Report its process again and again, until the second attempt may end."""
    number = 0
    while self.request.retries == 0 and not os.path.exists(os.environ["MAY_END"]):
        number += 1
        self.update_state(state="PROGRESS", meta={"current": number, "status": str(os.getpid())})
        runcast.flush()
    return str(os.getpid())


@runcast.sources.celery.task()
@app.task(name="fails_at_first", bind=True, max_retries=1)  # type: ignore[untyped-decorator]
def fails_at_first(self: Any, countdown: float) -> str:
    if self.request.retries == 0:
        raise self.retry(countdown=countdown)
    return "done"


# --- RQ -------------------------------------------------------------------------------------------


@runcast.sources.rq.job(name="works")
def rq_works() -> Any:
    return _work()


@runcast.sources.rq.job(name="fails_at_first")
def rq_fails_at_first() -> str:
    job = rq.get_current_job()
    assert job is not None
    if job.retries_left:
        raise ValueError("a secret")
    return "done"


# --- Dramatiq -------------------------------------------------------------------------------------

broker = RedisBroker(  # type: ignore[no-untyped-call]
    url=BROKER, namespace="dramatiq", heartbeat_timeout=1000, maintenance_chance=1_000_000
)
broker.add_middleware(runcast.sources.dramatiq.Runs())
dramatiq.set_broker(broker)


tries: list[int] = []


@dramatiq.actor(broker=broker, actor_name="fails_at_first", min_backoff=1000, max_retries=2)
def dramatiq_fails_at_first() -> None:
    tries.append(1)
    if len(tries) == 1:
        raise ValueError("a secret")


@dramatiq.actor(broker=broker, actor_name="works", max_retries=0)
def dramatiq_works() -> None:
    _work()
