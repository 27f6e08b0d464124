"""All runs of a thread on one connection, also those that begin later."""

from collections.abc import AsyncIterator, Callable

import pytest
from starlette.requests import Request

import runcast
from runcast._hub import changes as list_changes
from runcast._producing.writer import Writer
from runcast._settings import Settings
from runcast._wire.sse import Decoder
from tests.http.serving import Log, Server, serving_here
from tests.http.test_many import OPENING, told

pytestmark = pytest.mark.anyio

Name = Callable[[], str]

TARGET = "/events?label=thread=t"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_changes, "_PAUSE_S", 0.0)
    return


@pytest.fixture
async def one() -> AsyncIterator[Server]:
    async with serving_here() as server:
        yield server


async def labelled(server: Server, run_id: str, *, replace: bool = False, **labels: str) -> Log:
    """Begin a run, of the thread `t` unless its labels say otherwise."""
    labels = labels or {"thread": "t"}
    hub = server.hub.hub
    inlet = await server.call(lambda: hub.create(run_id, labels=labels, replace=replace))
    writer = Writer(inlet, server.hub.clock, server.hub.settings.max_event_bytes)
    return Log(server, run_id, writer, inlet.epoch)


async def test_a_page_follows_a_thread_before_its_first_run(server: Server, name: Name) -> None:
    thread = name()
    async with server.watch(f"/events?label=thread={thread}") as stream:
        assert stream.head.headers["content-type"] == "text/event-stream"
        await stream.read_until(OPENING)
        await stream.read_until(b";\n\n")
        first = stream.last_event_id
        a = await labelled(server, name(), thread=thread)
        await labelled(server, name(), thread=name())
        await a.emit(1)
        assert told(await stream.event()) == (a.run_id, 1)
        await a.end()
        assert told(await stream.event()) == (a.run_id, 2)
        b = await labelled(server, name(), thread=thread)
        await b.emit(1)
        assert told(await stream.event()) == (b.run_id, 1)
    async with server.watch(f"/events?label=thread={thread}", {"Last-Event-ID": first}) as again:
        seen = [told(await again.event()) for _ in range(3)]
        assert sorted(seen) == sorted([(a.run_id, 1), (a.run_id, 2), (b.run_id, 1)])


async def test_a_connection_lost_behind_any_frame_is_resumed_exactly(one: Server) -> None:
    logs = [await labelled(one, f"r{number}") for number in range(3)]
    for log in logs:
        await log.emit(1, 2)
    await logs[0].end()
    expected = sorted([("r0", 3), *((f"r{run}", seq) for run in range(3) for seq in (1, 2))])
    async with one.watch(TARGET) as stream:
        await stream.read_until(b"\n\nid: ")
        for _ in expected:
            await stream.event()
        raw = stream.raw
    frames = [frame + b"\n\n" for frame in raw.removeprefix(OPENING).split(b"\n\n")[:-1]]
    assert len(frames) == len(expected) + 1
    for lost_behind in range(len(frames)):
        decoder = Decoder()
        seen = [told(event) for event in decoder.feed(b"".join(frames[: lost_behind + 1]))]
        async with one.watch(TARGET, {"Last-Event-ID": decoder.last_event_id}) as again:
            while len(seen) < len(expected):
                seen.append(told(await again.event()))
            mark = await logs[1].emit(9)  # nothing else comes before it
            assert told(await again.event()) == ("r1", mark.seq)
        assert sorted(seen) == expected
        expected = sorted([*expected, ("r1", mark.seq)])
        async with one.watch(TARGET) as whole:
            await whole.read_until(b"\n\nid: ")
            for _ in expected:
                await whole.event()
            raw = whole.raw
        frames = [frame + b"\n\n" for frame in raw.removeprefix(OPENING).split(b"\n\n")[:-1]]


async def test_a_deletion_and_a_restart_are_frames(one: Server) -> None:
    async with one.watch(TARGET) as stream:
        a = await labelled(one, "a")
        await a.emit(1)
        assert told(await stream.event()) == ("a", 1)
        again = await labelled(one, "a", replace=True)
        await again.emit(1)
        gap = await stream.json()
        assert gap["run"] == "a"
        assert gap["event"]["type"] == "gap"
        assert gap["event"]["data"]["reason"] == "replaced"
        assert told(await stream.event()) == ("a", 1)
        await again.end()
        assert (await one.fetch("DELETE", "/runs/a")).status == 204
        while (shown := await stream.json()) != {"deleted": "a"}:
            assert shown["run"] == "a"


