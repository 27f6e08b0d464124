"""What is known, in a label of its log, of a run that workers of a task engine run.

    "celery 1763715600.000 OWNER"

It is handed to workers of Celery since then. While its owner is still OWNER, it waits for a worker:
a worker that takes the run becomes its owner. So nobody has to change the label when the run is
taken, and a run that is handed over again, because its worker died, waits again.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple, Protocol, Self

from runcast._producing.labels import LAUNCH_LABEL
from runcast.events.outcome import Outcome, failed
from runcast.stores.base import LogInfo

__all__ = ("ATTACHING", "NOBODY", "Launch", "Launcher", "not_taken", "unknown_function")

NOBODY: Final = "runcast-waits-for-a-worker"
"""The owner of runs that no worker has taken yet. It has no lease, so any worker may claim them."""


ATTACHING: Final = "attach"
"""The engine of runs that wait for code that attaches to them."""


class Launch(NamedTuple):
    """To which engine a run was handed, when, and who owned it then."""

    engine: str
    since: float
    """Unix seconds."""
    owner_id: str

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> Self | None:
        """Return what a run's labels say; None if the run was not handed over."""
        engine, _, rest = labels.get(LAUNCH_LABEL, "").partition(" ")
        since, _, owner_id = rest.partition(" ")
        with suppress(ValueError):
            return cls(engine, float(since), owner_id)
        return None

    def labels(self) -> dict[str, str]:
        """Return the label to set."""
        return {LAUNCH_LABEL: f"{self.engine} {self.since:.3f} {self.owner_id}"}

    def is_waiting(self, info: LogInfo) -> bool:
        """Return whether no worker has taken the run since."""
        return info.owner_id == self.owner_id and not info.closed


class Launcher(Protocol):
    """Hands runs to the workers of a task engine."""

    @property
    def engine(self) -> str:
        """The engine's name, one word."""
        ...

    async def launch(self, run_id: str, epoch: str, function: str) -> None:
        """Hand over a run. It may reach a worker twice; the worker that claims it first runs it.

        Raises:
            ServerUnavailable: the engine's broker cannot be reached.
            Overloaded: too many runs wait for a worker.
        """
        ...

    async def close(self) -> None:
        """Release what it holds. Idempotent."""
        ...


def not_taken(launch: Launch, wait_s: float) -> Outcome:
    """Return the outcome of a run that no worker has taken, or that nothing attached to."""
    if launch.engine == ATTACHING:
        return failed(
            f"nothing attached to the run within {wait_s:g} s (launch_wait_s)",
            "not_taken",
            retryable=True,
        )
    return failed(
        f"no worker of {launch.engine} took the run within {wait_s:g} s (launch_wait_s): start "
        "workers with `runcast worker`, or more of them",
        "not_taken",
        retryable=True,
    )


def unknown_function(info: LogInfo) -> Outcome:
    """Return the outcome of a run whose function the worker does not have."""
    name = info.labels.get("function", "")
    return failed(
        f"the worker that took the run has no function {name!r}: start workers with the target of "
        "the server, or give each target a queue of its own (launch_queue)",
        "unknown_function",
    )
