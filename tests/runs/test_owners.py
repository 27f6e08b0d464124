"""Whose a run is: the process that opened the hub, and not the one that made it."""

import subprocess
import sys
from pathlib import Path

import pytest

import runcast
from runcast.errors import StoreUnavailable
from tests.environment import environment
from tests.waiting import WAIT_S


def test_a_hub_that_was_made_before_a_fork_belongs_to_the_process_that_opens_it(
    tmp_path: Path,
) -> None:
    script = Path(__file__).with_name("preloaded.py")
    said = subprocess.run(
        [sys.executable, str(script), f"sqlite:///{tmp_path}/runs.db"],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=2 * WAIT_S,
        check=True,
    )
    assert said.stdout == "failed lost"


async def test_a_hub_has_one_identity_from_its_opening_to_its_end() -> None:
    hub = runcast.OpenHub()
    with pytest.raises(StoreUnavailable, match="is not open"):
        _ = hub.hub.lease.owner_id
    async with hub:
        owner_id = hub.hub.lease.owner_id
        await hub.open()
        assert hub.hub.lease.owner_id == owner_id
    with pytest.raises(StoreUnavailable, match="is not open"):
        _ = hub.hub.lease.owner_id
