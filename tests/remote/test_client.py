"""`runcast.Client` and `runcast.AsyncClient`: a server's runs from elsewhere."""

import asyncio
import inspect
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast._settings import Settings
from runcast.client.reconnect import ReconnectOptions
from runcast.errors import (
    AlreadyAnswered,
    Conflict,
    InvalidInputs,
    InvalidValue,
    NotFound,
    Overloaded,
    RunClosed,
    RunFailed,
    ServerUnavailable,
    Unauthorized,
)
from tests.cli.served import serve
from tests.http.serving import Server, serving_in_thread
from tests.remote.proxy import Fault, proxying
from tests.remote.test_remote_run import FLAVOUR, url_of
from tests.waiting import WAIT_S


async def asks() -> str:
    answer = await runcast.ask("go on?", interrupt_id="q")
    return f"{answer.type} {answer.args}"


async def hears() -> list[Any]:
    return [message.data async for message in runcast.inbox() if message.data != "x"][:1]


async def waits() -> None:
    await asyncio.Event().wait()


def copies() -> None:
    folder = runcast.workspace() / "data"
    (folder / "outputs").mkdir(parents=True, exist_ok=True)
    for file in (folder / "inputs").rglob("*.txt"):
        (folder / "outputs" / "copy.txt").write_bytes(file.read_bytes())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    hurry(monkeypatch)
    functions = [asks, hears, waits, copies]
    with serving_in_thread(FLAVOUR, functions=functions, settings=Settings(retry_s=0)) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[runcast.Client]:
    with runcast.Client(url_of(server)) as client:
        yield client


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = ReconnectOptions(first_s=0.01, longest_s=0.05)
    monkeypatch.setattr("runcast.client.asynchronous._WAITS", fast)


def test_a_run_is_invoked_watched_and_has_a_result(client: runcast.Client) -> None:
    run_id = client.invoke("count", {"n": 3}, labels={"user": "ada"})
    events = list(client.watch(run_id))
    only = list(client.watch(run_id, events[1].seq and f"{client.info(run_id).position}"))

    assert [event.type for event in events] == ["started", *["step"] * 3, "done"]
    assert [event.data["n"] for event in events[1:4]] == [1, 2, 3]
    assert only == []
    assert client.result(client.invoke("add", {"a": 1, "b": 2}, run_id="r")) == 3
    assert client.result("r") == 3
    assert [event.type for event in client.watch(run_id, types=["step"])][-1] == "done"
    assert "count" in [function.name for function in client.functions()]


def test_a_run_that_fails_or_is_cancelled_raises_for_its_result(client: runcast.Client) -> None:
    with pytest.raises(RunFailed, match="ValueError") as failed:
        client.result(client.invoke("fail"))
    assert failed.value.code == "function_error"
    client.invoke("waits", run_id="r")
    assert client.cancel("r", "enough").status == "cancelled"
    with pytest.raises(RunFailed, match="enough"):
        client.result("r")


def test_lists_and_states_are_typed(client: runcast.Client) -> None:
    for n in range(3):
        client.result(client.invoke("add", {"a": n}, run_id=f"r{n}", labels={"n": str(n)}))
    shown = client.snapshot("r2")

    assert [run.run_id for run in client.runs()] == ["r2", "r1", "r0"]
    assert [run.run_id for run in client.runs(limit=2)] == ["r2", "r1"]
    assert [run.run_id for run in client.runs(labels={"n": "1"})] == ["r1"]
    assert client.runs(status="failed") == client.runs(function="count") == []
    assert (shown.status, shown.state.result, shown.events) == ("done", 3, 2)
    assert isinstance(shown.state, runcast.Snapshot)
    assert shown.inputs is not None
    client.delete("r2")
    with pytest.raises(NotFound):
        client.info("r2")


