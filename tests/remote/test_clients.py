"""One suite for every client: of a server and of an open hub, with a loop and without one.

All satisfy one protocol: whoever is given a client need not know where the runs are.
"""

import asyncio
import inspect
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

import runcast
from runcast._settings import Settings
from runcast.errors import (
    AlreadyAnswered,
    Conflict,
    InvalidInputs,
    InvalidValue,
    NotFound,
    RunClosed,
    RunFailed,
    StoreUnavailable,
)
from tests.http.serving import serving_in_thread
from tests.remote.test_client import asks, copies, hears, waits
from tests.remote.test_remote_run import FLAVOUR, url_of
from tests.waiting import WAIT_S

T = TypeVar("T")


def count(n: int, text: str = "") -> Iterator[dict[str, Any]]:
    for number in range(1, n + 1):
        yield {"type": "step", "data": {"n": number, "text": text}}


def add(a: int, b: int = 1) -> int:
    return a + b


def fail() -> None:
    raise runcast.RunFailed("no space is left", "disk_full")


FUNCTIONS: list[runcast.AnyFunction] = [asks, copies, hears, waits]
OURS: list[runcast.AnyFunction] = [count, add, fail]


class WithoutLoop:
    """An `AsyncClient` as a `Client`: each call runs on a loop in a thread."""

    def __init__(self, client: runcast.AsyncClient, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop

    def _wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(2 * WAIT_S)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            made = method(*args, **options)
            return self._wait(made) if inspect.isawaitable(made) else self._each(made)

        return call

    def _each(self, items: Any) -> Iterator[Any]:
        async def take() -> list[Any]:
            async for item in items:
                return [item]
            return []

        try:
            while taken := self._wait(take()):
                yield taken[0]
        finally:
            self._wait(items.aclose())


@contextmanager
def loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
        loop.close()


@contextmanager
def client_of(kind: str, folder: Path) -> Iterator[runcast.Client]:
    where, how = kind.split("-")
    settings = Settings(retry_s=0)
    with ExitStack() as stack:
        if where == "server":
            served = serving_in_thread(FLAVOUR, functions=FUNCTIONS, settings=settings)
            url = url_of(stack.enter_context(served))
            if how == "sync":
                yield stack.enter_context(runcast.Client(url))
                return
            loop = stack.enter_context(loop_in_thread())
            client = runcast.AsyncClient(url)
            stack.callback(lambda: WithoutLoop(client, loop).close())
            yield cast("runcast.Client", WithoutLoop(client, loop))
            return
        store = "memory://" if where == "memory" else f"sqlite:///{folder / 'runs.db'}"
        functions = [*FUNCTIONS, *OURS]
        if how == "sync":
            opened = runcast.open_hub(store, functions=functions, settings=settings)
            yield stack.enter_context(stack.enter_context(opened).client())
            return
        loop = stack.enter_context(loop_in_thread())
        hub = runcast.OpenHub(store, functions=functions, settings=settings)
        waiting = WithoutLoop(cast("Any", hub), loop)
        waiting.open()
        stack.callback(lambda: waiting.close())
        yield cast("runcast.Client", WithoutLoop(on(loop, hub.client), loop))


def on(loop: asyncio.AbstractEventLoop, act: Callable[[], T]) -> T:
    async def acting() -> T:
        return act()

    return asyncio.run_coroutine_threadsafe(acting(), loop).result(WAIT_S)


KINDS = [f"{where}-{how}" for where in ("server", "memory", "sqlite") for how in ("sync", "async")]


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[runcast.Client]:
    with client_of(request.param, tmp_path) as client:
        yield client


def test_every_client_starts_watches_and_ends_runs(client: runcast.Client) -> None:
    assert {"add", "asks", "count"} <= {function.name for function in client.functions()}
    run_id = client.invoke("count", {"n": 300, "text": "x" * 100}, labels={"user": "ada"})
    events = list(client.watch(run_id))
    pages = list(client.watch_pages(run_id))
    received = [each for page in pages for each in page]

    assert [event.seq for event in events] == list(range(1, 303))
    assert [each.event for each in received] == events
    assert len({each.position for each in received}) == 302
    rest = list(client.watch(run_id, received[299].position))
    assert [event.seq for event in rest] == [301, 302]
    assert list(client.watch(run_id, received[-1].position)) == []
    assert [event.type for event in client.watch(run_id, types=["none"])] == ["done"]
    assert client.result(client.invoke("add", {"a": 1, "b": 2}, run_id="r")) == 3
    client.invoke("waits", run_id="w")
    assert client.cancel("w", "enough").status == "cancelled"
    with pytest.raises(RunFailed, match="enough"):
        client.result("w")


def test_every_client_shows_the_same_states_and_lists(client: runcast.Client) -> None:
    for n in range(3):
        client.result(client.invoke("add", {"a": n}, run_id=f"r{n}", labels={"n": str(n)}))
    shown = client.snapshot("r2")

    assert (shown.status, shown.state.result, shown.events) == ("done", 3, 2)
    assert shown.inputs is not None
    assert shown.inputs["values"] == {"a": 2}
    assert [run.run_id for run in client.runs()] == ["r2", "r1", "r0"]
    assert [run.run_id for run in client.runs(limit=2)] == ["r2", "r1"]
    assert [run.run_id for run in client.runs(labels={"n": "1"})] == ["r1"]
    assert client.runs(status="failed") == client.runs(function="count") == []
    assert client.info("r0").labels == {"n": "0"}


def test_every_client_follows_the_list(client: runcast.Client) -> None:
    client.result(client.invoke("add", {"a": 1}, run_id="old"))
    seen = client.feed()
    first = next(seen)
    client.invoke("waits", run_id="new")
    for change in seen:
        if change.run is not None and change.run.run_id == "new":
            if change.run.status == "running":
                client.cancel("new")
            elif change.run.status == "cancelled":
                client.delete("new")
        if change.deleted:
            break
    seen.close()  # type: ignore[attr-defined]
    assert first.run is not None
    assert (first.run.run_id, first.run.status, change.deleted) == ("old", "done", "new")


def test_every_client_answers_and_sends(client: runcast.Client) -> None:
    run_id = client.invoke("asks")
    for event in client.watch(run_id):
        if event.type == "interrupt_request":
            said = client.answer(run_id, "q", {"type": "response", "args": "yes"})
            again = client.answer(run_id, "q", {"type": "response", "args": "yes"})
            with pytest.raises(AlreadyAnswered) as other:
                client.answer(run_id, "q", {"type": "reject"})
    assert (said.type, said.args, said.approved, said.repeated) == ("response", "yes", True, False)
    assert again.repeated
    assert other.value.decision["args"] == "yes"
    assert client.result(run_id) == "response yes"
    run_id = client.invoke("hears")
    first = client.send(run_id, {"a": 1}, message_id="m", sender="ann")
    assert not first.repeated
    with pytest.raises(Conflict):
        client.send(run_id, "other", message_id="m")
    assert client.send(run_id, {"a": 1}, message_id="m", sender="ann").repeated
    client.cancel(run_id)


def test_every_client_takes_files_in_and_out(client: runcast.Client, tmp_path: Path) -> None:
    given = tmp_path / "given.txt"
    given.write_bytes(b"0123456789" * 100_000)
    sent: list[int] = []
    upload = client.upload(given, on_bytes=sent.append)
    run_id = client.invoke("copies", files={"text": [upload]})
    client.result(run_id)
    (file,) = client.files(run_id)
    saved = client.download(run_id, file.path, tmp_path / "saved.txt")

    assert sum(sent) == file.size == 1_000_000
    assert saved.read_bytes() == given.read_bytes()
    assert b"".join(client.contents(run_id, file.path)) == given.read_bytes()
    with pytest.raises(NotFound):
        client.download(run_id, "none.txt", tmp_path / "none.txt")
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["given.txt", "saved.txt"]
    with pytest.raises(InvalidValue, match="cannot be read"):
        client.upload(tmp_path / "none.txt")


def test_every_client_raises_the_same_errors(client: runcast.Client) -> None:
    with pytest.raises(NotFound):
        client.invoke("none")
    with pytest.raises(InvalidInputs) as wrong:
        client.invoke("add", {"a": "x", "c": 1})
    assert len(wrong.value.problems) == 2
    for ask in (client.snapshot, client.cancel, client.delete, client.files):
        with pytest.raises(NotFound):
            ask("none")
    with pytest.raises(NotFound):
        list(client.watch("none"))
    with pytest.raises(InvalidValue):
        client.runs(status="odd")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue):
        client.send("r", object())
    client.result(client.invoke("add", {"a": 1}, run_id="r"))
    with pytest.raises(Conflict):
        client.invoke("add", {"a": 1}, run_id="r")
    with pytest.raises(RunClosed):
        client.send("r", "late")
    with pytest.raises(InvalidValue, match="limit"):
        client.runs(limit=0)
    with pytest.raises(InvalidValue):
        list(client.watch("r", "no position"))
    for name in ("../..", "", "a b"):
        with pytest.raises(InvalidValue, match="expected the id of a run"):
            list(client.watch(name))


