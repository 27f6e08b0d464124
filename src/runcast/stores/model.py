"""What stores are given and what they give back; `stores.base` says what stores do with it.

Text that every store can keep has no NUL and no surrogate without its pair.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from runcast.errors import InvalidValue
from runcast.events.lifecycle import BEGINNING, Standing, Status
from runcast.events.position import Position, kind_of

__all__ = (
    "MAX_APPENDS_TOGETHER",
    "MAX_LABELS",
    "MAX_LABEL_CHARS",
    "MAX_LIST",
    "MAX_PRODUCERS",
    "PAGE_BYTES",
    "Append",
    "Appended",
    "LogInfo",
    "Once",
    "Owner",
    "Page",
    "Producer",
    "check_text",
    "is_text",
    "merge_labels",
)

PAGE_BYTES: Final = 256 * 1024
"""Target size of one page, bytes: large enough that replay is few reads, small enough to send at
once. A page holds at least one record, so it can be longer by one record."""

MAX_LIST: Final = 500
"""Most logs one `list` returns."""

MAX_LABELS: Final = 32
"""Most labels of one log; they are an index, not a document."""
MAX_LABEL_CHARS: Final = 256
"""Longest name and longest value of a label, for the same reason."""


MAX_PRODUCERS: Final = 32
"""Most producers that a log remembers. More than a few append to a log only over years, or if each
answers one question."""

MAX_APPENDS_TOGETHER: Final = 64
"""Most appends of one producer to one log in one commit, if all are to be sent again safely."""


class Once(NamedTuple):
    """An idempotency key. `digest` is the caller's fingerprint of what it means by it."""

    key: str
    digest: str = ""


class Producer(msgspec.Struct, frozen=True, gc=False):
    """Who appends, and the number of the append among all that this producer makes to this log.

    Args:
        producer_id: of this producer alone, on all machines and for ever; at most 128 characters.
        number: 1, 2, 3, …; the next is only sent once the outcome of this one is known, or in the
            same commit. A refused append uses none.
        retried: whether it was sent before and may have happened.
    """

    producer_id: str
    number: int
    retried: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process that runs functions, as the store knows it.

    `machine` names one boot of one machine in one process namespace; within it `pid` and
    `started` identify a living process exactly, so that its death is seen at once. Elsewhere only
    the lease tells.
    """

    owner_id: str
    machine: str = ""
    pid: int = 0
    started: str = ""


# Structs, which are cheap to make: these are made for each run and commit. Of pages many are kept;
# without `gc` the collector does not walk through them all again and again, holding up everything.


class Append(msgspec.Struct):
    """One append of a group.

    Args:
        log_id: an existing log.
        records: oldest first; may be empty when only `close` or `labels` matter.
        epoch: refuse with `Stale` unless the log is in this epoch; `""` takes any.
        close: nothing follows these records.
        fence: refuse with `Stale` unless it is the log's present fence; None skips the check.
        once: see guarantee 5.
        labels: merged into the log's labels; `""` removes one.
        producer: see guarantee 12; None if the append is never sent again.
    """

    log_id: str
    records: list[bytes] = []
    epoch: str = ""
    close: bool = False
    fence: int | None = None
    once: Once | None = None
    labels: Mapping[str, str] | None = None
    producer: Producer | None = None


class Page(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Consecutive events of one epoch, framed.

    `frames` holds the events `first`..`last`, each as `events.position.frame_record` made it; it is
    empty, and `last` is `first - 1`, when there are none. `closed` is True when `last` is the last
    event there can ever be.
    """

    epoch: str
    first: int
    last: int
    frames: bytes
    closed: bool = False

    @property
    def position(self) -> Position:
        """Where the next page begins."""
        return Position(self.epoch, self.last)

    def after(self, seq: int) -> "Page":
        """Return the part of this page that follows `seq`; `first <= seq < last`."""
        # A record holds no line feed, so this line can only be the frame's own beginning.
        start = self.frames.index(b"\nid: %b-%d\n" % (self.epoch.encode(), seq + 1)) + 1
        return msgspec.structs.replace(self, first=seq + 1, frames=self.frames[start:])


class Appended(msgspec.Struct, frozen=True, gc=False):
    """What became of an append: its pages in order, and the log's epoch, head and closed flag.

    `repeated` is True when nothing was appended, since `once` or `producer` says that this was done
    before: then `first`..`last` are those of the first time. `is_resent` is True when `producer`
    says so: then it was this very append that was made.
    """

    epoch: str
    first: int
    last: int
    pages: tuple[Page, ...] = ()
    closed: bool = False
    repeated: bool = False
    is_resent: bool = False


@dataclass(slots=True, kw_only=True)
class LogInfo:
    """What a store knows of a log besides its records. Times are Unix seconds.

    `log_id` is unique among all logs of the store: what its methods take.
    """

    log_id: str
    epoch: str
    created_at: float
    first: int = 1
    """The first `seq` still kept; `head + 1` when none is."""
    head: int = 0
    closed: bool = False
    closed_at: float | None = None
    bytes: int = 0
    """Bytes of all frames ever appended in this epoch."""
    labels: dict[str, str] = field(default_factory=dict)
    ttl_s: float | None = None
    """Seconds after closing until the log may be deleted; None keeps it."""
    owner_id: str = ""
    fence: int = 0
    standing: Standing = BEGINNING
    """Status and open questions, as the events up to `head` tell."""

    @property
    def status(self) -> Status:
        """The status that the events up to `head` tell."""
        return self.standing.status

    @property
    def kind(self) -> str:
        """What kind of log it is: `run`, `delivery`, `stream` or another short name."""
        return kind_of(self.log_id)

    @property
    def name(self) -> str:
        """Its id among the logs of its kind; of a run, the run id."""
        return self.log_id.rpartition("/")[2]

    @property
    def position(self) -> Position:
        """The position of the last event."""
        return Position(self.epoch, self.head)


def merge_labels(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Return labels as an append leaves them. Raises `InvalidValue` if they are malformed."""
    for name, value in new.items():
        if not (isinstance(name, str) and isinstance(value, str)) or not name:
            raise InvalidValue(f"expected labels to be strings, got {name!r:.80}: {value!r:.80}")
        if max(len(name), len(value)) > MAX_LABEL_CHARS:
            raise InvalidValue(f"expected labels of at most {MAX_LABEL_CHARS} characters")
        check_text(name)
        check_text(value)
    merged = {name: value for name, value in {**old, **new}.items() if value != ""}
    if len(merged) > MAX_LABELS:
        raise InvalidValue(f"expected at most {MAX_LABELS} labels, got {len(merged)}")
    return merged


def is_text(text: str) -> bool:
    """Tell whether every store can keep a text: no NUL, no surrogate without its pair."""
    if text.isascii():
        return "\0" not in text
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def check_text(text: str) -> None:
    """Raise `InvalidValue` unless every store can keep a text."""
    if not is_text(text):
        raise InvalidValue(f"expected text without NUL and lone surrogates, got {text[:140]!r}")
