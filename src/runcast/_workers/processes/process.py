"""A child process from its parent's side: start, messages, signals, reaping; and its surroundings.

Surroundings belong to the whole process, and a function in a thread or on the loop may change any
of them. So the surroundings for children are noted when the hub opens.
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
    """The environment, the search path of modules, the folder for temporary files, the umask.

    Paths are absolute.
    """

    environment: Mapping[str, str]
    search_path: tuple[str, ...]
    folder: str
    umask: int

    @classmethod
    def note(cls) -> Self:
        """Return this process's present surroundings."""
        # The umask can be read only by setting it. Meanwhile new files are private.
        umask = os.umask(0o077)
        os.umask(umask)
        folder = os.path.abspath(tempfile.gettempdir())
        return cls(dict(os.environ), tuple(_absolute(sys.path)), folder, umask)

    def current_search_path(self) -> list[str]:
        """Return the search path: first as noted, then the entries added since, for functions of
        modules that were imported since."""
        added = (entry for entry in sys.path if os.path.isabs(entry))
        return list(dict.fromkeys((*self.search_path, *added)))


def _absolute(entries: Iterable[str]) -> Iterator[str]:
    for entry in entries:
        with contextlib.suppress(OSError):  # the working directory was deleted
            yield os.path.abspath(entry)


_log: Final = get_logger("runcast.runs")

_START: Final = (
    "import json, sys; sys.path[:], *fds = json.loads(sys.argv.pop()); "
    "from runcast._workers.processes.child import main; main(*fds)"
)
"""The working directory is not on the path, because its files are data."""

_READ_BYTES: Final = 32 * 1024
"""Bytes read from one child before others have their turn: about a millisecond."""

_READS_AFTER_EXIT: Final = 32
"""More than a pipe holds. An escaped process may write for ever."""

_REAP_EVERY_S: Final = 0.02
_MOST_REAPS: Final = 500
"""Checks for dying processes of a child's group: ten seconds in all, as below."""

REAP_S: Final = 10.0
"""How long a process may take to die after SIGKILL. One that waits for a disk may never die."""


class ChildProcess:
    """A child, the leader of its own session and process group.

    `start` blocks and may be called in any thread that outlives the child; everything else belongs
    to one event loop. When the child has ended, its process group has ended, too.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", connection: socket.socket) -> None:
        self._process = process
        self._socket = connection
        self._sending = asyncio.Lock()
        self._reads_left = _READS_AFTER_EXIT
        self._is_closed = False
        self.exited: asyncio.Future[int]
        """Done when the child has ended: its exit code, or the negative signal number."""

    @property
    def pid(self) -> int:
        """Its process id, which is the id of its process group."""
        return self._process.pid

    @classmethod
    def start(cls, surroundings: Surroundings, lifeline: int) -> Self:
        """Start a child that waits for commands.

        Args:
            lifeline: the reading end of a pipe; only this process has the other end.

        Raises:
            OSError: no process can be started.
        """
        ours, theirs = socket.socketpair()
        theirs.setblocking(True)  # `socket.setdefaulttimeout` might have changed it
        passed: list[int] = []
        try:
            passed += map(_above_standard_files, (theirs.fileno(), lifeline))
            start = [surroundings.current_search_path(), *passed]
            process = subprocess.Popen(
                # Unbuffered, so that output is seen at once and in order.
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
        """Begin to watch for its end, on the running loop."""
        loop = asyncio.get_running_loop()
        self.exited = loop.create_future()
        try:
            handle = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not Linux, or an old kernel
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
        # Before it is reaped: until then its id, and so its group's id, is not reused.
        self.signal(signal.SIGKILL)
        code = self._process.wait()
        self._reap_group(_MOST_REAPS)
        with contextlib.suppress(OSError):
            # What it sent can still be read; other holders of its end of the socket are ignored.
            self._socket.shutdown(socket.SHUT_RD)
        if not self.exited.done():
            self.exited.set_result(code)

    def _reap_group(self, times: int) -> None:
        """Wait for processes of its group that became children of this process, if this is process
        1.

        Only for these: any other process could be one that a function has started.
        """
        with contextlib.suppress(ChildProcessError):  # no process is left
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
        """Send a command; a child that has ended does not get it."""
        async with self._sending:
            with contextlib.suppress(OSError):
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(self._socket, control.encode(command))

    async def receive(self) -> bytes:
        """Return data that it sent; b"" once it has ended and everything was read."""
        try:
            return await asyncio.get_running_loop().sock_recv(self._socket, _READ_BYTES)
        except OSError:
            return b""

    async def read(self, name: Literal["stdout", "stderr"]) -> bytes:
        """Return data that it printed; b"" once it has ended and everything was read."""
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
        """Kill it if it is alive, and wait until it is reaped. Idempotent."""
        self.signal(signal.SIGKILL)
        await asyncio.wait({self.exited}, timeout=REAP_S)
        if not self.exited.done():
            _log.error("the child process %s does not die", self.pid)

    def close(self) -> None:
        """Close its files; call after it has ended and everything was read. Idempotent."""
        self._socket.close()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def _above_standard_files(descriptor: int) -> int:
    """Return a copy of a descriptor above the standard files' numbers, which are replaced in a
    child. A descriptor of ours has such a number if a function closed a standard file."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
