"""A person at a terminal: answers, messages and Ctrl-C in place, while the run goes on."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.emulator import InTerminal
from tests.cli.inside import run
from tests.cli.served import Served, serve
from tests.waiting import WAIT_S

TARGET = """
import runcast

@runcast.function
def asks():
    answer = runcast.ask("deploy?", interrupt_id="q", action="deploy", args={"to": "b"})
    return [answer.type, answer.args, answer.by]

@runcast.function
def chooses():
    config = {"response_schema": {"enum": ["red", "blue"]}, "allow_edit": False}
    return runcast.ask("which?", interrupt_id="q", config=config).args

@runcast.function
def hears():
    runcast.content("listening")
    return [[message.data, message.sender] for _, message in zip(range(2), runcast.inbox())]

@runcast.function
def asks_later():
    runcast.log("begun")
    for message in runcast.inbox():
        if message.data == "ask":
            return runcast.ask("sure?", interrupt_id="x").type

@runcast.function
async def works():
    import asyncio
    runcast.step_start("plan", node="plan", agent="ann")
    runcast.tool_call("search", {"q": "tea"}, call_id="1", node="plan", agent="ann")
    runcast.progress(1, 4, "first", task="one")
    runcast.progress(2, 4, "second", task="two")
    for _ in range(3):
        runcast.content("Tea ", agent="ann")
        runcast.content("Sky ", agent="bob")
    if (await runcast.inbox().poll()) is None:
        async for _ in runcast.inbox():
            break
    runcast.content("is **good**.\\n\\n", agent="ann")
    runcast.tool_result("search", "found", call_id="1", ok=True, node="plan", agent="ann")
    runcast.step_complete(node="plan", agent="ann")

@runcast.function
async def waits():
    import asyncio
    runcast.log("begun")
    await asyncio.Event().wait()
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "target.py").write_text(TARGET, "utf-8")
    with serve("target.py", "--store", "memory://", cwd=folder) as server:
        yield server


def at(served: Served, tmp_path: Path, *arguments: str, **env: str) -> InTerminal:
    given = {"RUNCAST_URL": served.url, "USER": "ann", **env}
    return InTerminal(*arguments, cwd=tmp_path, env=given)


def until(terminal: InTerminal, text: str) -> None:
    terminal.read_until(lambda rows: any(text in row for row in rows))


def test_a_question_is_answered_at_the_prompt_below_the_run(served: Served, tmp_path: Path) -> None:
    with at(served, tmp_path, "invoke", "asks") as terminal:
        until(terminal, "[y]es, [n]o, [e]dit args, [r]espond, [m]essage:")
        terminal.type(b"e\n")
        until(terminal, 'to ["b"]:')
        terminal.type(b"c\x7fstaging\n")
        assert terminal.end() == 0

    rows = "\n".join(terminal.rows)
    assert 'asks: deploy? deploy({"to": "b"})\n' in rows
    assert "answer with" not in rows
    assert 'answered by ann: edit {"to": "staging"}' in rows
    assert 'done: ["edit", {"to": "staging"}, "ann"]' in rows
    assert "[y]es" not in rows


@pytest.mark.heavy
def test_one_of_several_choices_is_typed_by_its_number(served: Served, tmp_path: Path) -> None:
    with at(served, tmp_path, "invoke", "chooses") as terminal:
        until(terminal, "[y]es, [n]o, [r]espond, [m]essage:")
        terminal.type(b"what\n")
        until(terminal, "expected one of y, n, r, m, got 'what'")
        terminal.type(b"r\n")
        until(terminal, '2) "blue"')
        terminal.type(b"2\n")
        assert terminal.end() == 0

    assert "done: blue" in terminal.rows


@pytest.mark.heavy
def test_an_editor_gets_the_terminal_for_as_long_as_it_runs(served: Served, tmp_path: Path) -> None:
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\necho editing\nread line\necho "{\\"to\\": \\"$line\\"}" > "$1"\n')
    editor.chmod(0o755)
    with at(served, tmp_path, "invoke", "asks", EDITOR=str(editor)) as terminal:
        until(terminal, "[e]dit args")
        terminal.type(b"e\n")
        until(terminal, "editing")
        terminal.type(b"here\n")
        assert terminal.end() == 0

    assert 'answered by ann: edit {"to": "here"}' in "\n".join(terminal.rows)


