"""Changes: every log that was created, changed, closed or deleted after a point is returned."""

from runcast.errors import Gone, InvalidValue
from runcast.stores.base import MAX_LIST, Append, Change, Store
from runcast.testing.contract.harness import (
    StoreHarness,
    append,
    create_logs,
    expect,
    expect_equal,
    expect_refusal,
    only,
    outcome_of,
    record,
    store_check,
)

_ASKS = b'"time":1.0,"type":"interrupt_request","data":{"interrupt_id":"q"}}'
_RESOLVES = b'"time":1.0,"type":"interrupt_resolved","data":{"interrupt_id":"q"}}'


async def _since(store: Store, after: str, limit: int = MAX_LIST) -> dict[str, Change]:
    """Return everything that changed after a point, page by page."""
    found: dict[str, Change] = {}
    while True:
        page = await store.changes(after, limit=limit)
        expect(len(page.changes) <= limit, f"at most {limit} changes, got {len(page.changes)}")
        if page.after == after:
            expect_equal(page.changes, [], "changes that lead no further")
            return found
        found |= {change.log_id: change for change in page.changes}
        after = page.after


async def _present(store: Store) -> str:
    page = await store.changes()
    expect_equal(page.changes, [], "changes when the present point is asked for")
    return page.after


@store_check(13)
async def a_change_of_any_kind_is_found(store: Store, harness: StoreHarness) -> None:
    await create_logs(store, ["asks", "answered", "labelled", "ends", "goes", "begins", "stays"])
    await append(store, "answered", _ASKS)
    point = await _present(store)
    expect_equal(await _since(store, point), {}, "changes after the present point")
    await store.create("new", kind="delivery")
    await append(store, "asks", _ASKS)
    await append(store, "answered", _RESOLVES)
    only(await outcome_of(store, Append("labelled", labels={"k": "v"})))
    await append(store, "ends", close=True)
    gone = await store.info("goes")
    await store.delete("goes")
    await store.create("begins", replace=True)
    found = await _since(store, point)
    changed = {"asks", "answered", "labelled", "ends", "begins"}
    for info in [*[await store.info(log_id) for log_id in changed], *await store.list(kind=None)]:
        if info.log_id != "stays":
            expect_equal(found.get(info.log_id), Change(info), f"the change of {info.log_id}")
    expect_equal(found.get("goes"), Change(gone, is_deleted=True), "the change of a deleted log")
    expect_equal("stays" in found, False, "whether a log that nobody touched has changed")


@store_check(13)
async def each_log_is_found_once_as_it_is_now(store: Store, harness: StoreHarness) -> None:
    point = await _present(store)
    for turn in range(3):
        await create_logs(store, [f"log-{turn}"])
    only(await outcome_of(store, Append("log-0", [record(1)], labels={"k": "v"})))
    await append(store, "log-0", record(2), close=True)
    page = await store.changes(point)
    expect_equal(
        [change.log_id for change in page.changes],
        ["log-1", "log-2", "log-0"],
        "logs in the order of their last changes",
    )
    expect_equal(page.changes[-1].info, await store.info("log-0"), "a log that changed thrice")
    await store.delete("log-1")
    again = await _since(store, page.after)
    expect_equal(list(again), ["log-1"], "logs that changed after the page")
    expect_equal(again["log-1"].is_deleted, True, "whether the log is gone")
    await store.create("log-1")
    again = await _since(store, page.after)
    expect_equal(again["log-1"], Change(await store.info("log-1")), "a log that was made again")


@store_check(13)
async def changes_come_in_pages(store: Store, harness: StoreHarness) -> None:
    point = await _present(store)
    names = [f"log-{number:02}" for number in range(23)]
    await create_logs(store, names)
    group = [Append(name, close=True) for name in names]
    for outcome in await store.commit(group):  # many changes in one step
        only(outcome)
    for limit in (1, 2, 7, MAX_LIST):
        found = await _since(store, point, limit)
        expect_equal(sorted(found), names, f"logs by pages of {limit}")
        expect(all(change.info.closed for change in found.values()), "all have ended")
    for limit in (0, MAX_LIST + 1):
        with expect_refusal(InvalidValue, f"a limit of {limit}"):
            await store.changes(point, limit=limit)


@store_check("Changes.changes")
async def what_is_no_point_is_refused(store: Store, harness: StoreHarness) -> None:
    await create_logs(store, ["a"])
    for text in ("x", "1", "-", " ", "..", "\0", "é", "1-2-3-4", "z" * 1000):
        with expect_refusal(InvalidValue, f"the point {text!r:.20}"):
            await store.changes(text)


@store_check(13, shared=True)
async def changes_of_other_stores_are_found(store: Store, harness: StoreHarness) -> None:
    async with harness.make_store() as other:
        await create_logs(store, ["a", "b"])
        points = [await _present(each) for each in (store, other)]
        await append(other, "a", close=True)
        await store.delete("b")
        await other.create("c")
        for each in (store, other):
            for point in points:
                found = await _since(each, point)
                deleted = {log_id: change.is_deleted for log_id, change in found.items()}
                expect_equal(deleted, {"a": False, "b": True, "c": False}, "what changed")
                expect(found["a"].info.closed, "the end of a log at another store is found")


@store_check(13, durable=True)
async def after_a_restart_changes_are_found_or_refused(store: Store, harness: StoreHarness) -> None:
    point = await _present(store)
    await create_logs(store, ["a", "b"])
    await store.delete("b")
    await store.close()
    async with harness.make_store() as again:
        await again.create("c")
        try:
            found = await _since(again, point)
        except Gone:
            return
        deleted = {log_id: change.is_deleted for log_id, change in found.items()}
        expect_equal(deleted, {"a": False, "b": True, "c": False}, "what changed")
