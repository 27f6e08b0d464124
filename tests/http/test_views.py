"""Views over HTTP: what is asked for is what comes, in every form, and resuming changes nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runcast._app import OpenHub
from runcast._hub.watcher import Watch
from runcast._settings import Settings
from runcast._wire.dialects import DIALECTS, Dialect, LogRef
from runcast.events.model import Event, encode_record
from runcast.events.outcome import done
from runcast.events.position import Position
from runcast.events.view import Filter, Streaming, Verbosity, View, ViewSpec, ViewState
from runcast.stores.base import PAGE_BYTES, Page, Store
from runcast.stores.memory import MemoryStore
from tests.events.strategies import commits, specs
from tests.http.client import WAIT_S
from tests.http.serving import Log, Server, serving_here

pytestmark = pytest.mark.anyio

Name = Callable[[], str]

VIEWS: Final = {
    "quiet": ViewSpec(streaming=Streaming(nodes={"writing": False})),
    "pairs": ViewSpec(streaming=Streaming(enabled=False, batch_size=2)),
    "brief": ViewSpec(verbosity=Verbosity(level="minimal"), dedupe=False),
}

LOG: Final = (
    Event(type="step_start", data={"message": "go"}, node="research"),
    Event(type="content", data={"text": "a"}, node="research", agent="scout"),
    Event(type="content", data={"text": "b"}, node="writing", agent="writer"),
    Event(type="thinking", data={"text": "hm"}, node="research"),
    Event(type="content", data={"text": "c"}, node="writing", agent="writer"),
    Event(type="step_complete", data={"message": "ok"}, node="writing"),
    Event(type="progress", data={"percent": 50.0}),
)


@pytest.fixture(params=["direct-httptools", "plain-h11"])
async def viewing(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A server with named views and no default one, by each path that streams can take."""
    async with serving_here(request.param, views=VIEWS) as server:
        yield server


async def tell(server: Server, log: Log, events: Iterable[Event], *, at_once: bool = True) -> None:
    """Append events, in one commit or in one for each."""
    writer = server.hub.writer(log.run_id)
    for event in events:
        writer.emit_event(event)
        if not at_once:
            await writer.flush()
    await writer.flush()


async def told(server: Server, run_id: str, events: Iterable[Event] = LOG) -> Log:
    """Make a run that has ended."""
    log = await server.log(run_id)
    await tell(server, log, events)
    await log.end()
    return log


async def shown(server: Server, run_id: str, query: str) -> list[dict[str, Any]]:
    """Return the events that a watcher sees, up to the end."""
    async with server.watch(f"/runs/{run_id}/events?{query}") as watching:
        return [json.loads(event.data) for event in await watching.rest()]


def brief(events: Iterable[dict[str, Any]]) -> list[str]:
    """Return events as `seq type text`, those without `seq` as `type text`."""
    return [
        " ".join(
            filter(
                None,
                (
                    str(event.get("seq", "")),
                    event["type"],
                    (event["data"] or {}).get("text") or (event["data"] or {}).get("message"),
                ),
            )
        )
        for event in events
    ]


# --- which events ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("types=content", ["2 content a", "3 content b", "5 content c", "8 done"]),
        ("types=content_streaming", ["2 content a", "3 content b", "5 content c", "8 done"]),
        ("types=step_start&types=progress", ["1 step_start go", "7 progress", "8 done"]),
        ("types=content,progress&nodes=writing", ["3 content b", "5 content c", "7 progress"]),
        ("agents=scout&types=content", ["2 content a", "8 done"]),
        ("nodes=none&types=content", ["8 done"]),
        ("types=nothing.of.this", ["8 done"]),
        ("view=brief&types=thinking", ["4 thinking hm", "8 done"]),
        ("view=quiet&types=content,step_complete", ["2 content a", "6 node_complete bc", "8 done"]),
        ("view=pairs&types=content", ["5 content bc", "8 content a", "8 done"]),
    ],
)
async def test_a_watcher_gets_what_it_asked_for_and_the_end(
    viewing: Server, name: Name, query: str, expected: list[str]
) -> None:
    log = await told(viewing, name())

    found = brief(await shown(viewing, log.run_id, query))

    assert found == (expected if expected[-1] == "8 done" else [*expected, "8 done"])


