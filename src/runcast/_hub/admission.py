"""Bounds on the connections that watch: `max_watchers` in all, `max_watchers_per_run` of one run.

A client's connection counts once, however many runs it follows. Readers inside the process (a run
that waits for its answer, a function that follows another run) need no admission. So a bound on
watchers never holds up a run.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Self

from runcast._settings import Settings
from runcast.errors import Overloaded

__all__ = ("Admission", "Admissions")


class Admissions:
    """Counts the connections that watch now."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.max_watchers
        self._most_per_run = settings.max_watchers_per_run
        self._count = 0
        self._by_run: Counter[str] = Counter()

    def admit(self, run_ids: Iterable[str]) -> "Admission":
        """Admit one connection that watches these runs. Close the returned admission at the end.

        Raises:
            Overloaded: a bound is reached.
        """
        watched = tuple(run_ids)
        if self._count >= self._most:
            raise Overloaded(f"{self._count} streams are open (max_watchers); try again later")
        for run_id in watched:
            if (count := self._by_run.get(run_id, 0)) >= self._most_per_run:
                raise _full(run_id, count)
        self._count += 1
        admission = Admission(self)
        for run_id in watched:
            admission.join(run_id)
        return admission

    def join(self, run_id: str) -> None:
        """Count a run of an admitted connection. Raises `Overloaded`."""
        if (count := self._by_run.get(run_id, 0)) >= self._most_per_run:
            raise _full(run_id, count)
        self._by_run[run_id] += 1

    def part(self, run_ids: Iterable[str]) -> None:
        """Count runs that a connection does not watch any more."""
        for run_id in run_ids:
            self._by_run[run_id] -= 1
            if not self._by_run[run_id]:
                del self._by_run[run_id]

    def release(self, run_ids: Iterable[str]) -> None:
        """Count a connection that has ended."""
        self._count -= 1
        self.part(run_ids)


def _full(run_id: str, count: int) -> Overloaded:
    return Overloaded(
        f"{count} streams of run {run_id!r} are open (max_watchers_per_run); try again later"
    )


class Admission:
    """The admission of one watching connection."""

    __slots__ = ("_admissions", "_run_ids")

    def __init__(self, admissions: Admissions) -> None:
        self._admissions: Admissions | None = admissions
        self._run_ids: list[str] = []

    def join(self, run_id: str) -> None:
        """Watch another run on this connection. Raises `Overloaded`."""
        if self._admissions is not None:
            self._admissions.join(run_id)
            self._run_ids.append(run_id)

    def part(self, run_id: str) -> None:
        """Watch a run no more."""
        if self._admissions is not None:
            self._run_ids.remove(run_id)
            self._admissions.part([run_id])

    def close(self) -> None:
        """Make room for another connection. Idempotent."""
        if self._admissions is not None:
            self._admissions.release(self._run_ids)
            self._admissions = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