def test_a_typed_line_is_a_message_to_the_run(served: Served, tmp_path: Path) -> None:
    with at(served, tmp_path, "invoke", "hears") as terminal:
        until(terminal, "listening")
        terminal.type("grüße 文".encode())
        until(terminal, "message: grüße 文")
        terminal.type(b"\n")
        until(terminal, "message from ann: grüße 文")
        terminal.type(b"two\n")
        assert terminal.end() == 0

    assert 'done: [["grüße 文", "ann"], ["two", "ann"]]' in terminal.rows


def test_who_answers_second_hears_who_answered_and_what(served: Served, tmp_path: Path) -> None:
    with at(served, tmp_path, "invoke", "asks", "--run-id", "two") as terminal:
        until(terminal, "[y]es")
        answer = ("answer", "two", "q", "--url", served.url)
        other = run(*answer, "--respond", "later", "--by", "bob", cwd=tmp_path)
        late = run(*answer, "--accept", cwd=tmp_path)
        assert terminal.end() == 0

    assert other.returncode == 0
    assert "q was answered before: response later (by bob)" in late.stderr
    rows = "\n".join(terminal.rows)
    assert "answered by bob: response later" in rows
    assert "[y]es" not in rows


def test_texts_steps_tools_and_bars_are_shown_at_once(served: Served, tmp_path: Path) -> None:
    with at(served, tmp_path, "invoke", "works") as terminal:
        until(terminal, "bob: Sky Sky Sky")
        shown = terminal.rows
        terminal.type(b"go\n")
        assert terminal.end() == 0

    assert "ann: Tea Tea Tea" in shown
    assert 'plan ann: search({"q": "tea"})' in shown
    moving = [row for row in shown if row.startswith(("●", "["))]
    assert [row.split()[1] for row in moving] == [
        *("plan", "search"),
        *("25.0", "50.0"),
    ] or len(moving) == 4
    rows = terminal.rows
    assert "ann:" in rows
    assert "Tea Tea Tea is good." in rows
    assert any(row.startswith("✓ plan · ann (") for row in rows)
    assert "plan ann: search gave found" in rows
    assert not any(row.startswith("●") for row in rows)


def test_a_second_ctrl_c_cancels_the_run_once_it_is_confirmed(
    served: Served, tmp_path: Path
) -> None:
    with at(served, tmp_path, "invoke", "waits", "--run-id", "c1") as terminal:
        until(terminal, "begun")
        terminal.type(b"half a line")
        until(terminal, "message: half a line")
        terminal.type(b"\x03")
        until(terminal, "not sent: half a line")
        terminal.type(b"\x03")
        until(terminal, "cancel the run c1? [y]es, [n]o:")
        terminal.type(b"y\n")
        assert terminal.end() == 3

    assert "the run is cancelled" in terminal.rows
    assert served.ask("GET", "/runs/c1").json["state"]["cancel_reason"] == (
        "cancelled at the terminal"
    )


@pytest.mark.heavy
@pytest.mark.parametrize("said", [b"n\n", b"\n", b"\x03"])
def test_without_a_yes_the_run_goes_on(served: Served, tmp_path: Path, said: bytes) -> None:
    run_id = f"g{said[0]}"
    with at(served, tmp_path, "invoke", "waits", "--run-id", run_id) as terminal:
        until(terminal, "begun")
        terminal.type(b"\x03")
        until(terminal, "the run goes on")
        terminal.type(b"\x03")
        until(terminal, "cancel the run")
        terminal.type(said)
        assert terminal.end() == 130

    assert served.ask("GET", f"/runs/{run_id}").json["status"] == "running"
    served.ask("POST", f"/runs/{run_id}/cancel")


