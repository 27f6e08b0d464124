"""Streams by task id: the documented names, and what must not happen."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

import runcast
from runcast._app import OpenHub
from runcast._settings import Settings
from runcast._wire import sse
from runcast.compat import using_hub
from runcast.compat.stream_manager import (
    StreamEvent,
    StreamManager,
    TaskStreamQueue,
    create_sse_generator,
    stream_manager,
)
from runcast.errors import EventTooLarge, InvalidValue, NotFound, StoreUnavailable
from runcast.stores.base import Store
from runcast.stores.memory import MemoryStore
from runcast.testing import FakeClock, FaultyStore
from tests.compat.serving import serving
from tests.http.client import watch
from tests.opening import events_of, eventually, soon

TIME = "2023-10-27T10:00:00Z"


@pytest.fixture(autouse=True)
def manager(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> Iterator[StreamManager]:
    """The one manager, as if nobody had used it before."""
    monkeypatch.setattr(stream_manager, "streams", {})
    monkeypatch.setattr(stream_manager, "clock", clock)
    yield stream_manager
    assert stream_manager._expected == {}


async def publish(task_id: str, *contents: str, event_type: str = "thought") -> None:
    for content in contents:
        assert await stream_manager.publish_event(task_id, event_type, "Writer", content)


async def frames_of(task_id: str, last_event_id: str = "") -> list[dict[str, Any]]:
    """Return the payloads a browser gets, up to the end of its connection."""
    generator = create_sse_generator(task_id, last_event_id)
    frames = [frame async for frame in within(generator)]
    return [json.loads(event.data) for event in sse.Decoder().feed("".join(frames).encode())]


async def within(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Give what comes, each of which must be soon."""
    while True:
        try:
            item = await soon(anext(items))
        except StopAsyncIteration:
            return
        yield item


def contents(payloads: list[dict[str, Any]]) -> list[str]:
    assert payloads[-1]["type"] == "connection_end"
    return [payload["content"] for payload in payloads[:-1]]


async def seen(stream: TaskStreamQueue) -> list[str]:
    return [event.content async for event in within(stream.stream_events())]


def event(content: str, task_id: str = "t", **more: Any) -> StreamEvent:
    return StreamEvent("thought", "Writer", content, task_id, **more)


# --- as documented --------------------------------------------------------------------------------


async def test_an_event_is_the_documented_object() -> None:
    StreamEvent.reset_sequence("550e8400-e29b")
    made = StreamEvent(
        "thought",
        "ProductManager",
        "正在分析用户需求...",
        "550e8400-e29b",
        TIME,
        {"tool": "search"},
    )

    expected = {
        "task_id": "550e8400-e29b",
        "sequence": 1,
        "agent_name": "ProductManager",
        "event_type": "thought",
        "content": "正在分析用户需求...",
        "timestamp": TIME,
        "tool": "search",
    }
    assert made.to_dict() == expected
    assert made.to_sse_format().startswith('data: {"task_id":"550e8400-e29b","sequence":1,')
    assert "正在分析用户需求" in made.to_sse_format()
    (read,) = sse.Decoder().feed(made.to_sse_format().encode())
    assert json.loads(read.data) == expected


