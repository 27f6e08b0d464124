"""Kinds of logs: apart under the same name, found by kind, alike in everything else."""

from runcast.errors import Conflict, InvalidValue, NotFound
from runcast.events.position import Position
from runcast.stores.base import Append, Store
from runcast.testing.contract.harness import (
    StoreHarness,
    expect_equal,
    expect_refusal,
    store_check,
)
from runcast.testing.contract.steps import (
    append,
    expect_log,
    only,
    outcome_of,
    record,
)

__all__ = ()

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
    expect_equal(await ids(kind="deliver"), [], "logs of a kind that there is none of")
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
