"""Idempotency keys: a repeat is harmless, a contradiction is refused."""

import asyncio

from runcast.errors import Conflict, InvalidValue, RunClosed, Stale
from runcast.stores.base import Append, Appended, Once, Store
from runcast.testing.contract.harness import (
    StoreHarness,
    append,
    create_logs,
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

_KEYS = (
    *("k", "K", "k ", " k", "k:1", "k\n1", "k'; --", "%", "_", "1", "01", "1.0", "null"),
    *("é", "e\u0301", "\u2028", "\U0001f511"),
)


def _expect_repeat(outcome: Appended, first: Appended) -> None:
    expect_equal(
        (outcome.epoch, outcome.first, outcome.last, outcome.repeated),
        (first.epoch, first.first, first.last, True),
        "the outcome of a repeat",
    )


@store_check(5)
async def a_repeated_key_returns_the_first_result(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    await append(store, "a", record(1))
    first = await append(store, "a", record(2), record(3), once=Once("key", "digest"))
    expect(not first.repeated, "the first use of a key is no repeat")
    _expect_repeat(await append(store, "a", record(2), once=Once("key", "digest")), first)
    await append(store, "a", record(4))
    # Only the digest identifies the request: these records are never read.
    _expect_repeat(await append(store, "a", record(9), once=Once("key", "digest")), first)
    _expect_repeat(await append(store, "a", once=Once("key", "digest")), first)
    await expect_log(store, "a", [record(1), record(2), record(3), record(4)])


@store_check(5)
async def a_key_without_records_is_remembered_too(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    await append(store, "a", record(1))
    first = await append(store, "a", once=Once("key"))
    expect_equal((first.first, first.last), (2, 1), "an append without records")
    _expect_repeat(await append(store, "a", record(2), once=Once("key")), first)
    await expect_log(store, "a", [record(1)])


@store_check(5)
async def a_key_with_another_digest_is_refused(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    await append(store, "a", record(1), once=Once("key", "yes"))
    for digest in ("no", "", "YES", "yes "):
        asked = Append("a", [record(1)], once=Once("key", digest), labels={"x": "y"}, close=True)
        refused(await outcome_of(store, asked), Conflict, f"digest {digest!r} instead of 'yes'")
    info = await store.info("a")
    expect_equal((info.labels, info.closed), ({}, False), "labels and closed after a conflict")
    await expect_log(store, "a", [record(1)])


@store_check(5)
async def keys_work_inside_one_group(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    outcomes = await store.commit(
        [
            Append("a", [record(1)], once=Once("key", "1")),
            Append("a", [record(2)], once=Once("key", "1")),
            Append("a", [record(3)], once=Once("key", "2")),
            Append("a", [record(4)], once=Once("other", "1")),
        ]
    )
    first = only(outcomes[0])
    expect(not first.repeated, "the first use of a key is no repeat")
    _expect_repeat(only(outcomes[1]), first)
    refused(outcomes[2], Conflict, "another digest in the same group")
    expect_equal((only(outcomes[3]).first, only(outcomes[3]).repeated), (2, False), "another key")
    await expect_log(store, "a", [record(1), record(4)])


@store_check(5, 4)
async def a_closing_append_can_be_repeated(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    started = await append(store, "a", record(1), once=Once("start"))
    first = await append(store, "a", record(2), close=True, once=Once("end", "done"))
    again = await append(store, "a", record(2), close=True, once=Once("end", "done"))
    _expect_repeat(again, first)
    expect(again.closed, "the repeat of a closing append says that the log is closed")
    _expect_repeat(await append(store, "a", record(1), once=Once("start")), started)
    asked = Append("a", [record(3)], close=True, once=Once("end", "failed"))
    refused(await outcome_of(store, asked), Conflict, "another ending")
    asked = Append("a", [record(3)], once=Once("new"))
    refused(await outcome_of(store, asked), RunClosed, "a new key after the close")
    await expect_log(store, "a", [record(1), record(2)])


@store_check(5)
async def a_refused_append_does_not_use_its_key(store: Store, harness: StoreHarness) -> None:
    info = await store.create("a")
    outcomes = await store.commit(
        [
            Append("a", [b"a\nb"], once=Once("key", "bad")),
            Append("a", [record(1)], fence=info.fence + 1, once=Once("key", "stale")),
            Append("a", [record(1)], epoch="0000000000", once=Once("key", "old")),
        ]
    )
    refused(outcomes[0], InvalidValue, "a line feed")
    refused(outcomes[1], Stale, "another fence")
    refused(outcomes[2], Stale, "another epoch")
    done = await append(store, "a", record(2), once=Once("key", "good"))
    expect(not done.repeated, "a key that only refused appends bore is new")
    await expect_log(store, "a", [record(2)])


@store_check(5)
async def a_new_epoch_and_a_new_log_know_no_keys(store: Store, harness: StoreHarness) -> None:
    await create_logs(store, ["a", "b"])
    for log_id in ("a", "b"):
        done = await append(store, log_id, record(1), once=Once("key", log_id))
        expect(not done.repeated, "each log has keys of its own")
    harness.clock.advance(1)
    await store.create("a", replace=True)
    await store.delete("b")
    await store.create("b")
    for log_id in ("a", "b"):
        done = await append(store, log_id, record(2), once=Once("key", "other"))
        expect(not done.repeated, "keys live as long as their epoch")
        await expect_log(store, log_id, [record(2)])


@store_check(5)
async def keys_outlive_the_events_they_stand_for(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    first = await append(store, "a", record(1), once=Once("key"))
    await append(store, "a", record(2), record(3))
    await store.trim("a", 3, b"snapshot")
    _expect_repeat(await append(store, "a", record(1), once=Once("key")), first)


@store_check(5)
async def any_text_is_a_key_of_its_own(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    firsts: list[Appended] = []
    for key in _KEYS:
        done = await append(store, "a", record(len(firsts)), once=Once(key, f"digest of {key}"))
        expect(not done.repeated, f"the key {key!r} is like no other")
        firsts.append(done)
    for key, first in zip(_KEYS, firsts, strict=True):
        _expect_repeat(await append(store, "a", once=Once(key, f"digest of {key}")), first)


@store_check(5)
async def of_many_answers_at_once_the_first_wins(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    asked = [
        Append("a", [record(number)], once=Once("question", f"answer {number % 4}"))
        for number in range(24)
    ]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(outcome_of(store, one)) for one in asked]
    outcomes = [task.result() for task in tasks]
    winners = [
        number
        for number, done in enumerate(outcomes)
        if isinstance(done, Appended) and not done.repeated
    ]
    expect_equal(len(winners), 1, "answers that were taken")
    winner = winners[0]
    for number, outcome in enumerate(outcomes):
        if number == winner:
            continue
        if number % 4 == winner % 4:
            _expect_repeat(only(outcome), only(outcomes[winner]))
        else:
            refused(outcome, Conflict, f"answer {number % 4} after answer {winner % 4}")
    await expect_log(store, "a", [record(winner)])
