"""Appends: dense order, atomic groups, closing, fences, concurrency."""

import asyncio

from runcast.errors import InvalidValue, NotFound, RuncastError, RunClosed, Stale
from runcast.events.position import Position
from runcast.stores.base import PAGE_BYTES, Append, Appended, Once, Owner, Store
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
    record,
    refused,
    store_check,
)

__all__ = ()

_MANY_LOGS = 600  # more than a statement may have parameters or a batch of 500 rows
_CANCEL_TURNS = (0, 1, 2, 3, 4, 5, 8, 13, 21, 34, 55, 89, 144, 610)
"""Turns of the loop after which a call is cancelled: before, during and after its work."""
_BREAKS_A_LINE = b'"data":{}\ndata: forged'


@store_check(1)
async def seq_rises_by_one_from_one(store: Store, harness: StoreHarness) -> None:
    info = await store.create("a")
    expect_equal((info.first, info.head), (1, 0), "first and head of a new log")
    records: list[bytes] = []
    for size in (1, 3, 1, 0, 17, 2):
        batch = [record(len(records) + index) for index in range(size)]
        done = await append(store, "a", *batch)
        expect_equal(
            (done.epoch, done.first, done.last, done.closed, done.repeated),
            (info.epoch, len(records) + 1, len(records) + size, False, False),
            f"the outcome of an append of {size} records",
        )
        records += batch
        await expect_log(store, "a", records)


@store_check("commit")
async def an_append_returns_the_present_labels_or_none(store: Store, harness: StoreHarness) -> None:
    await store.create("a", labels={"user": "ada"})
    for changed in ({}, {"wanted": "no"}, {}):
        asked = Append("a", [record(0)], labels=changed)
        done = only(await outcome_of(store, asked), "an append that changes labels")
        if done.labels is not None:
            expect_equal(done.labels, (await store.info("a")).labels, "the labels of an append")


