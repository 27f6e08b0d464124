"""Room for runs: how many run at once, in all and of each function; the others queue.

Runs begin in order of arrival. But if a function's own limit is reached, only runs of that function
wait.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from runcast.errors import Overloaded

__all__ = ("Place", "Room")


class Place:
    """One run's place in the room or in the queue. Made by `Room.enter`."""

    def __init__(self, room: "Room", function: str, max_runs: int, *, is_promised: bool) -> None:
        self._room = room
        self.is_promised = is_promised
        """Whether the run was promised before, so that it must not be refused."""
        self.function = function
        self.max_runs = max_runs
        """Runs of the function at once; 0: no limit of its own."""
        self.is_arriving = False
        """Whether the run's files are still being gathered."""
        self.ready = asyncio.Event()
        """Set once the run may begin."""

    @property
    def number(self) -> int:
        """The place in the queue, counted from 1; 0 if the run does not wait."""
        return self._room.number_of(self)

    def arrive(self) -> None:
        """Let the run begin once there is room, because its files are ready. Idempotent."""
        self._room.arrive(self)

    def leave(self) -> None:
        """Make room for the next run. Idempotent."""
        self._room.leave(self)


class Room:
    """Gives out places. An object belongs to one event loop.

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
        self._arriving: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """Number of waiting places."""
        return len(self._waiting)

    def enter(
        self,
        function: str,
        max_runs: int = 0,
        *,
        is_promised: bool = False,
        is_arriving: bool = False,
    ) -> Place:
        """Return a place for a run of a function, which may have to wait.

        Args:
            max_runs: runs of this function at once; 0 sets no limit of its own.
            is_promised: give a place even if the queue is full: the run was promised before.
            is_arriving: the run's files are not gathered yet. Other runs do not wait for it: before
                `arrive` it takes neither room nor a place in the queue. Of runs that arrive at
                once, only as many are accepted as fit into room and queue.

        Raises:
            Overloaded: there is no room, and the queue is full.
        """
        place = Place(self, function, max_runs, is_promised=is_promised)
        if is_arriving:
            # Count as if all arriving runs had their files already.
            if not self._fits(place, self._arriving) and self._is_full(self._excess(place)):
                raise self._full(place)
            self._arriving[place.function] += 1
            place.is_arriving = True
        elif self._fits(place):
            self._take(place)
        elif is_promised or not self._is_full():
            self._waiting.append(place)
        else:
            raise self._full(place)
        return place

    def arrive(self, place: Place) -> None:
        """See `Place.arrive`."""
        if place.is_arriving:
            self._leave_arriving(place)
            if self._fits(place):
                self._take(place)
            else:
                self._waiting.append(place)

    def leave(self, place: Place) -> None:
        """See `Place.leave`."""
        if place.is_arriving:
            self._leave_arriving(place)
        elif place in self._taken:
            self._taken.discard(place)
            self._taken_by[place.function] -= 1
            if not self._taken_by[place.function]:
                del self._taken_by[place.function]
            self._let_in()
        elif place in self._waiting:
            self._waiting.remove(place)

    def _leave_arriving(self, place: Place) -> None:
        place.is_arriving = False
        self._arriving[place.function] -= 1
        if not self._arriving[place.function]:
            del self._arriving[place.function]

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

    def _fits(self, place: Place, besides: Mapping[str, int] = MappingProxyType({})) -> bool:
        """Return whether there is room, in addition to some runs counted by function."""
        taken = len(self._taken) + sum(besides.values())
        return taken < self._max_runs and not self._is_full_for(place, besides)

    def _is_full_for(self, place: Place, besides: Mapping[str, int] = MappingProxyType({})) -> bool:
        taken = self._taken_by[place.function] + besides.get(place.function, 0)
        return 0 < place.max_runs <= taken

    def _excess(self, place: Place) -> int:
        """Return how many arriving runs will have to wait, as far as they hold up this place."""
        excess = len(self._taken) + self._arriving.total() - self._max_runs
        if place.max_runs:
            function = place.function
            taken = self._taken_by[function] + self._arriving[function]
            excess = max(excess, taken - place.max_runs)
        return max(0, excess)

    def _is_full(self, besides: int = 0) -> bool:
        """Return whether the queue is full, in addition to some runs."""
        return len(self._waiting) + besides >= self._max_queue

    def _full(self, place: Place) -> Overloaded:
        if self._is_full_for(place, self._arriving):
            most = f"of {place.function!r} at most {place.max_runs} (max_runs of the function)"
        else:
            most = f"at most {self._max_runs} (max_runs)"
        return Overloaded(
            f"no room: runs at once are {most}, and {len(self._waiting)} wait, of at most "
            f"{self._max_queue} (max_queue); try again later, or raise the limit"
        )
