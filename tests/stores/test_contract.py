"""Every store keeps the contract, and the checks of the contract notice a store that does not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runcast.errors import RuncastError
from runcast.stores.base import Store
from runcast.stores.memory import MemoryStore
from runcast.stores.sqlite import SQLiteStore
from runcast.testing import ContractBroken, FakeClock, StoreCheck, contract_checks
from runcast.testing.contract import sharing
from tests.stores.broken import BROKEN_STORES
from tests.stores.naive import NaiveData, NaiveStore


class Harness:
    """One set of data for one check."""

    def __init__(
        self, make: Callable[[FakeClock], Store], *, durable: bool = False, shared: bool = False
    ) -> None:
        self._make = make
        self.clock = FakeClock()
        self.durable = durable
        self.shared = shared

    def make_store(self) -> Store:
        return self._make(self.clock)


@pytest.mark.parametrize("check", contract_checks(durable=False, shared=False), ids=str)
async def test_memory(check: StoreCheck) -> None:
    await check(Harness(MemoryStore))


@pytest.mark.parametrize("check", contract_checks(), ids=str)
async def test_sqlite(check: StoreCheck, tmp_path: Path) -> None:
    path = str(tmp_path / "runs.db")
    await check(Harness(lambda clock: SQLiteStore(path, clock), durable=True, shared=True))


@pytest.mark.parametrize("check", contract_checks(), ids=str)
async def test_model(check: StoreCheck) -> None:
    data = NaiveData()
    await check(Harness(lambda clock: NaiveStore(clock, data), durable=True, shared=True))


@pytest.mark.parametrize("broken", BROKEN_STORES, ids=lambda broken: broken.__name__)
async def test_a_store_that_breaks_a_promise_is_noticed(
    broken: type[NaiveStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "WAIT_S", 0.05)  # some of these stores never tell
    for check in contract_checks():
        data = NaiveData()
        harness = Harness(lambda clock, data=data: broken(clock, data), durable=True, shared=True)
        try:
            await check(harness)
        except (ContractBroken, RuncastError, ExceptionGroup):
            return

    pytest.fail(f"no check noticed: {broken.__doc__}")
