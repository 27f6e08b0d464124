"""Events as a terminal shows them: a bar that moves, text as it comes, lines for the rest."""

import json
import shutil
import sys
from typing import Any, Final, TextIO

import msgspec

from runcast.cli.remote import plain
from runcast.events.fields import as_number, percent_of
from runcast.events.model import Event

__all__ = ("EXIT_CODES", "Screen")

EXIT_CODES: Final = {"done": 0, "failed": 1, "cancelled": 3}
"""What `invoke` and `watch` return for each ending."""

_BAR_COLUMNS: Final = 24
_PROGRESS: Final = frozenset({"progress", "step_progress"})
_QUIET: Final = frozenset({"started", "content_complete", "interrupt_waiting"})
_MAX_LINE_CHARS: Final = 2000


class Screen:
    """Writes events to a terminal, or as plain lines, or as JSON for other programs.

    Args:
        as_json: one canonical event a line.
        out: where to; a bar is drawn only if it is a terminal.
    """

    def __init__(self, *, as_json: bool = False, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._as_json = as_json
        self._has_bar = not as_json and self._out.isatty()
        self._bar = ""
        self._in_text = False

    def show(self, event: Event) -> None:
        """Write one event."""
        if self._as_json:
            self._write(msgspec.json.encode(event).decode() + "\n")
        elif event.type in _PROGRESS:
            self._show_progress(event)
        elif event.type == "content":
            self._show_text(event)
        elif event.type not in _QUIET:
            self._line(_line(event))

    def close(self) -> None:
        """Leave the cursor on a line of its own."""
        self._clear_bar()
        if self._in_text:
            self._write("\n")
            self._in_text = False

    def _show_progress(self, event: Event) -> None:
        percent = percent_of(event.data)
        message = event.data.get("message", "") if isinstance(event.data, dict) else ""
        shown = plain(str(message))
        if not self._has_bar:
            amount = "" if percent is None else f"{percent:5.1f} % "
            self._line(f"{amount}{shown}".rstrip() or "…")
            return
        if self._in_text:
            self._write("\n")
            self._in_text = False
        width = shutil.get_terminal_size().columns - 1
        self._bar = f"{_bar(percent)} {shown}"[:width]
        self._write(f"\r\x1b[K{self._bar}")

    def _show_text(self, event: Event) -> None:
        text = event.data.get("text") if isinstance(event.data, dict) else event.data
        if isinstance(text, str) and text:
            self._clear_bar()
            self._write("\n".join(plain(line) for line in text.split("\n")))
            self._in_text = not text.endswith("\n")

    def _line(self, text: str) -> None:
        self.close()
        self._write(f"{text[:_MAX_LINE_CHARS]}\n")

    def _clear_bar(self) -> None:
        if self._bar:
            self._write("\r\x1b[K")
            self._bar = ""

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _bar(percent: float | None) -> str:
    if percent is None:
        return f"[{'·' * _BAR_COLUMNS}]      "
    filled = round(_BAR_COLUMNS * min(max(percent, 0.0), 100.0) / 100.0)
    return f"[{'█' * filled}{'·' * (_BAR_COLUMNS - filled)}] {percent:5.1f} %"


def _line(event: Event) -> str:
    data: dict[str, Any] = event.data if isinstance(event.data, dict) else {"value": event.data}
    place = " ".join(filter(None, (event.node, event.agent)))
    head = plain(f"{place}: " if place else "")
    message = plain(str(data.get("message", data.get("text", ""))))
    match event.type:
        case "log":
            return f"{head}{plain(str(data.get('level', 'info')))}: {message}"
        case "failed":
            return f"{head}failed ({plain(str(data.get('code', '')))}): {message}"
        case "cancelled":
            return f"{head}cancelled: {plain(str(data.get('reason', '')))}"
        case "interrupt_request":
            asked = plain(str(data.get("interrupt_id", "")))
            return f"{head}asks: {message} (answer with `runcast answer RUN_ID {asked}`)"
        case "done":
            shown = data.get("result", data.get("summary"))
            return "done" if shown is None else f"done: {_json(shown)}"
        case "gap":
            return f"some events are missing here ({plain(str(data.get('reason', '')))})"
        case _:
            return f"{head}{event.type} {message or _json(event.data)}".rstrip()


def _json(value: object) -> str:
    if as_number(value) is not None or isinstance(value, str):
        return plain(str(value))
    return plain(json.dumps(value, ensure_ascii=False))
