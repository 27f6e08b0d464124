"""Watching a run over the wire: its events, once each, from anywhere, to its end."""

import json
from collections.abc import Callable

import pytest

from runcast._app import OpenHub
from runcast._functions.secrets import texts_in
from runcast._http.app import HttpApp
from runcast._settings import Settings
from runcast._wire.sse import SSEvent
from runcast.events.outcome import cancelled, failed
from runcast.events.position import Position
from runcast.testing import FakeClock
from tests.http.client import Watching
from tests.http.serving import PROTOCOLS, Log, Server, serving_here

pytestmark = pytest.mark.anyio

Name = Callable[[], str]

OPENING = b"retry: 2000\n: runcast\n\n"


def seqs(events: list[SSEvent]) -> list[int]:
    return [json.loads(event.data)["seq"] for event in events]


async def test_the_first_bytes_come_before_any_event(server: Server, name: Name) -> None:
    log = await server.log(name())

    async with server.watch(f"/runs/{log.run_id}/events") as stream:
        await stream.read_until(OPENING)

        assert stream.raw == OPENING


async def test_a_stream_is_kept_from_caches_sniffers_and_buffers(
    server: Server, name: Name
) -> None:
    log = await server.log(name())

    async with server.watch(f"/runs/{log.run_id}/events") as stream:
        headers = stream.head.headers

    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["runcast-epoch"] == log.epoch
    assert "content-encoding" not in headers


async def test_events_come_as_they_are_committed_and_the_stream_ends_with_the_run(
    server: Server, name: Name
) -> None:
    log = await server.log(name())
    async with server.watch(f"/runs/{log.run_id}/events") as stream:
        for number in range(1, 4):
            position = await log.emit(number)
            event = await stream.event()
            assert event.id == str(position) == f"{log.epoch}-{number}"
            assert event.event == "message"
            told = json.loads(event.data)
            assert (told["seq"], told["type"], told["data"]) == (number, "step", {"n": number})
        await log.end()

        ending = json.loads((await stream.rest())[-1].data)

    assert (ending["seq"], ending["type"]) == (4, "done")


async def test_the_connection_serves_on_after_a_stream_has_ended(
    server: Server, name: Name
) -> None:
    log = await server.closed_log(name(), 1, 2)
    async with await server.connect() as connection:
        for _ in range(2):
            await connection.ask("GET", f"{server.prefix}/runs/{log.run_id}/events")
            stream = Watching(connection, await connection.read_head())
            assert seqs(await stream.rest()) == [1, 2, 3]
        await connection.ask("GET", server.prefix + "/healthz")

        assert (await connection.read_answer()).json() == {"status": "ok"}


@pytest.mark.parametrize("ending", [failed("it broke", "broken"), cancelled("enough")])
async def test_a_run_that_failed_or_was_cancelled_ends_its_stream_like_any(
    server: Server, name: Name, ending: tuple[str, dict[str, object]]
) -> None:
    log = await server.log(name())
    async with server.watch(f"/runs/{log.run_id}/events") as stream:
        await log.end(ending)  # type: ignore[arg-type]

        told = json.loads((await stream.rest())[-1].data)

    assert (told["type"], told["data"]) == ending


@pytest.mark.parametrize(
    "data", ["\u2028\u2029\x85\x0b", "a\r\nid: 9\r\n\r\ndata: x", "\0", "é\U0001f600"]
)
async def test_hostile_text_arrives_as_it_was_written(
    server: Server, name: Name, data: str
) -> None:
    log = await server.log(name())
    async with server.watch(f"/runs/{log.run_id}/events") as stream:
        await log.emit(1, data=data)
        event = await stream.event()

    assert json.loads(event.data)["data"] == data
    assert event.id == f"{log.epoch}-1"


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
@pytest.mark.parametrize("dialect", ["runcast", "named", "task", "prefab", "flat"])
async def test_an_event_is_one_line_to_readers_that_cut_at_other_characters(
    server: Server, name: Name, accept: str, dialect: str
) -> None:
    log = await server.log(name())
    text = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\x1dh\x1ei"
    await log.emit(1, type="content", data={"text": text, text: [text]})
    await log.end(cancelled(text))
    query = "" if "json" in accept else f"?dialect={dialect}"
    answer = await server.fetch("GET", f"/runs/{log.run_id}/events{query}", {"Accept": accept})

    lines = [line for line in answer.body.decode().splitlines() if "{" in line]
    told = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert any(text == found for found in texts_in(told))
    shown = await server.fetch("GET", f"/runs/{log.run_id}")
    assert len(shown.body.decode().splitlines()) == 1