async def test_events_that_name_no_place_pass_filters_by_place(viewing: Server, name: Name) -> None:
    log = await told(viewing, name())

    found = await shown(viewing, log.run_id, "nodes=writing&agents=writer")

    assert brief(found) == [
        *("3 content b", "5 content c", "6 step_complete ok", "7 progress", "8 done")
    ]


async def test_an_unknown_view_is_refused_and_the_known_ones_are_named(
    viewing: Server, name: Name
) -> None:
    log = await told(viewing, name())

    for path in (f"/runs/{log.run_id}/events", f"/runs/{log.run_id}/events?live=false"):
        more = "&" if "?" in path else "?"
        refused = await viewing.fetch("GET", f"{path}{more}view=loud")
        assert refused.problem() == (400, "invalid_value")
        assert "brief, none, pairs, quiet" in refused.detail()
    many = ",".join(f"t{number}" for number in range(101))
    assert (await viewing.fetch("GET", f"{path}&types={many}")).problem()[0] == 400


@pytest.mark.parametrize("wrong", ["Content", "content,%20thinking", "x" * 65])
async def test_a_type_that_no_event_can_have_is_refused(
    viewing: Server, name: Name, wrong: str
) -> None:
    log = await told(viewing, name())

    refused = await viewing.fetch("GET", f"/runs/{log.run_id}/events?types={wrong}")

    assert refused.problem() == (400, "invalid_value")
    assert "types" in refused.detail()


async def test_the_servers_default_view_is_for_all_who_ask_for_none(name: Name) -> None:
    views = {**VIEWS, "default": ViewSpec(messages=Filter(include=frozenset({"content"})))}
    async with serving_here(views=views) as server:
        log = await told(server, name())

        assert len(await shown(server, log.run_id, "")) == 4
        assert len(await shown(server, log.run_id, "view=default&nodes=research")) == 2
        assert len(await shown(server, log.run_id, "view=none")) == len(LOG) + 1
        assert brief(await shown(server, log.run_id, "view=none&types=progress"))[0] == "7 progress"
        assert len(await shown(server, log.run_id, "view=quiet")) == 6


async def test_a_run_is_invoked_and_watched_through_a_view(viewing: Server) -> None:
    body = json.dumps({"inputs": {"n": 3}}).encode()
    fields = {"Content-Type": "application/json"}
    target = "/invoke/count?types=started"

    async with viewing.watch(target, fields, method="POST", body=body) as watching:
        types = [json.loads(event.data)["type"] for event in await watching.rest()]

    assert types == ["started", "done"]


async def test_two_watchers_of_one_run_see_it_live_through_views_of_their_own(
    viewing: Server, name: Name
) -> None:
    log = await viewing.log(name())
    path = f"/runs/{log.run_id}/events"
    async with (
        viewing.watch(f"{path}?view=quiet") as quiet,
        viewing.watch(f"{path}?view=pairs") as pairs,
        viewing.watch(path) as plain,
    ):
        await tell(viewing, log, LOG, at_once=False)
        await log.end()
        seen = [
            brief(json.loads(event.data) for event in await watching.rest())
            for watching in (quiet, pairs, plain)
        ]

    assert seen[0] == [
        *("1 step_start go", "2 content a", "4 thinking hm", "6 node_complete bc"),
        *("7 progress", "8 done"),
    ]
    assert seen[1] == [
        *("1 step_start go", "5 content bc", "6 step_complete ok", "7 progress"),
        *("8 content a", "8 thinking hm", "8 done"),
    ]
    assert [line.split()[0] for line in seen[2]] == [str(seq) for seq in range(1, 9)]


