"""Stories of a run that is cancelled before its owner has begun its work."""

from collections.abc import Awaitable
from typing import Final

import pytest

from tests.simulation.loop import pass_time
from tests.simulation.network import STORE
from tests.simulation.people import Watcher, cancel_run, start_run
from tests.simulation.real import REAL, Parts
from tests.simulation.test_simulation import explain
from tests.simulation.world import World, simulate

_RUN: Final = "endless-0"
_BEGINS_S: Final = 9.0
"""When faults no longer break what is expected of the calm beginning."""


class _Cancelled(World):
    """A run that never ends by itself is cancelled as soon as the store has it."""

    def _people(self) -> list[tuple[str, Awaitable[None]]]:
        self.starting[_RUN] = None
        watcher = Watcher(self, _RUN, 0)
        self.watchers.append(watcher)
        doing = [self._start(), cancel_run(self, _RUN, 0.0), watcher.follow()]
        return [(_RUN, each) for each in doing]

    async def _start(self) -> None:
        await pass_time(_BEGINS_S)
        await start_run(self, _RUN, "endless", 1)

    def _troubles(self) -> list[Awaitable[None]]:
        return []


class _BeforeItsOwnerKnows(_Cancelled):
    """The store's answers to one node come late; changes of logs do not."""

    def __init__(self, seed: int, parts: Parts) -> None:
        super().__init__(seed, parts)
        self.network.slow[STORE, "n1"] = 0.5 + self.chance.random()


class _WhileItsOwnerIsStopped(_Cancelled):
    """Each node is stopped for a while about when the run begins, some for longer than their
    lease."""

    def _troubles(self) -> list[Awaitable[None]]:
        return [self._stop_node(name) for name in self.places]

    async def _stop_node(self, name: str) -> None:
        await pass_time(_BEGINS_S + 0.3 * self.chance.random())
        node = self.nodes[name]
        self.note(f"{node.tag} is stopped")
        self.loop.hold(node.tag)
        await pass_time(self.chance.random() * 14.0)
        self.loop.release(node.tag)
        self.note(f"{node.tag} goes on")


@pytest.mark.parametrize("story", [_Cancelled, _BeforeItsOwnerKnows, _WhileItsOwnerIsStopped])
def test_a_cancel_that_comes_before_the_run_has_started_takes_effect(
    story: type[_Cancelled],
) -> None:
    early = 0
    for seed in range(1, 41):
        report = simulate(seed, REAL, story)
        if report.error is not None:
            raise AssertionError(explain(report)) from report.error
        early += report.early_cancels
    assert early, "no cancel was acknowledged before the run had started"
