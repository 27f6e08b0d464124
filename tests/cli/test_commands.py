"""The commands that speak to a server: invoke, watch, runs, cancel."""

import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runcast._cli import make_parser
from tests.cli import served as process
from tests.cli.inside import run
from tests.cli.served import Served, frames, serve
from tests.environment import environment
from tests.waiting import WAIT_S

TARGET = '''
import dataclasses
import enum
import pathlib
import threading
from typing import Annotated, Literal

import msgspec
import runcast

class Size(enum.Enum):
    LARGE = "l"
    SMALL = "s"

@dataclasses.dataclass
class Order:
    number: int
    note: str = ""

@runcast.function
def order(
    orders: list[Order],
    size: Size = Size.SMALL,
    path: Annotated[pathlib.Path | None, "where it goes"] = None,
    count: Annotated[int, msgspec.Meta(ge=1, lt=9)] = 1,
):
    return [type(each).__name__ for each in (orders[0], size, path, count)]

@runcast.function
def greet(name: str, times: int = 1):
    """Say hello."""
    for count in range(times):
        runcast.progress(count + 1, times, "greeting")
        yield f"hello {name}\\n"
    return {"greeted": name}

@runcast.function
def fail():
    raise runcast.RunFailed("the disk is on fire", "fire")

@runcast.function
def hostile():
    yield "\\x1b[2Jcleared\\x07\\n"
    runcast.log("\\x1b]0;title\\x07")

@runcast.function
def ask():
    return runcast.ask("May I?").type

@runcast.function
def work():
    for number in range(12):
        runcast.log(f"line {number}")
    for cost in (0.2, 0.3):
        runcast.usage("tiny", 1000, 15, cost=cost)
    runcast.step_start("read", node="read", agent="ann")
    runcast.step_start("by hand", node="sort")
    runcast.ask("Go on?")

@runcast.function
def wait():
    yield "waiting\\n"
    while True:
        threading.Event().wait(0.01)
        runcast.progress(1, 2)
'''


NDJSON = "application/x-ndjson"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "target.py").write_text(TARGET)
    with serve("target.py", "--store", "memory://", cwd=folder) as server:
        yield server