# --- in every form --------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_every_dialect_shows_what_the_view_shows(
    viewing: Server, name: Name, dialect: str
) -> None:
    log = await told(viewing, name())

    path = f"/runs/{log.run_id}/events?view=quiet&types=content,step_complete&dialect={dialect}"
    async with viewing.watch(path) as watching:
        events = await watching.rest()

    ids = [event.id for event in events if event.id]
    assert list(dict.fromkeys(ids)) == [f"{log.epoch}-{seq}" for seq in (2, 6, 8)]
    texts = b"".join(event.data.encode() for event in events)
    assert b'"bc"' in texts
    assert b'"b"' not in texts


async def test_ndjson_and_pages_show_what_the_view_shows(viewing: Server, name: Name) -> None:
    log = await told(viewing, name())
    path = f"/runs/{log.run_id}/events?view=pairs&types=content"
    expected = ["5 content bc", "8 content a", "8 done"]

    lines = (await viewing.fetch("GET", path, {"Accept": "application/x-ndjson"})).body
    polled = (await viewing.fetch("GET", f"{path}&live=long-poll")).json()
    page = (await viewing.fetch("GET", f"{path}&live=false", {"Accept": "application/json"})).json()

    assert brief(map(json.loads, lines.splitlines())) == ["5 content bc", "content a", "8 done"]
    for found in (polled, page):
        assert brief(found["events"]) == expected
        assert (found["position"], found["closed"]) == (f"{log.epoch}-8", True)


async def test_pages_of_a_view_follow_each_other_without_loss(viewing: Server, name: Name) -> None:
    log = await viewing.log(name())
    path = f"/runs/{log.run_id}/events?view=pairs&types=content&live=long-poll"
    found, position = [], ""
    for event in LOG:
        await tell(viewing, log, [event])
        page = (await viewing.fetch("GET", f"{path}&after={position}")).json()
        found += page["events"]
        position = page["position"]
    await log.end()
    page = (await viewing.fetch("GET", f"{path}&after={position}")).json()

    assert brief([*found, *page["events"]]) == ["5 content bc", "8 content a", "8 done"]
    assert page["closed"]


async def test_a_stream_of_history_ends_at_the_head_also_where_the_view_shows_nothing(
    viewing: Server, name: Name
) -> None:
    log = await viewing.log(name())
    await tell(viewing, log, LOG)

    assert await shown(viewing, log.run_id, "live=false&types=nothing") == []
    assert brief(await shown(viewing, log.run_id, "live=false&types=progress")) == ["7 progress"]


# --- ids ------------------------------------------------------------------------------------------


async def test_of_the_frames_of_one_event_only_the_last_has_an_id(
    viewing: Server, name: Name
) -> None:
    log = await told(viewing, name())

    async with viewing.watch(f"/runs/{log.run_id}/events?view=pairs&types=content") as watching:
        frames = (await watching.read_all()).split(b"\n\n")[1:-1]

    has_id = [
        (frame.startswith(b"id: "), json.loads(frame.split(b"data: ")[1])) for frame in frames
    ]
    assert [(marked, event["seq"], event["type"]) for marked, event in has_id] == [
        (True, 5, "content"),
        (False, 8, "content"),
        (True, 8, "done"),
    ]
    assert has_id[0][1]["data"]["of"] == [3, 5]
    assert has_id[0][1]["time"] > 0


async def test_a_derived_event_bears_the_seq_of_its_trigger_and_what_it_stands_for(
    viewing: Server, name: Name
) -> None:
    log = await told(viewing, name())

    found = await shown(viewing, log.run_id, "view=quiet&nodes=writing&types=content,step_complete")

    assert found[0]["seq"] == 6
    assert found[0]["data"] == {"message": "bc", "aggregated": True, "of": [3, 5]}
    assert (found[0]["node"], found[0]["agent"]) == ("writing", "writer")


