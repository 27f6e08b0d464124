"""Several stores on the same data, as in several processes: all of them agree at once."""

import asyncio

from runcast.errors import Conflict, Gone, NotFound, RuncastError, RunClosed, Stale
from runcast.events.position import Position
from runcast.stores.base import Append, Appended, Change, LogInfo, Once, Owner, SharedStore, Store
from runcast.testing.contract.harness import (
    WAIT_S,
    ContractBroken,
    StoreHarness,
    append,
    create_logs,
    expect,
    expect_equal,
    expect_log,
    expect_refusal,
    only,
    outcome_of,
    padded,
    read_all,
    record,
    refused,
    store_check,
)

__all__ = ()


@store_check(1, 3, shared=True)
async def stores_take_turns_in_one_log(store: Store, harness: StoreHarness) -> None:
    async with harness.make_store() as other:
        epochs = await create_logs(store, ["a", "mine"])
        await other.create("yours")
        records: list[bytes] = []
        for turn in range(60):
            writer, reader = (store, other) if turn % 2 else (other, store)
            body = record(turn)
            await append(writer, "mine" if turn % 2 else "yours", body)
            done = await append(writer, "a", body)
            records.append(body)
            expect_equal(done.last, turn + 1, "the seq after another store's")
            page = await reader.read("a", Position(epochs[0], turn))
            expect_equal((page.first, page.last), (turn + 1, turn + 1), "what the other reads")
        for each in (store, other):
            await expect_log(each, "a", records)
            await expect_log(each, "mine", records[1::2])
            await expect_log(each, "yours", records[::2])


@store_check(1, 3, shared=True)
async def stores_that_write_at_once_stay_dense(store: Store, harness: StoreHarness) -> None:
    turns, size = 25, 3
    async with harness.make_store() as second, harness.make_store() as third:
        stores = (store, second, third)
        epochs = await create_logs(store, ["a", "b", *(f"own-{n}" for n in range(3))])
        taken: dict[int, list[bytes]] = {}
        barrier = asyncio.Barrier(len(stores))

        async def write(number: int) -> None:
            each = stores[number]
            await barrier.wait()
            for turn in range(turns):
                batch = [record(number * 1000 + turn * 10 + index) for index in range(size)]
                outcomes = await each.commit(
                    [Append(log_id, batch) for log_id in ("a", "b", f"own-{number}")]
                )
                first, _, own = [only(outcome).first for outcome in outcomes]
                expect_equal(own, turn * size + 1, "the seq in a log of one store")
                expect(first not in taken, f"seq {first} is given to one append only")
                taken[first] = batch

        async with asyncio.TaskGroup() as group:
            for number in range(len(stores)):
                group.create_task(write(number))
        records = [body for first in sorted(taken) for body in taken[first]]
        expect_equal(len(records), turns * size * len(stores), "records of all stores")
        for each in stores:
            await expect_log(each, "a", records)
            for number in range(len(stores)):
                expect_equal((await each.info(f"own-{number}")).head, turns * size, "own head")
        seen = [await read_all(each, "b", Position(epochs[1], 0)) for each in stores]
        expect_equal(seen, seen[:1] * len(stores), "what each store returns for one log")


