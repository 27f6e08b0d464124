"""Lists: order, pages, label filters, all while logs come and go."""

from runcast.stores.base import MAX_LIST, Append, Store
from runcast.testing.contract.harness import StoreHarness, expect, expect_equal, store_check
from runcast.testing.contract.steps import only, outcome_of

__all__ = ()


async def _list_all(store: Store, limit: int, labels: dict[str, str] | None = None) -> list[str]:
    found: list[str] = []
    before: tuple[float, str] | None = None
    while True:
        page = await store.list(labels=labels, before=before, limit=limit)
        expect(len(page) <= limit, f"at most {limit} logs a page, got {len(page)}")
        found += [info.log_id for info in page]
        if len(page) < limit:
            return found
        before = (page[-1].created_at, page[-1].log_id)


@store_check("list")
async def logs_are_listed_newest_first(store: Store, harness: StoreHarness) -> None:
    expect_equal(await store.list(), [], "logs of an empty store")
    made: list[tuple[float, str]] = []
    # Ids of one moment in no order, and a clock that goes back.
    for seconds, log_ids in ((0.0, "bAcB"), (0.001, "a1"), (-100.0, "dD"), (1e6, "Z")):
        harness.clock.jump(seconds)
        made += [((await store.create(log_id)).created_at, log_id) for log_id in log_ids]
    expected = [log_id for _, log_id in sorted(made, reverse=True)]
    for limit in (1, 2, 3, 8, 9, 10, MAX_LIST):
        expect_equal(await _list_all(store, limit), expected, f"logs by pages of {limit}")
    infos = await store.list()
    expect_equal([info.log_id for info in infos], expected, "logs of one page")
    for info in infos:
        expect_equal(info, await store.info(info.log_id), "a listed info")
    middle = (infos[4].created_at, infos[4].log_id)
    await store.delete(infos[4].log_id)
    rest = [info.log_id for info in await store.list(before=middle)]
    expect_equal(rest, expected[5:], "logs before a key whose log is gone")


@store_check("list")
async def a_label_filter_asks_for_all_of_them(store: Store, harness: StoreHarness) -> None:
    for number in range(12):
        harness.clock.advance(1)
        labels = {"even": str(number % 2 == 0), "third": str(number % 3)}
        await store.create(f"log-{number}", labels=labels)
    for limit in (1, 2, 50):
        found = await _list_all(store, limit, {"even": "True", "third": "0"})
        expect_equal(found, ["log-6", "log-0"], f"logs with two labels by pages of {limit}")
        found = await _list_all(store, limit, {"third": "1"})
        expect_equal(found, ["log-10", "log-7", "log-4", "log-1"], "logs with one label")
    for labels in ({"third": "3"}, {"other": "0"}, {"Third": "0"}, {"even": "true"}):
        expect_equal(await store.list(labels=labels), [], f"logs with {labels}")
    many = {f"label-{number}": "x" for number in range(2000)}
    expect_equal(await store.list(labels=many), [], "logs with more labels than any can have")
    expect_equal(len(await store.list(labels={})), 12, "logs with no label asked for")


@store_check("list", "Append")
async def a_label_filter_sees_every_change(store: Store, harness: StoreHarness) -> None:
    for log_id in ("a", "b", "c"):
        harness.clock.advance(1)
        await store.create(log_id, labels={"status": "running", "log": log_id})

    async def running() -> list[str]:
        return [info.log_id for info in await store.list(labels={"status": "running"})]

    expect_equal(await running(), ["c", "b", "a"], "running logs")
    only(await outcome_of(store, Append("b", labels={"status": "done"}, close=True)))
    expect_equal(await running(), ["c", "a"], "running logs after one was done")
    only(await outcome_of(store, Append("c", labels={"status": ""})))
    expect_equal(await running(), ["a"], "running logs after one lost its label")
    only(await outcome_of(store, Append("c", labels={"status": "running"})))
    expect_equal(await running(), ["c", "a"], "running logs after it got it back")
    await store.create("c", replace=True)
    expect_equal(await running(), ["a"], "running logs after one was replaced")
    await store.delete("a")
    expect_equal(await running(), [], "running logs after the last was deleted")


@store_check("list")
async def paging_misses_no_log_while_others_change(store: Store, harness: StoreHarness) -> None:
    for number in range(40):
        harness.clock.advance(1)
        await store.create(f"log-{number:02}", labels={"keep": "yes"})
    found: list[str] = []
    before: tuple[float, str] | None = None
    for turn in range(9):
        page = await store.list(labels={"keep": "yes"}, before=before, limit=4)
        found += [info.log_id for info in page]
        before = (page[-1].created_at, page[-1].log_id)
        harness.clock.advance(1)
        await store.create(f"new-{turn}", labels={"keep": "yes"})
        await store.delete(found[-2])
        only(await outcome_of(store, Append(found[-1], labels={"keep": "no"}, close=True)))
        only(await outcome_of(store, Append("log-00", [b'"n":1'])))
    # Of what is still to come, one goes and one no longer matches.
    await store.delete("log-02")
    only(await outcome_of(store, Append("log-03", labels={"keep": "no"})))
    page = await store.list(labels={"keep": "yes"}, before=before, limit=4)
    found += [info.log_id for info in page]
    expected = [f"log-{number:02}" for number in range(39, -1, -1) if number not in (2, 3)]
    expect_equal(found, expected, "logs seen page by page")


@store_check("MAX_LIST")
async def a_list_can_be_as_long_as_promised(store: Store, harness: StoreHarness) -> None:
    log_ids = [f"log-{number:04}" for number in range(MAX_LIST + 7)]
    for log_id in log_ids:
        await store.create(log_id)
    log_ids.reverse()
    found = [info.log_id for info in await store.list(limit=MAX_LIST)]
    expect_equal(found, log_ids[:MAX_LIST], "the longest page")
    expect_equal(await _list_all(store, MAX_LIST), log_ids, "all pages")
    found = [info.log_id for info in await store.list()]
    expect_equal(found, log_ids[:50], "a page of the default length")
