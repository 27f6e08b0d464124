"""All runs of a thread as one watcher gets them: each event once, in order, whatever happens."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runcast._hub import changes as list_changes
from runcast._hub import thread_place
from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet
from runcast._hub.thread_place import Part, RunLabels, ThreadPlace
from runcast._hub.watcher import Watch
from runcast.errors import InvalidValue
from runcast.events.model import encode_record
from runcast.stores import changes as recent_changes
from runcast.stores.base import Store
from runcast.stores.memory import MemoryStore
from runcast.stores.redis.store import RedisStore
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock
from tests.opening import soon
from tests.stores.servers import namespace_url

pytestmark = pytest.mark.anyio

THREAD = {"thread": "t"}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_changes, "_PAUSE_S", 0.0)


@dataclass
class Client:
    """What a client knows that takes every part, and comes back with its last place."""

    hub: Hub
    place: str = ""
    seen: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """Epoch and `seq` of the events of each run, in the order in which they came."""
    gaps: list[tuple[str, str]] = field(default_factory=list)
    """Run and reason."""
    notices: list[tuple[str, str]] = field(default_factory=list)
    watch: Watch[Part] | None = None

    def connect(self) -> Watch[Part]:
        self.leave()
        watch = self.watch = Watch[Part]()
        after = ThreadPlace.parse(self.place) if self.place else None
        watch.source = self.hub.thread(RunLabels(THREAD), after, wake=watch.wake)
        return watch

    def leave(self) -> None:
        if self.watch is not None:
            self.watch.close()
        self.watch = None

    async def take(self) -> Part:
        watch = self.watch or self.connect()
        part = await watch.next()
        assert part is not None
        self.use(part)
        return part

    def use(self, part: Part, events: int | None = None) -> None:
        """Use a part, or only its first events: the connection is lost after them."""
        chunk = part.chunk
        if chunk is None:
            self.notices.append((part.notice, part.run_id))
            if part.notice == "gap":
                self.seen.clear()
            self.place = part.tail or self.place
            return
        if chunk.gap is not None:
            self.gaps.append((part.run_id, chunk.gap.reason))
            return
        page = chunk.page
        assert page is not None
        for seq in range(page.first, page.last + 1)[:events]:
            self.seen.setdefault(part.run_id, []).append((page.epoch, seq))
            self.place = f"{part.head}{page.epoch}-{seq}{part.tail}"

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await soon(self.take())


async def begin(hub: Hub, run_id: str, *, replace: bool = False) -> Inlet:
    return await hub.create(run_id, labels=THREAD, replace=replace)


async def emit(inlet: Inlet, *, close: bool = False) -> tuple[str, int]:
    kind = "done" if close else "log"
    appended = await inlet.append([encode_record(kind, {}, 1.0)], close=close)
    return appended.epoch, appended.last


async def test_runs_that_begin_later_are_followed_from_their_first_event(store: Store) -> None:
    async with Hub(store) as hub:
        client = Client(hub)
        await client.until(lambda: client.notices == [("moved", "")])
        await hub.create("other", labels={"thread": "u"})
        a = await begin(hub, "a")
        expected = [await emit(a), await emit(a)]
        await client.until(lambda: client.seen.get("a") == expected)
        expected.append(await emit(a, close=True))
        b = await begin(hub, "b")
        first = await emit(b)
        await client.until(lambda: client.seen == {"a": expected, "b": [first]})
        client.leave()


async def test_a_run_that_has_ended_leaves_the_place(store: Store) -> None:
    async with Hub(store) as hub:
        client = Client(hub)
        a, b = await begin(hub, "a"), await begin(hub, "b")
        await emit(a, close=True)
        await client.until(lambda: "a" in client.seen)
        while "a=" in client.place:
            await emit(b)
            await soon(client.take())
        for _ in range(2):  # it does not come again
            client.connect()
            last = await emit(b)
            while client.seen["b"][-1] != last:
                await soon(client.take())
        assert client.seen["a"] == [(a.epoch, 1)]
        client.leave()


async def test_a_deleted_run_is_a_notice(store: Store) -> None:
    async with Hub(store) as hub:
        client = Client(hub)
        a = await begin(hub, "a")
        await emit(a)
        await client.until(lambda: "a" in client.seen)
        await hub.delete("a")
        await client.until(lambda: ("deleted", "a") in client.notices)
        await emit(await begin(hub, "b"))
        await client.until(lambda: "b" in client.seen)
        assert "a=" not in client.place
        client.leave()


async def test_a_run_whose_labels_do_not_match_any_more_is_left(store: Store) -> None:
    async with Hub(store) as hub:
        client = Client(hub)
        a = await begin(hub, "a")
        await emit(a)
        await client.until(lambda: "a" in client.seen)
        await a.append(labels={"thread": "u"})
        await client.until(lambda: ("left", "a") in client.notices)
        await emit(a)
        await emit(await begin(hub, "b"))
        await client.until(lambda: "b" in client.seen)
        assert client.seen["a"] == [(a.epoch, 1)]
        client.leave()


async def test_the_next_epoch_is_shown_only_if_its_labels_match(store: Store) -> None:
    async with Hub(store) as hub:
        client = Client(hub)
        a, b = await begin(hub, "a"), await begin(hub, "b")
        for each in (a, b):
            await emit(each)
        await client.until(lambda: set(client.seen) == {"a", "b"})
        theirs = await hub.create("a", labels={"thread": "theirs"}, replace=True)
        ours = await begin(hub, "b", replace=True)
        await emit(theirs)
        expected = [*client.seen["b"], await emit(ours)]
        await client.until(lambda: client.seen["b"] == expected)
        assert client.gaps == [("b", "replaced")]
        assert ("left", "a") in client.notices
        assert client.seen["a"] == [(a.epoch, 1)]
        client.leave()


async def test_a_place_that_names_the_runs_of_others_shows_nothing_of_them(store: Store) -> None:
    async with Hub(store) as hub:
        theirs = await hub.create("theirs", labels={"thread": "u"})
        await emit(theirs)
        client = Client(hub)
        await soon(client.take())
        point = ThreadPlace.parse(client.place).point
        client.place = f"{point};theirs={theirs.epoch}-0,missing={theirs.epoch}-0"
        client.connect()
        await emit(await begin(hub, "a"))
        await client.until(lambda: "a" in client.seen)
        assert client.notices[-2:] == [("left", "theirs"), ("left", "missing")]
        assert "theirs" not in client.seen
        client.leave()


async def test_the_newest_runs_come_first_and_older_ones_are_named(store: Store) -> None:
    async with Hub(store) as hub:
        inlets = [await begin(hub, f"r{number:02}") for number in range(40)]
        for inlet in inlets:
            await emit(inlet, close=True)
        client = Client(hub)
        await client.until(lambda: len(client.seen) == 32)
        oldest = min(client.seen)
        earlier = [part for part in client.notices if part[0] == "earlier"]
        assert (oldest, earlier) == ("r08", [("earlier", "")])
        client.leave()


async def test_beyond_the_bound_a_run_is_named_and_followed_once_there_is_room(
    store: Store,
) -> None:
    async with Hub(store) as hub:
        client = Client(hub)
        await soon(client.take())
        inlets = [await begin(hub, f"r{number:02}") for number in range(33)]
        for inlet in inlets:
            await emit(inlet)
        await client.until(lambda: ("left_out", "r32") in client.notices and len(client.seen) == 32)
        assert "r32" not in client.seen
        await emit(inlets[0], close=True)
        await client.until(lambda: len(client.seen["r00"]) == 2)
        while "r00=" in client.place:
            await emit(inlets[1])
            await soon(client.take())
        await emit(inlets[32], close=True)
        await client.until(lambda: len(client.seen.get("r32", ())) == 2)
        client.leave()


async def test_many_runs_that_ended_meanwhile_all_come(store: Store) -> None:
    async with Hub(store) as hub:
        client = Client(hub)
        await soon(client.take())
        client.leave()
        for number in range(100):
            await emit(await begin(hub, f"r{number:03}"), close=True)
        client.connect()
        await client.until(lambda: len(client.seen) == 100)
        assert all(len(seen) == 1 for seen in client.seen.values())
        client.leave()


async def test_lost_changes_are_reported_and_everything_begins_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Hub(store) as hub:
        a = await begin(hub, "a")
        first = await emit(a)
        client = Client(hub)
        await client.until(lambda: "a" in client.seen)
        client.leave()
        monkeypatch.setattr(recent_changes, "MAX_CHANGES", 2)
        for number in range(4):
            await hub.create(f"other-{number}")
        client.connect()
        await client.until(lambda: ("gap", "") in client.notices and "a" in client.seen)
        assert client.seen == {"a": [first]}
        client.leave()


async def test_runs_of_another_process_are_followed(tmp_path: Path, clock: FakeClock) -> None:
    path = f"{tmp_path}/runs.db"
    async with Hub(SQLiteStore(path, clock)) as here, Hub(SQLiteStore(path, clock)) as there:
        client = Client(here)
        await soon(client.take())
        a = await begin(there, "a")
        expected = [await emit(a), await emit(a)]
        await client.until(lambda: client.seen.get("a") == expected)
        expected.append(await emit(a, close=True))
        await client.until(lambda: client.seen["a"] == expected)
        other = Client(there, client.place)  # and its place is good at the other one
        again = await begin(here, "a", replace=True)
        first = await emit(again)
        await other.until(lambda: first in other.seen.get("a", ()))
        await client.until(lambda: client.seen["a"] == [*expected, first])
        await there.delete("a")
        await client.until(lambda: ("deleted", "a") in client.notices)
        await other.until(lambda: ("deleted", "a") in other.notices)
        assert other.seen["a"] == [first]
        client.leave()
        other.leave()


@pytest.mark.parametrize(
    "text",
    ["x;a", "x;a=", "x;a=b", "x;a=01hq3v5k2m-7?", "x;access/revoked=01hq3v5k2m-7", "x;,"],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        ThreadPlace.parse(text)


def test_a_place_may_name_no_more_runs_than_are_followed() -> None:
    most = thread_place.MAX_OPEN + thread_place.MAX_ENDED
    names = [f"r{number}=01hq3v5k2m-7" for number in range(most + 1)]
    assert len(ThreadPlace.parse(f"x;{','.join(names[:-1])}").runs) == most
    with pytest.raises(InvalidValue, match=str(most)):
        ThreadPlace.parse(f"x;{','.join(names)}")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["begin", "emit", "emit", "emit", "end", "delete", "restart", "take", "take", "cut"]
        ),
        st.integers(0, 3),
    ),
    max_size=60,
)


@given(STEPS)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_each_event_comes_once_and_in_order_whatever_happens(
    steps: list[tuple[str, int]],
) -> None:
    """Four runs begin, end, are deleted and begin again, while a client takes and reconnects."""
    async with Hub(MemoryStore()) as hub:
        await _wander(steps, hub, hub)


@pytest.mark.heavy
async def test_each_event_comes_once_from_another_machine() -> None:
    """The same on a server of Redis' kind, to which one hub writes and from which one reads."""
    chosen = random.Random(7)
    kinds = ["begin", "restart", "emit", "emit", "emit", "end", "delete", "take", "take", "cut"]
    for _ in range(25):
        url = namespace_url("valkey")
        steps = [(chosen.choice(kinds), chosen.randrange(4)) for _ in range(50)]
        async with Hub(RedisStore(url)) as hub, Hub(RedisStore(url)) as writer:
            await _wander(steps, hub, writer)


