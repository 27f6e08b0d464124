"""Retention: trims, snapshots, times to live."""

from runcast.errors import NotFound, Stale
from runcast.events.position import Position
from runcast.stores.base import Store
from runcast.testing.contract.harness import (
    StoreHarness,
    append,
    expect,
    expect_equal,
    expect_refusal,
    frames_of,
    padded,
    read_all,
    record,
    store_check,
)

__all__ = ()


@store_check("trim", "snapshot")
async def a_trim_forgets_what_is_before_it(store: Store, harness: StoreHarness) -> None:
    epoch = (await store.create("a")).epoch
    records = [record(number) for number in range(10)]
    await append(store, "a", *records[:5])
    for body in records[5:]:
        await append(store, "a", body)
    before = await store.info("a")
    for first in (2, 3, 5, 6, 9):
        info = await store.trim("a", first, b"state after %d" % (first - 1))
        before.first = first
        expect_equal(info, before, f"the info after a trim to {first}")
        expect_equal(await store.info("a"), before, "the info read afterwards")
        snapshot = await store.snapshot("a")
        expect_equal(snapshot, (first - 1, b"state after %d" % (first - 1)), "the snapshot")
        found = await read_all(store, "a", Position(epoch, first - 1))
        expect_equal(found, frames_of(epoch, records)[first - 1 :], "what is kept")
    done = await append(store, "a", record(99))
    expect_equal((done.first, done.last), (11, 11), "the seq after a trim")
    expect_equal((await store.info("a")).first, 9, "the first event kept")


@store_check("trim")
async def the_last_event_is_always_kept(store: Store, harness: StoreHarness) -> None:
    with expect_refusal(NotFound, "trimming what is not there"):
        await store.trim("a", 1, b"")
    epoch = (await store.create("a")).epoch
    info = await store.trim("a", 5, b"too early")
    expect_equal((info.first, info.head), (1, 0), "first and head of an empty log after a trim")
    await append(store, "a", record(1), record(2), record(3), close=True)
    for first in (4, 1000, 2**53):
        info = await store.trim("a", first, b"snapshot")
        expect_equal((info.first, info.head, info.closed), (3, 3, True), f"after trim to {first}")
    expect_equal(
        await read_all(store, "a", Position(epoch, 2)),
        frames_of(epoch, [record(3)], first=3),
        "the last event of a log",
    )
    page = await store.read("a", Position(epoch, 2))
    expect(page.closed, "the last event is still the last")


@store_check("trim")
async def a_trim_that_goes_back_is_ignored(store: Store, harness: StoreHarness) -> None:
    epoch = (await store.create("a")).epoch
    await append(store, "a", *[record(number) for number in range(10)])
    await store.trim("a", 7, b"six")
    for first in (6, 1, 0, -5):
        info = await store.trim("a", first, b"older")
        expect_equal(info.first, 7, f"the first event kept after a trim to {first}")
        expect_equal(await store.snapshot("a"), (6, b"six"), "the snapshot")
    expect_equal(len(await read_all(store, "a", Position(epoch, 6))), 4, "events kept")


@store_check("trim_epoch")
async def an_epoch_is_trimmed_only_while_it_is_the_present_one(
    store: Store, harness: StoreHarness
) -> None:
    with expect_refusal(NotFound, "trimming an epoch of what is not there"):
        await store.trim_epoch("a", "0123456789", 1, b"")
    old = await store.create("a")
    await append(store, "a", *[record(number) for number in range(5)])
    info = await store.trim_epoch("a", old.epoch, 3, b"two")
    expect_equal((info.first, await store.snapshot("a")), (3, (2, b"two")), "after a trim")
    harness.clock.advance(1)
    new = await store.create("a", replace=True)
    records = [record(number) for number in range(5)]
    await append(store, "a", *records)
    with expect_refusal(Stale, "trimming an epoch that was replaced"):
        await store.trim_epoch("a", old.epoch, 4, b"three")
    expect_equal(await store.snapshot("a"), None, "the snapshot of the new epoch")
    found = await read_all(store, "a", Position(new.epoch, 0))
    expect_equal(found, frames_of(new.epoch, records), "what is kept of the new epoch")


@store_check("trim", 8)
async def a_big_log_is_trimmed_anywhere(store: Store, harness: StoreHarness) -> None:
    epoch = (await store.create("a")).epoch
    records = [padded(number, 700) for number in range(1500)]
    for start in range(0, len(records), 125):
        await append(store, "a", *records[start : start + 125])
    frames = frames_of(epoch, records)
    for first in (60, 251, 252, 1000, 1500):
        await store.trim("a", first, b"snapshot" * 1000)
        found = await read_all(store, "a", Position(epoch, first - 1), 50_000)
        expect_equal(found, frames[first - 1 :], f"what is kept from {first} on")
    expect_equal((await store.info("a")).bytes, sum(map(len, frames)), "bytes ever appended")


@store_check("snapshot")
async def a_snapshot_is_any_bytes(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    await append(store, "a", *[record(number) for number in range(9)])
    for first, snapshot in enumerate((b"", bytes(range(256)), b"\x00" * 1_000_000, b"\n\r"), 2):
        await store.trim("a", first, snapshot)
        expect_equal(await store.snapshot("a"), (first - 1, snapshot), "the snapshot")


@store_check("expired", "LogInfo")
async def a_closed_log_expires_when_its_time_is_over(store: Store, harness: StoreHarness) -> None:
    for log_id, ttl_s in (("short", 10.0), ("long", 100.0), ("kept", None), ("open", 0.1)):
        await store.create(log_id, ttl_s=ttl_s)
        await append(store, log_id, record(1))
    harness.clock.advance(1000)
    expect_equal(list(await store.expired()), [], "nothing expires before it is closed")
    for log_id in ("short", "long", "kept"):
        await append(store, log_id, close=True)
    both = ["short", "long"]
    for seconds, expected in ((9.0, []), (2.0, ["short"]), (88.0, ["short"]), (2.0, both)):
        harness.clock.advance(seconds)
        expect_equal(list(await store.expired()), expected, "expired logs")
    await store.delete("short")
    expect_equal(list(await store.expired()), ["long"], "expired logs, one deleted")
    await store.create("long", replace=True)
    expect_equal(list(await store.expired()), [], "expired logs, the other begun again")
    await store.info("kept")


@store_check("expired")
async def expired_logs_come_oldest_first(store: Store, harness: StoreHarness) -> None:
    order = [f"log-{number}" for number in (3, 1, 4, 0, 2)]
    for log_id in order:
        await store.create(log_id, ttl_s=5)
    for log_id in order:
        harness.clock.advance(1)
        await append(store, log_id, record(1), close=True)
    harness.clock.advance(100)
    expect_equal(list(await store.expired()), order, "expired logs")
    for limit in (1, 3, 5):
        found = list(await store.expired(limit))
        expect_equal(found, order[:limit], f"the first {limit} of the expired logs")
