"""`runcast serve --workers N`: several server processes on one address and one store.

The first process opens the address and starts the others, which inherit it. It serves nothing
itself: it starts a worker again when one dies, and passes signals on.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType, MappingProxyType
from typing import Final

from runcast._cli.reaching import path_of
from runcast._clock import Clock, SystemClock
from runcast._files.data_dir import DataDir
from runcast._logs import get_logger
from runcast._settings import Settings

__all__ = ("Worker", "inherited_socket", "is_quiet", "serve_in_workers", "shared_folder")

_SOCKET: Final = "_RUNCAST_SOCKET"
"""In a worker's environment: the descriptor of the address."""
_PARENT: Final = "_RUNCAST_PARENT"
"""In a worker's environment: a pipe that ends with the first process."""
_QUIET: Final = "_RUNCAST_QUIET"
"""In a worker's environment: whether another one has announced the server."""

_SETTLED_S: Final = 10.0
"""A worker that fails sooner cannot start, so starting it again does not help."""

_HELD_BACK: Final = (signal.SIGINT,)
"""What a worker takes once it can end by it without a word."""

_EXPECTED: Final = (0, 128 + signal.SIGINT, -signal.SIGINT, -signal.SIGTERM)
"""How a worker ends because of our signals; one that is still starting is killed by them."""

_PAUSE_S: Final = 0.5
"""Pause before a worker is started again, so that a fault at work does not keep a core busy."""

_log: Final = get_logger("runcast.workers")


def is_quiet() -> bool:
    """Return whether this process is a worker that need not announce the server."""
    return os.environ.get(_QUIET) == "1"


def inherited_socket() -> socket.socket | None:
    """Return the address that a worker serves; None in a process that is no worker.

    From now on the process ends like on SIGTERM when the first process is gone. Until it serves,
    SIGINT ends it at once.
    """
    descriptor, parent = os.environ.pop(_SOCKET, ""), os.environ.pop(_PARENT, "")
    if not descriptor:
        return None
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)

    def end_with_parent() -> None:
        os.read(int(parent), 1)  # returns when the other end is closed
        os.kill(os.getpid(), signal.SIGTERM)

    for each in (descriptor, parent):
        os.set_inheritable(int(each), False)  # programs that functions start must not hold them
    threading.Thread(target=end_with_parent, name="runcast-parent", daemon=True).start()
    return socket.socket(fileno=int(descriptor))


class Worker:
    """One server process, and the ones that replace it."""

    def __init__(
        self,
        number: int,
        command: Sequence[str],
        bound: int,
        parent: int,
        environ: Mapping[str, str],
    ) -> None:
        self.number = number
        self._command = command
        self._environ = environ
        self._inherited = (bound, parent)
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int:
        """The process, or 0 if it does not run."""
        return 0 if self._process is None else self._process.pid

    def start(self, clock: Clock) -> None:
        """Start a process."""
        bound, parent = self._inherited
        is_first = self.number == 1 and not self._started_at
        given = {_SOCKET: str(bound), _PARENT: str(parent), _QUIET: str(int(not is_first))}
        self._started_at = clock.monotonic()
        # The process inherits the mask: Python would show a traceback of SIGINT while it starts.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        try:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **self._environ, **given},
                pass_fds=self._inherited,
                process_group=0,  # the terminal's Ctrl-C would reach it twice
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def send(self, number: int) -> None:
        """Send a signal."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def ended(self, status: int, clock: Clock, *, is_expected: bool) -> int | None:
        """Note that the process ended; return its code if it could not start, else None."""
        code = os.waitstatus_to_exitcode(status)
        assert self._process is not None
        self._process.returncode = code
        self._process = None
        has_settled = clock.monotonic() - self._started_at >= _SETTLED_S
        if not (is_expected and code in _EXPECTED):
            _log.warning("worker %d ended with %d", self.number, code)
        return code if code > 0 and not has_settled else None


@contextlib.contextmanager
def shared_folder(store: str, settings: Settings) -> Iterator[Mapping[str, str]]:
    """Give what workers need in their environment so that each of them has the files of all.

    A store without a file leaves the files of runs in a temporary folder of one process. Workers
    share such a folder, which is removed with the first process. With a launcher the runs are in
    other processes, so there is nothing to share.
    """
    if path_of(store) or settings.data_dir or settings.files or settings.launcher:
        yield {}
        return
    folder = DataDir()
    try:
        yield {"RUNCAST_DATA_DIR": str(folder.ready() / "shared")}
    finally:
        folder.close()


def serve_in_workers(
    count: int,
    bound: socket.socket,
    argv: Sequence[str],
    clock: Clock | None = None,
    *,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Run `runcast` with these arguments in several processes until a signal ends them.

    From then on only the workers hold the address `bound`, so that nobody can connect once they
    have stopped to listen.

    Args:
        environ: variables of the workers' environment besides those of this process.

    Returns:
        The exit code: 0 after SIGTERM, 130 after SIGINT, or that of a worker that cannot start.
    """
    clock = clock or SystemClock()
    own, parent = os.pipe()
    command = [sys.executable, "-m", "runcast", *argv]
    numbers = range(1, count + 1)
    workers = [Worker(number, command, bound.fileno(), own, environ) for number in numbers]
    ending: list[int] = []
    starting: list[Worker] = []
    """The worker that is being started: a signal may come meanwhile."""

    def end(number: int, frame: FrameType | None = None) -> None:
        ending.append(128 + number if number == signal.SIGINT else 0)
        for worker in workers:
            worker.send(number)
        if not starting:  # else it is to inherit the address
            bound.close()

    def start(worker: Worker) -> None:
        if ending:
            return
        starting.append(worker)
        worker.start(clock)
        starting.clear()
        if ending:
            bound.close()
            worker.send(signal.SIGTERM)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for worker in workers:
            start(worker)
        while any(worker.pid for worker in workers):
            pid, status = os.waitpid(-1, 0)
            worker_ended = next((worker for worker in workers if worker.pid == pid), None)
            if worker_ended is None:
                continue  # as process 1 it inherits the processes of others
            code = worker_ended.ended(status, clock, is_expected=bool(ending))
            if code is not None and not ending:
                end(signal.SIGTERM)
                ending[0] = code
            elif not ending:
                threading.Event().wait(_PAUSE_S)
                start(worker_ended)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(own)
        os.close(parent)
    return ending[0]