async def _wander(steps: list[tuple[str, int]], hub: Hub, writer: Hub) -> None:
    """Write by one hub and watch by another, in steps; check what the client has got."""
    client = Client(hub)
    client.connect()
    inlets: dict[str, Inlet] = {}
    closed: set[str] = set()
    written: dict[str, list[tuple[str, int]]] = {}
    for step, number in steps:
        run_id = f"r{number}"
        inlet = inlets.get(run_id)
        match step:
            case "begin" if inlet is None:
                inlets[run_id] = await begin(writer, run_id)
            case "restart" if inlet is not None:
                inlets[run_id] = await begin(writer, run_id, replace=True)
                closed.discard(run_id)
            case "emit" | "end" if inlet is not None and run_id not in closed:
                event = await emit(inlet, close=step == "end")
                written.setdefault(run_id, []).append(event)
                if step == "end":
                    closed.add(run_id)
            case "delete" if inlet is not None:
                await writer.delete(run_id)
                del inlets[run_id]
                closed.discard(run_id)
            case "take":
                await _take_what_there_is(client, number)
            case "cut":
                client.connect()
    written["mark"] = await _take_all(client, writer)

    for run_id, seen in client.seen.items():
        assert seen == sorted(set(seen)), f"{run_id}: each event once, in order"
        assert set(seen) <= set(written.get(run_id, ())), run_id
    # What the logs hold now has come without a hole; what was replaced or deleted may be cut.
    for run_id, inlet in inlets.items():
        now = [event for event in written.get(run_id, ()) if event[0] == inlet.epoch]
        assert [e for e in client.seen.get(run_id, ()) if e[0] == inlet.epoch] == now
    for run_id, seen in client.seen.items():
        _check_lost(client, run_id, seen, written[run_id])


