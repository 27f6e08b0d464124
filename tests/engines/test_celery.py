"""Runs that real workers of Celery run, through a real broker: what a server shows of them."""

import asyncio
import base64
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from runcast.sources._celery import Sender
from tests.crash.served import Server, Watcher, serving, within
from tests.engines.celery_worker import FUNCTIONS, CeleryWorker, working
from tests.stores.servers import StoreServer, namespace_url

pytestmark = [pytest.mark.anyio, pytest.mark.heavy]

LEASE: Mapping[str, object] = {"lease_s": 1.0}


class Cluster:
    """A server that hands its runs over, a second server, and a worker."""

    def __init__(self, store: str, broker: str, folder: Path) -> None:
        self.store = store
        self.broker = broker
        self.folder = folder

    @asynccontextmanager
    async def server(self, number: int = 1, **settings: object) -> AsyncIterator[Server]:
        async with serving(
            self.store,
            FUNCTIONS,
            *("--launcher", "celery", "--broker", self.broker),
            settings={**LEASE, **settings},
            errors=self.folder / f"server-{number}.err",
        ) as server:
            yield server

    def worker(
        self, *arguments: str, **settings: object
    ) -> contextlib.AbstractAsyncContextManager[CeleryWorker]:
        return working(self.store, self.broker, *arguments, settings={**LEASE, **settings})


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    store = namespace_url("valkey")
    # Each test has a queue of its own, by the prefix of its keys.
    return Cluster(store, f"{store.partition('?')[0]}/1", tmp_path)


@pytest.fixture(autouse=True)
def own_queue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"queue-{tmp_path.name}"
    monkeypatch.setattr(
        "tests.crash.served.environment", lambda given: _environment(given, name), raising=True
    )
    monkeypatch.setattr(
        "tests.engines.celery_worker.environment", lambda given: _environment(given, name)
    )


def _environment(given: Mapping[str, str], queue: str) -> dict[str, str]:
    from tests.environment import environment

    return environment({"RUNCAST_LAUNCH_QUEUE": queue, **given})


async def watched(server: Server, run_id: str) -> list[dict[str, Any]]:
    """Return the events of a run up to its end."""
    watcher = Watcher(run_id)
    async with within():
        await watcher.follow_to_the_end(server.address)
    return [json.loads(data) for _, data in watcher.seen]


async def first(server: Server, run_id: str, kind: str) -> dict[str, Any]:
    """Return the first event of a type, once it is there."""
    watcher = Watcher(run_id)
    async with within():
        while True:
            await watcher.follow(server.address, most=1)
            event: dict[str, Any] = json.loads(watcher.seen[-1][1])
            if event["type"] == kind:
                return event


async def begin(server: Server, function: str, run_id: str, **inputs: object) -> None:
    answer = await server.start_run(function, run_id, **inputs)
    assert answer.status == 202, answer


async def send(server: Server, run_id: str) -> None:
    assert (
        await server.ask("POST", f"/runs/{run_id}/messages", {"data": "a message"})
    ).status < 300


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
async def test_a_worker_runs_functions_of_each_kind(cluster: Cluster, pool: str) -> None:
    files = str(cluster.folder / "files")
    options = ("--pool", pool, "--concurrency", "2")
    async with (
        cluster.server(data_dir=files) as server,
        cluster.worker(*options, data_dir=files) as worker,
    ):
        counted = await server.ask("POST", "/invoke/count", {"inputs": {"n": 3}})
        assert json.loads(counted.body)["result"] == {"n": 3}

        await begin(server, "write_file", "writes", text="hello")
        *_, made, done = await watched(server, "writes")
        assert [each["path"] for each in made["data"]["files"]] == ["out.txt"]
        assert done["data"]["result"] == "HELLO"
        assert (await server.ask("GET", "/runs/writes/files/out.txt")).body == b"hello"

        await begin(server, "read_message", "reads")
        await first(server, "reads", "pid")
        await send(server, "reads")
        assert (await watched(server, "reads"))[-1]["data"] == {"result": "a message"}

        await begin(server, "count", "endless", n=10**6)
        await first(server, "endless", "progress")
        await server.ask("POST", "/runs/endless/cancel?reason=enough")
        assert (await watched(server, "endless"))[-1]["data"] == {"reason": "enough"}
        assert await worker.stop() == 0


async def test_a_question_is_answered_at_another_server(cluster: Cluster) -> None:
    async with cluster.server() as server, cluster.server(2) as other, cluster.worker():
        await begin(server, "ask", "asking", question="Go on?")
        await first(other, "asking", "interrupt_request")
        answer = {"type": "response", "args": "yes"}
        assert (await other.ask("POST", "/runs/asking/interrupts/q", answer)).status == 200

        assert (await watched(server, "asking"))[-1]["data"] == {"result": "yes"}