def test_questions_are_answered_and_messages_sent(client: runcast.Client) -> None:
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
    with pytest.raises(RunClosed):
        client.send(run_id, "late")
    run_id = client.invoke("hears")
    first = client.send(run_id, {"a": 1}, message_id="m", sender="ann")
    second = client.send(run_id, {"a": 1}, message_id="m", sender="ann")
    assert (first.message_id, first.repeated) == ("m", False)
    assert (second.message_id, second.repeated, second.position) == ("m", True, first.position)
    with pytest.raises(Conflict):
        client.send(run_id, "other", message_id="m")
    client.cancel(run_id)


def test_files_go_in_and_out(client: runcast.Client, tmp_path: Path) -> None:
    given = tmp_path / "given.txt"
    given.write_bytes(b"0123456789" * 50_000)
    for source in (given, str(given), given.read_bytes()):
        upload = client.upload(source, name="in.txt")
        run_id = client.invoke("copies", files={"text": [upload]})
        client.result(run_id)
        (file,) = client.files(run_id)
        saved = client.download(run_id, file.path, tmp_path / "saved.txt")
        assert saved.read_bytes() == given.read_bytes()
        assert file.size == 500_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given.txt", "saved.txt"]
    with pytest.raises(NotFound):
        client.download(run_id, "none.txt", tmp_path / "none.txt")


def test_a_download_goes_on_where_it_broke(server: Server, tmp_path: Path) -> None:
    with proxying(server.port, "/files/") as proxy, runcast.Client(proxy.url) as client:
        upload = client.upload(b"0123456789" * 50_000, name="in.txt")
        run_id = client.invoke("copies", files={"text": [upload]})
        client.result(run_id)
        proxy.faults.extend(["cut answer", "lose request", "503", "cut answer", "shutting down"])
        saved = client.download(run_id, "copy.txt", tmp_path / "saved.txt")
        assert saved.read_bytes() == b"0123456789" * 50_000
        assert len(proxy.met) == 5


FAULTS: list[list[Fault]] = [
    ["cut answer"] * 5,
    ["lose request", "503", "cut answer", "503", "lose request", "cut answer"],
]


