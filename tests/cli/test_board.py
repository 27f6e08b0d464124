"""`runcast runs --watch` in a terminal: the newest runs, as they are now."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from runcast._cli.board import Board
from runcast.client.model import RunChange, RunInfo
from tests.cli.emulator import Emulator, open_terminal


class Shown:
    """A board on a real terminal, and the rows there."""

    def __init__(self, ours: int, theirs: int, **options: Any) -> None:
        self._ours = ours
        self._out = open(theirs, "w", encoding="utf-8", newline="", closefd=False)  # noqa: SIM115
        self._emulator = Emulator(60)
        given: dict[str, Any] = {"belongs": lambda run: True, "limit": 20, **options}
        self.board = Board(self._out, ("RUN", "STATUS"), row, **given)

    def rows(self) -> list[str]:
        self._out.write("\x1b[m\x1b[m")  # a mark: everything before it has arrived
        self._out.flush()
        shown = b""
        while not shown.endswith(b"\x1b[m\x1b[m"):
            shown += os.read(self._ours, 65536)
        self._emulator.feed(shown.decode())
        return self._emulator.rows

    def after(self, *changes: RunChange) -> list[str]:
        for change in changes:
            self.board.take(change)
        self.board.draw()
        return self.rows()


def row(run: RunInfo) -> tuple[str, ...]:
    return run.run_id, run.status


def changed(run_id: str, status: Any = "running", at: float = 0.0) -> RunChange:
    return RunChange(run=RunInfo(run_id=run_id, status=status, created_at=at))


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = open_terminal(60, 8)
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_runs_come_change_and_go(terminal: tuple[int, int]) -> None:
    shown = Shown(*terminal)

    assert shown.after() == ["RUN  STATUS", "no runs yet"]
    assert shown.after(changed("a", at=1), changed("b", at=2)) == [
        *("RUN  STATUS", "b    running", "a    running", "2 running"),
    ]
    assert shown.after(changed("a", "done", at=1)) == [
        *("RUN  STATUS", "b    running", "a    done", "1 done, 1 running"),
    ]
    assert shown.after(RunChange(deleted="b")) == ["RUN  STATUS", "a    done", "1 done"]
    assert shown.after(RunChange(gap="trimmed"), changed("c")) == [
        *("RUN  STATUS", "c    running", "1 running"),
    ]


def test_a_run_whose_status_is_not_wanted_any_more_goes(terminal: tuple[int, int]) -> None:
    shown = Shown(*terminal, belongs=lambda run: run.status == "running")

    assert shown.after(changed("a"))[1] == "a    running"
    assert shown.after(changed("a", "done")) == ["RUN  STATUS", "no runs yet"]


def test_the_newest_are_shown_and_the_rest_is_counted(terminal: tuple[int, int]) -> None:
    shown = Shown(*terminal, limit=7)

    rows = shown.after(*(changed(f"r{n:02}", at=float(n)) for n in range(40)))

    assert rows[1:6] == [f"r{n}  running" for n in range(39, 34, -1)]
    assert rows[6] == "7 running, 2 of them not shown"


def test_a_lost_connection_is_said_until_the_next_change(terminal: tuple[int, int]) -> None:
    shown = Shown(*terminal)
    shown.after(changed("a"))
    shown.board.note("the connection broke\x1b[2J; trying again")

    assert shown.rows()[-1] == "the connection broke�[2J; trying again"
    assert shown.after(changed("a", "done"))[-1] == "1 done"