def _check_lost(
    client: Client, run_id: str, seen: list[tuple[str, int]], written: list[tuple[str, int]]
) -> None:
    """Check that what did not come, of an epoch that the client had begun, was reported."""
    reported = any(gap[0] == run_id for gap in client.gaps)
    reported = reported or not {("deleted", run_id), ("left", run_id)}.isdisjoint(client.notices)
    lost = {epoch for epoch, _ in seen} & {event[0] for event in set(written) - set(seen)}
    assert reported or not lost, run_id


async def _take_what_there_is(client: Client, events: int) -> None:
    """Take a part if there is one at once, and lose the connection after some of its events."""
    taking = asyncio.ensure_future((client.watch or client.connect()).next())
    for _ in range(30):
        await asyncio.sleep(0)
    if not taking.done():
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        return
    part = taking.result()
    assert part is not None
    if part.chunk is not None and part.chunk.page is not None and events:
        client.use(part, events)
        client.connect()
    else:
        client.use(part)


async def _take_all(client: Client, hub: Hub) -> list[tuple[str, int]]:
    """Take everything: a last run marks the end."""
    client.connect()
    mark = await emit(await begin(hub, "mark"))
    await client.until(lambda: client.seen.get("mark") == [mark])
    # Runs are polled by turn, so others may still have something.
    again = await emit(hub.inlet("mark"), close=True)
    await client.until(lambda: again in client.seen["mark"])
    source = client.watch.source if client.watch is not None else None
    while source is not None and not source.is_current:
        async with asyncio.timeout(5):
            await client.take()
    client.leave()
    return [mark, again]
