"""The guide for streaming functions works as it is written, and what is wrong with it is mended."""

import ast
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runcast._app import OpenHub, open_hub
from runcast._functions.manifest import (
    InvalidManifest,
    ManifestFunction,
    load_manifest,
    parse_manifest,
)
from runcast._settings import Settings
from runcast.testing import check_events
from tests.http.serving import Server, serving_here, serving_in_thread
from tests.manifests.writing import CLIENT, KEY, declare, make_guide, parameter, write_manifest

LONG_S = 20.0

SETTINGS = Settings(warm_processes=0, shutdown_grace_s=0.0, cancel_grace_s=0.1)


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_guide(tmp_path_factory.mktemp("guide"))


@pytest.fixture
async def server(guide: Path) -> AsyncIterator[Server]:
    functions = await load(guide)
    async with serving_here(functions=functions, settings=SETTINGS) as server:
        yield server


async def load(folder: Path) -> list[ManifestFunction]:
    return await asyncio.to_thread(load_manifest, folder)


async def invoke(server: Server, name: str, **inputs: Any) -> list[dict[str, Any]]:
    """Return the frames of an invocation."""
    body = json.dumps({"inputs": inputs, "_secrets": {"OPENAI_API_KEY": KEY}}).encode()
    answer = await asyncio.wait_for(server.post(f"/invoke/{name}", body), LONG_S)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "text/event-stream"
    return [
        json.loads(line.removeprefix(b"data: "))
        for line in answer.body.splitlines()
        if line.startswith(b"data: ")
    ]


# --- its examples ---------------------------------------------------------------------------------


async def test_the_quick_start(server: Server) -> None:
    frames = await invoke(server, "my_stream_function", param="test")
    check_events(frames)
    assert frames[0] == {"type": "start", "data": {"param": "test"}}
    assert frames[1]["data"] == {"current": 1, "total": 5, "percentage": 20}
    assert frames[-1] == {"type": "done", "data": {"status": "completed"}}
    assert len(frames) == 7


async def test_reporting_progress(server: Server) -> None:
    frames = await invoke(server, "batch_process", items=["a", 2])
    check_events(frames)
    assert [frame["type"] for frame in frames] == ["start", "progress", "progress", "done"]
    assert frames[1]["data"] == {
        **{"current": 1, "total": 2, "percentage": 50},
        **{"item": "a", "result": "a"},
    }
    assert frames[-1]["data"] == {"total": 2, "message": "所有项目处理完成"}


async def test_streaming_a_language_model(server: Server) -> None:
    messages = [{"role": "user", "content": "one two"}]
    frames = await invoke(server, "chat_stream", messages=messages)
    check_events(frames)
    assert frames == [
        {"type": "start", "data": {"model": "gpt-4o-mini"}},
        {"type": "content", "data": "one "},
        {"type": "content", "data": "two "},
        {"type": "done", "data": {"finish_reason": "stop"}},
    ]


async def test_reading_a_large_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "large.txt").write_text("line\n" * 250)
    frames = await invoke(server, "process_large_file", filepath=str(tmp_path / "large.txt"))
    check_events(frames)
    assert [frame["data"].get("percentage") for frame in frames] == [None, 40, 80, None]
    frames = await invoke(server, "process_large_file", filepath="not there")
    check_events(frames)
    assert [frame["error_code"] for frame in frames] == ["FILE_ERROR"]


async def test_handling_errors(server: Server) -> None:
    frames = await invoke(server, "safe_stream", param="x")
    # What it yields first is `{"data": {...}}`, which JSON cannot hold: it is told so there.
    check_events(frames)
    assert [frame["error_code"] for frame in frames] == ["UNEXPECTED_ERROR"]


async def test_managing_resources(server: Server) -> None:
    frames = await invoke(server, "stream_with_resources")
    check_events(frames)
    assert [frame["data"] for frame in frames if frame["type"] == "progress"] == [0, 1, 2]
    assert frames[-2]["data"]["message"] == "the connection is closed"


