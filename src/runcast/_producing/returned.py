"""What a function may return instead of a result: something that is still to be run.

A crew, for example. This layer knows no framework. The program that assembles runcast adds a
finder, which recognises what can be run.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

__all__ = ("Finder", "Runner", "add_finder", "find_runner")


class Runner(Protocol):
    """Runs what a function has returned."""

    def run(self, inputs: Mapping[str, Any]) -> object:
        """Run it in this thread with the function's inputs, and return the result."""
        ...

    async def run_async(self, inputs: Mapping[str, Any]) -> object:
        """Run it on this loop with the function's inputs, and return the result."""
        ...


Finder = Callable[[object], Runner | None]
"""Returns what runs a returned thing; None if it does not know the thing."""

_finders: Final[list[Finder]] = []


def add_finder(finder: Finder) -> None:
    """Add what recognises a kind of returned things. It is called for each result."""
    if finder not in _finders:
        _finders.append(finder)


def find_runner(returned: object) -> Runner | None:
    """Return what runs a returned thing; None if the thing is the result."""
    for finder in _finders:
        runner = finder(returned)
        if runner is not None:
            return runner
    return None
