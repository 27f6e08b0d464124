"""Serve a recording as if its run happened now: for user interfaces without a model or a server.

The recording is played into a store in memory, in the pace in which it was recorded. So everything
that a server can do with a run works as usual: dialects, views, positions, several watchers.
"""

import asyncio
import socket
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import uvicorn
from starlette.requests import Request

from runcast._app.hub import OpenHub
from runcast._clock import Clock, SystemClock
from runcast._http.app import HttpApp
from runcast._http.guard.access import Access
from runcast._http.server.server import protocol_class
from runcast._settings import Settings
from runcast.errors import BackendError, InvalidValue
from runcast.events.model import Event, record_of
from runcast.events.position import epoch_parts
from runcast.events.recordings import Recording, read_recording
from runcast.events.vocabulary import TERMINAL
from runcast.stores.memory import MemoryStore

__all__ = ("Replay", "load_recording", "replay")

_LOOK_S: Final = 0.01
"""How often a clock that is moved by hand is looked at, seconds."""

_MAX_SPEED: Final = 1e6

_BETWEEN_S: Final = 2.0
"""Pause before a recording begins again, at its own speed, seconds."""


class _RecordedStore(MemoryStore):
    """Gives the log the epoch that it had, so that all positions are those of the recording."""

    def __init__(self, clock: Clock, epoch: str) -> None:
        super().__init__(clock)
        self._recorded = epoch_parts(epoch)

    def _beginning(self) -> tuple[float, int]:
        return self._recorded


class _PlayingHub(OpenHub):
    """A hub that plays a recording while it is open."""

    def __init__(self, recording: Recording, speed: float, loop: bool, clock: Clock) -> None:
        store = _RecordedStore(clock, recording.head.epoch)
        super().__init__(store, settings=Settings(), clock=clock)
        self._recording = recording
        self._speed = speed
        self._is_loop = loop
        self._playing: asyncio.Task[None] | None = None

    async def open(self) -> Self:
        await super().open()
        if self._playing is None:
            self._playing = asyncio.create_task(self._play(), name="runcast-replay")
        return self

    async def close(self) -> None:
        playing, self._playing = self._playing, None
        if playing is not None:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
        await super().close()

    async def _play(self) -> None:
        await self._play_once(replace=False)
        while self._is_loop:
            await self._wait_until(self.clock.monotonic() + self._scaled(_BETWEEN_S))
            await self._play_once(replace=True)

    async def _play_once(self, *, replace: bool) -> None:
        head, events = self._recording.head, _without_gaps(self._recording.events)
        labels = {**(head.labels or {}), "function": head.function}
        kept = {name: value for name, value in labels.items() if value}
        owned = await self.hub.begin(head.run_id, labels=kept, replace=replace)
        begun = self.clock.monotonic()
        first = events[0].time if events else 0.0
        for event in events:
            await self._wait_until(begun + self._scaled(event.time - first))
            await owned.inlet.append([record_of(event)], close=event.type in TERMINAL)

    def _scaled(self, seconds: float) -> float:
        return seconds / self._speed if self._speed else 0.0

    async def _wait_until(self, due: float) -> None:
        most_s = 3600.0 if isinstance(self.clock, SystemClock) else _LOOK_S
        while (wait_s := due - self.clock.monotonic()) > 0:  # noqa: ASYNC110 - a clock wakes nobody
            await asyncio.sleep(min(wait_s, most_s))


def _without_gaps(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if event.seq]


async def _may_look(request: Request) -> Access:
    """Let everybody look, and nobody change what happened."""
    return Access(actions=("see", "download"))


class Replay:
    """A server that plays a recording. Use `with` for an address, `async with` for an application.

    `with` serves on a free port of 127.0.0.1, in a thread. `async with` opens `app` on the running
    loop, for a test client. `app` may also be served by any ASGI server.
    """

    def __init__(self, hub: OpenHub, run_id: str, app: HttpApp) -> None:
        self._hub = hub
        self.run_id: Final = run_id
        """The id of the run."""
        self.app: Final = app
        """The application."""
        self._url = ""
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def url(self) -> str:
        """The server's address. Raises `InvalidValue` outside of the `with` block."""
        if not self._url:
            raise InvalidValue("expected an open server: use it in a `with` block")
        return self._url

    def __enter__(self) -> Self:
        bound = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            self.app,
            http=protocol_class(self.app.settings),
            h11_max_incomplete_event_size=self.app.settings.max_head_bytes,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        server = self._server = uvicorn.Server(config)
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(server, bound, ready)),
            name="runcast-replay",
            daemon=True,
        )
        self._thread.start()
        ready.wait()
        if not server.started:
            self._thread.join()
            raise BackendError("the server of the recording did not start; the log says why")
        self._url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        return self

    async def _serve(
        self, server: uvicorn.Server, bound: socket.socket, ready: threading.Event
    ) -> None:
        self._loop = asyncio.get_running_loop()
        serving = asyncio.ensure_future(server.serve(sockets=[bound]))
        try:
            while not (server.started or serving.done()):  # noqa: ASYNC110 - uvicorn reports it so
                await asyncio.sleep(_LOOK_S)
            ready.set()
            await serving
        finally:
            ready.set()
            bound.close()

    def __exit__(self, *_: object) -> None:
        self._url = ""
        if self._server is not None and self._thread is not None and self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self.app.end_streams)
            self._server.should_exit = True
            self._thread.join()

    async def __aenter__(self) -> Self:
        await self.app.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.app.close()


def load_recording(path: str | Path) -> Recording:
    """Return the recording in a file, as `runcast export` writes it. Raises `InvalidValue`."""
    try:
        with open(path, "rb") as file:
            return read_recording(file, str(path))
    except OSError as error:
        raise InvalidValue(f"cannot read {str(path)!r}: {error.strerror}") from None


def replay(
    path: str | Path,
    *,
    speed: float = 1.0,
    loop: bool = False,
    origins: Iterable[str] = (),
    clock: Clock | None = None,
) -> Replay:
    """Return a server that plays a recording, as if its run happened now.

        with runcast.testing.replay("run.ndjson", speed=10) as server:
            client = runcast.Client(server.url)
            ...

    The run has the id and the positions of the recording, so a client may resume and start again. A
    recording whose first events were no longer kept is numbered from 1. Nothing can change the run:
    answers, messages and cancelling are refused.

    Args:
        path: a file that `runcast export` wrote.
        speed: how many times as fast as it was recorded; 0 sends everything at once.
        loop: begin again, in a new epoch, two seconds after the end.
        origins: origins whose pages may send requests, like `http://localhost:5173`.
        clock: the clock of the pauses; a `FakeClock` plays as far as you move it.

    Raises:
        InvalidValue: the file is not a recording, or an argument is malformed.
    """
    if not isinstance(speed, int | float) or not 0 <= speed <= _MAX_SPEED:
        raise InvalidValue(f"expected speed to be 0 to {_MAX_SPEED:g}, got {speed!r:.80}")
    recording = load_recording(path)
    hub = _PlayingHub(recording, float(speed), loop, clock or SystemClock())
    app = HttpApp(hub, origins=origins, authorize=_may_look)
    return Replay(hub, recording.head.run_id, app)
