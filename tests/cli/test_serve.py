"""`runcast serve` as a user has it: a real process, real HTTP, real signals."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.cli import inside
from tests.cli.served import frames, run, serve
from tests.environment import environment
from tests.waiting import START_S, WAIT_S

LICENSE = Path(__file__).resolve().parents[2] / "LICENSE"

WORK = '''
import runcast

@runcast.function
def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b

@runcast.function
def tell(name: str):
    yield f"hello {name}"
'''

# A watched run must not keep a test waiting: without grace it is cancelled at once.
QUICK = {"RUNCAST_SHUTDOWN_GRACE_S": "0"}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "work.py"
    path.write_text(WORK, "utf-8")
    return path


# --- serving --------------------------------------------------------------------------------------


def test_it_says_where_it_listens_and_what_to_try(tmp_path: Path) -> None:
    with serve(cwd=tmp_path) as served:
        assert served.head[1] == f"  open     {served.url}/"
        assert served.head[2].startswith("  try      curl -N ")
        assert served.head[2].endswith(f" {served.url}/invoke/chat")
        assert served.head[3] == (
            "  serves   chat, research, count_words, count_primes, emit_events "
            "(the demo; name a file to serve yours)"
        )
        assert served.head[4] == "  keeps    runs in .runcast/runs.db"
        assert served.ask("GET", "/healthz").status == 200
        assert served.ask("GET", "/").headers["content-type"].startswith("text/html")

    assert (tmp_path / ".runcast" / "runs.db").is_file()


def test_the_command_that_it_prints_works(tmp_path: Path) -> None:
    token = "s3cret-t0ken"
    with serve(cwd=tmp_path, env={"RUNCAST_TOKEN": token}) as served:
        assert token not in "\n".join(served.head)
        printed = run_line(served.head[2], RUNCAST_TOKEN=token).stdout

    assert '"type":"tool_call"' in printed
    assert '"type":"done"' in printed.splitlines()[-2]


def test_a_real_file_is_counted_and_watched_and_resumed_without_loss(tmp_path: Path) -> None:
    with serve(cwd=tmp_path) as served:
        served.start("count_words", "licence", path=str(LICENSE))
        with served.open("GET", "/runs/licence/events") as response:
            whole = list(frames(response))
        with served.open("GET", "/runs/licence/events") as response:
            head = list(islice(frames(response), 2))
        left = {"Last-Event-ID": head[-1]["id"]}
        with served.open("GET", "/runs/licence/events", headers=left) as response:
            tail = list(frames(response))
        over = served.ask("GET", "/runs/licence/events", headers={"Last-Event-ID": whole[-1]["id"]})

    events = [json.loads(frame["data"]) for frame in whole]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "started"
    assert events[-1]["type"] == "done"
    assert events[-1]["data"]["result"]["bytes"] == LICENSE.stat().st_size
    assert head + tail == whole
    assert over.status == 204


def test_runs_are_there_after_a_restart(tmp_path: Path) -> None:
    with serve(cwd=tmp_path) as served:
        served.start("chat", "talk", prompt="hello", pause_s=0)
        with served.open("GET", "/runs/talk/events") as response:
            before = response.read()
        assert served.end()[0] == 0
    with serve(cwd=tmp_path) as served, served.open("GET", "/runs/talk/events") as response:
        assert response.read() == before


def test_a_run_whose_server_was_killed_ends_lost_behind_what_was_seen(tmp_path: Path) -> None:
    with serve(cwd=tmp_path) as served:
        served.start("count_primes", "primes", limit=10**12)
        with served.open("GET", "/runs/primes/events") as response:
            seen = list(islice(frames(response), 3))
            served.process.kill()
            served.process.wait(WAIT_S)
    with serve(cwd=tmp_path) as served, served.open("GET", "/runs/primes/events") as response:
        kept = list(frames(response))

    last = json.loads(kept[-1]["data"])
    assert kept[: len(seen)] == seen
    assert (last["type"], last["data"]["code"]) == ("failed", "lost")


def test_several_runs_can_be_watched_on_one_connection(tmp_path: Path) -> None:
    with serve(cwd=tmp_path) as served:
        for run_id in ("a", "b"):
            served.start("chat", run_id, prompt=run_id, pause_s=0)
        with served.open("GET", "/events?run=a&run=b") as response:
            events = [json.loads(frame["data"]) for frame in frames(response)]

    for run_id in ("a", "b"):
        seqs = [each["event"]["seq"] for each in events if each["run"] == run_id]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(seqs) > 10


# --- ending ---------------------------------------------------------------------------------------


CODES = {signal.SIGTERM: 0, signal.SIGINT: 130}


@pytest.mark.parametrize("number", CODES)
def test_it_ends_at_once_when_told_to(tmp_path: Path, number: signal.Signals) -> None:
    with serve(cwd=tmp_path) as served:
        assert served.end(number) == (CODES[number], "", "")


@pytest.mark.parametrize("number", CODES)
def test_watchers_are_told_goodbye_and_runs_are_ended(
    tmp_path: Path, number: signal.Signals
) -> None:
    with serve(cwd=tmp_path, env=QUICK) as served:
        served.start("count_primes", "primes", limit=10**12)
        with served.open("GET", "/runs/primes/events") as response:
            next(frames(response))
            code, out, err = served.end(number)
            rest = response.read()
    with serve(cwd=tmp_path) as served:
        state = served.ask("GET", "/runs/primes").json

    assert (code, out, err) == (CODES[number], "", "")
    assert rest.endswith(b"retry: 2000\n: goodbye, come back\n\n")
    assert state["status"] == "cancelled"


# --- what is served -------------------------------------------------------------------------------


def test_a_file_of_functions_is_served(work: Path, tmp_path: Path) -> None:
    with serve(str(work), "--store", "memory://", cwd=tmp_path) as served:
        functions = served.ask("GET", "/functions").json["functions"]
        added = served.ask("POST", "/invoke/add", {"inputs": {"a": 1}})
        wrong = served.ask("POST", "/invoke/add", {"inputs": {"a": "x", "c": 1}})

    assert [function["name"] for function in functions] == ["add", "tell"]
    assert "invoke/tell" in served.head[2]  # it streams, so it shows more
    assert served.head[4] == "  keeps    runs in memory, until this process ends"
    assert added.json["result"] == 3
    assert wrong.status == 422
    assert len(wrong.json["problems"]) == 2
    assert not (tmp_path / ".runcast").exists()


def test_an_attribute_of_a_module_is_served(work: Path, tmp_path: Path) -> None:
    with serve("work:add", "--store", "memory://", cwd=tmp_path) as served:
        assert served.head[3] == "  serves   add"
        assert served.ask("POST", "/invoke/add", {"inputs": {"a": 1, "b": 1}}).json["result"] == 2
        assert served.ask("POST", "/invoke/tell", {"inputs": {}}).status == 404


def test_settings_come_from_a_file_and_the_environment(tmp_path: Path) -> None:
    (tmp_path / "runcast.toml").write_text("max_body_bytes = 10\nretry_s = 7\n", "utf-8")
    env = {"RUNCAST_RETRY_S": "9"}
    with serve("--settings", "runcast.toml", cwd=tmp_path, env=env) as served:
        refused = served.ask("POST", "/invoke/chat", {"inputs": {"prompt": "hello"}})
        served.ask("POST", "/invoke/chat", headers={"Prefer": "respond-async"})
        started = served.ask("POST", "/invoke/chat?x", headers={"Content-Type": "text/plain"})

    assert refused.status == 413
    assert refused.json["code"] == "body_too_large"
    assert started.status == 400


def test_the_folder_of_the_store_is_made(tmp_path: Path) -> None:
    store = tmp_path / "a" / "b c" / "runs.db"
    with serve("--store", f"sqlite:///{tmp_path}/a/b%20c/runs.db", cwd=tmp_path) as served:
        assert served.head[4] == f"  keeps    runs in {store}"

    assert store.is_file()


def test_a_token_keeps_others_out(tmp_path: Path) -> None:
    with serve("--token", "s3cret", "--log-level", "debug", cwd=tmp_path) as served:
        without = served.ask("GET", "/runs")
        wrong = served.ask("GET", "/runs", headers={"Authorization": "Bearer no"})
        right = served.ask("GET", "/runs", headers={"Authorization": "Bearer s3cret"})
        _, out, err = served.end()

    assert (without.status, wrong.status, right.status) == (401, 401, 200)
    assert "s3cret" not in "".join([*served.head, out, err])


def test_only_known_hosts_and_origins_are_answered(tmp_path: Path) -> None:
    allowed = ("--allow-host", "Runs.Example", "--allow-origin", "https://app.example")
    with serve(*allowed, cwd=tmp_path) as served:

        def status(**headers: str) -> int:
            return served.ask("GET", "/runs", headers=headers).status

        assert status(Host="runs.example:80") == 200
        assert status(Host="evil.example") == 403
        assert status(Origin="https://app.example") == 200
        assert status(Origin="https://evil.example") == 403
        assert status(Origin="http://[") == 403
        assert status(Origin=served.url) == 200


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--token", "geheim "), "without spaces"),
        (("--allow-host", "app.example:443"), "without scheme and port"),
        (("--allow-origin", "app.example"), "like https://app.example"),
    ],
)
def test_what_no_request_can_have_is_refused_at_the_start(
    tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    told = inside.run("serve", *arguments, cwd=tmp_path)

    assert told.returncode == 2
    assert problem in told.stderr
    assert told.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_other_machines_are_let_in_when_asked_for(tmp_path: Path) -> None:
    with serve("--host", "0.0.0.0", "--insecure", cwd=tmp_path) as served:
        assert served.ask("GET", "/runs").status == 200


# --- what cannot be served ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--store", "sqlite:///junk.db"], "junk.db is not a sound SQLite database"),
        (["--insecure", "--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid"),
    ],
    ids=["store", "host"],
)
def test_what_fails_only_when_it_is_tried_is_said_in_one_line_too(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "junk.db").write_text("junk", "utf-8")

    ended = run("serve", "--port", "0", *arguments, cwd=tmp_path)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("serve", "--port", str(port), cwd=tmp_path)

    assert ended.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "or 0 for a free one" in ended.stderr


@pytest.mark.parametrize("target", ["broken.py", "broken:x", "uses.py"])
def test_a_target_that_fails_on_import_shows_its_own_traceback(tmp_path: Path, target: str) -> None:
    (tmp_path / "broken.py").write_text("def fail():\n    return 1 / 0\n\nfail()\n", "utf-8")
    (tmp_path / "uses.py").write_text("import broken\n", "utf-8")

    ended = run("serve", "--port", "0", target, cwd=tmp_path)

    assert (ended.returncode, ended.stdout) == (2, "")
    lines = ended.stderr.splitlines()
    assert "failed on import:" in lines[0]
    assert lines[1] == "Traceback (most recent call last):"
    assert str(tmp_path) in lines[2]
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "target.py" not in ended.stderr


def test_a_target_with_a_mistake_in_its_syntax_shows_it(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def f(:\n", "utf-8")

    ended = run("serve", "--port", "0", "broken.py", cwd=tmp_path)

    assert ended.returncode == 2
    assert "broken.py" in ended.stderr
    assert "SyntaxError" in ended.stderr
    assert "importlib" not in ended.stderr


@pytest.mark.parametrize("port", ["-1", "65536", "x", "1e3"])
def test_a_port_out_of_range_is_a_misuse(tmp_path: Path, port: str) -> None:
    ended = inside.run("serve", f"--port={port}", cwd=tmp_path)

    assert ended.returncode == 2
    assert f"expected a port, 0 to 65535, got '{port}'" in ended.stderr


# --- the command itself ---------------------------------------------------------------------------


def test_the_version_is_told(tmp_path: Path) -> None:
    ended = run("--version", cwd=tmp_path)

    assert ended.returncode == 0
    assert ended.stdout.startswith("runcast ")


def test_starting_the_command_loads_no_server() -> None:
    program = "import sys, runcast._cli; print(*{name.partition('.')[0] for name in sys.modules})"

    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()

    assert "runcast" in loaded
    assert not {"uvicorn", "starlette", "uvloop", "httptools", "h11"} & set(loaded)


# --- manifests ------------------------------------------------------------------------------------

CODE = """
import os

