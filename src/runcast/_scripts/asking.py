"""What a script asks for: lines of input, answers, and to know what is stored."""

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from runcast._producing.writer import Writer
from runcast._scripts.control import LINE, ReadLine
from runcast._workers.processes import control
from runcast.errors import Cancelled, NotFound, RuncastError, RunClosed
from runcast.events.vocabulary import as_text

__all__ = ("Asking",)

_INPUT: Final = {"allow_accept": False, "allow_edit": False}
_READ_BYTES: Final = 65536


class Asking:
    """Waits for each reply in a thread of its own.

    Args:
        answer: answers a question of the run: its id, and the answer.
        show: writes a prompt to standard output.
        wake: called, in any thread, when there is a reply to be sent.
        echoes: whether to write the line of a watcher as if it had been typed.
    """

    def __init__(
        self,
        run: Writer,
        answer: Callable[[str, object], object],
        show: Callable[[bytes], None],
        wake: Callable[[], None],
        *,
        echoes: bool,
    ) -> None:
        self._run = run
        self._answer = answer
        self._show = show
        self._wake = wake
        self._echoes = echoes
        self._questions = 0
        self._typed: object = None
        self._typed_for = ""
        """The id of the last question for which a line was typed, which the terminal has shown."""
        self.line_wanted = ""
        """The id of the question that a line from the terminal answers; "" if none is wanted."""
        self.replies: deque[control.Reply] = deque()

    def obey(self, kind: int, body: bytes) -> None:
        """Do what a frame of the script's process asks for."""
        if kind == LINE:
            self._read_line(control.decode(body, ReadLine))
        elif kind == control.ASK:
            fields = msgspec.structs.asdict(control.decode(body, control.Ask))
            number = fields.pop("number")
            self._begin(number, lambda: msgspec.to_builtins(self._run.ask(**fields)))
        elif kind == control.FLUSH:
            self._begin(control.decode(body, control.Flush).number, self._flush)

    def _read_line(self, line: ReadLine) -> None:
        self._show(line.prompt.encode("utf-8", "replace"))
        self._questions += 1
        self.line_wanted = f"input-{self._questions}"
        question: dict[str, Any] = {
            **{"message": line.prompt.strip() or "input", "action": "input"},
            **{"config": _INPUT, "interrupt_id": self.line_wanted},
        }
        self._begin(line.number, lambda: self._wait_for_line(question))

    def _wait_for_line(self, question: dict[str, Any]) -> str:
        """Return the line that an answer gives. Raises `RunClosed` if it gives none."""
        answer = self._run.ask(**question)
        if self.line_wanted == question["interrupt_id"]:
            self.line_wanted = ""
        if not answer.approved:
            raise RunClosed("nobody answers")
        line = as_text(answer.args)
        if self._echoes and self._typed_for != question["interrupt_id"]:
            self._show(f"{_printable(line)}\n".encode())
        return line

    def _flush(self) -> list[Any]:
        flushed: Any = self._run.flush()
        return [flushed.epoch, flushed.seq]

    def _begin(self, number: int, act: Callable[[], Any]) -> None:
        threading.Thread(
            target=self._reply, args=(number, act), name="runcast-script-reply", daemon=True
        ).start()

    def _reply(self, number: int, act: Callable[[], Any]) -> None:
        try:
            reply = control.Reply(number, act())
        except RuncastError as error:
            reply = control.Reply(number, code=error.code, message=error.public)
        except Cancelled:
            reply = control.Reply(number, code=RunClosed.code, message="the run was cancelled")
        self.replies.append(reply)
        self._wake()

    def read_terminal(self) -> None:
        """Take the line that the person at the terminal has typed."""
        line = os.read(0, _READ_BYTES)
        text = line.decode("utf-8", "replace").removesuffix("\n")
        self._typed = {"type": "response", "args": text} if line else {"type": "reject"}
        self._typed_for = self.line_wanted
        self.give_answer()

    def give_answer(self) -> None:
        """Answer with the line that was typed, once the question is stored."""
        if not isinstance(self._typed, dict):
            return
        try:
            self._answer(self.line_wanted, {**self._typed, "by": "terminal"})
        except NotFound:
            return  # not yet: it is tried again
        except RuncastError:
            pass  # a watcher was faster
        self._typed, self.line_wanted = None, ""

    @property
    def wants_terminal(self) -> bool:
        """Whether a line from the terminal is waited for."""
        return bool(self.line_wanted) and self._typed is None


def _printable(line: str) -> str:
    """Return a line that cannot command the terminal, because any watcher may have written it."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line)