async def test_an_event_of_a_megabyte_arrives_whole(server: Server, name: Name) -> None:
    log = await server.log(name())
    text = "x" * 1_000_000
    async with server.watch(f"/runs/{log.run_id}/events") as stream:
        await log.emit(1, data=text)
        await log.emit(2)
        assert json.loads((await stream.event()).data)["data"] == text
        assert json.loads((await stream.event()).data)["data"] == {"n": 2}


@pytest.mark.parametrize("retry_s", [0.0, 1e12])
async def test_no_time_to_reconnect_that_may_be_set_ends_a_stream(retry_s: float) -> None:
    async with serving_here(settings=Settings(retry_s=retry_s)) as server:
        log = await server.closed_log("a")
        answer = await server.fetch("GET", f"/runs/{log.run_id}/events")

    retry = min(int(retry_s * 1000), 2**31 - 1)
    assert answer.body.startswith(b"retry: %d\n: runcast\n\nid: " % retry)


# --- resuming -------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["header", "query"])
async def test_a_watcher_goes_on_from_where_it_was(server: Server, name: Name, where: str) -> None:
    log = await server.log(name())
    await log.emit(*range(1, 10))
    target = f"/runs/{log.run_id}/events"
    for after in (0, 4, 9):
        position = f"{log.epoch}-{after}"
        headers = {"Last-Event-ID": position} if where == "header" else {}
        query = "" if where == "header" else f"?after={position}"
        async with server.watch(target + query, headers) as stream:
            for expected in range(after + 1, 10):
                assert (await stream.json())["seq"] == expected
            position = str(await log.emit(10))
            assert (await stream.event()).id == position
        await _cut_back(server, log)


async def _cut_back(server: Server, log: Log) -> None:
    """Begin the run anew with nine events."""
    again = await server.log(log.run_id, replace=True)
    log.epoch, log._writer = again.epoch, again._writer
    await log.emit(*range(1, 10))


@pytest.mark.parametrize(
    "spelling", ["lastEventId", "last-event-id", "last_event_id", "Last-Event-ID", "LASTEVENTID"]
)
async def test_polyfills_say_in_the_query_where_they_were(
    server: Server, name: Name, spelling: str
) -> None:
    """Source: event-source-polyfill and eventsource, which cannot always set the header."""
    log = await server.closed_log(name(), *range(1, 10))
    target = f"/runs/{log.run_id}/events?after={log.epoch}-2&{spelling}={log.epoch}-7"

    async with server.watch(target) as stream:
        assert (await stream.json())["seq"] == 8
    async with server.watch(target, {"Last-Event-ID": f"{log.epoch}-8"}) as stream:
        assert (await stream.json())["seq"] == 9


async def test_spellings_that_disagree_are_refused(server: Server, name: Name) -> None:
    log = await server.closed_log(name(), 1, 2, 3)
    target = f"/runs/{log.run_id}/events?lastEventId={log.epoch}-1&last_event_id={log.epoch}-"

    disagreeing = await server.fetch("GET", f"{target}2")
    agreeing = await server.fetch("GET", f"{target}1")

    assert disagreeing.problem() == (400, "invalid_value")
    assert agreeing.status == 200


async def test_what_a_browser_says_when_it_reconnects_is_stronger_than_the_url(
    server: Server, name: Name
) -> None:
    log = await server.closed_log(name(), *range(1, 10))
    target = f"/runs/{log.run_id}/events?after={log.epoch}-2"

    async with server.watch(target, {"Last-Event-ID": f"{log.epoch}-7"}) as stream:
        assert seqs(await stream.rest()) == [8, 9, 10]


