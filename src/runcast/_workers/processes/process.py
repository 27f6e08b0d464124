"""A child process as its parent sees it: started, heard, signalled, reaped; and its surroundings.

Surroundings belong to the whole process, and a function in a thread or on the loop may change any
of them. So what a child gets is noted when the hub opens.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple, Self

from runcast._logs import get_logger
from runcast._workers.processes import control

__all__ = ("REAP_S", "ChildProcess", "Surroundings")


class Surroundings(NamedTuple):
    """The environment, where modules are searched for, the folder for temporary files, the umask.

    Paths are absolute.
    """

    environment: Mapping[str, str]
    search_path: tuple[str, ...]
    folder: str
    umask: int

    @classmethod
    def note(cls) -> Self:
        """Return what this process has now."""
        # The only way to learn it is to set it. Meanwhile others make files for their owner alone.
        umask = os.umask(0o077)
        os.umask(umask)
        folder = os.path.abspath(tempfile.gettempdir())
        return cls(dict(os.environ), tuple(_absolute(sys.path)), folder, umask)

    def current_search_path(self) -> list[str]:
        """Return where modules are searched for: first as noted, then what was added since, for
        functions of modules that were imported since."""
        added = (entry for entry in sys.path if os.path.isabs(entry))
        return list(dict.fromkeys((*self.search_path, *added)))


def _absolute(entries: Iterable[str]) -> Iterator[str]:
    for entry in entries:
        with contextlib.suppress(OSError):  # the working directory is gone
            yield os.path.abspath(entry)


_log: Final = get_logger("runcast.runs")

_START: Final = (
    "import json, sys; sys.path[:], *fds = json.loads(sys.argv.pop()); "
    "from runcast._workers.processes.child import main; main(*fds)"
)
"""Nothing of the working directory is on the path: what lies there is data."""

_READ_BYTES: Final = 32 * 1024
"""So much of what one child tells is taken before others have their turn: about a millisecond."""

_READS_AFTER_EXIT: Final = 32
"""More than a pipe holds. A process that got away may write for ever."""

_REAP_EVERY_S: Final = 0.02
_MOST_REAPS: Final = 500
"""Looks for what is still dying of a child's process group: ten seconds of them, as below."""

REAP_S: Final = 10.0
"""How long a process may take to die of SIGKILL. One that waits for a disk may never."""


class ChildProcess:
    """A child, the leader of its own session and process group.

    `start` blocks and may be called in any thread that outlives the child; all else belongs to one
    event loop. When the child has ended, so has its process group.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", connection: socket.socket) -> None:
        self._process = process
        self._socket = connection
        self._sending = asyncio.Lock()
        self._reads_left = _READS_AFTER_EXIT
        self._is_closed = False
        self.exited: asyncio.Future[int]
        """Done when it has ended: its exit code, or the negative number of the signal."""

    @property
    def pid(self) -> int:
        """Its process id, which is the id of its process group."""
        return self._process.pid

    @classmethod
    def start(cls, surroundings: Surroundings, lifeline: int) -> Self:
        """Start a child that waits for commands.

        Args:
            lifeline: the reading end of a pipe whose other end is ours alone.

        Raises:
            OSError: no process can be started.
        """
        ours, theirs = socket.socketpair()
        theirs.setblocking(True)  # or `socket.setdefaulttimeout` would have it be the other way
        passed: list[int] = []
        try:
            passed += map(_above_standard_files, (theirs.fileno(), lifeline))
            start = [surroundings.current_search_path(), *passed]
            process = subprocess.Popen(
                # Unbuffered: what is printed is seen when it is printed, in the order it was.
                [sys.executable, "-u", "-c", _START, json.dumps(start)],
                bufsize=0,
                cwd=surroundings.folder,
                env=surroundings.environment,
                umask=surroundings.umask,
                pass_fds=passed,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            for descriptor in passed:
                os.close(descriptor)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
        ours.setblocking(False)
        return cls(process, ours)

    def watch(self) -> None:
        """Begin to notice its end, on the running loop."""
        loop = asyncio.get_running_loop()
        self.exited = loop.create_future()
        try:
            handle = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not on Linux, or on an old one
            threading.Thread(target=self._wait, args=(loop,), daemon=True).start()
        else:
            loop.add_reader(handle, self._handle_exit, loop, handle)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._has_exited)

    def _handle_exit(self, loop: asyncio.AbstractEventLoop, handle: int) -> None:
        loop.remove_reader(handle)
        os.close(handle)
        self._has_exited()

    def _has_exited(self) -> None:
        # Before it is reaped: until then its id, and so its group's, is nobody else's.
        self.signal(signal.SIGKILL)
        code = self._process.wait()
        self._reap_group(_MOST_REAPS)
        with contextlib.suppress(OSError):
            # What it sent can still be read; whoever else has its end of the socket is not heard.
            self._socket.shutdown(socket.SHUT_RD)
        if not self.exited.done():
            self.exited.set_result(code)

    def _reap_group(self, times: int) -> None:
        """Wait for processes of its group that come to this process, if this is process 1.

        Only those: another process that is waited for could be one that a function has started.
        """
        with contextlib.suppress(ChildProcessError):  # there is none left
            while os.waitpid(-self.pid, os.WNOHANG)[0]:
                pass
            if times:  # some are still dying
                loop = asyncio.get_running_loop()
                loop.call_later(_REAP_EVERY_S, self._reap_group, times - 1)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process group, unless it has ended."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def send(self, command: control.Command) -> None:
        """Send a command; a child that is gone does not get it."""
        async with self._sending:
            with contextlib.suppress(OSError):
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(self._socket, control.encode(command))

    async def receive(self) -> bytes:
        """Return what it sent; b"" once it has ended and everything was read."""
        try:
            return await asyncio.get_running_loop().sock_recv(self._socket, _READ_BYTES)
        except OSError:
            return b""

    async def read(self, name: Literal["stdout", "stderr"]) -> bytes:
        """Return what it printed; b"" once it has ended and everything was read."""
        stream = self._process.stdout if name == "stdout" else self._process.stderr
        assert stream is not None
        while not self.exited.done() or self._reads_left:
            self._reads_left -= self.exited.done()
            data: bytes | None = stream.read(_READ_BYTES)
            if data is not None:
                return data
            if self.exited.done():
                break
            await self._until_readable(stream.fileno())
        return b""

    async def _until_readable(self, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        readable = loop.create_future()
        loop.add_reader(descriptor, _settle, readable)
        try:
            await asyncio.wait({readable, self.exited}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(descriptor)

    async def end(self) -> None:
        """Kill it if it lives, and wait until it is reaped. Idempotent."""
        self.signal(signal.SIGKILL)
        await asyncio.wait({self.exited}, timeout=REAP_S)
        if not self.exited.done():
            _log.error("the child process %s does not die", self.pid)

    def close(self) -> None:
        """Let go of its files; call once it has ended and was read. Idempotent."""
        self._socket.close()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def _above_standard_files(descriptor: int) -> int:
    """Return a copy of a descriptor above those of standard input, output and error, which are
    replaced in a child: ours is one of them if a function closed them."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
