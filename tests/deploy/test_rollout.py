"""Nodes are replaced one after another, as docs/deploy.md says, while people start and watch runs.

The services are those of deploy/compose.yaml: two nodes, Valkey, nginx.
"""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

import runcast
from tests.cli.served import Answer
from tests.deploy.composed import NODES, Composed, composed
from tests.http.test_proxies import TOKEN, Proxy
from tests.waiting import START_S, WAIT_S

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]

FUNCTIONS = Path(__file__).with_name("functions.py")
GRACE_S = 4.0
TICKS = {"n": 120, "rate": 50}
"""Runs of 2.4 s: each ends within the grace."""


class Seen(NamedTuple):
    """What a watcher was shown of a run."""

    seqs: list[int]
    types: list[str]
    cuts: int


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Composed]:
    with composed(tmp_path, FUNCTIONS, RUNCAST_SHUTDOWN_GRACE_S=str(GRACE_S)) as services:
        yield services


class People:
    """Clients of the proxy, which know nothing of nodes."""

    def __init__(self, services: Composed) -> None:
        port = services.ports["proxy"]
        self._url, self._proxy = services.url, Proxy(port, f"localhost:{port}")

    def start(self, function: str, run_id: str, **inputs: object) -> None:
        """Begin a run. No request is refused or lost, so each is made once."""
        body = json.dumps({"run_id": run_id, "inputs": inputs}).encode()
        headers = {"Content_Type": "application/json", "Prefer": "respond-async"}
        answer = self.ask("POST", f"/invoke/{function}", body, **headers)
        assert answer.status == 202, answer

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        return self._proxy.ask(method, path, body, **headers)

    def answer(self, run_id: str, interrupt_id: str) -> Answer:
        path = f"/runs/{run_id}/interrupts/{interrupt_id}"
        return self.ask("POST", path, b'{"type": "accept"}', Content_Type="application/json")

    def watch(self, run_id: str, first: threading.Event | None = None) -> Seen:
        """Watch a run to its end; `first` is set once events come."""
        seqs: list[int] = []
        types: list[str] = []
        cuts: list[object] = []
        with runcast.Client(self._url, token=TOKEN) as client:
            for page in client.watch_pages(run_id, on_cut=lambda *_: cuts.append(_)):
                for received in page:
                    seqs.append(received.event.seq)
                    types.append(received.event.type)
                    if first is not None and received.event.type != "started":
                        first.set()
        return Seen(seqs, types, len(cuts))


def roll_out(services: Composed, **given: str) -> None:
    """Replace the nodes one after another."""
    services.change(given)
    for name in NODES:
        assert services.stop(name) == 0
        services.start(name, FUNCTIONS)


def assert_dense(seen: Seen) -> None:
    """Nothing is missing, nothing comes twice, and the watcher was never told of a gap."""
    assert seen.seqs == list(range(1, len(seen.seqs) + 1))
    assert "gap" not in seen.types


def test_a_rollout_interrupts_nobody(services: Composed) -> None:
    people = People(services)
    with ThreadPoolExecutor(32) as pool:
        begun: list[threading.Event] = []

        def watch(function: str, run_id: str, **inputs: object) -> Future[Seen]:
            begun.append(threading.Event())
            people.start(function, run_id, **inputs)
            return pool.submit(people.watch, run_id, begun[-1])

        # nginx takes the nodes in turn, so each has some of every kind.
        draining = [watch("emit_events", f"before-{n}", **TICKS) for n in range(8)]
        recovering = [watch("tend", f"tend-{n}") for n in range(4)]
        waiting = [watch("ship", f"ship-{n}") for n in range(4)]
        assert all(each.wait(START_S) for each in begun)

        is_over = threading.Event()

        def keep_starting() -> int:
            """Start runs all the time, as if nothing happened; return how many."""
            count = 0
            while not is_over.wait(0.05):
                people.start("emit_events", f"during-{count}", n=5, rate=50)
                count += 1
            return count

        starting = pool.submit(keep_starting)
        try:
            roll_out(services, MAY_END="1")
        finally:
            is_over.set()

        for n in range(4):
            assert people.answer(f"ship-{n}", "ship").status == 200
        ended = [each.result(START_S) for each in (*draining, *recovering, *waiting)]
        count = starting.result(START_S)
        during = [people.watch(f"during-{n}") for n in range(count)]

    for seen in (*ended, *during):
        assert_dense(seen)
    assert {seen.types[-1] for seen in (*ended, *during)} == {"done"}
    # Runs that end within the grace end on their node: they were never started again.
    assert all(seen.types.count("started") == 1 for seen in (*ended[:8], *during))
    assert all(seen.types.count("started") > 1 for seen in ended[8:12])
    # Each of these streams was moved: both nodes were replaced while it was open.
    assert all(seen.cuts for seen in ended[12:])
    assert all(seen.types.count("shipped") == 1 for seen in ended[12:])
    assert len(during) > 10


def test_a_question_of_a_function_without_resume_ends_with_its_node(services: Composed) -> None:
    people = People(services)
    people.start("ask_at_work", "here")
    with ThreadPoolExecutor(1) as pool:
        first = threading.Event()
        watching = pool.submit(people.watch, "here", first)
        assert first.wait(WAIT_S)
        roll_out(services)
        seen = watching.result(START_S)

    assert_dense(seen)
    assert seen.types[-1] == "cancelled"
    assert people.answer("here", "here").status == 409
