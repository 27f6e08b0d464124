"""Owners: leases, orphans, claims, fences."""

import asyncio

from runcast.errors import Conflict, NotFound, RuncastError, RunClosed, Stale
from runcast.stores.base import Append, LogInfo, Owner, Store
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

# Owners without a machine: only the lease shows whether they are alive.
_FIRST = Owner(owner_id="first")
_SECOND = Owner(owner_id="second")


async def _orphan_ids(store: Store) -> list[str]:
    return sorted(info.log_id for info in await store.orphans())


@store_check("claim", "renew", "orphans")
async def a_living_owner_keeps_its_log(store: Store, harness: StoreHarness) -> None:
    await store.renew(_FIRST, 30)
    made = await store.create("a", owner_id="first")
    expect_equal(await _orphan_ids(store), [], "orphans while the owner lives")
    for seconds in (0, 15, 14):
        harness.clock.advance(seconds)
        with expect_refusal(Conflict, "claiming the log of a living owner"):
            await store.claim("a", "second")
    expect_equal(await store.info("a"), made, "the log of a living owner")
    only(await outcome_of(store, Append("a", [record(1)], fence=made.fence)))


@store_check("claim", "renew", "orphans")
async def a_log_whose_lease_is_over_can_be_claimed(store: Store, harness: StoreHarness) -> None:
    await store.renew(_FIRST, 30)
    await store.renew(_SECOND, 300)
    await store.create("a", owner_id="first", labels={"k": "v"}, ttl_s=5)
    await append(store, "a", record(1))
    before = await store.info("a")
    harness.clock.advance(31)
    expect_equal(list(await store.orphans()), [before], "orphans after the lease is over")
    claimed = await store.claim("a", "second")
    expect_equal(claimed.fence, before.fence + 1, "the fence after a claim")
    before.fence, before.owner_id = claimed.fence, "second"
    expect_equal(claimed, before, "the info after a claim")
    expect_equal(await store.info("a"), before, "the info read afterwards")
    expect_equal(await _orphan_ids(store), [], "orphans after the claim")
    with expect_refusal(Conflict, "claiming back from a living owner"):
        await store.claim("a", "first")
    asked = Append("a", [record(2)], fence=claimed.fence - 1, close=True)
    refused(await outcome_of(store, asked), Stale, "an append of the owner that was")
    only(await outcome_of(store, Append("a", [record(3)], fence=claimed.fence)))
    await expect_log(store, "a", [record(1), record(3)])


@store_check("renew")
async def a_renewed_lease_runs_from_now(store: Store, harness: StoreHarness) -> None:
    await store.renew(_FIRST, 30)
    await store.create("a", owner_id="first")
    for _ in range(3):
        harness.clock.advance(20)
        await store.renew(_FIRST, 30)
        expect_equal(await _orphan_ids(store), [], "orphans of an owner that renews")
    await store.renew(_FIRST, 5)
    harness.clock.advance(6)
    expect_equal(await _orphan_ids(store), ["a"], "orphans after a shorter lease")
    # Nobody claimed the log meanwhile: its owner was only slow.
    await store.renew(_FIRST, 30)
    expect_equal(await _orphan_ids(store), [], "orphans after a late renewal")
    with expect_refusal(Conflict, "claiming after a late renewal"):
        await store.claim("a", "second")


@store_check("claim", "renew", "orphans")
async def a_step_of_the_wall_clock_ends_no_lease_and_lengthens_none(
    store: Store, harness: StoreHarness
) -> None:
    await store.create("a", owner_id="first")
    for step in (60, 86_400, -3 * 86_400, 0.5 * 86_400):
        await store.renew(_FIRST, 30)
        harness.clock.jump(step)
        harness.clock.advance(29)
        expect_equal(await _orphan_ids(store), [], f"orphans after a step of {step} s")
        with expect_refusal(Conflict, f"claiming after a step of {step} s"):
            await store.claim("a", "second")
        harness.clock.advance(2)
        expect_equal(await _orphan_ids(store), ["a"], f"orphans a lease after a step of {step} s")


@store_check("renew")
async def a_lease_can_be_given_up(store: Store, harness: StoreHarness) -> None:
    await store.renew(_FIRST, 0)  # a lease that was never held
    await store.renew(_FIRST, 3600)
    await store.renew(_SECOND, 3600)
    await store.create("a", owner_id="first")
    await store.create("b", owner_id="second")
    await store.renew(_FIRST, 0)
    expect_equal(await _orphan_ids(store), ["a"], "orphans after a lease was given up")
    expect_equal((await store.claim("a", "second")).owner_id, "second", "the new owner")
    expect_equal(await _orphan_ids(store), [], "orphans after the claim")


@store_check("orphans", "claim")
async def only_open_logs_with_an_owner_are_orphans(store: Store, harness: StoreHarness) -> None:
    await store.renew(_FIRST, 10)
    for number in range(6):
        await store.create(f"log-{number}", owner_id="first")
    await store.create("unowned")
    await append(store, "log-1", record(1), close=True)
    await store.delete("log-2")
    await store.create("log-3", replace=True)
    harness.clock.advance(11)
    expect_equal(await _orphan_ids(store), ["log-0", "log-4", "log-5"], "orphans")
    expect_equal(len(await store.orphans(2)), 2, "orphans when two are asked for")
    with expect_refusal(RunClosed, "claiming a closed log"):
        await store.claim("log-1", "second")
    with expect_refusal(NotFound, "claiming a log that is not there"):
        await store.claim("log-2", "second")
    claimed = await store.claim("unowned", "second")
    expect_equal(claimed.owner_id, "second", "the owner of a log that had none")


@store_check("claim")
async def of_many_claims_at_once_one_wins(store: Store, harness: StoreHarness) -> None:
    await store.renew(_FIRST, 10)
    fence = (await store.create("a", owner_id="first")).fence
    harness.clock.advance(11)
    rivals = [Owner(owner_id=f"rival-{number}") for number in range(8)]
    for rival in rivals:
        await store.renew(rival, 60)

    async def claim(owner_id: str) -> LogInfo | RuncastError:
        try:
            return await store.claim("a", owner_id)
        except RuncastError as error:
            return error

    outcomes = await asyncio.gather(*(claim(rival.owner_id) for rival in rivals))
    winners = [info for info in outcomes if isinstance(info, LogInfo)]
    expect_equal(len(winners), 1, "claims that succeeded")
    for outcome in outcomes:
        expect(isinstance(outcome, LogInfo | Conflict), f"a loser gets Conflict, not {outcome!r}")
    expect_equal(winners[0].fence, fence + 1, "the fence, raised once")
    expect_equal(await store.info("a"), winners[0], "the log of the winner")
