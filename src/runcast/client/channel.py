"""What the view of a run in a notebook asks and gets, over the messages between page and kernel.

A page sends `{"op": "watch", "id": …, "after": position}` and gets the events that follow, in
numbered batches of `[event, position]`. It confirms each batch by `{"op": "ack", "id": …, "n": …}`.
While too much is not confirmed the watch waits: it costs a cursor, and no queue. A batch that the
notebook's server dropped leaves a hole in the numbers; then the page watches again from the last
position that it has. So does a page whose watch is gone.

A kernel that is at work reads no messages. Until the first one comes, the channel keeps the state
of the run, and the events after it, where a page finds both when it opens (`keep`).

Source: ours. Jupyter's server drops messages of a kernel beyond 1 MB/s (`iopub_data_rate_limit`).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from runcast._logs import get_logger
from runcast.client.model import Decision, RunInfo, RunState, SentMessage
from runcast.client.viewing import BYTES_PER_S, Viewing, batches_of, gathered
from runcast.client.watching import Received
from runcast.errors import RuncastError, ServerUnavailable

__all__ = (
    "MAX_WATCHES",
    "Channel",
    "Kept",
    "RunClient",
)

MAX_WATCHES: Final = 16
"""Views of one run in all open pages; one more ends the watch that was heard from least recently,
which the page takes up again if it is still there."""

_MAX_KEPT_BYTES: Final = 128 * 1024
"""Events beside a kept state; with more, the state itself is taken again."""

_KEEP_S: Final = 0.5
"""Pause between two states that are kept for pages that open."""

_log: Final = get_logger("runcast.client")


class _Watch(msgspec.Struct, tag_field="op", tag="watch", frozen=True):
    id: str
    after: str = ""


class _Ack(msgspec.Struct, tag_field="op", tag="ack", frozen=True):
    id: str
    n: int


class _Leave(msgspec.Struct, tag_field="op", tag="leave", frozen=True):
    id: str


class _Snapshot(msgspec.Struct, tag_field="op", tag="snapshot", frozen=True):
    id: str


class _Answer(msgspec.Struct, tag_field="op", tag="answer", frozen=True):
    id: str
    question: str
    answer: Any


class _Send(msgspec.Struct, tag_field="op", tag="send", frozen=True):
    id: str
    data: Any
    message_id: str = ""


class _Cancel(msgspec.Struct, tag_field="op", tag="cancel", frozen=True):
    id: str
    reason: str = "cancelled"


_Message: TypeAlias = _Watch | _Ack | _Leave | _Snapshot | _Answer | _Send | _Cancel


class RunClient(Protocol):
    """What a channel needs of an `AsyncClient`."""

    def watch_pages(
        self, run_id: str, after: object = ""
    ) -> AsyncGenerator[list[Received], None]: ...
    async def snapshot(self, run_id: str) -> RunState: ...
    async def answer(self, run_id: str, interrupt_id: str, answer: object) -> Decision: ...
    async def send(self, run_id: str, data: object, *, message_id: str = "") -> SentMessage: ...
    async def cancel(self, run_id: str, reason: str = "cancelled") -> RunInfo: ...


class Kept(msgspec.Struct, frozen=True):
    """A state of a run, and the events after it, for pages that open while nobody reads messages.

    Both are JSON: `first` has the state and its position, `early` pairs of event and position.
    """

    first: str = ""
    early: str = "[]"


class Channel:
    """The views of one run in a notebook's pages. `receive` may be called from any thread.

    Args:
        client: the client of the run's hub or server, whose loop is `loop`.
        send: sends a message to every page; called on `loop`.
        keep: keeps what a page finds when it opens; called on `loop`.
    """

    def __init__(
        self,
        client: RunClient,
        run_id: str,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[dict[str, Any]], None],
        keep: Callable[[Kept], None],
    ) -> None:
        self._client = client
        self._run_id = run_id
        self._loop = loop
        self._send = send
        self._keep = keep
        self._watches: dict[str, Viewing] = {}  # the one that was heard from last is the last
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Keep the state of the run until a page is heard. Call from any thread."""
        self._on_loop(self._begin)

    def _begin(self) -> None:
        self._keeping = self._start(self._keep_state())

    def receive(self, message: object) -> None:
        """Take a message of a page. A message that is not one of ours is logged, and ignored."""
        try:
            given: _Message = msgspec.convert(message, _Message)
        except msgspec.ValidationError as error:
            _log.warning("expected a message of a run's view, got another one: %s", error)
            return
        self._on_loop(lambda: self._take(given))

    def close(self) -> None:
        """End what is sent; pages keep what they show. Call from any thread."""
        self._on_loop(self._close)

    def _close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _on_loop(self, act: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(act)
        except RuntimeError:
            _log.debug("the loop of the hub is closed, so its runs are not shown any more")

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _take(self, given: _Message) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            self._keeping = None
        match given:
            case _Watch():
                self._watch(given)
            case _Ack():
                if (watch := self._heard(given.id)) is not None:
                    watch.confirm(given.n)
                else:
                    self._send({"id": given.id, "gone": True})
            case _Leave():
                if (watch := self._watches.pop(given.id, None)) is not None:
                    watch.end()
            case _:
                self._start(self._reply(given))

    def _heard(self, name: str) -> "Viewing | None":
        watch = self._watches.pop(name, None)
        if watch is not None:
            self._watches[name] = watch
        return watch

    def _watch(self, given: _Watch) -> None:
        if (before := self._watches.pop(given.id, None)) is not None:
            before.end()
        while len(self._watches) >= MAX_WATCHES:
            oldest = next(iter(self._watches))
            self._watches.pop(oldest).end()
            self._send({"id": oldest, "gone": True})
        watch = self._watches[given.id] = Viewing(given.id, self._send)
        watch.tasks = [
            self._start(self._follow(watch, given.after)),
            self._start(watch.remind()),
        ]

    async def _follow(self, watch: "Viewing", after: str) -> None:
        watch.put({"events": []})  # the page hears at once that the kernel reads messages
        try:
            watching = self._client.watch_pages(self._run_id, after)
            async with aclosing(gathered(watching)) as pages:
                async for page in pages:
                    for batch in batches_of(page):
                        await watch.bring(batch)
            watch.put({"end": True})
            await watch.until_confirmed()
        except RuncastError as error:
            self._send({"id": watch.name, "error": _document_of(error)})
        finally:
            watch.end()
            if self._watches.get(watch.name) is watch:
                del self._watches[watch.name]

    async def _reply(self, given: _Message) -> None:
        try:
            value: object = None
            match given:
                case _Snapshot():
                    value = await self._state()
                case _Answer():
                    value = await self._client.answer(self._run_id, given.question, given.answer)
                case _Send():
                    value = await self._client.send(
                        self._run_id, given.data, message_id=given.message_id
                    )
                case _Cancel():
                    value = await self._client.cancel(self._run_id, given.reason)
            self._send({"id": given.id, "value": msgspec.to_builtins(value)})
        except RuncastError as error:
            self._send({"id": given.id, "error": _document_of(error)})

    async def _state(self) -> dict[str, Any]:
        found = await self._client.snapshot(self._run_id)
        return {"state": msgspec.to_builtins(found.state), "position": found.position}

    async def _keep_state(self) -> None:
        """Keep the state of the run, and what happens after it, until the run has ended."""
        is_over = False
        while not is_over:
            try:
                is_over = await self._keep_from(await self._state())
            except RuncastError as error:
                _log.debug("the state of run %s cannot be shown: %s", self._run_id, error)
                return

    async def _keep_from(self, state: dict[str, Any]) -> bool:
        """Keep a state and what follows; return whether the run has ended."""
        first = msgspec.json.encode(state).decode()
        early: list[tuple[str, str]] = []
        size = 0
        self._keep(Kept(first))
        watching = self._client.watch_pages(self._run_id, state["position"])
        async with aclosing(gathered(watching)) as pages:
            async for page in pages:
                early += [(received.text, received.position) for received in page]
                size += sum(len(received.text) for received in page)
                if size > _MAX_KEPT_BYTES:
                    await asyncio.sleep(len(first) / BYTES_PER_S)
                    return False
                self._keep(Kept(first, msgspec.json.encode(early).decode()))
                await asyncio.sleep(_KEEP_S)
        return True


def _document_of(error: RuncastError) -> dict[str, Any]:
    status = 0 if isinstance(error, ServerUnavailable) else error.status
    return {"code": error.code, "message": error.message, "status": status}