def test_a_client_of_a_hub_ends_with_it() -> None:
    with runcast.open_hub(functions=[waits]) as hub:
        client = hub.client()
        run_id = client.invoke("waits")
        watching = client.watch(run_id)
        assert next(watching).type == "started"
        other = client.watch(run_id)
        assert next(other).type == "started"
        hub.cancel(run_id)
        assert [event.type for event in watching] == ["cancelled"]
    with pytest.raises(InvalidValue):
        client.runs()


async def test_a_stream_that_is_open_when_its_hub_closes_says_so() -> None:
    async with asyncio.timeout(2 * WAIT_S):
        quick = Settings(retry_s=0)
        async with runcast.open_hub(functions=[add], settings=quick) as hub:
            client = hub.client()
            changes = client.feed()
            await client.result(await client.invoke("add", {"a": 1}))
            assert (await anext(changes)).run is not None
        with pytest.raises(InvalidValue, match="the hub is closed"):
            async for _ in changes:
                pass
        with pytest.raises(InvalidValue, match="the hub is closed"):
            await client.runs()
        with pytest.raises(StoreUnavailable):
            runcast.OpenHub().client()


async def test_an_application_that_is_slower_than_its_reader_waits_no_longer_than_it() -> None:
    async with asyncio.timeout(2 * WAIT_S), runcast.open_hub(functions=[count]) as hub:
        client = hub.client()
        run_id = await client.invoke("count", {"n": 20_000, "text": "x" * 100})
        await client.result(run_id)
        seen = 0
        async for _ in client.watch(run_id):
            seen += 1
            if seen == 3:  # leaves in the middle of far more than one piece
                break
        assert (await client.info(run_id)).events == 20_002


def test_both_clients_have_the_same_verbs_with_the_same_parameters() -> None:
    for name, method in inspect.getmembers(runcast.AsyncClient, inspect.isfunction):
        if not name.startswith("_"):
            other = getattr(runcast.Client, name)
            assert inspect.signature(method).parameters == inspect.signature(other).parameters


def test_ctrl_c_leaves_a_watch_and_the_client_goes_on() -> None:
    with (
        serving_in_thread(FLAVOUR, functions=FUNCTIONS) as server,
        runcast.Client(url_of(server)) as client,
    ):
        run_id = client.invoke("waits")
        watching = client.watch(run_id)
        assert next(watching).type == "started"
        loop = client._bridge.loop
        assert loop is not None
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it may come at once
            loop.call_soon_threadsafe(signal.pthread_kill, threading.get_ident(), signal.SIGINT)
            next(watching)
        assert client.cancel(run_id).status == "cancelled"
        assert [event.type for event in client.watch(run_id)] == ["started", "cancelled"]