async def test_the_position_moves_past_what_is_left_out_for_long(
    viewing: Server, name: Name
) -> None:
    log = await viewing.log(name())
    async with viewing.watch(f"/runs/{log.run_id}/events?types=none") as watching:
        for number in range(10):
            await log.emit(*range(number, number + 20))
        await watching.read_until(f"id: {log.epoch}-200\n\n".encode())
        assert b"data:" not in watching.raw
        here = watching.last_event_id
        await log.end()
        assert [json.loads(event.data)["seq"] for event in await watching.rest()] == [201]

    assert here == f"{log.epoch}-200"


async def test_the_position_moves_past_what_is_left_out_behind_an_event_that_is_shown(
    viewing: Server, name: Name
) -> None:
    log = await viewing.log(name())
    events = [Event(type="content", data={"text": "a"}), *[Event(type="hidden")] * 150]
    async with viewing.watch(f"/runs/{log.run_id}/events?types=content") as watching:
        await tell(viewing, log, events)
        await watching.read_until(f"id: {log.epoch}-151\n\n".encode())

    answer = await viewing.fetch("GET", f"/runs/{log.run_id}/events?types=content&live=false")
    assert answer.body.endswith(f"\n\nid: {log.epoch}-151\n\n".encode())
    assert answer.body.count(b"data:") == 1


async def test_of_the_lines_of_one_event_only_the_last_has_its_seq(
    viewing: Server, name: Name
) -> None:
    """It is what a client builds its position from."""
    log = await told(viewing, name(), [*LOG[:3], Event(type="empty"), LOG[5]])
    path = f"/runs/{log.run_id}/events?view=pairs&types=content,empty"
    fields = {"Accept": "application/x-ndjson"}

    body = (await viewing.fetch("GET", path, fields)).body
    lines = [json.loads(line) for line in body.splitlines()]

    assert [(line.get("seq"), line["type"]) for line in lines] == [
        *((4, "empty"), (5, "content"), (None, "content"), (6, "done"))
    ]
    assert list(lines[0]) == ["seq", "time", "type", "data"]
    assert list(lines[2]) == ["time", "type", "data", "node", "agent"]
    assert lines[0]["data"] is None
    page = (await viewing.fetch("GET", f"{path}&live=long-poll")).json()
    assert page["events"][0] == lines[0]
    assert [event["seq"] for event in page["events"]] == [4, 5, 6, 6]


# --- what passes every view -----------------------------------------------------------------------


async def test_gaps_and_endings_pass_every_view_in_every_form(viewing: Server, name: Name) -> None:
    old = await told(viewing, name())
    new = await viewing.log(old.run_id, replace=True)
    await tell(viewing, new, LOG)
    await new.end()
    left = {"Last-Event-ID": f"{old.epoch}-3"}
    query = "view=quiet&types=nothing&nodes=nowhere&agents=nobody"

    for dialect in DIALECTS:
        path = f"/runs/{old.run_id}/events?{query}&dialect={dialect}"
        async with viewing.watch(path, left) as watching:
            events = await watching.rest()
        assert "replaced" in events[0].data
        assert [event.id for event in events if event.id][-1] == f"{new.epoch}-8"

    path = f"/runs/{old.run_id}/events?{query}"
    answer = await viewing.fetch("GET", path, {**left, "Accept": "application/x-ndjson"})
    assert [json.loads(line)["type"] for line in answer.body.splitlines()] == ["gap", "done"]
    page = (await viewing.fetch("GET", f"{path}&live=long-poll", left)).json()
    assert page["gap"]["reason"] == "replaced"


