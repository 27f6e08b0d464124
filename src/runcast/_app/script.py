"""A run around any block of code, in a program without a hub."""

import os
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from runcast._app.showing import HubDisplay
from runcast._clock import Clock, SystemClock
from runcast._hub.bridge import Bridge
from runcast._hub.forks import Home
from runcast._hub.hub import Hub
from runcast._runs.owned_run import Block, BlockInThread, OwnedRun
from runcast._runs.retention import Retention
from runcast._settings import Settings
from runcast.errors import InvalidValue
from runcast.stores import open_url
from runcast.stores.base import Store
from runcast.stores.machine import this_process

if TYPE_CHECKING:
    from runcast._app.script_runs import ScriptRuns
    from runcast.client.asynchronous import AsyncClient

__all__ = ("STORE_VARIABLE", "RunOpener", "ScriptHub", "run")

STORE_VARIABLE: Final = "RUNCAST_STORE"
"""The variable with the store for runs that name no store."""


class ScriptHub:
    """A hub for one program's runs. It does not recover, delete or sweep other programs' runs."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self.hub = Hub(store, settings, clock, this_process)
        self._retention = Retention(self.hub)
        self._home = Home()
        self._shown: ScriptRuns | None = None

    async def open(self) -> None:
        await self.hub.open()
        self._retention.open(deletes=False)  # its own runs are cut as the settings say

    def client(self) -> "AsyncClient":
        """Return a client of this hub's runs, for notebooks; see `OpenHub.client`."""
        if self._shown is None:
            # Imported late: a script that only writes a run needs no web framework.
            from runcast._app.script_runs import ScriptRuns

            self._shown = ScriptRuns(self.hub)
        return self._shown.client()

    @property
    def is_here(self) -> bool:
        """Whether this is the process that opened it, not a fork."""
        return self._home.is_here

    async def close(self) -> None:
        if not self.is_here:
            return  # a process forked in the block leaves it; the run belongs to the parent
        if self._shown is not None:
            await self._shown.close()
        await self._retention.close()
        await self.hub.close()


class RunOpener:
    """The result of `runcast.run`. `async with` begins the run on the running loop, `with` begins
    it in a thread. Use one of them, once."""

    def __init__(
        self,
        make: Callable[[], ScriptHub],
        begin: Callable[[ScriptHub], Coroutine[Any, Any, OwnedRun]],
    ) -> None:
        self._make = make
        self._begin = begin
        self._open: ExitStack | None = None
        self._open_async: AsyncExitStack | None = None

    def _check_unused(self) -> None:
        # Otherwise the first entered run would never end.
        if self._open is not None or self._open_async is not None:
            raise InvalidValue("expected run(…) to be entered once; call it for each run")

    async def __aenter__(self) -> OwnedRun:
        self._check_unused()
        async with AsyncExitStack() as opening:
            hub = self._make()
            opening.push_async_callback(hub.close)
            await hub.open()
            block = Block(partial(self._begin, hub))
            run = await opening.enter_async_context(block)
            run.display = HubDisplay(hub.client, run.run_id, lambda: repr(run))
            self._open_async = opening.pop_all()
        return run

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._open_async is not None:
            await self._open_async.__aexit__(kind, error, traceback)

    def __enter__(self) -> OwnedRun:
        self._check_unused()
        with ExitStack() as opening:
            hub, bridge = self._make(), Bridge()
            bridge.open()
            opening.callback(bridge.close)
            opening.callback(lambda: bridge.is_open and bridge.call(hub.close()))
            bridge.call(hub.open())
            run = opening.enter_context(BlockInThread(bridge, partial(self._begin, hub)))
            run.display = HubDisplay(
                lambda: bridge.do(hub.client), run.run_id, lambda: repr(run), lambda: bridge.loop
            )
            self._open = opening.pop_all()
        return run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._open is not None:
            self._open.__exit__(kind, error, traceback)


def run(
    name: str,
    *,
    run_id: str = "",
    labels: Mapping[str, str] | None = None,
    store: str | Store | None = None,
    replace: bool = False,
    settings: Settings | None = None,
    clock: Clock | None = None,
) -> RunOpener:
    """Turn a block of code into a run: `with runcast.run("import") as run`, or `async with`.

    Inside the block `runcast.emit`, `progress`, `ask` and the others write to the run. Leaving the
    block ends the run: `done`; `failed` after an exception, of which watchers see only the class;
    `cancelled` after `KeyboardInterrupt` and `CancelledError`. If the process dies, the next server
    that opens the store ends the run as `lost`.

    If the run is cancelled, the next emit in each thread of a `with` raises `Cancelled`, and the
    task of an `async with` is cancelled.

    Args:
        name: the run's name; lists show it as the run's function.
        run_id: by default a new UUIDv7.
        store: `sqlite:///path`, or your own store. By default the address in the environment
            variable `RUNCAST_STORE`, else memory, which no other process can watch.
        replace: begin an existing run again.

    Raises, when the block is entered:
        Conflict: the run exists, and `replace` is False.
        InvalidValue: the name, the id, the labels or the store's address are malformed.
        BackendError: the store cannot be opened or written.
    """

    def make() -> ScriptHub:
        known, now = settings or Settings.load(), clock or SystemClock()
        where = store if store is not None else os.environ.get(STORE_VARIABLE) or "memory://"
        return ScriptHub(
            open_url(where, known, now) if isinstance(where, str) else where, known, now
        )

    def begin(hub: ScriptHub) -> Coroutine[Any, Any, OwnedRun]:
        return OwnedRun._begin(hub.hub, name, run_id, labels, replace=replace)

    return RunOpener(make, begin)
