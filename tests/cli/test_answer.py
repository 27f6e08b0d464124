"""`runcast answer` as a user has it: a process of its own, with options or in a terminal."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.inside import run
from tests.cli.served import Served, frames, serve
from tests.environment import environment
from tests.waiting import WAIT_S

HOSTILE: Final = "\x1b]0;owned\x07\x9b31m\u202e\rred\n  action  harmless"

ASKING: Final = f"""
import runcast

HOSTILE = {HOSTILE!r}

@runcast.function
async def asks(key: str = "q", config: dict | None = None):
    answer = await runcast.ask(
        "Deploy?\\nIt takes an hour.", action="deploy", args={{"to": "b"}}, config=config,
        interrupt_id=key,
    )
    return [answer.type, answer.args, answer.by]

@runcast.function
async def asks_by(timeout_s: float):
    config = {{"allow_edit": False, "allow_accept": False, "response_schema": {{"type": "string"}}}}
    answer = await runcast.ask("Why?", args=7, config=config, timeout_s=timeout_s)
    return [answer.type, answer.args, answer.by]

@runcast.function
async def asks_evil():
    answer = await runcast.ask(HOSTILE, action=HOSTILE, args={{"to": HOSTILE}}, interrupt_id="q")
    return answer.type

@runcast.function
async def asks_much():
    await runcast.ask("All of it?", args="x" * 40_000)

@runcast.function
async def asks_in_chinese():
    config = {{"allow_accept": False, "response_schema": {{"title": "城市"}}}}
    answer = await runcast.ask("搜索网络？", args={{"query": "天气 😀"}}, config=config)
    return [answer.type, answer.args, answer.by]

@runcast.function
async def asks_two():
    runcast.emit("interrupt_request", {{"interrupt_id": "\\x1b[2J"}})
    runcast.emit("interrupt_request", {{"message": "nameless"}})
    await runcast.ask("second", interrupt_id="second")

@runcast.function
def tells():
    return 1
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("answer")
    (folder / "asking.py").write_text(ASKING, "utf-8")
    with serve("asking.py", "--store", "memory://", cwd=folder) as server:
        yield server


@pytest.fixture
def run_id(request: pytest.FixtureRequest) -> str:
    return re.sub(r"[^A-Za-z0-9]", "-", request.node.name)[:100]


def begin(served: Served, function: str, run_id: str, **inputs: object) -> None:
    """Begin a run and wait until it has asked all that it asks."""
    served.start(function, run_id, **inputs)
    with served.open("GET", f"/runs/{run_id}/events") as response:
        for frame in frames(response):
            event = json.loads(frame["data"])
            if event["type"] == "interrupt_request" and "args" in event["data"]:
                return


def result(served: Served, run_id: str) -> Any:
    """Return what a run's function returned."""
    with served.open("GET", f"/runs/{run_id}/events") as response:
        return json.loads(list(frames(response))[-1]["data"])["data"]["result"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "runcast", "answer", *arguments]


def given_by(url: str) -> dict[str, str]:
    return environment({"RUNCAST_URL": url, "USER": "ann", "TERM": "dumb", "LANG": "C.UTF-8"})