async def test_controlling_how_often(server: Server) -> None:
    frames = await invoke(server, "controlled_stream", items=list(range(10)))
    assert [frame["data"] for frame in frames[:-1]] == [{"percentage": n * 10} for n in range(10)]


async def test_yielding_batches(server: Server) -> None:
    frames = await invoke(server, "batch_yield", items=[1, 2, 3], batch_size=2)
    check_events(frames)
    assert [frame["data"]["batch"] for frame in frames[:-1]] == [[1, 2], [3]]


async def test_flushing(server: Server) -> None:
    frames = await invoke(server, "buffered_stream")
    check_events(frames)
    assert len(frames) == 101


def test_the_client_of_the_guide_prints_the_progress(guide: Path, tmp_path: Path) -> None:
    with serving_in_thread(
        "direct-httptools-uvloop", functions=load_manifest(guide), settings=SETTINGS
    ) as server:
        script = tmp_path / "client.py"
        address = f"http://127.0.0.1:{server.port}"
        script.write_text(CLIENT.replace("http://factory:8000", address), "utf-8")
        printed = subprocess.run(
            [sys.executable, script],
            capture_output=True,
            check=True,
            timeout=LONG_S,
            env={**os.environ, "PYTHONUTF8": "1"},
        )
    assert printed.stdout.decode().split() == [
        *(word for n in (20, 40, 60, 80, 100) for word in ("进度:", f"{n}%")),
        "完成!",
    ]


# --- what it says of functions --------------------------------------------------------------------


async def test_plain_functions_answer_json_and_any_can_be_begun(tmp_path: Path) -> None:
    code = "def plus(a: int, b: int = 2):\n    return a + b\n"
    plus = declare(
        "plus",
        parameter("a", "integer"),
        parameter("b", "integer", required=False),
        streaming=False,
    )
    functions = await load(write_manifest(tmp_path, code, plus))
    async with serving_here(functions=functions, settings=SETTINGS) as server:
        answer = await server.post("/invoke/plus", b'{"inputs": {"a": 1}}')
        assert answer.status == 200
        assert json.loads(answer.body)["result"] == 3
        begun = await server.post("/invoke/plus", b'{"inputs": {"a": 1}}', PREFER)
        assert begun.status == 202
        assert begun.headers["location"].startswith("/runs/")


PREFER = {"Prefer": "respond-async"}


async def test_async_generators_work_too(tmp_path: Path) -> None:
    code = "async def tell(n: int):\n    for i in range(n):\n        yield str(i)\n"
    functions = await load(
        write_manifest(tmp_path, code, declare("tell", parameter("n", "integer")))
    )
    async with serving_here(functions=functions, settings=SETTINGS) as server:
        frames = await invoke(server, "tell", n=2)
    assert [frame["data"] for frame in frames] == ["0", "1", None]


# --- its defects ----------------------------------------------------------------------------------

WAITING = """
import os, time

def wait():
    try:
        yield {"type": "start", "data": {"pid": os.getpid()}}
        while True:
            yield None
            time.sleep(0.001)
    finally:
        print("closed", flush=True)
"""


async def test_a_generator_that_nobody_watches_is_not_left_unclosed(tmp_path: Path) -> None:
    functions = await load(write_manifest(tmp_path, WAITING, declare("wait")))
    settings = Settings(warm_processes=0, shutdown_grace_s=0.0)
    async with serving_here(functions=functions, settings=settings) as server:
        body = b'{"inputs": {}, "run_id": "left", "on_disconnect": "cancel"}'
        headers = {"Content-Type": "application/json"}
        async with server.watch("/invoke/wait", headers, method="POST", body=body) as watching:
            assert (await watching.json())["type"] == "start"
        events = await asyncio.wait_for(_all(server.hub, "left"), LONG_S)
    assert [event.type for event in events[-2:]] == ["log", "cancelled"]
    assert events[-2].data["message"] == "closed"


