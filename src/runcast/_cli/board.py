"""`runcast runs --watch`: a list of runs that changes as they do."""

import sys
from collections import Counter
from collections.abc import Callable
from typing import Final, TextIO

import msgspec

from runcast._cli.area import Area, Row, size_of
from runcast._cli.show import print_json
from runcast._cli.texts import cut, plain, table
from runcast.client.model import RunChange, RunInfo

__all__ = ("Board", "print_change")

_COLORS: Final = {
    "running": 36,
    "waiting": 35,
    "failed": 31,
    "cancelled": 33,
    "done": 32,
    "queued": 2,
}


class Board:
    """The newest runs on a terminal.

    Args:
        belongs: whether a run is shown; its status may have changed.
        row: returns the cells of a run.
    """

    def __init__(
        self,
        out: TextIO,
        header: tuple[str, ...],
        row: Callable[[RunInfo], tuple[str, ...]],
        belongs: Callable[[RunInfo], bool],
        limit: int,
    ) -> None:
        self._out = out
        self._area = Area(out)
        self._header = header
        self._row = row
        self._belongs = belongs
        self._limit = limit
        self._runs: dict[str, RunInfo] = {}
        self._note = ""
        """What is wrong with the connection."""

    def take(self, change: RunChange) -> None:
        """Take a change into account; `draw` shows it."""
        self._note = ""
        if change.gap:
            self._runs.clear()  # the list follows
        if change.deleted:
            self._runs.pop(change.deleted, None)
        if change.run is not None:
            self._runs.pop(change.run.run_id, None)
            if self._belongs(change.run):
                self._runs[change.run.run_id] = change.run
        if len(self._runs) > 2 * self._limit:
            self._runs = {run.run_id: run for run in self._newest()}

    def _newest(self) -> list[RunInfo]:
        newest = sorted(self._runs.values(), key=lambda run: (run.created_at, run.run_id))
        return newest[: -self._limit - 1 : -1]

    def draw(self) -> None:
        """Draw the list."""
        columns, lines = size_of(self._out)
        newest = self._newest()
        shown = newest[: max(1, lines - 3)]
        text = table(self._header, [self._row(run) for run in shown], self._out)
        head, *rows = text.split("\n")
        area = [Row(cut(head, columns - 1), 1)]
        area += (
            Row(cut(row, columns - 1), _COLORS.get(run.status))
            for row, run in zip(rows, shown, strict=True)
        )
        area.append(Row(cut(self._note or _summary(newest, len(shown)), columns - 1), 2))
        if area != self._area.drawn:
            self._area.draw("", area)

    def note(self, text: str) -> None:
        """Show below the list that something is wrong, until the next change."""
        self._note = plain(text)
        self.draw()

    def close(self) -> None:
        """Leave the list on the screen."""
        if self._area.drawn:
            self._out.write("\n")
            self._out.flush()
            self._area.keep()


def _summary(runs: list[RunInfo], shown: int) -> str:
    counts = Counter(run.status for run in runs)
    said = [f"{count} {status}" for status, count in sorted(counts.items())]
    hidden = [f"{len(runs) - shown} of them not shown"] if len(runs) > shown else []
    return ", ".join([*said, *hidden]) or "no runs yet"


def print_change(
    change: RunChange, row: Callable[[RunInfo], tuple[str, ...]], *, as_json: bool
) -> None:
    """Print a change as a line: for files and for other programs."""
    if as_json:
        given = {name: value for name, value in msgspec.to_builtins(change).items() if value}
        print_json(given)
    elif change.run is not None:
        print("  ".join(row(change.run)).rstrip())
    elif change.deleted:
        print(f"{plain(change.deleted)}  deleted")
    else:
        print(f"changes are missing here ({plain(change.gap)}); the list follows", file=sys.stderr)
    sys.stdout.flush()
