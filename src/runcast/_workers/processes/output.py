"""A child process's output as lines, bounded in length and number."""

from typing import Final

from runcast._clock import Clock
from runcast._functions.secrets import Redactor
from runcast._settings import Settings

__all__ = ("Output",)

_LINE_ENDS: Final = bytes.maketrans(b"\r", b"\n")
"""A progress bar ends its line with a carriage return."""


class Output:
    """Splits printed text into lines; counts dropped lines, and reports them.

    The caller hides secrets in the lines. No secret is cut, because a part could not be found.
    """

    def __init__(self, clock: Clock, settings: Settings, redactor: Redactor) -> None:
        self._clock = clock
        self._redactor = redactor
        self._most_bytes = settings.output_line_bytes
        self._per_s = float(settings.output_lines_per_s)
        self._room = self._per_s
        self._filled_at = clock.monotonic()
        self._line = b""
        self._cut = 0
        self._left_out = 0

    @property
    def is_flooded(self) -> bool:
        """Whether lines are being dropped."""
        return self._left_out > 0

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are now complete, without line ends and without empty lines."""
        *ended, rest = data.translate(_LINE_ENDS).split(b"\n")
        shown: list[str] = []
        now = self._clock.monotonic()
        self._room = min(self._per_s, self._room + (now - self._filled_at) * self._per_s)
        self._filled_at = now
        for piece in ended:
            self._add(piece)
            self._end_line(shown)
        self._add(rest)
        return shown

    def end(self) -> list[str]:
        """Return the rest at the end of the output."""
        self._room = max(self._room, 1.0)
        shown: list[str] = []
        self._end_line(shown)
        if self._left_out:
            shown.append(self._notice())
        return shown

    def _add(self, piece: bytes) -> None:
        room = self._most_bytes + self._redactor.longest - len(self._line)
        self._line += piece[:room]
        self._cut += len(piece[room:])

    def _end_line(self, shown: list[str]) -> None:
        line, self._line = self._line, b""
        cut, self._cut = self._cut, 0
        if not line.strip():
            return
        if len(line) > self._most_bytes:
            end = self._redactor.cut(line, self._most_bytes)
            cut += len(line) - end
            line = line[:end]
        if self._room < 1.0:
            self._left_out += 1
            return
        if self._left_out:
            shown.append(self._notice())
        self._room -= 1.0
        text = line.decode("utf-8", "replace")
        shown.append(f"{text}… ({cut} more bytes)" if cut else text)

    def _notice(self) -> str:
        count, self._left_out = self._left_out, 0
        return f"lines left out here: {count} (output_lines_per_s)"