def command(served: Served, *arguments: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    return run(*arguments, cwd=tmp_path, env={"RUNCAST_URL": served.url})


def test_invoke_shows_the_run_and_returns_its_outcome(served: Served, tmp_path: Path) -> None:
    told = command(
        served, "invoke", "greet", "--input", "name=Ada", "--input", "times=2", tmp_path=tmp_path
    )

    assert told.returncode == 0, told.stderr
    assert told.stdout == (
        ' 50.0 % greeting\nhello Ada\n100.0 % greeting\nhello Ada\ndone: {"greeted": "Ada"}\n'
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [("7", "7"), ('"7"', "7"), ("a=b", "a=b"), ("NaN", "NaN"), ("1e999", "1e999"), ("", "")],
)
def test_inputs_are_json_where_they_can_be_and_text_elsewhere(
    served: Served, tmp_path: Path, value: str, shown: str
) -> None:
    told = command(served, "invoke", "greet", "--input", f"name={value}", tmp_path=tmp_path)

    if value == "7":
        assert told.returncode == 2
        assert "name: Expected `str`, got `int`" in told.stderr
    else:
        assert f"hello {shown}" in told.stdout


def test_a_run_that_fails_says_why_and_returns_1(served: Served, tmp_path: Path) -> None:
    told = command(served, "invoke", "fail", tmp_path=tmp_path)

    assert (told.returncode, told.stdout) == (1, "failed (fire): the disk is on fire\n")


def test_json_is_one_canonical_event_a_line(served: Served, tmp_path: Path) -> None:
    told = command(
        served, "invoke", "greet", "--json", '{"name": "Ö"}', "--json", tmp_path=tmp_path
    )

    events = [json.loads(line) for line in told.stdout.splitlines()]
    assert [event["seq"] for event in events] == [1, 2, 3, 4]
    assert events[-1] == {
        "seq": 4,
        "time": events[-1]["time"],
        "type": "done",
        "data": {"result": {"greeted": "Ö"}},
    }


def test_a_run_is_begun_left_listed_watched_and_cancelled(served: Served, tmp_path: Path) -> None:
    begun = command(served, "invoke", "wait", "--detach", "--run-id", "w1", tmp_path=tmp_path)
    listed = command(served, "runs", "--function", "wait", tmp_path=tmp_path)
    ended = command(served, "cancel", "w1", "--reason", "enough", tmp_path=tmp_path)
    watched = command(served, "watch", "w1", tmp_path=tmp_path)
    again = command(served, "runs", "--status", "cancelled", "--json", tmp_path=tmp_path)

    assert begun.stdout == "w1\n"
    assert re.fullmatch(r"RUN +STATUS .*\nw1 +running .* wait\n", listed.stdout)
    assert ended.stdout == "w1 cancelled\n"
    assert watched.returncode == 3
    assert watched.stdout.endswith("cancelled: enough\n")
    assert json.loads(again.stdout)["run_id"] == "w1"


def test_watching_begins_behind_a_position(served: Served, tmp_path: Path) -> None:
    command(served, "invoke", "greet", "--input", "name=x", "--run-id", "g1", tmp_path=tmp_path)
    position = served.ask("GET", "/runs/g1").json["position"]
    behind = position.replace("-4", "-3")

    told = command(served, "watch", "g1", "--after", behind, "--json", tmp_path=tmp_path)
    over = command(served, "watch", "g1", "--after", position, "--json", tmp_path=tmp_path)

    assert [json.loads(line)["seq"] for line in told.stdout.splitlines()] == [4]
    assert over.stdout == ""


def test_leaving_with_ctrl_c_leaves_the_run_going_and_says_how_to_come_back(
    served: Served, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "runcast", "invoke", "wait", "--run-id", "w2"],
        cwd=tmp_path,
        env=environment({"RUNCAST_URL": served.url}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()

    assert process.returncode == 130
    assert "runcast watch w2" in told
    assert served.ask("GET", "/runs/w2").json["status"] == "running"
    assert served.ask("POST", "/runs/w2/cancel").status == 200


def test_what_a_run_says_cannot_command_the_terminal(served: Served, tmp_path: Path) -> None:
    told = command(served, "invoke", "hostile", tmp_path=tmp_path)

    assert "\x1b" not in told.stdout
    assert "\x07" not in told.stdout
    assert "[2Jcleared" in told.stdout


def test_in_a_terminal_progress_is_a_bar(served: Served, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "runcast", "invoke", "greet", "--input", "name=Ada"],
        cwd=tmp_path,
        env=environment({"RUNCAST_URL": served.url, "TERM": "xterm"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:
        pass  # the other end is closed: all is read
    finally:
        process.kill()
        process.wait()
        os.close(ours)

    assert "[████████████████████████] 100.0 % 1/1 greeting" in shown.decode()
    assert 'done: {"greeted": "Ada"}' in shown.decode().splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("watch", "nobody"), "there is no run"),
        (("invoke", "nothing"), "there is no function"),
        (("invoke", "greet", "--input", "name"), "NAME=VALUE"),
        (("invoke", "greet", "--json", "{"), "JSON"),
        (("runs", "--limit", "0"), "limit"),
        (("watch", "x", "--after", "7"), "position"),
        (("runs", "--url", "ftp://x"), "address"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    served: Served, tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    told = command(served, *arguments, tmp_path=tmp_path)

    assert told.returncode == 2
    assert problem in told.stderr
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("watch", "BAD"),
        ("watch", "x", "--url", "http://localhost/BAD"),
        ("cancel", "BAD"),
        ("cancel", "x", "--reason", "BAD"),
        ("answer", "BAD"),
        ("answer", "x", "BAD", "--accept"),
        ("answer", "x", "--respond", "BAD"),
        ("answer", "x", "--accept", "--by", "BAD"),
        ("invoke", "BAD"),
        ("invoke", "greet", "--input", "name=BAD"),
        ("invoke", "greet", "--json", '{"name": "BAD"}'),
        ("invoke", "greet", "--run-id", "BAD"),
        ("runs", "--function", "BAD"),
        ("runs", "--status", "BAD"),
    ],
)
def test_an_argument_that_is_not_utf_8_is_a_misuse(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    told = run(*(each.replace("BAD", "\udcff") for each in arguments), cwd=tmp_path)

    assert told.returncode == 2
    assert "expected UTF-8, got b'" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_user_whose_name_is_not_utf_8_may_answer(tmp_path: Path) -> None:
    told = run(
        *("answer", "x", "q", "--accept", "--url", "http://127.0.0.1:1"),
        cwd=tmp_path,
        env={"USER": "\udcff"},
    )

    assert told.returncode == 4, told.stderr  # there is no server


QUICK = {"RUNCAST_RETRY_S": "0.1"}
"""Lets watchers come back soon."""


def test_a_watcher_survives_a_restart_of_the_server(tmp_path: Path) -> None:
    (tmp_path / "target.py").write_text(TARGET)
    with serve("target.py", "--store", "sqlite:///r.db", cwd=tmp_path, env=QUICK) as first:
        port = first.port
        first.start("wait", "w3")
        watching = subprocess.Popen(
            [sys.executable, "-m", "runcast", "watch", "w3", "--json"],
            cwd=tmp_path,
            env=environment({"RUNCAST_URL": first.url}),
            stdout=subprocess.PIPE,
            bufsize=0,  # what is read ahead here would be missing from the rest
        )
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["seq"] == 1
        first.process.kill()
    try:
        with serve("target.py", "--store", "sqlite:///r.db", cwd=tmp_path, env=QUICK, port=port):
            rest, _ = watching.communicate(timeout=WAIT_S)
    finally:
        watching.kill()

    events = [json.loads(line) for line in rest.splitlines()]
    assert [event["seq"] for event in events] == list(range(2, len(events) + 2))
    assert events[-1]["data"]["code"] == "lost"
    assert watching.returncode == 1


# --- leaving, losing, coming back -----------------------------------------------------------------


def test_a_watcher_survives_a_server_that_is_shut_down_in_order(tmp_path: Path) -> None:
    (tmp_path / "target.py").write_text(TARGET)
    with serve("target.py", "--store", "sqlite:///r.db", cwd=tmp_path, env=QUICK) as first:
        port = first.port
        first.start("wait", "w4")
        watching = subprocess.Popen(
            [sys.executable, "-m", "runcast", "watch", "w4", "--json"],
            cwd=tmp_path,
            env=environment({"RUNCAST_URL": first.url}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert json.loads(watching.stdout.readline())["seq"] == 1
        os.kill(watching.pid, signal.SIGSTOP)  # so that it has not heard of the ending
        assert first.end()[0] == 0
        os.kill(watching.pid, signal.SIGCONT)
    try:
        with serve("target.py", "--store", "sqlite:///r.db", cwd=tmp_path, env=QUICK, port=port):
            rest, _ = watching.communicate(timeout=WAIT_S)
    finally:
        watching.kill()

    events = [json.loads(line) for line in rest.splitlines()]
    assert [event["seq"] for event in events] == list(range(2, len(events) + 2))
    assert events[-1]["type"] == "cancelled"
    assert watching.returncode == 3


def test_json_lines_are_the_events_as_they_are_stored(served: Served, tmp_path: Path) -> None:
    command(served, "invoke", "hostile", "--run-id", "h1", tmp_path=tmp_path)
    told = command(served, "watch", "h1", "--json", tmp_path=tmp_path)
    stored = served.ask("GET", "/runs/h1/events?live=false", headers={"Accept": NDJSON}).body

    lines = [line for line in stored.splitlines() if b'"seq"' in line]
    assert [json.loads(line) for line in told.stdout.splitlines()] == [
        {name: value for name, value in json.loads(line).items() if name != "id"} for line in lines
    ]
    assert told.stdout.count("\n") == 4


def test_the_exit_code_is_that_of_the_run_even_where_nothing_is_left_to_be_shown(
    served: Served, tmp_path: Path
) -> None:
    command(served, "invoke", "fail", "--run-id", "f1", tmp_path=tmp_path)
    position = served.ask("GET", "/runs/f1").json["position"]
    told = command(served, "watch", "f1", "--after", position, tmp_path=tmp_path)

    assert (told.returncode, told.stdout) == (1, "")


@pytest.mark.parametrize("arguments", [("watch", "x"), ("runs",), ("cancel", "x"), ("invoke", "f")])
def test_without_a_server_it_is_said_at_once_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    told = run(*arguments, "--url", "http://127.0.0.1:1", cwd=tmp_path)

    assert told.returncode == 4
    assert "start one with `runcast serve`" in told.stderr
    assert told.stderr.count("\n") == 1


def test_an_access_token_is_asked_for_and_taken_from_the_environment(tmp_path: Path) -> None:
    with serve("--store", "memory://", cwd=tmp_path, env={"RUNCAST_TOKEN": "sesame"}) as server:
        url = {"RUNCAST_URL": server.url}
        without = run("runs", cwd=tmp_path, env=url)
        wrong = run("runs", cwd=tmp_path, env={**url, "RUNCAST_TOKEN": "mellon"})
        unfit = run("runs", cwd=tmp_path, env={**url, "RUNCAST_TOKEN": "se\nsame"})
        right = run("runs", "--json", cwd=tmp_path, env={**url, "RUNCAST_TOKEN": "sesame"})

    assert [each.returncode for each in (without, wrong, unfit, right)] == [2, 2, 2, 0]
    assert "RUNCAST_TOKEN" in without.stderr
    assert "RUNCAST_TOKEN" in wrong.stderr
    assert "sesame" not in without.stderr + wrong.stderr + unfit.stderr


# --- what reads the output ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_that_has_enough_is_no_error(
    served: Served, tmp_path: Path, options: tuple[str, ...]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "runcast", "invoke", "wait", *options],
        cwd=tmp_path,
        env=environment({"RUNCAST_URL": served.url}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(WAIT_S) == 141
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.stderr.close()


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_disk_that_is_full_is_said(
    served: Served, tmp_path: Path, options: tuple[str, ...]
) -> None:
    with open("/dev/full", "w") as full:
        told = subprocess.run(
            [sys.executable, "-m", "runcast", "invoke", "greet", "--input", "name=x", *options],
            cwd=tmp_path,
            env=environment({"RUNCAST_URL": served.url}),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    assert told.returncode == 2
    assert told.stderr == "runcast: the output cannot be written: No space left on device\n"


def test_nobody_needs_to_read_the_output(served: Served, tmp_path: Path) -> None:
    told = subprocess.run(
        f'"{sys.executable}" -m runcast invoke fail >&-',
        shell=True,
        cwd=tmp_path,
        env=environment({"RUNCAST_URL": served.url}),
        stderr=subprocess.PIPE,
        text=True,
        timeout=WAIT_S,
        check=False,
    )

    assert (told.returncode, told.stderr) == (1, "")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_what_the_output_cannot_hold_is_marked(
    served: Served, tmp_path: Path, encoding: str
) -> None:
    told = process.run(
        *("invoke", "greet", "--input", "name=文"),
        cwd=tmp_path,
        env={"RUNCAST_URL": served.url, "PYTHONIOENCODING": encoding},
    )

    assert told.returncode == 0, told
    assert "hello ?\n" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("greet", "--json", "[1]"), "expected --json alone, or an object"),
    ],
)
def test_json_is_about_the_output_or_an_object_of_inputs(
    served: Served, tmp_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    told = command(served, "invoke", *arguments, tmp_path=tmp_path)

    assert told.returncode == 2
    assert problem in told.stderr


def test_json_alone_leaves_the_name_of_the_function_alone(served: Served, tmp_path: Path) -> None:
    shown = command(served, "invoke", "--json", "greet", "--input", "name=Ada", tmp_path=tmp_path)

    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout.partition("\n")[0])["type"] == "started"


def test_the_bare_command_shows_what_there_is(tmp_path: Path) -> None:
    shown = process.run(cwd=tmp_path)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert "serve functions over HTTP" in shown.stdout


def test_help_fits_a_terminal(tmp_path: Path) -> None:
    (commands,) = (a.choices for a in make_parser()._actions if isinstance(a.choices, dict))

    for name, parser in commands.items():
        text = parser.format_help().partition("\nexamples:")[0]
        assert max(map(len, text.splitlines())) <= shutil.get_terminal_size().columns, name


def test_functions_are_listed_and_described(served: Served, tmp_path: Path) -> None:
    listed = command(served, "functions", tmp_path=tmp_path)
    described = command(served, "functions", "greet", tmp_path=tmp_path)
    unknown = command(served, "functions", "nothing", tmp_path=tmp_path)

    lines = listed.stdout.splitlines()
    assert lines[0] == "FUNCTION  WHAT IT DOES"
    assert "greet     Say hello." in lines
    assert described.stdout == (
        "greet\n  Say hello.\n  --input name=…  string\n  --input times=…  integer = 1\n"
    )
    assert unknown.returncode == 2
    assert "`runcast functions`" in unknown.stderr


def test_inputs_of_classes_are_described_and_given(served: Served, tmp_path: Path) -> None:
    described = command(served, "functions", "order", tmp_path=tmp_path)
    inputs = ("--input", 'orders=[{"number": 5}]', "--input", "size=l", "--input", "path=a")
    invoked = command(served, "invoke", "order", *inputs, tmp_path=tmp_path)
    refused = command(served, "invoke", "order", "--input", "orders=[{}]", tmp_path=tmp_path)

    assert described.stdout.splitlines()[1:] == [
        "  --input orders=…  array of Order {number, note?}",
        '  --input size=…  "l" | "s" = "s"',
        "  --input path=…  path | null = null",
        "      where it goes",
        "  --input count=…  integer (≥ 1, < 9) = 1",
    ]
    assert '["Order", "Size", "PosixPath", "int"]' in invoked.stdout.replace("'", '"')
    assert refused.returncode == 2
    assert "orders: Object missing required field `number` - at `$[0]`" in refused.stderr


def test_a_run_that_is_there_is_replaced_if_that_is_wanted(served: Served, tmp_path: Path) -> None:
    again = ("invoke", "greet", "--input", "name=Ada", "--run-id", "r1")
    codes = [command(served, *again, tmp_path=tmp_path).returncode]
    refused = command(served, *again, tmp_path=tmp_path)
    codes.append(command(served, *again, "--replace", tmp_path=tmp_path).returncode)
    assert (codes, refused.returncode) == ([0, 0], 2)
    assert "`--replace` starts it again" in refused.stderr


def test_a_text_that_looks_like_a_number_is_explained(served: Served, tmp_path: Path) -> None:
    refused = command(served, "invoke", "greet", "--input", "name=5", tmp_path=tmp_path)
    assert refused.returncode == 2
    assert """give a text as --input 'name="5"'""" in refused.stderr


def test_runs_are_selected_by_label(served: Served, tmp_path: Path) -> None:
    for owner in ("ada", "bob"):
        body = {"inputs": {"name": owner}, "labels": {"owner": owner}, "run_id": f"of-{owner}"}
        with served.open("POST", "/invoke/greet", body) as response:
            response.read()
    listed = command(served, "runs", "--label", "owner=ada", "--json", tmp_path=tmp_path)
    assert [json.loads(line)["run_id"] for line in listed.stdout.splitlines()] == ["of-ada"]


def test_a_run_is_shown_as_it_is_now(served: Served, tmp_path: Path) -> None:
    command(served, "invoke", "greet", "--input", "name=Ada", "--run-id", "s1", tmp_path=tmp_path)

    shown = command(served, "show", "s1", tmp_path=tmp_path)
    document = command(served, "show", "s1", "--json", tmp_path=tmp_path)
    nobody = command(served, "show", "nobody", tmp_path=tmp_path)

    lines = [line.split(maxsplit=1) for line in shown.stdout.splitlines() if line]
    assert ["status", "done"] in lines
    assert ["name", '= "Ada"'] in lines
    assert ["function", "greet"] in lines
    assert ["hello", "Ada"] in lines
    assert ['{"greeted":', '"Ada"}'] in lines
    assert json.loads(document.stdout)["state"]["result"] == {"greeted": "Ada"}
    assert nobody.returncode == 2
    assert nobody.stderr.count("\n") == 1


def test_usage_messages_and_the_last_log_lines_are_shown(served: Served, tmp_path: Path) -> None:
    command(served, "invoke", "work", "--run-id", "worked", "--detach", tmp_path=tmp_path)
    with served.open("GET", "/runs/worked/events") as response:
        assert any("interrupt_request" in frame["data"] for frame in frames(response))
    command(served, "send", "worked", "page 3", "--from", "ann\x1b[2J", tmp_path=tmp_path)

    shown = command(served, "show", "worked", tmp_path=tmp_path).stdout
    command(served, "cancel", "worked", tmp_path=tmp_path)

    parts = dict(part.split("\n", 1) for part in shown.rstrip().split("\n\n"))
    assert parts["steps"].splitlines() == ["  read ann", "  sort: by hand"]
    assert parts["usage"] == "  tiny: 2 calls, 2,000 tokens in, 30 out, 0.5"
    assert parts["unread messages"] == '  ann\ufffd[2J: "page 3"'
    logs = [f"  info: line {number}" for number in range(2, 12)]
    assert parts["log"].splitlines() == ["  (2 before)", *logs]


def test_completed_steps_and_answers_are_shown(served: Served, tmp_path: Path) -> None:
    served.start("ask", "answered")
    given = {"type": "edit", "args": {"n": 2}, "by": "ada\x1b[31m"}
    with served.open("GET", "/runs/answered/events") as response:
        asked = next(frame for frame in frames(response) if "interrupt_request" in frame["data"])
        question = json.loads(asked["data"])["data"]["interrupt_id"]
        path = f"/runs/answered/interrupts/{question}"
        assert served.ask("POST", path, given).status == 200
        assert list(frames(response))

    shown = command(served, "show", "answered", tmp_path=tmp_path).stdout

    answers = shown.partition("\nanswers\n")[2].splitlines()
    assert answers[0] == f'  {question}: May I? (edit {{"n": 2}} by ada�[31m)'


def test_runs_are_deleted_and_one_that_is_not_there_stops_nothing(
    served: Served, tmp_path: Path
) -> None:
    for run_id in ("d1", "d2"):
        command(
            served, "invoke", "greet", "--input", "name=A", "--run-id", run_id, tmp_path=tmp_path
        )

    deleted = command(served, "rm", "d1", "nobody", "d2", tmp_path=tmp_path)

    assert deleted.stdout == "d1\nd2\n"
    assert deleted.returncode == 2
    assert deleted.stderr == "runcast: there is no run 'nobody'\n"
    assert served.ask("GET", "/runs/d2").status == 404


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_commands(tmp_path: Path, shell: str) -> None:
    script = run("completion", shell, cwd=tmp_path)

    assert script.returncode == 0, script.stderr
    if shell == "bash":
        ask = "COMP_WORDS=(runcast can); COMP_CWORD=1; _shtab_runcast; echo ${COMPREPLY[@]}"
        done = subprocess.run(
            ["bash", "-c", f"{script.stdout}\n{ask}"], capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == "cancel", done.stderr
    else:
        assert "'cancel" in script.stdout or "cancel:" in script.stdout


def test_what_became_of_a_run_is_json_too(served: Served, tmp_path: Path) -> None:
    begun = command(served, "invoke", "wait", "--detach", "--json", tmp_path=tmp_path)
    run_id = json.loads(begun.stdout)["run_id"]
    ended = command(served, "cancel", run_id, "--json", tmp_path=tmp_path)

    assert json.loads(ended.stdout)["status"] == "cancelled"


def test_a_question_is_shown_with_the_command_that_answers_it(
    served: Served, tmp_path: Path
) -> None:
    asking = run_until_it_asks(served, tmp_path)
    answering = re.search(r"answer with: runcast (.*)\)", asking[0])
    assert answering is not None
    answered = run(*shlex.split(answering[1]), "--accept", "--by", "eve", cwd=tmp_path)
    rest = asking[1].communicate(timeout=WAIT_S)[0]

    assert answered.returncode == 0, answered
    assert rest == "answered by eve: accept\nquestion closed: answered\ndone: accept\n"


def run_until_it_asks(served: Served, cwd: Path) -> "tuple[str, subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-m", "runcast", "invoke", "ask", "--url", served.url],
        cwd=cwd,
        env=environment(None),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process.stdout.readline(), process
