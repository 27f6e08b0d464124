"""The process that owns a script's run: it starts the script, and writes what the script does."""

import contextlib
import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

import msgspec

import runcast
from runcast._clock import Clock
from runcast._producing.answers import Answer
from runcast._producing.writer import Writer
from runcast._scripts.control import LINE, NUMBER_BYTES, ReadLine, Start
from runcast._scripts.marks import ERR, OUT, PATIENCE_S, Merger, Piece
from runcast._scripts.screen import Bar, Screen
from runcast._settings import Settings
from runcast._workers.processes import control
from runcast.errors import Cancelled, EventTooLarge, NotFound, RuncastError, RunClosed, RunTooLarge
from runcast.events.model import decode_event

__all__ = ("ScriptCall", "ScriptProcess")

_START: Final = """\
import sys
if sys.path[:1] == [""]:
    del sys.path[0]
place, given = sys.argv[1:]
try:
    from runcast._scripts.child import main
except ImportError:
    sys.path.append(place)
    from runcast._scripts.child import main
main(given)
"""
"""Nothing in the working directory may stand for a module of ours or of Python's."""

_LOOK_S: Final = 0.1
"""How often it is looked whether the run was cancelled, seconds."""

_READ_BYTES: Final = 65536
_READS_AFTER_EXIT: Final = 64
"""More than pipes hold. A process that the script has left may write for ever."""

_BAR_EVERY_S: Final = 0.1
_MAX_BAR_CHARS: Final = 200

_FORWARDED: Final = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT", "SIGUSR1", "SIGUSR2")
_FROM_TERMINALS: Final = ("SIGINT", "SIGQUIT", "SIGHUP")
"""A terminal sends these to the script as well, if we are in its foreground."""

_LEVELS: Final = ("info", "warning")
_NAMES: Final = ("stdout", "stderr")
_INPUT: Final = {"allow_accept": False, "allow_edit": False}


class ScriptCall(NamedTuple):
    """What is to be run: a file, or a module, and its arguments."""

    script: str
    arguments: list[str]
    is_module: bool = False