async def test_a_manager_streams_a_task_to_a_browser(hub: OpenHub) -> None:
    app = FastAPI()

    @app.get("/stream/{task_id}")
    async def stream(task_id: str) -> StreamingResponse:
        return StreamingResponse(create_sse_generator(task_id), media_type="text/event-stream")

    def work(loop: asyncio.AbstractEventLoop, queue: TaskStreamQueue) -> None:
        assert queue.put_nowait(event("分析"))
        assert queue.put_nowait(StreamEvent("action", "Writer", "查找", "t", None, {"tool": "web"}))
        assert queue.put_nowait(StreamEvent("output", "Writer", "结果", "t"))
        assert queue.put_nowait(StreamEvent("end", "System", "完成", "t"))

    async with serving(app) as address, watch(address, "/stream/t") as watching:
        queue = await stream_manager.create_stream("t")
        await publish("t", "开始", event_type="start")
        await asyncio.to_thread(work, asyncio.get_running_loop(), queue)
        await stream_manager.close_stream("t")
        found = [json.loads(event.data) for event in sse.Decoder().feed(await watching.read_all())]

    assert [
        (p["sequence"], p["event_type"], p["agent_name"], p["content"]) for p in found[:-1]
    ] == [
        (1, "start", "Writer", "开始"),
        (2, "thought", "Writer", "分析"),
        (3, "action", "Writer", "查找"),
        (4, "output", "Writer", "结果"),
        (5, "end", "System", "完成"),
    ]
    assert found[2]["tool"] == "web"
    assert found[-1].keys() == {"type", "task_id", "timestamp"}
    assert (found[-1]["type"], found[-1]["task_id"]) == ("connection_end", "t")


async def test_what_is_published_is_a_run_that_anybody_sees(hub: OpenHub) -> None:
    await stream_manager.create_stream("t")
    await publish("t", "a")
    await publish("t", "b", event_type="output")
    await publish("t", "c", event_type="error")
    await publish("t", "d", event_type="end")

    events = await events_of(hub, "t")

    assert [(e.seq, e.type, e.data, e.agent) for e in events] == [
        (1, "thinking", {"text": "a"}, "Writer"),
        (2, "content", {"text": "b"}, "Writer"),
        (3, "error", {"message": "c"}, "Writer"),
        (4, "done", {"result": "d"}, "Writer"),
    ]
    assert (await hub.present("t"))[1].status == "done"


async def test_a_stream_is_read_from_every_store(store: Store, clock: FakeClock) -> None:
    async with using_hub(OpenHub(store, clock=clock)):
        early = asyncio.create_task(frames_of("t"))
        await stream_manager.create_stream("t")
        await publish("t", *map(str, range(300)))
        await stream_manager.create_stream("t")
        await publish("t", "again")
        await stream_manager.close_stream("t")
        late = await frames_of("t")

        assert contents(await soon(early)) == [*map(str, range(300))]
        assert contents(late) == ["again"]
        assert late[0]["sequence"] == 1


async def test_there_is_one_manager(hub: OpenHub) -> None:
    assert StreamManager() is stream_manager
    assert await stream_manager.get_stream("t") is None
    assert not await stream_manager.publish_event("t", "thought", "Writer", "x")

    stream = await stream_manager.create_stream("t")

    assert await stream_manager.get_stream("t") is stream
    assert stream_manager.list_active_streams() == [{"task_id": "t", "closed": False}]
    await stream_manager.close_stream("t")
    assert stream_manager.list_active_streams() == [{"task_id": "t", "closed": True}]
    assert not await stream.put(event("late"))
    assert not await stream_manager.publish_event("t", "thought", "Writer", "late")


async def test_a_task_that_begins_anew_counts_from_one(hub: OpenHub) -> None:
    first = await stream_manager.create_stream("t")
    await publish("t", "a", "b")
    before = asyncio.create_task(seen(first))
    await stream_manager.create_stream("t")
    await publish("t", "c")
    await stream_manager.close_stream("t")

    assert await soon(before) == ["a", "b"]
    assert first.is_closed
    found = await frames_of("t")
    assert contents(found) == ["c"]
    assert found[0]["sequence"] == 1


async def test_events_are_taken_one_by_one(hub: OpenHub) -> None:
    stream = await stream_manager.create_stream("t")
    assert await stream.put(event("a"))
    assert await stream.put(event("b"))
    assert stream.queue.qsize() == 2

    taken = await soon(stream.get())

    assert taken is not None
    assert (taken.content, taken.sequence, taken.event_type) == ("a", 1, "thought")
    stream.close()
    assert getattr(await soon(stream.get()), "content", "") == "b"
    assert stream.queue.empty()
    assert await soon(stream.get()) is None
    assert await soon(stream.get()) is None


