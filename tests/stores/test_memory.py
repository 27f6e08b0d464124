"""What holds for a store in memory beyond the contract."""

import pytest

from runcast.stores.memory import MemoryStore
from runcast.testing.contract.harness import append, record

pytestmark = pytest.mark.anyio


async def test_logs_that_were_replaced_or_deleted_leave_nothing_behind() -> None:
    """A run that begins anew each minute, for years, would fill the memory."""
    store = MemoryStore()
    for _ in range(3):
        await store.create("a", replace=True)
        await append(store, "a", record(1))
    await store.create("b")
    await store.delete("b")

    ledger = store._ledger
    assert list(ledger.logs) == ["a"]
    assert (ledger.dead_keys, ledger.deleted) == ([], set())