async def _all(hub: OpenHub, run_id: str) -> list[Any]:
    return [event async for event in hub.watch(run_id)]


async def test_a_stream_is_not_gathered_before_it_is_sent(tmp_path: Path) -> None:
    functions = await load(write_manifest(tmp_path, WAITING, declare("wait")))
    async with serving_here(functions=functions, settings=SETTINGS) as server:
        headers = {"Content-Type": "application/json"}
        async with server.watch("/invoke/wait", headers, method="POST", body=b"{}") as watching:
            first = await asyncio.wait_for(watching.json(), LONG_S)
            assert first["type"] == "start"  # while the function goes on


async def test_progress_without_a_percentage_does_not_break_the_client(tmp_path: Path) -> None:
    code = "def f():\n    yield {'type': 'progress', 'data': {'current': 1, 'total': 4}}\n"
    functions = await load(write_manifest(tmp_path, code, declare("f")))
    async with serving_here(functions=functions, settings=SETTINGS) as server:
        frames = await invoke(server, "f")
    assert frames[0]["data"] == {"percentage": 25.0, "current": 1, "total": 4}


def test_the_check_of_events_does_not_refuse_the_guides_own_events() -> None:
    check_events(
        [
            {"type": "start", "data": {"total_lines": 250}},
            {"type": "progress", "data": {"processed": 100, "total": 250, "percentage": 40}},
            {"type": "progress", "data": {"batch": [1], "index": 0}},
            {"type": "done", "data": {"processed": 250}},
        ]
    )


async def test_a_stream_that_never_says_done_is_not_left_without_an_end(server: Server) -> None:
    frames = await invoke(server, "controlled_stream", items=[1, 2])
    assert frames[-1] == {"type": "done", "data": None}
    check_events(frames)


def test_a_comment_does_not_make_a_manifest_unreadable(tmp_path: Path) -> None:
    folder = write_manifest(tmp_path, "def my_stream_function(param):\n    yield param\n")
    text = """{
      "functions": [
        {
          "name": "my_stream_function",
          "streaming": true,  // 👈 关键配置
          "description": "see http://example.com/ /* not a comment */",
          /* an input */
          "parameters": [{"name": "param", "type": "string", "required": true}],
          "returns": {"type": "object", "description": "SSE"}
        }
      ]
    }"""
    (function,) = parse_manifest(text, folder / "prefab-manifest.json")
    assert function.is_streaming
    assert function.description == "see http://example.com/ /* not a comment */"


@pytest.mark.parametrize(
    ("code", "streaming", "problem"),
    [
        ("def f(): yield 1", False, "functions[0].streaming: false, but the function yields"),
        ("async def f():\n  if 1: yield 1", False, "functions[0].streaming: false, but"),
        ("def f(): return 1", True, "functions[0].streaming: true, but the function does not"),
        ("def f():\n  def g(): yield 1\n  return [1]", True, "functions[0].streaming: true, but"),
    ],
)
def test_a_wrong_flag_for_streaming_is_not_overlooked(
    tmp_path: Path, code: str, streaming: bool, problem: str
) -> None:
    folder = write_manifest(tmp_path, code, declare("f", streaming=streaming))
    with pytest.raises(InvalidManifest) as raised:
        load_manifest(folder)
    assert problem in raised.value.message


@pytest.mark.parametrize(
    "code",
    [
        "async def f(*, a, b=1): yield a",
        "def f(a, **more): yield a",
        "def g(a): yield a\ndef f(a): return g(a)",
        "from helpers import f",
        "import functools\n@functools.cache\ndef f(b): return 1",
        "try:\n    from helpers import f\nexcept ImportError:\n    def f(): yield 1",
        "f = lambda a: iter([a])",
    ],
)
def test_code_that_fits_is_not_refused(tmp_path: Path, code: str) -> None:
    load_manifest(write_manifest(tmp_path, code, declare("f", parameter("a", "integer"))))


