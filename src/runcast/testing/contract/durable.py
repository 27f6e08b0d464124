"""Everything outlives a durable store."""

from runcast.errors import Conflict, NotFound, RunClosed, Stale
from runcast.events.position import Position
from runcast.stores.base import Append, Once, Owner, Store
from runcast.testing.contract.harness import (
    StoreHarness,
    append,
    create_logs,
    expect,
    expect_equal,
    expect_log,
    expect_refusal,
    frames_of,
    only,
    outcome_of,
    padded,
    read_all,
    record,
    refused,
    store_check,
)

__all__ = ()


@store_check("open", "close")
async def opening_and_closing_twice_is_harmless(store: Store, harness: StoreHarness) -> None:
    expect(await store.open() is store, "open returns the store")
    await store.create("a")
    await append(store, "a", record(1))
    expect(await store.open() is store, "open returns the store")
    await expect_log(store, "a", [record(1)])
    await store.close()
    await store.close()


@store_check(2, 3, durable=True)
async def events_outlive_the_store(store: Store, harness: StoreHarness) -> None:
    small = [record(number) for number in range(20)]
    large = [padded(number, 30_000) for number in range(40)]
    await create_logs(store, ["a", "b", "empty"])
    await append(store, "a", *small)
    for body in large:
        await append(store, "b", body)
    await store.close()
    async with harness.make_store() as again:
        await expect_log(again, "a", small)
        await expect_log(again, "b", large)
        await expect_log(again, "empty", [])
        await append(again, "a", record(20), record(21))
        await append(again, "empty", record(1), close=True)
        await again.delete("b")
    async with harness.make_store() as again:
        await expect_log(again, "a", [*small, record(20), record(21)])
        await expect_log(again, "empty", [record(1)])
        with expect_refusal(NotFound, "a log deleted before the store was closed"):
            await again.info("b")


@store_check(4, 5, 6, durable=True)
async def what_was_refused_stays_refused(store: Store, harness: StoreHarness) -> None:
    info = await store.create("a")
    await store.create("shut")
    first = await append(store, "a", record(1), once=Once("key", "digest"))
    await append(store, "shut", record(1), close=True, once=Once("end", "done"))
    await store.close()
    for _ in range(2):
        async with harness.make_store() as again:
            done = await append(again, "a", record(1), once=Once("key", "digest"))
            expect_equal(
                (done.first, done.last, done.repeated), (first.first, first.last, True), "a repeat"
            )
            asked = Append("a", [record(1)], once=Once("key", "other"))
            refused(await outcome_of(again, asked), Conflict, "a key with another digest")
            asked = Append("a", [record(1)], fence=info.fence + 1)
            refused(await outcome_of(again, asked), Stale, "another fence")
            only(await outcome_of(again, Append("a", epoch=info.epoch, fence=info.fence)))
            refused(await outcome_of(again, Append("shut", [record(2)])), RunClosed, "an append")
            done = await append(again, "shut", record(1), close=True, once=Once("end", "done"))
            expect(done.repeated and done.closed, "a closing append can be repeated")
            with expect_refusal(Conflict, "creating over a log"):
                await again.create("a")
            await expect_log(again, "a", [record(1)])


@store_check("info", "snapshot", "list", "expired", durable=True)
async def what_is_known_of_logs_outlives_the_store(store: Store, harness: StoreHarness) -> None:
    await store.renew(Owner(owner_id="me"), 60)
    await store.create("a", owner_id="me", labels={"k": "v", "l": "w"}, ttl_s=5)
    harness.clock.advance(1)
    await store.create("b", owner_id="me", labels={"k": "v"})
    await append(store, "a", *[record(number) for number in range(9)])
    only(await outcome_of(store, Append("a", labels={"l": "", "m": "x"})))
    await store.trim("a", 4, b"three")
    await append(store, "a", close=True)
    expected = [await store.info("b"), await store.info("a")]
    await store.close()
    harness.clock.advance(10)
    async with harness.make_store() as again:
        expect_equal(await again.list(), expected, "logs")
        expect_equal(await again.list(labels={"m": "x"}), expected[1:], "logs with a label")
        expect_equal(await again.list(labels={"l": "w"}), [], "logs with a label of the past")
        expect_equal(await again.snapshot("a"), (3, b"three"), "the snapshot")
        expect_equal(list(await again.expired()), ["a"], "expired logs")
        found = await read_all(again, "a", Position(expected[1].epoch, 3))
        records = [record(number) for number in range(3, 9)]
        expect_equal(found, frames_of(expected[1].epoch, records, first=4), "events kept")
        expect_equal(list(await again.orphans()), [], "orphans while the lease runs")
        with expect_refusal(Conflict, "claiming while the lease runs"):
            await again.claim("b", "other")
        harness.clock.advance(60)
        expect_equal(list(await again.orphans()), expected[:1], "orphans after the lease")
        expected[0] = await again.claim("b", "other")
    async with harness.make_store() as again:
        expect_equal(await again.list(), expected, "logs after a claim")


@store_check(7, durable=True)
async def epochs_rise_across_reopening(store: Store, harness: StoreHarness) -> None:
    old = await store.create("a")
    await append(store, "a", record(1))
    await store.close()
    harness.clock.jump(-86400)
    for number in range(3):
        async with harness.make_store() as again:
            new = await again.create("a", replace=True)
            expect(new.epoch > old.epoch, f"epoch {new.epoch} sorts after {old.epoch}")
            expect(new.fence > old.fence, f"fence {new.fence} is higher than {old.fence}")
            await append(again, "a", record(number))
            await expect_log(again, "a", [record(number)])
            old = new
