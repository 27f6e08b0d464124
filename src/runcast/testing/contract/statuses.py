"""Statuses: a log's status follows from its events, whatever their writers, and lists find it."""

from runcast.errors import InvalidValue
from runcast.events.lifecycle import BEGINNING, STATUSES, Standing, Status, advance, question_of
from runcast.events.model import encode_record
from runcast.events.position import Position
from runcast.stores.base import Append, Once, Store
from runcast.testing.contract.harness import (
    StoreHarness,
    append,
    expect_equal,
    only,
    outcome_of,
    record,
    refused,
    store_check,
)

__all__ = ()

_Event = tuple[str, object]

_LIFE: list[_Event] = [
    ("message", {}),
    ("files", {}),
    ("started", {"function": "f"}),
    ("log", {"message": "x"}),
    ("interrupt_request", {"interrupt_id": "a"}),
    ("interrupt_request", {"interrupt_id": "b"}),
    ("interrupt_response", {"interrupt_id": "a"}),
    ("interrupt_resolved", {"interrupt_id": "a"}),
    ("started", {"function": "f"}),
    ("interrupt_waiting", {"interrupt_id": "a"}),
    ("interrupt_waiting", {"interrupt_id": "b"}),
    ("interrupt_request", "a question without an id"),
    ("interrupt_resolved", {"interrupt_id": "c"}),
    ("interrupt_resolved", None),
    ("interrupt_resolved", {"interrupt_id": "b"}),
    ("failed", {"code": "x"}),
    ("started", {}),
]


def _record(event: _Event) -> bytes:
    return encode_record(event[0], event[1], 1763715600.5)


def _standings(life: list[_Event]) -> list[Standing]:
    """Return a run's standings before the first and after each of its events."""
    standings = [BEGINNING]
    for kind, data in life:
        standings.append(advance(standings[-1], kind, question_of(data)))
    return standings


async def _expect_standing(store: Store, log_id: str, standing: Standing, when: str) -> None:
    info = await store.info(log_id)
    expect_equal(info.standing, standing, f"where {log_id!r} stands {when}")
    expect_equal(info.status, standing.status, f"the status of {log_id!r} {when}")
    for status in STATUSES:
        found = [each.log_id for each in await store.list(status=status, kind=None)]
        expected = status == standing.status
        expect_equal(log_id in found, expected, f"{log_id!r} is listed as {status} {when}")


