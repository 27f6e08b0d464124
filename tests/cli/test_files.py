"""Files of a run: sent with `--file`, saved with `--out`."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.cli.inside import run
from tests.cli.served import Served, serve

CODE = """
import os

def join(word="", fails=False):
    os.makedirs("data/outputs/deep/er")
    whole = ""
    for key in sorted(os.listdir("data/inputs")):
        folder = os.path.join("data/inputs", key)
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as file:
                whole += f"{key}/{name}:{len(file.read())} "
    with open("data/outputs/deep/er/ünïcode %41.txt", "w") as file:
        file.write(whole + word)
    with open("data/outputs/empty", "w"):
        pass
    os.symlink("/etc/passwd", "data/outputs/link")
    if fails:
        raise ValueError("no")
    return whole
"""

MANIFEST = {
    "entry_point": "main.py",
    "functions": [
        {
            "name": "join",
            "parameters": [
                {"name": "word", "type": "string", "default": ""},
                {"name": "fails", "type": "boolean", "default": False},
            ],
            "files": {
                "one": {"type": "array", "items": {"type": "InputFile"}, "required": False},
                "two": {"type": "array", "items": {"type": "InputFile"}, "required": False},
                "all": {"type": "array", "items": {"type": "OutputFile"}},
            },
        }
    ],
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "prefab-manifest.json").write_text(json.dumps(MANIFEST), "utf-8")
    (folder / "main.py").write_text(CODE, "utf-8")
    with serve(str(folder), "--store", "memory://", cwd=folder) as server:
        yield server


def command(url: str, *arguments: str, cwd: Path) -> CompletedProcess[str]:
    return run(*arguments, cwd=cwd, env={"RUNCAST_URL": url})


def tree(folder: Path) -> dict[str, str]:
    """Return the content of each file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files_are_sent_and_what_the_run_made_is_saved(served: Served, tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_bytes(b"12345")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "large").write_bytes(os.urandom(3_000_000))
    sent = ["--file", "one=a b.txt", "--file", "one=empty", "--file", "two=large"]
    told = command(served.url, "invoke", "join", *sent, "--out", "out/here", cwd=tmp_path)

    assert told.returncode == 0, told
    made = {"deep/er/ünïcode %41.txt": "one/a b.txt:5 one/empty:0 two/large:3000000 ", "empty": ""}
    assert tree(tmp_path / "out/here") == made
    assert told.stderr == "".join(f"saved out/here/{path}\n" for path in made)
    assert "not kept: link" in told.stdout


def test_nothing_is_overwritten_unless_it_is_asked_for(served: Served, tmp_path: Path) -> None:
    def invoke(word: str, *more: str) -> CompletedProcess[str]:
        arguments = ("--input", f"word={word}", "--out", "out", *more)
        return command(served.url, "invoke", "join", *arguments, cwd=tmp_path)

    assert invoke("first").returncode == 0
    assert invoke("first").returncode == 0  # what is there is the same
    refused = invoke("second")
    assert refused.returncode == 2
    assert "exists already and differs" in refused.stderr
    assert tree(tmp_path / "out")["deep/er/ünïcode %41.txt"] == "first"
    assert invoke("second", "--force").returncode == 0
    assert tree(tmp_path / "out")["deep/er/ünïcode %41.txt"] == "second"


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_no_symbolic_link_leads_out_of_the_folder(
    served: Served, tmp_path: Path, force: list[str]
) -> None:
    (tmp_path / "elsewhere/er").mkdir(parents=True)
    (tmp_path / "victim").write_text("untouched", "utf-8")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/deep").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out/empty").symlink_to(tmp_path / "victim")
    told = command(served.url, "invoke", "join", "--out", "out", *force, cwd=tmp_path)

    assert told.returncode == 2
    assert tree(tmp_path / "elsewhere") == {}
    assert (tmp_path / "victim").read_text("utf-8") == "untouched"


def test_files_of_a_run_that_is_over_can_be_fetched_later(served: Served, tmp_path: Path) -> None:
    command(served.url, "invoke", "join", "--run-id", "later", "--input", "word=w", cwd=tmp_path)
    position = served.ask("GET", "/runs/later").json["position"]
    told = command(
        served.url, "watch", "later", "--after", position, "--out", "out", "--json", cwd=tmp_path
    )

    assert (told.returncode, told.stdout) == (0, "")
    assert tree(tmp_path / "out") == {"deep/er/ünïcode %41.txt": "w", "empty": ""}