async def test_what_was_gathered_before_a_gap_does_not_reach_the_new_epoch(
    viewing: Server, name: Name
) -> None:
    old = await viewing.log(name())
    await tell(viewing, old, LOG[:3])
    async with viewing.watch(f"/runs/{old.run_id}/events?view=quiet&nodes=writing") as watching:
        await viewing.eventually(lambda: bool(viewing.hub.hub.rendered.computed))
        new = await viewing.log(old.run_id, replace=True)
        await tell(viewing, new, LOG[4:6])
        await new.end()
        events = [json.loads(event.data) for event in await watching.rest()]

    assert [event["type"] for event in events] == ["gap", "node_complete", "done"]
    assert events[1]["data"]["message"] == "c"
    assert events[1]["data"]["of"] == [1, 1]


async def test_what_retention_took_from_a_latecomer_is_not_taken_from_who_was_there(
    name: Name,
) -> None:
    piece, end = LOG[2], LOG[5]
    forgetful = Settings(tail_bytes_per_run=0)  # or the latecomer would get it all from memory
    async with serving_here(views=VIEWS, settings=forgetful) as server:
        log = await server.log(name())
        path = f"/runs/{log.run_id}/events?view=quiet&nodes=writing"
        async with server.watch(path) as there:
            await tell(server, log, [piece, piece, piece], at_once=False)
            await server.eventually(lambda: server.hub.hub.rendered.computed == 3)
            await server.call(lambda: server.hub.hub.trim(log.run_id, 3, b"{}"))
            async with server.watch(path) as late:
                await late.read_until(b'"trimmed"')
                await tell(server, log, [piece, end], at_once=False)
                await log.end()
                seen = [
                    [json.loads(event.data) for event in await each.rest()]
                    for each in (late, there)
                ]

    assert [event["type"] for event in seen[0]] == ["gap", "node_complete", "done"]
    assert [event["type"] for event in seen[1]] == ["node_complete", "done"]
    assert seen[0][1]["data"] == {"message": "bb", "aggregated": True, "of": [3, 4]}
    assert seen[1][0]["data"] == {"message": "bbbb", "aggregated": True, "of": [1, 4]}


async def test_whoever_is_ahead_of_a_log_gets_what_was_gathered_in_it(
    viewing: Server, name: Name
) -> None:
    log = await viewing.log(name())
    await tell(viewing, log, [LOG[2], LOG[4]])
    path = f"/runs/{log.run_id}/events?view=quiet&nodes=writing"
    async with viewing.watch(path, {"Last-Event-ID": f"{log.epoch}-9"}) as watching:
        await watching.read_until(b'"rewound"')
        await tell(viewing, log, [LOG[5]])
        await log.end()
        events = [json.loads(event.data) for event in await watching.rest()]

    assert [event["type"] for event in events] == ["gap", "node_complete", "done"]
    assert events[1]["data"] == {"message": "bc", "aggregated": True, "of": [1, 2]}


class Meanwhile(MemoryStore):
    """Something happens to a log just before it is read, once."""

    def __init__(self, act: Callable[[Store, str], Awaitable[object]]) -> None:
        super().__init__()
        self._act = act
        self.is_due = False

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        if self.is_due:
            self.is_due = False
            await self._act(self, log_id)
        return await super().read(log_id, after, max_bytes)


async def test_a_log_that_is_trimmed_while_a_watcher_is_let_in_is_looked_at_again(
    name: Name,
) -> None:
    store = Meanwhile(lambda store, log_id: store.trim(log_id, 3, b"{}"))
    async with serving_here(views=VIEWS, store=store) as server:
        log = await server.log(name())
        await tell(server, log, [LOG[1]] * 3)
        await log.end()
        store.is_due = True
        answer = await server.fetch(
            "GET", f"/runs/{log.run_id}/events?view=pairs&after={log.epoch}-3&live=long-poll"
        )

        assert answer.status == 200
        assert brief(answer.json()["events"]) == ["4 content a", "4 done"]
        assert answer.json()["events"][0]["data"]["of"] == [3, 3]


