"""Whatever is asked of a store, in whatever order, it answers as the naive model does."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from runcast.errors import Gone, RuncastError
from runcast.events.lifecycle import STATUSES, Status
from runcast.events.model import encode_record
from runcast.events.position import Position, kind_of
from runcast.stores import producers
from runcast.stores.base import Append, Appended, LogInfo, Once, Owner, Producer, Store
from runcast.stores.memory import MemoryStore
from runcast.stores.sqlite import journal as sqlite_journal
from runcast.stores.sqlite import sweeping as sqlite_sweeping
from runcast.stores.sqlite import tables as sqlite_tables
from runcast.stores.sqlite import upkeep as sqlite_upkeep
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import FakeClock
from tests.stores import naive
from tests.stores.naive import NaiveStore

T = TypeVar("T")

Make = Callable[[Path, FakeClock], list[Store]]

BEGUN = ["a", "A", "b:1"]
LOG_IDS = st.sampled_from([*BEGUN * 3, "x" * 128, "delivery/a"])
KINDS = st.sampled_from(["run", "delivery", None])
ASKED_STATUS = st.none() | st.sampled_from(STATUSES)
OWNERS = st.sampled_from(["first", "second"])
LABELS = st.dictionaries(
    st.sampled_from(["status", "Status", 'o"d\\d']),
    st.sampled_from(["", "running", "Running", "done", 'o"d\nd']),
    max_size=3,
)
DECISIVE = st.builds(
    encode_record,
    st.sampled_from([*["started", "interrupt_request", "interrupt_resolved"] * 3, "log", "done"]),
    st.fixed_dictionaries({}, optional={"interrupt_id": st.sampled_from(["a", "b"])}),
    st.just(1.5),
)
RECORDS = st.lists(
    st.one_of(
        DECISIVE,
        st.integers(0, 9).map(lambda number: b'"n":%d' % number),
        st.integers(1, 3000).map(lambda size: b"x" * size),
        st.binary(max_size=20).map(lambda body: body.replace(b"\n", b"").replace(b"\r", b"")),
        st.sampled_from(
            [b"", b"id: 1", b"data: {", "\u2028\u0085".encode(), b"\x00"] * 4 + [b"\n"]
        ),
    ),
    max_size=8,
)


@dataclass(frozen=True)
class Asked:
    """An append, before it is known which epochs and fences there are."""

    log_id: str
    records: list[bytes]
    close: bool
    labels: dict[str, str] | None
    once: Once | None
    epoch: str
    """"", "present" or "past"."""
    fence: int | None
    """Difference to the present fence."""
    producer: tuple[str, int, bool] | None
    """Its id, the difference to the number that it sent last, and whether it is sent again."""
    attachment: bytes


ASKED = st.builds(
    Asked,
    log_id=LOG_IDS,
    records=RECORDS,
    close=st.sampled_from([False] * 30 + [True]),
    labels=st.none() | LABELS,
    once=st.none() | st.builds(Once, st.sampled_from("kKlm"), st.sampled_from(["", "d"])),
    epoch=st.sampled_from([""] * 4 + ["present"] * 3 + ["past"]),
    fence=st.sampled_from([None] * 4 + [0] * 4 + [-1, 1]),
    producer=st.none()
    | st.tuples(st.sampled_from("pqrs"), st.sampled_from([1] * 6 + [0, 0, -1, 2]), st.booleans()),
    attachment=st.sampled_from([b""] * 4 + [b"a", b"b" * 3000]),
)


class Comparison(RuleBasedStateMachine):
    """Asks a store and the model the same; with several stores on one data, one at random."""

    def __init__(self, make: Make, path: Path) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.runner = asyncio.Runner()
        self.model = NaiveStore(self.clock)
        self.past: dict[str, str] = {}
        self.stores = make(path, self.clock)

    @initialize()
    def open(self) -> None:
        for store in self.stores:
            self.run(store.open())
        for log_id in BEGUN:
            self.create(0, log_id, labels={"status": "running"}, ttl_s=5.0)

    def teardown(self) -> None:
        for store in self.stores:
            self.run(store.close())
        self.runner.close()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def outcome(self, call: Coroutine[Any, Any, T]) -> T | RuncastError:
        try:
            return self.run(call)
        except RuncastError as error:
            return error

    def both(
        self, which: int, ask: Callable[[Store], Coroutine[Any, Any, T]]
    ) -> tuple[T | RuncastError, T | RuncastError]:
        return self.outcome(ask(self.stores[which % len(self.stores)])), self.outcome(
            ask(self.model)
        )

    def same(self, which: int, ask: Callable[[Store], Coroutine[Any, Any, object]]) -> None:
        actual, expected = self.both(which, ask)
        if isinstance(expected, RuncastError):
            assert type(actual) is type(expected), (actual, expected)
            if isinstance(actual, Gone) and isinstance(expected, Gone):
                assert actual.reason == expected.reason
        else:
            assert actual == expected

    def create(self, which: int, log_id: str, **options: Any) -> None:
        old, kind, name = self.model.logs.get(log_id), kind_of(log_id), log_id.rpartition("/")[2]
        actual, expected = self.both(which, lambda store: store.create(name, kind=kind, **options))
        if isinstance(expected, RuncastError):
            assert type(actual) is type(expected), (actual, expected)
            return
        assert isinstance(actual, LogInfo)
        if old is not None:
            assert actual.epoch > old.info.epoch
            self.past[log_id] = old.info.epoch
        # Epochs hold chance; from here on the model goes by the store's.
        self.model.logs[log_id].info.epoch = expected.epoch = actual.epoch
        assert actual == expected

    @rule(
        which=st.integers(0, 1),
        log_id=LOG_IDS,
        replace=st.booleans(),
        owner_id=OWNERS | st.just(""),
        labels=st.none() | LABELS,
        ttl_s=st.none() | st.sampled_from([0.5, 5.0]),
    )
    def begin(self, **options: Any) -> None:
        self.create(**options)

    def commit(self, which: int, asked: list[Asked]) -> None:
        sent: dict[tuple[str, str], int] = {}
        group = [self.resolve(one, sent) for one in asked]
        actual, expected = self.both(which, lambda store: store.commit(group))
        assert isinstance(actual, list)
        assert isinstance(expected, list)
        for append, mine, theirs in zip(group, actual, expected, strict=True):
            if isinstance(theirs, RuncastError):
                assert type(mine) is type(theirs), (append, mine, theirs)
                assert getattr(mine, "expected", 0) == getattr(theirs, "expected", 0)
                continue
            assert isinstance(mine, Appended), (append, mine, theirs)
            assert replace(mine, pages=()) == replace(theirs, pages=())
            frames = [b"".join(page.frames for page in each.pages) for each in (mine, theirs)]
            assert frames[0] == frames[1]

    # Three times, so that it happens as often as a few of the others together.
    @rule(which=st.integers(0, 1), asked=st.lists(ASKED, min_size=1, max_size=6))
    def append(self, which: int, asked: list[Asked]) -> None:
        self.commit(which, asked)

    @rule(which=st.integers(0, 1), asked=st.lists(ASKED, min_size=1, max_size=6))
    def append_more(self, which: int, asked: list[Asked]) -> None:
        self.commit(which, asked)

    @rule(asked=st.lists(ASKED, min_size=1, max_size=3))
    def append_everywhere(self, asked: list[Asked]) -> None:
        for which in range(len(self.stores)):
            self.commit(which, asked)

    def resolve(self, asked: Asked, sent: dict[tuple[str, str], int]) -> Append:
        log = self.model.logs.get(asked.log_id)
        producer = None
        if asked.producer is not None:
            producer_id, step, retried = asked.producer
            made = log.producers.get(producer_id, []) if log else []
            last = sent.get((asked.log_id, producer_id), made[-1][0] if made else 0)
            number = sent[asked.log_id, producer_id] = max(1, last + step)
            producer = Producer(producer_id, number, retried)
        present, fence = (log.info.epoch, log.info.fence) if log else ("zzzzzzzzzz", 1)
        past = self.past.get(asked.log_id, "0000000000")
        return Append(
            asked.log_id,
            asked.records,
            epoch={"": "", "present": present, "past": past}[asked.epoch],
            close=asked.close,
            fence=None if asked.fence is None else fence + asked.fence,
            once=asked.once,
            labels=asked.labels,
            producer=producer,
            attachment=asked.attachment,
        )

    @rule(which=st.integers(0, 1), log_id=LOG_IDS)
    def attachment(self, which: int, log_id: str) -> None:
        actual, expected = self.both(which, lambda store: store.attachment(log_id))
        if isinstance(expected, RuncastError):
            assert type(actual) is type(expected)
        else:
            assert not isinstance(actual, RuncastError)
            assert actual[1] == expected[1]

    @rule(
        which=st.integers(0, 1),
        log_id=LOG_IDS,
        past=st.sampled_from([False] * 5 + [True]),
        seq=st.integers(0, 40),
        from_head=st.booleans(),
        max_bytes=st.sampled_from([1, 100, 5000, 256 * 1024]),
    )
    def read(
        self, which: int, log_id: str, past: bool, seq: int, from_head: bool, max_bytes: int
    ) -> None:
        log = self.model.logs.get(log_id)
        head, epoch = (log.info.head, log.info.epoch) if log else (0, "0000000000")
        after = Position(
            self.past.get(log_id, "0000000000") if past else epoch,
            max(0, head - seq) if from_head else seq,
        )
        actual, rest = self.both(
            which,
            lambda store: store.read(
                log_id, after, max_bytes if store is not self.model else 1 << 30
            ),
        )
        if isinstance(rest, RuncastError) or isinstance(actual, RuncastError):
            assert type(actual) is type(rest), (actual, rest)
            assert getattr(actual, "reason", "") == getattr(rest, "reason", "")
            return
        assert (actual.epoch, actual.first) == (rest.epoch, rest.first)
        assert actual.last <= rest.last
        frames = self.model.logs[log_id].frames[actual.first - 1 : actual.last]
        assert actual.frames == b"".join(frames)
        assert actual.closed == (rest.closed and actual.last == rest.last)
        assert len(frames) > 0 or rest.first > rest.last
        assert sum(map(len, frames[:-1])) <= max_bytes

    @rule(
        which=st.integers(0, 1),
        kind=KINDS,
        status=ASKED_STATUS,
        labels=LABELS,
        limit=st.sampled_from([1, 2, 50]),
    )
    def look(
        self,
        which: int,
        kind: str | None,
        status: Status | None,
        labels: dict[str, str],
        limit: int,
    ) -> None:
        """Compare everything there is to know."""
        for log_id in list(self.model.logs):
            self.same(which, lambda store, log_id=log_id: store.info(log_id))  # type: ignore[misc]
            self.same(which, lambda store, log_id=log_id: store.snapshot(log_id))  # type: ignore[misc]
        wanted: dict[str, Any] = {
            "kind": kind,
            "status": status,
            "labels": {name: value for name, value in labels.items() if value},
            "limit": limit,
        }
        self.same(which, lambda store: store.list())
        first, _ = self.both(which, lambda store: store.list(**wanted))
        self.same(which, lambda store: store.list(**wanted))
        if isinstance(first, list) and first:
            before = (first[-1].created_at, first[-1].log_id)
            self.same(which, lambda store: store.list(before=before, **wanted))
        self.same(which, lambda store: sorted_ids(store))
        self.same(which, lambda store: sorted_orphans(store))

    @rule(which=st.integers(0, 1), log_id=LOG_IDS, first=st.integers(-1, 40))
    def trim(self, which: int, log_id: str, first: int) -> None:
        self.same(which, lambda store: store.trim(log_id, first, b"state before %d" % first))

    @rule(which=st.integers(0, 1), log_id=LOG_IDS, is_sure=st.sampled_from([False] * 3 + [True]))
    def delete(self, which: int, log_id: str, is_sure: bool) -> None:
        if not is_sure:
            return  # else there would be little left to compare
        self.clock.advance(0.01)  # so that a log of the same name cannot get the same epoch
        self.same(which, lambda store: store.delete(log_id))
        self.clock.advance(0.01)

    @rule(which=st.integers(0, 1), owner_id=OWNERS, ttl_s=st.sampled_from([0.0, 1.0, 20.0]))
    def renew(self, which: int, owner_id: str, ttl_s: float) -> None:
        self.same(which, lambda store: store.renew(Owner(owner_id=owner_id), ttl_s))

    @rule(which=st.integers(0, 1), log_id=LOG_IDS, owner_id=OWNERS)
    def claim(self, which: int, log_id: str, owner_id: str) -> None:
        self.same(which, lambda store: store.claim(log_id, owner_id))

    @rule(seconds=st.sampled_from([0.001, 1.0, 10.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-30.0, -0.5, 0.5]))
    def jump(self, seconds: float) -> None:
        self.clock.jump(seconds)

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        store = self.stores[which % len(self.stores)]
        self.run(store.close())
        self.run(store.open())


async def sorted_ids(store: Store) -> list[str]:
    return sorted(await store.expired())


async def sorted_orphans(store: Store) -> list[LogInfo]:
    return sorted(await store.orphans(), key=lambda info: info.log_id)


def memory(path: Path, clock: FakeClock) -> list[Store]:
    return [MemoryStore(clock)]


def sqlite(path: Path, clock: FakeClock) -> list[Store]:
    return [SQLiteStore(f"{path}.db", clock)]


def two_sqlite(path: Path, clock: FakeClock) -> list[Store]:
    return [SQLiteStore(f"{path}.db", clock) for _ in range(2)]


def two_restless_sqlite(path: Path, clock: FakeClock) -> list[Store]:
    """Stores that do in every quiet moment what others do now and then."""
    return [SQLiteStore(f"{path}.db", clock, poll_s=0.0001) for _ in range(2)]


def compare(make: Make, directory: Path, examples: int, steps: int) -> None:
    paths = (directory / str(number) for number in itertools.count())

    class Machine(Comparison):
        def __init__(self) -> None:
            super().__init__(make, next(paths))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let checkpoints and segments come every few appends instead of every few megabytes."""
    monkeypatch.setattr(sqlite_journal, "CHECKPOINT_BYTES", 4000)
    monkeypatch.setattr(sqlite_tables, "SEGMENT_BYTES", 1500)
    monkeypatch.setattr(sqlite_sweeping, "_SWEEP_ROWS", 2)
    monkeypatch.setattr(sqlite_upkeep, "_SWEEP_S", 0.0)
    for module in (producers, naive):
        monkeypatch.setattr(module, "MAX_PRODUCERS", 3)
        monkeypatch.setattr(module, "MAX_APPENDS_TOGETHER", 2)


@pytest.mark.usefixtures("_small_steps")
@pytest.mark.parametrize("make", [memory, sqlite, two_sqlite])
def test_a_store_answers_as_the_model_does(make: Make, tmp_path: Path) -> None:
    compare(make, tmp_path, examples=25, steps=40)


@pytest.mark.heavy
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("_small_steps")
@pytest.mark.parametrize("make", [memory, sqlite, two_sqlite, two_restless_sqlite])
def test_a_store_answers_as_the_model_does_for_long(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_upkeep, "_QUIET_S", 0.0005)
    compare(make, tmp_path, examples=200, steps=80)