async def test_a_run_of_a_stream_can_be_cancelled(hub: OpenHub) -> None:
    stream = await stream_manager.create_stream("t")
    await publish("t", "a")
    reading = asyncio.create_task(frames_of("t"))

    await hub.cancel("t", "enough")

    found = await soon(reading)
    assert contents(found) == ["a", "enough"]
    assert (await events_of(hub, "t"))[-1].type == "cancelled"
    await stream.put(event("late"))
    await hub.flush("t")
    assert not await stream.put(event("later"))
    assert stream.is_closed


# --- what must not happen -------------------------------------------------------------------------


async def test_one_full_task_does_not_stall_another(clock: FakeClock) -> None:
    store = FaultyStore(MemoryStore(clock))
    settings = Settings(pending_bytes_per_run=2000, max_event_bytes=1000)
    async with using_hub(OpenHub(store, settings=settings, clock=clock)):
        await stream_manager.create_stream("full")
        await stream_manager.create_stream("idle")
        store.hold()
        await publish("full", "x" * 800, "x" * 800)
        stuck = asyncio.create_task(
            stream_manager.publish_event("full", "thought", "Writer", "x" * 800)
        )
        await asyncio.sleep(0)

        await publish("idle", "at once")

        assert not stuck.done()
        store.release()
        assert await soon(stuck)


async def test_put_nowait_neither_blocks_the_loop_nor_lies(clock: FakeClock) -> None:
    store = FaultyStore(MemoryStore(clock))
    settings = Settings(pending_bytes_per_run=2000, max_event_bytes=1000)
    async with using_hub(OpenHub(store, settings=settings, clock=clock)):
        stream = await stream_manager.create_stream("t")
        store.hold()
        accepted = [stream.put_nowait(event(f"{n}" * 500)) for n in range(6)]
        store.release()
        stream.close()

        assert accepted[0]
        assert not accepted[-1]
        kept = [f"{n}" * 500 for n, is_taken in enumerate(accepted) if is_taken]
        assert await seen(stream) == kept, "what was refused is never delivered"


async def test_what_a_thread_was_refused_is_never_delivered(clock: FakeClock) -> None:
    store = FaultyStore(MemoryStore(clock))
    settings = Settings(pending_bytes_per_run=2000, max_event_bytes=1000, emit_wait_s=0.01)
    async with using_hub(OpenHub(store, settings=settings, clock=clock)):
        stream = await stream_manager.create_stream("t")
        store.hold()

        def work() -> list[bool]:
            return [stream.put_nowait(event(f"{n}" * 500)) for n in range(6)]

        accepted = await soon(asyncio.to_thread(work))
        store.release()
        stream.close()

        assert not accepted[-1]
        kept = [f"{n}" * 500 for n, is_taken in enumerate(accepted) if is_taken]
        assert await seen(stream) == kept


async def test_two_readers_do_not_steal_from_each_other(hub: OpenHub) -> None:
    stream = await stream_manager.create_stream("t")
    readers = [asyncio.create_task(seen(stream)) for _ in range(3)]
    browsers = [asyncio.create_task(frames_of("t")) for _ in range(3)]
    numbers = [str(number) for number in range(100)]
    for number in numbers:
        await publish("t", number)
    await stream_manager.close_stream("t")

    for reader in readers:
        assert await soon(reader) == numbers
    for browser in browsers:
        assert contents(await soon(browser)) == numbers
    assert stream.subscribers == 0


async def test_close_does_not_hang(hub: OpenHub) -> None:
    stream = await stream_manager.create_stream("t")
    getting = asyncio.create_task(stream.get())
    iterating = asyncio.create_task(seen(stream))
    browsing = asyncio.create_task(frames_of("t"))
    await eventually(lambda: stream.subscribers == 2)

    await asyncio.to_thread(stream.close)  # from any thread, the clock stands still

    assert await soon(getting) is None
    assert await soon(iterating) == []
    assert contents(await soon(browsing)) == []


