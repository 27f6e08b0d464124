"""What the edges need to count runs and their threads."""

from typing import Protocol

__all__ = ("CountedRunner", "RunCounts", "ThreadCounts")


class ThreadCounts(Protocol):
    """Threads that run functions, now."""

    @property
    def busy(self) -> int: ...

    @property
    def stuck(self) -> int: ...

    @property
    def waiting(self) -> int:
        """Functions that wait for a thread."""
        ...


class RunCounts(Protocol):
    """Runs of this process, now."""

    @property
    def running(self) -> int: ...

    @property
    def queued(self) -> int: ...

    @property
    def threads(self) -> ThreadCounts: ...


class CountedRunner(Protocol):
    """What runs functions in this process."""

    def statistics(self) -> RunCounts:
        """Return the present numbers."""
        ...
