"""A fork server from the hub's side: children that need no new interpreter and no import.

A fork server may die or stand still at any time. Then calls get children of new interpreters. The
children that it has forked end in any case: they die with it, and the hub can kill each of them.
"""

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from runcast._functions.function import Source
from runcast._logs import get_logger
from runcast._workers.processes import control, fork_control
from runcast._workers.processes.forked import ForkedProcess, PendingFork
from runcast._workers.processes.process import ChildProcess, Stream
from runcast.errors import PeerError

__all__ = ("ForkServer",)

_log: Final = get_logger("runcast.runs")

_PRELOAD_S: Final = 60.0
"""How long calls wait for an import that has begun. Then they get new interpreters, although one
that begins now is later than this one, unless this one hangs."""

_FORK_S: Final = 5.0
"""How long a fork may take, before the fork server counts as hung."""

_REAPED_S: Final = 3.0
"""How long a fork server may take to report an exit code."""

_MOST_SAID_BYTES: Final = 64 * 1024
"""Longest output of an import, which each fork repeats."""

_MAX_FRAME_BYTES: Final = 1 << 24
"""Longest report: it may name ten thousands of files."""

_KILLED: Final = -int(signal.SIGKILL)
"""The exit code of a child whose fork server cannot report it: it died with the fork server."""


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
        self._is_preloaded = False
        self._has_said_too_much = False
        self._is_lost = False
        self._has_ended = False
        self._is_retired = False
        self._files: list[fork_control.SourceFile] = []
        loop = asyncio.get_running_loop()
        self._preloaded = loop.create_future()
        self._wait_until = loop.time() + _PRELOAD_S
        self._numbers = itertools.count()
        self._forks: dict[int, PendingFork] = {}
        self._reaps: dict[int, _Reap] = {}
        self._spare: ChildProcess | None = None
        self._released = loop.create_future()
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

    async def fork(self) -> ForkedProcess | None:
        """Return a new child, which is watched; None if there can be none.

        A cancelled call may leave a child. So let it end, and then end the child.
        """
        wait_s = self._wait_until - asyncio.get_running_loop().time()
        await asyncio.wait({self._preloaded}, timeout=max(wait_s, 0.0))
        process = self._process
        if self.problem or self._is_retired or process is None or not self._preloaded.done():
            return None
        number = next(self._numbers)
        fork, theirs = PendingFork.open()
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

    def take_over(self) -> ChildProcess | None:
        """Return its process as a child, if it has imported the module but must not be forked.

        It waits for `Load` or `Call`. Only the first call gets it.
        """
        spare, self._spare = self._spare, None
        if spare is None or spare.exited.done() or self._is_retired:
            return None
        self._process = None
        self._release()
        return spare

    def retire(self) -> None:
        """Fork no more, and end with the last child."""
        self._is_retired = True
        self._settle()
        self._release()
        self._end_if_unused()

    def when_ended(self, call: Callable[["ForkServer"], None]) -> None:
        """Call a function once nothing of it is left."""
        self._task.add_done_callback(lambda _: call(self))

    async def end(self) -> None:
        """End it now, and with it all its children. Idempotent."""
        self.retire()
        if self._process is not None:
            self._process.signal(signal.SIGKILL)
        await self._task

    def reap(self, pid: int, then: Callable[[int], None]) -> None:
        """Have a dead child reaped, and call a function with its exit code."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(_REAPED_S, self._take_reaped, pid, _KILLED)
        self._reaps[pid] = _Reap(then, timer)
        self._post(fork_control.Reap(pid))
        if self._has_ended:
            self._take_reaped(pid, _KILLED)

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
            if self._is_spare():
                await _cancel(listening)
                process.said = self._said
                self._spare = process
                self._settle()
                await self._released
        except PeerError as error:
            _log.error("the fork server of %s: %s", self.name, error.message)
        finally:
            if self._process is not None:  # nobody has taken it over
                await process.end()
                await _cancel(listening)
                process.close()
            self._handle_end()

    def _is_spare(self) -> bool:
        """Whether its process may be a child, because it has lost no output."""
        return self._is_preloaded and bool(self.problem) and not self._has_said_too_much

    async def _hear(self, process: ChildProcess) -> None:
        frames = control.Frames(_MAX_FRAME_BYTES)
        while data := await process.receive():
            for kind, body in frames.feed(data):
                report = fork_control.decode_report(kind, body)
                if isinstance(report, fork_control.Preloaded):
                    self._take_preloaded(process, report)
                    if self.problem:
                        return
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
            self._has_said_too_much = True
        else:
            self._said[name] += data

    def _take_preloaded(self, process: ChildProcess, report: fork_control.Preloaded) -> None:
        for name in self._said:
            while data := process.read_now(name):
                self._keep_said(name, data)
        self._files = report.files
        self.problem = self.problem or report.problem
        self._is_preloaded = True
        if self.problem:
            _log.info("%s is imported for each call: %s", self.name, self.problem)
        else:
            self._settle()

    def _take_forked(self, report: fork_control.Forked) -> None:
        fork = self._forks.pop(report.number, None)
        if report.is_final:
            self.problem = report.problem
            self.retire()
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
        is_loaded = self._source is not None
        child = ForkedProcess(
            report.pid, fork.pipes, handle, self.reap, self._said, is_loaded=is_loaded
        )
        child.watch()
        self._children.add(child)
        child.exit_code.add_done_callback(lambda _: self._discard(child))
        fork.child.set_result(child)

    def _discard(self, child: ForkedProcess) -> None:
        self._children.discard(child)
        self._end_if_unused()

    def _take_reaped(self, pid: int, code: int) -> None:
        reap = self._reaps.pop(pid, None)
        if reap is not None:
            reap.timer.cancel()
            reap.then(code)

    def _post(self, message: fork_control.Command) -> None:
        # If it has ended, or hangs, nobody waits for an answer without a limit.
        with contextlib.suppress(OSError):
            if self._process is not None:
                self._process.post(fork_control.encode(message), [])

    # --- its end ----------------------------------------------------------------------------------

    def _settle(self) -> None:
        if not self._preloaded.done():
            self._preloaded.set_result(None)

    def _release(self) -> None:
        if not self._released.done():
            self._released.set_result(None)

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
        self._has_ended = True
        if not (self._is_preloaded or self._is_retired or self._is_lost):
            # The next one would end in the same way: wait until a file has changed.
            self.problem = self.problem or "it has ended during the import"
            _log.info("%s is imported for each call: %s", self.name, self.problem)
            self._settle()
        elif not (self.problem or self._is_retired):
            self._lose("it was killed")
        self._settle()
        for fork in list(self._forks.values()):
            if not fork.child.done():
                fork.child.set_result(None)
        for pid in list(self._reaps):
            self._take_reaped(pid, _KILLED)


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Reap(NamedTuple):
    """A dead child that the fork server was asked to reap."""

    then: Callable[[int], None]
    timer: asyncio.TimerHandle


def _as_they_are(paths: Iterable[str]) -> list[fork_control.SourceFile]:
    return [*map(fork_control.SourceFile.now, paths)]


def _have_changed(files: Iterable[fork_control.SourceFile]) -> bool:
    return any(fork_control.SourceFile.now(file.path) != file for file in files)
