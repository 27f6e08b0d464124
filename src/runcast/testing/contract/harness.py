"""The harness of the contract: checks, what they run against, and their messages.

Plain exceptions and no test runner: `assert` would vanish under `python -O`, and shows nothing
unless the runner rewrites it. So the checks state in words what was expected.
"""

import reprlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from runcast.errors import RuncastError
from runcast.events.position import Position, frame_record
from runcast.stores.base import PAGE_BYTES, Append, Appended, Once, Store
from runcast.testing.clock import FakeClock

__all__ = (
    "WAIT_S",
    "ContractBroken",
    "StoreCheck",
    "StoreHarness",
    "append",
    "create_logs",
    "expect",
    "expect_equal",
    "expect_log",
    "expect_refusal",
    "frames_of",
    "only",
    "outcome_of",
    "padded",
    "read_all",
    "record",
    "refused",
    "store_check",
)

WAIT_S: Final = 5.0
"""Longest wait of a check for something that the contract promises, seconds."""

_SHOWN: Final = 400
"""Most characters of a value in a message, because records can have a megabyte."""


class ContractBroken(AssertionError):
    """A store breaks a promise of `runcast.stores.base`."""


class StoreHarness(Protocol):
    """One set of data, new for each check, and the ways to use it."""

    @property
    def clock(self) -> FakeClock:
        """The clock of every store on this data."""
        ...

    @property
    def durable(self) -> bool:
        """Whether the data outlives the store, so that another store can be opened on it."""
        ...

    @property
    def shared(self) -> bool:
        """Whether several stores may be open on the data at once, as in several processes."""
        ...

    def make_store(self) -> Store:
        """Return a store on the data, not yet open.

        Called again only if the harness is `durable` (after the last one was closed) or `shared`
        (while others are open).
        """
        ...


@dataclass(frozen=True, slots=True)
class StoreCheck:
    """One behaviour of the contract. Call it with a fresh harness; it may raise `ContractBroken`.

    `cites` names the source: numbers of the guarantees in `runcast.stores.base`, or names of
    methods of `Store` whose docstring promises the behaviour.
    """

    name: str
    cites: tuple[int | str, ...]
    body: Callable[[Store, StoreHarness], Awaitable[None]]
    needs_durable: bool = False
    needs_shared: bool = False

    def applies_to(self, harness: StoreHarness) -> bool:
        """Return whether the harness has the abilities that this check needs."""
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
    """Return a decorator that turns a coroutine function, named as a behaviour, into a check."""

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
    """Expect the block to raise `error`; the yielded list then holds it."""
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


def record(number: int) -> bytes:
    """Return a small record with a number."""
    return b'"time":1.5,"type":"log","data":{"n":%d}' % number


def padded(number: int, size: int) -> bytes:
    """Return a record of `size` bytes."""
    start = b'"time":1.5,"type":"log","data":{"n":%d,"x":"' % number
    return start + b"x" * (size - len(start) - 2) + b'"}'


def frames_of(epoch: str, records: Iterable[bytes], first: int = 1) -> list[bytes]:
    """Return the expected frames of records."""
    head = b"id: %b-" % epoch.encode()
    return [frame_record(head, seq, body) for seq, body in enumerate(records, first)]


def only(outcome: Appended | RuncastError, what: str = "the append") -> Appended:
    """Return an outcome that must not be a refusal."""
    if isinstance(outcome, RuncastError):
        raise ContractBroken(f"{what} was refused: {outcome!r}") from outcome
    return outcome


def refused(outcome: Appended | RuncastError, error: type[RuncastError], what: str) -> RuncastError:
    """Return an outcome that must be a refusal of one kind."""
    if not isinstance(outcome, error):
        raise ContractBroken(f"{what}: expected the outcome {error.__name__}, got {outcome!r}")
    return outcome


async def outcome_of(store: Store, append: Append) -> Appended | RuncastError:
    """Commit one append alone; return its outcome."""
    outcomes = await store.commit([append])
    expect_equal(len(outcomes), 1, "outcomes of a group of one")
    return outcomes[0]


async def append(
    store: Store,
    log_id: str,
    *records: bytes,
    close: bool = False,
    once: Once | None = None,
) -> Appended:
    """Append to a log, expecting success."""
    asked = Append(log_id, list(records), close=close, once=once)
    return only(await outcome_of(store, asked), f"an append to {log_id!r}")


async def create_logs(store: Store, log_ids: Iterable[str]) -> list[str]:
    """Create logs; return their epochs."""
    return [(await store.create(log_id)).epoch for log_id in log_ids]


async def read_all(
    store: Store, log_id: str, after: Position, max_bytes: int = PAGE_BYTES
) -> list[bytes]:
    """Follow a log from a position to its head, page by page; return its frames.

    Every page is checked: it follows the previous one, its counts are right, it keeps to its size,
    and it is closed only if nothing follows.
    """
    info = await store.info(log_id)
    frames: list[bytes] = []
    while True:
        page = await store.read(log_id, after, max_bytes)
        found = [frame + b"\n\n" for frame in page.frames.split(b"\n\n")[:-1]]
        expect_equal(b"".join(found), page.frames, "a page, cut after each blank line")
        expect_equal(page.epoch, after.epoch, "the epoch of a page")
        expect_equal(page.first, after.seq + 1, "the first seq of the page that follows a position")
        expect_equal(page.last, after.seq + len(found), "the last seq of a page, by its frames")
        frames += found
        expect(
            not found or len(page.frames) - len(found[-1]) <= max_bytes,
            f"a page of at most {max_bytes} bytes and one event more, got {len(page.frames)} bytes",
        )
        if page.last >= info.head:
            expect_equal(page.closed, info.closed, "the closed flag of the last page")
            return frames
        expect(bool(found), f"a page before the head holds an event; {after} had none")
        expect(not page.closed, f"a page is closed although events follow seq {page.last}")
        after = page.position


async def expect_log(
    store: Store, log_id: str, records: Sequence[bytes], max_bytes: int = PAGE_BYTES
) -> None:
    """Expect a log that was never trimmed to hold exactly these records."""
    info = await store.info(log_id)
    expected = frames_of(info.epoch, records)
    expect_equal((info.first, info.head), (1, len(records)), f"first and head of {log_id!r}")
    expect_equal(info.bytes, sum(map(len, expected)), f"bytes of all frames of {log_id!r}")
    found = await read_all(store, log_id, Position(info.epoch, 0), max_bytes)
    expect_equal(found, expected, f"the frames of {log_id!r}")