async def test_older_runs_are_named_and_listed_from_there(one: Server) -> None:
    for number in range(5):
        await (await labelled(one, f"r{number}")).end()
    async with one.watch(f"{TARGET}&limit=2") as stream:
        earlier = await stream.json()
        assert [told(await stream.event())[0] for _ in range(2)] == ["r3", "r4"]
    listed = await one.fetch("GET", f"/runs?label=thread=t&before={earlier['earlier']}")
    assert [run["run_id"] for run in listed.json()["runs"]] == ["r2", "r1", "r0"]


async def test_runs_of_one_function_can_be_followed(one: Server) -> None:
    async with one.watch(f"{TARGET}&function=f") as stream:
        await stream.read_until(b";\n\n")
        await (await labelled(one, "a", thread="t", function="g")).emit(1)
        await (await labelled(one, "b", thread="t", function="f")).emit(1)
        assert told(await stream.event()) == ("b", 1)


@pytest.mark.parametrize(
    "target",
    [
        "/events",
        "/events?label=thread",
        "/events?label==x",
        "/events?label=thread=t&run=a",
        "/events?label=thread=t&limit=33",
        "/events?label=thread=t&limit=0",
        "/events?label=thread=t&after=x",
        "/events?label=thread=t&after=01hq3v5k2m-7",
        "/events?label=thread=t&after=1.2.3;access/revoked=01hq3v5k2m-7",
        "/events?label=thread=t&dialect=task",
        "/events?label=thread=t&types=log",
        "/events?function=f",
    ],
)
async def test_what_a_thread_cannot_do_is_refused(one: Server, target: str) -> None:
    answer = await one.fetch("GET", target)

    assert answer.problem() == (400, "invalid_value")


async def test_each_run_counts_as_a_watcher_and_one_too_many_is_named() -> None:
    async with serving_here(settings=Settings(max_watchers_per_run=1)) as server:
        a = await labelled(server, "a")
        await a.emit(1)
        async with server.watch("/runs/a/events") as alone:
            assert (await alone.json())["seq"] == 1
            async with server.watch(TARGET) as stream:
                assert await stream.json() == {"left_out": "a"}
        async with server.watch(TARGET) as stream:
            assert told(await stream.event()) == ("a", 1)
            assert (await server.fetch("GET", "/runs/a/events")).problem()[0] == 503
            await a.end()
            assert told(await stream.event()) == ("a", 2)
            await server.eventually(lambda: "a" not in server.hub.hub.admissions._by_run)


async def test_ones_own_runs_come_and_those_of_others_do_not_however_one_asks() -> None:
    known = {"ada", "bob"}

    async def authorize(request: Request) -> runcast.Access | None:
        name = request.headers.get("user", "")
        return runcast.Access(subject=name, labels={"owner": name}) if name in known else None

    hers: dict[str, str] = {"User": "ada"}
    async with serving_here(authorize=authorize) as server:
        assert (await server.fetch("GET", TARGET)).status == 401
        his = await labelled(server, "his", thread="t", owner="bob")
        await his.emit(1)
        async with server.watch(TARGET, hers) as stream:
            await stream.read_until(b";\n\n")
            point = stream.last_event_id
            first = await labelled(server, "hers", thread="t", owner="ada")
            await first.emit(1)
            assert told(await stream.event()) == ("hers", 1)
            await (await labelled(server, "his-2", thread="t", owner="bob")).emit(1)
            await labelled(server, "hers", replace=True, thread="t", owner="bob")
            assert await stream.json() == {"left": "hers"}
            await (await labelled(server, "hers-2", thread="t", owner="ada")).emit(1)
            assert told(await stream.event()) == ("hers-2", 1)
            known.discard("ada")
            await server.call(lambda: server.hub.revoke("ada"))
            assert await stream.rest() == []
            assert b"his" not in stream.raw
        assert (await server.fetch("GET", TARGET, hers)).status == 401
        known.add("ada")
        named = f"{point}his={his.epoch}-0,missing={his.epoch}-0"
        async with server.watch(TARGET, {**hers, "Last-Event-ID": named}) as stream:
            assert [await stream.json() for _ in range(2)] == [{"left": "his"}, {"left": "missing"}]
            assert told(await stream.event()) == ("hers-2", 1)
        for query in ("label=thread=t&label=owner=bob", "label=owner=bob"):
            async with server.watch(f"/events?{query}", hers) as stream:
                await stream.read_until(b";\n\n")
                await his.emit(1)
                last = await labelled(server, f"last-{len(query)}", thread="t", owner="ada")
                await last.emit(1)
                await server.eventually(lambda: server.hub.hub.list_changes._timer is None)
                assert b"data:" not in stream.raw
