"""`runcast serve` of a folder with a manifest, as docs/functions.md has it."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.served import frames, run, serve
from tests.manifests.writing import declare, parameter, write_manifest

WAIT_S: Final = 20.0

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "functions.md"

BODY: Final = {"inputs": {"names": ["Ada", "Grace"]}}

GREETED: Final = [
    {"type": "start", "data": {"total": 2}},
    {"type": "content", "data": "Dear Ada! "},
    {"type": "progress", "data": {"percentage": 50.0, "current": 1, "total": 2}},
    {"type": "content", "data": "Dear Grace! "},
    {"type": "progress", "data": {"percentage": 100.0, "current": 2, "total": 2}},
    {"type": "files", "data": {"files": [{"path": "names.txt", "name": "names.txt"}]}},
    {"type": "done", "data": {"greeted": 2}},
]

_SPACE, _ANY_SPACE = re.escape(" "), r"\s"
"""A sentence may be broken into lines anywhere."""


def block_after(words: str) -> str:
    """Return the block of the document that follows some words."""
    found = re.search(
        rf"{re.escape(words).replace(_SPACE, _ANY_SPACE)}\n\n```text\n(.*?)```",
        DOCUMENT.read_text("utf-8"),
        re.S,
    )
    assert found is not None, words
    return found[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    manifest = block_after("`prefab-manifest.json`:")
    (tmp_path / "prefab-manifest.json").write_text(manifest, "utf-8")
    (tmp_path / "src" / "main.py").write_text(block_after("`src/main.py`:"), "utf-8")
    return tmp_path


def without_details(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events with no more of a file than its path and name."""
    for event in events:
        if event["type"] == "files":
            for file in event["data"]["files"]:
                for name in ("size", "sha256", "type", "key", "url"):
                    del file[name]
    return events


def test_the_function_of_the_document_streams_and_its_file_can_be_had(folder: Path) -> None:
    with serve(str(folder), cwd=folder, env={"RUNCAST_WARM_PROCESSES": "1"}) as served:
        assert "greet" in "".join(served.head)
        with served.open("POST", "/invoke/greet", BODY) as response:
            assert response.headers["content-type"] == "text/event-stream"
            run_id = response.headers["runcast-run-id"]
            events = [json.loads(frame["data"]) for frame in frames(response)]
        assert without_details(events) == GREETED
        assert served.ask("GET", f"/runs/{run_id}/files/names.txt").body == b"Ada\nGrace"
        (function,) = served.ask("GET", "/functions").json["functions"]
        assert function["secrets"] == [
            {"name": "GREETER_KEY", "description": "who greets", "required": False}
        ]
        assert function["dialect"] == "prefab"
        wrong = served.ask("POST", "/invoke/greet", {"inputs": {"names": "Ada", "tone": "loud"}})
        assert (wrong.status, len(wrong.json["problems"])) == (422, 2)


