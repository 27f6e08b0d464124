"""A client sees each event once, whatever happens to its connections.

The clients of other languages run the same scenarios: `conformance/scenarios`.
"""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.client.reconnect import ReconnectOptions
from runcast.errors import RuncastError
from runcast.events.model import Event
from tests.cli.served import Served, serve
from tests.client.spoiling import SpoilingProxy, spoiling
from tests.waiting import START_S
from tests.wire.reference import load

pytestmark = pytest.mark.heavy

SETTINGS = {
    "RUNCAST_RETRY_S": "0.02",
    "RUNCAST_HEARTBEAT_S": "0.1",
    "RUNCAST_LONG_POLL_S": "1",
}


class Restarted:
    """A server that can be killed and started again with the same port and store."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.served = self._start(0)

    def _start(self, port: int) -> Served:
        store = f"sqlite:///{self._folder / 'runs.db'}"
        made = serve("--store", store, cwd=self._folder, env=SETTINGS, port=port)
        return self._stack.enter_context(made)

    def restart(self) -> None:
        port = self.served.port
        self.served.end(signal.SIGKILL)
        self.served = self._start(port)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    with ExitStack() as stack:
        yield Restarted(tmp_path_factory.mktemp("scenarios"), stack)


@pytest.mark.parametrize("scenario", load("scenarios/watching.json"))
def test_a_watcher_sees_each_event_once(scenario: dict[str, Any], server: Restarted) -> None:
    then = scenario["then"]

    events, asked, error = asyncio.run(watched(scenario, server))

    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    if "error" in then:
        assert isinstance(error, RuncastError)
        assert error.code == then["error"]
    else:
        assert error is None
        assert events[-1].type == then["ends"]
        if then["ends"] == "done":
            assert len(events) == scenario["run"]["n"] + 2
        if "code" in then:
            assert events[-1].data["code"] == then["code"]
    assert asked.streams >= then.get("least_streams", 1)
    assert asked.streams == then.get("streams", asked.streams)
    assert (asked.polls > 0) == then.get("polls", False)


async def watched(
    scenario: dict[str, Any], server: Restarted
) -> tuple[list[Event], SpoilingProxy, RuncastError | None]:
    """Return what a watcher saw, the proxy that it asked, and the error that ended it."""
    events: list[Event] = []
    error: RuncastError | None = None
    restart: asyncio.Task[None] | None = None
    given = scenario.get("client", {})
    buffered_s = 0.4 if scenario["then"].get("polls") else 20.0
    waits = ReconnectOptions(attempts=given.get("attempts"), buffered_s=buffered_s)
    timeout_s = given.get("timeout_s", 30.0)
    async with (
        asyncio.timeout(START_S + 10),
        spoiling(server.served.port, scenario["streams"]) as proxy,
        runcast.AsyncClient(server.served.url) as direct,
        runcast.AsyncClient(proxy.url, timeout_s=timeout_s, reconnect=waits) as client,
    ):
        run_id = await direct.invoke("emit_events", scenario["run"])
        try:
            async for event in client.watch(run_id):
                events.append(event)
                if len(events) == scenario.get("kill_after"):
                    restart = asyncio.create_task(asyncio.to_thread(server.restart))
        except RuncastError as raised:
            error = raised
        if restart is not None:
            await restart
        return events, proxy, error
