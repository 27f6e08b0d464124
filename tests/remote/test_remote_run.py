"""A block of code as a run on a server elsewhere: the same events, once each, whatever happens."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast._settings import Settings
from runcast.client.reconnect import ReconnectOptions
from runcast.errors import (
    Cancelled,
    Conflict,
    InvalidValue,
    Overloaded,
    RunClosed,
    RunTooLarge,
    ServerUnavailable,
    Unauthorized,
)
from tests.http.serving import Server, serving_in_thread
from tests.remote.proxy import Fault, Proxy, proxying
from tests.waiting import WAIT_S

FLAVOUR = "direct-h11-asyncio"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving_in_thread(FLAVOUR) as server:
        yield server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with proxying(server.port) as proxy:
        yield proxy


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def on_server(server: Server, make: Any) -> Any:
    """Run a coroutine function on the server's loop."""

    async def run() -> Any:
        return await make()

    assert server.loop is not None
    return asyncio.run_coroutine_threadsafe(run(), server.loop).result(WAIT_S)


def events(server: Server, run_id: str) -> list[runcast.Event]:
    async def read() -> list[runcast.Event]:
        return [event async for event in server.hub.watch(run_id)]

    found: list[runcast.Event] = on_server(server, read)
    return found


def told(server: Server, run_id: str) -> list[tuple[str, Any]]:
    return [(event.type, event.data) for event in events(server, run_id)]


def test_a_block_is_a_run_on_the_server(server: Server) -> None:
    with runcast.RemoteRun(url_of(server), "train", run_id="r", labels={"user": "ada"}) as run:
        runcast.progress(1, 2)
        runcast.log("half")
        runcast.content("text", message_id="m")
        runcast.step_start("go", node="n")
        position = runcast.flush()
        run.set_result({"loss": 0.5})
        assert runcast.current_writer() is run
    info = on_server(server, lambda: server.hub.info("r"))

    assert runcast.current_writer() is None
    assert (run.run_id, position.seq, run.statistics().waiting) == ("r", 5, 0)
    assert info.labels == {"user": "ada", "function": "train", "runcast.lease": "15.0"}
    assert [kind for kind, _ in told(server, "r")] == [
        *("started", "progress", "log", "content", "step_start", "done")
    ]
    assert events(server, "r")[-1].data == {"result": {"loss": 0.5}}


def test_how_a_block_is_left_is_how_the_run_ends(server: Server) -> None:
    class Odd(Exception):
        pass

    for error in (Odd("secret"), KeyboardInterrupt(), runcast.RunFailed("no disk", "disk")):
        run_id = type(error).__name__
        with (
            pytest.raises(type(error)),
            runcast.RemoteRun(url_of(server), "train", run_id=run_id),
        ):
            raise error

    last = {name: told(server, name)[-1] for name in ("Odd", "KeyboardInterrupt", "RunFailed")}
    assert last["Odd"][0] == last["RunFailed"][0] == "failed"
    assert "secret" not in str(last["Odd"])
    assert last["RunFailed"][1]["code"] == "disk"
    assert last["KeyboardInterrupt"] == ("cancelled", {"reason": "interrupted"})


FAULTS: list[list[Fault]] = [
    ["lose request"],
    ["lose answer"],
    ["cut answer"],
    ["503", "503"],
    ["garbage"],
    ["lose answer", "lose request", "503", "cut answer", "lose answer"] * 2,
]


