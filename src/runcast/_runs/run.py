"""A run of this process, as its starter sees it; and ids of runs."""

import asyncio
import uuid
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypedDict, cast

from runcast._hub.forks import Home
from runcast.errors import RunFailed
from runcast.events.outcome import Outcome, checked_reason

__all__ = ("Displayed", "Run", "StartOptions", "make_run_id")

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from runcast._files.inputs import GivenFiles
    from runcast.events.lifecycle import Status

    Result_co = TypeVar("Result_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    Result_co = TypeVar("Result_co", covariant=True)  # Python 3.13 has defaults

_Scalar = bool | int | float | str
_List = list[str] | list[int] | list[float] | list[bool]
_Dict = dict[str, str] | dict[str, int] | dict[str, float] | dict[str, bool]

Kept = TypeVar("Kept", bound=_Scalar | _List | _Dict)
"""What a function may return so that its result has the same type: JSON turns a dataclass into a
dict, a tuple into a list, a date into a text."""


class StartOptions(TypedDict, total=False):
    """The keywords of `start`; see `OpenHub.start`."""

    run_id: str
    labels: Mapping[str, str] | None
    replace: bool | str
    secrets: Mapping[str, str]
    digest: str
    files: "GivenFiles"
    workspace: str


class Displayed(Protocol):
    """What notebooks ask of a value that they display."""

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, Any]: ...


class Run(Generic[Result_co]):
    """One execution of a function by this process. `start` returns it.

    It belongs to the loop of its hub. `repr` shows its id, function and status. A notebook shows
    the run while it goes on.
    """

    def __init__(self, run_id: str, epoch: str, name: str) -> None:
        self.run_id = run_id
        """The run's id."""
        self.epoch = epoch
        """The epoch of the run's log."""
        self.name = name
        """The function's name."""
        self.status: Status = "queued"
        """The run's present status."""
        self.raised: BaseException | None = None
        """The function's exception; None before the end, and if the function raised nothing. For a
        function with its own process it is a `ProcessTraceback`."""
        self._outcome: Outcome | None = None
        self._ended = asyncio.Event()
        self._streams = False
        self._is_known = asyncio.Event()
        self._home = Home()
        self._cancel_reason = ""
        self.cancel_asked = asyncio.Event()
        self.display: Displayed | None = None
        """How a notebook shows the run."""

    def __repr__(self) -> str:
        return f"<Run {self.run_id} of {self.name} ({self.status})>"

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, Any]:
        shown = {} if self.display is None else self.display._repr_mimebundle_(include, exclude)
        return {**shown, "text/plain": repr(self)}

    @property
    def has_ended(self) -> bool:
        """Whether the terminal event is committed."""
        return self._ended.is_set()

    def cancel(self, reason: str = "cancelled") -> None:
        """Ask the run to end; `wait()` returns once it has. Later reasons are ignored.

        Raises:
            InvalidValue: the reason is not a string.
        """
        kept = checked_reason(reason)
        if not self.cancel_asked.is_set():
            self._cancel_reason = kept
            self.cancel_asked.set()

    @property
    def cancel_reason(self) -> str:
        """Why the run was asked to end; "" if it was not."""
        return self._cancel_reason

    async def wait(self) -> Outcome:
        """Wait for the end and return the run's outcome.

        Raises:
            InvalidValue: called in a fork of the process that runs it.
        """
        self._home.check("the wait for a run")
        await self._ended.wait()
        assert self._outcome is not None
        return self._outcome

    async def streams(self) -> bool:
        """Wait until it is known whether the function yields events while it works.

        Returns:
            True as soon as the function has returned its iterator; False if the run has ended
            without one.
        """
        self._home.check("the wait for a run")
        await self._is_known.wait()
        return self._streams

    def _note_stream(self) -> None:
        """Note that the function streams. Call from the loop's thread."""
        self._streams = True
        self._is_known.set()

    async def result(self) -> Result_co:
        """Wait for the end and return the function's result.

        Raises:
            RunFailed: the run failed or was cancelled. Its `__cause__` is the function's exception;
                for a function with its own process, a `ProcessTraceback`.
        """
        outcome = await self.wait()
        if outcome.type == "done":
            return cast("Result_co", outcome.data.get("result"))
        if outcome.type == "cancelled":
            raise RunFailed(
                f"the run was cancelled: {outcome.data['reason']}", "cancelled"
            ) from self.raised
        raise RunFailed(outcome.data["message"], outcome.data["code"]) from self.raised

    def _settle(self, outcome: Outcome) -> None:
        """Store the run's outcome, and wake the waiting tasks."""
        self._outcome = outcome
        self.status = outcome.type  # type: ignore[assignment]
        self._ended.set()
        self._is_known.set()


def make_run_id(time_s: float, entropy: bytes) -> str:
    """Return a UUIDv7 for a time (Unix seconds) and 10 random bytes. Source: RFC 9562 §5.7."""
    ms = int(time_s * 1000) & ((1 << 48) - 1)
    random = int.from_bytes(entropy[:10], "big")
    number = ms << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | 0b10 << 62
    return str(uuid.UUID(int=number | random & ((1 << 62) - 1)))
