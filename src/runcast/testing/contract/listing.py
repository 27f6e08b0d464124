"""Lists: order, pages and label filters while logs are created and deleted; and kinds of logs.

Logs of several kinds are separate under the same name, are found by kind, and are alike in
everything else.
"""

from runcast.errors import Conflict, InvalidValue, NotFound
from runcast.events.position import Position
from runcast.stores.base import MAX_LIST, Append, Store
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
    store_check,
)


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
    # Unordered ids of the same moment, and a clock that goes back.
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
    # Of the remaining logs, one is deleted and one no longer matches.
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


_IDS = {"run": "a", "delivery": "delivery/a", "stream": "stream/a", "x": "x/a"}
"""The log named `a` of each kind."""


async def _make(store: Store) -> None:
    for kind, log_id in _IDS.items():
        info = await store.create("a", kind=kind)
        expect_equal((info.log_id, info.kind, info.name), (log_id, kind, "a"), "a new log")


@store_check(9, "create")
async def logs_of_two_kinds_may_have_one_name(store: Store, harness: StoreHarness) -> None:
    await _make(store)
    with expect_refusal(Conflict, "a log of the same kind and name"):
        await store.create("a", kind="delivery")
    for number, log_id in enumerate(_IDS.values()):
        await append(store, log_id, *[record(number)] * (number + 1))
    for number, log_id in enumerate(_IDS.values()):
        await expect_log(store, log_id, [record(number)] * (number + 1))
    replaced = await store.create("a", kind="delivery", replace=True)
    await store.delete("stream/a")
    await store.trim("x/a", 3, b"state")
    expect_equal((await store.info("delivery/a")).epoch, replaced.epoch, "the epoch replaced")
    with expect_refusal(NotFound, "a log that was deleted"):
        await store.info("stream/a")
    await expect_log(store, "a", [record(0)])
    page = await store.read("x/a", Position((await store.info("x/a")).epoch, 2))
    expect_equal((page.first, page.last), (3, 4), "what follows a trim")


@store_check("list")
async def a_list_is_of_one_kind_or_of_all(store: Store, harness: StoreHarness) -> None:
    await _make(store)
    await store.create("b", kind="delivery", labels={"k": "v"})
    await append(store, "delivery/a", record(1), close=True)

    async def ids(**options: object) -> list[str]:
        return sorted([info.log_id for info in await store.list(**options)])  # type: ignore[arg-type]

    expect_equal(await ids(), ["a"], "logs of no kind asked for: runs")
    expect_equal(await ids(kind="run"), ["a"], "runs")
    expect_equal(await ids(kind="delivery"), ["delivery/a", "delivery/b"], "deliveries")
    expect_equal(await ids(kind="deliver"), [], "logs of a kind without logs")
    expect_equal(await ids(kind=None), sorted([*_IDS.values(), "delivery/b"]), "logs of all kinds")
    expect_equal(await ids(kind=None, labels={"k": "v"}), ["delivery/b"], "all with a label")
    first = await store.list(kind="delivery", limit=1)
    before = (first[0].created_at, first[0].log_id)
    rest = await store.list(kind="delivery", limit=1, before=before)
    expect_equal(
        sorted(info.log_id for info in (*first, *rest)),
        ["delivery/a", "delivery/b"],
        "deliveries, page by page",
    )


@store_check("expired", "orphans", "claim")
async def every_kind_grows_old_and_is_orphaned(store: Store, harness: StoreHarness) -> None:
    for kind in _IDS:
        await store.create("a", kind=kind, owner_id="first", ttl_s=5.0)
    found = sorted(info.log_id for info in await store.orphans())
    expect_equal(found, sorted(_IDS.values()), "logs whose owner is dead")
    for log_id in _IDS.values():
        claimed = await store.claim(log_id, "second")
        expect_equal(claimed.log_id, log_id, "the log that was claimed")
        only(await outcome_of(store, Append(log_id, close=True, fence=claimed.fence)))
    harness.clock.advance(6)
    expect_equal(sorted(await store.expired()), sorted(_IDS.values()), "logs whose time is over")


@store_check("create", 9)
async def what_is_no_kind_or_id_is_refused(store: Store, harness: StoreHarness) -> None:
    for kind in ("", "Run", "run/", "a/b", "é", "-a", "x" * 17, "a b", "a\n"):
        with expect_refusal(InvalidValue, f"the kind {kind!r}"):
            await store.create("a", kind=kind)
    for name in ("delivery/a", "run/a", "/a", "a/"):
        for kind in ("run", "delivery"):
            with expect_refusal(InvalidValue, f"the name {name!r}"):
                await store.create(name, kind=kind)
    await store.create("a")
    for log_id in ("run/a", "/a", "a/", "a/a", "delivery/a", "delivery/"):
        with expect_refusal(NotFound, f"the log {log_id!r}"):
            await store.info(log_id)