def test_the_page_of_the_document_reads_the_stream(folder: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is missing")
    code = block_after("characters that are cut in two:")
    code += "for await (const event of invoke(process.argv[2], JSON.parse(process.argv[3])))\n"
    code += "  console.log(JSON.stringify(event));\n"
    (folder / "page.mjs").write_text(code, "utf-8")
    with serve(str(folder), cwd=folder) as served:
        printed = subprocess.run(
            ["node", "page.mjs", f"{served.url}/invoke/greet", json.dumps(BODY["inputs"])],
            cwd=folder,
            capture_output=True,
            check=True,
            timeout=WAIT_S,
        )
    events = [json.loads(line) for line in printed.stdout.splitlines()]
    assert without_details(events) == GREETED


def test_a_page_does_not_lose_what_is_cut_anywhere(tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is missing")
    code = block_after("characters that are cut in two:")
    (tmp_path / "page.mjs").write_text(code + _CUTTING, "utf-8")
    printed = subprocess.run(
        ["node", "page.mjs"], cwd=tmp_path, capture_output=True, check=True, timeout=WAIT_S
    )
    assert printed.stdout.decode().split() == ["ok"]


_CUTTING: Final = """
const events = [{type: "content", data: "数据 \\u{1f448}"}, {type: "done", data: null}];
const bytes = new TextEncoder().encode(
  events.map((event) => `id: a-1\\ndata: ${JSON.stringify(event)}\\n\\n`).join(""));
for (let cut = 0; cut <= bytes.length; cut++) {
  globalThis.fetch = async () => new Response(new ReadableStream({start(controller) {
    controller.enqueue(bytes.slice(0, cut));
    controller.enqueue(bytes.slice(cut));
    controller.close();
  }}));
  const found = [];
  for await (const event of invoke("", {})) found.push(event);
  if (JSON.stringify(found) !== JSON.stringify(events)) throw new Error(`cut at ${cut}`);
}
console.log("ok");
"""


def test_a_manifest_with_problems_is_not_served(tmp_path: Path) -> None:
    write_manifest(tmp_path, "def f(a): yield a", declare("f"), declare("g"))
    ended = run("serve", str(tmp_path), "--store", "memory://", cwd=tmp_path)
    assert ended.returncode != 0
    assert "prefab-manifest.json has 2 problems" in ended.stderr
    assert "functions[0].parameters: 'a' is required" in ended.stderr
    assert "functions[1].name: src/main.py defines no 'g'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_killed_server_leaves_no_process_and_its_run_is_told_as_lost(tmp_path: Path) -> None:
    code = (
        "import os, threading\n"
        "def wait(n):\n"
        "    pid = os.fork()\n"
        "    if not pid: threading.Event().wait()\n"
        "    yield {'type': 'start', 'data': [os.getpid(), pid]}\n"
        "    threading.Event().wait()\n"
    )
    write_manifest(tmp_path, code, declare("wait", parameter("n", "integer")))
    body = {"inputs": {"n": 1}, "run_id": "waits"}
    with serve(str(tmp_path), cwd=tmp_path) as served:
        with served.open("POST", "/invoke/wait", body) as response:
            pids = json.loads(next(frames(response))["data"])["data"]
            handles = [os.pidfd_open(pid) for pid in pids]
            served.end(signal.SIGKILL)
        for handle in handles:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            assert poll.poll(WAIT_S * 1000)
            os.close(handle)
    with serve(str(tmp_path), cwd=tmp_path) as served:
        history = served.ask("GET", "/runs/waits/events?live=false").body
        assert b'"code":"lost"' in history.splitlines()[-2]


TYPED: Final = """
import datetime
import pathlib
from typing import Literal

import pydantic


class Order(pydantic.BaseModel):
    item: str


Tone = Literal["a"]


def typed(order: Order, day: datetime.date, path: pathlib.Path, size: int | None, tone: Tone):
    return [type(each).__name__ for each in (order, day, path, size, tone)]
"""


def test_inputs_become_the_classes_of_their_annotations(tmp_path: Path) -> None:
    inputs = {"order": "object", "day": "string", "path": "string", "size": "number"}
    typed = declare("typed", *(parameter(*each) for each in {**inputs, "tone": "string"}.items()))
    write_manifest(tmp_path, TYPED, {**typed, "streaming": False})
    given = {"order": {"item": "a"}, "day": "2025-01-31", "path": "b", "size": 2.5, "tone": "c"}
    with serve(str(tmp_path), cwd=tmp_path) as served:
        answer = served.ask("POST", "/invoke/typed", {"inputs": given})
        assert answer.json["result"] == ["Order", "date", "PosixPath", "float", "str"]
        given |= {"order": {}, "day": "soon"}
        answer = served.ask("POST", "/invoke/typed", {"inputs": given})
        assert answer.json["code"] == "invalid_inputs"
        assert "day: Invalid" in answer.json["detail"]
        assert "order: Field required - at `$.item`" in answer.json["detail"]


USES: Final = """
from runcast import usage

def echo(word): return word
def discreet(word): return word
def costly(): usage("tiny", input_tokens=30, output_tokens=5)
"""


def test_functions_of_a_manifest_keep_inputs_and_have_budgets(tmp_path: Path) -> None:
    word = parameter("word", "string")
    folder = write_manifest(
        tmp_path,
        USES,
        declare("echo", word, streaming=False),
        declare("discreet", word, streaming=False, store_inputs=False),
        declare("costly", streaming=False, max_tokens=34),
    )
    with serve(str(folder), cwd=folder, wait_s=WAIT_S) as served:
        kept = {}
        for name in ("echo", "discreet"):
            body = {"inputs": {"word": "so"}, "run_id": name}
            assert served.ask("POST", f"/invoke/{name}", body).json["result"] == "so"
            kept[name] = served.ask("GET", f"/runs/{name}").json["inputs"]
        served.ask("POST", "/invoke/costly", {"run_id": "costly"})
        failure = served.ask("GET", "/runs/costly").json["state"]["failure"]

    assert kept == {"echo": {"values": {"word": "so"}}, "discreet": None}
    assert failure["code"] == "budget_exceeded"