class ScriptProcess:
    """A script at work. Everything but answers happens in the main thread.

    Args:
        run: the writer of the run, which the caller owns and ends.
        answer: answers a question of the run: its id, and the answer.
    """

    def __init__(
        self,
        run: Writer,
        call: ScriptCall,
        settings: Settings,
        clock: Clock,
        answer: Callable[[str, object], object],
    ) -> None:
        self._run = run
        self._call = call
        self._settings = settings
        self._clock = clock
        self._answer = answer
        self._process: subprocess.Popen[bytes] | None = None
        self.signals: set[int] = set()
        """The numbers of the signals that were handed on to the script."""
        self.reason: str | None = None
        """Why the run was cancelled; None if it was not."""
        self._stops: list[tuple[float, int]] = []
        """When which signal ends a script that was cancelled."""
        nonce = secrets.token_hex(8)
        self._nonce = nonce
        self._merger = Merger(nonce)
        self._screens = [Screen(settings.output_line_bytes) for _ in _NAMES]
        self._bars: list[_HeldBar] = [_HeldBar(), _HeldBar()]
        self._frames = control.Frames(settings.max_event_bytes * 2 + 65536)
        self._events: dict[int, bytes] = {}
        self._waits_since: float | None = None
        self._left_out = 0
        self._is_full = False
        self._questions = 0
        self._open_input = ""
        """The id of the question that a line from the terminal answers."""
        self._typed: tuple[str, object] | None = None
        self._asked: deque[tuple[int, bytes]] = deque()
        self._replies: deque[control.Reply] = deque()

    def run_to_end(self) -> int:
        """Run the script; return its exit code, or the negative number of the signal.

        Raises:
            OSError: no process can be started.
        """
        with contextlib.ExitStack() as closing:
            closing.enter_context(self._handling_signals())
            closing.callback(self._kill)
            self._open(closing)
            for number in self.signals:  # they came too early
                self._signal(number)
            while not self._has_exited():
                self._wait()
            self._read_rest()
        assert self._process is not None
        return self._process.wait()

    def _kill(self) -> None:
        """End a script that is at work although we are not."""
        if self._process is not None and not self._has_exited():
            self._process.kill()
            self._process.wait()

    # --- starting ---------------------------------------------------------------------------------

    def _open(self, closing: contextlib.ExitStack) -> None:
        ours, theirs = socket.socketpair()
        closing.callback(ours.close)
        self._socket = ours
        pipes = [os.pipe(), os.pipe()]
        self._reads = [reading for reading, _ in pipes]
        for reading in self._reads:
            closing.callback(os.close, reading)
            os.set_blocking(reading, False)
        self._wake, waking = os.pipe()
        self._waking = waking
        for each in (self._wake, waking):
            closing.callback(os.close, each)
        kind = _kind_of_input()
        self._terminal = kind == "terminal"
        start = Start(
            script=self._call.script,
            arguments=self._call.arguments,
            is_module=self._call.is_module,
            run_id=self._run.run_id,
            nonce=self._nonce,
            parent=os.getpid(),
            control=theirs.fileno(),
            asks=kind != "file",
            max_event_bytes=self._run.max_event_bytes,
        )
        place = str(Path(runcast.__file__).parents[1])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, place, msgspec.json.encode(start).decode()],
                stdin=subprocess.DEVNULL if kind == "none" else None,
                stdout=pipes[OUT][1],
                stderr=pipes[ERR][1],
                pass_fds=[theirs.fileno()],
            )
        finally:
            theirs.close()
            for _, writing in pipes:
                os.close(writing)
        self._selector = closing.enter_context(selectors.DefaultSelector())
        for each in (*self._reads, ours.fileno(), self._wake):
            self._selector.register(each, selectors.EVENT_READ)
        with contextlib.suppress(AttributeError, OSError):  # not on Linux, or on an old one
            handle = os.pidfd_open(self._process.pid)
            closing.callback(os.close, handle)
            self._selector.register(handle, selectors.EVENT_READ)

    @contextlib.contextmanager
    def _handling_signals(self) -> Any:
        numbers = [getattr(signal, name) for name in _FORWARDED]
        before = {number: signal.signal(number, self._forward) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.signals.add(number)
        came_to_both = number in [getattr(signal, name) for name in _FROM_TERMINALS]
        if self._process is not None and not (came_to_both and _is_in_foreground()):
            self._signal(number)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    # --- reading ----------------------------------------------------------------------------------

    def _has_exited(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _wait(self) -> None:
        ready: set[int] = {key.fd for key, _ in self._selector.select(_LOOK_S)}
        if self._wake in ready:
            os.read(self._wake, _READ_BYTES)
        while self._replies:
            with contextlib.suppress(OSError):
                self._socket.sendall(control.encode(self._replies.popleft()))
        if self._terminal and 0 in ready:
            self._read_terminal()
        if self._socket.fileno() in ready:
            self._read_control()
        while self._asked:
            self._read_pipes()  # what was printed before
            self._obey(*self._asked.popleft())
        for stream in (OUT, ERR):
            if self._reads[stream] in ready:
                self._read_pipe(stream)
        self._give_answer()
        now = self._clock.monotonic()
        self._look_at_marks(now)
        for stream in (OUT, ERR):
            self._show_bar(stream, now)
        self._look_at_cancel(now)

    def _look_at_marks(self, now: float) -> None:
        if not self._merger.is_waiting:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since > PATIENCE_S:
            self._show(self._merger.release())
            self._waits_since = None

    def _look_at_cancel(self, now: float) -> None:
        if self.reason is None:
            try:
                self._run.check_cancelled()
            except Cancelled as cancelled:
                self._cancel(str(cancelled))
        while self._stops and self._stops[0][0] <= now:
            self._signal(self._stops.pop(0)[1])

    def _cancel(self, reason: str) -> None:
        """End the script: as Ctrl-C does, then by SIGTERM, then by SIGKILL."""
        self.reason = reason
        now, settings = self._clock.monotonic(), self._settings
        terminate_at = now + settings.cancel_grace_s
        self._stops = [
            (now, signal.SIGINT),
            (terminate_at, signal.SIGTERM),
            (terminate_at + settings.terminate_grace_s, signal.SIGKILL),
        ]

    def _read_pipe(self, stream: int) -> bool:
        """Read once; return whether there was something."""
        try:
            data = os.read(self._reads[stream], _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._reads[stream])
            return False
        self._show(self._merger.feed(stream, data))
        return True

    def _read_pipes(self, most: int = _READS_AFTER_EXIT) -> None:
        while most and any([self._read_pipe(OUT), self._read_pipe(ERR)]):
            most -= 1

    def _read_control(self) -> bool:
        """Read once, if there is something; return whether there was."""
        try:
            data = self._socket.recv(_READ_BYTES, socket.MSG_DONTWAIT)
        except OSError:
            return False
        if not data:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._socket.fileno())
            return False
        for kind, body in self._frames.feed(data):
            if kind == control.EVENT:
                number = int.from_bytes(body[:NUMBER_BYTES])
                if number:
                    self._events[number] = body[NUMBER_BYTES:]
                else:
                    self._write_event(body[NUMBER_BYTES:])
            else:
                self._asked.append((kind, body))
        return True

    def _read_rest(self) -> None:
        """Read what is left of a script that has ended."""
        while self._read_control():
            pass
        self._read_pipes()
        self._show(self._merger.end())
        for stream, screen in enumerate(self._screens):
            for shown in screen.feed(b"", is_last=True):
                self._write_line(stream, shown)
            self._show_bar(stream, float("inf"))
        for number in sorted(self._events):
            self._write_event(self._events[number])
        if self._left_out:
            with contextlib.suppress(RuncastError, Cancelled):
                self._run.log(f"left out of the log: {self._left_out}", "warning", logger="runcast")

    # --- writing ----------------------------------------------------------------------------------

    def _show(self, pieces: Any) -> None:
        for piece in pieces:
            if piece.event:
                self._show_event(piece.event)
            else:
                self._show_text(piece)

    def _show_event(self, number: int) -> None:
        while number not in self._events and self._read_control():
            pass  # it was sent before its mark
        record = self._events.pop(number, None)
        if record is not None:
            self._write_event(record)

    def _show_text(self, piece: Piece) -> None:
        try:
            _write_all(piece.stream + 1, piece.data)
        except BrokenPipeError:
            self._hang_up(piece.stream)
        except OSError:
            pass  # the terminal is gone, say; the log has it
        if not piece.is_quiet:
            for shown in self._screens[piece.stream].feed(piece.data):
                self._write_line(piece.stream, shown)

    def _hang_up(self, stream: int) -> None:
        """Have the script see that nobody reads what it prints, as it would without us."""
        nowhere = os.open(os.devnull, os.O_RDONLY | os.O_NONBLOCK)
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._reads[stream])
        os.dup2(nowhere, self._reads[stream], inheritable=False)
        os.close(nowhere)
        self._show(self._merger.hang_up(stream))

    def _write_line(self, stream: int, shown: Any) -> None:
        if isinstance(shown, Bar):
            self._bars[stream].hold(shown)
            self._show_bar(stream, self._clock.monotonic())
            return
        self._show_bar(stream, float("inf"))
        text = shown.text
        while not self._write(partial(self._log, stream, text)):
            text = f"{text[: len(text) // 2]}…"

    def _log(self, stream: int, text: str) -> None:
        self._run.log(text, _LEVELS[stream], logger=_NAMES[stream])

    def _show_bar(self, stream: int, now: float) -> None:
        bar = self._bars[stream].take(now)
        if bar is not None:
            message = bar.text[:_MAX_BAR_CHARS]
            self._write(
                lambda: self._run.progress(
                    percent=bar.percent, message=message, task=_NAMES[stream]
                )
            )

    def _write_event(self, record: bytes) -> None:
        event = decode_event(b"{" + record)
        if not self._write(lambda: self._run.emit_event(event)):
            self._left_out += 1

    def _write(self, write: Callable[[], None]) -> bool:
        """Write to the run; return False if what is written is too large."""
        if self._is_full:
            self._left_out += 1
            return True
        try:
            try:
                write()
            except Cancelled as cancelled:
                self._cancel(str(cancelled))
                write()
        except EventTooLarge:
            return False
        except (RunTooLarge, RunClosed):
            self._is_full = True
            self._left_out += 1
        except RuncastError:
            self._left_out += 1
        return True

    # --- questions --------------------------------------------------------------------------------

    def _obey(self, kind: int, body: bytes) -> None:
        if kind == LINE:
            line = control.decode(body, ReadLine)
            _write_all(OUT + 1, line.prompt.encode("utf-8", "replace"))
            self._questions += 1
            interrupt_id = f"input-{self._questions}"
            if self._terminal:
                self._open_input = interrupt_id
                self._selector.register(0, selectors.EVENT_READ)
            question = {
                **{"message": line.prompt.strip() or "input", "action": "input"},
                **{"config": _INPUT, "interrupt_id": interrupt_id},
            }
            self._begin(lambda: self._ask_line(line.number, question))
        elif kind == control.ASK:
            fields = msgspec.structs.asdict(control.decode(body, control.Ask))
            number = fields.pop("number")
            self._begin(lambda: msgspec.to_builtins(self._run.ask(**fields)), number)
        elif kind == control.FLUSH:
            number = control.decode(body, control.Flush).number
            self._begin(lambda: _as_list(self._run.flush()), number)

    def _ask_line(self, number: int, question: dict[str, Any]) -> None:
        self._reply(number, lambda: _line_of(self._run.ask(**question)))

    def _begin(self, act: Callable[[], Any], number: int | None = None) -> None:
        """Wait for something in a thread of its own."""
        target = act if number is None else (lambda: self._reply(number, act))
        threading.Thread(target=target, name="runcast-script-reply", daemon=True).start()

    def _reply(self, number: int, act: Callable[[], Any]) -> None:
        try:
            reply = control.Reply(number, act())
        except RuncastError as error:
            reply = control.Reply(number, code=error.code, message=error.public)
        except Cancelled:
            reply = control.Reply(number, code=RunClosed.code, message="the run was cancelled")
        self._replies.append(reply)
        with contextlib.suppress(OSError):
            os.write(self._waking, b".")

    def _read_terminal(self) -> None:
        """Take the line that the person at the terminal wrote as the answer."""
        line = os.read(0, _READ_BYTES)
        self._selector.unregister(0)
        interrupt_id, self._open_input = self._open_input, ""
        text = line.decode("utf-8", "replace").removesuffix("\n")
        answer: dict[str, Any] = {"type": "reject", "by": "terminal"}
        if line:
            answer = {"type": "response", "args": text, "by": "terminal"}
        self._typed = (interrupt_id, answer)
        self._give_answer()

    def _give_answer(self) -> None:
        """Answer with the line that was typed, once the question is stored."""
        if self._typed is None:
            return
        try:
            self._answer(*self._typed)
        except NotFound:
            return  # not yet: it is tried again
        except RuncastError:
            pass  # a watcher was faster
        self._typed = None


