"""Several servers on one Redis: each watches, answers and cancels what another one runs."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.crash.checks import check_all, ending_of
from tests.crash.served import FUNCTIONS, Server, Watcher, serving, within
from tests.http.client import Answer, fetch
from tests.stores.servers import StoreServer, namespace_url
from tests.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.heavy]

LEASE = {"lease_s": 1.0}


@asynccontextmanager
async def nodes(
    url: str, folder: Path, count: int = 3, **settings: object
) -> AsyncIterator[list[Server]]:
    async with AsyncExitStack() as stack:
        starting = [
            stack.enter_async_context(
                serving(url, FUNCTIONS, settings={**LEASE, **settings}, errors=folder / f"{n}.err")
            )
            for n in range(count)
        ]
        # One after another: a context that is entered twice at once could be left in any order.
        yield [await each for each in starting]


async def test_a_run_is_watched_resumed_and_cancelled_on_other_nodes(tmp_path: Path) -> None:
    async with nodes(namespace_url("valkey"), tmp_path) as (first, second, third):
        run = await first.start_and_watch("run", n=60, rate=50)
        await run.follow(second.address, most=10)
        assert len(run.seen) == 10
        await run.follow(third.address, most=10)  # goes on where it was
        async with within():
            await run.follow_to_the_end(second.address)

        endless = await second.start_and_watch("endless", n=10**6, rate=50)
        await endless.follow(third.address, most=5)
        answer = await first.ask("POST", "/runs/endless/cancel?reason=enough")
        async with within():
            await endless.follow_to_the_end(third.address)

        assert answer.status in (200, 202)
        assert await check_all(third, [run]) == ["done"]
        assert ending_of(endless)["type"] == "cancelled"
        listed = json.loads((await third.ask("GET", "/runs")).body)["runs"]
        assert {each["run_id"]: each["status"] for each in listed} == {
            "run": "done",
            "endless": "cancelled",
        }


async def test_a_question_is_answered_on_another_node_once(tmp_path: Path) -> None:
    async with nodes(namespace_url("valkey"), tmp_path) as (first, second, third):
        answer = await first.start_run("asks", "asking")
        assert answer.status == 202, answer
        run = Watcher("asking")
        asked = ""
        while not asked:
            await run.follow(second.address, most=1)
            event = json.loads(run.seen[-1][1])
            if event["type"] == "interrupt_request":
                asked = event["data"]["interrupt_id"]

        path = f"/runs/asking/interrupts/{asked}"
        replies = await asyncio.gather(
            *(
                node.ask("POST", path, {"type": "response", "args": text})
                for node, text in ((second, "left"), (third, "right"))
            )
        )
        async with within():
            await run.follow_to_the_end(third.address)

        assert sorted(reply.status for reply in replies) == [200, 409]
        won = ("left", "right")[[reply.status for reply in replies].index(200)]
        assert ending_of(run)["data"]["result"] == won


async def test_the_runs_of_a_dead_node_end_as_lost_on_another(tmp_path: Path) -> None:
    async with nodes(namespace_url("valkey"), tmp_path, count=2) as (first, second):
        runs = [await first.start_and_watch(f"run-{n}", n=10**6, rate=50) for n in range(5)]
        own = await second.start_and_watch("own", n=150, rate=50)
        watching = [
            asyncio.create_task(each.follow_to_the_end(second.address)) for each in (*runs, own)
        ]
        for each in runs:
            await each.until(3)
        await first.kill()

        async with within():
            await asyncio.gather(*watching)
        assert await check_all(second, [*runs, own]) == ["failed"] * 5 + ["done"]


async def test_a_run_that_recovers_goes_on_at_another_node(tmp_path: Path) -> None:
    url = namespace_url("valkey")
    async with nodes(url, tmp_path, count=1) as (first,):
        assert (await first.start_run("works_until_it_may_end", "work")).status == 202
        run = Watcher("work")
        await run.follow(first.address, most=2)
        async with serving(
            url, FUNCTIONS, settings=LEASE, env={"MAY_END": "1"}, errors=tmp_path / "second.err"
        ) as second:
            await first.kill()
            async with within():
                await run.follow_to_the_end(second.address)

    assert ending_of(run)["data"]["result"] == "end"
    assert len({position.partition("-")[0] for position, _ in run.seen}) == 1


@pytest.mark.parametrize("answered", ["while nobody runs it", "once it is continued"])
async def test_a_run_with_a_question_and_a_message_is_continued_by_another_node_that_is_watched(
    tmp_path: Path, answered: str
) -> None:
    async with nodes(namespace_url("valkey"), tmp_path, count=2) as (first, second):
        assert (await first.start_run("asks_and_reads", "run")).status == 202
        run = Watcher("run")
        async with within():
            while not run.seen or "interrupt_request" not in run.seen[-1][1]:
                await run.follow(second.address, most=1)
        sent = await second.ask("POST", "/runs/run/messages", {"data": "hello"})
        assert sent.status < 300
        await first.kill()
        async with asyncio.TaskGroup() as watching:
            watching.create_task(run.follow_to_the_end(second.address))
            if answered == "once it is continued":
                await run.until(6)
                assert json.loads(run.seen[5][1])["type"] == "pid"
            answer = {"type": "response", "args": "left"}
            reply = await second.ask("POST", "/runs/run/interrupts/way", answer)
            assert reply.status == 200

        assert (run.seen, run.gaps) == (await second.log_of("run"), [])
    events = [json.loads(data) for _, data in run.seen]
    pids = [event["data"] for event in events if event["type"] == "pid"]
    assert [event["data"].get("attempt", 1) for event in events if event["type"] == "started"] == [
        *(1, 2)
    ]
    assert pids == [first.process.pid, second.process.pid]
    assert sum(event["type"] == "message_read" for event in events) == 1
    assert ending_of(run)["data"]["result"] == ["left", "hello", second.process.pid]


async def test_a_batch_of_a_remote_writer_that_is_sent_to_several_nodes_is_written_once(
    tmp_path: Path,
) -> None:
    lease = "a-lease-of-this-test"

    async def write(node: Server, number: int, *events: object) -> Answer:
        target = f"/runs/r/events?producer=p&sequence={number}"
        headers = {"Content-Type": "application/json", "Runcast-Lease": lease}
        return await fetch(node.address, "POST", target, headers, json.dumps(events).encode())

    async with nodes(namespace_url("valkey"), tmp_path) as (first, second, third):
        begun = {"name": "train", "run_id": "r", "lease_id": lease}
        answers = [await node.ask("POST", "/runs", begun) for node in (first, second)]
        assert [each.status for each in answers] == [201, 200]
        for number in range(1, 4):
            sent = [
                write(node, number, {"type": "step", "data": number})
                for node in (first, second, third)
            ]
            answers = await asyncio.gather(*sent)
            told = sorted(json.loads(each.body)["repeated"] for each in answers)
            assert told == [False, True, True], answers
        await first.kill()
        end = {"type": "done", "data": {"result": 3}}
        ended = await asyncio.gather(write(second, 4, end), write(third, 4, end))
        assert sorted(json.loads(each.body)["repeated"] for each in ended) == [False, True]

        log = [json.loads(data) for _, data in await third.log_of("r")]
    assert [event["type"] for event in log] == ["started", *["step"] * 3, "done"]
    assert [event["data"] for event in log if event["type"] == "step"] == [1, 2, 3]


async def test_a_node_that_slept_past_its_lease_writes_no_more(tmp_path: Path) -> None:
    async with nodes(namespace_url("valkey"), tmp_path, count=2) as (first, second):
        run = await first.start_and_watch("run", n=10**6, rate=50)
        await run.follow(second.address, most=5)
        first.process.send_signal(signal.SIGSTOP)
        async with within():
            await run.follow_to_the_end(second.address)
        first.process.send_signal(signal.SIGCONT)
        late = Watcher("run")
        async with within():
            await late.follow_to_the_end(first.address)

        assert ending_of(run)["data"]["code"] == "lost"
        assert await check_all(second, [run, late]) == ["failed"]


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_a_server_that_is_killed_in_mid_stream_loses_no_acknowledged_event(
    tmp_path: Path, fsync: str
) -> None:
    options = ("--appendonly", "yes", "--appendfsync", fsync)
    with StoreServer(tmp_path, *options) as store:
        url = f"{store.url}?namespace=killed"
        async with nodes(url, tmp_path, count=2, lease_s=20.0) as (first, second):
            runs = [
                await first.start_and_watch(f"run-{n}", function="tell", n=3000, size=50)
                for n in range(4)
            ]
            watching = [
                asyncio.create_task(each.follow_to_the_end(second.address)) for each in runs
            ]
            for count in (50, 400, 900):
                for each in runs:
                    await each.until(count)
                store.kill()
                store.start()
            async with within():
                await asyncio.gather(*watching)

            assert await check_all(second, runs) == ["done"] * 4


async def test_a_server_that_hangs_for_a_while_holds_up_and_loses_nothing(tmp_path: Path) -> None:
    with StoreServer(tmp_path) as store:
        # So short that the outcomes of commits become unknown.
        url = f"{store.url}?namespace=hangs&socket_timeout=0.3"
        async with nodes(url, tmp_path, count=2, lease_s=30.0, heartbeat_s=1.0) as (first, second):
            run = await first.start_and_watch("run", function="tell", n=2000, size=50)
            watching = asyncio.create_task(run.follow_to_the_end(second.address))
            await run.until(100)
            store.signal(signal.SIGSTOP)
            async with within():
                await until(lambda: "will be tried again" in (tmp_path / "0.err").read_text())
            store.signal(signal.SIGCONT)
            async with within():
                await watching

            assert await check_all(second, [run]) == ["done"]
