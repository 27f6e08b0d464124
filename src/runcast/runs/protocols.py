"""What the edges (HTTP, channels) need of runs, without knowing how they are run."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from runcast.hub.hub import Hub

__all__ = ("DescribedFunction", "Ending", "Runs", "StartedRun")


class Ending(NamedTuple):
    """How a run ended: the type and data of its terminal event."""

    type: str
    data: dict[str, Any]


class StartedRun(Protocol):
    """A run of this process."""

    @property
    def run_id(self) -> str: ...

    @property
    def epoch(self) -> str: ...

    async def wait(self) -> Ending:
        """Wait for the end."""
        ...


class DescribedFunction(Protocol):
    """A function, as far as callers need to know it."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def is_streaming(self) -> bool: ...

    @property
    def schema(self) -> Mapping[str, Any]: ...


class Runs(Protocol):
    """A hub and what runs on it. `app.OpenHub` is one."""

    @property
    def hub(self) -> Hub: ...

    @property
    def functions(self) -> Mapping[str, DescribedFunction]: ...

    async def open(self) -> object: ...

    async def close(self) -> None: ...

    async def start(
        self,
        function: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str = "",
        labels: Mapping[str, str] | None = None,
        replace: bool = False,
    ) -> StartedRun:
        """Begin a run of a function known by name; see `Runner.start`."""
        ...

    async def answer(
        self, run_id: str, interrupt_id: str, answer: object
    ) -> tuple[Mapping[str, Any], bool]:
        """Answer a question; return the decision and whether it was taken before."""
        ...

    def queue_position(self, run_id: str) -> int:
        """Return a run's place in the queue, from 1; 0 if it does not wait here for room."""
        ...

    async def cancel(self, run_id: str, reason: str = "cancelled") -> None:
        """Cancel a run; see `Runner.cancel`."""
        ...
