"""What a check is, what it runs against, and how it complains.

Plain exceptions and no test runner: `assert` would vanish under `python -O` and show nothing unless
the runner rewrites it, so the checks say in words what was expected.
"""

import reprlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from runcast.errors import RuncastError
from runcast.stores.base import Store
from runcast.testing.clock import FakeClock

__all__ = (
    "WAIT_S",
    "ContractBroken",
    "StoreCheck",
    "StoreHarness",
    "expect",
    "expect_equal",
    "expect_refusal",
    "store_check",
)

WAIT_S: Final = 5.0
"""Longest a check waits for something that the contract says will come, seconds."""

_SHOWN: Final = 400
"""Characters of a value in a message: records can have a megabyte."""


class ContractBroken(AssertionError):
    """A store does not keep what `runcast.stores.base` promises."""


class StoreHarness(Protocol):
    """One set of data, made anew for each check, and the ways to get at it."""

    @property
    def clock(self) -> FakeClock:
        """The clock of every store on this data."""
        ...

    @property
    def durable(self) -> bool:
        """Whether the data outlives the store: once closed, another can be made on it."""
        ...

    @property
    def shared(self) -> bool:
        """Whether several stores may be open on the data at once, as in several processes."""
        ...

    def make_store(self) -> Store:
        """Return a store on the data, not opened yet.

        Called again only if the harness is `durable` (after the last one was closed) or `shared`
        (while others are open).
        """
        ...


@dataclass(frozen=True, slots=True)
class StoreCheck:
    """One behaviour of the contract; call it with a fresh harness, it raises `ContractBroken`.

    `cites` says who decided: numbers of the guarantees in `runcast.stores.base`, or names of the
    methods of `Store` whose docstring promises it.
    """

    name: str
    cites: tuple[int | str, ...]
    body: Callable[[Store, StoreHarness], Awaitable[None]]
    needs_durable: bool = False
    needs_shared: bool = False

    def applies_to(self, harness: StoreHarness) -> bool:
        """Tell whether the harness has the abilities this check is about."""
        return (harness.durable or not self.needs_durable) and (
            harness.shared or not self.needs_shared
        )

    async def __call__(self, harness: StoreHarness) -> None:
        """Run the check on one open store of the harness."""
        async with harness.make_store() as store:
            await self.body(store, harness)

    def __str__(self) -> str:
        return self.name


def store_check(
    *cites: int | str, durable: bool = False, shared: bool = False
) -> Callable[[Callable[[Store, StoreHarness], Awaitable[None]]], StoreCheck]:
    """Return a decorator that makes a check of a coroutine function named as a behaviour."""

    def make(body: Callable[[Store, StoreHarness], Awaitable[None]]) -> StoreCheck:
        return StoreCheck(body.__name__, cites, body, needs_durable=durable, needs_shared=shared)

    return make


def expect(claim: bool, what: str) -> None:
    """Raise `ContractBroken` unless the claim holds; `what` is the claim in words."""
    if not claim:
        raise ContractBroken(what)


def expect_equal(actual: object, expected: object, what: str) -> None:
    """Raise `ContractBroken` unless two values are equal; `what` names the value."""
    if actual != expected:
        raise ContractBroken(f"{what}: expected {_show(expected)}, got {_show(actual)}")


@contextmanager
def expect_refusal(error: type[RuncastError], what: str) -> Iterator[list[RuncastError]]:
    """Expect the block to raise `error`; the list handed out then holds it."""
    caught: list[RuncastError] = []
    try:
        yield caught
    except error as refusal:
        caught.append(refusal)
    except RuncastError as other:
        raise ContractBroken(f"{what}: expected {error.__name__}, got {other!r}") from other
    else:
        raise ContractBroken(f"{what}: expected {error.__name__}, got no error")


def _show(value: object) -> str:
    shown = reprlib.Repr()
    shown.maxstring = shown.maxother = _SHOWN
    shown.maxlist = shown.maxtuple = 8
    return shown.repr(value)
