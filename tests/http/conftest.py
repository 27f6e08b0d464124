"""Servers for the tests of HTTP: one of each flavour for a whole run of the tests, since starting
and ending one takes a third of a second; tests keep apart by the names of their runs."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from tests.http.serving import (
    FLAVOURS,
    PROTOCOLS,
    Server,
    serving_here,
    serving_in_thread,
)


@pytest.fixture(scope="session", params=FLAVOURS)
def shared_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with serving_in_thread(request.param) as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A server of each flavour."""
    return shared_server


@pytest.fixture(params=PROTOCOLS)
async def here(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A server on the loop of the test, with each protocol."""
    async with serving_here(request.param) as server:
        yield server


_numbers = itertools.count()


@pytest.fixture
def name() -> Callable[[], str]:
    """Makes names that no other test uses."""
    return lambda: f"run-{next(_numbers)}"