async def test_the_time_of_a_run_is_limited(cluster: Cluster) -> None:
    async with cluster.server() as server, cluster.worker(run_time_s=0.3):
        await begin(server, "count", "endless", n=10**6)
        last = (await watched(server, "endless"))[-1]

    assert (last["type"], last["data"]["code"]) == ("failed", "timed_out")


@pytest.mark.parametrize("pool", ["prefork", "solo"])
async def test_a_run_whose_worker_is_killed_is_lost(cluster: Cluster, pool: str) -> None:
    async with cluster.server() as server, cluster.worker("--pool", pool) as worker:
        await begin(server, "count", "counting", n=10**6)
        await first(server, "counting", "progress")
        await worker.kill()
        last = (await watched(server, "counting"))[-1]

    assert (last["type"], last["data"]["code"]) == ("failed", "lost")


async def test_a_run_that_recovers_goes_on_in_another_process_of_the_pool(
    cluster: Cluster,
) -> None:
    async with cluster.server() as server, cluster.worker("--concurrency", "2"):
        await begin(server, "read_message", "waiting")
        pid = (await first(server, "waiting", "pid"))["data"]
        os.kill(pid, signal.SIGKILL)
        await _until_started_again(server, "waiting")
        await send(server, "waiting")
        events = await watched(server, "waiting")

    started = [event["data"].get("attempt", 1) for event in events if event["type"] == "started"]
    assert started == [1, 2]
    assert {event["data"] for event in events if event["type"] == "pid"} > {pid}
    assert events[-1]["data"] == {"result": "a message"}


async def _until_started_again(server: Server, run_id: str) -> None:
    async with within():
        while True:
            events = [json.loads(data) for _, data in await server.log_of(run_id)]
            if sum(event["type"] == "pid" for event in events) > 1:
                return
            await asyncio.sleep(0)


async def test_a_run_goes_on_at_a_worker_that_starts_later(cluster: Cluster) -> None:
    async with cluster.server() as server:
        async with cluster.worker() as worker:
            await begin(server, "read_message", "waiting")
            await first(server, "waiting", "pid")
            await worker.kill()
        async with cluster.worker():
            await send(server, "waiting")
            events = await watched(server, "waiting")

    assert events[-1]["data"] == {"result": "a message"}


async def test_a_run_that_is_delivered_again_while_it_runs_is_not_started_twice(
    cluster: Cluster,
) -> None:
    async with cluster.server() as server, cluster.worker("--concurrency", "2") as worker:
        await begin(server, "read_message", "waiting")
        await first(server, "waiting", "pid")
        epoch = (await server.log_of("waiting"))[0][0].partition("-")[0]
        await asyncio.to_thread(_deliver_again, cluster, "waiting", epoch)
        await worker.until("succeeded in")  # the second delivery, which did nothing
        await send(server, "waiting")
        events = await watched(server, "waiting")

    assert [event["type"] for event in events if event["type"] != "message"] == [
        *("started", "pid", "message_read", "done")
    ]


def _deliver_again(cluster: Cluster, run_id: str, epoch: str) -> None:
    sender = Sender(cluster.broker, f"queue-{cluster.folder.name}", 100)
    sender.send(run_id, epoch, "read_message")
    sender.close()


async def test_a_run_in_many_messages_is_started_once_by_workers_that_race(
    cluster: Cluster,
) -> None:
    async with cluster.server() as server:
        await begin(server, "count", "counting", n=3)
        answer = await server.ask("GET", "/runs/counting")
        epoch = json.loads(answer.body)["position"].partition("-")[0]
        for _ in range(5):
            await asyncio.to_thread(_deliver_again, cluster, "counting", epoch)
        async with cluster.worker() as one, cluster.worker() as another:
            events = await watched(server, "counting")
            await asyncio.to_thread(_deliver_again, cluster, "counting", epoch)  # after its end
            async with within():
                while one.count("succeeded in") + another.count("succeeded in") < 7:
                    await one.written_by_either(another)

        assert events == await watched(server, "counting")
    assert [event["type"] for event in events] == ["started", "pid", *["progress"] * 3, "done"]


async def test_a_run_of_a_paused_worker_is_continued_by_another_one_and_written_by_one(
    cluster: Cluster,
) -> None:
    async with cluster.server() as server, cluster.worker() as paused:
        await begin(server, "read_message", "waiting")
        await first(server, "waiting", "pid")
        epoch = (await server.log_of("waiting"))[0][0].partition("-")[0]
        paused.signal(signal.SIGSTOP)
        async with cluster.worker() as other:
            await asyncio.to_thread(_deliver_again, cluster, "waiting", epoch)
            await _until_started_again(server, "waiting")  # once its lease is over
            paused.signal(signal.SIGCONT)
            await paused.until("succeeded in")  # it stops when it sees that it is replaced
            await send(server, "waiting")
            events = await watched(server, "waiting")
            await other.until("succeeded in")

    assert [event["type"] for event in events if event["type"] != "message"] == [
        *("started", "pid", "started", "pid", "message_read", "done")
    ]


