"""What is drawn in a terminal: bars that move, and text that nothing is lost of."""

import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast._cli.bars import percent_beside
from runcast._cli.show import PlainLines
from runcast._cli.terminal import Terminal
from runcast._cli.texts import cells, cut, plain, rows, tail
from runcast.client.watching import Received
from runcast.events.model import Event
from tests.cli.emulator import ALLOWED, Emulator, InTerminal, open_terminal, resize
from tests.cli.served import Served, serve

TARGET = """
import threading
import runcast

GO = threading.Event()

@runcast.function
def build(n: int = 3):
    for number in range(1, n + 1):
        runcast.progress(number, n, "正在处理")
        runcast.content("词" if number % 2 else "word ")

@runcast.function
def wait():
    runcast.content("begun\\nhalf a line ")
    runcast.progress(1, 4, "first")
    GO.wait()

@runcast.function
def go():
    GO.set()

@runcast.function
def hostile():
    evil = "\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\u202e\\r\\x7f\\x00"
    runcast.content(evil + "\\n")
    runcast.emit("progress", {"percent": 5, "message": evil}, node=evil, agent=evil)
    runcast.log(evil)
    runcast.emit("custom", {evil: [evil]})
    runcast.emit("tool_call", {"tool": evil, "args": {evil: evil}})
    runcast.emit("files", {"files": [{"path": evil, "size": evil}], "skipped": [{"path": evil}]})
    runcast.emit("interrupt_request", {"interrupt_id": evil, "message": evil})
    raise runcast.RunFailed(evil, evil)
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "target.py").write_text(TARGET, "utf-8")
    with serve("target.py", "--store", "memory://", cwd=folder) as server:
        yield server


# --- as processes ---------------------------------------------------------------------------------


def test_what_a_run_did_stays_on_the_screen(served: Served, tmp_path: Path) -> None:
    with InTerminal(
        "invoke", "build", "--run-id", "b1", cwd=tmp_path, env={"RUNCAST_URL": served.url}
    ) as terminal:
        assert terminal.end() == 0

    assert terminal.rows == [
        "run b1",
        "词word 词",
        "[████████████████████████] 100.0 % 3/3 正在处理",
        "done",
        "",
    ]


@pytest.mark.parametrize(
    ("env", "bar", "has_color"),
    [
        ({}, "█", True),
        ({"NO_COLOR": "1"}, "█", False),
        ({"PYTHONIOENCODING": "latin-1"}, "#", True),
        ({"PYTHONIOENCODING": "ascii"}, "#", True),
        ({"TERM": "dumb"}, "", False),
    ],
)
def test_a_terminal_is_given_what_it_can_show(
    served: Served, tmp_path: Path, env: dict[str, str], bar: str, has_color: bool
) -> None:
    with InTerminal(
        "invoke", "build", cwd=tmp_path, env={"RUNCAST_URL": served.url, **env}
    ) as terminal:
        assert terminal.end() == 0

    shown = terminal.raw.decode()
    assert (f"[{bar * 24}]" in shown) == bool(bar)
    assert (re.search(r"\x1b\[\d+m", shown) is not None) == has_color


def test_what_a_run_says_cannot_command_a_terminal(served: Served, tmp_path: Path) -> None:
    with InTerminal("invoke", "hostile", cwd=tmp_path, env={"RUNCAST_URL": served.url}) as terminal:
        assert terminal.end() == 1
    with InTerminal(
        "invoke", "hostile", "--json", cwd=tmp_path, env={"RUNCAST_URL": served.url}
    ) as as_json:
        assert as_json.end() == 1

    shown = ALLOWED.sub("", terminal.raw.decode()).replace("\r", "").replace("\n", "")
    assert [char for char in shown if plain(char) != char] == []
    lines = as_json.raw.decode().split("\r\n")
    assert [char for line in lines for char in line if plain(char) != char] == []
    content = json.loads(lines[1])
    assert content["data"]["text"].startswith("\x1b[2J\x1b]0;owned\x07\x9b31m\u202e")


def test_ctrl_c_leaves_the_run_going_and_what_was_shown(served: Served, tmp_path: Path) -> None:
    env = {"RUNCAST_URL": served.url}
    with InTerminal("invoke", "wait", "--run-id", "w1", cwd=tmp_path, env=env) as terminal:
        terminal.read_until(lambda shown: any("1/4 first" in row for row in shown))
        terminal.type(b"\x03")
        assert terminal.end() == 130

    assert terminal.rows == [
        "run w1",
        "begun",
        "half a line",
        "[██████··················]  25.0 % 1/4 first",
        "the run goes on; come back with: runcast watch w1",
        "or end it with: runcast cancel w1 (or press Ctrl-C again)",
        "",
    ]
    assert served.ask("GET", "/runs/w1").json["status"] == "running"
    served.start("go", "go1")


# --- every way of drawing -------------------------------------------------------------------------


class Drawn:
    """A `Terminal` on a real one, and what is on that."""

    def __init__(self, ours: int, theirs: int, columns: int) -> None:
        self._ours, self._theirs = ours, theirs
        self._out = open(theirs, "w", encoding="utf-8", newline="", closefd=False)  # noqa: SIM115
        self.terminal = Terminal(self._out, "r1")
        self.emulator = Emulator(columns)

    def show(self, kind: str, data: Any, time: float = 0.0, node: str = "") -> None:
        self.terminal.show(received(kind, data, time, node))

    def rows(self) -> list[str]:
        """Return what is on the screen once all was seen."""
        self.terminal.flush()
        self._out.write("\x1b[m\x1b[m")  # a mark: everything before it has arrived
        self._out.flush()
        shown = b""
        while not shown.endswith(b"\x1b[m\x1b[m"):
            shown += os.read(self._ours, 65536)
        self.emulator.feed(shown.decode())
        return self.emulator.rows

    def resize(self, columns: int) -> None:
        resize(self._ours, columns)
        self.emulator.columns = columns  # as xterm does, it leaves what is there as it is


def received(kind: str, data: Any, time: float = 0.0, node: str = "") -> Received:
    return Received(Event(type=kind, data=data, time=time, node=node), "", "")


@contextmanager
def drawn(columns: int) -> Iterator[Drawn]:
    ours, theirs = open_terminal(columns)
    try:
        yield Drawn(ours, theirs, columns)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_bar_tells_rate_and_time_left() -> None:
    with drawn(80) as screen:
        for second in range(11):
            screen.show("progress", {"current": second * 20, "total": 1000}, time=float(second))
        assert screen.rows() == ["[████····················]  20.0 % 200/1000 20/s 0:40 left"]
        screen.show("progress", {"current": 1000, "total": 1000}, time=20.0)
        assert screen.rows() == ["[████████████████████████] 100.0 % 1000/1000 50/s"]


@pytest.mark.parametrize(
    ("percent", "message", "shown"),
    [
        (40, "copying: 40%|####", ""),
        (40.0, "40.0 % of it", ""),
        (12.5, "12.5%", ""),
        (40, "140 %", "40.0 %"),
        (40, "step 40", "40.0 %"),
        (40, "", "40.0 %"),
        (None, "1 %", ""),
    ],
)
def test_a_percentage_is_not_said_twice(percent: float | None, message: str, shown: str) -> None:
    assert percent_beside(message, percent) == shown


def test_a_bar_that_has_only_percentages_tells_the_time_left() -> None:
    with drawn(80) as screen:
        screen.show("progress", {"percentage": 10}, time=0.0)
        screen.show("progress", {"percentage": 55, "message": "so"}, time=90.0)
        assert screen.rows() == ["[█████████████···········]  55.0 % 1:30 left so"]


def test_progress_that_begins_anew_has_no_rate_from_before() -> None:
    with drawn(80) as screen:
        screen.show("progress", {"current": 100, "total": 100}, time=0.0)
        screen.show("progress", {"current": 1, "total": 100}, time=10.0)
        assert screen.rows() == ["[························]   1.0 % 1/100"]


def test_each_place_has_a_bar_until_it_is_complete() -> None:
    with drawn(60) as screen:
        screen.show("progress", {"percent": 50}, node="one")
        screen.show("progress", {"percent": 25}, node="two")
        assert screen.rows() == [
            "one [████████████············]  50.0 %",
            "two [██████··················]  25.0 %",
        ]
        screen.show("step_complete", {"message": "ready"}, node="one")
        assert screen.rows() == [
            "✓ ready · one",
            "two [██████··················]  25.0 %",
        ]


def test_a_bar_does_not_break_the_text_that_comes_meanwhile() -> None:
    with drawn(40) as screen:
        screen.show("content", {"text": "un"})
        assert screen.rows() == ["un"]
        screen.show("progress", {"percent": 50, "message": "m"})
        assert screen.rows()[0] == "un"
        screen.show("content", {"text": "broken 文字"})
        assert screen.rows()[0] == "unbroken 文字"
        screen.show("content", {"text": "\n"})
        screen.show("done", {})
        assert screen.rows() == [
            "unbroken 文字",
            "[████████████············]  50.0 % m",
            "done",
            "",
        ]


@pytest.mark.parametrize("columns", [1, 2, 5, 10, 20, 37])
def test_a_bar_fits_a_window_of_any_width(columns: int) -> None:
    with drawn(columns) as screen:
        for second in range(3):
            data = {"current": second, "total": 10, "message": "一二三四五六七八九十" * 9}
            screen.show("progress", data, time=float(second), node="一个很长的名字")
            assert len(screen.rows()) == 1


@pytest.mark.parametrize("columns", [30, 120])
def test_a_window_that_changes_takes_no_text_with_it(columns: int) -> None:
    with drawn(60) as screen:
        for number in range(5):
            screen.show("log", {"message": f"line {number}"})
        screen.show("progress", {"percent": 50, "message": "a long message" * 5})
        screen.rows()
        screen.resize(columns)
        screen.show("progress", {"percent": 60})
        shown = screen.rows()

    assert shown[:5] == [f"info: line {number}" for number in range(5)]
    assert "60.0 %" in shown[-1]


def test_text_of_several_agents_is_told_apart() -> None:
    with drawn(60) as screen:
        screen.show("content", {"text": "one "}, node="ann")
        screen.show("content", {"text": "more"}, node="ann")
        screen.show("thinking", {"text": "hm"}, node="bob")
        screen.show("content", {"text": "two"}, node="bob")
        # What is finished stays first; what is not moves below it.
        assert screen.rows() == ["bob thinking: hm", "ann: one more", "bob: two"]
        screen.show("done", {"result": 7})
        assert screen.rows() == ["bob thinking: hm", "ann: one more", "bob: two", "done: 7", ""]


def test_agents_below_agents_are_indented_and_what_is_at_work_has_its_time() -> None:
    def at(kind: str, time: float, *path: str, **data: Any) -> Received:
        event = Event(type=kind, data=data, time=time, agent="ann", path=path)
        return Received(event, "", "")

    with drawn(60) as screen:
        for event in (
            at("step_start", 0.0, message="plan"),
            at("step_start", 1.0, "lead", message="look", step_id="1"),
            at("tool_call", 2.0, "lead", tool="search", args={"q": 1}, call_id="c"),
        ):
            screen.terminal.show(event)
        rows = screen.rows()
        assert rows[0] == '  ann: search({"q": 1})'
        # Seconds may pass while it is drawn.
        assert [row.rpartition(" ")[0] for row in rows[1:]] == [
            *("● plan · ann", "  ● look · ann", "  ● search · ann"),
        ]
        for event in (
            at("tool_result", 3.0, "lead", tool="search", result="x", call_id="c"),
            at("step_complete", 4.5, "lead", step_id="1"),
            at("step_complete", 9.0),
            at("done", 10.0),
        ):
            screen.terminal.show(event)
        assert screen.rows()[1:] == [
            "  ann: search gave x",
            "  ✓ look · ann (3.5 s)",
            "✓ plan · ann (9.0 s)",
            "done",
            "",
        ]


def test_a_result_as_long_as_a_book_is_cut_and_says_so() -> None:
    with drawn(60) as screen:
        screen.show("done", {"result": "x" * 10_000})
        assert "… and 8006 more characters, see --json" in "".join(screen.rows())


_TEXT = st.text(alphabet="ab 文😀\n\té", max_size=30)
_STEP = st.one_of(
    st.tuples(st.just("content"), _TEXT.map(lambda text: {"text": text})),
    st.tuples(st.just("thinking"), _TEXT.map(lambda text: {"text": text})),
    st.tuples(st.just("log"), _TEXT.map(lambda text: {"message": text})),
    st.tuples(st.just("progress"), st.integers(0, 100).map(lambda n: {"percent": n})),
    st.tuples(st.just("flush"), st.just(None)),
)


@given(steps=st.lists(_STEP, max_size=40), columns=st.integers(4, 30))
def test_however_it_is_drawn_the_text_on_the_screen_is_that_of_the_run(
    steps: list[tuple[str, Any]], columns: int
) -> None:
    out = io.StringIO()
    expected = PlainLines(out, "r1")
    with drawn(columns) as screen:
        for kind, data in steps:
            if kind == "flush":
                screen.rows()
                continue
            screen.show(kind, data)
            if kind != "progress":
                expected.show(received(kind, data))
        screen.show("step_complete", {})  # takes the bar away
        screen.terminal.close()
        expected.close()
        shown = screen.rows()

    # Where lines are wrapped, and whether a long unfinished one was ended, is left aside.
    assert _without_blanks("".join(shown)) == _without_blanks(out.getvalue()) + "✓astep"


def _without_blanks(text: str) -> str:
    return re.sub(r"\s", "", text)


# --- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb", "a    b"),
        ("全角\u3000空格", "全角\u3000空格"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("no\u00a0break", "no\u00a0break"),
        ("\x1b[31m", "�[31m"),
        ("\x9b31m", "�31m"),
        ("\u202eevil\u2028line\ud800", "�evil�line�"),
    ],
)
def test_text_keeps_what_is_writing_and_loses_what_is_command(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(text=st.text(alphabet="ab文字é😀", max_size=20), columns=st.integers(1, 25))
def test_what_is_cut_fits(text: str, columns: int) -> None:
    for shorten in (cut, tail):
        short = shorten(text, columns)
        assert cells(short) <= columns
        assert (short == text) == (cells(text) <= columns)
    emulator = Emulator(max(columns, 2))
    emulator.feed(text)
    assert rows(text, max(columns, 2)) == len(emulator.rows)
