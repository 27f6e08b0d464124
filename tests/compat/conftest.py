"""Fixtures of the tests of compat: a hub of their own, used by everything in the package."""

from collections.abc import AsyncIterator

import pytest

from runcast._app import OpenHub
from runcast.compat import using_hub
from runcast.testing import FakeClock
from tests.opening import clock as clock
from tests.opening import store as store


@pytest.fixture
async def hub(clock: FakeClock) -> AsyncIterator[OpenHub]:
    """The hub in use, with a clock that stands still."""
    async with using_hub(OpenHub(clock=clock)) as hub:
        yield hub
