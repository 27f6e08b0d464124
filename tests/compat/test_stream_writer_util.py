"""Frames pushed from deep inside a task: the documented names, and what must not happen."""

import asyncio
import contextvars
import gc
import json
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pydantic
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import StreamingResponse

import runcast
from runcast._app import OpenHub
from runcast._settings import Settings
from runcast._wire import sse
from runcast.compat import close_hub
from runcast.compat.payloads import framed
from runcast.compat.stream_writer_util import (
    MyStreamWriter,
    bind,
    create_queue_task,
    send_queue,
    task_context,
)
from runcast.errors import EventTooLarge, InvalidValue, Overloaded
from runcast.events.model import Event
from runcast.stores.base import Store
from runcast.testing import FaultyStore
from tests.compat import documented
from tests.compat.serving import serving
from tests.http.client import WAIT_S, fetch, watch
from tests.opening import events_of, eventually, soon

NO_SLEEP = SimpleNamespace(sleep=lambda seconds: asyncio.sleep(0))


async def frames_of(queue: "asyncio.Queue[Any]") -> list[str]:
    """Take everything out of a queue, as the documents do."""
    frames = []
    while (frame := await soon(queue.get())) is not None:
        frames.append(frame)
    return frames


def read(frames: list[str]) -> list[tuple[str, Any]]:
    """Return name and payload of each frame."""
    events = sse.Decoder().feed("".join(frames).encode())
    return [(event.event, json.loads(event.data)) for event in events]


