"""Tasks of Celery, RQ and Dramatiq in real workers that are killed, paused and made to retry."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import rq

import runcast
from runcast.events.model import Event
from tests.engines.engine_workers import EngineProcess, Place
from tests.stores.servers import namespace_url
from tests.waiting import START_S

pytestmark = pytest.mark.heavy

SETTINGS = runcast.Settings.load(lease_s=1.0, recover_wait_s=20.0)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(namespace_url("valkey"), 6, tmp_path)
    with redis.Redis.from_url(place.broker) as connection:
        connection.flushdb()
        yield place


@pytest.fixture
def hub(place: Place) -> Iterator[runcast.OpenHubInThread]:
    with runcast.open_hub(place.store, settings=SETTINGS) as hub:
        yield hub


def celery_of(place: Place) -> Any:
    from celery import Celery

    return Celery("tests", broker=place.broker, backend=place.broker, set_as_current=False)


def send_celery(place: Place, task: str, *args: object, **options: Any) -> str:
    with celery_of(place) as app:
        return str(app.send_task(task, args, **options).id)


def send_rq(place: Place, function: str, **options: Any) -> str:
    with redis.Redis.from_url(place.broker) as connection:
        queue = rq.Queue(connection=connection)
        return str(queue.enqueue(f"tests.engines.tasks.{function}", **options).id)


def send_dramatiq(place: Place, actor: str) -> str:
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=place.broker, namespace="dramatiq")  # type: ignore[no-untyped-call]
    message: Any = dramatiq.Message("default", actor, (), {}, {})
    return str(broker.enqueue(message).message_id)


def wait_for_run(hub: runcast.OpenHubInThread, run_id: str) -> None:
    for change in hub.client().feed():
        if change.run is not None and change.run.run_id == run_id:
            return


def until(hub: runcast.OpenHubInThread, run_id: str, is_it: Callable[[Event], bool]) -> Event:
    """Wait for an event of a run, and return it."""
    wait_for_run(hub, run_id)
    for event in hub.watch(run_id):
        if is_it(event):
            return event
    raise AssertionError([(each.type, each.data) for each in hub.watch(run_id)])


def pid_of(hub: runcast.OpenHubInThread, run_id: str, attempt: int = 1) -> int:
    """Wait until an attempt of a run says its process."""
    seen: list[int] = []

    def is_it(event: Event) -> bool:
        if event.type == "pid":
            seen.append(event.data)
        return len(seen) == attempt

    until(hub, run_id, is_it)
    return seen[-1]


def attempts(hub: runcast.OpenHubInThread, run_id: str) -> list[int]:
    found = hub.watch(run_id)
    return [event.data.get("attempt", 1) for event in found if event.type == "started"]


def last(hub: runcast.OpenHubInThread, run_id: str) -> Event:
    *_, event = hub.watch(run_id)
    return event


SENDERS: dict[str, Callable[[Place], str]] = {
    "celery": lambda place: send_celery(place, "works_once"),
    "rq": lambda place: send_rq(place, "rq_works"),
}


@pytest.mark.parametrize("engine", SENDERS)
def test_a_task_that_its_engine_does_not_run_again_is_lost_with_its_process(
    engine: str, place: Place, hub: runcast.OpenHubInThread
) -> None:
    run_id = SENDERS[engine](place)
    with place.worker(engine):
        os.kill(pid_of(hub, run_id), signal.SIGKILL)
        assert last(hub, run_id).data["code"] == "lost"  # although its worker lives
        again = SENDERS[engine](place)
        pid_of(hub, again)  # and goes on
        hub.send(again, "hello")
        assert last(hub, again).data == {"result": "hello"}


def test_a_job_of_rq_that_is_tried_again_after_its_process_was_killed_continues(
    place: Place, hub: runcast.OpenHubInThread
) -> None:
    run_id = send_rq(place, "rq_works", retry=rq.Retry(max=1))
    with place.worker("rq"):
        os.kill(pid_of(hub, run_id), signal.SIGKILL)
        pid_of(hub, run_id, 2)
        hub.send(run_id, "hello")
        assert last(hub, run_id).data == {"result": "hello"}
    assert attempts(hub, run_id) == [1, 2]


def test_a_job_of_rq_whose_worker_was_killed_continues_in_another_one(
    place: Place, hub: runcast.OpenHubInThread
) -> None:
    run_id = send_rq(place, "rq_works", retry=rq.Retry(max=1))
    with place.worker("rq") as worker:
        process = pid_of(hub, run_id)
        worker.kill()  # the process of the job is in a group of its own
        os.kill(process, signal.SIGKILL)
    with redis.Redis.from_url(place.broker) as connection:
        registry = rq.registry.StartedJobRegistry(connection=connection)
        registry.cleanup(timestamp=2**32)  # as RQ does after some minutes
    with place.worker("rq"):
        pid_of(hub, run_id, 2)
        hub.send(run_id, "hello")
        assert last(hub, run_id).data == {"result": "hello"}
    assert attempts(hub, run_id) == [1, 2]


def test_a_message_of_dramatiq_whose_worker_was_killed_continues_in_another(
    place: Place, hub: runcast.OpenHubInThread
) -> None:
    run_id = send_dramatiq(place, "works")
    with place.worker("dramatiq") as worker:
        pid_of(hub, run_id)
        worker.kill()
    with place.worker("dramatiq"):
        pid_of(hub, run_id, 2)
        hub.send(run_id, "hello")
        assert last(hub, run_id).type == "done"
    assert attempts(hub, run_id) == [1, 2]


RETRIED: dict[str, tuple[float, Callable[[Place], str]]] = {
    "celery": (1.5, lambda place: send_celery(place, "fails_at_first", 2)),
    "rq": (
        3.0,  # RQ looks every second
        lambda place: send_rq(place, "rq_fails_at_first", retry=rq.Retry(max=1, interval=4)),
    ),
    "dramatiq": (0.9, lambda place: send_dramatiq(place, "fails_at_first")),
}
"""For each engine, how long the run waits after the delay, which is longer; and what sends."""


@pytest.mark.parametrize("engine", RETRIED)
def test_a_task_that_its_engine_tries_again_later_is_waited_for(engine: str, place: Place) -> None:
    wait_s, sender = RETRIED[engine]
    options = ("--with-scheduler",) if engine == "rq" else ()
    settings = runcast.Settings.load(lease_s=1.0, launch_wait_s=wait_s)
    with runcast.open_hub(place.store, settings=settings) as hub, place.worker(engine, *options):
        run_id = sender(place)
        wait_for_run(hub, run_id)
        *_, end = hub.watch(run_id)
        assert attempts(hub, run_id) == [1, 2]
    assert end.type == "done"


# --- What ends tasks of Celery --------------------------------------------------------------------


def test_a_task_of_celery_fails_at_its_soft_time_limit(
    place: Place, hub: runcast.OpenHubInThread
) -> None:
    run_id = send_celery(place, "works", soft_time_limit=1)
    with place.worker("celery"):
        wait_for_run(hub, run_id)
        assert last(hub, run_id).data["message"] == "the block raised SoftTimeLimitExceeded"


@pytest.mark.parametrize("task", ["works", "works_once"])
@pytest.mark.parametrize("how", ["time limit", "time limit of the worker", "revoked"])
def test_a_task_of_celery_that_is_ended_says_why_and_the_pool_goes_on(
    how: str, task: str, place: Place, hub: runcast.OpenHubInThread
) -> None:
    options = {"time_limit": 1} if how == "time limit" else {}
    of_worker = ("--time-limit", "2") if how == "time limit of the worker" else ()
    run_id = send_celery(place, task, **options)
    with place.worker("celery", "--concurrency", "1", *of_worker):
        pid_of(hub, run_id)
        if how == "revoked":
            with celery_of(place) as app:
                app.control.revoke(run_id, terminate=True)
        end = last(hub, run_id)
        again = send_celery(place, task)
        pid_of(hub, again)
        hub.send(again, "hello")
        assert last(hub, again).data == {"result": "hello"}

    if how != "revoked":
        assert (end.type, end.data["code"]) == ("failed", "timed_out")
    else:
        assert end.type == "cancelled"


def test_a_task_of_celery_that_does_not_heed_its_time_limit_is_lost_with_its_process(
    place: Place, hub: runcast.OpenHubInThread
) -> None:
    run_id = send_celery(place, "hangs_once")
    with place.worker("celery", "--concurrency", "1", "--time-limit", "2"):
        pid_of(hub, run_id)
        end = last(hub, run_id)

    assert (end.type, end.data["code"]) == ("failed", "lost")


def test_a_task_of_celery_whose_worker_is_stopped_continues_in_the_next_one(
    place: Place, hub: runcast.OpenHubInThread
) -> None:
    run_id = send_celery(place, "works")
    with place.worker("celery") as worker:
        pid_of(hub, run_id)
        worker.process.send_signal(signal.SIGQUIT)  # at once, without its tasks
        worker.process.wait(START_S)
    with place.worker("celery"):
        pid_of(hub, run_id, 2)
        hub.send(run_id, "hello")
        assert last(hub, run_id).data == {"result": "hello"}


def test_a_task_of_celery_whose_next_try_is_revoked_is_cancelled(
    place: Place, hub: runcast.OpenHubInThread
) -> None:
    run_id = send_celery(place, "fails_at_first", 3)
    with place.worker("celery") as worker:
        worker.until("retry: ")
        with celery_of(place) as app:
            app.control.revoke(run_id)
        wait_for_run(hub, run_id)
        end = last(hub, run_id)

    assert (end.type, end.data) == ("cancelled", {"reason": "the task was revoked"})


def test_a_task_of_celery_in_two_messages_is_worked_on_by_one_worker_at_a_time(
    place: Place, hub: runcast.OpenHubInThread
) -> None:
    run_id = send_celery(place, "works")
    send_celery(place, "works", task_id=run_id)
    with place.worker("celery") as one, place.worker("celery") as another:
        pid_of(hub, run_id)
        hub.send(run_id, "hello")
        assert last(hub, run_id).data == {"result": "hello"}
        for text in ("succeeded in", "is not run"):
            wait_for_text(text, one, another)
        send_celery(place, "works", task_id=run_id)  # after its end
        wait_for_text("is not run", one, another, times=2)

    assert attempts(hub, run_id) == [1]


def test_a_paused_task_of_celery_stops_when_another_worker_has_continued_it(
    place: Place, hub: runcast.OpenHubInThread
) -> None:
    run_id = send_celery(place, "reports")
    with place.worker("celery", "--concurrency", "1") as paused:
        until(hub, run_id, lambda event: event.type == "progress")
        paused.pause()
        send_celery(place, "reports", task_id=run_id)  # as the visibility timeout does
        with place.worker("celery", "--concurrency", "1") as other:
            until(hub, run_id, lambda event: event.data.get("attempt") == 2)
            paused.go_on()
            paused.until("has stopped: another process continues it")
            place.may_end.touch()
            end = last(hub, run_id)
            other.until("succeeded in")

    worked = [event.data["message"] for event in hub.watch(run_id) if event.type == "progress"]
    assert attempts(hub, run_id) == [1, 2]
    assert end.data["result"] == str(worked[-1])


def wait_for_text(text: str, one: EngineProcess, another: EngineProcess, times: int = 1) -> None:
    """Wait until two workers together have written a text so often."""
    with one.changed:
        assert one.changed.wait_for(
            lambda: (one.text + another.text).count(text) >= times, START_S
        ), one.text + another.text