FAILING = """
def leaky():
    try:
        yield {"type": "start", "data": {}}
        raise RuntimeError("the password is hunter2")
    finally:
        print("released", flush=True)

def odd():
    yield {"type": "start", "data": {}}
    yield 5
    yield {"no": "type"}
    yield {"type": "progress", "data": object()}

def silent():
    yield {"type": "progress", "data": {"percentage": 10}}
    yield {"type": "error", "data": "not found", "error_code": "NOT_FOUND"}

def late():
    yield {"type": "done", "data": 1}
    yield {"type": "progress", "data": {"percentage": 10}}
"""


@pytest.fixture
async def failing(tmp_path: Path) -> AsyncIterator[Server]:
    names = ("leaky", "odd", "silent", "late")
    functions = await load(write_manifest(tmp_path, FAILING, *map(declare, names)))
    async with serving_here(functions=functions, settings=SETTINGS) as server:
        yield server


async def test_an_exception_is_not_lost_and_does_not_leak(failing: Server) -> None:
    frames = await invoke(failing, "leaky")
    check_events(frames)
    assert frames[1]["data"]["message"] == "released"
    assert frames[-1] == {
        **{"type": "error", "data": "the function raised RuntimeError"},
        "error_code": "function_error",
    }


async def test_odd_yields_do_not_break_the_stream(failing: Server) -> None:
    frames = await invoke(failing, "odd")
    check_events(frames)
    assert [frame["type"] for frame in frames] == ["start", "result", "result", "error"]
    assert frames[-1]["error_code"] == "invalid_value"


async def test_an_error_is_not_followed_by_done(failing: Server) -> None:
    frames = await invoke(failing, "silent")
    check_events(frames)
    assert frames[-1] == {"type": "error", "data": "not found", "error_code": "NOT_FOUND"}


async def test_nothing_is_shown_after_done(failing: Server) -> None:
    frames = await invoke(failing, "late")
    check_events(frames)
    assert [frame["type"] for frame in frames] == ["progress", "done"]


CROSSING = """
import os, time
from pathlib import Path

def cross(name: str):
    Path("data/outputs").mkdir(parents=True, exist_ok=True)
    Path("data/outputs/result.txt").write_text(name)
    Path("ready").write_text("")
    yield {"type": "start", "data": {"folder": os.getcwd()}}
    answer = runcast.ask("go on?")
    yield {"type": "seen", "data": [Path("data/outputs/result.txt").read_text(), os.environ["KEY"]]}

import runcast
"""


async def test_two_calls_at_once_do_not_share_files_or_secrets(tmp_path: Path) -> None:
    secrets = [{"name": "KEY"}]
    cross = declare("cross", parameter("name", "string"), secrets=secrets)
    functions = await load(write_manifest(tmp_path, CROSSING, cross))
    async with open_hub("memory://", functions=functions, settings=SETTINGS) as hub:
        runs = [
            await hub.start("cross", {"name": name}, run_id=name, secrets={"KEY": f"key-{name}"})
            for name in ("a", "b")
        ]
        folders, questions = [], []
        async with asyncio.timeout(LONG_S):
            for run in runs:
                async for event in hub.watch(run.run_id):
                    if event.type == "start":
                        folders.append(event.data["folder"])
                    if event.type == "interrupt_request":
                        questions.append(event.data["interrupt_id"])
                        break
            assert len(set(folders)) == 2  # both are at work now
            for run, question in zip(runs, questions, strict=True):
                await hub.answer(run.run_id, question, {"type": "accept"})
            for run in runs:
                seen = [event.data for event in await _all(hub, run.run_id) if event.type == "seen"]
                assert seen == [[run.run_id, f"key-{run.run_id}"]]


def test_the_examples_are_as_the_guide_prints_them() -> None:
    text = (Path(__file__).parent / "guide" / "examples.txt").read_text("utf-8")
    names = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    assert len(names) == 9
