"""What tests of runcast need, shipped for whoever writes a store or a program on top of it."""

from runcast.testing.clock import FakeClock
from runcast.testing.faults import FaultyStore, StoreCalls
from runcast.testing.store_contract import (
    ContractBroken,
    StoreCheck,
    StoreHarness,
    contract_checks,
)

__all__ = (
    "ContractBroken",
    "FakeClock",
    "FaultyStore",
    "StoreCalls",
    "StoreCheck",
    "StoreHarness",
    "contract_checks",
)