def answer(served: Served | str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, without a terminal."""
    given = given_by(served if isinstance(served, str) else served.url)
    return run("answer", *arguments, cwd=Path.cwd(), env={**given, **env})


def refusal(served: Served | str, *arguments: str, code: int = 2) -> str:
    """Return the one line that says what is wrong."""
    ended = answer(served, *arguments)
    assert (ended.returncode, ended.stdout) == (code, ""), ended
    assert ended.stderr.startswith("runcast: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr


# --- by options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--accept"], ["accept", None, "ann"]),
        (["--reject", "--by", "bob"], ["reject", None, "bob"]),
        (["--edit", '{"to": "c"}'], ["edit", {"to": "c"}, "ann"]),
        (["--respond", "later", "--by", ""], ["response", "later", ""]),
    ],
)
def test_a_question_is_answered_by_an_option(
    served: Served, run_id: str, options: list[str], expected: list[Any]
) -> None:
    begin(served, "asks", run_id)

    ended = answer(served, run_id, *options)
    again = answer(served, run_id, "q", *options)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"q is answered: {expected[0]}\n"
    assert again.stdout.startswith(f"q was answered before: {expected[0]}")
    assert again.stdout.endswith(f"(by {expected[2]})\n" if expected[2] else "\n")
    assert result(served, run_id) == expected


def test_who_answers_is_known_without_the_usual_variable(served: Served, run_id: str) -> None:
    begin(served, "asks", run_id)

    assert answer(served, run_id, "--accept", USER="", LOGNAME="bea").returncode == 0

    assert result(served, run_id) == ["accept", None, "bea"]


def test_without_an_answer_and_without_a_terminal_it_says_what_is_missing(
    served: Served, run_id: str
) -> None:
    begin(served, "asks", run_id)

    assert "--approve, --reject, --edit or --respond" in refusal(served, run_id)
    assert answer(served, run_id, "--accept").returncode == 0


def test_another_answer_is_refused_with_the_first_decision(served: Served, run_id: str) -> None:
    begin(served, "asks", run_id)
    answer(served, run_id, "--respond", HOSTILE)

    told = refusal(served, run_id, "q", "--reject")

    assert "q was answered before: response" in told
    assert "(by ann)" in told
    assert all(char.isprintable() or char == "\n" for char in told), ascii(told)


def test_what_cannot_be_answered_is_told_in_one_line(served: Served, run_id: str) -> None:
    begin(served, "asks", run_id, key="深 度?", config={"allow_edit": False})
    served.start("tells", f"{run_id}-over")

    assert "expected args as JSON" in refusal(served, run_id, "--edit", "{")
    assert "expected args as JSON" in refusal(served, run_id, "--edit", "[" * 100_000)
    assert "allow_edit" in refusal(served, run_id, "--edit", "{}")
    assert "no open question 'other'" in refusal(served, run_id, "other")
    assert "asks no question" in refusal(served, run_id, "other", "--accept")
    assert "has no open question" in refusal(served, f"{run_id}-over", "--accept")
    assert "no-such-run" in refusal(served, "no-such-run", "--accept")
    assert refusal(served, "../functions", "--accept")
    assert answer(served, run_id, "--accept").stdout == "深 度? is answered: accept\n"
    assert "深 度? was answered before: accept (by ann)" in refusal(served, run_id, "--reject")


def test_of_several_questions_one_must_be_named(served: Served, run_id: str) -> None:
    begin(served, "asks_two", run_id)

    told = refusal(served, run_id, "--accept")

    assert "�[2J, second" in told
    assert answer(served, run_id, "second", "--accept").returncode == 0


@pytest.mark.parametrize(
    ("url", "expected", "code"),
    [
        ("127.0.0.1:8000", "expected an address like", 2),
        ("http://127.0.0.1:port", "expected an address like", 2),
        ("http://[", "expected an address like", 2),
        ("http://127.0.0.1:1", "start one with `runcast serve`", 4),
    ],
)
def test_an_address_where_no_server_is_gets_one_line_too(
    url: str, expected: str, code: int
) -> None:
    assert expected in refusal(url, "r", "--accept", code=code)


@pytest.mark.parametrize(
    "reply",
    [
        b"\x1b[31mSSH-2.0\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<html>\x1b[m",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
        b"HTTP/1.1 500 \x1b[31m\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
)
def test_another_kind_of_server_is_told_as_such_and_its_words_are_harmless(reply: bytes) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(WAIT_S)

    def reply_once() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(WAIT_S)
            connection.recv(65536)
            connection.sendall(reply)

    thread = threading.Thread(target=reply_once)
    thread.start()
    try:
        told = refusal(f"http://127.0.0.1:{listening.getsockname()[1]}", "r", code=4)
    finally:
        thread.join(WAIT_S)
        listening.close()

    assert all(char.isprintable() or char == "\n" for char in told), ascii(told)


# --- in a terminal --------------------------------------------------------------------------------


_START: Final = """
import signal, sys
from runcast._cli import main
# As in a terminal's foreground, even if these tests run in the background of a shell.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""


class Terminal:
    """The command in a terminal, and what it shows there."""

    def __init__(self, served: Served, *arguments: str, **env: str) -> None:
        self._master, slave = os.openpty()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", _START, "answer", *arguments],
                env={**given_by(served.url), **env},
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
            )
        finally:
            os.close(slave)
        self.shown = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)
        os.close(self._master)

    def _read(self) -> bool:
        readable, _, _ = select.select([self._master], [], [], WAIT_S)
        assert readable, f"it shows nothing more: {self.shown!r}"
        try:
            data = os.read(self._master, 65536)
        except OSError:  # how Linux tells that the other end is closed
            return False
        self.shown += data.decode()
        return bool(data)

    def wait_for(self, text: str, times: int = 1) -> None:
        while self.shown.count(text) < times:
            assert self._read(), self.shown

    def wait_until_it_reads(self) -> None:
        """Wait until it sleeps: a signal between the prompt and the reading would only be noted."""
        deadline = time.monotonic() + WAIT_S
        while not _state(self.process.pid).startswith(("S", "I")):
            assert time.monotonic() < deadline

    def say(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> int:
        while self._read():
            pass
        return self.process.wait(WAIT_S)


def _state(pid: int) -> str:
    """Return the letter of a process's state."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():  # Linux, where `ps` may be missing
        return stat.read_text().rpartition(") ")[2]
    return subprocess.check_output(["ps", "-o", "state=", "-p", str(pid)], text=True)


PROMPT: Final = "[y]es, [n]o, [e]dit args, [r]espond: "


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([(PROMPT, "y")], ["accept", None, "ann"]),
        ([(PROMPT, "what?"), (PROMPT, ""), (PROMPT, "No")], ["reject", None, "ann"]),
        ([(PROMPT, "r"), ("response: ", "not today")], ["response", "not today", "ann"]),
        ([(PROMPT, "e"), ('to ["b"]: ', "c")], ["edit", {"to": "c"}, "ann"]),
        (
            [(PROMPT, "x"), ("expected one of y, n, e, r, got 'x'", "e"), ('to ["b"]: ', '"d"')],
            ["edit", {"to": "d"}, "ann"],
        ),
    ],
)
def test_in_a_terminal_it_shows_the_question_and_asks_back(
    served: Served, run_id: str, said: list[tuple[str, str]], expected: list[Any]
) -> None:
    begin(served, "asks", run_id)

    with Terminal(served, run_id) as terminal:
        for index, (prompt, reply) in enumerate(said):
            terminal.wait_for(prompt, [each for each, _ in said[: index + 1]].count(prompt))
            terminal.say(f"{reply}\n")
        code = terminal.end()

    lines = terminal.shown.replace("\r\n", "\n").splitlines()
    assert code == 0
    assert lines[:4] == [
        "> Deploy?",
        "> It takes an hour.",
        "  action  deploy",
        '  args    {"to": "b"}',
    ]
    assert lines[-1] == f"q is answered: {expected[0]}"
    assert result(served, run_id) == expected


@pytest.mark.parametrize(
    ("timeout_s", "until"),
    [
        (3600.0, r"  until   20\d\d-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}"),
        (1e300, r"  until   a date .*"),
    ],
)
def test_in_a_terminal_it_offers_what_is_allowed_and_says_until_when(
    served: Served, run_id: str, timeout_s: float, until: str
) -> None:
    begin(served, "asks_by", run_id, timeout_s=timeout_s)
    prompt = "[n]o, [r]espond: "

    with Terminal(served, run_id) as terminal:
        terminal.wait_for(prompt)
        terminal.say("y\n")
        terminal.wait_for(prompt, 2)
        terminal.say("r\n")
        terminal.wait_for("response: ")
        terminal.say("so\n")
        assert terminal.end() == 0

    lines = terminal.shown.replace("\r\n", "\n").splitlines()
    assert lines[1:3] == ["  args    7", '  schema  {"type": "string"}']
    assert re.fullmatch(until, lines[3])
    assert result(served, run_id) == ["response", "so", "ann"]


def test_what_a_run_says_reaches_a_terminal_without_what_it_would_obey(
    served: Served, run_id: str
) -> None:
    begin(served, "asks_evil", run_id)

    with Terminal(served, run_id) as terminal:
        terminal.wait_for(PROMPT)
        terminal.say("n\n")
        assert terminal.end() == 0

    shown = terminal.shown.replace("\r\n", "\n")
    assert all(char.isprintable() or char == "\n" for char in shown), ascii(shown)
    actions = [line for line in shown.splitlines() if line.startswith("  action")]
    assert len(actions) == 1
    assert actions[0].endswith("red�  action  harmless")
    assert ">   action  harmless" in shown.splitlines()


def test_what_is_not_english_is_shown_as_it_was_written(served: Served, run_id: str) -> None:
    begin(served, "asks_in_chinese", run_id)

    with Terminal(served, run_id) as terminal:
        terminal.wait_for("[n]o, [e]dit args, [r]espond: ")
        terminal.say("r\n")
        terminal.wait_for("response: ")
        terminal.say("不要\n")
        assert terminal.end() == 0

    lines = terminal.shown.replace("\r\n", "\n").splitlines()
    assert lines[:3] == [
        "> 搜索网络？",
        '  args    {"query": "天气 😀"}',
        '  schema  {"title": "城市"}',
    ]
    assert result(served, run_id) == ["response", "不要", "ann"]


def test_args_that_are_too_long_to_be_shown_are_not_passed_off_as_whole(
    served: Served, run_id: str
) -> None:
    begin(served, "asks_much", run_id)

    with Terminal(served, run_id) as terminal:
        terminal.wait_for(PROMPT)
        terminal.say("n\n")
        assert terminal.end() == 0

    assert "more characters of args" in terminal.shown


@pytest.mark.parametrize("leaves", ["\x04", signal.SIGINT])
def test_who_leaves_without_an_answer_has_given_none(
    served: Served, run_id: str, leaves: str | signal.Signals
) -> None:
    begin(served, "asks", run_id)

    with Terminal(served, run_id) as terminal:
        terminal.wait_for(PROMPT)
        if isinstance(leaves, str):
            terminal.say(leaves)
        else:
            terminal.wait_until_it_reads()
            terminal.process.send_signal(leaves)
        assert terminal.end() == (2 if isinstance(leaves, str) else 130)

    assert "no answer was given" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert served.ask("GET", f"/runs/{run_id}").json["status"] == "waiting"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ('sed -i s/b/z/ "$1"', ["edit", {"to": "z"}, "ann"]),
        ('echo "{" > "$1"', None),
        ("exit 3", None),
    ],
)
def test_an_editor_is_given_what_the_run_proposes(
    served: Served, run_id: str, tmp_path: Path, script: str, expected: object
) -> None:
    editor = tmp_path / "editor"
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o755)
    begin(served, "asks", run_id)

    with Terminal(served, run_id, EDITOR=str(editor), TMPDIR=str(tmp_path)) as terminal:
        terminal.wait_for(PROMPT)
        terminal.say("e\n")
        if expected is None:
            terminal.wait_for("nothing was sent")
            terminal.wait_for(PROMPT, times=2)
            terminal.say("n\n")
        assert terminal.end() == 0

    kept = list(tmp_path.glob("runcast-*.json"))
    assert [file.read_text() for file in kept] == (["{\n"] if "echo" in script else [])
    if expected is not None:
        assert result(served, run_id) == expected


def test_leaving_the_editor_without_a_change_approves_nothing(
    served: Served, run_id: str, tmp_path: Path
) -> None:
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nexit 0\n")
    editor.chmod(0o755)
    begin(served, "asks", run_id)

    with Terminal(served, run_id, EDITOR=str(editor), TMPDIR=str(tmp_path)) as terminal:
        terminal.wait_for(PROMPT)
        terminal.say("e\n")
        terminal.wait_for("nothing was changed, so nothing was sent")
        terminal.wait_for(PROMPT, times=2)
        terminal.say("n\n")
        assert terminal.end() == 0

    assert result(served, run_id) == ["reject", None, "ann"]
