"""The oracle: looks at each change of the store as it happens, and says which promise it breaks.

It sees what no node can: the server's own clock, who really holds a lease, and what every writer
was told.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from runcast._producing.labels import LAUNCH_LABEL
from runcast.events.model import Event, decode_event
from runcast.events.position import split_frames
from runcast.events.vocabulary import TERMINAL
from runcast.stores.model import LogInfo

if TYPE_CHECKING:
    from tests.simulation.keyspace import Keyspace

__all__ = ("Oracle", "Pen", "Violation")

_ATTACHED_S: Final = 40.0
"""More than `recover_wait_s` as nodes with different clocks count it, from when a node first looks
after faults."""


class Violation(AssertionError):
    """A promise of the design is broken."""


@dataclass(eq=False)
class Pen:
    """What one attempt of a run, or one remote writer, has written.

    Attributes:
        token: is in each of its events.
        fence: that of its owner.
        written: events that were accepted.
        acknowledged: how many of these it was told to be stored.
    """

    token: str
    log_id: str
    fence: int
    written: int = 0
    acknowledged: int = 0


@dataclass(eq=False)
class Book:
    """A log as the oracle has seen it grow."""

    info: LogInfo
    events: list[Event] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    stored: dict[str, int] = field(default_factory=dict)
    """How many events of each pen are stored."""
    decided: dict[str, Any] = field(default_factory=dict)
    """The decision on each question."""


class Oracle:
    """Checks each commit.

    Args:
        now: the server's clock.
        fail: is called with each violation.
        note: is called with a line for the trace.
        stored: is called with a log and the number of its events, whenever it has more.
    """

    def __init__(
        self,
        now: Callable[[], float],
        fail: Callable[[Violation], None],
        note: Callable[[str], None],
        stored: Callable[[str, int], None],
    ) -> None:
        self._now = now
        self._fail = fail
        self._note = note
        self._stored = stored
        self.keys: Keyspace | None = None
        self.books: dict[str, Book] = {}
        self.pens: dict[str, Pen] = {}
        self._leases: dict[str, float] = {}
        self._cancelled: dict[str, bool] = {}
        """Runs of which somebody was told that they are cancelled, and whether they had not begun
        their work then."""

    def expect(self, claim: bool, what: str) -> None:
        """Report a violation unless the claim holds."""
        if not claim:
            self._fail(Violation(what))

    def pen(self, token: str, log_id: str, fence: int = 1) -> Pen:
        """Return a new pen."""
        assert token not in self.pens, token
        pen = self.pens[token] = Pen(token, log_id, fence)
        return pen

    def renewed(self, owner_id: str, seconds: float) -> None:
        """Note a lease as the server holds it, by the server's own clock."""
        self._leases[owner_id] = self._now() + seconds

    def lease_end(self, owner_id: str) -> float:
        """Return when an owner's lease ends."""
        return self._leases.get(owner_id, 0.0)

    def changed(self, log_id: str) -> None:
        """Check a log that was just changed."""
        assert self.keys is not None
        info, book = self.keys.info(log_id), self.books.get(log_id)
        self.expect(info is not None, f"{log_id} was deleted, and nobody asked for that")
        if info is None:
            return
        if book is None:
            book = self.books[log_id] = Book(replace(info, head=0, closed=False))
            self._note(f"{log_id} begins, owner {info.owner_id[:6]}")
        before = book.info
        self.expect(info.epoch == before.epoch, f"{log_id} began again")
        self.expect(not before.closed, f"{log_id} was changed after its end")
        self._check_owner(before, info)
        for entry, frames in self.keys.pages(log_id, info.epoch):
            if int(entry.partition(b"-")[0]) > before.head:
                for canonical in split_frames(frames):
                    self._add(book, info, canonical)
        last = len(book.events)
        self.expect(info.head == last, f"{log_id} has {last} events and the head {info.head}")
        ended = bool(book.events) and book.events[-1].type in TERMINAL
        self.expect(info.closed == ended, f"{log_id}: closed {info.closed}, but ended {ended}")
        book.info = info
        if info.head > before.head:
            self._stored(log_id, last)

    def _check_owner(self, before: LogInfo, info: LogInfo) -> None:
        self.expect(info.fence >= before.fence, f"{info.log_id}: the fence went back")
        if info.fence == before.fence:
            self.expect(info.owner_id == before.owner_id, "an owner changed without a fence")
            return
        self._note(f"{info.log_id} is claimed, fence {info.fence}, owner {info.owner_id[:6]}")
        left = self.lease_end(before.owner_id) - self._now()
        self.expect(
            info.owner_id == before.owner_id or left <= 0,
            f"{info.log_id} was taken from an owner whose lease holds for {left:.3f} s",
        )

    def _add(self, book: Book, info: LogInfo, canonical: bytes) -> None:
        event = decode_event(canonical)
        seq, log_id, data = len(book.events) + 1, info.log_id, event.data
        self.expect(event.seq == seq, f"{log_id}: expected event {seq}, got {event.seq}")
        if book.events:
            self.expect(book.events[-1].type not in TERMINAL, f"{log_id}: events after the end")
        book.events.append(event)
        book.frames.append(canonical)
        self._note(f"{log_id} {event.seq} {event.type} {_short(data)}")
        if isinstance(data, Mapping) and "by" in data and "n" in data:
            token, number = data["by"], data["n"]
            expected = book.stored.get(token, 0)
            if number != expected:
                how = "comes twice" if number < expected else f"comes before {expected}"
                self.expect(False, f"{log_id}: event {number} of {token} {how}")
            book.stored[token] = number + 1
            self.expect(
                data.get("fence") in (None, book.info.fence),
                f"{log_id}: the attempt {token} wrote after another owner (fence "
                f"{book.info.fence}, not {data.get('fence')})",
            )
        if event.type == "done":
            self._check_done(book)
        if event.type in ("interrupt_response", "interrupt_resolved"):
            self._decide(book, event)

    def _check_done(self, book: Book) -> None:
        """Check that a run that succeeded has everything that its last attempt has written."""
        log_id, fence = book.info.log_id, book.info.fence
        for pen in self.pens.values():
            if (pen.log_id, pen.fence) == (log_id, fence):
                stored = book.stored.get(pen.token, 0)
                self.expect(
                    stored == pen.written,
                    f"{log_id} is done with {stored} of the {pen.written} events of {pen.token}",
                )

    def _decide(self, book: Book, event: Event) -> None:
        key = f"{event.type} {event.data['interrupt_id']}"
        self.expect(key not in book.decided, f"{book.info.log_id}: decided twice: {key}")
        book.decided[key] = event.data.get("answer")

    def decision(self, log_id: str, interrupt_id: str) -> Any:
        """Return the answer in a log; None if there is none."""
        return self.books[log_id].decided.get(f"interrupt_response {interrupt_id}")

    def promise_cancelled(self, log_id: str) -> None:
        """Note that somebody was told that a run is cancelled. It may have ended since."""
        if log_id in self.open_logs():
            self._cancelled[log_id] = not self.books[log_id].events

    @property
    def early_cancels(self) -> int:
        """How many runs were cancelled before they had begun their work."""
        return sum(self._cancelled.values())

    def _check_cancelled(self) -> None:
        for log_id in self._cancelled:
            last = self.books[log_id].events[-1]
            is_lost = last.type == "failed" and last.data["code"] == "lost"
            is_endless = log_id.startswith("endless")
            self.expect(
                last.type == "cancelled" or not (is_lost or is_endless),
                f"{log_id} was cancelled, and ended as {last.type} {_short(last.data)}",
            )

    def open_logs(self) -> list[str]:
        """Return the logs that have not ended."""
        return [log_id for log_id, book in self.books.items() if not book.info.closed]

    def check_owners(self, within_s: float) -> None:
        """Check that no run has been without a living owner for longer than that.

        Call it while nothing is wrong. A run that waits for an answer may be without an owner, and
        for a while one that waits for code that attaches to it.
        """
        for log_id in self.open_logs():
            info = self.books[log_id].info
            since_s = self._now() - self.lease_end(info.owner_id)
            may_wait_s = _ATTACHED_S if LAUNCH_LABEL in info.labels else 0.0
            self.expect(
                since_s <= within_s + may_wait_s or info.status == "waiting",
                f"{log_id} is open, and its owner's lease has been over for {since_s:.1f} s",
            )

    def check_end(self) -> None:
        """Check what must be so once everything has come to rest."""
        for log_id in self.open_logs():
            info = self.books[log_id].info
            self.expect(False, f"{log_id} never ends (owner {info.owner_id[:6]}, {info.status})")
        self._check_cancelled()
        for pen in self.pens.values():
            book = self.books.get(pen.log_id)
            stored = 0 if book is None else book.stored.get(pen.token, 0)
            self.expect(
                pen.acknowledged <= stored <= pen.written,
                f"{pen.log_id}: {pen.token} has written {pen.written} events, of which "
                f"{pen.acknowledged} were acknowledged and {stored} are stored",
            )


_SHOWN: Final = 80


def _short(data: object) -> str:
    return repr(data)[:_SHOWN]
