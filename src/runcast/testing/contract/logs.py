"""Logs as a whole: creating, replacing, deleting, labels, infos."""

import asyncio

from runcast.errors import Conflict, Gone, InvalidValue, NotFound, RuncastError, Stale
from runcast.events.position import Position
from runcast.stores.base import MAX_LABELS, Append, LogInfo, Once, Store
from runcast.testing.contract.harness import (
    StoreHarness,
    append,
    expect,
    expect_equal,
    expect_log,
    expect_refusal,
    only,
    outcome_of,
    record,
    refused,
    store_check,
)

__all__ = ()


@store_check("create")
async def a_new_log_is_as_it_was_asked_for(store: Store, harness: StoreHarness) -> None:
    harness.clock.advance(0.25)
    made = await store.create("a", owner_id="me", labels={"k": "v"}, ttl_s=9)
    expected = LogInfo(
        log_id="a",
        epoch=made.epoch,
        created_at=harness.clock.time(),
        labels={"k": "v"},
        ttl_s=9.0,
        owner_id="me",
        fence=made.fence,
    )
    expect_equal(made, expected, "the info of a new log")
    expect_equal(made.position, Position(made.epoch, 0), "the position of a new log")
    expect_equal(await store.info("a"), expected, "the info read afterwards")
    expect_equal(await store.snapshot("a"), None, "the snapshot of a new log")
    plain = await store.create("b")
    expect_equal((plain.labels, plain.ttl_s, plain.owner_id), ({}, None, ""), "what was not asked")


@store_check(7)
async def creating_over_a_log_is_refused(store: Store, harness: StoreHarness) -> None:
    await store.create("a", labels={"k": "v"}, ttl_s=5)
    await append(store, "a", record(1))
    before = await store.info("a")
    harness.clock.advance(1)
    with expect_refusal(Conflict, "creating over an open log"):
        await store.create("a", owner_id="other", labels={"k": "w"})
    expect_equal(await store.info("a"), before, "the old log")
    await append(store, "a", close=True)
    before = await store.info("a")
    with expect_refusal(Conflict, "creating over a closed log"):
        await store.create("a", owner_id="other", labels={"k": "w"})
    expect_equal(await store.info("a"), before, "the old log")
    await expect_log(store, "a", [record(1)])


@store_check(7)
async def replacing_begins_a_later_epoch_at_one(store: Store, harness: StoreHarness) -> None:
    old = await store.create("a", replace=True)  # replacing nothing is creating
    for state in ("empty", "open", "closed", "trimmed", "owned"):
        if state != "empty":
            await append(store, "a", record(1), record(2), once=Once("key"))
        if state == "closed":
            await append(store, "a", close=True)
        if state == "trimmed":
            await store.trim("a", 2, b"snapshot")
        if state == "owned":
            old = await store.claim("a", "owner")
        harness.clock.advance(1)
        new = await store.create("a", labels={"life": state}, replace=True)
        expect(new.epoch > old.epoch, f"epoch {new.epoch} sorts after {old.epoch}")
        expect(new.fence > old.fence, f"fence {new.fence} is higher than {old.fence}")
        expected = LogInfo(
            log_id="a",
            epoch=new.epoch,
            created_at=harness.clock.time(),
            labels={"life": state},
            fence=new.fence,
        )
        expect_equal(new, expected, f"the info of the epoch after one that was {state}")
        expect_equal(await store.info("a"), expected, "the info read afterwards")
        expect_equal(await store.snapshot("a"), None, "the snapshot of a new epoch")
        await append(store, "a", record(3))
        await expect_log(store, "a", [record(3)])
        old = await store.create("a", replace=True)
        expect(old.epoch > new.epoch, "two epochs of one moment have an order too")


@store_check(7)
async def a_given_epoch_is_replaced_only_while_it_is_the_present_one(
    store: Store, harness: StoreHarness
) -> None:
    first = await store.create("a", replace="0123456789")  # replacing nothing is creating
    second = await store.create("a", replace=first.epoch)
    expect(second.epoch > first.epoch, f"epoch {second.epoch} sorts after {first.epoch}")
    await append(store, "a", record(1))
    with expect_refusal(Conflict, "replacing an epoch that was replaced"):
        await store.create("a", replace=first.epoch)
    await expect_log(store, "a", [record(1)])