async def test_a_run_that_is_restarted_while_a_watcher_is_let_in_is_a_gap(name: Name) -> None:
    store = Meanwhile(lambda store, log_id: store.create(log_id, replace=True))
    async with serving_here(views=VIEWS, store=store) as server:
        log = await server.log(name())
        await tell(server, log, [LOG[1]] * 3)
        store.is_due = True
        answer = await server.fetch(
            "GET", f"/runs/{log.run_id}/events?view=pairs&after={log.epoch}-2&live=long-poll"
        )

        assert answer.status == 200
        assert answer.json()["gap"]["reason"] == "replaced"


# --- cost -----------------------------------------------------------------------------------------


async def test_a_view_is_computed_and_encoded_once_for_all_its_watchers(
    viewing: Server, name: Name
) -> None:
    log = await viewing.log(name())
    hub = viewing.hub.hub
    path = f"/runs/{log.run_id}/events?view=quiet&dialect=flat"
    watching = [viewing.watch(path) for _ in range(20)]
    opened = [await each.__aenter__() for each in watching]
    try:
        computed = hub.rendered.computed
        await tell(viewing, log, LOG, at_once=False)
        await log.end()
        bodies = [await each.read_all() for each in opened]
    finally:
        for each in watching:
            await each.__aexit__(None, None, None)

    assert len(set(bodies)) == 1
    assert hub.rendered.computed - computed == len(LOG) + 1


async def test_whoever_resumes_late_in_a_long_log_does_not_have_all_of_it_computed_again(
    viewing: Server, name: Name
) -> None:
    log = await viewing.log(name())
    await tell(viewing, log, LOG * 200)
    path = f"/runs/{log.run_id}/events?view=quiet&live=false"
    for _ in range(2):
        before = viewing.hub.hub.rendered.computed
        await viewing.fetch("GET", f"{path}&after={log.epoch}-1395")

    assert viewing.hub.hub.rendered.computed == before


# --- resuming -------------------------------------------------------------------------------------


class Seen:
    """What a watcher saw, frame by frame."""

    def __init__(self, raw: bytes) -> None:
        self.frames: list[bytes] = []
        """Of events; without their ids, and without what closes a connection."""
        self.cuts: list[tuple[str, int]] = []
        """Each id, and how many frames had come when it did."""
        for frame in raw.split(b"\n\n"):
            fields = frame.split(b"\n")
            data = [line for line in fields if line.startswith((b"data: ", b"event: "))]
            if data and b'"connection_end"' not in frame:
                self.frames.append(b"\n".join(data))
            self.cuts += [
                (line[4:].decode(), len(self.frames)) for line in fields if line[:4] == b"id: "
            ]


@asynccontextmanager
async def filled(
    log: list[list[Event]], ends: bool
) -> AsyncIterator[tuple[OpenHub, Callable[[View, Dialect, Position | None], Any]]]:
    """Give a hub with the log `r`, and what watches it through a view, from a position."""
    async with asyncio.timeout(WAIT_S), OpenHub() as hub:
        inlet = await hub.hub.create("r")
        writer = hub.writer("r")

        async def watched(view: View, dialect: Dialect, after: Position | None) -> bytes:
            with Watch[bytes]() as watch:
                watch.source = lens = await hub.hub.frames("r", after, dialect=dialect, view=view)
                lens.cursor.stop_at_head()
                return b"".join([data async for data in watch])

        # Somebody watches, so that the newest events are in memory, in pages as they came.
        with await hub.hub.cursor("r"):
            for commit in log:
                for event in commit:
                    if event.type == "started":
                        await inlet.append([encode_record("started", event.data, 1.0)])
                    else:
                        writer.emit_event(event)
                await writer.flush()
            if ends:
                await hub.hub.owned.add(inlet).end(done())
            yield hub, watched


