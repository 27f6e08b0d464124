"""A child of a fork server, from the hub's side."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from runcast._workers.processes.process import ChildProcess, Pipes, Stream, above_standard_files

if TYPE_CHECKING:
    import io

__all__ = ("ForkedProcess", "PendingFork")

_PIDFD_SIGNAL_PROCESS_GROUP: Final = 4
"""Linux 6.9: a handle stands for a process group."""


class PendingFork(NamedTuple):
    """A fork that was asked for."""

    pipes: Pipes
    child: "asyncio.Future[ForkedProcess | None]"

    @classmethod
    def open(cls) -> "tuple[PendingFork, list[int]]":
        """Return the hub's side and the descriptors for the child. Raises `OSError`."""
        with contextlib.ExitStack() as opened:
            ours, theirs = socket.socketpair()
            opened.callback(ours.close)
            with theirs:
                theirs.setblocking(True)  # `socket.setdefaulttimeout` might have changed it
                descriptors = [above_standard_files(theirs.fileno())]
            opened.callback(os.close, descriptors[0])
            streams: list[io.RawIOBase] = []
            for _ in range(2):
                reading, writing = os.pipe()
                opened.callback(os.close, writing)
                descriptors.append(writing)
                streams.append(open(reading, "rb", buffering=0))  # noqa: SIM115 - kept
                opened.callback(streams[-1].close)
            opened.pop_all()
        pipes = Pipes(ours, *streams)
        return cls(pipes, asyncio.get_running_loop().create_future()), descriptors


class ForkedProcess(ChildProcess):
    """A child of a fork server. The hub is not its parent, so the fork server reaps it.

    Args:
        reap: has a dead child reaped, and then passes its exit code on.
        said: what the import has printed.
        is_loaded: whether it has imported the function's module.
    """

    def __init__(
        self,
        pid: int,
        pipes: Pipes,
        handle: int,
        reap: Callable[[int, Callable[[int], None]], None],
        said: dict[Stream, bytes],
        *,
        is_loaded: bool,
    ) -> None:
        super().__init__(pid, pipes)
        self._handle = handle
        self._have_reaped = reap
        self.said = dict(said)
        self.is_loaded = is_loaded

    def watch(self) -> None:
        super().watch()
        asyncio.get_running_loop().add_reader(self._handle, self._handle_exit)

    def signal(self, number: signal.Signals) -> None:
        if self._may_be_reaped:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            try:
                self._signal_group(number)
            except ProcessLookupError:  # it has no group yet: the function has not begun
                signal.pidfd_send_signal(self._handle, number)

    def _signal_group(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self._handle, number, None, _PIDFD_SIGNAL_PROCESS_GROUP)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            os.killpg(self.pid, number)  # an older kernel

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        self._have_reaped(self.pid, self._end_watch)
