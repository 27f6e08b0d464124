"""A child process from its parent's side: start, messages, signals, reaping."""

import asyncio
import contextlib
import fcntl
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Self

from runcast._logs import get_logger
from runcast._workers.processes import control
from runcast._workers.processes.surroundings import Surroundings

__all__ = (
    "REAP_S",
    "ChildProcess",
    "Pipes",
    "StartedProcess",
    "Stream",
    "above_standard_files",
)

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


Stream = Literal["stdout", "stderr"]
"""What a child prints to."""


class Pipes(NamedTuple):
    """The parent's ends of what connects it with a child."""

    connection: socket.socket
    stdout: io.RawIOBase
    stderr: io.RawIOBase

    def close(self) -> None:
        """Close all. Idempotent."""
        for each in self:
            each.close()


class ChildProcess(ABC):
    """A child, the leader of its own session and process group.

    It belongs to one event loop. When the child has ended, its process group has ended, too.
    """

    def __init__(self, pid: int, pipes: Pipes) -> None:
        self.pid: Final = pid
        """Its process id, which is the id of its process group."""
        self._pipes = pipes
        pipes.connection.setblocking(False)
        for stream in (pipes.stdout, pipes.stderr):
            os.set_blocking(stream.fileno(), False)
        self._sending = asyncio.Lock()
        self._reads_left = _READS_AFTER_EXIT
        self._may_be_reaped = False
        self.is_loaded = False
        """Whether it has imported the function's module and will not report that again."""
        self.said: dict[Stream, bytes] = {}
        """What it, or the process that it was forked from, has printed before: read first."""
        self.exited: asyncio.Future[None]
        """Done when the child is dead, and its group was killed."""
        self.exit_code: asyncio.Future[int]
        """Done once it is reaped: its exit code, or the negative signal number."""

    def watch(self) -> None:
        """Begin to watch for its end, on the running loop."""
        loop = asyncio.get_running_loop()
        self.exited, self.exit_code = loop.create_future(), loop.create_future()

    @abstractmethod
    def _reap(self) -> None:
        """Reap it, and call `_end_watch` with its exit code."""

    def _handle_exit(self) -> None:
        """Clean up after it. Call it when the child is dead, before it is reaped."""
        # Until it is reaped its id, and so its group's id, is not reused.
        self.signal(signal.SIGKILL)
        self._may_be_reaped = True
        with contextlib.suppress(OSError):
            # What it sent can still be read; other holders of its end of the socket are ignored.
            self._pipes.connection.shutdown(socket.SHUT_RD)
        if not self.exited.done():
            self.exited.set_result(None)
        self._reap()

    def _end_watch(self, code: int) -> None:
        self._reap_group(_MOST_REAPS)
        if not self.exit_code.done():
            self.exit_code.set_result(code)

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
        if not self._may_be_reaped:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def send(self, command: control.Command) -> None:
        """Send a command; a child that has ended does not get it."""
        async with self._sending:
            with contextlib.suppress(OSError):
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(self._pipes.connection, control.encode(command))

    def post(self, frame: bytes, descriptors: Sequence[int]) -> None:
        """Send a short frame and copies of descriptors, at once.

        Raises:
            OSError: the child has ended, or does not read what was sent before.
        """
        sent = socket.send_fds(self._pipes.connection, [frame], descriptors)
        if sent < len(frame):
            raise BlockingIOError("only a part of a frame was sent")

    async def receive(self) -> bytes:
        """Return data that it sent; b"" once it has ended and everything was read."""
        try:
            loop = asyncio.get_running_loop()
            return await loop.sock_recv(self._pipes.connection, _READ_BYTES)
        except OSError:
            return b""

    async def read(self, name: Stream) -> bytes:
        """Return data that it printed; b"" once it has ended and everything was read."""
        if said := self.said.pop(name, b""):
            return said
        stream = self._pipes.stdout if name == "stdout" else self._pipes.stderr
        while not self.exited.done() or self._reads_left:
            self._reads_left -= self.exited.done()
            data: bytes | None = stream.read(_READ_BYTES)
            if data is not None:
                return data
            if self.exited.done():
                break
            await self._until_readable(stream.fileno())
        return b""

    def read_now(self, name: Stream) -> bytes:
        """Return data that it printed until now, without waiting; b"" if there is nothing."""
        stream = self._pipes.stdout if name == "stdout" else self._pipes.stderr
        return stream.read(_READ_BYTES) or b""

    async def _until_readable(self, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        readable = loop.create_future()
        loop.add_reader(descriptor, _settle, readable)
        try:
            await asyncio.wait({readable, self.exited}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(descriptor)

    async def end(self) -> None:
        """Kill it if it is alive, and wait until it is dead. Idempotent."""
        self.signal(signal.SIGKILL)
        await asyncio.wait({self.exited}, timeout=REAP_S)
        if not self.exited.done():
            _log.error("the child process %s does not die", self.pid)

    def close(self) -> None:
        """Close its files; call after it has ended and everything was read. Idempotent."""
        self._pipes.close()


class StartedProcess(ChildProcess):
    """A child of a new interpreter.

    `start` blocks and may be called in any thread that outlives the child.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", pipes: Pipes) -> None:
        super().__init__(process.pid, pipes)
        self._process = process

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
            passed += map(above_standard_files, (theirs.fileno(), lifeline))
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
        stdout, stderr = process.stdout, process.stderr
        assert isinstance(stdout, io.RawIOBase)
        assert isinstance(stderr, io.RawIOBase)
        return cls(process, Pipes(ours, stdout, stderr))

    def watch(self) -> None:
        super().watch()
        loop = asyncio.get_running_loop()
        try:
            handle = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # not Linux, or an old kernel
            threading.Thread(target=self._wait, args=(loop,), daemon=True).start()
        else:
            loop.add_reader(handle, self._close_handle, loop, handle)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._handle_exit)

    def _close_handle(self, loop: asyncio.AbstractEventLoop, handle: int) -> None:
        loop.remove_reader(handle)
        os.close(handle)
        self._handle_exit()

    def _reap(self) -> None:
        self._end_watch(self._process.wait())


def above_standard_files(descriptor: int) -> int:
    """Return a copy of a descriptor above the standard files' numbers, which are replaced in a
    child. A descriptor of ours has such a number if a function closed a standard file."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
