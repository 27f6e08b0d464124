"""Jobs of task engines as runs: the sources of Celery, RQ and Dramatiq, each in one process."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import redis
import rq
from celery import Celery
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import SkipMessage

import runcast
from runcast._app import cancelling
from runcast._app.cancelling import Cancel
from runcast._producing.attaching import JobRun
from runcast._settings import Settings
from runcast.errors import InvalidValue, StoreUnavailable
from runcast.events.model import Event
from runcast.sources._jobs import cancel_soon
from tests.environment import environment
from tests.stores.servers import namespace_url
from tests.waiting import START_S

SETTINGS = Settings(shutdown_grace_s=0.0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


def log_of(url: str, run_id: str = "") -> tuple[str, list[Event]]:
    """Return the name and the events of a run, by default of the only one."""
    with runcast.open_hub(url, settings=SETTINGS) as hub:
        (run,) = [run for run in hub.runs() if run_id in ("", run.log_id)]
        assert run.closed, run.status
        return run.labels["function"], list(hub.watch(run.log_id))


def texts(found: list[Event]) -> list[str]:
    return [event.data["message"] for event in found if event.type == "log"]


def attempts(found: list[Event]) -> list[object]:
    return [event.data.get("attempt", 1) for event in found if event.type == "started"]


# --- Celery ---------------------------------------------------------------------------------------


@pytest.fixture
def app() -> Celery:
    return Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)


def task_of(app: Celery, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return `app.task` with a type."""
    decorate: Callable[[Callable[..., Any]], Any] = app.task(**options)
    return decorate


def test_a_task_of_celery_is_a_run(app: Celery, url: str) -> None:
    @runcast.sources.celery.task(store=url, labels={"user": "ada"})
    @task_of(app, bind=True, name="shop.resize")
    def resize(self: Any, count: int) -> dict[str, int]:
        for number in range(count):
            self.update_state(state="PROGRESS", meta={"current": number + 1, "total": count})
        self.update_state(state="SAVING", meta={"status": "saving"})
        self.update_state(state="ODD", meta=["a", "b"])
        return {"resized": count}

    result = resize.apply(args=[2], task_id="task-1")

    assert result.get() == {"resized": 2}
    name, found = log_of(url, "task-1")
    assert name == "shop.resize"
    assert [(event.type, event.data) for event in found] == [
        ("started", {"function": "shop.resize"}),
        ("progress", {"current": 1, "total": 2, "percent": 50.0}),
        ("progress", {"current": 2, "total": 2, "percent": 100.0}),
        ("log", {"level": "info", "message": "saving"}),
        ("job_state", {"state": "ODD", "meta": ["a", "b"]}),
        ("done", {"result": {"resized": 2}}),
    ]


def test_a_task_that_is_tried_again_continues_its_run(app: Celery, url: str) -> None:
    @runcast.sources.celery.task(store=url)
    @task_of(app, bind=True, max_retries=2)
    def flaky(self: Any) -> int:
        runcast.log(f"try {self.request.retries}")
        if self.request.retries < 2:
            raise self.retry(exc=OSError("a secret"), countdown=0)
        return int(self.request.retries)

    assert flaky.apply(task_id="task-1").get() == 2

    _, found = log_of(url)
    assert attempts(found) == [1, 2, 3]
    assert texts(found) == [
        *("try 0", "Retry: the job will be tried again"),
        *("try 1", "Retry: the job will be tried again"),
        "try 2",
    ]
    assert found[-1].data == {"result": 2}


def test_a_task_that_fails_fails_its_run(app: Celery, url: str) -> None:
    @runcast.sources.celery.task(store=url)
    @task_of(app)
    def fails() -> None:
        raise ValueError("a secret")

    with pytest.raises(ValueError, match="a secret"):
        fails.apply(throw=True)
    with pytest.raises(ValueError, match="a secret"):
        fails()  # a plain call makes no run

    _, found = log_of(url)
    assert found[-1].data["message"] == "the block raised ValueError"


