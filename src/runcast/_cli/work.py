"""What is at work in a run now: its steps and its tools, with the time that each has taken."""

from collections.abc import Container
from typing import Final, NamedTuple

from runcast._cli.area import Row
from runcast._cli.texts import cut, plain, readable_s
from runcast._clock import Clock
from runcast.events.model import Event
from runcast.events.vocabulary import as_number, as_text, pick

__all__ = ("Work",)

_MOST: Final = 200
"""Most steps and tools at once; of more, the oldest is forgotten."""

_MOST_DEPTH: Final = 8
_CYAN: Final = 36

_STEPS: Final = frozenset({"step_complete", "node_complete"})


class _Piece(NamedTuple):
    """A step or a tool call: its label, when it began by the run's clock, and how deep it is."""

    label: str
    since: float
    depth: int
    place: tuple[str, str, str]


class Work:
    """Steps and tools that have begun and not ended.

    Args:
        is_plain: whether the terminal has only simple characters.
    """

    def __init__(self, clock: Clock, *, is_plain: bool) -> None:
        self._clock = clock
        self._running: dict[object, _Piece] = {}
        self._ended: dict[object, _Piece] = {}
        self._signs = ("*", "+") if is_plain else ("●", "✓")
        self._time = 0.0
        """The newest event's time, and when it came."""
        self._seen = clock.monotonic()

    @property
    def is_running(self) -> bool:
        """Whether something is at work."""
        return bool(self._running)

    def see(self, event: Event) -> None:
        """Take an event into account."""
        self._time, self._seen = event.time, self._clock.monotonic()
        place = (event.node, event.agent, as_text(pick(event.data, "step_id")))
        call_id = as_text(pick(event.data, "call_id"))
        # A tool may answer from another node than the one that called it.
        call = call_id or (event.node, event.agent, as_text(pick(event.data, "tool", "name")))
        self._ended.clear()
        if event.type == "step_start":
            said = plain(as_text(pick(event.data, "message")))
            self._begin(("step", place), _label(event, said), event, place)
        elif event.type == "tool_call":
            self._begin(("tool", call), _name(event), event, ("", "", ""))
        elif event.type in _STEPS and (piece := self._running.pop(("step", place), None)):
            self._ended["step", place] = piece
        elif event.type == "tool_result":
            self._running.pop(("tool", call), None)

    def _begin(self, key: object, label: str, event: Event, place: tuple[str, str, str]) -> None:
        self._running.pop(key, None)
        self._running[key] = _Piece(label, event.time, min(len(event.path), _MOST_DEPTH), place)
        if len(self._running) > _MOST:
            del self._running[next(iter(self._running))]

    def end(self) -> None:
        """Forget everything, because the run has ended or is not watched any more."""
        self._running.clear()

    def line_of(self, event: Event) -> str:
        """Return the lasting line of a step that is complete; "" for other events."""
        if event.type not in _STEPS:
            return ""
        piece = next(iter(self._ended.values()), None)
        said = plain(as_text(pick(event.data, "message")))
        label = _label(event, said)
        if piece is not None and (not said or said in piece.label):
            label = piece.label
        took = as_number(event.duration)
        if took is None and piece is not None:
            took = max(0.0, event.time - piece.since)
        return f"{self._signs[1]} {label}{'' if took is None else f' ({_time(took)})'}"

    def rows(self, columns: int, bars: Container[tuple[str, str, str]]) -> list[Row]:
        """Return a row for each step and tool at work, except those that have a bar."""
        now = self._time + self._clock.monotonic() - self._seen
        shown = []
        for piece in self._running.values():
            if piece.place in bars:
                continue
            took = readable_s(max(0.0, now - piece.since))
            head = f"{'  ' * piece.depth}{self._signs[0]} "
            label = cut(piece.label, max(1, columns - len(head) - len(took) - 1))
            shown.append(Row(cut(f"{head}{label} {took}", columns), _CYAN))
        return shown


def _label(event: Event, said: str) -> str:
    """Return a step's name: what it says, and where it is, each word once."""
    where = [each for each in (plain(event.node), plain(event.agent)) if each and each != said]
    return " · ".join(dict.fromkeys(filter(None, (said, *where)))) or "a step"


def _name(event: Event) -> str:
    name = plain(as_text(pick(event.data, "tool", "name"))) or "a tool"
    return " · ".join(filter(None, (name, plain(event.agent))))


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else readable_s(seconds)