async def told(function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[tuple[str, Any]]:
    """Run a task and return what its consumer gets."""
    return read(await frames_of(create_queue_task(function, *args, **kwargs)))


def succeeded(result: object = None) -> tuple[str, Any]:
    return "done", {"result": result}


# --- the documents' own examples ------------------------------------------------------------------


async def test_a_router_streams_what_a_tool_does(hub: OpenHub) -> None:
    example = documented.run(documented.EXECUTE_TOOL)
    example["asyncio"] = NO_SLEEP
    app = FastAPI()
    app.include_router(example["router"])

    async with serving(app) as address:
        answer = await fetch(
            address,
            "POST",
            "/api/tools/resize/execute",
            {"Content-Type": "application/json"},
            b"{}",
        )

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert read([answer.body.decode()]) == [
        *(
            (
                "progress",
                {"step": n, "progress": n * 20, "message": f"执行步骤 {n}..."},
            )
            for n in range(1, 6)
        ),
        ("done", {"result": "success", "output": "完成"}),
    ]
    (run_id,) = [info.log_id for info in await hub.hub.store.list()]
    assert [event.type for event in await events_of(hub, run_id)] == [
        "started",
        *["progress"] * 5,
        "done",
    ]


@pytest.mark.parametrize("fails", [False, True])
async def test_a_registry_runs_tools(hub: OpenHub, fails: bool) -> None:
    class ToolExecuteRequest(pydantic.BaseModel):
        tool_name: str
        parameters: dict[str, Any]

    class Registry:
        async def execute_tool(self, name: str, **parameters: Any) -> Any:
            if fails:
                raise ValueError("no such size")
            return {"tool": name, **parameters}

    router = APIRouter()
    documented.run(
        documented.TOOL_CONFIG,
        router=router,
        ToolExecuteRequest=ToolExecuteRequest,
        tool_registry=Registry(),
        StreamingResponse=StreamingResponse,
    )
    app = FastAPI()
    app.include_router(router)
    body = json.dumps({"tool_name": "resize", "parameters": {"width": 3}}).encode()

    async with serving(app) as address:
        headers = {"Content-Type": "application/json"}
        answer = await fetch(address, "POST", "/async_execute", headers, body)

    found = read([answer.body.decode()])
    if fails:
        ((name, payload),) = found
        assert name == "error"
        assert payload.items() >= {"type": "error", "message": "no such size"}.items()
    else:
        data = {"tool": "resize", "width": 3}
        assert found == [("end", {"type": "result", "data": data}), succeeded()]


async def test_what_is_sent_is_what_is_documented(hub: OpenHub) -> None:
    async def task() -> None:
        documented.run(documented.SEND)

    assert await told(task) == [
        ("content", {"content": "Hello"}),
        ("progress", {"progress": 50, "status": "处理中"}),
        ("error", {"error": "处理失败", "code": "error", "retryable": False}),
        ("done", {"done": True}),
    ]


async def test_a_tool_logs_through_its_bridge(hub: OpenHub) -> None:
    tool = documented.run(documented.LOG_BRIDGE)["MyTool"]()
    tool.name = "resize"

    async def task() -> Any:
        return await asyncio.to_thread(tool._execute, {})

    assert await told(task) == [
        ("log", {"type": "info", "tool_name": "resize", "message": "开始执行..."}),
        ("log", {"type": "info", "tool_name": "resize", "message": "执行完成"}),
        succeeded({"success": True}),
    ]


async def test_a_writer_of_ones_own_fills_its_queue(capsys: pytest.CaptureFixture[str]) -> None:
    await soon(documented.run(documented.CUSTOM_WRITER)["custom_task"]())

    assert read([capsys.readouterr().out]) == [
        ("content", {"message": "hello"}),
        ("done", {"status": "complete"}),
    ]


async def test_a_context_can_be_read_and_set() -> None:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    writer = MyStreamWriter(queue, asyncio.get_running_loop())

    def use() -> None:
        names = documented.run(documented.CONTEXT, writer=writer)
        assert names["context"] == {}
        send_queue({"content": "a"}, "content")

    contextvars.copy_context().run(use)
    await eventually(lambda: not queue.empty())

    assert read([queue.get_nowait()]) == [("content", {"content": "a"})]
    assert task_context.get() == {}


async def test_a_frame_written_as_text_is_an_event(hub: OpenHub) -> None:
    async def task() -> None:
        writer = task_context.get()["stream_writer"]
        assert isinstance(writer, MyStreamWriter)
        writer.write('event: content\ndata: {"message": "hello"}\n\n')
        writer.write("no frame")

    assert await told(task) == [
        ("content", {"message": "hello"}),
        ("message", "no frame"),
        succeeded(),
    ]


async def test_a_context_has_what_the_caller_gave(hub: OpenHub) -> None:
    async def task(x: int, *, y: int) -> Any:
        return [x, y, task_context.get()["conversation_id"]]

    queue = create_queue_task(task, 1, y=2, context_data={"conversation_id": "c"})

    assert read(await frames_of(queue)) == [succeeded([1, 2, "c"])]


async def test_any_run_may_send(hub: OpenHub) -> None:
    async def work() -> None:
        send_queue({"content": "a"}, "content")
        send_queue({"result": 1}, "done")

    run = await hub.start(work)
    events = await events_of(hub, run.run_id)

    assert [(event.type, event.data) for event in events[1:]] == [
        ("content", {"text": "a"}),
        ("done", {"result": 1}),
    ]


async def test_what_was_sent_is_read_from_every_store(store: Store) -> None:
    async def task() -> None:
        for number in range(300):
            send_queue({"content": number}, "content")
            if number % 100 == 0:
                await runcast.flush()

    async with runcast.open_hub(store) as hub:
        found = await told(task, hub=hub)

    assert [payload.get("content") for _, payload in found] == [*range(300), None]


async def test_a_hub_is_made_where_none_was_given() -> None:
    async def task() -> None:
        send_queue({"content": "a"}, "content")

    try:
        assert await told(task) == [("content", {"content": "a"}), succeeded()]
    finally:
        await close_hub()


# --- what must not happen -------------------------------------------------------------------------


async def test_one_users_events_never_reach_another(hub: OpenHub) -> None:
    users = [f"user-{number}" for number in range(20)]

    async def task(user: str) -> None:
        for step in range(10):
            await asyncio.sleep(0)
            send_queue({"content": f"{user} {step}"}, "content")
            await asyncio.to_thread(send_queue, {"content": f"{user} {step} t"}, "content")

    found = await asyncio.gather(*(told(task, user) for user in users))

    for user, frames in zip(users, found, strict=True):
        texts = [payload["content"] for name, payload in frames if name == "content"]
        assert texts == [text for n in range(10) for text in (f"{user} {n}", f"{user} {n} t")]


async def test_sending_without_a_task_neither_fails_nor_leaves_a_trace() -> None:
    send_queue({"content": "nobody"}, "content")

    assert task_context.get() == {}
    assert task_context.get().get("stream_writer") is None
    with pytest.raises(InvalidValue, match="expected a task"):
        task_context.get()["stream_writer"] = "for everybody"


async def test_a_task_that_raises_does_not_end_as_if_all_were_well(hub: OpenHub) -> None:
    async def task() -> None:
        send_queue({"content": "a"}, "content")
        raise ValueError("secret")

    assert await told(task) == [
        ("content", {"content": "a"}),
        (
            "error",
            {
                "error": "the function raised ValueError",
                "code": "function_error",
                "retryable": False,
            },
        ),
    ]


async def test_a_thread_of_a_pool_does_not_lose_its_task(hub: OpenHub) -> None:
    async def task(pool: ThreadPoolExecutor, name: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(pool, bind(send_queue), {"content": name}, "content")

    with ThreadPoolExecutor(1) as pool:
        found = await asyncio.gather(*(told(task, pool, name) for name in "abc"))

    assert [frames[0] for frames in found] == [("content", {"content": name}) for name in "abc"]


@pytest.mark.parametrize("payload", [{"x": object()}, {"x": {1j}}, object()])
async def test_what_json_cannot_hold_is_not_lost_in_silence(hub: OpenHub, payload: Any) -> None:
    async def task() -> str:
        with pytest.raises(InvalidValue):
            send_queue(payload, "content")
        with pytest.raises(InvalidValue):
            send_queue(payload, "done")
        return "the task goes on"

    assert await told(task) == [succeeded("the task goes on")]


async def test_nan_does_not_make_invalid_json(hub: OpenHub) -> None:
    async def task() -> None:
        send_queue({"p": float("nan")}, "content")

    frames = await frames_of(create_queue_task(task))

    assert "NaN" not in "".join(frames)
    assert read(frames)[0] == ("content", {"p": None})


FORGED = 'line1\n\nevent: done\ndata: {"forged": true}\n\n'


async def test_a_newline_cannot_forge_a_frame(hub: OpenHub) -> None:
    async def task() -> None:
        send_queue(FORGED, "message")
        send_queue({"content": FORGED.replace("\n", "\r")}, "content")

    assert await told(task) == [
        ("message", FORGED),
        ("content", {"content": FORGED.replace("\n", "\r")}),
        succeeded(),
    ]


async def test_a_newline_cannot_forge_a_frame_of_a_writer_of_ones_own() -> None:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    MyStreamWriter(queue, asyncio.get_running_loop()).send(FORGED, "message")

    assert read([await soon(queue.get())]) == [("message", FORGED)]


@pytest.mark.parametrize("name", ["a\nevent: b", "a\r", "", "UPPER", "x" * 65, None, 3])
async def test_a_name_cannot_inject_a_field(hub: OpenHub, name: Any) -> None:
    async def task() -> None:
        with pytest.raises(InvalidValue):
            send_queue({}, name)

    assert await told(task) == [succeeded()]


async def test_a_client_that_leaves_leaves_nothing_that_grows(hub: OpenHub) -> None:
    async def task() -> None:
        for number in range(1000):
            send_queue({"content": str(number)}, "content")
            await runcast.drain()

    queue = create_queue_task(task)
    await soon(queue.get())
    events = await events_of(hub, queue.run_id)

    assert len(events) == 1002
    assert queue.qsize() < 1000
    assert hub.hub.statistics().watchers == 0
    assert len(await frames_of(queue)) == 1000, "what was not read is in the log"


async def test_a_client_that_leaves_does_not_keep_its_task_at_work(hub: OpenHub) -> None:
    cleaned_up = asyncio.Event()

    async def work() -> None:
        try:
            send_queue({"content": "a"}, "content")
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    app = FastAPI()

    @app.get("/")
    async def serve() -> StreamingResponse:
        queue = create_queue_task(work)

        async def generate() -> AsyncIterator[str]:
            try:
                while (frame := await queue.get()) is not None:
                    yield frame
            finally:
                queue.cancel("the client left")

        return StreamingResponse(generate(), media_type="text/event-stream")

    async with serving(app) as address:
        async with watch(address, "/") as watching:
            await watching.read_until(b"event: content")
            run_id = (await hub.hub.store.list())[0].log_id
        await soon(cleaned_up.wait())

    assert (await events_of(hub, run_id))[-1] == Event(
        seq=3, time=hub.clock.time(), type="cancelled", data={"reason": "the client left"}
    )


async def test_a_task_that_nobody_holds_is_not_collected(hub: OpenHub) -> None:
    go, run_ids = asyncio.Event(), []

    async def task() -> str:
        await go.wait()
        return "done all the same"

    run_ids.append(create_queue_task(task).run_id)
    gc.collect()
    await eventually(lambda: run_ids[0] in hub.runner.runs)
    gc.collect()
    go.set()

    assert (await events_of(hub, run_ids[0]))[-1].data == {"result": "done all the same"}


async def test_a_task_is_not_out_of_reach(hub: OpenHub) -> None:
    async def task() -> None:
        await asyncio.Event().wait()

    queue = create_queue_task(task)
    queue.cancel("enough")

    assert read(await frames_of(queue)) == [("error", {"error": "enough", "code": "cancelled"})]
    assert (await hub.present(queue.run_id))[1].status == "cancelled"


def test_outside_a_loop_the_error_says_so() -> None:
    async def task() -> None: ...

    with pytest.raises(InvalidValue, match="expected a running event loop"):
        create_queue_task(task)


def test_a_write_after_its_loop_is_closed_does_not_raise(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    writer = MyStreamWriter(asyncio.Queue(), loop)
    loop.close()

    writer.write("late")
    writer.close()

    assert writer.dropped == 1
    assert "late" not in caplog.text


async def test_nothing_waits_behind_the_end(hub: OpenHub) -> None:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    writer = MyStreamWriter(queue, asyncio.get_running_loop())
    writer.write("a")
    writer.close()
    writer.close()
    writer.write("late")

    assert await frames_of(queue) == ["a"]
    await asyncio.sleep(0)
    assert queue.empty()
    assert writer.dropped == 1

    async def task() -> MyStreamWriter:
        return cast("MyStreamWriter", task_context.get()["stream_writer"])

    kept: list[MyStreamWriter] = []

    async def keeps() -> None:
        kept.append(await task())

    assert await told(keeps) == [succeeded()]
    kept[0].write("event: content\ndata: {}\n\n")
    assert kept[0].dropped == 1


async def test_a_full_queue_of_ones_own_is_not_silent() -> None:
    queue: asyncio.Queue[Any] = asyncio.Queue(1)
    writer = MyStreamWriter(queue, asyncio.get_running_loop())
    writer.write("a")
    writer.write("b")
    await eventually(lambda: writer.dropped == 1)

    assert queue.get_nowait() == "a"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([], ["done"]),
        (["end"], ["end", "done"]),
        (["done"], ["done"]),
        (["done", "log"], ["log", "done"]),
        (["done", "done"], ["result", "done"]),
        (["error"], ["error"]),
        (["error", "log"], ["error", "log", "done"]),
        (["error", "done"], ["error", "done"]),
        (["done", "error"], ["result", "error"]),
    ],
)
async def test_a_stream_never_has_two_endings_or_none(
    hub: OpenHub, sent: list[str], expected: list[str]
) -> None:
    async def task() -> None:
        for name in sent:
            send_queue({"message": name}, name)

    queue = create_queue_task(task)
    found = read(await frames_of(queue))

    assert [name for name, _ in found] == expected
    ends = [event.type for event in await events_of(hub, queue.run_id)]
    assert ends[-1] == ("done" if expected[-1] == "done" else "failed")


async def test_an_outcome_that_was_sent_is_not_lost_when_the_task_raises(hub: OpenHub) -> None:
    async def task() -> None:
        send_queue({"result": 7}, "done")
        raise ValueError

    found = await told(task)

    assert [name for name, _ in found] == ["result", "error"]
    assert found[0][1] == {"result": 7, "value": 7}


@pytest.mark.parametrize("name", ["done", "error", "failed"])
async def test_an_outcome_that_is_too_large_does_not_fail_the_run(name: str) -> None:
    async def task() -> str:
        with pytest.raises(EventTooLarge):
            send_queue({"result": "x" * 50_000, "message": "x" * 50_000}, name)
        send_queue({"result": "x" * 5_000, "message": "it broke"}, name)
        send_queue("it was survived", "log")
        return "the task goes on"

    async with runcast.open_hub(settings=Settings(max_event_bytes=12_000)) as hub:
        found = await told(task, hub=hub)

    if name == "done":  # what was sent as the outcome is
        assert [kind for kind, _ in found] == ["log", "done"]
        assert len(found[-1][1]["result"]) == 5_000
    else:
        assert [kind for kind, _ in found] == ["error", "log", "done"]
        assert found[-1] == succeeded("the task goes on")


@pytest.mark.parametrize("name", ["done", "error"])
async def test_an_outcome_that_fits_is_not_refused_for_its_size(name: str) -> None:
    text = "x" * (2 << 20)

    async def task() -> None:
        send_queue({"result": text} if name == "done" else text, name)

    async with runcast.open_hub(settings=Settings(max_event_bytes=4 << 20)) as hub:
        ((kind, payload),) = await told(task, hub=hub)

    assert (kind, payload["result" if name == "done" else "error"]) == (name, text)


async def test_an_outcome_that_another_follows_is_not_lost_for_its_size() -> None:
    async def task() -> None:
        send_queue({"result": "x" * 7_000}, "done")
        send_queue({"result": 2}, "done")

    async with runcast.open_hub(settings=Settings(max_event_bytes=10_000)) as hub:
        found = await told(task, hub=hub)

    assert found == [("result", {"value": "x" * 7_000}), succeeded(2)]


async def test_an_outcome_does_not_change_after_it_was_sent(hub: OpenHub) -> None:
    async def task() -> None:
        sent: dict[str, Any] = {"result": [1]}
        send_queue(sent, "done")
        sent["result"].append(object())

    assert await told(task) == [succeeded([1])]


def test_a_frame_that_no_run_stands_behind_has_no_limit() -> None:
    assert framed("content", "x" * (2 << 20)).startswith('event: content\ndata: "xxx')


@pytest.mark.parametrize(
    "error",
    [
        "it broke",
        {"error": "it broke"},
        {"message": "it broke"},
        {"type": "error", "message": "it broke"},
    ],
)
async def test_an_error_is_not_told_in_three_shapes(hub: OpenHub, error: Any) -> None:
    async def task() -> None:
        send_queue(error, "error")

    queue = create_queue_task(task)
    ((name, payload),) = read(await frames_of(queue))

    assert (name, payload["error"]) == ("error", "it broke")
    assert (await events_of(hub, queue.run_id))[-1].data["message"] == "it broke"


async def test_a_reconnection_neither_loses_frames_nor_runs_the_task_again(hub: OpenHub) -> None:
    calls = []

    async def task() -> None:
        calls.append(1)
        for number in range(5):
            send_queue({"content": str(number)}, "content")

    queue = create_queue_task(task)
    found = sse.Decoder().feed("".join(await frames_of(queue)).encode())
    async with serving(
        await asyncio.to_thread(runcast.asgi, hub, authorize=runcast.everyone)
    ) as address:
        path = f"/runs/{queue.run_id}/events?dialect=named"
        async with watch(address, path, {"Last-Event-ID": found[2].id}) as watching:
            again = await watching.rest()

    assert again == found[3:]
    assert calls == [1]


async def test_a_post_may_answer_where_the_stream_is(hub: OpenHub) -> None:
    example = documented.run(documented.EXECUTE_TOOL)
    example["asyncio"] = NO_SLEEP
    app = FastAPI()

    @app.post("/tools/{tool_name}")
    async def execute(tool_name: str) -> str:
        return await create_queue_task(example["execute_tool_task"], tool_name, {}).begun()

    app.mount("/runcast", await asyncio.to_thread(runcast.asgi, hub, authorize=runcast.everyone))
    async with serving(app) as address:
        run_id = (await fetch(address, "POST", "/tools/resize")).json()
        async with watch(address, f"/runcast/runs/{run_id}/events?dialect=named") as watching:
            names = [event.event for event in await watching.rest()]

    assert names == ["started", *["progress"] * 5, "done"]


async def test_payloads_are_not_logged(hub: OpenHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")

    async def task() -> None:
        send_queue({"content": "top-secret"}, "content")
        raise ValueError

    await told(task, context_data={"key": "top-secret"})

    assert "top-secret" not in caplog.text


async def test_silence_is_not_mistaken_for_a_broken_connection() -> None:
    go = asyncio.Event()

    async def task() -> None:
        await go.wait()

    async with runcast.open_hub(settings=Settings(heartbeat_s=0.01)) as hub:
        queue = create_queue_task(task, hub=hub)
        assert await soon(queue.get()) == ": hb\n"
        go.set()
        assert read(await frames_of(queue)) == [succeeded()]


async def test_two_consumers_do_not_wait_for_one_end(hub: OpenHub) -> None:
    async def task() -> None:
        for number in range(50):
            send_queue({"content": number}, "content")

    queue = create_queue_task(task)
    one, two = await asyncio.gather(frames_of(queue), frames_of(queue))

    assert len(one) + len(two) == 51
    assert await soon(queue.get()) is None


async def test_a_run_that_cannot_begin_is_told() -> None:
    async def task() -> None: ...

    async with runcast.open_hub(settings=Settings(max_runs=1, max_queue=0)) as hub:
        waiting = create_queue_task(asyncio.Event().wait, hub=hub)
        await eventually(lambda: bool(hub.runner.runs))
        ((name, payload),) = read(await frames_of(create_queue_task(task, hub=hub)))
        waiting.cancel()

    assert (name, payload["code"]) == ("error", "overloaded")


async def test_a_queue_can_be_polled(hub: OpenHub) -> None:
    async def task() -> None:
        send_queue({"content": "a"}, "content")

    queue = create_queue_task(task)
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()
    await eventually(lambda: not queue.empty())

    assert read([cast("str", queue.get_nowait())]) == [("content", {"content": "a"})]
    with pytest.raises(InvalidValue, match="send_queue"):
        await queue.put(None)


async def test_saying_that_a_frame_is_dealt_with_does_not_fail(hub: OpenHub) -> None:
    async def task() -> None:
        for number in range(3):
            send_queue({"content": number}, "content")

    queue = create_queue_task(task)
    joining = asyncio.create_task(queue.join())
    for _ in range(4):
        assert await soon(queue.get()) is not None
        assert not joining.done()
        queue.task_done()
    assert await soon(queue.get()) is None
    queue.task_done()  # as for anything else that `get` gave

    await soon(joining)
    await soon(queue.join())


async def test_joining_does_not_wait_for_the_end_to_be_dealt_with(hub: OpenHub) -> None:
    async def task() -> None: ...

    queue = create_queue_task(task)
    with pytest.raises(ValueError, match="task_done"):
        queue.task_done()
    async for _ in _until_none(queue):
        queue.task_done()

    await soon(queue.join())


async def _until_none(queue: "asyncio.Queue[str | None]") -> AsyncIterator[str]:
    while (frame := await soon(queue.get())) is not None:
        yield frame


async def test_joining_does_not_end_before_its_task(hub: OpenHub) -> None:
    go = asyncio.Event()

    async def task() -> None:
        send_queue({"content": "a"}, "content")
        await go.wait()

    queue = create_queue_task(task)
    await soon(queue.get())
    queue.task_done()
    joining = asyncio.create_task(queue.join())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not joining.done()
    go.set()
    async for _ in _until_none(queue):
        queue.task_done()

    await soon(joining)


def test_threads_of_many_tasks_keep_their_order() -> None:
    """Twenty tasks, each with a thread that says a hundred things."""

    async def work(name: str) -> list[Any]:
        def speak() -> None:
            for number in range(100):
                send_queue({"content": f"{name} {number}"}, "content")

        async def task() -> None:
            thread = threading.Thread(target=bind(speak))
            thread.start()
            await asyncio.to_thread(thread.join, WAIT_S)

        return [payload["content"] for kind, payload in await told(task) if kind == "content"]

    async def live() -> list[list[Any]]:
        try:
            return await asyncio.gather(*(work(f"t{number}") for number in range(20)))
        finally:
            await close_hub()

    assert asyncio.run(live()) == [
        [f"t{name} {number}" for number in range(100)] for name in range(20)
    ]


async def test_an_error_is_told_although_what_followed_it_was_refused(store: Store) -> None:
    faulty = FaultyStore(store)
    narrow = Settings(pending_bytes_per_run=2000, max_event_bytes=1000)

    async def task() -> None:
        send_queue({"error": "survived"}, "error")
        faulty.hold()
        with suppress(Overloaded):
            while True:
                runcast.emit("filler")
        for name in ("progress", "done"):
            with pytest.raises(Overloaded):
                send_queue({"message": "refused"}, name)
        faulty.release()
        await runcast.flush()
        send_queue({"message": "taken"}, "step")

    async with runcast.open_hub(faulty, settings=narrow) as hub:
        frames = [frame for frame in await told(task, hub=hub) if frame[0] != "filler"]

    assert [name for name, _ in frames] == ["error", "step", "done"]
    assert frames[0][1]["error"] == "survived"