def test_a_task_that_is_delivered_twice_is_run_once(
    app: Celery, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNCAST_LEASE_S", "0.1")  # so long the second one waits for the first
    calls = []

    @runcast.sources.celery.task(store=url)
    @task_of(app)
    def once() -> None:
        calls.append(1)
        if len(calls) == 1:
            once.apply(task_id="task-1")  # while the first one is at work

    once.apply(task_id="task-1")
    once.apply(task_id="task-1")

    assert calls == [1]
    assert log_of(url)[1][-1].type == "done"


def test_a_task_that_has_failed_and_is_sent_again_begins_its_run_again(
    app: Celery, url: str
) -> None:
    calls: list[int] = []

    @runcast.sources.celery.task(store=url)
    @task_of(app)
    def flaky() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("a secret")
        return len(calls)

    for _ in range(3):
        flaky.apply(task_id="task-1")

    assert len(calls) == 2  # the third one finds a run that is done
    _, found = log_of(url)
    assert [event.type for event in found] == ["started", "done"]


def test_a_cancelled_task_is_revoked(app: Celery, url: str) -> None:
    with runcast.open_hub(url, settings=SETTINGS) as hub:

        @runcast.sources.celery.task(store=url)
        @task_of(app, bind=True)
        def endless(self: Any) -> None:
            hub.cancel(self.request.id, "enough")
            while True:
                self.update_state(state="PROGRESS", meta={"percent": 1})
                runcast.flush()

        for _ in range(2):  # the second time it is not begun
            endless.apply(task_id="task-1")
        state = app.AsyncResult("task-1").state

    assert state == "REVOKED"
    assert log_of(url)[1][-1].data == {"reason": "enough"}


@pytest.mark.parametrize("store", ["sqlite:///{}/no/such/folder/runs.db", "nonsense", ""])
def test_a_task_works_without_a_store(
    app: Celery, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNCAST_STORE", raising=False)

    @runcast.sources.celery.task(store=store.format(tmp_path))
    @task_of(app)
    def works() -> str:
        return "done"

    assert works.apply().get() == "done"


def test_what_is_no_task_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"above @app\.task"):
        runcast.sources.celery.task(store="memory://")(print)


# --- Cancelling in a process that forks -----------------------------------------------------------

REVOKED = """
import sys, threading
from runcast._producing.attaching import JobRun
from runcast.sources._jobs import cancel_soon

for name in sys.argv[2:]:
    cancel_soon(JobRun(run_id=name, name="work", store=sys.argv[1]), "it was revoked")
for thread in threading.enumerate():
    if thread.name == "runcast-cancel":
        thread.join()
assert "runcast.stores.sqlite.store" not in sys.modules
"""


def test_the_runs_of_revoked_tasks_are_cancelled_by_another_process(url: str) -> None:
    with runcast.open_hub(url, settings=SETTINGS) as hub:
        for name in ("one", "two"):
            hub.reserve("work", run_id=name)
    command = [sys.executable, "-W", "error", "-c", REVOKED, url, "one", "none", "two"]
    found = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=START_S
    )
    assert (found.returncode, found.stderr) == (0, "")

    for name in ("one", "two"):
        *_, last = log_of(url, name)[1]
        assert (last.type, last.data) == ("cancelled", {"reason": "it was revoked"})


def test_a_run_that_cannot_be_cancelled_keeps_no_other_from_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with runcast.open_hub(url, settings=SETTINGS) as hub:
        for name in ("one", "two"):
            hub.reserve("work", run_id=name)
    cancel = runcast.OpenHubInThread.cancel

    def refuse_one(self: runcast.OpenHubInThread, run_id: str, reason: str) -> None:
        if run_id == "one":
            raise StoreUnavailable("the store is away")
        cancel(self, run_id, reason)

    monkeypatch.setattr(runcast.OpenHubInThread, "cancel", refuse_one)
    found = cancelling._cancel([Cancel(name, "revoked", url) for name in ("one", "two")])

    assert found == {"one": "the store is away"}
    assert log_of(url, "two")[1][-1].type == "cancelled"


