"""The process that owns a script's run: it starts the script, and writes what the script does."""

import contextlib
import os
import secrets
import select
import selectors
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

import msgspec

import runcast
from runcast._clock import Clock
from runcast._producing.writer import Writer
from runcast._scripts.asking import Asking
from runcast._scripts.control import NUMBER_BYTES, Start
from runcast._scripts.marks import ERR, OUT, PATIENCE_S, Merger, Piece
from runcast._scripts.recording import Recording
from runcast._settings import Settings
from runcast._workers.processes import control

__all__ = ("ScriptCall", "ScriptProcess")

_START: Final = """\
import signal, sys
interrupting = signal.getsignal(signal.SIGINT)
if interrupting is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
if sys.path[:1] == [""]:
    del sys.path[0]
place, given = sys.argv[1:]
try:
    from runcast._scripts.child import main
except ImportError:
    sys.path.append(place)
    from runcast._scripts.child import main
main(given, interrupting)
"""
"""Nothing in the working directory may stand for a module of ours or of Python's.

Ctrl-C ends the process without a traceback of ours until the script itself begins.
"""

_LOOK_S: Final = 0.1
"""How often it is looked whether the run was cancelled, seconds."""

_READ_BYTES: Final = 65536
_READS_AFTER_EXIT: Final = 64
"""More than pipes hold. A process that the script has left may write for ever."""

_FORWARDED: Final = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT", "SIGUSR1", "SIGUSR2")
_FROM_TERMINALS: Final = ("SIGINT", "SIGQUIT", "SIGHUP")
"""A terminal sends these to the script as well, if we are in its foreground."""


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
        self._recording = Recording(run, clock, settings.output_line_bytes, self._cancel)
        self._terminal = _kind_of_input() == "terminal"
        self._asking = Asking(
            run,
            answer,
            partial(_write_all, OUT + 1),
            self._wake_up,
            echoes=self._terminal and os.isatty(OUT + 1),
        )
        self._frames = control.Frames(settings.max_event_bytes * 2 + 65536)
        self._events: dict[int, bytes] = {}
        self._waits: tuple[int, float] | None = None
        """The mark behind which output waits, and since when."""
        self._asked: deque[tuple[int, bytes]] = deque()
        """Frames that ask for something, until what was printed before them is shown."""

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
        while self._asking.replies:
            with contextlib.suppress(OSError):
                self._socket.sendall(control.encode(self._asking.replies.popleft()))
        if self._terminal and 0 in ready:
            self._asking.read_terminal()
        if self._socket.fileno() in ready:
            self._read_control()
        while self._asked:
            self._read_pipes()  # what was printed before
            self._asking.obey(*self._asked.popleft())
        if self._terminal:
            self._listen_to_terminal()
        for stream in (OUT, ERR):
            if self._reads[stream] in ready:
                self._read_pipe(stream)
        self._asking.give_answer()
        self._look_at_marks(self._clock.monotonic())
        self._recording.look_at_bars()
        if self.reason is None:
            self._recording.look_at_cancel()
        self._stop(self._clock.monotonic())

    def _listen_to_terminal(self) -> None:
        """Read the terminal while a line is wanted, and leave it to the script otherwise."""
        is_read = 0 in self._selector.get_map()
        if self._asking.wants_terminal and not is_read:
            self._selector.register(0, selectors.EVENT_READ)
        elif is_read and not self._asking.wants_terminal:
            self._selector.unregister(0)

    def _look_at_marks(self, now: float) -> None:
        mark = self._merger.waits_behind
        if mark is None:
            self._waits = None
        elif self._waits is None or self._waits[0] != mark:
            self._waits = mark, now
        elif now - self._waits[1] > PATIENCE_S:
            self._show(self._merger.release())
            self._waits = None

    def _stop(self, now: float) -> None:
        while self._stops and self._stops[0][0] <= now:
            self._signal(self._stops.pop(0)[1])

    def _wake_up(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._waking, b".")

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
                    self._recording.event(body[NUMBER_BYTES:])
            else:
                self._asked.append((kind, body))
        return True

    def _read_rest(self) -> None:
        """Read what is left of a script that has ended."""
        while self._read_control():
            pass
        self._read_pipes()
        self._show(self._merger.end())
        for number in sorted(self._events):
            self._recording.event(self._events[number])
        self._recording.end()

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
            self._recording.event(record)

    def _show_text(self, piece: Piece) -> None:
        try:
            _write_all(piece.stream + 1, piece.data)
        except BrokenPipeError:
            self._hang_up(piece.stream)
        except OSError:
            pass  # the terminal is gone, say; the log has it
        if not piece.is_quiet:
            self._recording.text(piece.stream, piece.data)

    def _hang_up(self, stream: int) -> None:
        """Have the script see that nobody reads what it prints, as it would without us."""
        nowhere = os.open(os.devnull, os.O_RDONLY | os.O_NONBLOCK)
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._reads[stream])
        os.dup2(nowhere, self._reads[stream], inheritable=False)
        os.close(nowhere)
        self._show(self._merger.hang_up(stream))


def _write_all(file: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(file, data) :]
        except BlockingIOError:  # a pipe that another program has made so, and that is full
            poll = select.poll()
            poll.register(file, select.POLLOUT)
            poll.poll()


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
