"""What belongs to a log and is not an event: attachments."""

from runcast.errors import Conflict, InvalidValue, NotFound, RuncastError, RunClosed, Stale
from runcast.stores.base import MAX_ATTACHMENT_BYTES, Append, Once, Store
from runcast.testing.contract.harness import (
    StoreHarness,
    append,
    expect_equal,
    expect_refusal,
    only,
    outcome_of,
    record,
    refused,
    store_check,
)

__all__ = ()


@store_check("attachment")
async def an_attachment_is_kept_beside_the_log(store: Store, harness: StoreHarness) -> None:
    longest = bytes(range(256)) * (MAX_ATTACHMENT_BYTES // 256)
    info = await store.create("a", attachment=longest)
    await store.create("b")
    await append(store, "a", record(1), close=True)
    expect_equal(await store.attachment("a"), (info.epoch, longest), "the attachment")
    expect_equal((await store.attachment("b"))[1], b"", "that of a log without")
    with expect_refusal(NotFound, "the attachment of a log that is not there"):
        await store.attachment("c")
    with expect_refusal(InvalidValue, "a longer attachment"):
        await store.create("c", attachment=longest + b"x")
    with expect_refusal(NotFound, "a log that was refused"):
        await store.info("c")


@store_check("attachment", "trim")
async def an_attachment_goes_with_its_epoch(store: Store, harness: StoreHarness) -> None:
    await store.create("a", attachment=b"first")
    await append(store, "a", record(1), record(2), record(3))
    await store.trim("a", 3, b"state")
    expect_equal((await store.attachment("a"))[1], b"first", "the attachment after a trim")
    second = await store.create("a", replace=True)
    expect_equal(await store.attachment("a"), (second.epoch, b""), "that of the next epoch")
    await store.create("a", replace=True, attachment=b"third")
    await store.delete("a")
    with expect_refusal(NotFound, "the attachment of a deleted log"):
        await store.attachment("a")
    await store.create("a")
    expect_equal((await store.attachment("a"))[1], b"", "that of a log begun after a deletion")


@store_check("attachment", 14)
async def an_append_replaces_the_attachment_with_its_records_or_not_at_all(
    store: Store, harness: StoreHarness
) -> None:
    info = await store.create("a", attachment=b"first")
    await store.create("b")
    group = [Append("a", [record(1)], attachment=b"second"), Append("b", attachment=b"alone")]
    for outcome in await store.commit([*group, Append("a", [record(2)])]):
        only(outcome)
    expect_equal(await store.attachment("a"), (info.epoch, b"second"), "the attachment")
    expect_equal((await store.attachment("b"))[1], b"alone", "one that came without records")
    once = Once("key", "x")
    only(await outcome_of(store, Append("a", [record(3)], once=once, attachment=b"third")))
    asked: list[tuple[Append, type[RuncastError] | None]] = [
        (Append("a", once=once, attachment=b"no"), None),
        (Append("a", once=Once("key", "y"), attachment=b"no"), Conflict),
        (Append("a", epoch="elsewhere", attachment=b"no"), Stale),
        (Append("a", fence=info.fence + 1, attachment=b"no"), Stale),
        (Append("a", attachment=b"x" * (MAX_ATTACHMENT_BYTES + 1)), InvalidValue),
    ]
    for each, error in asked:
        outcome = await outcome_of(store, each)
        if error is None:
            expect_equal(only(outcome).repeated, True, "whether a repeat was noticed")
        else:
            refused(outcome, error, "an append that may not happen")
        expect_equal((await store.attachment("a"))[1], b"third", "the attachment after a refusal")
    await store.trim("a", 3, b"state")
    expect_equal((await store.attachment("a"))[1], b"third", "the attachment after a trim")
    await append(store, "a", record(4), close=True)
    refused(await outcome_of(store, Append("a", attachment=b"no")), RunClosed, "a late append")
    expect_equal((await store.attachment("a"))[1], b"third", "the attachment of a closed log")


@store_check("attachment", 14, durable=True)
async def a_replaced_attachment_outlives_the_store(store: Store, harness: StoreHarness) -> None:
    await store.create("a", attachment=b"first")
    await store.create("b")
    await store.close()
    async with harness.make_store() as again:
        for log_id in ("a", "b"):
            only(await outcome_of(again, Append(log_id, [record(1)], attachment=b"second")))
    async with harness.make_store() as again:
        for log_id in ("a", "b"):
            expect_equal((await again.attachment(log_id))[1], b"second", "the attachment later")
        only(await outcome_of(again, Append("b", close=True, attachment=b"third")))
        expect_equal((await again.attachment("b"))[1], b"third", "one replaced again")
    async with harness.make_store() as again:
        expect_equal((await again.attachment("a"))[1], b"second", "one that was left")
        expect_equal((await again.attachment("b"))[1], b"third", "one of a closed log")


@store_check("attachment", durable=True)
async def attachments_outlive_the_store(store: Store, harness: StoreHarness) -> None:
    await store.create("a", attachment=b"first")
    await store.create("b", attachment=b"second")
    await append(store, "a", record(1), close=True)
    await store.close()
    async with harness.make_store() as again:
        expect_equal((await again.attachment("a"))[1], b"first", "that of a closed log")
        expect_equal((await again.attachment("b"))[1], b"second", "that of an open log")
        await append(again, "b", record(1), close=True)
        await again.delete("a")
        await again.create("a")
        expect_equal((await again.attachment("a"))[1], b"", "that of a log begun after a deletion")
    async with harness.make_store() as again:
        expect_equal((await again.attachment("a"))[1], b"", "the same, later")
        expect_equal((await again.attachment("b"))[1], b"second", "that of a log closed later")
