"""The client of a server, for coroutines.

Long because it is one facade, each method of which has its docstring.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode, urljoin

import msgspec

from runcast.client.checks import (
    check_count,
    check_seconds,
    checked_labels,
    checked_names,
    checked_text,
    checked_token,
)
from runcast.client.conversations import read_thread_event
from runcast.client.files import contents, ignore_bytes, save, upload
from runcast.client.inside import INSIDE_URL, Application
from runcast.client.invoking import Invocation
from runcast.client.listing import follow_list, list_runs, read_change, selection
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
    read,
)
from runcast.client.receipts import begin_delivery, wait_for_receipt
from runcast.client.reconnect import ReconnectOptions, options_of
from runcast.client.showing import ShownRun
from runcast.client.transport import Answer, Transport
from runcast.client.watching import Cut, Received, ignore_cut, pause_after, watch
from runcast.errors import InvalidValue, RuncastError, RunFailed
from runcast.events.lifecycle import Status
from runcast.events.model import Event
from runcast.events.position import is_run_id
from runcast.events.thread import ThreadEvent

__all__ = ("AsyncClient",)

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class AsyncClient:
    """A server's runs. Use `async with`, on one event loop; `Client` is the same without a loop.

    `OpenHub.client()` gives one to the runs of an open hub, without a server.

    Requests that change nothing when they are sent again are sent again for a short time if the
    server cannot be reached, or cannot do it now. Streams are followed across lost connections.

    Every method raises what the server answers, each `code` as its class of `runcast.errors`:
    `NotFound`, `Conflict`, `Forbidden`, …; and `ServerUnavailable` if the server cannot be reached.

    Args:
        url: the server's address; by default that in `RUNCAST_URL`.
        token: the access token; by default that in `RUNCAST_TOKEN`.
        link: the token of a link to one run, as `share` returns it, instead of an access token. The
            client then sees this run and nothing else.
        timeout_s: longest silence of the server.
        attempts: failed connections in a row after which a stream gives up; None never does.
        reconnect: all waits of streams, instead of `attempts`; see `runcast.client.reconnect`.
        retries: how often another request is sent again, if that can do no harm: within about
            three seconds.

    Raises:
        InvalidValue: the address, the token or a number is malformed.
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
        address = url or os.environ.get("RUNCAST_URL", "")
        if not address:
            raise InvalidValue("expected the address of a server, as url or in RUNCAST_URL")
        check_seconds("timeout_s", timeout_s)
        check_count("retries", retries, least=0)
        self._options = options_of(reconnect, attempts)
        secret = checked_token(token, link)
        self._transport = Transport(address, secret, link=link, timeout_s=timeout_s)
        self._retries = retries

    @classmethod
    def _inside(
        cls, app: Application, check: Callable[[], None], reconnect: ReconnectOptions | None = None
    ) -> Self:
        """Return a client of a server in this process; see `AppTransport`."""
        client = cls(INSIDE_URL, token="", reconnect=reconnect)
        client._transport = Transport(INSIDE_URL, app=app, check=check)
        return client

    @property
    def url(self) -> str:
        """The server's address."""
        return self._transport.url

    def __repr__(self) -> str:
        place = "this process" if self._transport.is_inside else self.url
        return f"<{type(self).__name__} of {place}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._transport.close()

    async def _ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] = _NONE
    ) -> Answer:
        """Send a request that may be sent again, and do so while the server cannot do it now."""
        failures = 0
        while True:
            try:
                return await self._transport.ask(method, path, body, headers=headers)
            except RuncastError as error:
                failures += 1
                if not error.retryable or failures > self._retries:
                    raise
                await asyncio.sleep(pause_after(failures - 1, _WAITS, error))

    # Functions and runs.

    async def functions(self) -> list[FunctionInfo]:
        """Return the functions that may be invoked."""
        answer = await self._ask("GET", "/functions")
        return read(answer.field("functions"), list[FunctionInfo])

    async def invoke(
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
        """Begin a run of a function and return its id. `watch` and `result` follow it.

        Args:
            run_id: by default the server makes one.
            replace: begin an existing run again.
            key: an idempotency key: the same call under the same key begins one run. By default
                each call has its own, so that a request whose answer was lost begins one run.
            files: for each group, what `upload` returned, paths or URLs.
            deliver: names of the server's channels file, like `telegram:ops`: the chats that the
                run is delivered to.
        """
        call = Invocation.of(
            function, inputs, run_id=run_id, key=key, replace=replace, deliver=deliver
        )
        call.add(labels=labels, _secrets=secrets, files=files)
        send = self._transport.ask if run_id else self._ask
        answer = await send("POST", call.path, call.body, headers=call.headers)
        return str(answer.field("run_id"))

    async def result(self, run_id: str) -> Any:
        """Wait for a run's end and return its result.

        Raises:
            RunFailed: the run failed or was cancelled.
        """
        async with aclosing(self.watch(run_id, types=("done",))) as events:
            async for event in events:
                data = event.data if isinstance(event.data, dict) else {}
                if event.type == "done":
                    return data.get("result")
                if event.type == "cancelled":
                    reason = data.get("reason", "")
                    raise RunFailed(f"the run was cancelled: {reason}", "cancelled")
                if event.type == "failed":
                    code = str(data.get("code", "function_error"))
                    raise RunFailed(str(data.get("message", "")), code)
        # It was watched to its end, so only its state is left.
        state = (await self.snapshot(run_id)).state
        return _ending_of(run_id, state)

    def watch(
        self,
        run_id: str,
        after: object = "",
        *,
        types: Iterable[str] = (),
        nodes: Iterable[str] = (),
        agents: Iterable[str] = (),
        view: str = "",
    ) -> AsyncGenerator[Event, None]:
        """Yield a run's events until its end, each once, across lost connections and restarts.

        A loss is an event of type `gap` with `seq` 0.

        Args:
            after: a position: events after it are yielded; by default from the first one.
            types: only these types, and the terminal event; likewise `nodes` and `agents`.
            view: a view that the server has.
        """
        return _events(
            self.watch_pages(run_id, after, types=types, nodes=nodes, agents=agents, view=view)
        )

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
    ) -> AsyncGenerator[list[Received], None]:
        """Yield a run's events until its end, as many at a time as have arrived.

        Each comes with its canonical JSON, and with the position after it, from which `watch` goes
        on. The arguments are those of `watch`.

        Args:
            on_cut: called before the client comes back, with the error, the failures in a row, and
                whether the stream was ever open; it may raise to give up.
        """
        query = _view(types, nodes, agents, view)
        path = f"{_path(run_id)}/events" + (f"?{query}" if query else "")
        return watch(self._transport, path, str(after or ""), self._options, on_cut)

    async def info(self, run_id: str) -> RunInfo:
        """Return a run as lists show it."""
        return await self.snapshot(run_id)

    async def snapshot(self, run_id: str) -> RunState:
        """Return a run with its present state."""
        return read((await self._ask("GET", _path(run_id))).body, RunState)

    async def runs(
        self,
        *,
        status: Status | None = None,
        function: str = "",
        labels: Mapping[str, str] | None = None,
        limit: int = 50,
    ) -> list[RunInfo]:
        """Return runs, newest first, at most `limit` of them.

        Args:
            status: only runs with this status.
            function: only runs of this function.
            labels: only runs with these labels.
        """
        return await list_runs(self._ask, selection(status, function, labels), limit)

    async def feed(
        self,
        *,
        status: Status | None = None,
        function: str = "",
        labels: Mapping[str, str] | None = None,
        on_cut: Cut = ignore_cut,
    ) -> AsyncGenerator[RunChange, None]:
        """Yield runs as they are, and then each change of one, until the caller stops.

        After a lost connection, every run that changed meanwhile is yielded at least once.

        Args:
            on_cut: see `watch_pages`.
        """
        path = f"/runs?{urlencode(selection(status, function, labels))}"
        changes = follow_list(self._transport, path, read_change, self._options, on_cut)
        async with aclosing(changes):
            async for change, _ in changes:
                yield change

    async def watch_thread(
        self,
        thread: str,
        after: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        on_cut: Cut = ignore_cut,
    ) -> AsyncGenerator[ThreadEvent, None]:
        """Yield the events of all runs with the label `thread`, also of those that begin later.

        Each event comes once, across lost connections and restarts. There need be no run yet, and
        there is no end.

        Args:
            after: the last `position`; by default the newest 32 runs come from their first event.
            labels: only runs that have these labels, too.
            on_cut: see `watch_pages`.
        """
        chosen = {"thread": checked_text("thread", thread, "chat-7"), **checked_labels(labels)}
        path = f"/events?{urlencode(selection(None, '', chosen))}"
        events = follow_list(
            self._transport, path, read_thread_event, self._options, on_cut, after=after
        )
        async with aclosing(events):
            async for event, position in events:
                yield msgspec.structs.replace(event, position=position)

    def show(self, run_id: str) -> ShownRun:
        """Return a run that a notebook shows while it goes on; see `ShownRun`.

        Make it the last value of a cell, or pass it to `display`.
        """
        return ShownRun(run_id, lambda: self)

    # What goes into a run.

    async def answer(self, run_id: str, interrupt_id: str, answer: object) -> Decision:
        """Answer a question; return the decision that counts.

        Args:
            answer: `{"type": "accept"}` (or `reject`, `edit`, `response` with `args`), or
                `{"approved": bool, "content": …}`.

        Raises:
            AlreadyAnswered: somebody gave another answer; `decision` says which.
        """
        given = answer if isinstance(answer, Mapping) else msgspec.to_builtins(answer)
        if not isinstance(given, Mapping):
            raise InvalidValue(f'expected an answer like {{"type": "accept"}}, got {answer!r:.80}')
        path = f"{_path(run_id)}/interrupts/{quote(interrupt_id, safe='')}"
        said = await self._ask("POST", path, given)
        decision = read(said.field("decision"), Decision)
        return msgspec.structs.replace(decision, repeated=bool(said.field("repeated")))

    async def send(
        self, run_id: str, data: object, *, message_id: str = "", sender: str = ""
    ) -> SentMessage:
        """Send a message into a run, once.

        Args:
            data: what JSON can hold, at most 16 KiB.
            message_id: the same message under the same id is stored once; made up if not given.
            sender: who sends it.
        """
        body = {"data": data, "message_id": message_id or f"m-{uuid.uuid4().hex[:16]}"}
        if sender:
            body["from"] = sender
        answer = await self._ask("POST", f"{_path(run_id)}/messages", body)
        return read(answer.body, SentMessage)

    async def cancel(self, run_id: str, reason: str = "cancelled") -> RunInfo:
        """Cancel a run and return it. It may not have ended yet if another process runs it."""
        query = urlencode({"reason": reason})
        return read((await self._ask("POST", f"{_path(run_id)}/cancel?{query}")).body, RunInfo)

    async def delete(self, run_id: str) -> None:
        """Delete a run. A run that is at work is cancelled first."""
        await self._transport.ask("DELETE", _path(run_id))

    async def deliver(
        self, run_id: str, target: str, *, shows: str | None = None, finish: str | None = None
    ) -> str:
        """Have the server deliver a run to a chat; return the delivery's id.

        Args:
            target: a name of the server's channels file, like `telegram:ops`.
            shows: as for `OpenHub.deliver`; None: as the channels file says.
            finish: the same.
        """
        return await begin_delivery(self._ask, _path(run_id), target, shows, finish)

    async def deliveries(self, run_id: str) -> list[DeliveryInfo]:
        """Return the deliveries of a run, newest first."""
        answer = await self._ask("GET", f"{_path(run_id)}/deliveries")
        return read(answer.field("deliveries"), list[DeliveryInfo])

    async def receipt(self, run_id: str, delivery_id: str) -> DeliveryInfo:
        """Wait until a delivery of a run has ended, and return what became of it.

        Raises:
            NotFound: the run has no such delivery.
        """
        return await wait_for_receipt(self._ask, _path(run_id), delivery_id)

    async def share(
        self, run_id: str, *, expires_s: float | None = None, files: bool = False
    ) -> RunLink:
        """Make a link that shows a run, in its present epoch, to anyone who has the link.

        Args:
            expires_s: how long it lasts; by default as the server says, a week.
            files: show the files that the run made, too.
        """
        body: dict[str, object] = {"files": files}
        body |= {} if expires_s is None else {"expires_s": expires_s}
        # Sent once: a lost answer would leave a link that nobody has.
        answer = await self._transport.ask("POST", f"{_path(run_id)}/links", body)
        link = read(answer.body, RunLink)
        return msgspec.structs.replace(link, url=urljoin(self.url, link.url))

    async def links(self, run_id: str) -> list[RunLink]:
        """Return the links to a run's present epoch that are still good, without their secrets."""
        answer = await self._ask("GET", f"{_path(run_id)}/links")
        return read(answer.field("links"), list[RunLink])

    async def unshare(self, run_id: str, link_id: str) -> None:
        """Revoke a link of a run; everything that it shows ends."""
        path = f"{_path(run_id)}/links/{quote(link_id, safe='')}"
        await self._transport.ask("DELETE", path)

    # Files.

    async def upload(
        self,
        source: "str | Path | bytes",
        *,
        name: str = "",
        on_bytes: Callable[[int], None] = ignore_bytes,
    ) -> dict[str, str]:
        """Upload a file for a later run; return what `invoke` takes among its `files`.

        Args:
            source: a path, or the contents.
            name: the file's name; by default that of the path.
            on_bytes: called with the length of each piece that is sent.

        Raises:
            InvalidValue: the file cannot be read.
            PeerError: the server got something else than was sent.
        """
        return await upload(self._transport, source, name, on_bytes)

    async def files(self, run_id: str) -> list[FileInfo]:
        """Return the files that a run made; the list is empty until its end."""
        answer = await self._ask("GET", f"{_path(run_id)}/files")
        return read(answer.field("files"), list[FileInfo])

    def contents(self, run_id: str, path: str) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of one of the files that a run made, and go on where a connection broke.

        Args:
            path: as `files` shows it.
        """
        return contents(self._transport, f"{_path(run_id)}/files/{quote(path)}", _WAITS)

    async def download(self, run_id: str, path: str, to: "str | Path") -> Path:
        """Save one of the files that a run made, and return where it is.

        A lost connection is taken up again where it broke. The file appears when it is whole.

        Args:
            path: as `files` shows it.
            to: the file to write.
        """
        return await save(self.contents(run_id, path), Path(to))


_WAITS: Final = ReconnectOptions(first_s=0.2, longest_s=5.0, longest_retry_after_s=5.0)
"""The pauses between requests that are sent again."""


def _path(run_id: str) -> str:
    if not is_run_id(run_id):
        raise InvalidValue(
            f"expected the id of a run like 'report-7', as `runs` lists them, got {run_id!r:.140}"
        )
    return f"/runs/{quote(run_id, safe='')}"


def _view(types: Iterable[str], nodes: Iterable[str], agents: Iterable[str], view: str) -> str:
    lists = {"types": types, "nodes": nodes, "agents": agents}
    chosen = {name: checked_names(name, given) for name, given in lists.items()}
    query = {name: ",".join(names) for name, names in chosen.items() if names}
    return urlencode(query | ({"view": view} if view else {}))


async def _events(
    pages: AsyncGenerator[list[Received], None],
) -> AsyncGenerator[Event, None]:
    async with aclosing(pages):
        async for page in pages:
            for received in page:
                yield received.event


def _ending_of(run_id: str, state: Any) -> Any:
    if state.status == "done":
        return state.result
    raise RunFailed(f"the run {run_id!r} ended as {state.status}", state.status)