@store_check("commit")
async def an_append_returns_its_pages(store: Store, harness: StoreHarness) -> None:
    info = await store.create("a")
    await append(store, "a", record(0))
    records = [padded(number, PAGE_BYTES // 5) for number in range(23)]
    done = await append(store, "a", *records, close=True)
    expected = frames_of(info.epoch, records, first=2)
    frames = b"".join(page.frames for page in done.pages)
    expect_equal(frames, b"".join(expected), "the frames of the pages of an append")
    expect_equal([page.epoch for page in done.pages], [info.epoch] * len(done.pages), "epochs")
    following = 2
    for page in done.pages:
        expect_equal(page.first, following, "the first seq of the next page of an append")
        size = sum(map(len, expected[page.first - 2 : page.last - 1]))
        expect_equal(len(page.frames), size, f"bytes of the page {page.first}..{page.last}")
        expect(size <= PAGE_BYTES + len(expected[0]), "a page of an append keeps its size")
        expect_equal(page.closed, page.last == 24, f"the closed flag of the page up to {page.last}")
        following = page.last + 1
    expect_equal(following, 25, "the seq after the last page")


@store_check("commit")
async def an_empty_group_changes_nothing(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    expect_equal(await store.commit([]), [], "outcomes of no appends")
    await expect_log(store, "a", [])


@store_check(1, 6)
async def a_refused_append_uses_no_seq_and_spares_its_group(
    store: Store, harness: StoreHarness
) -> None:
    epochs = await create_logs(store, ["a", "b", "shut"])
    fence = (await store.info("a")).fence
    await append(store, "shut", record(0), close=True)
    group: list[tuple[Append, type[RuncastError] | None]] = [
        (Append("a", [record(1)]), None),
        (Append("nowhere", [record(2)]), NotFound),
        (Append("a", [record(3), _BREAKS_A_LINE]), InvalidValue),
        (Append("a", [record(4)], epoch=epochs[0], fence=fence), None),
        (Append("a", [record(5)], fence=fence + 1), Stale),
        (Append("b", [record(6)], epoch=epochs[0][:-1] + "!"), Stale),
        (Append("shut", [record(7)]), RunClosed),
        (Append("b", [record(8), record(9)], epoch=epochs[1]), None),
        (Append("a", [record(10)], epoch="0000000000", close=True), Stale),
        (Append("b", [record(11)], labels={str(n): "x" for n in range(99)}), InvalidValue),
        (Append("a", [record(12)]), None),
        (Append("b", [record(13)]), None),
    ]
    outcomes = await store.commit([asked for asked, _ in group])
    expect_equal(len(outcomes), len(group), "outcomes of a group")
    for (asked, error), outcome in zip(group, outcomes, strict=True):
        if error is None:
            only(outcome, str(asked))
        else:
            refused(outcome, error, str(asked))
    placed = [(done.first, done.last) for done in outcomes if isinstance(done, Appended)]
    expect_equal(placed, [(1, 1), (2, 2), (1, 2), (3, 3), (3, 3)], "seqs of what was not refused")
    await expect_log(store, "a", [record(1), record(4), record(12)])
    await expect_log(store, "b", [record(8), record(9), record(13)])
    await expect_log(store, "shut", [record(0)])
    expect_equal((await store.info("b")).labels, {}, "labels after a refused change")
    with expect_refusal(NotFound, "a log that only a refused append named"):
        await store.info("nowhere")


@store_check(3)
async def appends_keep_the_order_of_their_groups_and_commits(
    store: Store, harness: StoreHarness
) -> None:
    await create_logs(store, ["a", "b"])
    numbers = iter(range(1000))
    records: dict[str, list[bytes]] = {"a": [], "b": []}
    for _ in range(5):
        group: list[Append] = []
        for log_id in ("a", "b", "a", "a", "b"):
            batch = [record(next(numbers)), record(next(numbers))]
            records[log_id] += batch
            group.append(Append(log_id, batch))
        outcomes = [only(outcome) for outcome in await store.commit(group)]
        heads = [outcomes[index].last for index in (0, 2, 3)]
        expect_equal(heads, [heads[0], heads[0] + 2, heads[0] + 4], "heads after each append")
    await expect_log(store, "a", records["a"])
    await expect_log(store, "b", records["b"])


@store_check(4)
async def a_close_is_part_of_its_append(store: Store, harness: StoreHarness) -> None:
    await store.create("a")
    await append(store, "a", record(1))
    harness.clock.advance(10)
    done = await append(store, "a", record(2), record(3), close=True)
    expect_equal((done.first, done.last, done.closed), (2, 3, True), "the closing append")
    info = await store.info("a")
    expect_equal((info.closed, info.closed_at), (True, harness.clock.time()), "closed and when")
    await expect_log(store, "a", [record(1), record(2), record(3)])


@store_check(4)
async def a_log_closes_without_a_record(store: Store, harness: StoreHarness) -> None:
    for log_id, records in (("empty", []), ("full", [record(1), record(2)])):
        info = await store.create(log_id)
        await append(store, log_id, *records)
        done = await append(store, log_id, close=True)
        head = len(records)
        expect_equal(
            (done.first, done.last, done.closed), (head + 1, head, True), "a close without record"
        )
        page = await store.read(log_id, Position(info.epoch, head))
        expect_equal(
            (page.first, page.last, page.frames, page.closed),
            (head + 1, head, b"", True),
            "what follows the head of a closed log",
        )
        await expect_log(store, log_id, records)


@store_check(4)
async def a_closed_log_refuses_every_append(store: Store, harness: StoreHarness) -> None:
    info = await store.create("a", labels={"kept": "yes"})
    outcomes = await store.commit(
        [Append("a", [record(1)], close=True), Append("a", [record(2)]), Append("a", close=True)]
    )
    only(outcomes[0])
    refused(outcomes[1], RunClosed, "an append behind a close of its group")
    refused(outcomes[2], RunClosed, "a second close")
    closed_at = (await store.info("a")).closed_at
    harness.clock.advance(1)
    for asked in (
        Append("a", [record(3)]),
        Append("a"),
        Append("a", close=True),
        Append("a", labels={"new": "x"}),
        Append("a", [record(3)], epoch=info.epoch, fence=info.fence, once=Once("new key")),
    ):
        refused(await outcome_of(store, asked), RunClosed, f"{asked} to a closed log")
    after = await store.info("a")
    expect_equal(
        (after.closed, after.closed_at, after.labels),
        (True, closed_at, {"kept": "yes"}),
        "a closed log after refused appends",
    )
    await expect_log(store, "a", [record(1)])


@store_check(4)
async def a_refused_close_leaves_the_log_open(store: Store, harness: StoreHarness) -> None:
    info = await store.create("a")
    for asked, error in (
        (Append("a", [record(1), _BREAKS_A_LINE], close=True), InvalidValue),
        (Append("a", [record(1)], fence=info.fence + 7, close=True), Stale),
        (Append("a", [record(1)], epoch="zzzzzzzzzz", close=True), Stale),
    ):
        refused(await outcome_of(store, asked), error, str(asked))
    expect(not (await store.info("a")).closed, "a log stays open when its close is refused")
    await append(store, "a", record(1))
    await expect_log(store, "a", [record(1)])


@store_check(6)
async def only_the_present_fence_and_epoch_may_append(store: Store, harness: StoreHarness) -> None:
    old = await store.create("a", owner_id="first")
    await store.renew(Owner(owner_id="first"), 0)
    claimed = await store.claim("a", "second")
    expect(claimed.fence > old.fence, "a claim raises the fence")
    replaced = await store.create("a", replace=True)
    expect(replaced.fence > claimed.fence, "a replacement raises the fence")
    for fence in (old.fence, claimed.fence, replaced.fence + 1):
        asked = Append("a", [record(1)], fence=fence)
        refused(await outcome_of(store, asked), Stale, f"fence {fence}, not {replaced.fence}")
    asked = Append("a", [record(1)], epoch=old.epoch)
    refused(await outcome_of(store, asked), Stale, "an append to the replaced epoch")
    only(await outcome_of(store, Append("a", [record(2)], epoch=replaced.epoch)))
    only(await outcome_of(store, Append("a", [record(3)], fence=replaced.fence)))
    await expect_log(store, "a", [record(2), record(3)])


@store_check(1, 3)
async def one_group_may_append_to_hundreds_of_logs(store: Store, harness: StoreHarness) -> None:
    log_ids = [f"log-{number}" for number in range(_MANY_LOGS)]
    await create_logs(store, log_ids)
    for turn in range(2):
        group = [Append(log_id, [record(turn), record(9)]) for log_id in log_ids]
        outcomes = await store.commit(group)
        placed = {(only(outcome).first, only(outcome).last) for outcome in outcomes}
        expect_equal(placed, {(2 * turn + 1, 2 * turn + 2)}, "seqs of a group to many logs")
    expected = [record(0), record(9), record(1), record(9)]
    for log_id in log_ids[:: _MANY_LOGS // 20]:
        await expect_log(store, log_id, expected)


@store_check(1, 3)
async def concurrent_commits_stay_dense(store: Store, harness: StoreHarness) -> None:
    writers, turns = 16, 10
    await create_logs(store, ["shared", *(f"own-{number}" for number in range(writers))])
    taken: dict[int, bytes] = {}

    async def write(number: int) -> None:
        before = 0
        for turn in range(turns):
            body = record(number * turns + turn)
            done, own = await store.commit(
                [Append("shared", [body]), Append(f"own-{number}", [body])]
            )
            seq = only(done).last
            expect(seq not in taken, f"seq {seq} is given to one append only")
            expect(seq > before, "commits awaited one after another keep their order")
            expect_equal(only(own).last, turn + 1, "the seq in a log of one writer")
            taken[seq], before = body, seq

    async with asyncio.TaskGroup() as group:
        for number in range(writers):
            group.create_task(write(number))
    expect_equal(sorted(taken), list(range(1, writers * turns + 1)), "seqs given to all writers")
    await expect_log(store, "shared", [taken[seq] for seq in sorted(taken)])
    for number in range(writers):
        await expect_log(
            store, f"own-{number}", [record(number * turns + turn) for turn in range(turns)]
        )


@store_check(10)
async def a_cancelled_commit_happened_wholly_or_not_at_all(
    store: Store, harness: StoreHarness
) -> None:
    await create_logs(store, ["a", "b", "rival"])
    expected: list[bytes] = []
    for number, turns in enumerate(_CANCEL_TURNS):
        batch = [record(number), padded(number, 500)]
        marker = b'"after":%d' % number
        # Another commit runs, so that ours is cancelled both while waiting and while working.
        rival = asyncio.create_task(append(store, "rival", record(number)))
        task = asyncio.create_task(store.commit([Append("a", batch), Append("b", batch)]))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await rival
        # A later call comes after the cancelled one, unless that never happened.
        outcomes = await store.commit([Append("a", [marker]), Append("b", [marker])])
        heads = [only(outcome).last for outcome in outcomes]
        expect_equal(heads[0], heads[1], "heads of two logs that were always appended to together")
        expected += [*batch, marker] if heads[0] == len(expected) + 3 else [marker]
        for log_id in ("a", "b"):
            await expect_log(store, log_id, expected)
    await expect_log(store, "rival", [record(number) for number in range(len(_CANCEL_TURNS))])


@store_check(10)
async def a_cancelled_creation_happened_wholly_or_not_at_all(
    store: Store, harness: StoreHarness
) -> None:
    for turns in _CANCEL_TURNS:
        log_id = f"cancelled-after-{turns}"
        task = asyncio.create_task(store.create(log_id, labels={"x": "y"}, ttl_s=5.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        outcome = await outcome_of(store, Append(log_id, [record(1)]))
        if isinstance(outcome, NotFound):
            with expect_refusal(NotFound, "a log whose creation did not happen"):
                await store.info(log_id)
            await store.create(log_id)
            await append(store, log_id, record(1))
        else:
            only(outcome)
            expect_equal((await store.info(log_id)).labels, {"x": "y"}, "labels of the new log")
        await expect_log(store, log_id, [record(1)])