def test_a_message_that_was_begun_before_a_question_does_not_answer_it(
    served: Served, tmp_path: Path
) -> None:
    with at(served, tmp_path, "invoke", "asks_later", "--run-id", "m1") as terminal:
        until(terminal, "begun")
        terminal.type(b"y")
        until(terminal, "message: y")
        assert served.ask("POST", "/runs/m1/messages", {"data": "ask"}).status == 201
        until(terminal, "asks: sure?")
        terminal.type(b"es\n")
        until(terminal, "message from ann: yes")
        until(terminal, "[y]es, [n]o")
        terminal.type(b"\x03")
        assert terminal.end() == 130

    asked = served.ask("GET", "/runs/m1").json["state"]["interrupts"]
    assert [(one["interrupt_id"], one.get("is_answered", False)) for one in asked] == [("x", False)]
    served.ask("POST", "/runs/m1/cancel")


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_has_its_echo_again_whatever_ends_the_command(
    served: Served, tmp_path: Path, number: signal.Signals
) -> None:
    run_id = f"e{number}"
    with at(served, tmp_path, "invoke", "waits", "--run-id", run_id) as terminal:
        until(terminal, "begun")
        terminal.type(b"seen")
        until(terminal, "message: seen")
        assert not terminal.echoes
        terminal.process.send_signal(number)
        assert terminal.process.wait(WAIT_S) == -number
        assert terminal.echoes
    served.ask("POST", f"/runs/{run_id}/cancel")


def test_the_list_of_runs_is_live(served: Served, tmp_path: Path) -> None:
    with at(served, tmp_path, "runs", "--watch", "--label", "live=1") as terminal:
        until(terminal, "no runs yet")
        labels = {"labels": {"live": "1"}, "inputs": {}}
        for run_id in ("l1", "l2"):
            body = {**labels, "run_id": run_id}
            served.ask("POST", "/invoke/waits", body, {"Prefer": "respond-async"})
        until(terminal, "2 running")
        served.ask("POST", "/runs/l1/cancel")
        until(terminal, "1 cancelled, 1 running")
        served.ask("DELETE", "/runs/l1")
        terminal.read_until(lambda rows: "1 running" in rows)
        terminal.type(b"\x03")
        assert terminal.end() == 130

    assert [row.split()[:2] for row in terminal.rows[:2]] == [["RUN", "STATUS"], ["l2", "running"]]
    served.ask("POST", "/runs/l2/cancel")


def test_a_thread_is_shown_with_runs_that_begin_later(served: Served, tmp_path: Path) -> None:
    with at(served, tmp_path, "watch", "--thread", "t 1", "--label", "user=ada") as terminal:
        until(terminal, "no runs yet")
        for run_id, user in (("t1", "ada"), ("t2", "bob"), ("t3", "ada")):
            body = {"labels": {"thread": "t 1", "user": user}, "inputs": {}, "run_id": run_id}
            served.ask("POST", "/invoke/waits", body, {"Prefer": "respond-async"})
        until(terminal, "t1 | info: begun")
        until(terminal, "t3 | info: begun")
        served.ask("POST", "/runs/t1/cancel")
        until(terminal, "t1 | cancelled: cancelled")
        terminal.type(b"\x03")
        assert terminal.end() == 130

    assert not any("t2" in row for row in terminal.rows)
    assert "come back with: runcast watch --thread 't 1' --label user=ada" in "".join(terminal.rows)
    for run_id in ("t2", "t3"):
        served.ask("POST", f"/runs/{run_id}/cancel")


@pytest.mark.heavy
def test_elsewhere_the_live_list_is_a_line_for_each_change(served: Served, tmp_path: Path) -> None:
    with at(served, tmp_path, "runs", "--watch", "--json", "--label", "json=1") as terminal:
        served.ask(
            "POST",
            "/invoke/waits",
            {"labels": {"json": "1"}, "inputs": {}, "run_id": "j1"},
            {"Prefer": "respond-async"},
        )
        until(terminal, '"running"')
        served.ask("DELETE", "/runs/j1")
        until(terminal, "deleted")
        terminal.type(b"\x03")
        assert terminal.end() == 130

    shown = terminal.raw.decode().replace("^C", "").split("\r\n")
    changes = [json.loads(line) for line in shown if line.startswith("{")]
    assert changes[-1] == {"deleted": "j1"}
    assert {change["run"]["run_id"] for change in changes[:-1]} == {"j1"}