@pytest.mark.parametrize("faults", FAULTS, ids=["cuts", "all"])
def test_a_watcher_gets_each_event_once_whatever_happens(
    server: Server, faults: list[Fault], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runcast.client.reconnect.ReconnectOptions", lambda **_: FAST)
    with proxying(server.port, "/events") as proxy, runcast.Client(proxy.url) as client:
        run_id = client.invoke("count", {"n": 200, "text": "x" * 50})
        proxy.faults.extend(faults)
        events = list(client.watch(run_id))
        assert proxy.met == faults
    assert [event.seq for event in events] == list(range(1, 203))
    assert events[-1].type == "done"


FAST = ReconnectOptions(first_s=0.01, longest_s=0.05)


def test_an_invocation_whose_answer_is_lost_begins_one_run(server: Server) -> None:
    with proxying(server.port, "/invoke/") as proxy, runcast.Client(proxy.url) as client:
        proxy.faults.extend(["lose answer", "cut answer"])
        run_id = client.invoke("add", {"a": 1})
        assert proxy.met == ["lose answer", "cut answer"]
        assert [run.run_id for run in client.runs()] == [run_id]


def test_requests_that_meet_a_server_that_shuts_down_are_sent_again(server: Server) -> None:
    with proxying(server.port, "HTTP/1.1") as proxy, runcast.Client(proxy.url) as client:
        ending: list[Fault] = ["shutting down", "shutting down"]

        def again(ask: Callable[[], Any]) -> Any:
            proxy.faults.extend(ending)
            answer = ask()
            assert not proxy.faults
            return answer

        run_id = again(lambda: client.invoke("asks"))
        again(lambda: client.send(run_id, "x"))
        assert again(lambda: client.answer(run_id, "q", {"type": "accept"})).type == "accept"
        assert client.result(run_id) == "accept None"
        assert again(lambda: client.cancel(run_id)).status == "done"
        assert [run.run_id for run in again(client.runs)] == [run_id]
        assert len(client.snapshot(run_id).state.messages) == 1


def test_what_must_not_happen_twice_is_sent_once(server: Server) -> None:
    with proxying(server.port, "HTTP/1.1") as proxy, runcast.Client(proxy.url) as client:
        client.invoke("asks", run_id="r")
        for ask in (
            lambda: client.invoke("add", run_id="named"),
            lambda: client.share("r"),
            lambda: client.delete("r"),
        ):
            proxy.faults.extend(["shutting down"])
            with pytest.raises(Overloaded) as refused:
                ask()
            assert refused.value.retry_after_s == 0
            assert not proxy.faults
        assert [run.run_id for run in client.runs()] == ["r"]


def test_a_server_that_stays_overloaded_is_reported(server: Server) -> None:
    with proxying(server.port, "HTTP/1.1") as proxy, runcast.Client(proxy.url) as client:
        proxy.faults.extend(["shutting down"] * 4)
        with pytest.raises(Overloaded, match="shutting down"):
            client.runs()
        assert not proxy.faults
        assert client.runs() == []


def test_a_feed_shows_runs_as_they_come_change_and_go(client: runcast.Client) -> None:
    client.result(client.invoke("add", {"a": 1}, run_id="old"))
    seen = client.feed()
    first = next(seen)
    client.invoke("waits", run_id="new")
    changes = []
    for change in seen:
        changes.append(change)
        if change.run is not None and change.run.run_id == "new":
            if change.run.status == "running":
                client.cancel("new")
            elif change.run.status == "cancelled":
                client.delete("new")
        if change.deleted:
            break
    seen.close()  # type: ignore[attr-defined]
    assert first.run is not None
    assert (first.run.run_id, first.run.status) == ("old", "done")
    assert changes[-1].deleted == "new"


def test_refusals_are_the_errors_of_runcast(server: Server, client: runcast.Client) -> None:
    with pytest.raises(NotFound):
        client.invoke("none")
    with pytest.raises(InvalidInputs) as wrong:
        client.invoke("add", {"a": "x", "c": 1})
    assert len(wrong.value.problems) == 2
    with pytest.raises(NotFound):
        list(client.watch("none"))
    with pytest.raises(InvalidValue):
        client.runs(status="odd")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue):
        client.send("r", object())
    with pytest.raises(InvalidValue):
        client.invoke("add", {"a": 1}, run_id="r", key="k")
    client.invoke("waits", run_id="r")
    with pytest.raises(Conflict):
        client.invoke("waits", run_id="r")
    client.cancel("r")


def test_servers_that_are_not_there_or_want_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr("runcast.client.reconnect.ReconnectOptions", lambda **_: GIVE_UP)
    with runcast.Client("http://127.0.0.1:1") as client:
        with pytest.raises(ServerUnavailable):
            client.runs()
        with pytest.raises(ServerUnavailable):
            list(client.watch("r"))
    with serving_in_thread(FLAVOUR, token="secret") as server:
        with runcast.Client(url_of(server)) as client, pytest.raises(Unauthorized):
            client.runs()
        with runcast.Client(url_of(server), token="secret") as client:
            assert client.runs() == []


GIVE_UP = ReconnectOptions(first_s=0.01, attempts=2)


async def test_coroutines_have_the_same_verbs(server: Server) -> None:
    async with asyncio.timeout(2 * WAIT_S), runcast.AsyncClient(url_of(server)) as client:
        run_id = await client.invoke("count", {"n": 3})
        assert [event.type async for event in client.watch(run_id)][-1] == "done"
        assert (await client.snapshot(run_id)).status == "done"
        async with aclosing(client.feed()) as feed:
            async for change in feed:
                assert change.run is not None
                break
    for name, method in inspect.getmembers(runcast.AsyncClient, inspect.isfunction):
        if not name.startswith("_"):
            other = getattr(runcast.Client, name)
            assert list(inspect.signature(method).parameters) == list(
                inspect.signature(other).parameters
            )


