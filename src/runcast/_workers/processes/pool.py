"""The child processes of a hub: some are kept ready, and each is used for one call."""

import asyncio
import contextlib
import os
import signal
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from runcast._clock import Clock
from runcast._functions.function import Source
from runcast._functions.secrets import Secret, find_secrets
from runcast._logs import get_logger
from runcast._settings import Settings
from runcast._workers.processes import control
from runcast._workers.processes.fork_server import ForkServer
from runcast._workers.processes.forkable import is_supported
from runcast._workers.processes.process import ChildProcess, StartedProcess
from runcast._workers.processes.surroundings import Surroundings

__all__ = ("Preparation", "Processes")

T = TypeVar("T")

_log: Final = get_logger("runcast.runs")


_REFILL_S: Final = 0.025
"""How long after a child was taken the next one is made, if its call has not ended before. First
the call at hand gets the time of the loop and of the cores."""


class Preparation(NamedTuple):
    """What a child may have done before its call.

    `source` is the module that it may have imported; None if only runcast. `may_fork` says whether
    it may be a fork of a process that has done so.
    """

    source: Source | None
    may_fork: bool = True


class Processes:
    """Starts child processes, if possible before their calls.

    A ready child has imported runcast and, for a function without secrets, the function's module.
    A module may read its secrets at import, so a module with secrets is imported by its call.

    Children are forked from a fork server for each preparation. If there is none, or it must not
    fork, a child is a new interpreter.
    """

    def __init__(self, clock: Clock, settings: Settings) -> None:
        self.clock = clock
        self.settings = settings
        self.room = asyncio.Semaphore(settings.processes)
        self.started = 0
        """Number of interpreters that were started."""
        self.forked = 0
        """Number of children that were forked."""
        self._ready: defaultdict[Preparation, deque[ChildProcess]] = defaultdict(deque)
        self._servers: dict[Preparation, ForkServer] = {}
        self._retired: set[ForkServer] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._hidden: set[str] = set()
        # One thread starts all children and outlives them, because the kernel takes the death of
        # the starting thread for the death of the parent.
        self._starter: ThreadPoolExecutor | None = None
        self._lifeline: tuple[int, int] | None = None
        self._is_closed = False
        self._noted: Surroundings | None = None

    @property
    def surroundings(self) -> Surroundings:
        """The surroundings of children, as noted at opening."""
        if self._noted is None:
            self._noted = Surroundings.note()
        return self._noted

    async def find_secrets(
        self, declared: Iterable[Secret], given: Mapping[str, str]
    ) -> dict[str, str]:
        """Return the values of the secrets that a function declares. Raises what `find_secrets`
        raises."""
        if not declared:
            return {}
        file, environment = self.settings.secrets_file, self.surroundings.environment
        return await find_secrets(declared, given, file, environment, self._in_starter)

    @property
    def ready(self) -> int:
        """Number of ready children."""
        return sum(map(len, self._ready.values()))

    def hide(self, names: Iterable[str]) -> None:
        """Keep these names out of children's environments, except for calls that get them."""
        known = len(self._hidden)
        self._hidden.update(names)
        if len(self._hidden) == known:
            return
        # Children and fork servers may have them.
        for preparation in [*self._servers]:
            self._retire(preparation)
        for preparation, ready in list(self._ready.items()):
            if ready:
                self._drop_ready(preparation)
                self.prepare(preparation)

    def prepare(self, preparation: Preparation) -> None:
        """Start to keep as many children ready as the settings say. Returns at once."""
        starting = sum(task.get_name() == _name(preparation) for task in self._starting)
        missing = self.settings.warm_processes - len(self._ready[preparation]) - starting
        for _ in range(0 if self._is_closed else missing):
            making = self._make_ready(preparation)
            self._track(asyncio.create_task(making, name=_name(preparation)))

    async def take(self, preparation: Preparation) -> ChildProcess:
        """Return a child for one call. The caller must end it.

        Raises:
            OSError: no process can be started.
        """
        await self._renew(preparation)
        ready = self._ready[preparation]
        while ready:
            child = ready.popleft()
            if not child.exited.done():
                break
            child.close()
        else:
            child = await self._make(preparation)
        asyncio.get_running_loop().call_later(_REFILL_S, self.prepare, preparation)
        return child

    async def take_while(
        self, preparation: Preparation, other: Awaitable[T]
    ) -> tuple[ChildProcess, T]:
        """Return a child, and the result of another wait, which goes on at the same time.

        If the other wait fails, no child is left. Raises what it raises and what `take` raises.
        """
        taking = asyncio.create_task(self.take(preparation), name="runcast-take")
        try:
            found = await other
            return await asyncio.shield(taking), found
        except BaseException:
            self._track(asyncio.create_task(self._abandon(taking), name="runcast-end"))
            raise

    def open(self) -> None:
        """Keep children ready. Idempotent. May be called again after `close`."""
        self._noted = self.surroundings
        self._is_closed = False

    async def close(self) -> None:
        """End the ready children; working children belong to their calls. Idempotent."""
        self._is_closed = True
        self._noted = None
        for preparation in [*self._servers]:
            self._retire(preparation)
        while self._starting:
            await asyncio.wait(self._starting)
        for preparation in [*self._ready]:
            self._drop_ready(preparation)
        while self._starting:
            await asyncio.wait(self._starting)
        for server in [*self._servers.values(), *self._retired]:
            await server.end()
        self._servers.clear()
        self._retired.clear()
        if self._lifeline is not None:
            for descriptor in self._lifeline:
                os.close(descriptor)
            self._lifeline = None
        if self._starter is not None:
            self._starter.shutdown(wait=False)
            self._starter = None

    def _server_for(self, preparation: Preparation) -> ForkServer | None:
        """Return the fork server that children come from, begun if need be; None if they do not."""
        if not (preparation.may_fork and self.settings.warm_processes and is_supported()):
            return None
        server = self._servers.get(preparation)
        if server is None and not self._is_closed:
            search_path = self.surroundings.current_search_path()
            server = ForkServer(self._start, self._in_starter, preparation.source, search_path)
            self._servers[preparation] = server
        return server

    async def _renew(self, preparation: Preparation) -> None:
        """Give up a fork server whose code has changed, and its ready children."""
        server = self._servers.get(preparation)
        if server is None:
            return
        is_outdated = await server.is_outdated(self.surroundings.current_search_path())
        if is_outdated and self._servers.get(preparation) is server:
            self._retire(preparation)
            self._drop_ready(preparation)

    def _retire(self, preparation: Preparation) -> None:
        server = self._servers.pop(preparation)
        server.retire()
        self._retired.add(server)
        server.when_ended(self._retired.discard)

    def _drop_ready(self, preparation: Preparation) -> None:
        ready = self._ready[preparation]
        while ready:
            self._end_soon(ready.popleft())

    def _end_soon(self, child: ChildProcess) -> None:
        child.signal(signal.SIGKILL)
        self._track(asyncio.create_task(_end(child), name="runcast-end"))

    async def _make_ready(self, preparation: Preparation) -> None:
        try:
            child = await self._make(preparation)
        except OSError as error:
            if not self._is_closed:
                _log.warning("no child process can be kept ready: %s", error)
            return
        self._ready[preparation].append(child)

    async def _make(self, preparation: Preparation) -> ChildProcess:
        """Fork or start a child. Raises `OSError`."""
        while True:
            known = len(self._hidden)
            making = asyncio.ensure_future(self._fork_or_start(preparation))
            try:
                child = await asyncio.shield(making)
            except asyncio.CancelledError:
                self._track(asyncio.create_task(self._abandon(making)))
                raise
            if len(self._hidden) == known:
                return child
            self._end_soon(child)  # it may have a name that must be hidden since

    async def _fork_or_start(self, preparation: Preparation) -> ChildProcess:
        server = self._server_for(preparation)
        child = None if server is None else await server.fork()
        if child is not None:
            self.forked += 1
            return child
        if self._is_closed:
            raise ProcessLookupError("the hub is closed")
        started = server.take_over() if server is not None else None
        if started is None:
            started = await self._start()
        if preparation.source is not None:
            await started.send(control.Load(preparation.source))
        return started

    async def _abandon(self, making: "asyncio.Future[ChildProcess]") -> None:
        """End a child whose caller left before it was there."""
        with contextlib.suppress(OSError):
            await _end(await making)

    def _track(self, task: "asyncio.Task[None]") -> None:
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self) -> ChildProcess:
        """Start an interpreter. A cancelled call may leave a child. Raises `OSError`."""
        child = await self._in_starter(self._start_here)
        self.started += 1
        child.watch()
        return child

    def _in_starter(self, call: Callable[..., T], *args: object) -> "asyncio.Future[T]":
        if self._starter is None:
            self._starter = ThreadPoolExecutor(1, "runcast-starter")
        return asyncio.get_running_loop().run_in_executor(self._starter, call, *args)

    def _start_here(self) -> ChildProcess:
        """Start a child; in the starter's thread."""
        if self._lifeline is None:
            self._lifeline = os.pipe()
        surroundings = self.surroundings
        environment = {
            name: value
            for name, value in surroundings.environment.items()
            if not name.startswith("RUNCAST_") and name not in self._hidden
        }
        return StartedProcess.start(
            surroundings._replace(environment=environment), self._lifeline[0]
        )


async def _end(child: ChildProcess) -> None:
    await child.end()
    child.close()


def _name(preparation: Preparation) -> str:
    source = preparation.source
    named = "" if source is None else source.file or source.module
    return f"runcast-ready-{named}-{preparation.may_fork:d}"
