"""The pages of the documents that compat stands in for, in a real browser."""

import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, StreamingResponse

import runcast
from runcast._app import OpenHub
from runcast.compat import using_hub
from runcast.compat.stream_manager import create_sse_generator, stream_manager
from runcast.compat.stream_writer_util import create_queue_task
from runcast.compat.writer import StreamWriter
from tests.browser.chromium import Page
from tests.compat import documented
from tests.compat.test_stream_writer_util import NO_SLEEP

pytestmark = pytest.mark.heavy

WAIT_S = 15.0


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve an application in a thread; give its address."""
    ready = threading.Event()

    class Told(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            ready.set()

    server = Told(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(WAIT_S)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(WAIT_S)
        assert not thread.is_alive()


def application(script: str) -> tuple[FastAPI, OpenHub]:
    """Return an application with one page, and its hub, which it serves too."""
    hub = OpenHub()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with using_hub(hub):
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/", response_class=HTMLResponse)
    def page() -> str:
        return f"<!doctype html><link rel=icon href='data:,'><script>{script}</script>"

    app.mount("/runcast", runcast.asgi(hub, authorize=runcast.everyone))
    return app, hub


HEARD = """
const told = [];
const updateProgress = percent => told.push(percent);
const log = console.log;
console.log = (...words) => { told.push(words); log(...words); };
"""


def test_the_documented_page_hears_a_tool_at_work(page: Page) -> None:
    app, _ = application(HEARD + documented.API_CLIENT)
    example = documented.run(documented.EXECUTE_TOOL)
    example["asyncio"] = NO_SLEEP
    calls = []

    @app.get("/api/tools/{tool_name}/execute")  # EventSource cannot post
    async def execute(tool_name: str) -> StreamingResponse:
        calls.append(tool_name)
        response: StreamingResponse = await example["execute_tool"](tool_name, {})
        return response

    with serving(app) as url:
        page.go(url + "/")
        page.until("told.length === 6")
        page.until("eventSource.readyState === EventSource.CLOSED")

        assert page.get("told") == [
            20,
            40,
            60,
            80,
            100,
            ["Completed:", {"result": "success", "output": "完成"}],
        ]
    assert calls == ["my_tool"], "the browser did not come back to run it again"


def test_a_task_that_raises_is_heard_as_an_error(page: Page) -> None:
    page.expected = "Error:"
    app, _ = application(HEARD + documented.API_CLIENT)
    calls = []

    @app.get("/api/tools/{tool_name}/execute")
    async def execute(tool_name: str) -> StreamingResponse:
        async def task() -> None:
            calls.append(tool_name)
            raise ValueError

        async def generate() -> AsyncIterator[str]:
            queue = create_queue_task(task)
            while (frame := await queue.get()) is not None:
                yield frame

        return StreamingResponse(generate(), media_type="text/event-stream")

    with serving(app) as url:
        page.go(url + "/")
        page.until("eventSource.readyState === EventSource.CLOSED")

    assert calls == ["my_tool"]
    assert any("the function raised ValueError" in complaint for complaint in page.complaints)


def test_a_page_hears_a_stream_by_its_task(page: Page) -> None:
    app, _ = application("""
        const told = [];
        const source = new EventSource("/stream/t");
        source.onmessage = event => {
            const data = JSON.parse(event.data);
            told.push(data.content ?? data.type);
            if (data.type === "connection_end") source.close();
        };
    """)

    @app.get("/stream/{task_id}")
    async def stream(task_id: str) -> StreamingResponse:
        return StreamingResponse(create_sse_generator(task_id), media_type="text/event-stream")

    @app.get("/begin/{task_id}")
    async def begin(task_id: str) -> None:
        await stream_manager.create_stream(task_id)
        for content in ("分析", "a\n\ndata: forged"):
            await stream_manager.publish_event(task_id, "thought", "Writer", content)
        await stream_manager.publish_event(task_id, "end", "Writer", "完成")

    with serving(app) as url:
        page.go(url + "/")
        page.until("source.readyState === EventSource.OPEN")
        page.get("fetch('/begin/t')")
        page.until("source.readyState === EventSource.CLOSED")
        told = page.get("told")
    stream_manager.streams.clear()

    assert told == ["分析", "a\n\ndata: forged", "完成", "connection_end"]


def without_types(code: str) -> str:
    """Return TypeScript as JavaScript; it knows what the documents use, and no more."""
    for pattern, plain in (
        (r"\bprivate ", ""),
        (r"<string, string>", ""),
        (r" as \w+Message\b", ""),
        (r"\(message: \w+\)", "(message)"),
        (r"state: AppState", "state"),
        (r"\.get\(key\)!", ".get(key)"),
    ):
        code = re.sub(pattern, plain, code)
    return code


WATCHES = """
const shown = [];
class Shown extends StreamMessageProcessor {
  showStepStart(m) { shown.push(['step', m.content]); }
  updateProgress(m) { shown.push(['progress', m.progress]); }
  updateContentDisplay(key, text) { shown.push([key, text]); }
  showToolCall(m) { shown.push(['call', m.tool_name, m.args.query]); }
  showToolResult(m) { shown.push(['result', m.content, m.length]); }
  showFinalResult(m) { shown.push(['final', m.content, m.is_final]); }
  showError(m) { shown.push(['error', m.content, m.error_type]); }
  sendInterruptResponse(id, approved) {
    fetch(`/runcast/runs/r/interrupts/${id}`, {
      method: 'POST',
      headers: {'Content-Type': 'application/json'},
      body: JSON.stringify({approved}),
    });
  }
}
const confirm = text => { shown.push(['asked', text]); return true; };
const processor = new Shown(), manager = new StateManager();
const watch = () => {
  const source = new EventSource('/runcast/runs/r/events?dialect=flat');
  source.onmessage = event => {
    const message = JSON.parse(event.data);
    processor.processMessage(message);
    manager.updateFromMessage(message);
    if (message.message_type === 'final_result') source.close();
  };
};
"""


def test_the_documented_processors_understand_flat_messages(page: Page) -> None:
    code = without_types(documented.MESSAGE_PROCESSOR + documented.STATE_MANAGER)
    app, hub = application(code + WATCHES)

    async def work() -> Any:
        writer = StreamWriter("research", "research")
        writer.step_start("开始")
        writer.step_progress("half", 50)
        writer.tool_call("web_search", {"query": "tides"})
        writer.tool_result("web_search", "15 hits")
        for piece in ("深度", " ", "研究"):
            writer.content_streaming(piece)
        writer.error("slow", "NetworkTimeout")
        answer = await runcast.ask("是否继续？", action="search", interrupt_id="i-1")
        StreamWriter("report").final_result(f"approved: {answer.approved}", {"sections": 5})

    @app.get("/begin")
    async def begin() -> None:
        await hub.start(work, run_id="r")

    with serving(app) as url:
        page.go(url + "/")
        page.get("fetch('/begin').then(watch)")
        page.until("manager.state.isComplete")
        shown = page.get("shown")
        state = page.get("({...manager.state, activeAgents: [...manager.state.activeAgents]})")

    assert shown == [
        ["step", "开始"],
        ["progress", 50],
        ["call", "web_search", "tides"],
        ["result", "15 hits", 7],
        ["research_research", "深度"],
        ["research_research", "深度 "],
        ["research_research", "深度 研究"],
        ["error", "slow", "NetworkTimeout"],
        ["asked", "是否继续？"],
        ["final", "approved: True", True],
    ]
    assert json.dumps(state, ensure_ascii=False).startswith(
        '{"currentStep": "开始", "progress": 50'
    )
    assert state["activeAgents"] == ["research"]
