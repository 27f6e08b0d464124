"""Messages into a run: in order, once, acknowledged by the next request, kept until read."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import runcast
from runcast._app import OpenHub
from runcast.errors import Conflict, EventTooLarge, InvalidValue, NotFound, Overloaded, RunClosed
from runcast.events.snapshot import MAX_INBOX, MAX_INBOX_BYTES
from runcast.stores.base import Store
from runcast.testing import FaultyStore
from tests.opening import WAIT_S, events_of, soon
from tests.runs import reads_apart


@pytest.fixture
async def hub(store: Store) -> AsyncIterator[OpenHub]:
    async with runcast.open_hub(store) as hub:
        yield hub


async def awaits(count: int) -> list[Any]:
    found: list[Any] = []
    async for message in runcast.inbox():
        found.append([message.id, message.data, message.sender])
        runcast.log(f"got {message.id}")
        if len(found) == count:
            break
    return found


def waits(count: int) -> list[Any]:
    found: list[Any] = []
    for message in runcast.inbox():
        found.append([message.id, message.data, message.sender])
        runcast.log(f"got {message.id}")
        if len(found) == count:
            break
    return found


def yields(count: int) -> Generator[Any, None, list[Any]]:
    found: list[Any] = []
    for message in runcast.inbox():
        found.append([message.id, message.data, message.sender])
        yield {"type": "log", "data": {"message": f"got {message.id}"}}
        if len(found) == count:
            break
    return found


async def waits_on_a_loop_of_its_own(count: int) -> list[Any]:
    return await asyncio.to_thread(lambda: asyncio.run(awaits(count)))


EVERYWHERE: list[Callable[..., Any]] = [
    awaits,
    waits,
    yields,
    waits_on_a_loop_of_its_own,
    reads_apart.reads_apart,
]


@pytest.mark.parametrize("function", EVERYWHERE)
async def test_a_run_reads_its_messages_in_order_wherever_its_code_runs(
    hub: OpenHub, function: Callable[..., Any]
) -> None:
    run = await hub.start(function, {"count": 3})
    await hub.send(run.run_id, {"n": 1}, message_id="a", sender="ann")
    await hub.send(run.run_id, None, message_id="b")
    await hub.send(run.run_id, "three", message_id="c")
    result = await asyncio.wait_for(run.result(), 4 * WAIT_S)
    events = await events_of(hub, run.run_id)
    _, snapshot = await hub.present(run.run_id)

    assert result == [["a", {"n": 1}, "ann"], ["b", None, ""], ["c", "three", ""]]
    told = [(e.type, e.data) for e in events if e.type.startswith("message")]
    assert [data for kind, data in told if kind == "message"] == [
        {"message_id": "a", "data": {"n": 1}, "from": "ann"},
        {"message_id": "b", "data": None},
        {"message_id": "c", "data": "three"},
    ]
    assert [d["message_ids"] for kind, d in told if kind == "message_read"] == [["a"], ["b"], ["c"]]
    steps = [e.data.get("message", e.data.get("message_ids")) for e in events]
    assert steps.index("got a") < steps.index(["a"]) < steps.index("got b") < steps.index(["b"])
    assert (snapshot.messages, snapshot.messages_read) == ([], 3)


async def test_a_wait_that_is_given_up_takes_no_message(hub: OpenHub) -> None:
    run = await hub.start(reads_apart.awaits_apart)
    async for event in hub.watch(run.run_id):
        if event.type == "log":
            break
    await hub.send(run.run_id, 1)
    await hub.send(run.run_id, 2)

    assert await asyncio.wait_for(run.result(), 4 * WAIT_S) == [1, 2]


async def test_poll_gives_what_is_there_and_does_not_wait(hub: OpenHub) -> None:
    ready = asyncio.Event()

    async def polls() -> list[Any]:
        inbox = runcast.inbox()
        first = await inbox.poll()
        ready.set()
        waited = await anext(inbox)
        return [first, waited.data, await inbox.poll()]

    run = await hub.start(polls)
    await soon(ready.wait())
    await hub.send(run.run_id, "x")

    assert await soon(run.result()) == [None, "x", None]


async def test_what_is_polled_at_once_is_acknowledged_at_once(hub: OpenHub) -> None:
    ready = asyncio.Event()

    async def polls() -> list[Any]:
        inbox = runcast.inbox()
        await soon(ready.wait())
        together = await inbox.poll_all()
        runcast.log("read")
        return [[message.data for message in together], await inbox.poll_all()]

    run = await hub.start(polls)
    await hub.send(run.run_id, "x", message_id="m1")
    await hub.send(run.run_id, "y", message_id="m2")
    ready.set()

    assert await soon(run.result()) == [["x", "y"], []]
    events = [event async for event in hub.watch(run.run_id)]
    assert [event.type for event in events][-3:] == ["log", "message_read", "done"]
    assert events[-2].data == {"message_ids": ["m1", "m2"]}


async def test_poll_works_in_a_thread(hub: OpenHub) -> None:
    go = threading.Event()

    def polls() -> list[Any]:
        assert go.wait(WAIT_S)
        return [runcast.inbox().poll().data, runcast.inbox().poll()]

    run = await hub.start(polls)
    await hub.send(run.run_id, "x")
    go.set()

    assert await soon(run.result()) == ["x", None]


async def test_a_message_to_a_run_that_is_queued_is_read_when_it_begins(store: Store) -> None:
    async with runcast.open_hub(store, settings=runcast.Settings(max_runs=1)) as hub:
        first = await hub.start(awaits, {"count": 1})
        second = await hub.start(awaits, {"count": 1})
        await hub.send(second.run_id, "early", message_id="m")
        info, snapshot = await hub.present(second.run_id)
        assert (info.status, snapshot.status) == ("queued", "queued")
        assert [(m.message_id, m.data) for m in snapshot.messages] == [("m", "early")]
        await hub.send(first.run_id, "go")

        assert await soon(second.result()) == [["m", "early", ""]]


async def test_the_same_message_is_stored_once(hub: OpenHub) -> None:
    run = await hub.start(awaits, {"count": 2})
    first = await hub.send(run.run_id, {"a": 1, "b": 2}, message_id="m")
    again = await hub.send(run.run_id, {"a": 1, "b": 2}, message_id="m")
    with pytest.raises(Conflict):
        await hub.send(run.run_id, "another", message_id="m")
    await hub.send(run.run_id, 2)
    result = await soon(run.result())
    late = await hub.send(run.run_id, {"a": 1, "b": 2}, message_id="m")

    assert (first.repeated, again.repeated, late.repeated) == (False, True, True)
    assert first.position == again.position == late.position
    assert [data for _, data, _ in result] == [{"a": 1, "b": 2}, 2]


async def test_a_message_to_a_run_that_ended_is_refused(hub: OpenHub) -> None:
    run = await hub.start(awaits, {"count": 1})
    await hub.send(run.run_id, 1)
    await soon(run.wait())

    with pytest.raises(RunClosed, match="has ended"):
        await hub.send(run.run_id, 2)
    with pytest.raises(NotFound):
        await hub.send("another", 2)


async def test_what_cannot_be_sent_is_refused(hub: OpenHub) -> None:
    run = await hub.start(awaits, {"count": 1})
    for data, message_id, sender in (
        (object(), "", ""),
        (1, "x" * 129, ""),
        (1, 7, ""),
        (1, "", "x" * 201),
    ):
        with pytest.raises(InvalidValue):
            await hub.send(run.run_id, data, message_id=message_id, sender=sender)  # type: ignore[arg-type]
    with pytest.raises(EventTooLarge, match="at most 16384 bytes"):
        await hub.send(run.run_id, "x" * (MAX_INBOX_BYTES - 1))
    await hub.send(run.run_id, "x" * (MAX_INBOX_BYTES - 2))

    assert len((await soon(run.result()))[0][1]) == MAX_INBOX_BYTES - 2


async def test_a_run_has_a_bound_of_unread_messages(hub: OpenHub) -> None:
    go = asyncio.Event()

    async def slow() -> list[Any]:
        await go.wait()
        return await awaits(MAX_INBOX + 1)

    run = await hub.start(slow)
    for number in range(MAX_INBOX):
        await hub.send(run.run_id, number, message_id=f"m{number}")
    with pytest.raises(Overloaded, match="64 unread messages"):
        await hub.send(run.run_id, "too many")
    assert (await hub.send(run.run_id, 3, message_id="m3")).repeated
    go.set()
    async for event in hub.watch(run.run_id):
        if event.type == "message_read":
            break
    await hub.send(run.run_id, "last")

    result = await soon(run.result())
    assert [data for _, data, _ in result] == [*range(MAX_INBOX), "last"]


async def test_of_many_messages_at_once_no_accepted_one_is_lost(store: Store) -> None:
    faulty, go = FaultyStore(store), asyncio.Event()

    async def slow(count: int) -> list[Any]:
        await go.wait()
        return await awaits(count)

    async with runcast.open_hub(faulty) as hub:
        run = await hub.start(slow, {"count": MAX_INBOX})
        faulty.hold()
        sending = [
            asyncio.create_task(hub.send(run.run_id, number)) for number in range(3 * MAX_INBOX)
        ]
        await faulty.wait_held()
        faulty.release()
        sent = await soon(asyncio.gather(*sending, return_exceptions=True))
        go.set()
        result = await soon(run.result())

    accepted = [number for number, each in enumerate(sent) if not isinstance(each, Exception)]
    assert [data for _, data, _ in result] == accepted
    assert len(accepted) == MAX_INBOX
    assert {type(each) for each in sent if isinstance(each, Exception)} == {Overloaded}


@pytest.mark.parametrize("function", [awaits, waits, reads_apart.reads_apart])
async def test_a_run_that_waits_for_a_message_can_be_cancelled(
    hub: OpenHub, function: Callable[..., Any]
) -> None:
    run = await hub.start(function, {"count": 2})
    await hub.send(run.run_id, "one", message_id="one")
    async for event in hub.watch(run.run_id):
        if event.type == "log":
            break
    async for event in hub.watch(run.run_id):
        if event.type == "message_read":
            break  # it waits for the next one
    run.cancel("enough")
    outcome = await asyncio.wait_for(run.wait(), 4 * WAIT_S)

    assert outcome == ("cancelled", {"reason": "enough"})


async def test_what_a_cancelled_run_had_in_hand_stays_unread(hub: OpenHub) -> None:
    async def holds() -> None:
        await anext(runcast.inbox())
        runcast.log("got it")
        await asyncio.Event().wait()

    run = await hub.start(holds)
    await hub.send(run.run_id, "x", message_id="m")
    async for event in hub.watch(run.run_id):
        if event.type == "log":
            run.cancel()
    _, snapshot = await hub.present(run.run_id)

    assert [each.message_id for each in snapshot.messages] == ["m"]


async def test_an_inbox_has_one_reader_at_a_time(hub: OpenHub) -> None:
    async def two() -> str:
        waiting = asyncio.create_task(awaits(1))
        await asyncio.sleep(0)  # it asks
        with pytest.raises(InvalidValue, match="one reader"):
            await runcast.inbox().poll()
        waiting.cancel()
        return "refused"

    run = await hub.start(two)

    assert await soon(run.result()) == "refused"


async def test_a_plain_loop_in_a_coroutine_is_refused(hub: OpenHub) -> None:
    async def plain() -> str:
        with pytest.raises(InvalidValue, match="async for"):
            next(iter(runcast.inbox()))
        return "refused"

    run = await hub.start(plain)

    assert await soon(run.result()) == "refused"


def test_outside_a_run_there_is_no_inbox() -> None:
    with pytest.raises(InvalidValue, match="inside a run"):
        runcast.inbox()


def test_a_block_reads_messages_and_a_hub_in_a_thread_sends_them() -> None:
    with runcast.open_hub() as hub:
        with hub.run("block") as run:
            sent = hub.send(run.run_id, "hello", message_id="m")
            message = next(iter(runcast.inbox()))
        _, snapshot = hub.present(run.run_id)

    assert (sent.message_id, sent.repeated) == ("m", False)
    assert (message.id, message.data) == ("m", "hello")
    assert (snapshot.status, snapshot.messages, snapshot.messages_read) == ("done", [], 1)


async def test_another_process_that_shares_the_store_sends_messages(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    async with runcast.open_hub(url) as owner, runcast.open_hub(url) as other:
        run = await owner.start(awaits, {"count": 2})
        await other.send(run.run_id, 1, message_id="a")
        await owner.send(run.run_id, 2, message_id="b")

        assert [data for _, data, _ in await soon(run.result())] == [1, 2]


async def test_messages_outlive_what_is_cut_from_the_log(tmp_path: Path) -> None:
    limits = runcast.Settings(keep_bytes_per_run=2000, max_event_bytes=1000)
    go = asyncio.Event()

    async def talks() -> list[Any]:
        for number in range(200):
            runcast.content(f"{number} " * 50)
            await runcast.flush()
        await go.wait()
        return await awaits(1)

    async with runcast.open_hub(f"sqlite:///{tmp_path}/runs.db", settings=limits) as hub:
        run = await hub.start(talks)
        await hub.send(run.run_id, "early", message_id="m")
        async for event in hub.watch(run.run_id):
            if event.type == "content" and event.data["index"] == 199:
                break
        go.set()

        assert await asyncio.wait_for(run.result(), 4 * WAIT_S) == [["m", "early", ""]]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), max_size=12))
async def test_each_id_is_read_once_in_the_order_of_the_first_sending(
    steps: list[tuple[str, int]],
) -> None:
    expected: dict[str, int] = {}
    async with runcast.open_hub() as hub:
        distinct = len({name for name, _ in steps})
        run = await hub.start(awaits if distinct else nothing, {"count": distinct})
        for name, value in steps:
            if expected.setdefault(name, value) == value:
                await hub.send(run.run_id, value, message_id=name)
            else:
                with pytest.raises(Conflict):
                    await hub.send(run.run_id, value, message_id=name)
        result = await soon(run.result())

    assert [(name, data) for name, data, _ in result] == list(expected.items())


async def nothing(count: int) -> list[Any]:
    return []