@given(
    log=commits,
    spec=specs,
    ends=st.booleans(),
    dialect=st.sampled_from(sorted(DIALECTS)),
    forgets=st.booleans(),
)
@settings(max_examples=150)
def test_cut_behind_any_id_a_watcher_who_resumes_sees_what_follows_it(
    log: list[list[Event]], spec: ViewSpec, ends: bool, dialect: str, forgets: bool
) -> None:
    async def check() -> None:
        async with filled(log, ends) as (hub, watched):
            view = View(spec)
            whole = Seen(await watched(view, DIALECTS[dialect], None))
            for token, count in whole.cuts:
                if forgets:
                    hub.hub.rendered.forget("r")
                rest = Seen(await watched(view, DIALECTS[dialect], Position.parse(token)))
                assert whole.frames[:count] + rest.frames == whole.frames

    asyncio.run(check())


@given(log=commits, spec=specs)
@settings(max_examples=50)
def test_every_event_that_shows_anything_moves_the_cursor(
    log: list[list[Event]], spec: ViewSpec
) -> None:
    """Otherwise whoever comes back gets frames of it once more."""

    async def check() -> None:
        async with filled(log, ends=True) as (hub, watched):
            view = View(spec)
            stored = [event async for event in hub.watch("r")]
            for dialect in DIALECTS.values():
                stream, state = LogRef("r", stored[0].type), ViewState()
                showing = [
                    event.seq
                    for event in stored
                    if any(map(dialect.start(stream).feed, view.step(state, event)))
                ]
                seen = Seen(await watched(view, dialect, None))
                assert [Position.parse(token).seq for token, _ in seen.cuts] == showing

    asyncio.run(check())


@given(log=commits, spec=specs, flavour=st.sampled_from(["direct-httptools", "plain-h11"]))
@settings(max_examples=10)
def test_over_http_a_cut_behind_any_id_changes_nothing(
    log: list[list[Event]], spec: ViewSpec, flavour: str
) -> None:
    async def check() -> None:
        async with serving_here(flavour, views={"v": spec}) as server:
            made = await server.log("r")
            path = "/runs/r/events?view=v"
            async with server.watch(path) as live:
                for commit in log:
                    await tell(server, made, [e for e in commit if e.type != "started"])
                await made.end()
                whole = Seen(await live.read_all())
            for token, count in whole.cuts:
                # The one that is cut leaves behind this id, in the middle of what follows.
                async with server.watch(path) as left:
                    await left.read_until(f"id: {token}\n".encode())
                again = await server.fetch("GET", path, {"Last-Event-ID": token})
                rest = Seen(again.body)
                assert whole.frames[:count] + rest.frames == whole.frames

    asyncio.run(check())


@given(log=commits, spec=specs, flavour=st.sampled_from(["direct-httptools", "plain-h11"]))
@settings(max_examples=10)
def test_over_http_whoever_resumes_at_any_position_sees_what_the_uninterrupted_one_saw(
    log: list[list[Event]], spec: ViewSpec, flavour: str
) -> None:
    """Also in the middle of a node that is told as one message, and where nothing was shown."""

    async def check() -> None:
        async with serving_here(flavour, views={"v": spec}) as server:
            made = await server.log("r")
            path = "/runs/r/events?view=v"
            async with server.watch(path) as live:
                for commit in log:
                    await tell(server, made, [e for e in commit if e.type != "started"])
                await made.end()
                whole = [json.loads(event.data) for event in await live.rest()]
            for seq in range(whole[-1]["seq"]):
                expected = [event for event in whole if event["seq"] > seq]
                after = {"Last-Event-ID": f"{made.epoch}-{seq}"}
                async with server.watch(path, after) as resumed:
                    assert [json.loads(event.data) for event in await resumed.rest()] == expected
                page = (await server.fetch("GET", f"{path}&live=long-poll", after)).json()
                assert page["events"] == expected[: len(page["events"])]
                assert page["closed"] == (page["events"] == expected)

    asyncio.run(check())
