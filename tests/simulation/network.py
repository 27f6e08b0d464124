"""A network that loses, delays, doubles and cuts what nodes send to each other."""

import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    import random

    from tests.simulation.loop import VirtualLoop

__all__ = ("OUTSIDE", "STORE", "Network")

STORE: Final = "store"

OUTSIDE: Final = contextvars.Context()
"""The context of what belongs to no node."""

_LATE_S: Final = 8.0
"""How late a message may come at most: longer than its sender waits for the answer."""


_SLOW: Final = 0.3
"""Share of messages that are slow even if nothing is wrong."""

_SLOW_S: Final = 0.15


class Network:
    """Carries messages between places. A place is the name of a node, of the store or of a person.

    Args:
        chance: decides the fate of each message.
    """

    def __init__(self, loop: "VirtualLoop", chance: "random.Random") -> None:
        self._loop = loop
        self._chance = chance
        self._cut: dict[tuple[str, str], None] = {}
        self.lost = self.late = self.doubled = 0.0
        """Shares of messages that do not come, come late, or come twice."""
        self.slow: dict[tuple[str, str], float] = {}
        """Seconds that messages from one place to another take longer, if a story says so."""

    def cut(self, source: str, target: str) -> None:
        """Lose every message from one place to another, in this direction only."""
        self._cut[source, target] = None

    def heal(self) -> None:
        """Carry every message, soon and once."""
        self._cut.clear()
        self.slow.clear()
        self.lost = self.late = self.doubled = 0.0

    def mend(self, source: str, target: str) -> None:
        """Undo `cut`."""
        self._cut.pop((source, target), None)

    def is_cut(self, source: str, target: str) -> bool:
        """Return whether no message passes."""
        return (source, target) in self._cut

    def delay(self) -> float:
        """Return how long a message takes, seconds."""
        chance = self._chance.random
        if chance() < self.late:
            return _LATE_S * chance()
        if chance() < _SLOW:
            return _SLOW_S * chance()
        return 0.0005 + 0.03 * chance() ** 3

    def send(self, source: str, target: str, arrive: Callable[[], None]) -> bool:
        """Call `arrive` when a message comes, which may be twice or never.

        Returns False if the message is lost for sure.
        """
        chance, copies = self._chance.random, 1
        if self.is_cut(source, target) or chance() < self.lost:
            return False
        if STORE not in (source, target) and chance() < self.doubled:
            copies = 2  # a proxy has sent it again; the store's connections are TCP alone
        more_s = self.slow.get((source, target), 0.0)
        for _ in range(copies):
            after_s = self.delay() + more_s
            self._loop.call_later(
                after_s, self._arrive, source, target, arrive, context=OUTSIDE.copy()
            )
        return True

    def _arrive(self, source: str, target: str, arrive: Callable[[], None]) -> None:
        if not self.is_cut(source, target):
            arrive()

    async def ask(
        self, source: str, target: str, act: Callable[[Callable[[Any], None]], None], wait_s: float
    ) -> Any:
        """Return an answer from another place.

        Args:
            act: is called there with a function that sends the answer back.

        Raises:
            TimeoutError: no answer came. Nobody knows whether `act` was called, or will be.
        """
        answered = self._loop.create_future()

        def come_back(answer: object) -> None:
            if not answered.done():
                answered.set_result(answer)

        def answer_with(answer: object) -> None:
            self.send(target, source, lambda: come_back(answer))

        is_on_its_way = self.send(source, target, lambda: act(answer_with))
        if not is_on_its_way and self._chance.random() < 0.5:
            wait_s *= self._chance.random()  # a refused or reset connection says so sooner
        deadline = self._loop.call_later(wait_s, _expire, answered)
        try:
            return await answered
        finally:
            deadline.cancel()


def _expire(answered: "asyncio.Future[Any]") -> None:
    if not answered.done():
        answered.set_exception(TimeoutError())
