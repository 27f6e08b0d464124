"""The client of a server, for code without an event loop."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from runcast._hub.bridge import Bridge
from runcast.client.asynchronous import AsyncClient
from runcast.client.files import ignore_bytes
from runcast.client.model import (
    Decision,
    DeliveryInfo,
    FileInfo,
    FunctionInfo,
    RunChange,
    RunInfo,
    RunLink,
    RunState,
    SentMessage,
)
from runcast.client.reconnect import ReconnectOptions
from runcast.client.showing import ShownRun
from runcast.client.watching import Cut, Received, ignore_cut
from runcast.errors import InvalidValue
from runcast.events.lifecycle import Status
from runcast.events.model import Event
from runcast.events.thread import ThreadEvent

__all__ = ("Client",)

T = TypeVar("T")


class Client:
    """A server's runs, for code without an event loop: an `AsyncClient` without `await`.

    Use `with`. Call its methods from any thread. Its connections live on a loop in a thread of
    their own. The arguments, the errors and what is sent again are those of `AsyncClient`.
    """

    def __init__(
        self,
        url: str = "",
        *,
        token: str | None = None,
        link: str = "",
        timeout_s: float = 30.0,
        attempts: int | None = None,
        reconnect: ReconnectOptions | None = None,
        retries: int = 3,
    ) -> None:
        self._client = AsyncClient(
            url,
            token=token,
            link=link,
            timeout_s=timeout_s,
            attempts=attempts,
            reconnect=reconnect,
            retries=retries,
        )
        self._bridge = Bridge()
        self._bridge.open()
        self._ends_bridge = True

    @classmethod
    def _inside(cls, client: AsyncClient, bridge: Bridge) -> Self:
        """Return a client whose calls run on another's loop, which it leaves open."""
        made = cls.__new__(cls)
        made._client, made._bridge, made._ends_bridge = client, bridge, False
        return made

    @property
    def url(self) -> str:
        """The server's address."""
        return self._client.url

    def __repr__(self) -> str:
        return repr(self._client).replace("AsyncClient", type(self).__name__, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the thread. Idempotent."""
        if self._bridge.is_open:
            self._bridge.call(self._client.close())
            if self._ends_bridge:
                self._bridge.close()

    def functions(self) -> list[FunctionInfo]:
        """Return the functions that may be invoked."""
        return self._bridge.call(self._client.functions())

    def invoke(
        self,
        function: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str = "",
        labels: Mapping[str, str] | None = None,
        replace: bool = False,
        key: str = "",
        secrets: Mapping[str, str] | None = None,
        files: Mapping[str, Sequence[Any]] | None = None,
        deliver: Sequence[str] = (),
    ) -> str:
        """Begin a run of a function and return its id; see `AsyncClient.invoke`."""
        invoking = self._client.invoke(
            function,
            inputs,
            run_id=run_id,
            labels=labels,
            replace=replace,
            key=key,
            secrets=secrets,
            files=files,
            deliver=deliver,
        )
        return self._bridge.call(invoking)

    def result(self, run_id: str) -> Any:
        """Wait for a run's end and return its result; see `AsyncClient.result`."""
        return self._bridge.call(self._client.result(run_id))

    def watch(
        self,
        run_id: str,
        after: object = "",
        *,
        types: Iterable[str] = (),
        nodes: Iterable[str] = (),
        agents: Iterable[str] = (),
        view: str = "",
    ) -> Iterator[Event]:
        """Yield a run's events until its end; see `AsyncClient.watch`."""
        pages = self.watch_pages(run_id, after, types=types, nodes=nodes, agents=agents, view=view)
        return (received.event for page in pages for received in page)

    def watch_pages(
        self,
        run_id: str,
        after: object = "",
        *,
        types: Iterable[str] = (),
        nodes: Iterable[str] = (),
        agents: Iterable[str] = (),
        view: str = "",
        on_cut: Cut = ignore_cut,
    ) -> Iterator[list[Received]]:
        """Yield a run's events, as many at a time as arrive; see `AsyncClient.watch_pages`."""
        pages = self._client.watch_pages(
            run_id, after, types=types, nodes=nodes, agents=agents, view=view, on_cut=on_cut
        )
        return self._each(pages)

    def _each(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        # After Ctrl-C the last `take` is still being cancelled when `leave` begins.
        turn = asyncio.Lock()

        async def take() -> list[T]:
            async with turn:
                async for item in items:
                    return [item]
                return []

        async def leave() -> None:
            async with turn:
                await items.aclose()

        try:
            while taken := self._bridge.call(take()):
                yield taken[0]
        finally:
            if self._bridge.is_open:
                self._bridge.call(leave())

    def info(self, run_id: str) -> RunInfo:
        """Return a run as lists show it."""
        return self._bridge.call(self._client.info(run_id))

    def snapshot(self, run_id: str) -> RunState:
        """Return a run with its present state."""
        return self._bridge.call(self._client.snapshot(run_id))

    def runs(
        self,
        *,
        status: Status | None = None,
        function: str = "",
        labels: Mapping[str, str] | None = None,
        limit: int = 50,
    ) -> list[RunInfo]:
        """Return runs, newest first; see `AsyncClient.runs`."""
        return self._bridge.call(
            self._client.runs(status=status, function=function, labels=labels, limit=limit)
        )

    def feed(
        self,
        *,
        status: Status | None = None,
        function: str = "",
        labels: Mapping[str, str] | None = None,
        on_cut: Cut = ignore_cut,
    ) -> Iterator[RunChange]:
        """Yield runs, and then each change of one; see `AsyncClient.feed`."""
        return self._each(
            self._client.feed(status=status, function=function, labels=labels, on_cut=on_cut)
        )

    def watch_thread(
        self,
        thread: str,
        after: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        on_cut: Cut = ignore_cut,
    ) -> Iterator[ThreadEvent]:
        """Yield the events of all runs of a thread; see `AsyncClient.watch_thread`."""
        return self._each(self._client.watch_thread(thread, after, labels=labels, on_cut=on_cut))

    def show(self, run_id: str) -> ShownRun:
        """Return a run that a notebook shows while it goes on; see `AsyncClient.show`."""
        if self._bridge.loop is None:
            raise InvalidValue("expected a client that is open; this one was closed")
        client, loop = self._client, self._bridge.loop
        return ShownRun(run_id, lambda: client, loop, read=lambda: self.snapshot(run_id))

    def answer(self, run_id: str, interrupt_id: str, answer: object) -> Decision:
        """Answer a question; see `AsyncClient.answer`."""
        return self._bridge.call(self._client.answer(run_id, interrupt_id, answer))

    def send(
        self, run_id: str, data: object, *, message_id: str = "", sender: str = ""
    ) -> SentMessage:
        """Send a message into a run; see `AsyncClient.send`."""
        sending = self._client.send(run_id, data, message_id=message_id, sender=sender)
        return self._bridge.call(sending)

    def cancel(self, run_id: str, reason: str = "cancelled") -> RunInfo:
        """Cancel a run; see `AsyncClient.cancel`."""
        return self._bridge.call(self._client.cancel(run_id, reason))

    def delete(self, run_id: str) -> None:
        """Delete a run."""
        self._bridge.call(self._client.delete(run_id))

    def deliver(
        self, run_id: str, target: str, *, shows: str | None = None, finish: str | None = None
    ) -> str:
        """Have the server deliver a run to a chat; see `AsyncClient.deliver`."""
        return self._bridge.call(self._client.deliver(run_id, target, shows=shows, finish=finish))

    def deliveries(self, run_id: str) -> list[DeliveryInfo]:
        """Return the deliveries of a run, newest first."""
        return self._bridge.call(self._client.deliveries(run_id))

    def receipt(self, run_id: str, delivery_id: str) -> DeliveryInfo:
        """Wait until a delivery has ended; see `AsyncClient.receipt`."""
        return self._bridge.call(self._client.receipt(run_id, delivery_id))

    def share(self, run_id: str, *, expires_s: float | None = None, files: bool = False) -> RunLink:
        """Make a link that shows a run to anyone who has it; see `AsyncClient.share`."""
        return self._bridge.call(self._client.share(run_id, expires_s=expires_s, files=files))

    def links(self, run_id: str) -> list[RunLink]:
        """Return the links to a run, without their secrets."""
        return self._bridge.call(self._client.links(run_id))

    def unshare(self, run_id: str, link_id: str) -> None:
        """Revoke a link of a run; everything that it shows ends."""
        self._bridge.call(self._client.unshare(run_id, link_id))

    def upload(
        self,
        source: "str | Path | bytes",
        *,
        name: str = "",
        on_bytes: Callable[[int], None] = ignore_bytes,
    ) -> dict[str, str]:
        """Upload a file for a later run; see `AsyncClient.upload`."""
        return self._bridge.call(self._client.upload(source, name=name, on_bytes=on_bytes))

    def files(self, run_id: str) -> list[FileInfo]:
        """Return the files that a run made."""
        return self._bridge.call(self._client.files(run_id))

    def contents(self, run_id: str, path: str) -> Iterator[bytes]:
        """Yield the bytes of a file that a run made; see `AsyncClient.contents`."""
        return self._each(self._client.contents(run_id, path))

    def download(self, run_id: str, path: str, to: "str | Path") -> Path:
        """Save one of the files that a run made; see `AsyncClient.download`."""
        return self._bridge.call(self._client.download(run_id, path, to))