@store_check(7)
async def epochs_rise_even_if_the_clock_goes_back(store: Store, harness: StoreHarness) -> None:
    epoch = (await store.create("a")).epoch
    for seconds in (-1.0, -3600.0, -86400.0, 5.0, 0.0):
        harness.clock.jump(seconds)
        later = (await store.create("a", replace=True)).epoch
        expect(later > epoch, f"epoch {later} sorts after {epoch}, clock moved by {seconds} s")
        expect_equal(len(later), len(epoch), "the length of an epoch")
        epoch = later


@store_check(7)
async def of_many_creations_at_once_one_wins(store: Store, harness: StoreHarness) -> None:
    async def create(number: int) -> LogInfo | RuncastError:
        try:
            return await store.create("a", labels={"by": str(number)})
        except RuncastError as error:
            return error

    made = await asyncio.gather(*(create(number) for number in range(12)))
    winners = [info for info in made if isinstance(info, LogInfo)]
    expect_equal(len(winners), 1, "creations of one id that succeeded")
    for outcome in made:
        expect(isinstance(outcome, LogInfo | Conflict), f"a loser gets Conflict, not {outcome!r}")
    expect_equal(await store.info("a"), winners[0], "the log of the winner")
    replaced = await asyncio.gather(*(store.create("a", replace=True) for _ in range(12)))
    expect_equal(len({info.epoch for info in replaced}), 12, "epochs of as many replacements")
    last = max(replaced, key=lambda info: info.epoch)
    expect_equal(await store.info("a"), last, "the log after all replacements")
    expect_equal(last.fence, max(info.fence for info in replaced), "the fence of the last epoch")


@store_check("info")
async def an_info_is_a_copy(store: Store, harness: StoreHarness) -> None:
    given = {"k": "v"}
    copies = [await store.create("a", labels=given)]
    given["k"] = "changed by the caller"
    changed = {"l": "w"}
    only(await outcome_of(store, Append("a", [record(1), record(2)], labels=changed)))
    changed["l"] = "changed by the caller"
    copies += [await store.trim("a", 2, b""), await store.claim("a", "me")]
    copies += [await store.info("a"), *await store.list(), *await store.orphans()]
    expected = await store.info("a")
    for info in copies:
        info.labels["k"] = info.labels["x"] = "changed in a copy"
        info.head, info.epoch, info.closed = 99, "changed", True
    expect_equal(await store.info("a"), expected, "the info after its copies were changed")
    expect_equal(expected.labels, {"k": "v", "l": "w"}, "the labels of a log")
    expect_equal((await append(store, "a", record(3))).last, 3, "the next seq")


@store_check("delete")
async def a_deleted_log_leaves_nothing_behind(store: Store, harness: StoreHarness) -> None:
    with expect_refusal(NotFound, "deleting what is not there"):
        await store.delete("a")
    old = await store.create("a", owner_id="me", labels={"k": "v"}, ttl_s=0.5)
    await store.create("b")
    await append(store, "a", *[record(n) for n in range(50)], once=Once("key"))
    await append(store, "b", record(1))
    await store.trim("a", 10, b"snapshot")
    await append(store, "a", close=True)
    harness.clock.advance(1)
    await store.delete("a")
    for name, call in (
        ("info", lambda: store.info("a")),
        ("read", lambda: store.read("a", Position(old.epoch, 20))),
        ("snapshot", lambda: store.snapshot("a")),
        ("trim", lambda: store.trim("a", 2, b"")),
        ("claim", lambda: store.claim("a", "me")),
        ("delete", lambda: store.delete("a")),
    ):
        with expect_refusal(NotFound, f"{name} of a deleted log"):
            await call()
    refused(await outcome_of(store, Append("a", [record(1)])), NotFound, "an append")
    expect_equal([info.log_id for info in await store.list()], ["b"], "logs that are left")
    expect_equal(list(await store.list(labels={"k": "v"})), [], "logs with its label")
    expect_equal(list(await store.expired()), [], "expired logs")
    new = await store.create("a")
    expected = LogInfo(
        log_id="a", epoch=new.epoch, created_at=harness.clock.time(), fence=new.fence
    )
    expect_equal(new, expected, "a log created where another was deleted")
    expect(new.epoch != old.epoch, "the new log has another epoch")
    expect_equal(await store.snapshot("a"), None, "its snapshot")
    with expect_refusal(Gone, "a position in the deleted log"):
        await store.read("a", Position(old.epoch, 20))
    await append(store, "a", record(7))
    await expect_log(store, "a", [record(7)])
    await expect_log(store, "b", [record(1)])


