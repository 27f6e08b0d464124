"""A fork server from the hub's side: children that need no new interpreter and no import.

A fork server may die or stand still at any time. Then calls get children of new interpreters. The
children that it has forked end in any case: they die with it, and the hub can kill each of them.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runcast._functions.function import Source
from runcast._logs import get_logger
from runcast._workers.processes import control, fork_control
from runcast._workers.processes.process import ChildProcess, Pipes, Stream, above_standard_files
from runcast.errors import PeerError

if TYPE_CHECKING:
    import io

__all__ = ("ForkServer", "ForkedProcess")

_log: Final = get_logger("runcast.runs")

_PRELOAD_S: Final = 10.0
"""How long a call waits for an import that has begun, before it gets a new interpreter."""

_FORK_S: Final = 2.0
"""How long a fork may take, before the fork server counts as hung."""

_REAPED_S: Final = 1.0
"""How long a fork server may take to report an exit code."""

_MOST_SAID_BYTES: Final = 64 * 1024
"""Longest output of an import, which each fork repeats."""

_MAX_FRAME_BYTES: Final = 1 << 24
"""Longest report: it may name ten thousands of files."""

_KILLED: Final = -int(signal.SIGKILL)
"""The exit code of a child whose fork server cannot report it: it died with the fork server."""

_PIDFD_SIGNAL_PROCESS_GROUP: Final = 4
"""Linux 6.9: a handle stands for a process group."""


class ForkServer:
    """A process that has imported a module, and forks children from itself.

    Args:
        start: starts a child, and begins to watch it.
        in_thread: runs a call in a thread that functions cannot occupy.
        source: the module; None to import only runcast.
        search_path: where modules are found.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[ChildProcess]],
        in_thread: Callable[..., Awaitable[Any]],
        source: Source | None,
        search_path: Sequence[str],
    ) -> None:
        self._start = start
        self._in_thread = in_thread
        self._source = source
        self._search_path = [*search_path]
        self._process: ChildProcess | None = None
        self.problem = ""
        """Why it does not fork, as "it has …"; "" while it may."""
        self._is_lost = False
        self._is_retired = False
        self._files: list[fork_control.SourceFile] = []
        loop = asyncio.get_running_loop()
        self._preloaded = loop.create_future()
        self._wait_until = loop.time() + _PRELOAD_S
        self._numbers = itertools.count()
        self._forks: dict[int, _Fork] = {}
        self._reaps: dict[int, Callable[[int], None]] = {}
        self._children: set[ForkedProcess] = set()
        self._said: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
        self._task = asyncio.create_task(self._run(), name="runcast-fork-server")

    @property
    def name(self) -> str:
        """Its module, for messages."""
        return "runcast" if self._source is None else self._source.file

    @property
    def pid(self) -> int | None:
        """Its process id; None until it is started."""
        return None if self._process is None else self._process.pid

    async def is_outdated(self, search_path: Sequence[str]) -> bool:
        """Return whether another fork server must take its place: it was lost, or a file that it
        has imported has changed, or modules are searched elsewhere."""
        if self._is_lost or self._search_path != search_path:
            return True
        changed: bool = await self._in_thread(_have_changed, self._files)
        return changed or self._is_lost

    async def fork(self) -> "ForkedProcess | None":
        """Return a new child, which is watched; None if there can be none.

        A cancelled call may leave a child. So let it end, and then end the child.
        """
        wait_s = self._wait_until - asyncio.get_running_loop().time()
        await asyncio.wait({self._preloaded}, timeout=max(wait_s, 0.0))
        process = self._process
        if self.problem or self._is_retired or process is None or not self._preloaded.done():
            return None
        number = next(self._numbers)
        fork, theirs = _Fork.open()
        self._forks[number] = fork
        try:
            process.post(fork_control.encode(fork_control.Fork(number)), theirs)
        except OSError as error:
            fork.child.set_exception(error)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        await asyncio.wait({fork.child}, timeout=_FORK_S)
        self._forks.pop(number, None)
        child = None
        if not fork.child.done():
            fork.child.cancel()
            self._lose(f"it has not forked within {_FORK_S:g} s")
        elif (problem := fork.child.exception()) is not None:
            self._lose(f"it cannot be asked: {problem}")
        else:
            child = fork.child.result()
        if child is None:
            fork.pipes.close()
            self._end_if_unused()
        return child

    def retire(self) -> None:
        """Fork no more, and end with the last child."""
        self._is_retired = True
        self._settle()
        self._end_if_unused()

    def when_ended(self, call: Callable[["ForkServer"], None]) -> None:
        """Call a function once nothing of it is left."""
        self._task.add_done_callback(lambda _: call(self))

    async def end(self) -> None:
        """End it now, and with it all its children. Idempotent."""
        self._is_retired = True
        self._settle()
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
        await self._task

    def reap(self, pid: int, then: Callable[[int], None]) -> None:
        """Have a dead child reaped, and call a function with its exit code."""
        self._reaps[pid] = then
        self._post(fork_control.Reap(pid))
        asyncio.get_running_loop().call_later(_REAPED_S, self._take_reaped, pid, _KILLED)

    # --- its process ------------------------------------------------------------------------------

    async def _run(self) -> None:
        source = self._source
        try:
            if source is not None:
                self._files = await self._in_thread(_as_they_are, [source.file])
            process = await self._start()
        except OSError as error:
            self._lose(f"it cannot be started: {error}")
            return
        self._process = process
        listening = [asyncio.create_task(self._listen(process, name)) for name in self._said]
        try:
            if self._is_retired:
                process.signal(signal.SIGKILL)
            await process.send(control.Serve(self._source))
            await self._hear(process)
        except PeerError as error:
            _log.error("the fork server of %s: %s", self.name, error.message)
        finally:
            await process.end()
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)
            process.close()
            self._handle_end()

    async def _hear(self, process: ChildProcess) -> None:
        frames = control.Frames(_MAX_FRAME_BYTES)
        while data := await process.receive():
            for kind, body in frames.feed(data):
                report = fork_control.decode_report(kind, body)
                if isinstance(report, fork_control.Preloaded):
                    self._take_preloaded(process, report)
                elif isinstance(report, fork_control.Forked):
                    self._take_forked(report)
                else:
                    self._take_reaped(report.pid, report.code)

    async def _listen(self, process: ChildProcess, name: Stream) -> None:
        while data := await process.read(name):
            if not self._preloaded.done():
                self._keep_said(name, data)
            else:
                text = data[:500].decode("utf-8", "replace").rstrip()
                _log.warning("the fork server of %s printed %s", self.name, text)

    def _keep_said(self, name: Stream, data: bytes) -> None:
        if len(self._said[name]) + len(data) > _MOST_SAID_BYTES:
            self.problem = f"it has printed more than {_MOST_SAID_BYTES} bytes"
        else:
            self._said[name] += data

    def _take_preloaded(self, process: ChildProcess, report: fork_control.Preloaded) -> None:
        for name in self._said:
            while data := process.read_now(name):
                self._keep_said(name, data)
        self._files = report.files
        self.problem = self.problem or report.problem
        if self.problem:
            _log.info("%s is imported for each call: %s", self.name, self.problem)
        self._settle()
        if self.problem:
            self.retire()

    def _take_forked(self, report: fork_control.Forked) -> None:
        fork = self._forks.pop(report.number, None)
        if report.is_final:
            self.problem = report.problem
        if not report.pid:
            if fork is not None and not fork.child.done():
                fork.child.set_result(None)
            _log.warning("no process can be forked for %s: %s", self.name, report.problem)
            return
        try:
            handle = os.pidfd_open(report.pid)
            if fork is None or fork.child.done():
                os.close(handle)
                raise ProcessLookupError("nobody waits for this child any more")
        except OSError as error:
            # Nobody has reaped it yet, so it is this process that is killed.
            os.kill(report.pid, signal.SIGKILL)
            self.reap(report.pid, lambda code: None)
            if fork is not None and not fork.child.done():
                fork.child.set_exception(error)
            return
        child = ForkedProcess(report.pid, fork.pipes, handle, self, self._said)
        child.watch()
        self._children.add(child)
        child.exited.add_done_callback(lambda _: self._discard(child))
        fork.child.set_result(child)

    def _discard(self, child: "ForkedProcess") -> None:
        self._children.discard(child)
        self._end_if_unused()

    def _take_reaped(self, pid: int, code: int) -> None:
        then = self._reaps.pop(pid, None)
        if then is not None:
            then(code)

    def _post(self, message: fork_control.Command) -> None:
        # If it has ended, or hangs, nobody waits for an answer without a limit.
        with contextlib.suppress(OSError):
            if self._process is not None:
                self._process.post(fork_control.encode(message), [])

    # --- its end ----------------------------------------------------------------------------------

    def _settle(self) -> None:
        if not self._preloaded.done():
            self._preloaded.set_result(None)

    def _lose(self, problem: str) -> None:
        if not self._is_retired:
            _log.warning("the fork server of %s is replaced: %s", self.name, problem)
        self._is_lost = True
        self.problem = self.problem or problem
        self._settle()
        self.retire()

    def _end_if_unused(self) -> None:
        if self._is_retired and not (self._children or self._forks) and self._process is not None:
            self._process.signal(signal.SIGKILL)

    def _handle_end(self) -> None:
        if not self._preloaded.done():
            # The next one would end in the same way: wait until a file has changed.
            self.problem = "it has ended during the import"
            _log.info("%s is imported for each call: %s", self.name, self.problem)
            self._settle()
        elif not (self.problem or self._is_retired):
            self._lose("it was killed")
        for fork in list(self._forks.values()):
            if not fork.child.done():
                fork.child.set_result(None)
        for pid in list(self._reaps):
            self._take_reaped(pid, _KILLED)


