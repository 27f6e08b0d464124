"""What runs leave in memory once they have ended: nothing that grows with their number."""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import runcast
from runcast._app import OpenHub, open_hub
from runcast.stores import changes
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio

RUNS = 60
SPARE = 5
"""Objects of one kind that may be there because of what happens just then."""


def count(n: int) -> Iterator[str]:
    for number in range(n):
        yield f"word {number} "


async def ask() -> str:
    return str((await runcast.ask("May I?", interrupt_id="q")).type)


async def live(hub: OpenHub, number: int) -> None:
    """See three runs from beginning to end: one that is watched, one that asks, one cancelled."""
    run = await hub.start(count, {"n": 5}, run_id=f"count-{number}")
    with await hub.hub.watch(run.run_id) as watch:
        async for _ in watch:
            pass
    asking = await hub.start(ask, run_id=f"ask-{number}")
    with await hub.hub.watch(asking.run_id) as watch:
        async for chunk in watch:
            if any(event.type == "interrupt_request" for event in chunk.events()):
                break
    await hub.answer(asking.run_id, "q", {"type": "accept"})
    await asking.wait()
    cancelled = await hub.start(ask, run_id=f"cancel-{number}")
    await hub.cancel(cancelled.run_id)
    await cancelled.wait()
    for name in ("count", "ask", "cancel"):
        await hub.hub.delete(f"{name}-{number}")


def ours() -> Counter[str]:
    """Return how many objects of each of our classes there are."""
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    return Counter(
        kind.__qualname__ for kind in kinds if str(kind.__module__).startswith("runcast.")
    )


async def test_ended_runs_leave_no_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_CHANGES", 4)  # it is reached before the first count
    store = f"sqlite:///{tmp_path / 'runs.db'}"
    async with asyncio.timeout(4 * WAIT_S), open_hub(store) as hub:

        async def settle() -> None:
            parts = hub.hub.store._opened  # type: ignore[attr-defined]
            await parts.writer.run(parts.journal.checkpoint)

        for number in range(3):
            await live(hub, number)
        await settle()
        before = ours()
        for number in range(3, RUNS):
            await live(hub, number)
        await settle()
        grown = {name: many for name, many in (ours() - before).items() if many > SPARE}

        assert grown == {}