class _HeldBar:
    """The last state of a bar that is printed, until it is time to report it."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._due = 0.0

    def hold(self, bar: Bar) -> None:
        self._bar = bar

    def take(self, now: float) -> Bar | None:
        if self._bar is None or now < self._due:
            return None
        bar, self._bar = self._bar, None
        if now != float("inf"):
            self._due = now + _BAR_EVERY_S
        return bar


def _line_of(answer: Answer) -> str:
    """Return the line that an answer gives. Raises `RunClosed` if it gives none."""
    if not answer.approved:
        raise RunClosed("nobody answers")
    return answer.args if isinstance(answer.args, str) else ""


def _as_list(flushed: Any) -> list[Any]:
    return [flushed.epoch, flushed.seq]


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _kind_of_input() -> str:
    """Return what standard input is: `terminal`, `none` (closed, or the null device) or `file`."""
    try:
        if os.isatty(0):
            return "terminal"
        is_null = os.path.samestat(os.fstat(0), os.stat(os.devnull))
    except OSError:
        return "none"
    return "none" if is_null else "file"


def _is_in_foreground() -> bool:
    """Whether we belong to the processes that the terminal sends its signals to."""
    for file in (0, 1, 2):
        with contextlib.suppress(OSError):
            return os.tcgetpgrp(file) == os.getpgrp()
    return False
