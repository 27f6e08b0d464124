"""Room for runs: how many are at work at once, in all and of each function; the others queue.

Runs begin in the order in which they came, save that one whose function has no room holds back only
those of the same function.
"""

import asyncio
from collections import Counter

from runcast.errors import Overloaded

__all__ = ("Place", "Room")


class Place:
    """One run's place in the room or in the queue. Made by `Room.enter`."""

    def __init__(self, room: "Room", function: str, max_runs: int, *, is_owed: bool) -> None:
        self._room = room
        self.is_owed = is_owed
        """Whether the run was promised before, so that it may not be refused."""
        self.function = function
        self.max_runs = max_runs
        """Runs of the function at once; 0: no limit of its own."""
        self.ready = asyncio.Event()
        """Set once the run may begin."""

    @property
    def number(self) -> int:
        """The place in the queue, counted from 1; 0 if it does not wait."""
        return self._room.number_of(self)

    def leave(self) -> None:
        """Make room for the next. Idempotent."""
        self._room.leave(self)


class Room:
    """Gives out places. All of it belongs to one event loop.

    Args:
        max_runs: places in the room.
        max_queue: places in the queue.
    """

    def __init__(self, max_runs: int, max_queue: int) -> None:
        self._max_runs = max_runs
        self._max_queue = max_queue
        self._taken: set[Place] = set()
        self._taken_by: Counter[str] = Counter()
        self._waiting: list[Place] = []

    @property
    def waiting(self) -> int:
        """How many places wait."""
        return len(self._waiting)

    def enter(self, function: str, max_runs: int = 0, *, is_owed: bool = False) -> Place:
        """Return a place for a run of a function, which may have to wait.

        Args:
            max_runs: runs of this function at once; 0 sets no limit of its own.
            is_owed: give one even if the queue is full: the run was promised before.

        Raises:
            Overloaded: there is no room, and the queue is full.
        """
        place = Place(self, function, max_runs, is_owed=is_owed)
        if self._fits(place):
            self._take(place)
        elif len(self._waiting) < self._max_queue or is_owed:
            self._waiting.append(place)
        else:
            raise Overloaded(f"{self._why_full(place)}; try again later, or raise the limit")
        return place

    def leave(self, place: Place) -> None:
        """See `Place.leave`."""
        if place in self._taken:
            self._taken.discard(place)
            self._taken_by[place.function] -= 1
            if not self._taken_by[place.function]:
                del self._taken_by[place.function]
            self._let_in()
        elif place in self._waiting:
            self._waiting.remove(place)

    def number_of(self, place: Place) -> int:
        """See `Place.number`."""
        return self._waiting.index(place) + 1 if place in self._waiting else 0

    def _let_in(self) -> None:
        for place in list(self._waiting):
            if len(self._taken) >= self._max_runs:
                return
            if self._fits(place):
                self._waiting.remove(place)
                self._take(place)

    def _take(self, place: Place) -> None:
        self._taken.add(place)
        self._taken_by[place.function] += 1
        place.ready.set()

    def _fits(self, place: Place) -> bool:
        return len(self._taken) < self._max_runs and not self._is_full_for(place)

    def _is_full_for(self, place: Place) -> bool:
        return 0 < place.max_runs <= self._taken_by[place.function]

    def _why_full(self, place: Place) -> str:
        if self._is_full_for(place):
            most = f"of {place.function!r} at most {place.max_runs} (max_runs of the function)"
        else:
            most = f"at most {self._max_runs} (max_runs)"
        return (
            f"runs are at work, {most} at once, and {len(self._waiting)} wait, of at most "
            f"{self._max_queue} (max_queue)"
        )
