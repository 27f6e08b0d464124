"""Every store keeps the contract, and the checks of the contract notice a store that does not."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from runcast.errors import RuncastError
from runcast.stores.base import Store
from runcast.stores.memory import MemoryStore
from runcast.stores.redis.store import RedisStore
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import ContractBroken, FakeClock, StoreCheck, contract_checks
from runcast.testing.contract import sharing
from tests.stores.broken import BROKEN_STORES
from tests.stores.naive import NaiveData, NaiveStore
from tests.stores.noticed import NOTICED_BY
from tests.stores.servers import namespace_url


class Harness:
    """One set of data for one check."""

    def __init__(self, make: Callable[[FakeClock], Store], *, shared: bool = True) -> None:
        self._make = make
        self.clock = FakeClock()
        self.durable = True
        self.shared = shared

    def make_store(self) -> Store:
        return self._make(self.clock)


def memory(path: Path) -> Harness:
    stores: list[MemoryStore] = []

    def make(clock: FakeClock) -> MemoryStore:
        # Its data live as long as the object, which may be opened again.
        if not stores:
            stores.append(MemoryStore(clock))
        return stores[0]

    return Harness(make, shared=False)


def sqlite(path: Path) -> Harness:
    return Harness(lambda clock: SQLiteStore(str(path / "runs.db"), clock))


def model(path: Path) -> Harness:
    return Harness(partial(NaiveStore, data=NaiveData()))


def valkey(path: Path) -> Harness:
    return on_server("valkey")


def redis(path: Path) -> Harness:
    return on_server("redis")


def cluster(path: Path) -> Harness:
    return on_server("cluster")


def on_server(kind: str) -> Harness:
    url = namespace_url(kind)
    return Harness(lambda clock: RedisStore(url, clock, lease_clock=clock.monotonic))


STORES = (
    *((memory, False), (sqlite, True), (model, True)),
    *((valkey, True), (redis, True), (cluster, True)),
)

CASES = [
    pytest.param(
        make,
        check,
        id=f"{make.__name__}-{check}",
        marks=[pytest.mark.heavy] if make in (redis, cluster) else [],
    )
    for make, shared in STORES
    for check in contract_checks(shared=shared)
]


@pytest.mark.anyio
@pytest.mark.parametrize(("make", "check"), CASES)
async def test_a_store_keeps_the_contract(
    make: Callable[[Path], Harness], check: StoreCheck, tmp_path: Path
) -> None:
    harness = make(tmp_path)
    assert check.applies_to(harness)

    await check(harness)


CHECKS = {str(check): check for check in contract_checks()}


def test_it_is_known_which_check_notices_a_broken_store() -> None:
    assert NOTICED_BY.keys() == {broken.__name__ for broken in BROKEN_STORES}


@pytest.mark.anyio
@pytest.mark.parametrize("broken", BROKEN_STORES, ids=lambda broken: broken.__name__)
async def test_a_store_that_breaks_a_promise_is_noticed(
    broken: type[NaiveStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "WAIT_S", 0.05)  # some of these stores never tell
    check = CHECKS[NOTICED_BY[broken.__name__]]
    harness = Harness(partial(broken, data=NaiveData()))

    try:
        await check(harness)
    except (ContractBroken, RuncastError, ExceptionGroup):
        return

    pytest.fail(f"{check} has not noticed: {broken.__doc__}")
