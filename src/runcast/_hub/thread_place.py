"""What a watcher of a thread asks for and gets; its place, as one text that it sends back.

    <point>;<run>=<position>,<run>=<position>!

The **point** is a place among the changes of all logs (`stores.changes`). Everything that changed
up to it has been taken into account. The runs are those that are open, or not sent to their end.
`!` marks a run whose end lies before the point, so that no later change reports it.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from runcast._hub.cursor import Chunk
from runcast.errors import InvalidValue
from runcast.events.position import RUN, Position, is_run_id, kind_of
from runcast.stores.base import LogInfo

__all__ = ("MAX_ENDED", "MAX_OPEN", "Part", "RunLabels", "ThreadPlace", "part_of")

MAX_OPEN: Final = 32
"""Most open runs of a thread that one watcher follows at once."""

MAX_ENDED: Final = 32
"""Most runs of a thread that have ended and that one watcher still gets events of at once."""

_ENDED: Final = "!"


class ThreadPlace(NamedTuple):
    """A place in the runs of a thread: the point, and for each run the position and whether its
    end lies before the point."""

    point: str
    runs: dict[str, tuple[Position, bool]]

    @classmethod
    def parse(cls, text: str) -> "ThreadPlace":
        """Return the place that a text names. Raises `InvalidValue`."""
        point, _, vector = text.partition(";")
        runs: dict[str, tuple[Position, bool]] = {}
        for part in vector.split(",") if vector else ():
            run_id, _, token = part.partition("=")
            if not is_run_id(run_id):
                raise InvalidValue(f"expected run=position, got {part[:180]!r}")
            is_ended = token.endswith(_ENDED)
            runs[run_id] = (Position.parse(token.removesuffix(_ENDED)), is_ended)
        if len(runs) > MAX_OPEN + MAX_ENDED:
            raise InvalidValue(
                f"expected at most {MAX_OPEN + MAX_ENDED} runs in an id, got {len(runs)}"
            )
        return cls(point, runs)


def part_of(run_id: str, position: Position, *, is_ended: bool) -> str:
    """Return a run's part of a place."""
    return f"{run_id}={position}{_ENDED if is_ended else ''}"


class RunLabels(NamedTuple):
    """Which runs a watcher follows: those with all of these labels; none if `is_empty`."""

    labels: Mapping[str, str]
    is_empty: bool = False

    def match(self, info: LogInfo) -> bool:
        """Return whether a log is one of these runs."""
        return (
            not self.is_empty
            and kind_of(info.log_id) == RUN
            and all(info.labels.get(name) == value for name, value in self.labels.items())
        )


class Part(NamedTuple):
    """What a watcher gets next: a chunk of a run's log, or a notice about a run or the thread.

    `notice` is one of:

    - `deleted`: the run was deleted.
    - `left`: the run's labels do not match any more, or the run of a place is not there.
    - `left_out`: the run is not followed, because `MAX_OPEN` others are. It is followed from its
      first event if it changes while there is room.
    - `earlier`: there are older runs, which are not sent; `before` is the key of the oldest sent.
    - `gap`: changes were lost, for the `reason`. All runs are sent again from the beginning.
    - `moved`: only the place has changed.

    The place after an event of a chunk is `head`, the run's position and `tail`. The place after a
    notice is `tail`, or "" if another notice follows that must not be lost.
    """

    run_id: str
    chunk: Chunk | None
    notice: str = ""
    head: str = ""
    tail: str = ""
    reason: str = ""
    before: tuple[float, str] | None = None