async def test_whoever_has_the_terminal_event_is_told_not_to_come_back(
    server: Server, name: Name
) -> None:
    log = await server.closed_log(name(), 1)
    target = f"/runs/{log.run_id}/events"
    for method in ("GET", "HEAD"):
        answer = await server.fetch(method, target, {"Last-Event-ID": f"{log.epoch}-2"})
        assert (answer.status, answer.body) == (204, b"")

    before_it = await server.fetch("GET", target, {"Last-Event-ID": f"{log.epoch}-1"})
    assert b'"type":"done"' in before_it.body


async def test_resuming_at_every_event_gives_the_rest_and_nothing_else(
    server: Server, name: Name
) -> None:
    log = await server.closed_log(name(), *range(1, 20))
    target = f"/runs/{log.run_id}/events"
    whole = (await server.fetch("GET", target)).body.removeprefix(OPENING)
    frames = [frame + b"\n\n" for frame in whole.split(b"\n\n")[:-1]]

    for seq in range(20):
        rest = await server.fetch("GET", target, {"Last-Event-ID": f"{log.epoch}-{seq}"})
        assert rest.body.removeprefix(OPENING) == b"".join(frames[seq:])


async def test_head_never_streams(server: Server, name: Name) -> None:
    log = await server.log(name())
    await log.emit(1)
    for target in (
        f"/runs/{log.run_id}/events",
        f"/runs/{log.run_id}/events?live=false",
        f"/runs/{log.run_id}/events?live=long-poll&after={log.epoch}-1",
        f"/events?run={log.run_id}",
    ):
        async with await server.connect() as connection:
            await connection.ask("HEAD", server.prefix + target)
            answer = await connection.read_answer("HEAD")
            assert answer.status == 200
            # Nothing follows: the next answer is the next request's.
            await connection.ask("GET", server.prefix + "/healthz")
            assert (await connection.read_answer()).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("after=x", "after"),
        ("after=0123456789-01", "after"),
        ("after=0123456789--1", "after"),
        ("after=0123456789-99999999999999999999", "after"),
        ("after=012345678l-1", "after"),
        ("after=%00", "after"),
        ("dialect=x", "dialect"),
        ("live=x", "live"),
        ("view=x", "view"),
        ("types=" + ",".join(map(str, range(101))), "types"),
    ],
)
async def test_what_a_watcher_says_wrong_is_refused_by_name(
    server: Server, name: Name, query: str, names: str
) -> None:
    log = await server.log(name())

    answer = await server.fetch("GET", f"/runs/{log.run_id}/events?{query}")

    assert answer.problem() == (400, "invalid_value")
    assert names in answer.detail()


async def test_a_last_event_id_that_is_none_is_refused_by_name(server: Server, name: Name) -> None:
    log = await server.log(name())

    answer = await server.fetch("GET", f"/runs/{log.run_id}/events", {"Last-Event-ID": "17"})

    assert answer.problem() == (400, "invalid_value")
    assert "Last-Event-ID" in answer.detail()


# --- gaps -----------------------------------------------------------------------------------------


async def first_frame(stream: Watching) -> bytes:
    """Return the first frame after the opening, as it came."""
    event = await stream.event()
    assert event.event == "message"
    return stream.raw.removeprefix(OPENING).split(b"\n\n")[0]


async def test_a_watcher_of_a_run_that_began_anew_is_told_and_gets_all_of_the_new(
    server: Server, name: Name
) -> None:
    run_id = name()
    old = await server.log(run_id)
    await old.emit(1, 2)
    new = await server.log(run_id, replace=True)
    await new.emit(7)

    async with server.watch(
        f"/runs/{run_id}/events", {"Last-Event-ID": f"{old.epoch}-2"}
    ) as stream:
        frame = await first_frame(stream)
        event = await stream.json()

    assert frame.startswith(b"data: ")  # so without an id
    assert json.loads(frame[6:]) == {
        "type": "gap",
        "data": {"reason": "replaced", "before": f"{old.epoch}-2", "after": f"{new.epoch}-0"},
    }
    assert (event["seq"], event["data"]) == (1, {"n": 7})