def test_why_a_run_cannot_be_cancelled_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = f"sqlite:///{tmp_path}/none/runs.db"
    cancel_soon(JobRun(run_id="r", name="work", store=store), "it was revoked")
    for thread in threading.enumerate():
        if thread.name == "runcast-cancel":
            thread.join(START_S)

    (line,) = caplog.messages
    assert line.startswith("the run of the job r could not be cancelled: ")


FORKS = """
import os, signal, subprocess, sys
from runcast._app import cancelling

cancelling._LONGEST_S = 8.0
forked, wait = [], subprocess.Popen.communicate

def fork_and_wait(self, *arguments, **options):
    if pid := os.fork():
        forked.append(pid)
        return wait(self, *arguments, **options)
    signal.pause()

subprocess.Popen.communicate = fork_and_wait
found = cancelling.cancel_apart([cancelling.Cancel("none", "revoked", sys.argv[1])])
os.kill(forked[0], signal.SIGKILL)
os.waitpid(forked[0], 0)
print(found)
"""


def test_a_process_that_is_forked_meanwhile_does_not_keep_a_cancel_waiting(
    tmp_path: Path, url: str
) -> None:
    with runcast.open_hub(url):
        pass
    (tmp_path / "forks.py").write_text(FORKS)
    command = [sys.executable, str(tmp_path / "forks.py"), url]
    found = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=2 * START_S
    )
    assert (found.stdout, found.stderr) == ("{}\n", "")


# --- RQ -------------------------------------------------------------------------------------------

STORE: list[str] = []


def _job(name: str) -> Callable[..., Any]:
    return runcast.sources.rq.job(store=STORE[0], name=name)(globals()[f"_{name}"])


def _resizes(count: int) -> int:
    job = rq.get_current_job()
    assert job is not None
    for number in range(count):
        job.meta["current"], job.meta["total"] = number + 1, count
        job.save_meta()  # type: ignore[no-untyped-call]
    return count


def _fails_once() -> str:
    job = rq.get_current_job()
    assert job is not None
    if job.retries_left:
        raise ValueError("a secret")
    return "done"


def _returns_retry() -> object:
    job = rq.get_current_job()
    assert job is not None
    return "done" if job.number_of_retries else rq.Retry(max=1)


def _fails_or_not(path: str) -> str:
    if not Path(path).exists():
        raise ValueError("a secret")
    return "done"


def call(name: str, *args: object) -> object:
    """Call a decorated job; RQ finds this function by its name."""
    return _job(name)(*args)


@pytest.fixture
def queue(url: str) -> Iterator[rq.Queue]:
    STORE[:] = [url]
    with redis.Redis.from_url(namespace_url("valkey").partition("?")[0]) as connection:
        yield rq.Queue("runcast-tests", connection=connection)