async def test_a_reader_who_comes_again_misses_nothing(hub: OpenHub) -> None:
    await stream_manager.create_stream("t")
    await publish("t", "a", "b", "c")
    generator = create_sse_generator("t")
    first = sse.Decoder().feed("".join([await anext(generator) for _ in "ab"]).encode())
    await generator.aclose()  # type: ignore[attr-defined]
    await publish("t", "d")
    await stream_manager.close_stream("t")

    assert contents(await frames_of("t", first[-1].id)) == ["c", "d"]
    assert contents(await frames_of("t")) == ["a", "b", "c", "d"]
    assert contents(await frames_of("t", "none of ours")) == ["a", "b", "c", "d"]


async def test_a_browser_that_comes_first_is_not_orphaned(hub: OpenHub) -> None:
    early = asyncio.create_task(frames_of("t"))
    await eventually(lambda: "t" in stream_manager._expected)

    await stream_manager.create_stream("t")
    await publish("t", "a", "b", "c")
    await stream_manager.close_stream("t")

    assert contents(await soon(early)) == ["a", "b", "c"]


async def test_publishing_to_a_task_that_is_waited_for_begins_it(hub: OpenHub) -> None:
    early = asyncio.create_task(frames_of("t"))
    await eventually(lambda: "t" in stream_manager._expected)

    await publish("t", "a")
    await publish("t", "b", event_type="end")

    assert contents(await soon(early)) == ["a", "b"]


async def test_unknown_ids_leave_nothing_behind(
    hub: OpenHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_manager, "reader_wait_s", 0.01)

    found = await asyncio.gather(*(frames_of(f"unknown-{number}") for number in range(50)))

    assert all(contents(payloads) == [] for payloads in found)
    assert stream_manager.streams == {}
    assert await hub.hub.store.list() == []
    assert StreamEvent._counted.keys().isdisjoint(f"unknown-{number}" for number in range(50))


async def test_an_id_that_no_run_may_have_does_not_break_the_stream(hub: OpenHub) -> None:
    with pytest.raises(InvalidValue):
        await stream_manager.create_stream("a b\nid: 1")
    assert stream_manager.streams == {}


async def test_cleanup_drops_neither_what_is_fresh_nor_what_is_read(
    hub: OpenHub, clock: FakeClock
) -> None:
    await stream_manager.create_stream("closed")
    await publish("closed", "a")
    await stream_manager.close_stream("closed")
    await stream_manager.create_stream("read")
    reading = asyncio.create_task(frames_of("read"))
    await eventually(lambda: stream_manager.streams["read"].subscribers == 1)

    await stream_manager.cleanup_old_streams(60)
    assert stream_manager.streams.keys() == {"closed", "read"}
    clock.advance(3600)
    await stream_manager.cleanup_old_streams(60)

    assert stream_manager.streams.keys() == {"read"}
    assert contents(await frames_of("closed")) == ["a"], "what the hub keeps can still be read"
    await stream_manager.close_stream("read")
    await soon(reading)


async def test_cleanup_does_not_keep_what_was_abandoned(hub: OpenHub, clock: FakeClock) -> None:
    await stream_manager.create_stream("t")
    await publish("t", "a")
    clock.advance(3600)

    await stream_manager.cleanup_old_streams(60)

    assert stream_manager.streams == {}
    assert "t" not in StreamEvent._counted
    ending = (await events_of(hub, "t"))[-1]
    assert (ending.type, ending.data["code"]) == ("failed", "abandoned")


async def test_cleanups_at_once_do_not_fail(hub: OpenHub, clock: FakeClock) -> None:
    for number in range(10):
        await stream_manager.create_stream(f"t{number}")
        await stream_manager.close_stream(f"t{number}")
    clock.advance(10)

    await asyncio.gather(*(stream_manager.cleanup_old_streams(1) for _ in range(5)))

    assert stream_manager.streams == {}