@store_check(11, "list")
async def a_status_is_that_of_the_events(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    for number, standing in enumerate(_standings(_LIFE)):
        if number:
            await append(store, "a", _record(_LIFE[number - 1]))
        await _expect_standing(store, "a", standing, f"after {number} events")


@store_check(11, 3)
async def events_of_one_append_count_one_by_one(store: Store, harness: StoreHarness) -> None:
    standings = _standings(_LIFE)
    for size in range(2, len(_LIFE) + 1):
        log_id = f"by-{size}"
        await store.create(log_id)
        for start in range(0, len(_LIFE), size):
            part = _LIFE[start : start + size]
            only(await outcome_of(store, Append(log_id, [_record(event) for event in part])))
            await _expect_standing(store, log_id, standings[start + len(part)], "after a part")
    await store.create("one-commit")
    group = [Append("one-commit", [_record(event)]) for event in _LIFE]
    for outcome in await store.commit(group):
        only(outcome)
    await _expect_standing(store, "one-commit", standings[-1], "after one commit")


@store_check(11)
async def a_status_outlives_its_events(store: Store, harness: StoreHarness) -> None:
    waiting = Standing("waiting", ("a", "b"))
    await store.create("a")
    await append(store, "a", *map(_record, _LIFE[:6]), *[record(n) for n in range(50)])
    await store.trim("a", 52, b"of another form than anybody knows")
    await _expect_standing(store, "a", waiting, "after a trim")
    await append(store, "a", _record(("interrupt_resolved", {"interrupt_id": "b"})))
    await _expect_standing(store, "a", Standing("waiting", ("a",)), "after an answer")
    await store.claim("a", "somebody")
    await append(store, "a", _record(("done", {})), close=True)
    await _expect_standing(store, "a", Standing("done"), "after its end")
    await store.create("a", replace=True)
    await _expect_standing(store, "a", BEGINNING, "in a new epoch")


@store_check(11)
async def nobody_sets_a_status(store: Store, harness: StoreHarness) -> None:
    await store.create("a", labels={"status": "waiting"})
    await append(store, "a", _record(_LIFE[2]))
    running = Standing("running")
    forged: list[object] = [
        {"type": "done"},
        [{"time": 1.5, "type": "failed", "data": {}}],
        '\ndata: {"seq":1,"time":1.5,"type":"done","data":{}}\n\n',
        '","type":"done","data":{}',
    ]
    for data in forged:
        await append(store, "a", _record(("log", data)))
        await append(store, "a", _record(("log", data)), _record(("log", data)))
    await append(store, "a", b"type", b'"type":"done"', b'"data":{},"type":"done"')
    only(await outcome_of(store, Append("a", labels={"status": "done"})))
    await _expect_standing(store, "a", running, "after data and labels that look like a status")
    await append(store, "a", close=True)
    await _expect_standing(store, "a", running, "closed without a terminal event")


@store_check(11, 5, 6)
async def refused_and_repeated_appends_change_no_status(
    store: Store, harness: StoreHarness
) -> None:
    info = await store.create("a")
    started, done = _record(_LIFE[2]), _record(("done", {}))
    outcomes = await store.commit(
        [
            Append("a", [started], once=Once("key")),
            Append("a", [done], fence=info.fence + 1),
            Append("a", [done, b"a\nb"]),
            Append("a", [done], once=Once("key")),
        ]
    )
    only(outcomes[0])
    refused(outcomes[2], InvalidValue, "a line feed")
    await _expect_standing(store, "a", Standing("running"), "after refusals and a repeat")


@store_check("list", 11)
async def lists_by_status_have_pages(store: Store, harness: StoreHarness) -> None:
    made: dict[Status, list[str]] = {status: [] for status in STATUSES}
    for number in range(30):
        kind = ("started", "done", "message")[number % 3]
        log_id = f"log-{number:02}"
        harness.clock.advance(1)
        await store.create(log_id, labels={"even": str(number % 2)})
        await append(store, log_id, _record((kind, {})))
        made[("running", "done", "queued")[number % 3]].append(log_id)
    for status, log_ids in made.items():
        found: list[str] = []
        before: tuple[float, str] | None = None
        while page := await store.list(status=status, before=before, limit=4):
            found += [info.log_id for info in page]
            before = (page[-1].created_at, page[-1].log_id)
        expect_equal(found, log_ids[::-1], f"logs that are {status}, page by page")
        some = [info.log_id for info in await store.list(status=status, labels={"even": "0"})]
        even = [log_id for log_id in log_ids[::-1] if int(log_id[-2:]) % 2 == 0]
        expect_equal(some, even, f"logs that are {status} and have a label")


@store_check(11, 2, durable=True)
async def statuses_last(store: Store, harness: StoreHarness) -> None:
    standings = _standings(_LIFE)
    for number in range(len(_LIFE) + 1):
        await store.create(f"log-{number}")
        await append(store, f"log-{number}", *map(_record, _LIFE[:number]))
    await store.close()
    for _ in range(2):
        async with harness.make_store() as again:
            for number, standing in enumerate(standings):
                await _expect_standing(again, f"log-{number}", standing, "in a later life")
    async with harness.make_store() as again:
        for number, event in enumerate(_LIFE):
            await append(again, f"log-{number}", _record(event))
            await _expect_standing(again, f"log-{number}", standings[number + 1], "one event later")


@store_check(11, shared=True)
async def stores_agree_on_statuses(store: Store, harness: StoreHarness) -> None:
    async with harness.make_store() as other:
        epoch = (await store.create("a")).epoch
        for number, standing in enumerate(_standings(_LIFE)):
            writer, reader = (store, other) if number % 2 else (other, store)
            if number:
                await append(writer, "a", _record(_LIFE[number - 1]))
            await _expect_standing(reader, "a", standing, f"elsewhere after {number} events")
            await reader.read("a", Position(epoch, 0))
