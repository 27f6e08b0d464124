"""The store contract as checks that the author of any store can run, in any test runner.

With pytest, for a store that keeps its data under a path:

    class Harness:
        durable = shared = True

        def __init__(self, path):
            self.path, self.clock = path, FakeClock()

        def make_store(self):
            return MyStore(self.path, clock=self.clock)

    @pytest.mark.parametrize("check", contract_checks(), ids=str)
    async def test_my_store_keeps_the_contract(check, tmp_path):
        await check(Harness(tmp_path))

Each check takes a harness without data, opens a store on it, and closes it again. No check asks
which store it has, sleeps, or relies on anything that `runcast.stores.base` does not state.
"""

from runcast.testing.contract import (
    appending,
    attachments,
    changes,
    durable,
    hostile,
    listing,
    logs,
    once,
    owning,
    producers,
    reading,
    retention,
    sharing,
    statuses,
)
from runcast.testing.contract.harness import ContractBroken, StoreCheck, StoreHarness

__all__ = ("ContractBroken", "StoreCheck", "StoreHarness", "contract_checks")


def contract_checks(*, durable: bool = True, shared: bool = True) -> list[StoreCheck]:
    """Return all checks, or those for data that is not durable or not shared."""
    return [
        check
        for module in _SUBJECTS
        for check in vars(module).values()
        if isinstance(check, StoreCheck)
        and (durable or not check.needs_durable)
        and (shared or not check.needs_shared)
    ]


_SUBJECTS = (
    appending,
    attachments,
    once,
    producers,
    reading,
    logs,
    listing,
    statuses,
    changes,
    retention,
    owning,
    hostile,
    durable,
    sharing,
)
