"""A run on a server elsewhere, around a block of code."""

import asyncio
import os
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from runcast._clock import Clock, SystemClock
from runcast._hub.bridge import Bridge, await_on
from runcast._producing.context import enter, leave
from runcast._producing.labels import check_labels
from runcast._remote.link import begin
from runcast._remote.writer import RemoteWriter
from runcast._runs.run import make_run_id
from runcast._settings import Settings
from runcast.client.transport import Transport
from runcast.errors import InvalidValue
from runcast.events.position import is_run_id

if TYPE_CHECKING:
    from contextvars import Token

    from runcast._producing.writer import Writer

__all__ = ("TOKEN_VARIABLE", "URL_VARIABLE", "RemoteRun")

URL_VARIABLE: Final = "RUNCAST_URL"
"""The variable with the server's address."""

TOKEN_VARIABLE: Final = "RUNCAST_TOKEN"
"""The variable with the server's access token."""

_BEGIN_WAIT_S: Final = 5.0
"""How long to try to begin a run, seconds."""


class RemoteRun:
    """A run on a server elsewhere, around a block of code: `with runcast.RemoteRun(url, "train")`.

    Use `with`, or `async with` in a coroutine. Inside the block `runcast.emit`, `progress`, `ask`,
    `inbox` and the others write to the run, as in `runcast.run`. Leaving the block ends the run:
    `done`; `failed` after an exception, of which watchers see only the class; `cancelled` after
    `KeyboardInterrupt` and `CancelledError`.

    Events wait in memory until the server has stored them. If the connection breaks or the server
    restarts, they are sent again, and stored once. If the server does not answer, threads wait for
    room once `pending_bytes_per_run` wait, and `emit` on an event loop raises `Overloaded`. If this
    process dies, the run is lost once its lease is over.

    Files in `data/outputs` below `runcast.workspace()`, a temporary folder, are sent to the server
    when the block is left, and become files of the run.

    If the run is cancelled, the next emit in each thread of a `with` raises `Cancelled`, and the
    task of an `async with` is cancelled.

    Args:
        url: the server's address; by default that in `RUNCAST_URL`.
        name: the run's name; lists show it as the run's function.
        run_id: by default the server makes one.
        token: the server's access token; by default that in `RUNCAST_TOKEN`.
        ttl_s: how long the server keeps the run after its end; by default its `keep_runs_s`.
        lease_s: how long the run stays open if the server hears nothing from this process; by
            default the server's `lease_s`.
        replace: begin an existing run again.

    Raises, when the block is entered:
        ServerUnavailable: the server cannot be reached.
        Unauthorized, Forbidden: the token is missing or wrong, or may not write.
        Conflict: the run exists, and `replace` is False.
        InvalidValue: an argument is malformed.
    """

    def __init__(
        self,
        url: str = "",
        name: str = "",
        *,
        run_id: str = "",
        labels: Mapping[str, str] | None = None,
        token: str | None = None,
        ttl_s: float | None = None,
        lease_s: float | None = None,
        replace: bool = False,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not is_run_id(name):
            raise InvalidValue(f"expected a name like 'import' for the run, got {name!r:.140}")
        check_labels(labels or {})
        self._url = url or os.environ.get(URL_VARIABLE, "")
        if not self._url:
            raise InvalidValue(f"expected the address of a server, as url or in {URL_VARIABLE}")
        self._token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
        Transport(self._url, self._token)  # raises if they are malformed
        self._name = name
        self._fields: dict[str, Any] = {
            "name": name,
            **({"run_id": run_id} if run_id else {}),
            **({"labels": dict(labels)} if labels else {}),
            **({"ttl_s": ttl_s} if ttl_s is not None else {}),
            **({"lease_s": lease_s} if lease_s is not None else {}),
            **({"replace": True} if replace else {}),
        }
        self._settings = settings or Settings.load()
        self._clock = clock or SystemClock()
        self._bridge = Bridge()
        self._run: RemoteWriter | None = None
        self._is_used = False
        self._context: Token[Writer | None] | None = None

    def _check_unused(self) -> None:
        if self._is_used:
            raise InvalidValue("expected RemoteRun(…) to be entered once; make one for each run")
        self._is_used = True

    async def _begin(self) -> RemoteWriter:
        fields = self._fields
        if "run_id" not in fields:
            # Chosen here, so that a request whose answer is lost can be sent again.
            fields["run_id"] = make_run_id(self._clock.time(), os.urandom(10))
        transport = Transport(self._url, self._token)
        try:
            begun = await begin(transport, self._clock, fields, _BEGIN_WAIT_S)
        except BaseException:
            await transport.close()
            raise
        return RemoteWriter(transport, begun, self._name, self._settings, self._clock)

    async def _end(self, run: RemoteWriter, error: BaseException | None) -> None:
        try:
            await run._finish(error)
        finally:
            await run._close()

    def __enter__(self) -> RemoteWriter:
        self._check_unused()
        self._bridge.open()
        try:
            self._run = self._bridge.call(self._begin())
        except BaseException:
            self._bridge.close()
            raise
        self._context = enter(self._run)
        return self._run

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        run, self._run = self._run, None
        if run is None or not run.home.is_here:
            return
        leave(self._context)
        try:
            self._bridge.call(self._end(run, error))
        finally:
            self._bridge.close()

    async def __aenter__(self) -> RemoteWriter:
        self._check_unused()
        self._bridge.open()
        try:
            run = self._run = await await_on(self._bridge.loop, self._begin())
        except BaseException:
            await asyncio.to_thread(self._bridge.close)
            raise
        run._cancel_with(asyncio.current_task(), asyncio.get_running_loop())
        self._context = enter(run)
        return run

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        run, self._run = self._run, None
        if run is None or not run.home.is_here:
            return
        leave(self._context)
        try:
            await await_on(self._bridge.loop, self._end(run, error))
        finally:
            await asyncio.to_thread(self._bridge.close)
