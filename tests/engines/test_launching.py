"""Runs that a server hands to workers: what goes where, who runs them, and what if nobody does.

The engine is one list here; with Celery see `test_celery`.
"""

import asyncio
import re
import socket
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import requires
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import runcast
from runcast._app import OpenHub
from runcast._cli import main
from runcast._cli.exits import NO_SERVER
from runcast._functions.secrets import Secret
from runcast._settings import Settings
from runcast.errors import (
    Conflict,
    InvalidValue,
    NotFound,
    RunFailed,
    ServerUnavailable,
)
from runcast.events.model import encode_record
from runcast.stores.base import Append
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock
from tests.opening import clock, events_of, soon

if TYPE_CHECKING:
    from runcast._functions.function import Function

__all__ = ("clock",)

pytestmark = pytest.mark.anyio

SETTINGS = Settings(shutdown_grace_s=0.0, cancel_grace_s=0.05, launch_wait_s=60.0)


class Queue:
    """A launcher whose queue is a list."""

    engine = "queue"

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str]] = []
        self.fault: Exception | None = None

    async def launch(self, run_id: str, epoch: str, function: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.sent.append((run_id, epoch, function))

    async def close(self) -> None:
        pass


class Place:
    """A server and the workers of its runs, on one store."""

    def __init__(self, path: Path, clock: FakeClock) -> None:
        self.queue = Queue()
        self._path = str(path / "runs.db")
        self._clock = clock
        self.calls: list[object] = []

        @runcast.function
        async def double(n: int) -> int:
            self.calls.append(n)
            return n * 2

        @runcast.function(recover=True)
        async def again(n: int) -> int:
            self.calls.append(n)
            return n

        @runcast.function
        async def hides(n: int, key: bytes = b"") -> None: ...

        @runcast.function(store_inputs=False)
        async def forgets(n: int) -> None: ...

        self.functions: list[Function[..., Any]] = [double, again, hides, forgets]

    @asynccontextmanager
    async def hub(self, **options: Any) -> AsyncIterator[OpenHub]:
        store = SQLiteStore(self._path, self._clock)
        given = {"functions": self.functions, "settings": SETTINGS, "clock": self._clock}
        async with OpenHub(store, **{**given, **options}) as hub:
            yield hub

    @asynccontextmanager
    async def server(self) -> AsyncIterator[OpenHub]:
        async with self.hub(launcher=self.queue) as hub:
            yield hub

    async def work(self, number: int = -1, **options: Any) -> None:
        """Run one of the runs that were handed over, in a worker."""
        run_id, epoch, _ = self.queue.sent[number]
        async with self.hub(is_worker=True, **options) as worker:
            await soon(worker.runner.run_launched(run_id, epoch))


@pytest.fixture
def place(tmp_path: Path, clock: FakeClock) -> Place:
    return Place(tmp_path, clock)


async def test_a_worker_runs_what_was_handed_over(place: Place) -> None:
    async with place.server() as server:
        run = await server.start("double", {"n": 4}, run_id="r", labels={"user": "ada"})
        assert (await server.info("r")).status == "queued"
        await place.work()

        assert await soon(run.result()) == 8
        events = await events_of(server, "r")
        info = await server.info("r")
    assert [event.type for event in events] == ["started", "done"]
    assert info.labels["user"] == "ada"
    assert place.queue.sent == [("r", run.epoch, "double")]  # and none of its inputs


async def test_a_run_that_is_delivered_twice_is_run_once(place: Place) -> None:
    async with place.server() as server:
        run = await server.start("double", {"n": 4}, run_id="r")
        async with place.hub(is_worker=True) as one, place.hub(is_worker=True) as another:
            running = [hub.runner.run_launched("r", run.epoch) for hub in (one, another, one)]
            await soon(asyncio.gather(*running))
        await place.work()

    assert place.calls == [4]


async def test_a_worker_with_another_store_says_that_it_lacks_the_run(
    place: Place, tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other", clock)
    async with place.server() as server:
        await server.start("double", {"n": 4}, run_id="r")
        other.queue.sent = place.queue.sent
        await other.work()

    [said] = caplog.messages
    assert said.startswith("the run r was handed over, but this worker's store does not have it")


async def test_if_the_broker_cannot_be_reached_there_is_no_run(place: Place) -> None:
    async with place.server() as server:
        place.queue.fault = ServerUnavailable("the broker cannot be reached")
        with pytest.raises(ServerUnavailable):
            await server.start("double", {"n": 4}, run_id="r")
        with pytest.raises(NotFound):
            await server.info("r")
        place.queue.fault = None
        await server.start("double", {"n": 4}, run_id="r")


async def test_a_run_that_waits_for_a_worker_is_cancelled_at_once(place: Place) -> None:
    async with place.server() as server:
        run = await server.start("double", {"n": 4}, run_id="r")
        run.cancel("enough")
        assert (await soon(run.wait())).data == {"reason": "enough"}
        await place.work()

    assert place.calls == []


async def test_a_run_that_no_worker_takes_fails(place: Place, clock: FakeClock) -> None:
    async with place.server() as server:
        run = await server.start("double", {"n": 4}, run_id="r")
        clock.advance(59.0)
        await server.runner.reap()
        assert (await server.info("r")).status == "queued"
        clock.advance(2.0)
        await server.runner.reap()

        outcome = await soon(run.wait())
        await place.work()
    assert (outcome.type, outcome.data["code"]) == ("failed", "not_taken")
    assert place.calls == []


async def test_a_run_replaces_one_that_waits(place: Place) -> None:
    async with place.server() as server:
        await server.start("double", {"n": 1}, run_id="r")
        with pytest.raises(Conflict):
            await server.start("double", {"n": 2}, run_id="r")
        run = await server.start("double", {"n": 2}, run_id="r", replace=True)
        await place.work(0)
        assert place.calls == []
        await place.work(1)

        assert await soon(run.result()) == 4


@pytest.mark.parametrize(
    ("function", "given", "said"),
    [
        ("double", {"secrets": {"KEY": "s3cret-value"}}, "no secrets"),
        ("hides", {"inputs": {"n": 1, "key": "c2VjcmV0"}}, r"key \(bytes\)"),
        ("forgets", {"inputs": {"n": 1}}, "store_inputs is False"),
        ("double", {"inputs": {"n": "x"}}, "n"),
    ],
)
async def test_what_a_worker_cannot_have_is_refused(
    place: Place, function: str, given: dict[str, Any], said: str
) -> None:
    async with place.server() as server:
        with pytest.raises(InvalidValue, match=said) as raised:
            await server.start(function, run_id="r", **{"inputs": {"n": 1}, **given})
        with pytest.raises(NotFound):
            await server.info("r")

    assert "s3cret-value" not in str(raised.value)
    assert place.queue.sent == []


async def test_a_worker_without_the_function_ends_the_run(place: Place) -> None:
    async with place.server() as server:
        run = await server.start("double", {"n": 1})
        await place.work(functions=[])
        with pytest.raises(RunFailed, match="no function 'double'") as raised:
            await soon(run.result())

    assert raised.value.code == "unknown_function"


async def test_a_secret_must_be_in_the_environment_of_the_worker(place: Place) -> None:
    place.functions[0].secrets = (Secret("A_SECRET_KEY"),)
    async with place.server() as server:
        run = await server.start("double", {"n": 1})  # the server need not have it
        await place.work()
        with pytest.raises(RunFailed, match="A_SECRET_KEY") as raised:
            await soon(run.result())

    assert raised.value.code == "missing_secret"


@pytest.mark.parametrize("function", ["again", "double"])
async def test_when_a_worker_dies_its_run_is_handed_over_again_if_it_recovers(
    place: Place, function: str
) -> None:
    async with place.server() as server:
        run = await server.start(function, {"n": 7}, run_id="r")
        store = server.hub.store
        claimed = await store.claim("r", "a-worker-that-was-killed")
        begun = encode_record("started", {"function": function}, 1.0)
        await store.commit([Append("r", [begun], fence=claimed.fence)])
        await server.runner.reap()
        await server.runner.reap()  # it is sent again once

        if function == "double":
            assert (await soon(run.wait())).data["code"] == "lost"
            assert len(place.queue.sent) == 1
            return
        assert place.queue.sent == [("r", run.epoch, "again")] * 2
        await place.work()
        assert await soon(run.result()) == 7
        events = await events_of(server, "r")
    assert [event.data for event in events if event.type == "started"] == [
        {"function": "again"},
        {"function": "again", "attempt": 2, "recovered": True},
    ]


async def test_if_the_broker_is_away_when_a_worker_dies_it_is_tried_again(place: Place) -> None:
    async with place.server() as server:
        await server.start("again", {"n": 7}, run_id="r")
        await server.hub.store.claim("r", "a-worker-that-was-killed")
        place.queue.fault = ServerUnavailable("the broker cannot be reached")
        await server.runner.reap()
        assert (await server.info("r")).status == "queued"
        place.queue.fault = None
        await server.runner.reap()

    assert len(place.queue.sent) == 2


async def test_an_answered_run_without_a_worker_is_handed_over_again(place: Place) -> None:
    answers: list[object] = []

    async def go_on(interrupt_id: str, answer: runcast.Answer, kept: object) -> object:
        answers.append((answer.args, kept))
        return answer.args

    @runcast.function(resume=go_on)
    async def asks() -> None:
        await runcast.ask("go on?", interrupt_id="q", keep={"step": 1})

    place.functions.append(asks)
    async with place.server() as server:
        run = await server.start("asks", run_id="r")
        async with place.hub(is_worker=True) as worker:
            working = asyncio.create_task(worker.runner.run_launched("r", run.epoch))
            async for event in server.watch("r"):
                if event.type == "interrupt_request":
                    break
        await soon(working)  # the worker was stopped, and has left it
        assert (await server.info("r")).status == "waiting"

        await server.answer("r", "q", {"type": "response", "args": "yes"})
        assert len(place.queue.sent) == 2
        await place.work()
        assert await soon(run.result()) == "yes"
    assert answers == [("yes", {"step": 1})]


async def test_an_answered_run_whose_worker_lives_is_not_handed_over_again(place: Place) -> None:
    async def go_on(interrupt_id: str, answer: runcast.Answer) -> None: ...

    @runcast.function(resume=go_on)
    async def asks() -> object:
        return (await runcast.ask("go on?", interrupt_id="q")).args

    place.functions.append(asks)
    async with place.server() as server, place.hub(is_worker=True) as worker:
        run = await server.start("asks", run_id="r")
        working = asyncio.create_task(worker.runner.run_launched("r", run.epoch))
        async for event in server.watch("r"):
            if event.type == "interrupt_request":
                break
        await server.answer("r", "q", {"type": "response", "args": "yes"})
        assert await soon(run.result()) == "yes"
        await soon(working)

    assert len(place.queue.sent) == 1


async def test_a_store_in_memory_cannot_have_workers(place: Place) -> None:
    with pytest.raises(InvalidValue, match="a store that the workers share"):
        OpenHub("memory://", launcher=place.queue)
    with pytest.raises(InvalidValue, match="a store that the workers share"):
        OpenHub("memory://", is_worker=True)


PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def name_of(requirement: str) -> str:
    """Return the package that a requirement is for."""
    return re.split(r"[^\w-]", requirement, maxsplit=1)[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"launcher": "rays"}, "expected the launcher celery"),
        ({"launcher": "celery"}, "--broker"),
        ({"launcher": "celery", "broker": "valkey://:s3cret@host"}, "begins with 'valkey'"),
        ({"launcher": "celery", "broker": "redis://:s3cret@host:no"}, "begins with 'redis'"),
        ({"launcher": "celery", "broker": "zookeeper://host"}, "a package that is missing .*kazoo"),
    ],
)
def test_settings_that_name_no_launcher_are_refused(
    given: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kazoo", None)  # as if it was not installed
    with pytest.raises(InvalidValue, match=said) as caught:
        OpenHub(f"sqlite:///{tmp_path}/runs.db", settings=Settings(**given))  # type: ignore[arg-type]

    assert "s3cret" not in str(caught.value)


def test_a_worker_does_not_start_without_its_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "work.py").write_text("import runcast\n\n@runcast.function\ndef f(): ...\n")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        store = f"redis://127.0.0.1:{closed.getsockname()[1]}/0"
    broker = ("--broker", "redis://127.0.0.1:1/1")
    code = main(["worker", str(tmp_path / "work.py"), "--store", store, *broker])

    assert code == NO_SERVER
    assert "cannot be reached" in capsys.readouterr().err


def test_the_extra_has_what_celery_needs_for_redis() -> None:
    """Celery's own extra is not used, because it pins the client of Redis."""
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    of_redis = [each for each in requires("kombu") or () if re.search("extra == .redis.", each)]
    needed = {name_of(each) for each in of_redis}
    brought = {name_of(each) for each in extras["celery"] + extras["redis"]}
    assert needed <= brought


def test_the_broker_is_not_in_the_text_of_settings() -> None:
    assert "s3cret" not in repr(Settings(broker="redis://:s3cret@host"))