class _Fork(NamedTuple):
    """A fork that was asked for."""

    pipes: Pipes
    child: "asyncio.Future[ForkedProcess | None]"

    @classmethod
    def open(cls) -> "tuple[_Fork, list[int]]":
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
    """A child of a fork server. The hub is not its parent, so the fork server reaps it."""

    def __init__(
        self,
        pid: int,
        pipes: Pipes,
        handle: int,
        server: ForkServer,
        said: dict[Stream, bytes],
    ) -> None:
        super().__init__(pid, pipes)
        self._handle = handle
        self._server = server
        self._said = dict(said)

    def watch(self) -> None:
        loop = asyncio.get_running_loop()
        self.exited = loop.create_future()
        loop.add_reader(self._handle, self._handle_exit)

    def signal(self, number: signal.Signals) -> None:
        if self._may_be_reaped:
            return
        try:
            signal.pidfd_send_signal(self._handle, number, None, _PIDFD_SIGNAL_PROCESS_GROUP)
        except ProcessLookupError:
            # It has no group yet: the function has not begun.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)
        except PermissionError:
            pass
        except OSError:  # an older kernel
            super().signal(number)

    async def read(self, name: Stream) -> bytes:
        """Return data that it printed, after what the import printed; see `ChildProcess.read`."""
        said, self._said[name] = self._said[name], b""
        return said or await super().read(name)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        self._server.reap(self.pid, self._end_watch)


def _as_they_are(paths: Iterable[str]) -> list[fork_control.SourceFile]:
    return [*map(fork_control.SourceFile.now, paths)]


def _have_changed(files: Iterable[fork_control.SourceFile]) -> bool:
    return any(fork_control.SourceFile.now(file.path) != file for file in files)
