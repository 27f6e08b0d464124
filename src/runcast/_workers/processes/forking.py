"""A fork server from inside: a process that has imported a module, and forks itself for each call.

It has one thread and calls no function. A child gets its own session, socket and output, and then
waits for a call like a child of a new interpreter. The fork server reaps a child only when the hub
asks for it, so the hub can kill a dead child's group before another process gets its id.

The children die with the fork server, and the fork server dies with the hub. See `lifeline`.
"""

import gc
import os
import socket
import sys
import sysconfig
from collections import deque
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Final

from runcast._workers.processes import fork_control
from runcast._workers.processes.control import Frames
from runcast._workers.processes.forkable import ForkCheck, count_threads
from runcast._workers.processes.lifeline import die_with_parent
from runcast._workers.processes.parent import Parent
from runcast._workers.processes.reseeding import RandomState

__all__ = ("Forker",)

_READ_BYTES: Final = 65536
_MAX_FRAME_BYTES: Final = 4096


class Forker:
    """Forks this process. Make it before the import that forks shall share.

    Args:
        parent: the hub's process.
        lifeline: the descriptor that `die_with_parent` has returned.
    """

    def __init__(self, parent: Parent, lifeline: int) -> None:
        self._parent = parent
        self._hub_lifeline = lifeline
        self._modules = set(sys.modules)
        self._check = ForkCheck()
        self._lifeline: tuple[int, int] = (-1, -1)
        self._descriptors: deque[int] = deque()

    def serve(self, problem: str, files: Iterable[str]) -> Parent:
        """Fork a child for each request. Returns in each child, with its own connection.

        If this process must not be forked, it returns here, with the given connection.

        Args:
            problem: why the import failed, or "".
            files: source files to watch, in addition to the imported ones.
        """
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        problem = problem or self._check.problem()
        state = RandomState()
        problem = problem or state.problem()
        self._post(fork_control.Preloaded(problem, self._watched(files)))
        if problem:
            return self._parent
        self._lifeline = os.pipe()
        # A fork would free them later, and so write to each name that they refer to.
        del self._modules, self._check
        # What is never collected is never written, so forks share its memory.
        gc.collect()
        gc.freeze()
        for command in self._commands():
            if isinstance(command, fork_control.Reap):
                self._reap(command.pid)
            elif (parent := self._fork(command.number)) is not None:
                state.renew()
                return parent
        os._exit(0)

    def _commands(self) -> Iterator[fork_control.Command]:
        frames = Frames(_MAX_FRAME_BYTES)
        while True:
            data, descriptors, _, _ = socket.recv_fds(
                self._parent.socket,
                _READ_BYTES,
                2 * fork_control.DESCRIPTORS,
                socket.MSG_CMSG_CLOEXEC,
            )
            if not data:  # the hub has closed its end
                return
            self._descriptors += descriptors
            for _, body in frames.feed(data):
                yield fork_control.decode_command(body)

    def _post(
        self, message: fork_control.Preloaded | fork_control.Forked | fork_control.Reaped
    ) -> None:
        self._parent.send_frame(fork_control.encode(message))

    def _reap(self, pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        self._post(fork_control.Reaped(pid, os.waitstatus_to_exitcode(status)))

    def _fork(self, number: int) -> Parent | None:
        """Fork; return None here, and the connection to the hub in the child."""
        passed = [self._descriptors.popleft() for _ in range(fork_control.DESCRIPTORS)]
        server = os.getpid()
        if count_threads() > 1:  # a signal handler or a hook has started one
            self._post(
                fork_control.Forked(number, problem="it has started a thread", is_final=True)
            )
        else:
            try:
                pid = os.fork()
            except OSError as error:
                self._post(fork_control.Forked(number, problem=f"it cannot be forked: {error}"))
            else:
                if not pid:
                    return self._become_child(server, passed)
                self._post(fork_control.Forked(number, pid))
        for descriptor in passed:
            os.close(descriptor)
        return None

    def _become_child(self, server: int, passed: list[int]) -> Parent:
        try:
            os.setsid()
            connection, *output = passed
            for stream, descriptor in enumerate(output, 1):
                os.dup2(descriptor, stream)
            ours, theirs = self._lifeline
            for descriptor in (*output, theirs, self._hub_lifeline, *self._descriptors):
                if descriptor >= 0:
                    os.close(descriptor)
            self._parent.socket.close()
            die_with_parent(ours)
            if os.getppid() != server:  # it died before we were ready
                os._exit(0)
            hub = socket.socket(fileno=connection)
            hub.settimeout(None)  # the import may have set a default timeout
            return Parent(hub)
        except BaseException:  # noqa: BLE001 - nothing of the fork server may run twice
            os._exit(1)

    def _watched(self, files: Iterable[str]) -> list[fork_control.SourceFile]:
        watched = dict.fromkeys([*files, *self._imported_files()])
        return [fork_control.SourceFile.now(path) for path in watched]

    def _imported_files(self) -> Iterator[str]:
        """Yield the files of modules imported since, without installed packages."""
        installed = tuple(
            os.path.join(sysconfig.get_path(name), "")
            for name in ("stdlib", "platstdlib", "purelib", "platlib")
        )
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
            if name not in self._modules and isinstance(file, str):
                path = os.path.abspath(file)
                if not path.startswith(installed):
                    yield path