@store_check("delete_epoch")
async def an_epoch_is_deleted_only_while_it_is_the_present_one(
    store: Store, harness: StoreHarness
) -> None:
    with expect_refusal(NotFound, "deleting an epoch of what is not there"):
        await store.delete_epoch("a", "0123456789")
    old = await store.create("a")
    harness.clock.advance(1)
    new = await store.create("a", replace=True)
    await append(store, "a", record(1), close=True)
    with expect_refusal(Stale, "deleting an epoch that was replaced"):
        await store.delete_epoch("a", old.epoch)
    await expect_log(store, "a", [record(1)])
    await store.delete_epoch("a", new.epoch)
    with expect_refusal(NotFound, "info of a deleted log"):
        await store.info("a")
    harness.clock.advance(1)
    await store.create("a")
    with expect_refusal(Stale, "deleting an epoch that was deleted"):
        await store.delete_epoch("a", new.epoch)
    await store.info("a")


@store_check("Append")
async def labels_are_merged_and_removed(store: Store, harness: StoreHarness) -> None:
    await store.create("a", labels={"status": "queued", "function": "report"})
    outcomes = await store.commit(
        [
            Append("a", [record(1)], labels={"status": "running", "new": "x"}),
            Append("a", labels={"new": ""}),
            Append("a", labels={"never there": "", "é\u2028": " a=b\n"}),
            Append("a", [record(2)], labels={}),
        ]
    )
    for outcome in outcomes:
        only(outcome)
    expected = {"status": "running", "function": "report", "é\u2028": " a=b\n"}
    expect_equal((await store.info("a")).labels, expected, "merged labels")
    only(await outcome_of(store, Append("a", labels={"status": "done"}, close=True)))
    expected["status"] = "done"
    expect_equal((await store.info("a")).labels, expected, "labels set by the closing append")
    await expect_log(store, "a", [record(1), record(2)])


@store_check("MAX_LABELS")
async def labels_are_bounded(store: Store, harness: StoreHarness) -> None:
    full = {f"label-{number}": "x" for number in range(MAX_LABELS)}
    with expect_refusal(InvalidValue, f"creating with {MAX_LABELS + 1} labels"):
        await store.create("a", labels={**full, "more": "x"})
    with expect_refusal(NotFound, "a log that was refused"):
        await store.info("a")
    await store.create("a", labels=full)
    with expect_refusal(InvalidValue, f"replacing with {MAX_LABELS + 1} labels"):
        await store.create("a", labels={**full, "more": "x"}, replace=True)
    asked = Append("a", [record(1)], labels={"more": "x"}, close=True, once=Once("key"))
    refused(await outcome_of(store, asked), InvalidValue, "one label too many")
    swapped = Append("a", [record(2)], labels={"label-0": "", "more": "x"})
    outcomes = await store.commit([swapped, Append("a", labels={"label-0": "x"})])
    only(outcomes[0], "one label for another")
    refused(outcomes[1], InvalidValue, "one label too many, counted within a group")
    del full["label-0"]
    expect_equal((await store.info("a")).labels, {**full, "more": "x"}, "labels")
    await expect_log(store, "a", [record(2)])