async def test_a_watcher_is_told_while_it_watches_that_the_run_began_anew(
    server: Server, name: Name
) -> None:
    run_id = name()
    old = await server.log(run_id)
    await old.emit(1, 2)
    async with server.watch(f"/runs/{run_id}/events") as stream:
        assert [(await stream.json())["seq"] for _ in range(2)] == [1, 2]
        new = await server.log(run_id, replace=True)
        await new.emit(7)
        gap, event = await stream.event(), await stream.event()

    assert json.loads(gap.data)["data"]["reason"] == "replaced"
    assert gap.id == f"{old.epoch}-2"
    assert event.id == f"{new.epoch}-1"


async def test_a_watcher_is_told_what_retention_took(server: Server, name: Name) -> None:
    log = await server.log(name())
    await log.emit(*range(1, 10))
    await server.call(lambda: server.hub.hub.trim(log.run_id, 6, b"{}"))

    async with server.watch(
        f"/runs/{log.run_id}/events", {"Last-Event-ID": f"{log.epoch}-2"}
    ) as stream:
        gap = await first_frame(stream)
        event = await stream.event()

    assert json.loads(gap.removeprefix(b"data: "))["data"] == {
        "reason": "trimmed",
        "before": f"{log.epoch}-2",
        "after": f"{log.epoch}-5",
    }
    assert event.id == f"{log.epoch}-6"


@pytest.mark.parametrize("live", ["true", "false", "long-poll"])
async def test_a_watcher_that_is_ahead_of_the_log_is_told(
    server: Server, name: Name, live: str
) -> None:
    log = await server.log(name())
    await log.emit(1, 2)
    target = f"/runs/{log.run_id}/events?live={live}&after={log.epoch}-9"
    told = {"reason": "rewound", "before": f"{log.epoch}-9", "after": f"{log.epoch}-0"}

    if live == "long-poll":
        answer = (await server.fetch("GET", target)).json()
        assert answer["gap"] == told
        assert (answer["events"], answer["position"]) == ([], f"{log.epoch}-0")
        return
    async with server.watch(target) as stream:
        gap = await first_frame(stream)
        assert json.loads(gap.removeprefix(b"data: "))["data"] == told
        assert [(await stream.json())["seq"] for _ in range(2)] == [1, 2]
        if live == "true":
            await log.emit(3)
            assert (await stream.json())["seq"] == 3
        else:
            assert await stream.rest() == []


async def test_the_history_of_a_run_that_begins_anew_meanwhile_ends_all_the_same(
    server: Server, name: Name
) -> None:
    run_id = name()
    old = await server.log(run_id)
    await old.emit(*range(1, 50))
    new = await server.log(run_id, replace=True)
    await new.emit(7, 8)

    answer = await server.fetch("GET", f"/runs/{run_id}/events?live=false&after={old.epoch}-3")

    frames = answer.body.removeprefix(OPENING).split(b"\n\n")[:-1]
    assert b'"replaced"' in frames[0]
    assert [frame.split(b"\n")[0] for frame in frames[1:]] == [
        f"id: {new.epoch}-{seq}".encode() for seq in (1, 2)
    ]


async def test_deleting_a_run_ends_its_streams(server: Server, name: Name) -> None:
    log = await server.log(name())
    await log.emit(1)
    async with server.watch(f"/runs/{log.run_id}/events") as stream:
        await stream.event()
        await server.call(lambda: server.hub.hub.delete(log.run_id))

        assert await stream.rest() == []


# --- silence --------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", PROTOCOLS)
@pytest.mark.parametrize("form", ["text/event-stream", "application/x-ndjson"])
async def test_a_silent_stream_is_kept_alive(flavour: str, form: str) -> None:
    # The timer looks every quarter of the shorter setting, by the loop's clock: a hundredth of a
    # second. How long the silence was is read from the fake one.
    clock = FakeClock()
    settings = Settings(heartbeat_s=15.0, stall_s=0.04)
    beat = b": hb\n" if form == "text/event-stream" else b"\n"
    async with serving_here(flavour, settings=settings, clock=clock) as server:
        log = await server.log("run")
        await log.emit(1)
        async with server.watch("/runs/run/events", {"Accept": form}) as stream:
            await stream.read_until(b'"seq":1')
            before = stream.raw
            for expected in range(1, 4):
                clock.advance(15.0)
                await stream.read_until(before + expected * beat)
            await log.emit(2)
            await stream.read_until(b'"seq":2')

            assert stream.raw.startswith(before + 3 * beat)
            assert stream.raw[len(before + 3 * beat) :].startswith((b"id: ", b'{"seq":2'))