def work_off(queue: rq.Queue) -> None:
    """Run all jobs of a queue."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    worker = rq.SimpleWorker([queue], connection=queue.connection)
    worker.work(burst=True, logging_level="ERROR")
    for number, handler in handlers.items():  # it leaves its own, which end the process
        signal.signal(number, handler)


def test_a_job_of_rq_is_a_run(url: str, queue: rq.Queue) -> None:
    resizes = queue.enqueue(call, "resizes", 2)
    fails = queue.enqueue(call, "fails_once", retry=rq.Retry(max=1))
    work_off(queue)

    name, found = log_of(url, resizes.id)
    assert name == "resizes"
    assert [event.type for event in found] == ["started", "progress", "progress", "done"]
    assert (found[2].data["percent"], found[3].data) == (100.0, {"result": 2})
    _, found = log_of(url, fails.id)
    assert attempts(found) == [1, 2]
    assert found[-1].data == {"result": "done"}


def test_a_job_of_rq_that_returns_a_retry_continues_its_run(url: str, queue: rq.Queue) -> None:
    job = queue.enqueue(call, "returns_retry")
    work_off(queue)

    _, found = log_of(url, job.id)
    assert attempts(found) == [1, 2]
    assert texts(found) == ["the job will be tried again"]
    assert found[-1].data == {"result": "done"}


def test_a_job_of_rq_that_repeats_or_is_requeued_is_run_each_time(
    url: str, queue: rq.Queue, tmp_path: Path
) -> None:
    repeats = queue.enqueue(call, "resizes", 1, repeat=rq.Repeat(times=1))
    fails = queue.enqueue(call, "fails_or_not", str(tmp_path / "may-work"))
    work_off(queue)
    assert [log_of(url, job.id)[1][-1].type for job in (repeats, fails)] == ["done", "failed"]
    first = log_of(url, repeats.id)[1]

    (tmp_path / "may-work").touch()
    fails.requeue()
    queue.enqueue(call, "resizes", 3, job_id=repeats.id)
    work_off(queue)

    assert [job.get_status(refresh=True) for job in (repeats, fails)] == ["finished"] * 2
    assert log_of(url, fails.id)[1][-1].data == {"result": "done"}
    assert log_of(url, repeats.id)[1][-1].data == {"result": 3}
    assert first[-1].data == {"result": 1}


# --- Dramatiq -------------------------------------------------------------------------------------


@pytest.fixture
def broker(url: str) -> StubBroker:
    broker = StubBroker()
    broker.add_middleware(runcast.sources.dramatiq.Runs(store=url))
    return broker


def process_all(broker: StubBroker) -> None:
    """Process all messages of a broker."""
    worker = dramatiq.Worker(broker, worker_timeout=10, worker_threads=1)
    worker.start()
    try:
        broker.join("default", fail_fast=False)
        worker.join()
    finally:
        worker.stop()


def test_a_message_of_dramatiq_is_a_run(url: str, broker: StubBroker) -> None:
    tries: list[int] = []

    def resize(count: int) -> int:
        for number in range(count):
            runcast.progress(number + 1, count)
        return count

    def fails_once() -> str:
        tries.append(threading.get_ident())
        if len(tries) < 2:
            raise ValueError("a secret")
        return "done"

    def fails() -> None:
        raise ValueError("a secret")

    def actor(function: Callable[..., Any], **options: Any) -> Any:
        return dramatiq.actor(broker=broker, min_backoff=1, max_backoff=1, **options)(function)

    sent = [actor(resize).send(2), actor(fails_once).send(), actor(fails, max_retries=0).send()]
    process_all(broker)

    runs = [log_of(url, message.message_id) for message in sent]
    assert [name for name, _ in runs] == ["resize", "fails_once", "fails"]
    resized, retried, failed = (found for _, found in runs)
    assert [event.type for event in resized] == ["started", "progress", "progress", "done"]
    assert resized[-1].data == {"result": 2}
    assert attempts(retried) == [1, 2]
    assert retried[-1].data == {"result": "done"}
    assert failed[-1].data["message"] == "the block raised ValueError"


def test_a_message_of_dramatiq_that_has_failed_and_is_sent_again_begins_its_run_again(
    url: str, broker: StubBroker
) -> None:
    calls: list[int] = []

    @dramatiq.actor(broker=broker, max_retries=0)
    def flaky() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("a secret")

    message = flaky.send()
    for _ in range(3):
        process_all(broker)
        broker.enqueue(message)

    assert len(calls) == 2  # the third one finds a run that is done
    assert log_of(url)[1][-1].type == "done"


class Skips(dramatiq.Middleware):
    def before_process_message(self, broker: Any, message: Any) -> None:
        raise SkipMessage("not today")


def test_a_message_that_another_middleware_skips_leaves_no_open_run(
    url: str, broker: StubBroker
) -> None:
    @dramatiq.actor(broker=broker)
    def work() -> None:
        raise AssertionError

    broker.add_middleware(Skips())
    work.send()
    process_all(broker)

    assert log_of(url)[1][-1].data == {"reason": "the message was skipped"}
