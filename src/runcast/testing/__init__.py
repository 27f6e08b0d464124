"""Tools for tests of stores, functions and programs that use runcast."""

from runcast.testing.clock import FakeClock
from runcast.testing.contract import (
    ContractBroken,
    StoreCheck,
    StoreHarness,
    contract_checks,
)
from runcast.testing.event_checks import EventsBroken, check_events
from runcast.testing.faults import FaultyStore, StoreCalls
from runcast.testing.models.server import ModelServer
from runcast.testing.models.turns import ModelCall, ModelTurn

__all__ = (
    "ContractBroken",
    "EventsBroken",
    "FakeClock",
    "FaultyStore",
    "ModelCall",
    "ModelServer",
    "ModelTurn",
    "StoreCalls",
    "StoreCheck",
    "StoreHarness",
    "check_events",
    "contract_checks",
)
