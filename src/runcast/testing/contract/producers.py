"""Producers: an append that is sent again happens once, whatever happened to the log meanwhile."""

import asyncio
from copy import copy

from runcast.errors import Conflict, InvalidValue, NotFound, OutOfSequence, RunClosed, Stale
from runcast.stores.base import (
    MAX_APPENDS_TOGETHER,
    MAX_PRODUCERS,
    Append,
    Appended,
    Once,
    Producer,
    Store,
)
from runcast.testing.contract.harness import (
    StoreHarness,
    append,
    expect,
    expect_equal,
    expect_log,
    only,
    outcome_of,
    record,
    refused,
    store_check,
)

__all__ = ()


def _append(number: int, *, log_id: str = "a", by: str = "p", retried: bool = False) -> Append:
    """Return the append with this number, which has a record with this number."""
    return Append(log_id, [record(number)], producer=Producer(by, number, retried))


def _again(asked: Append, *, retried: bool = True) -> Append:
    """Return an append as a producer sends it again."""
    assert asked.producer is not None
    again = copy(asked)
    again.producer = Producer(asked.producer.producer_id, asked.producer.number, retried)
    return again


def _expect_repeat(outcome: object, first: Appended, what: str) -> None:
    expect(isinstance(outcome, Appended), f"{what} is taken, got {outcome!r}")
    if isinstance(outcome, Appended):
        expect_equal(
            (outcome.epoch, outcome.first, outcome.last, outcome.repeated, outcome.is_resent),
            (first.epoch, first.first, first.last, True, True),
            f"the outcome of {what}",
        )


def _expect_out(outcome: object, expected: int | None, what: str) -> None:
    expect(isinstance(outcome, OutOfSequence), f"{what} is refused as out of sequence: {outcome!r}")
    if isinstance(outcome, OutOfSequence):
        expect_equal(outcome.expected, expected, f"the number expected instead of {what}")