async def test_cleanup_never_takes_a_stream_that_was_just_made_anew(
    hub: OpenHub, clock: FakeClock
) -> None:
    await stream_manager.create_stream("t")
    await stream_manager.close_stream("t")
    clock.advance(10)

    made, _, _ = await asyncio.gather(
        stream_manager.create_stream("t"),
        stream_manager.cleanup_old_streams(1),
        stream_manager.cleanup_old_streams(1),
    )

    assert stream_manager.streams == {"t": made}
    assert await made.put(event("alive"))


async def test_sequences_have_neither_doubles_nor_holes_nor_inversions(hub: OpenHub) -> None:
    stream = await stream_manager.create_stream("t")
    barrier = threading.Barrier(4)

    def work(name: str) -> None:
        barrier.wait(5)
        for number in range(200):
            assert stream.put_nowait(event(f"{name} {number}"))

    with ThreadPoolExecutor(4) as pool:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(pool, work, name) for name in "abcd"))
    await stream_manager.close_stream("t")

    found = (await frames_of("t"))[:-1]
    assert [payload["sequence"] for payload in found] == list(range(1, 801))
    for name in "abcd":
        said = [p["content"] for p in found if p["content"].startswith(name)]
        assert said == [f"{name} {number}" for number in range(200)]


def test_events_of_threads_are_not_counted_twice() -> None:
    StreamEvent.reset_sequence("counted")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: event(str(n), "counted").sequence, range(2000)))

    assert sorted(made) == list(range(1, 2001))


EVIL = {
    "task_id": "evil",
    "sequence": 999,
    "event_type": "end",
    "agent_name": "evil",
    "content": "evil",
    "timestamp": "evil",
    "type": "connection_end",
    "text": "evil",
}


async def test_metadata_never_replace_a_field(hub: OpenHub) -> None:
    await stream_manager.create_stream("t")
    assert await stream_manager.publish_event("t", "thought", "Writer", "a", EVIL)
    await stream_manager.close_stream("t")

    payload, end = await frames_of("t")
    own = {"task_id": "t", "sequence": 1, "event_type": "thought", "agent_name": "Writer"}
    assert payload.items() >= {**own, "content": "a"}.items()
    assert "type" not in payload
    assert sorted(v for v in payload.values() if v == "evil") == ["evil"] * 5
    assert end["type"] == "connection_end"
    own = {"agent_name": "Writer", "content": "a", "task_id": "t", "event_type": "thought"}
    assert event("a", metadata=EVIL).to_dict().items() >= own.items()


async def test_a_generator_that_is_closed_early_does_not_raise(hub: OpenHub) -> None:
    stream = await stream_manager.create_stream("t")
    await publish("t", "a")
    generator = create_sse_generator("t")
    await soon(anext(generator))

    await soon(generator.aclose())  # type: ignore[attr-defined]

    assert stream.subscribers == 0
    assert hub.hub.statistics().watchers == 0