async def test_messages_that_are_no_runs_do_not_end_the_worker(cluster: Cluster) -> None:
    queue = f"queue-{cluster.folder.name}"
    bodies = ["[]", '{"a": 1}', "no json", "[[1, 2], {}, {}]", '[["r", "e"], {"more": 1}, {}]']
    messages = [_message(body) for body in bodies]
    messages.append(_message("[]").replace('"id"', '"other"'))
    async with cluster.server() as server, cluster.worker("--concurrency", "1") as worker:
        async with redis.asyncio.Redis.from_url(cluster.broker) as broker:
            await broker.lpush(queue, *messages, '{"a": 1}')
            await begin(server, "count", "counting", n=1)
            assert (await watched(server, "counting"))[-1]["type"] == "done"
        assert worker.count("expected the id and the epoch of a run") >= 4


def _message(body: str) -> str:
    """Return a message of Redis to the task of runs."""
    properties = {
        "delivery_tag": os.urandom(8).hex(),
        "delivery_info": {"exchange": "", "routing_key": ""},
        "body_encoding": "base64",
    }
    message = {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "runcast.run", "id": os.urandom(8).hex(), "lang": "py"},
        "properties": properties,
    }
    return json.dumps(message)


async def test_a_run_that_waits_in_the_queue_is_cancelled(cluster: Cluster) -> None:
    async with cluster.server() as server:
        await begin(server, "count", "waiting", n=3)
        await server.ask("POST", "/runs/waiting/cancel?reason=enough")
        events = await watched(server, "waiting")
        async with cluster.worker() as worker:
            await worker.until("succeeded in")
            assert events == await watched(server, "waiting")

    assert [event["type"] for event in events] == ["cancelled"]


async def test_a_full_queue_refuses_runs_and_leaves_none_behind(cluster: Cluster) -> None:
    async with cluster.server(max_launched=2) as server:
        for number in range(2):
            await begin(server, "count", f"run-{number}", n=1)
        refused = await server.start_run("count", "run-2", n=1)
        assert (refused.status, json.loads(refused.body)["code"]) == (503, "overloaded")
        assert (await server.ask("GET", "/runs/run-2")).status == 404
        async with cluster.worker():
            for number in range(2):
                assert (await watched(server, f"run-{number}"))[-1]["type"] == "done"


async def test_a_run_that_no_worker_takes_fails(cluster: Cluster) -> None:
    async with cluster.server(launch_wait_s=0.5) as server:
        await begin(server, "count", "waiting", n=3)
        last = (await watched(server, "waiting"))[-1]

    assert (last["type"], last["data"]["code"]) == ("failed", "not_taken")


async def test_a_broker_that_is_down_refuses_runs_and_loses_none_when_it_is_back(
    tmp_path: Path,
) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "always")
    with StoreServer(tmp_path, *options) as broker:
        cluster = Cluster(namespace_url("valkey"), broker.url, tmp_path)
        async with cluster.server() as server:
            await begin(server, "count", "before", n=2)
            broker.kill()
            refused = await server.start_run("count", "meanwhile", n=1)
            assert (refused.status, json.loads(refused.body)["code"]) == (503, "server_unavailable")
            assert (await server.ask("GET", "/runs/meanwhile")).status == 404
            broker.start()
            await begin(server, "count", "after", n=2)
            async with cluster.worker():
                for run_id in ("before", "after"):
                    assert (await watched(server, run_id))[-1]["type"] == "done"


async def test_nothing_of_a_run_but_its_id_is_in_the_broker(cluster: Cluster) -> None:
    async with cluster.server() as server:
        await begin(server, "ask", "asking", question="a text that only the store may have")
        broker = redis.asyncio.Redis.from_url(cluster.broker)
        (queued,) = await broker.lrange(f"queue-{cluster.folder.name}", 0, -1)
        await broker.aclose()

    body = base64.b64decode(json.loads(queued)["body"])
    (run_id, epoch), *rest = json.loads(body)
    assert (run_id, epoch.isalnum()) == ("asking", True)
    assert "only the store" not in f"{rest} {json.loads(queued)['headers']}"


@pytest.mark.parametrize("store", ["sqlite"])
async def test_one_machine_needs_only_a_file_for_the_store(tmp_path: Path, store: str) -> None:
    broker = namespace_url("valkey").partition("?")[0]
    cluster = Cluster(f"{store}:///{tmp_path}/runs.db", f"{broker}/1", tmp_path)
    async with cluster.server(lease_s=60.0) as server, cluster.worker(lease_s=60.0) as worker:
        await begin(server, "count", "counting", n=10**6)
        pid = (await first(server, "counting", "pid"))["data"]
        os.kill(pid, signal.SIGKILL)
        await worker.until("succeeded in")  # delivered again: the dead owner is known at once
        last = (await watched(server, "counting"))[-1]

    assert (last["type"], last["data"]["code"]) == ("failed", "lost")