@store_check(12)
async def an_append_that_is_sent_again_happens_once(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    for number in range(1, 6):
        first = only(await outcome_of(store, _append(number)))
        expect(not first.repeated, "the first time is no repeat")
        for retried in (True, False):
            _expect_repeat(
                await outcome_of(store, _append(number, retried=retried)), first, "a repeat"
            )
        await append(store, "a", record(100 + number))
        _expect_repeat(await outcome_of(store, _append(number)), first, "a repeat after others")
    expected = [record(n) for number in range(1, 6) for n in (number, 100 + number)]
    await expect_log(store, "a", expected)


@store_check(12)
async def an_append_without_records_happens_once_too(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    await append(store, "a", record(0))
    asked = Append("a", labels={"k": "v"}, producer=Producer("p", 1))
    first = only(await outcome_of(store, asked))
    only(await outcome_of(store, Append("a", labels={"k": "w"})))
    _expect_repeat(await outcome_of(store, asked), first, "labels that are sent again")
    expect_equal((await store.info("a")).labels, {"k": "w"}, "labels that were changed since")


@store_check(12, 4, 5, 6)
async def a_repeat_is_found_before_anything_else(store: Store, harness: StoreHarness) -> None:
    info = await store.create("a", owner_id="first")
    asked = [
        Append("a", [record(1)], info.epoch, producer=Producer("p", 1), fence=info.fence),
        Append("a", [record(2)], once=Once("key", "x"), producer=Producer("q", 1)),
        Append("a", [record(3)], close=True, producer=Producer("r", 1), fence=info.fence + 1),
    ]
    firsts = [only(await outcome_of(store, one)) for one in asked[:2]]
    await store.claim("a", "second")
    firsts.append(only(await outcome_of(store, asked[2])))
    await store.trim("a", 3, b"state")
    for one, first in zip(asked, firsts, strict=True):
        again = _again(one, retried=True)
        outcome = await outcome_of(store, again)
        _expect_repeat(outcome, first, "a repeat in a log that was claimed, closed and trimmed")
        expect(only(outcome).closed, "a repeat reports that the log is closed")
    late = Append("a", [record(4)], producer=Producer("p", 2))
    refused(await outcome_of(store, late), RunClosed, "a new append to a closed log")


@store_check(12, 1)
async def gaps_and_older_appends_are_refused(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    for number in (2, 7):
        _expect_out(await outcome_of(store, _append(number)), 1, f"{number} as the first")
    for number in (1, 2, 3):
        only(await outcome_of(store, _append(number)))
    _expect_out(await outcome_of(store, _append(1)), 4, "1 after 3")
    for retried in (False, True):
        _expect_out(await outcome_of(store, _append(5, retried=retried)), 4, "5 after 3")
    only(await outcome_of(store, _append(4)))
    only(await outcome_of(store, _append(1, by="another")))
    await expect_log(store, "a", [record(n) for n in (1, 2, 3, 4, 1)])


@store_check(12, 3)
async def appends_of_one_commit_are_repeated_together(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    await store.create("b")
    group = [
        *(_append(n) for n in (1, 2)),
        *(_append(n, log_id="b") for n in (1, 2)),
        _append(1, by="q"),
        _append(3),
    ]
    firsts = [only(outcome) for outcome in await store.commit(group)]
    for retried in (False, True):
        again = [_again(one, retried=retried) for one in group]
        for outcome, first in zip(await store.commit(again), firsts, strict=True):
            _expect_repeat(outcome, first, "a repeated group")
    await expect_log(store, "a", [record(n) for n in (1, 2, 1, 3)])
    await expect_log(store, "b", [record(n) for n in (1, 2)])


@store_check(12)
async def as_many_as_may_are_repeated_together(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    for start in (1, 1 + MAX_APPENDS_TOGETHER):
        group = [_append(number) for number in range(start, start + MAX_APPENDS_TOGETHER)]
        firsts = [only(outcome) for outcome in await store.commit(group)]
        again = [_again(one, retried=True) for one in group]
        for outcome, first in zip(await store.commit(again), firsts, strict=True):
            _expect_repeat(outcome, first, "a repeat of many")
    expect_equal((await store.info("a")).head, 2 * MAX_APPENDS_TOGETHER, "events")


@store_check(12, 5, 6)
async def a_refused_append_uses_no_number_but_those_behind_it_stand(
    store: Store, harness: StoreHarness
) -> None:
    info = await store.create("a")
    await append(store, "a", record(0), once=Once("key", "yes"))
    group = [
        Append("a", [record(1)], once=Once("key", "no"), producer=Producer("p", 1)),
        Append("a", [record(2)], fence=info.fence + 1, producer=Producer("p", 2)),
        Append("a", [record(3)], once=Once("key", "yes"), producer=Producer("p", 3)),
        Append("a", [b"a\nb"], producer=Producer("p", 4)),
        Append("a", [record(5)], producer=Producer("p", 5)),
        Append("a", [record(9)], producer=Producer("p", 9)),
    ]
    for turn in range(2):  # the second time repeats the group after its outcome was lost
        outcomes = await store.commit(group)
        refused(outcomes[0], Conflict, "another answer")
        refused(outcomes[1], Stale, "another fence")
        known = only(outcomes[2])
        expect_equal((known.repeated, known.is_resent), (True, False), "a key used before")
        refused(outcomes[3], InvalidValue, "a line feed")
        expect_equal(only(outcomes[4]).repeated, turn == 1, "what stands behind refusals")
        _expect_out(outcomes[5], 6, "9 after 5")
    await expect_log(store, "a", [record(0), record(5)])
    refused(await outcome_of(store, group[0]), Conflict, "another answer, again")
    asked = Append("a", [b"\r"], producer=Producer("p", 6))
    refused(await outcome_of(store, asked), InvalidValue, "a carriage return")
    only(await outcome_of(store, _append(6)))
    await expect_log(store, "a", [record(0), record(5), record(6)])


@store_check(12, 7)
async def a_new_epoch_knows_no_producers(store: Store, harness: StoreHarness) -> None:
    old = await store.create("a")
    for number in (1, 2):
        only(await outcome_of(store, _append(number)))
    harness.clock.advance(1)
    await store.create("a", replace=True)
    asked = Append("a", [record(2)], old.epoch, producer=Producer("p", 2, True))
    refused(await outcome_of(store, asked), Stale, "a repeat in an epoch that is over")
    _expect_out(await outcome_of(store, _append(3)), 1, "the third append in a new epoch")
    only(await outcome_of(store, _append(1)))
    await store.delete("a")
    refused(await outcome_of(store, _append(1)), NotFound, "a repeat to a log that was deleted")


@store_check(12)
async def a_producer_that_was_forgotten_is_not_guessed_at(
    store: Store, harness: StoreHarness
) -> None:
    await store.create("a")
    firsts = [only(await outcome_of(store, _append(1, by=f"p{n}"))) for n in range(MAX_PRODUCERS)]
    for n, first in enumerate(firsts):
        again = _append(1, by=f"p{n}", retried=True)
        _expect_repeat(await outcome_of(store, again), first, f"a repeat of producer {n}")
    only(await outcome_of(store, _append(2, by="p0")))  # now p1 is forgotten first
    only(await outcome_of(store, _append(1, by="one more")))
    kept = [n for n in range(MAX_PRODUCERS) if n != 1]
    for n in kept[1:]:
        _expect_repeat(await outcome_of(store, _append(1, by=f"p{n}")), firsts[n], "a repeat")
    for number in (1, 2):
        again = _append(number, by="p1", retried=True)
        _expect_out(await outcome_of(store, again), None, "what may have been made before")
    head = (await store.info("a")).head
    _expect_out(await outcome_of(store, _append(2, by="p1")), 1, "2 of an unknown producer")
    expect_equal((await store.info("a")).head, head, "the head after refusals")
    keyed = Append("a", [record(1)], once=Once("k"), producer=Producer("new", 1, True))
    expect(not only(await outcome_of(store, keyed)).repeated, "a new key is not a repeat")
    only(await outcome_of(store, _append(1, by="newer")))


@store_check(12)
async def a_producer_that_writes_the_whole_log_is_forgotten_last(
    store: Store, harness: StoreHarness
) -> None:
    await store.create("a")
    first = only(await outcome_of(store, _append(1, by="writer-1")))
    for n in range(2 * MAX_PRODUCERS):
        only(await outcome_of(store, _append(1, by=f"p{n}")))
    _expect_repeat(await outcome_of(store, _append(1, by="writer-1")), first, "a writer's repeat")
    only(await outcome_of(store, _append(2, by="writer-1")))


@store_check(12)
async def any_text_is_a_producer_of_its_own(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    names = ["p", "P", "p ", "é", "e\u0301", "\n", "'; --", "%", "\u2028", "1", "01", "x" * 128]
    firsts = [only(await outcome_of(store, _append(1, by=name))) for name in names]
    expect_equal([first.first for first in firsts], list(range(1, len(names) + 1)), "their seqs")
    for name, first in zip(names, firsts, strict=True):
        _expect_repeat(await outcome_of(store, _append(1, by=name)), first, f"a repeat of {name!r}")
    for name, number in [("", 1), ("x" * 129, 1), ("a\0", 1), ("\ud800", 1), ("p", 0), ("p", -1)]:
        asked = Append("a", [record(1)], producer=Producer(name, number))
        refused(await outcome_of(store, asked), InvalidValue, f"the producer {name!r} {number}")


@store_check(12)
async def of_the_same_append_sent_at_once_one_happens(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    for number in range(1, 6):
        outcomes = await asyncio.gather(*(outcome_of(store, _append(number)) for _ in range(8)))
        taken = [only(outcome) for outcome in outcomes]
        expect_equal(sorted(done.repeated for done in taken), [False] + [True] * 7, "repeats")
        expect_equal({done.first for done in taken}, {number}, "the seq of all")
    await expect_log(store, "a", [record(number) for number in range(1, 6)])


@store_check(12, 2, durable=True)
async def producers_are_known_in_a_later_life(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    await store.create("full")
    group = [_append(number) for number in (1, 2, 3)]
    firsts = [only(outcome) for outcome in await store.commit(group)]
    for n in range(MAX_PRODUCERS + 1):
        only(await outcome_of(store, _append(1, log_id="full", by=f"p{n}")))
    ending = Append("a", [record(4)], close=True, producer=Producer("p", 4))
    await store.close()
    for turn in range(2):
        async with harness.make_store() as again:
            for one, first in zip(group, firsts, strict=True):
                if not turn:
                    _expect_repeat(await outcome_of(again, one), first, "a repeat")
            end = only(await outcome_of(again, ending))
            expect_equal((end.first, end.repeated), (4, turn == 1), "the end")
            lost = _append(1, log_id="full", by="p0", retried=True)
            _expect_out(await outcome_of(again, lost), None, "what was forgotten in another life")
            expect_equal((await again.info("full")).head, MAX_PRODUCERS + 1, "events of many")


@store_check(12, shared=True)
async def stores_agree_on_producers(store: Store, harness: StoreHarness) -> None:
    async with harness.make_store() as other:
        await store.create("a")
        for number in range(1, 8):
            first_at, again_at = (store, other) if number % 2 else (other, store)
            first = only(await outcome_of(first_at, _append(number)))
            _expect_repeat(await outcome_of(again_at, _append(number)), first, "a repeat elsewhere")
            outcomes = await asyncio.gather(
                *(outcome_of(each, _append(number, by="q")) for each in (store, other))
            )
            repeats = sorted(only(outcome).repeated for outcome in outcomes)
            expect_equal(repeats, [False, True], "one append at two stores at once")
        expect_equal((await other.info("a")).head, 14, "events")
