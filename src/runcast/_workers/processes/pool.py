"""The child processes of a hub: some are kept ready, and each is used for one call."""

import asyncio
import contextlib
import os
import signal
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from runcast._clock import Clock
from runcast._functions.function import Source
from runcast._functions.secrets import Secret, find_secrets
from runcast._logs import get_logger
from runcast._settings import Settings
from runcast._workers.processes import control
from runcast._workers.processes.process import ChildProcess, Surroundings

__all__ = ("Processes",)

T = TypeVar("T")

_log: Final = get_logger("runcast.runs")


class Processes:
    """Starts child processes, if possible before their calls.

    A ready child has imported runcast and, for a function without secrets, the function's module.
    A module may read its secrets at import, so a module with secrets is imported by its call.
    """

    def __init__(self, clock: Clock, settings: Settings) -> None:
        self.clock = clock
        self.settings = settings
        self.room = asyncio.Semaphore(settings.processes)
        self._ready: defaultdict[Source | None, deque[ChildProcess]] = defaultdict(deque)
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
        for source, ready in list(self._ready.items()):  # these children may have them
            for child in ready:
                child.signal(signal.SIGKILL)
                self._track(asyncio.create_task(_end(child), name="runcast-end"))
            if ready:
                ready.clear()
                self.prepare(source)

    def prepare(self, source: Source | None) -> None:
        """Start to keep as many children ready as the settings say. Returns at once."""
        starting = sum(task.get_name() == _name(source) for task in self._starting)
        missing = self.settings.warm_processes - len(self._ready[source]) - starting
        for _ in range(0 if self._is_closed else missing):
            self._track(asyncio.create_task(self._make_ready(source), name=_name(source)))

    async def take(self, source: Source | None) -> ChildProcess:
        """Return a child for one call. The caller must end it.

        Raises:
            OSError: no process can be started.
        """
        ready = self._ready[source]
        while ready:
            child = ready.popleft()
            if not child.exited.done():
                self.prepare(source)
                return child
            child.close()
        child = await self._start(source)
        self.prepare(source)
        return child

    def open(self) -> None:
        """Keep children ready. Idempotent. May be called again after `close`."""
        self._noted = self.surroundings
        self._is_closed = False

    async def close(self) -> None:
        """End the ready children; working children belong to their calls. Idempotent."""
        self._is_closed = True
        self._noted = None
        while self._starting:
            await asyncio.wait(self._starting)
        children = [child for ready in self._ready.values() for child in ready]
        self._ready.clear()
        for child in children:
            child.signal(signal.SIGKILL)
        for child in children:
            await _end(child)
        if self._lifeline is not None:
            for descriptor in self._lifeline:
                os.close(descriptor)
            self._lifeline = None
        if self._starter is not None:
            self._starter.shutdown(wait=False)
            self._starter = None

    async def _make_ready(self, source: Source | None) -> None:
        try:
            child = await self._start(source)
        except OSError as error:
            _log.warning("no child process can be kept ready: %s", error)
            return
        self._ready[source].append(child)

    async def _abandon(self, starting: "asyncio.Future[ChildProcess]") -> None:
        """End a child whose caller left before it was started."""
        with contextlib.suppress(OSError):
            child = await starting
            child.watch()
            await _end(child)

    def _track(self, task: "asyncio.Task[None]") -> None:
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self, source: Source | None) -> ChildProcess:
        while True:
            known = len(self._hidden)
            starting = self._in_starter(self._start_here)
            try:
                child = await asyncio.shield(starting)
            except asyncio.CancelledError:
                self._track(asyncio.create_task(self._abandon(starting)))
                raise
            child.watch()
            if len(self._hidden) == known:
                break
            child.signal(signal.SIGKILL)  # it may have a name that must be hidden since
            self._track(asyncio.create_task(_end(child), name="runcast-end"))
        if source is not None:
            await child.send(control.Load(source))
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
        return ChildProcess.start(surroundings._replace(environment=environment), self._lifeline[0])


async def _end(child: ChildProcess) -> None:
    await child.end()
    child.close()


def _name(source: Source | None) -> str:
    return f"runcast-ready-{'' if source is None else source.file or source.module}"