def test_a_watcher_outlives_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runcast.client.reconnect.ReconnectOptions", lambda **_: FAST)
    store = ("--store", f"sqlite:///{tmp_path}/runs.db", "--settings", "s.toml")
    (tmp_path / "s.toml").write_text("retry_s = 0.05")
    lease = {"Runcast-Lease": "a secret of the writer"}
    body = {"name": "job", "run_id": "r", "lease_id": lease["Runcast-Lease"], "lease_s": 60}
    seen: list[int] = []
    three, six = threading.Event(), threading.Event()

    def watch(url: str) -> None:
        with runcast.Client(url) as client:
            for event in client.watch("r"):
                seen.append(event.seq)
                if event.seq == 3:
                    three.set()
        six.set()

    def write(served: Any, sequence: int, *kinds: str) -> None:
        target = f"/runs/r/events?producer=p&sequence={sequence}"
        sent = served.ask("POST", target, [{"type": kind} for kind in kinds], lease)
        assert sent.status == 200, json.loads(sent.body)

    with serve(*store, cwd=tmp_path) as first:
        assert first.ask("POST", "/runs", body).status == 201
        thread = threading.Thread(target=watch, args=(first.url,))
        thread.start()
        write(first, 1, "a", "b")
        assert three.wait(WAIT_S)
        first.end(signal.SIGKILL)
    with serve(*store, cwd=tmp_path, port=first.port) as second:
        write(second, 2, "c", "d", "done")
        assert six.wait(2 * WAIT_S)
        thread.join(WAIT_S)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_thread_is_watched_across_cuts_and_before_its_first_run(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runcast.client.reconnect.ReconnectOptions", lambda **_: FAST)
    monkeypatch.setattr("runcast._hub.changes._PAUSE_S", 0.0)
    with proxying(server.port, "/events") as proxy, runcast.Client(proxy.url) as client:
        faults: list[Fault] = ["cut answer", "503", "cut answer", "cut answer", "cut answer"]
        proxy.faults.extend(faults)
        thread = client.watch_thread("t")
        client.invoke("count", {"n": 1}, labels={"thread": "u"})
        client.invoke("count", {"n": 3}, run_id="a", labels={"thread": "t"})
        seen = [next(thread)]
        client.invoke("count", {"n": 3}, run_id="b", labels={"thread": "t"})
        while len(seen) < 10:
            seen.append(next(thread))
        client.delete("a")
        last = next(thread)
        thread.close()  # type: ignore[attr-defined]
    for run_id in ("a", "b"):
        of_run = [each.event for each in seen if each.run_id == run_id]
        assert [event and event.seq for event in of_run] == [1, 2, 3, 4, 5]
    assert (last.run_id, last.notice, last.event) == ("a", "deleted", None)
    with runcast.Client(url_of(server)) as client:
        again = client.watch_thread("t", seen[8].position)
        assert next(each.event for each in again if each.event) == seen[9].event
        again.close()  # type: ignore[attr-defined]
        with pytest.raises(InvalidValue):
            next(client.watch_thread("t", "nonsense"))


async def test_a_thread_is_watched_in_the_process_of_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runcast._hub.changes._PAUSE_S", 0.0)

    def add(a: int) -> int:
        return a + 1

    async with runcast.open_hub(functions=[add]) as hub:
        async with aclosing(hub.client().watch_thread("t", labels={"user": "ada"})) as events:
            await hub.start(add, {"a": 1}, labels={"thread": "t"})
            run = await hub.start(add, {"a": 1}, labels={"thread": "t", "user": "ada"})
            seen = [await anext(events) for _ in range(2)]
        assert [each.event.type for each in seen if each.event] == ["started", "done"]
        assert {each.run_id for each in seen} == {run.run_id}