async def test_a_stream_that_is_not_silent_gets_no_heartbeat() -> None:
    clock = FakeClock()
    settings = Settings(heartbeat_s=15.0, stall_s=0.04)
    async with serving_here(settings=settings, clock=clock) as server:
        log = await server.log("run")
        async with (
            server.watch("/runs/run/events") as stream,
            server.watch("/runs/run/events") as other,
        ):
            for number in range(1, 6):
                clock.advance(8.0)
                seen = server.app.streams.now
                await server.eventually(lambda seen=seen: server.app.streams.now > seen)  # type: ignore[misc]
                await log.emit(number)
                await stream.read_until(b'"seq":%d' % number)
                await other.read_until(b'"seq":%d' % number)

    assert b": hb" not in stream.raw + other.raw


async def test_without_streams_no_timer_runs() -> None:
    async with serving_here(settings=Settings(heartbeat_s=0.04)) as server:
        log = await server.log("run")
        async with server.watch("/runs/run/events") as stream:
            await stream.read_until(b": hb\n")
        await server.eventually(lambda: len(server.app.streams) == 0)

        await server.eventually(lambda: server.app.streams._timer is None)
        async with server.watch("/runs/run/events") as stream:
            await stream.read_until(b": hb\n")  # and it starts again
        await log.end()


# --- the two ways to a socket ---------------------------------------------------------------------


async def test_http_1_0_gets_a_stream_that_ends_with_the_connection(here: Server) -> None:
    log = await here.closed_log("run", 1, 2)
    async with await here.connect() as connection:
        await connection.send(b"GET /runs/run/events HTTP/1.0\r\nHost: localhost\r\n\r\n")
        head = await connection.read_head()
        body = await connection.read_rest()

    assert head.status == 200
    # uvicorn's own way to end such a response differs between its two parsers.
    if head.headers.get("transfer-encoding") != "chunked":
        assert body.startswith(OPENING)
        assert body.endswith(b"\n\n")
    assert b"id: %b-3" % log.epoch.encode() in body


async def test_a_watcher_leaves_no_trace(here: Server) -> None:
    await here.log("run")
    for _ in range(3):
        async with here.watch("/runs/run/events"):
            await here.eventually(lambda: here.hub.hub.statistics().watchers == 1)
        await here.eventually(lambda: here.hub.hub.statistics().watchers == 0)
    await here.eventually(lambda: len(here.app.streams) == 0)

    assert here.hub.hub.statistics()[:3] == (0, 0, 0)


async def test_a_dialect_that_fails_ends_its_stream_and_no_other(
    here: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await here.log("run")

    def fail(*_: object) -> bytes:
        raise ZeroDivisionError

    async with (
        here.watch("/runs/run/events") as good,
        here.watch("/runs/run/events?dialect=task") as bad,
    ):
        await good.read_until(OPENING)
        await bad.read_until(OPENING)
        monkeypatch.setattr("runcast._wire.dialects.task.Task.encode", fail)
        await log.emit(1)

        assert await bad.rest() == []
        assert b"come back" in bad.raw
        assert (await good.json())["seq"] == 1
        await log.emit(2)
        assert (await good.json())["seq"] == 2
    assert "ZeroDivisionError" in caplog.text


async def test_the_position_of_a_stream_is_what_the_log_has(here: Server) -> None:
    log = await here.log("run")
    async with here.watch("/runs/run/events") as stream:
        position = await log.emit(*range(1, 200))
        while stream.last_event_id != str(position):
            await stream.event()

        info = await here.hub.hub.info("run")

    assert Position.parse(stream.last_event_id) == info.position


def test_the_application_tells_its_settings() -> None:
    hub = OpenHub(settings=Settings(heartbeat_s=1.0))
    assert HttpApp(hub).settings is hub.settings
    assert hub.settings.heartbeat_s == 1.0