@store_check(4, 5, 6, 7, shared=True)
async def what_one_store_did_binds_the_others(store: Store, harness: StoreHarness) -> None:
    async with harness.make_store() as other:
        with expect_refusal(NotFound, "a log before its creation"):
            await other.info("a")
        old = await store.create("a", labels={"k": "v"})
        with expect_refusal(Conflict, "creating over another store's log"):
            await other.create("a")
        expect_equal(await other.info("a"), old, "the info of another store's log")
        first = await append(store, "a", record(1), once=Once("question", "yes"))
        asked = Append("a", [record(2)], once=Once("question", "no"))
        refused(await outcome_of(other, asked), Conflict, "another answer by another store")
        done = await append(other, "a", record(1), once=Once("question", "yes"))
        expect_equal((done.first, done.repeated), (first.first, True), "the same answer")
        claimed = await other.claim("a", "other")
        asked = Append("a", [record(3)], fence=old.fence)
        refused(await outcome_of(store, asked), Stale, "the fence before the other's claim")
        only(await outcome_of(store, Append("a", [record(4)], labels={"k": "w"})))
        labelled = await other.list(labels={"k": "w"})
        expect_equal([info.head for info in labelled], [2], "heads of logs with the new label")
        await append(other, "a", close=True)
        refused(await outcome_of(store, Append("a", [record(5)])), RunClosed, "a closed log")
        new = await other.create("a", replace=True)
        expect(new.epoch > old.epoch and new.fence > claimed.fence, "a later epoch and fence")
        refused(await outcome_of(store, Append("a", epoch=old.epoch)), Stale, "the old epoch")
        with expect_refusal(Gone, "reading the replaced epoch"):
            await store.read("a", Position(old.epoch, 1))
        await append(store, "a", record(6), once=Once("question", "no"))
        await expect_log(other, "a", [record(6)])
        await other.delete("a")
        with expect_refusal(NotFound, "a log that another store deleted"):
            await store.info("a")
        refused(await outcome_of(store, Append("a", [record(7)])), NotFound, "an append to it")
        expect_equal(await store.list(), [], "logs after the deletion")


@store_check("trim", "snapshot", 8, shared=True)
async def a_trim_is_seen_by_all_stores(store: Store, harness: StoreHarness) -> None:
    async with harness.make_store() as other:
        epoch = (await store.create("a")).epoch
        await append(store, "a", *[padded(number, 2000) for number in range(100)])
        expect_equal(len(await read_all(other, "a", Position(epoch, 0))), 100, "events")
        info = await other.trim("a", 90, b"state")
        expect_equal(await store.info("a"), info, "the info after another store's trim")
        expect_equal(await store.snapshot("a"), (89, b"state"), "the snapshot")
        with expect_refusal(Gone, "reading what another store trimmed"):
            await store.read("a", Position(epoch, 5))
        await append(store, "a", record(1))
        expect_equal(len(await read_all(other, "a", Position(epoch, 89))), 12, "events kept")


@store_check("claim", "renew", "orphans", shared=True)
async def leases_hold_across_stores(store: Store, harness: StoreHarness) -> None:
    async with harness.make_store() as other:
        await store.renew(Owner(owner_id="first"), 30)
        fence = (await store.create("a", owner_id="first")).fence
        expect_equal(list(await other.orphans()), [], "orphans while another store renews")
        with expect_refusal(Conflict, "claiming from an owner at another store"):
            await other.claim("a", "second")
        harness.clock.advance(20)
        await store.renew(Owner(owner_id="first"), 30)
        harness.clock.advance(20)
        expect_equal(list(await other.orphans()), [], "orphans after a renewal")
        harness.clock.advance(20)
        for each in (store, other):
            found = [info.log_id for info in await each.orphans()]
            expect_equal(found, ["a"], "orphans after the lease")
        rivals = {"second": store, "third": other}
        for owner_id, each in rivals.items():
            await each.renew(Owner(owner_id=owner_id), 30)

        async def claim(owner_id: str) -> LogInfo | RuncastError:
            try:
                return await rivals[owner_id].claim("a", owner_id)
            except RuncastError as error:
                return error

        outcomes = await asyncio.gather(*map(claim, rivals))
        winners = [info for info in outcomes if isinstance(info, LogInfo)]
        expect_equal(len(winners), 1, "claims at once that succeeded")
        for each in (store, other):
            expect_equal(await each.info("a"), winners[0], "the log of the winner")
        expect_equal(winners[0].fence, fence + 1, "the fence, raised once")


