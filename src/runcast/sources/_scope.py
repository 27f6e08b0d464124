"""Where a source is on (in one run, or everywhere), and its patches while it is on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from runcast._producing.context import current_writer
from runcast._producing.writer import Writer

__all__ = ("Patch", "Scope")


class Patch:
    """Replaces an attribute of a class or a module by `make(original)`."""

    def __init__(self, owner: type | ModuleType, name: str, make: Callable[[Any], Any]) -> None:
        self._owner = owner
        self._name = name
        self._make = make
        self._before: Any = None
        self._ours: Any = None

    def apply(self) -> None:
        """Put our attribute in place of the present one."""
        self._before = self._owner.__dict__[self._name]
        self._ours = self._make(self._before)
        setattr(self._owner, self._name, self._ours)

    def undo(self) -> bool:
        """Restore the earlier attribute; return False if ours was replaced since.

        Ours then stays in place: a source that is off only passes calls on.
        """
        if self._owner.__dict__.get(self._name) is not self._ours:
            return False
        setattr(self._owner, self._name, self._before)
        return True


class Scope:
    """Knows the runs for which a source is on, and applies its patches while there is one."""

    def __init__(self, *patches: Patch) -> None:
        self._patches = patches
        self._applied: list[Patch] = []
        self._levels: dict[Writer | None, tuple[int, ...]] = {}
        self._is_kept = False
        self._lock = threading.RLock()

    @contextmanager
    def entered(self, level: int = 0) -> Iterator[None]:
        """Turn the source on for the current run; outside a run, for every run.

        Args:
            level: the least level for which `writer` returns the run.
        """
        run = current_writer()
        with self._lock:
            self._enter(run, level)
        try:
            yield
        finally:
            with self._lock:
                self._leave(run, level)

    def keep(self) -> None:
        """Turn the source on for every run, until `release`. Idempotent."""
        with self._lock:
            if not self._is_kept:
                self._enter(None, 0)
                self._is_kept = True

    def release(self) -> None:
        """Take `keep` back. Idempotent."""
        with self._lock:
            if self._is_kept:
                self._is_kept = False
                self._leave(None, 0)

    def _enter(self, run: Writer | None, level: int) -> None:
        self._levels[run] = (*self._levels.get(run, ()), level)
        for patch in self._patches:
            if patch not in self._applied:
                patch.apply()
                self._applied.append(patch)

    def _leave(self, run: Writer | None, level: int) -> None:
        rest = [*self._levels.pop(run)]
        rest.remove(level)
        if rest:
            self._levels[run] = tuple(rest)
        if not self._levels:
            self._applied = [patch for patch in reversed(self._applied) if not patch.undo()]

    def writer(self, level: int = 0) -> Writer | None:
        """Return the writer of the current run; None if the source is off for it."""
        run = current_writer()
        if run is None or not self._levels:
            return None
        levels = (*self._levels.get(run, ()), *self._levels.get(None, ()))
        return run if levels and level >= min(levels) else None