def test_a_run_that_fails_has_its_exit_code_and_its_files(served: Served, tmp_path: Path) -> None:
    told = command(
        served.url, "invoke", "join", "--input", "fails=true", "--out", "out", cwd=tmp_path
    )

    assert told.returncode == 1
    assert "empty" in tree(tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--file", "one"], "KEY=PATH"),
        (["--file", "one=nowhere"], "there is no file 'nowhere'"),
        (["--file", "one=."], "there is no file '.'"),
        (["--file", "../x=main.txt"], "to be called like 'input'"),
        (["--file", "three=main.txt"], "files.three: there is no such group"),
        (["--out", "main.txt"], "cannot save files in 'main.txt'"),
        (["--out", "x", "--detach"], "without --detach"),
    ],
)
def test_what_is_wrong_with_files_is_said_before_a_run_begins(
    served: Served, tmp_path: Path, arguments: list[str], problem: str
) -> None:
    (tmp_path / "main.txt").write_text("x", "utf-8")
    before = served.ask("GET", "/runs?limit=1").json
    told = command(served.url, "invoke", "join", *arguments, cwd=tmp_path)

    assert told.returncode == 2
    assert problem in told.stderr
    assert told.stderr.count("\n") == 1
    assert served.ask("GET", "/runs?limit=1").json == before


def test_a_file_that_is_too_large_is_refused_with_the_bound(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text("import runcast\n@runcast.function\ndef f(): pass\n", "utf-8")
    (tmp_path / "large").write_bytes(bytes(8_000_000))
    small = {"RUNCAST_MAX_UPLOAD_BYTES": "1000"}
    with serve("f.py", "--store", "memory://", cwd=tmp_path, env=small) as server:
        told = command(server.url, "invoke", "f", "--file", "x=large", cwd=tmp_path)

    assert told.returncode == 2
    assert "at most 1000 bytes" in told.stderr


# --- servers that cannot be trusted ---------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Has one run that is over, and announces a file of it."""

    announced: Any = None
    content = b""
    cuts: int = 0
    """How many times a download is cut in the middle."""
    ranges: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.endswith("/events"):
            data = {"files": [self.server.announced]}
            events = [
                {"seq": 1, "time": 1.0, "type": "files", "data": data},
                {"seq": 2, "time": 1.0, "type": "done", "data": {}},
            ]
            frames = [f"id: e-{each['seq']}\ndata: {json.dumps(each)}\n\n" for each in events]
            self._send("".join(frames).encode())
            return
        given = self.headers.get("range", "")
        self.server.ranges.append(given)
        begin = int(given.removeprefix("bytes=").removesuffix("-") or 0)
        body = self.server.content[begin:]
        sent = body
        if self.server.cuts:
            self.server.cuts -= 1
            sent = body[: len(body) // 2]
        self._send(sent, len(body), 206 if given else 200)

    def _send(self, body: bytes, length: int | None = None, status: int = 200) -> None:
        self.send_response(status)
        is_stream = self.path.endswith("/events")
        self.send_header("content-type", "text/event-stream" if is_stream else "x/y")
        self.send_header("etag", '"the-file"')
        self.send_header("content-length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


@contextmanager
def pretend(path: str, content: bytes, **changes: Any) -> Iterator[tuple[Server, str]]:
    server = Server(("127.0.0.1", 0), Handler)
    server.ranges = []
    server.content = content
    sha256 = hashlib.sha256(content).hexdigest()
    server.announced = {
        **{"path": path, "name": "x", "size": len(content), "sha256": sha256, "type": "x/y"},
        **changes,
    }
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    "path",
    ["../x", "/tmp/x", "a/../../x", "a//x", "./x", "", "a\\..\\x", "x\x00", "x\x1b[2J", "a/" * 40],
)
def test_a_path_that_leads_elsewhere_is_not_saved(tmp_path: Path, path: str) -> None:
    with pretend(path, b"evil") as (_, url):
        told = command(url, "watch", "r", "--out", "out", cwd=tmp_path)

    assert told.returncode == 4
    assert "it is not saved" in told.stderr
    assert "\x1b" not in told.stderr + told.stdout
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    "changes", [{"sha256": "0" * 64}, {"size": 3}, {"size": "4"}, {"sha256": None}, {"size": -1}]
)
def test_what_is_not_as_announced_is_not_saved(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pretend("x", b"good", **changes) as (_, url):
        told = command(url, "watch", "r", "--out", "out", cwd=tmp_path)

    assert told.returncode == 4
    assert told.stderr.count("\n") == 1, told.stderr
    assert tree(tmp_path) == {}


def test_a_download_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    with pretend("x", b"0123456789abcdef") as (server, url):
        server.cuts = 2
        told = command(url, "watch", "r", "--out", "out", cwd=tmp_path)

    assert told.returncode == 0, told
    assert server.ranges == ["", "bytes=8-", "bytes=12-"]
    assert tree(tmp_path / "out") == {"x": "0123456789abcdef"}