@store_check(5, shared=True)
async def of_answers_at_several_stores_one_wins(store: Store, harness: StoreHarness) -> None:
    async with harness.make_store() as other:
        for turn in range(10):
            log_id = f"question-{turn}"
            await store.create(log_id)
            asked = [
                Append(log_id, [record(number)], close=True, once=Once("answer", str(number)))
                for number in range(2)
            ]
            outcomes = await asyncio.gather(
                outcome_of(store, asked[0]), outcome_of(other, asked[1])
            )
            taken = [isinstance(outcome, Appended) for outcome in outcomes]
            expect_equal(sorted(taken), [False, True], "which of two answers was taken")
            refused(outcomes[taken.index(False)], Conflict, "the answer that came second")
            await expect_log(store, log_id, [record(taken.index(True))])
            await expect_log(other, log_id, [record(taken.index(True))])


@store_check("SharedStore.listen", shared=True)
async def a_listener_hears_of_others_changes(store: Store, harness: StoreHarness) -> None:
    if not isinstance(store, SharedStore):
        raise ContractBroken("a store that several may open on the same data can be listened to")
    changed = asyncio.Event()
    names: set[str | None] = set()
    calls: list[Change | None] = []

    def hear(change: Change | None) -> None:
        names.add(None if change is None else change.log_id)
        changed.set()

    async def wait_for(log_id: str, what: str) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                while not names & {log_id, None}:
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            raise ContractBroken(f"a listener gets {what} within {WAIT_S} s") from None
        names.clear()

    async with harness.make_store() as other:
        stop = store.listen(hear)
        stop_second = store.listen(calls.append)
        await other.create("new")
        await wait_for("new", "the change of a new log")
        for turn in range(5):
            log_id = f"log-{turn}"
            await store.create(log_id)
            await append(other, log_id, record(1), close=turn == 4)
            await wait_for(log_id, f"the change of append {turn}")
            expect_equal((await store.info(log_id)).head, 1, "the head a listener finds")
        expect(len(calls) > 0, "every listener is called")
        stop_second()
        stop_second()
        heard = len(calls)
        for turn in range(3):
            await append(other, "new", record(turn))
            await wait_for("new", "an append after another listener left")
        expect_equal(len(calls), heard, "calls to a listener that left")
        stop()


@store_check("SharedStore.listen", 2, shared=True)
async def a_listener_is_handed_what_others_append(store: Store, harness: StoreHarness) -> None:
    if not isinstance(store, SharedStore):
        raise ContractBroken("a store that several may open on the same data can be listened to")
    heard: list[Change | None] = []
    came = asyncio.Event()

    def hear(change: Change | None) -> None:
        heard.append(change)
        came.set()

    async with harness.make_store() as other:
        stop = store.listen(hear)
        await other.create("a", labels={"k": "v"})
        for turn in range(20):
            await append(other, "a", *[padded(turn, 500)] * 3, close=turn == 19)
        last = await other.info("a")
        try:
            async with asyncio.timeout(WAIT_S):
                while not heard or (heard[-1] is not None and heard[-1].info.head < last.head):
                    came.clear()
                    await came.wait()
        except TimeoutError:
            raise ContractBroken(f"a listener learns how far a log goes in {WAIT_S} s") from None
        stop()
    seen: Change | None = None
    for change in heard:
        if change is None:
            seen = None
            continue
        expect_equal(change.is_deleted, False, "whether a log is reported as deleted")
        expect_equal((change.info.epoch, change.info.labels), (last.epoch, {"k": "v"}), "the log")
        if change.pages:
            before = change.pages[0].first - 1 if seen is None else seen.info.head
            for page in change.pages:
                expect_equal(page.first, before + 1, "the seq after what was handed over before")
                before = page.last
            expect_equal(before, change.info.head, "how far the pages go")
        seen = change
        for page in change.pages:
            read = await read_all(store, "a", Position(last.epoch, page.first - 1))
            found = b"".join(read[: page.last - page.first + 1])
            expect_equal(page.frames, found, f"the frames {page.first} to {page.last} handed over")
    if seen is not None:
        expect_equal(seen.info, last, "the log as last reported")