@pytest.mark.parametrize("faults", FAULTS, ids=" ".join)
def test_nothing_is_lost_or_doubled_when_connections_break(
    server: Server, proxy: Proxy, faults: list[Fault], monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    proxy.faults.extend(faults)
    with runcast.RemoteRun(proxy.url, "train", run_id="r"):
        for n in range(300):
            runcast.emit("step", n)
            if n % 20 == 0:
                runcast.flush()
        proxy.faults.append("lose answer")  # of the last batch

    assert proxy.met == [*faults, "lose answer"]
    assert told(server, "r")[1:-1] == [("step", n) for n in range(300)]
    assert told(server, "r")[-1] == ("done", {})


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let retries come soon."""
    monkeypatch.setattr(
        "runcast._remote.link._WAITS", ReconnectOptions(first_s=0.01, longest_s=0.05)
    )


def test_a_run_whose_beginning_is_not_answered_begins_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    with proxying(server.port, "POST /runs HTTP") as proxy:
        proxy.faults.extend(["lose answer", "lose request", "cut answer"])
        with runcast.RemoteRun(proxy.url, "train"):
            pass
        assert len(proxy.met) == 3
    assert len(on_server(server, server.hub.runs)) == 1


def test_errors_of_the_beginning_are_those_of_runcast(server: Server) -> None:
    url = url_of(server)
    with (
        runcast.RemoteRun(url, "train", run_id="r"),
        pytest.raises(Conflict),
        runcast.RemoteRun(url, "train", run_id="r"),
    ):
        pass
    with serving_in_thread(FLAVOUR, token="secret") as guarded:
        with pytest.raises(Unauthorized), runcast.RemoteRun(url_of(guarded), "train"):
            pass
        with runcast.RemoteRun(url_of(guarded), "train", token="secret"):
            pass


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runcast._remote.run._BEGIN_WAIT_S", 0.0)
    run = runcast.RemoteRun("http://127.0.0.1:1", "train")
    with pytest.raises(ServerUnavailable, match=r"http://127\.0\.0\.1:1"):
        run.__enter__()


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("", "train"), {}),
        (("ftp://x", "train"), {}),
        (("http://", "train"), {}),
        (("http://x?y=1", "train"), {}),
        (("http://x", ""), {}),
        (("http://x", "train"), {"labels": {"function": "x"}}),
        (("http://x", "train"), {"token": "two words"}),
    ],
)
def test_malformed_arguments_are_refused_at_once(
    arguments: tuple[str, str], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNCAST_URL", raising=False)
    with pytest.raises(InvalidValue):
        runcast.RemoteRun(*arguments, **options)


def test_what_only_runcast_writes_is_refused_at_the_call(server: Server) -> None:
    with runcast.RemoteRun(url_of(server), "train", run_id="r") as run:
        for kind in ("done", "started", "gap", "message", "interrupt_resolved"):
            with pytest.raises(InvalidValue):
                run.emit(kind)
    assert [kind for kind, _ in told(server, "r")] == ["started", "done"]


def test_of_an_event_that_the_server_refuses_only_it_is_left_out_and_named(
    server: Server,
) -> None:
    with runcast.RemoteRun(url_of(server), "train", run_id="r") as run:
        run.emit("step", 1)
        run._outbox.put(b'"time":1,"type":"gap","data":null}')
        run.emit("step", 2)
        run.flush()
        assert run.statistics().refused == 1
    kinds = told(server, "r")
    assert [kind for kind, _ in kinds] == ["started", "step", "log", "step", "done"]
    assert "gap" in kinds[2][1]["message"]
    assert kinds[2][1]["level"] == "warning"


def test_a_cancelled_run_stops_its_threads(server: Server) -> None:
    at_work, ended = threading.Event(), threading.Event()

    def work() -> None:
        with runcast.RemoteRun(url_of(server), "train", run_id="r"):
            at_work.set()
            while not ended.wait(0.001):
                runcast.emit("step")

    failed: list[BaseException] = []

    def catch() -> None:
        try:
            work()
        except Cancelled as error:
            failed.append(error)

    thread = threading.Thread(target=catch)
    thread.start()
    try:
        assert at_work.wait(WAIT_S)
        on_server(server, lambda: server.hub.cancel("r", "enough"))
        thread.join(WAIT_S)
    finally:
        ended.set()
        thread.join(WAIT_S)
    assert [str(error) for error in failed] == ["enough"]
    assert told(server, "r")[-1] == ("cancelled", {"reason": "enough"})


async def test_a_cancelled_run_cancels_its_task(server: Server) -> None:
    at_work = asyncio.Event()

    async def work() -> None:
        async with runcast.RemoteRun(url_of(server), "train", run_id="r"):
            at_work.set()
            await asyncio.Event().wait()

    async with asyncio.timeout(WAIT_S):
        task = asyncio.create_task(work())
        await at_work.wait()
        await server.call(lambda: server.hub.cancel("r", "enough"))
        with pytest.raises(asyncio.CancelledError):
            await task
    seen = await asyncio.to_thread(told, server, "r")
    assert seen[-1] == ("cancelled", {"reason": "enough"})


def test_a_question_is_answered_from_elsewhere(server: Server) -> None:
    async def answer() -> None:
        async for event in server.hub.watch("r"):
            if event.type == "interrupt_request":
                said = {"type": "response", "args": f"to {event.data['message']}"}
                await server.hub.answer("r", event.data["interrupt_id"], said)

    assert server.loop is not None
    with runcast.RemoteRun(url_of(server), "train", run_id="r"):
        answering = asyncio.run_coroutine_threadsafe(answer(), server.loop)
        first = runcast.ask("one", interrupt_id="q")
        again = runcast.ask("one", interrupt_id="q")
        second = runcast.ask("two", action="delete", args={"file": "x"})
    answering.result(WAIT_S)
    assert (first.args, second.args) == ("to one", "to two")
    assert again == first
    kinds = [kind for kind, _ in told(server, "r")]
    assert kinds.count("interrupt_request") == kinds.count("interrupt_response") == 2


def test_a_question_that_nobody_answers_expires(server: Server) -> None:
    with runcast.RemoteRun(url_of(server), "train", run_id="r"):
        answer = runcast.ask("anybody?", timeout_s=0.01)
    assert answer.type == "expired"
    resolved = [data for kind, data in told(server, "r") if kind == "interrupt_resolved"]
    assert [data["outcome"] for data in resolved] == ["expired"]


def test_what_nobody_would_read_is_not_kept(server: Server) -> None:
    with (
        runcast.RemoteRun(url_of(server), "train", run_id="r"),
        pytest.raises(InvalidValue, match="no next attempt"),
    ):
        runcast.keep({"step": 1})


async def test_questions_and_messages_work_in_coroutines(server: Server) -> None:
    async def answer() -> None:
        async for event in server.hub.watch("r"):
            if event.type == "interrupt_request":
                await server.hub.answer("r", event.data["interrupt_id"], {"type": "accept"})

    assert server.loop is not None
    async with asyncio.timeout(2 * WAIT_S):
        async with runcast.RemoteRun(url_of(server), "train", run_id="r") as run:
            answering = asyncio.run_coroutine_threadsafe(answer(), server.loop)
            answers = await asyncio.gather(*(runcast.ask(f"{n}?") for n in range(5)))
            assert all(each.approved for each in answers)
            assert await runcast.inbox().poll() is None
            sending = server.call(lambda: server.hub.send("r", {"x": 1}, sender="ann"))
            sent = asyncio.create_task(sending)
            async for message in runcast.inbox():
                assert (message.data, message.sender) == ({"x": 1}, "ann")
                break
            await sent
            await run.flush()
        await asyncio.wrap_future(answering)
    seen = await asyncio.to_thread(told, server, "r")
    assert ("message_read", {"message_ids": [sent.result().message_id]}) in seen
    assert seen[-1] == ("done", {})


def test_messages_are_read_in_order_in_threads(server: Server) -> None:
    def send(data: object) -> None:
        on_server(server, lambda: server.hub.send("r", data))

    found = []
    with runcast.RemoteRun(url_of(server), "train", run_id="r"):
        for n in range(3):
            send(n)
        for message in runcast.inbox():
            found.append(message.data)
            if message.data == 2:
                threading.Thread(target=send, args=("last",)).start()
            if message.data == "last":
                break
    assert found == [0, 1, 2, "last"]
    snapshot = on_server(server, lambda: server.hub.present("r"))[1]
    assert snapshot.messages == []


def test_a_thread_waits_for_room_and_a_loop_does_not(
    server: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    small = Settings(pending_bytes_per_run=20_000, emit_wait_s=WAIT_S)
    text = "x" * 1000

    async def flood() -> int:
        def fill() -> None:
            for _ in range(1000):
                runcast.log(text)

        with pytest.raises(Overloaded):
            fill()
        await runcast.drain()
        runcast.log("there is room again")
        return 0

    with runcast.RemoteRun(proxy.url, "train", run_id="r", settings=small) as run:
        proxy.faults.extend(["503"] * 3)
        for _ in range(100):
            runcast.log(text)
            assert run.statistics().waiting_bytes <= 20_000
        asyncio.run(flood())
    seen = told(server, "r")
    assert seen[-2][1]["message"] == "there is room again"
    assert len(seen) > 110


def test_when_the_server_is_gone_for_long_nobody_waits_and_the_end_says_so(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    small = Settings(pending_bytes_per_run=20_000, emit_wait_s=0.05)
    with proxying(server.port) as proxy:
        proxy.faults.extend(["lose request"] * 100_000)

        def work() -> None:
            remote = runcast.RemoteRun(proxy.url, "train", settings=small, lease_s=1)
            with remote, pytest.raises(Overloaded):
                fill()

        def fill() -> None:
            for _ in range(100):
                runcast.log("x" * 1000)

        with pytest.raises(ServerUnavailable, match="could not be stored"):
            work()


def test_events_of_many_threads_keep_the_order_of_each(server: Server) -> None:
    def work(name: int) -> None:
        for n in range(200):
            run.emit("step", [name, n])

    with runcast.RemoteRun(url_of(server), "train", run_id="r") as run:
        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    seen = [data for kind, data in told(server, "r") if kind == "step"]
    assert len(seen) == 800
    for name in range(4):
        assert [n for who, n in seen if who == name] == list(range(200))


def test_a_run_that_was_deleted_ends_its_block(server: Server) -> None:
    def work() -> None:
        with runcast.RemoteRun(url_of(server), "train", run_id="r") as run:
            run.emit("step")
            run.flush()
            on_server(server, lambda: server.hub.hub.delete("r"))
            for _ in range(1_000_000):
                run.emit("step")

    with pytest.raises(Cancelled):
        work()


def test_a_run_that_is_too_large_fails_and_still_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)

    def work(url: str) -> None:
        with runcast.RemoteRun(url, "train", run_id="r") as run:
            for n in range(1_000_000):
                run.emit("step", n)
                if n % 5 == 0:
                    run.flush()

    with serving_in_thread(FLAVOUR, settings=Settings(max_events_per_run=20)) as server:
        with pytest.raises(RunTooLarge):
            work(url_of(server))
        seen = told(server, "r")
    assert len(seen) <= 21
    assert (seen[-1][0], seen[-1][1]["code"]) == ("failed", "run_too_large")


def test_a_batch_that_fills_a_run_may_be_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    with serving_in_thread(FLAVOUR, settings=Settings(max_events_per_run=3)) as small:
        with (
            proxying(small.port) as proxy,
            runcast.RemoteRun(proxy.url, "train", run_id="r") as run,
        ):
            proxy.faults.extend(["lose answer", "lose answer"])
            for n in (1, 2):
                run.emit("step", n)
                run.flush()
        assert [kind for kind, _ in told(small, "r")] == ["started", "step", "step", "done"]


def listed(server: Server, run_id: str) -> dict[str, bytes]:
    """Return the content of each file that a run made."""

    async def read() -> dict[str, bytes]:
        found = {}
        for file in (await server.hub.files.of(run_id)).files:
            content = (await server.hub.files.download(run_id, file.path)).content
            found[file.path] = await server.hub.files.read(content, file.size + 1, 0)
            content.close()
        return found

    files: dict[str, bytes] = on_server(server, read)
    return files


def leave_outputs() -> Path:
    """Write files as a function does, and return the workspace."""
    folder = runcast.workspace()
    (folder / "data/outputs/plots").mkdir()
    (folder / "data/outputs/plots/loss.csv").write_text("1,2", "ascii")
    (folder / "data/outputs/empty").touch()
    return folder


def test_files_that_the_block_leaves_are_files_of_the_run(server: Server) -> None:
    with runcast.RemoteRun(url_of(server), "train", run_id="r"):
        folder = leave_outputs()
        runcast.log("written")

    assert listed(server, "r") == {"empty": b"", "plots/loss.csv": b"1,2"}
    kinds = [kind for kind, _ in told(server, "r")]
    assert kinds == ["started", "log", "files", "done"]
    assert not folder.exists()


@pytest.mark.parametrize("fault", ["lose request", "lose answer", "503"])
def test_files_arrive_once_whatever_is_lost(server: Server, fault: Fault) -> None:
    with (
        proxying(server.port, "PUT ") as proxy,
        runcast.RemoteRun(proxy.url, "train", run_id="r"),
    ):
        leave_outputs()
        proxy.faults.extend([fault, "pass", fault])

    assert proxy.met == [fault, "pass", fault]
    assert listed(server, "r") == {"empty": b"", "plots/loss.csv": b"1,2"}
    assert [kind for kind, _ in told(server, "r")] == ["started", "files", "done"]


def test_files_of_a_block_that_raises_are_kept_too(server: Server) -> None:
    def fail() -> None:
        with runcast.RemoteRun(url_of(server), "train", run_id="r"):
            leave_outputs()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()

    assert set(listed(server, "r")) == {"empty", "plots/loss.csv"}
    assert told(server, "r")[-1][0] == "failed"


def test_a_run_without_all_of_its_files_is_not_done(server: Server) -> None:
    limits = Settings(max_files=1)
    with runcast.RemoteRun(url_of(server), "train", run_id="r", settings=limits):
        folder = leave_outputs()
        (folder / "data/outputs/link").symlink_to("/etc/passwd")

    assert set(listed(server, "r")) == {"empty"}
    (_, line), _, (kind, ending) = told(server, "r")[-3:]
    assert "link: a symbolic link" in line["message"]
    assert (kind, ending["code"]) == ("failed", "invalid_outputs")
    assert "max_files" in ending["message"]


def test_the_workspace_of_a_run_that_has_ended_is_refused(server: Server) -> None:
    with runcast.RemoteRun(url_of(server), "train") as run:
        pass

    with pytest.raises(RunClosed, match="over"):
        run.workspace()