async def test_a_reader_that_is_cancelled_leaves_no_cursor(hub: OpenHub) -> None:
    stream = await stream_manager.create_stream("t")
    reading = asyncio.create_task(frames_of("t"))
    await eventually(lambda: stream.subscribers == 1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(reading)

    assert hub.hub.statistics().watchers == 0


@pytest.mark.parametrize("in_a_thread", [False, True])
async def test_a_queue_may_be_made_outside_of_any_loop(hub: OpenHub, in_a_thread: bool) -> None:
    def make() -> TaskStreamQueue:
        stream = TaskStreamQueue("t", max_size=2)
        assert stream.put_nowait(event("early"))
        assert stream.put_nowait(event("bird"))
        assert not stream.put_nowait(event("one too many"))
        return stream

    stream = await asyncio.to_thread(make) if in_a_thread else make()
    reading = asyncio.create_task(seen(stream))
    await eventually(lambda: stream.subscribers == 1)
    assert await asyncio.to_thread(stream.put_nowait, event("late"))
    await asyncio.to_thread(stream.close)

    assert await soon(reading) == ["early", "bird", "late"]


@pytest.mark.parametrize("event_type", ["failed", "cancelled", "started", "gap"])
async def test_an_early_event_that_cannot_be_stored_does_not_kill_its_stream(
    hub: OpenHub, event_type: str
) -> None:
    stream = TaskStreamQueue("t")
    for _ in range(2):  # before the log is begun, and after
        with pytest.raises(InvalidValue):
            stream.put_nowait(StreamEvent(event_type, "A", "x", "t"))
        with pytest.raises(InvalidValue):
            stream.put_nowait(event("x", metadata={"bad": object()}))
        assert stream.put_nowait(event("good"))
        assert getattr(await soon(stream.get()), "content", "") == "good"
    stream.close()

    assert await seen(stream) == ["good", "good"]
    assert (await events_of(hub, "t"))[-1].type == "done"


async def test_an_early_event_that_is_too_large_is_not_accepted(clock: FakeClock) -> None:
    async with using_hub(OpenHub(settings=Settings(max_event_bytes=1000), clock=clock)):
        stream = TaskStreamQueue("t")
        for kind in ("thought", "error", "end"):
            with pytest.raises(EventTooLarge):
                stream.put_nowait(StreamEvent(kind, "A", "x" * 2000, "t"))
        assert stream.put_nowait(StreamEvent("end", "A", "x" * 500, "t"))

        assert await seen(stream) == ["x" * 500]


@pytest.mark.parametrize("has_a_hub", [True, False])
async def test_early_events_do_not_kill_their_stream_by_their_number(
    clock: FakeClock, has_a_hub: bool
) -> None:
    """What is taken is stored, though it is more than may wait in one go."""
    stream = TaskStreamQueue("t", clock=clock)
    settings = Settings(pending_bytes_per_run=30_000, max_event_bytes=10_000, pending_bytes=1)
    taken = []
    if has_a_hub:
        async with using_hub(OpenHub(settings=settings, clock=clock)):
            taken = [n for n in range(20) if stream.put_nowait(event(f"{n} ".ljust(5000)))]
            assert taken == [0, 1, 2, 3, 4]
            stream.close()
            assert await seen(stream) == [f"{n} ".ljust(5000) for n in taken]
    else:
        taken = [n for n in range(1000) if stream.put_nowait(event(f"{n} ".ljust(5000)))]
        assert 500 < len(taken) < 1000
        async with using_hub(OpenHub(settings=settings, clock=clock)):
            stream.close()
            assert await seen(stream) == [f"{n} ".ljust(5000) for n in taken]


async def test_an_early_event_does_not_change_after_it_was_put(hub: OpenHub) -> None:
    stream = TaskStreamQueue("t")
    metadata: dict[str, Any] = {"notes": []}
    made = event("a", metadata=metadata)
    assert stream.put_nowait(made)
    metadata["notes"].append(object())
    stream.close()

    assert await seen(stream) == ["a"]


async def test_what_a_thread_puts_while_the_log_is_begun_is_not_lost(clock: FakeClock) -> None:
    store = FaultyStore(MemoryStore(clock))
    async with using_hub(OpenHub(store, clock=clock)):
        store.hold()
        creating = asyncio.create_task(stream_manager.create_stream("t"))
        await eventually(lambda: "t" in stream_manager.streams)
        stream = stream_manager.streams["t"]
        assert stream.put_nowait(event("0"))
        await store.wait_held()

        def work() -> None:
            with pytest.raises(InvalidValue):
                stream.put_nowait(StreamEvent("failed", "A", "x", "t"))
            for number in range(1, 100):
                assert stream.put_nowait(event(str(number)))

        await soon(asyncio.to_thread(work))
        is_begun = creating.done()
        store.release()
        await soon(creating)
        assert not is_begun
        assert stream.put_nowait(event("100"))
        stream.close()

        assert await seen(stream) == [str(number) for number in range(101)]


async def test_a_stream_that_could_not_be_begun_is_not_dead_for_good(clock: FakeClock) -> None:
    hub = OpenHub(clock=clock)
    stream = TaskStreamQueue("t", hub=hub)
    assert stream.put_nowait(event("a"))
    with pytest.raises(StoreUnavailable):
        await stream.put(event("b"))
    async with hub:
        assert await stream.put(event("c"))
        stream.close()
        assert await seen(stream) == ["a", "c"]


async def test_a_stream_that_is_ended_while_it_begins_does_not_stay_open(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = FaultyStore(MemoryStore(clock))
    async with using_hub(OpenHub(store, clock=clock)) as hub:
        stream = TaskStreamQueue("t")
        assert stream.put_nowait(event("a"))
        store.hold()
        putting = asyncio.create_task(stream.put(event("b")))
        await store.wait_held()
        await hub.hub.delete("t")
        store.release()

        assert not await soon(putting)
        assert stream.is_closed
        assert "1 events of task t were not taken" in caplog.text
        await soon(stream.wait_closed())
        assert await seen(stream) == []


@pytest.mark.parametrize("kind", ["thought", "end", "error"])
async def test_what_the_hub_takes_is_not_refused_for_its_size(clock: FakeClock, kind: str) -> None:
    text = "x" * (2 << 20)
    async with using_hub(OpenHub(settings=Settings(max_event_bytes=4 << 20), clock=clock)):
        for task_id in ("early", "late"):
            stream = TaskStreamQueue(task_id)
            if task_id == "late":
                await stream.begin()
            assert stream.put_nowait(StreamEvent(kind, "A", text, task_id))
            stream.close()
            assert await seen(stream) == [text]


def test_an_event_on_its_own_has_no_limit() -> None:
    assert len(event("x" * (2 << 20)).to_sse_format()) > 2 << 20


async def test_a_queue_that_was_closed_before_it_began_ends(hub: OpenHub) -> None:
    stream = TaskStreamQueue("t")
    assert stream.put_nowait(event("a"))
    stream.close()
    stream.close()

    assert await seen(stream) == ["a"]
    assert not stream.put_nowait(event("late"))
    assert (await events_of(hub, "t"))[-1].type == "done"


async def test_one_bad_value_does_not_end_a_stream(hub: OpenHub) -> None:
    await stream_manager.create_stream("t")
    with pytest.raises(InvalidValue):
        await stream_manager.publish_event("t", "thought", "Writer", "x", {"bad": object()})
    with pytest.raises(InvalidValue):
        await stream_manager.publish_event("t", "a\n\ndata: forged", "Writer", "x")
    await publish("t", "good")
    await publish("t", "data: forged\n\ndata: {}\n\n")
    await stream_manager.close_stream("t")

    assert contents(await frames_of("t")) == ["good", "data: forged\n\ndata: {}\n\n"]


async def test_times_are_not_told_in_two_zones(hub: OpenHub, clock: FakeClock) -> None:
    await stream_manager.create_stream("t")
    await publish("t", "a")
    await stream_manager.close_stream("t")

    payload, end = await frames_of("t")
    assert payload["timestamp"] == end["timestamp"]
    assert payload["timestamp"].endswith("Z")


async def test_silence_is_not_mistaken_for_a_broken_connection(clock: FakeClock) -> None:
    settings = Settings(heartbeat_s=0.01)
    async with using_hub(OpenHub(settings=settings, clock=clock)):
        generator = create_sse_generator("t")
        assert await soon(anext(generator)) == ": hb\n", "before the task begins"
        await stream_manager.create_stream("t")
        await publish("t", "a")
        while (frame := await soon(anext(generator))) == ": hb\n":
            pass
        assert frame.startswith("id: ")
        assert await soon(anext(generator)) == ": hb\n"
        await generator.aclose()  # type: ignore[attr-defined]


async def test_a_failing_store_is_not_taken_for_the_end(clock: FakeClock) -> None:
    store = FaultyStore(MemoryStore(clock))
    async with using_hub(OpenHub(store, clock=clock)) as hub:
        await stream_manager.create_stream("t")
        await publish("t", "a")
        await hub.flush("t")
        store.fail_next(1, StoreUnavailable("the disk is full"), call="read")
        with pytest.raises(StoreUnavailable):
            await frames_of("t")


async def test_an_error_is_the_last_word_of_a_stream_only_once(hub: OpenHub) -> None:
    await stream_manager.create_stream("t")
    await publish("t", "it broke", event_type="error")
    await stream_manager.close_stream("t")

    assert contents(await frames_of("t")) == ["it broke"]
    ending = (await events_of(hub, "t"))[-1]
    assert (ending.type, ending.data["message"]) == ("failed", "it broke")


async def test_a_stream_that_was_deleted_ends(hub: OpenHub) -> None:
    await stream_manager.create_stream("t")
    await publish("t", "a")
    reading = asyncio.create_task(frames_of("t"))
    await eventually(lambda: stream_manager.streams["t"].subscribers == 1)
    await hub.hub.delete("t")

    assert contents(await soon(reading))[1:] == []
    with pytest.raises(NotFound):
        await hub.hub.info("t")


@pytest.mark.parametrize("has_read", [False, True])
async def test_no_reader_meets_an_error_because_its_stream_was_deleted(
    hub: OpenHub, has_read: bool
) -> None:
    stream = await stream_manager.create_stream("t")
    iterated: list[StreamEvent] = []

    async def iterate() -> None:
        iterated.extend([event async for event in stream.stream_events()])

    iterating, getting = None, None
    await publish("t", "a")
    if has_read:
        assert await soon(stream.get())
        getting = asyncio.create_task(stream.get())
        iterating = asyncio.create_task(iterate())
        await eventually(lambda: hub.hub.statistics().watchers == 2)
    await hub.hub.delete("t")

    if iterating is not None and getting is not None:
        assert await soon(getting) is None
        await soon(iterating)
    assert await soon(stream.get()) is None
    assert await seen(stream) == []
    assert contents(await frames_of("t")) == []
    assert hub.hub.statistics().watchers == 0


async def test_a_stream_that_was_deleted_does_not_stay_open(hub: OpenHub) -> None:
    stream = await stream_manager.create_stream("t")
    await hub.hub.delete("t")
    await stream.put(event("too late to know"))
    with pytest.raises(NotFound):
        await hub.flush("t")

    assert not await stream.put(event("late"))
    assert stream.is_closed


async def test_a_stream_never_gives_the_events_of_its_successor(hub: OpenHub) -> None:
    first = await stream_manager.create_stream("t")
    await publish("t", "a")
    assert getattr(await soon(first.get()), "content", "") == "a"
    second = await stream_manager.create_stream("t")
    await publish("t", "b")
    await stream_manager.close_stream("t")

    for _ in range(3):
        assert await soon(first.get()) is None
    assert await seen(first) == []
    assert await seen(second) == ["b"]
    assert getattr(await soon(second.get()), "content", "") == "b"


async def test_another_reader_of_the_hub_resumes_a_stream(hub: OpenHub) -> None:
    await stream_manager.create_stream("t")
    await publish("t", "a", "b")
    await stream_manager.close_stream("t")
    async with (
        serving(await asyncio.to_thread(runcast.asgi, hub, authorize=runcast.everyone)) as address,
        watch(address, "/runs/t/events?dialect=task") as watching,
    ):
        found = [json.loads(event.data) for event in await watching.rest()]

    assert [p["content"] for p in found[:2]] == ["a", "b"]
    assert found[-1]["type"] == "connection_end"
