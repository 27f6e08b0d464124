"""What most checks do: append, read everything, compare with what it must be."""

from collections.abc import Iterable, Sequence

from runcast.errors import RuncastError
from runcast.events.position import Position, frame_record
from runcast.stores.base import PAGE_BYTES, Append, Appended, Once, Store
from runcast.testing.contract.harness import ContractBroken, expect, expect_equal

__all__ = (
    "append",
    "create_logs",
    "expect_log",
    "frames_of",
    "only",
    "outcome_of",
    "padded",
    "read_all",
    "record",
    "refused",
)


def record(number: int) -> bytes:
    """Return a small record that tells itself apart."""
    return b'"time":1.5,"type":"log","data":{"n":%d}' % number


def padded(number: int, size: int) -> bytes:
    """Return a record of `size` bytes."""
    start = b'"time":1.5,"type":"log","data":{"n":%d,"x":"' % number
    return start + b"x" * (size - len(start) - 2) + b'"}'


def frames_of(epoch: str, records: Iterable[bytes], first: int = 1) -> list[bytes]:
    """Return the frames that records must become."""
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
    """Commit one append alone; return what became of it."""
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

    Every page is checked: it follows the one before, counts right, keeps its size, and is closed
    only if nothing follows it.
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