def tell(name):
    yield {"type": "start", "data": "begun"}
    yield {"type": "done", "data": {"hello": name}}

def size(unit="bytes"):
    folder = "data/inputs/input"
    return sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
"""
TELL = {
    "name": "tell",
    "streaming": True,
    "parameters": [{"name": "name", "type": "string"}],
}
SIZE = {
    "name": "size",
    "files": {"input": {"type": "array", "items": {"type": "InputFile"}, "minItems": 1}},
}


def write_manifest(folder: Path, *functions: dict[str, Any]) -> None:
    (folder / "src").mkdir(parents=True)
    manifest = {"entry_point": "src/main.py", "functions": functions}
    (folder / "prefab-manifest.json").write_text(json.dumps(manifest), "utf-8")
    (folder / "src/main.py").write_text(CODE, "utf-8")


@pytest.mark.parametrize(
    ("target", "where"),
    [("guide", "."), ("guide/prefab-manifest.json", "."), (".", "guide"), ("..", "guide/src")],
)
def test_a_manifest_is_served_by_its_path_or_its_folder(
    tmp_path: Path, target: str, where: str
) -> None:
    write_manifest(tmp_path / "guide", TELL, SIZE)
    with serve(target, "--store", "memory://", cwd=tmp_path / where) as served:
        assert served.head[3] == "  serves   tell, size"
        told = run_line(served.head[2])

    assert '"hello"' in told.stdout, told


def test_a_function_that_needs_files_is_shown_with_files(tmp_path: Path) -> None:
    write_manifest(tmp_path / "guide", SIZE)
    with serve("guide", "--store", "memory://", cwd=tmp_path) as served:
        told = run_line(served.head[2])

    assert told.returncode == 0, told
    assert f"done: {2 * len(CODE)}\\n" in told.stdout or f"done: {len(CODE)}" in told.stdout


def run_line(line: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run the command that is printed for people to try."""
    command = line.removeprefix("  try      ")
    if command.startswith("curl ") and shutil.which("curl") is None:
        pytest.skip("curl is missing")
    return subprocess.run(
        ["bash", "-c", command],
        env=environment({"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **env}),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
