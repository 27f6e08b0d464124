"""Arguments and results of stores; `stores.base` describes the methods.

Text that every store can keep has no NUL and no lone surrogate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from runcast.errors import InvalidValue
from runcast.events.lifecycle import BEGINNING, Standing, Status
from runcast.events.position import Position, kind_of

__all__ = (
    "LASTING",
    "MAX_APPENDS_TOGETHER",
    "MAX_ATTACHMENT_BYTES",
    "MAX_CHANGES",
    "MAX_LABELS",
    "MAX_LABEL_CHARS",
    "MAX_LIST",
    "MAX_PRODUCERS",
    "PAGE_BYTES",
    "Append",
    "Appended",
    "Change",
    "ChangePage",
    "LogInfo",
    "Once",
    "Owner",
    "Page",
    "Producer",
    "check_attachment",
    "check_text",
    "is_text",
    "merge_labels",
)

PAGE_BYTES: Final = 256 * 1024
"""Target size of one page, bytes: large, so that a replay needs few reads; small enough to send at
once. A page holds at least one record, so it can be longer by one record."""

MAX_LIST: Final = 500
"""Most logs one `list` returns."""

MAX_CHANGES: Final = 10_000
"""Logs whose last change is remembered for `changes`; with a log a KiB, at most 10 MB."""

MAX_ATTACHMENT_BYTES: Final = 1280 * 1024
"""Longest attachment of a log: the inputs of a run, and what the run keeps for its next attempt. A
store may hold the attachments of all open logs in memory until its next checkpoint."""

MAX_LABELS: Final = 32
"""Most labels of one log; they are an index, not a document."""
MAX_LABEL_CHARS: Final = 256
"""Longest name and longest value of a label, for the same reason."""


MAX_PRODUCERS: Final = 32
"""Most producers that a log remembers. More than a few append to one log only over years, or if
each answers one question."""

LASTING: Final = "writer-"
"""How the id of a producer begins that writes a log for as long as the log is open."""

MAX_APPENDS_TOGETHER: Final = 64
"""Most appends of one producer to one log in one commit, so that all can be sent again safely."""


class Once(NamedTuple):
    """An idempotency key. `digest` is the caller's fingerprint of the request."""

    key: str
    digest: str = ""


class Producer(msgspec.Struct, frozen=True, gc=False):
    """The producer of an append, and the append's number among all its appends to this log.

    Attributes:
        producer_id: unique to this producer, on all machines and for ever; at most 128 characters.
        number: 1, 2, 3, …. The next number is sent only in the same commit or after this outcome
            is known. A refused append uses no number.
        retried: True if the append was sent before, so that it may already have happened.
    """

    producer_id: str
    number: int
    retried: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process that runs functions, as the store knows it.

    `machine` names one boot of one machine in one process namespace. There `pid` and `started`
    identify a living process exactly, so its death is seen at once. On other machines only the
    lease counts.
    """

    owner_id: str
    machine: str = ""
    pid: int = 0
    started: str = ""


# Structs, because these objects are made for each run and commit. Many pages are kept; without
# `gc` the collector does not walk through them all, which would hold up everything.


class Append(msgspec.Struct):
    """One append of a group.

    Attributes:
        log_id: an existing log.
        records: oldest first; may be empty if only `close` or `labels` matter.
        epoch: refuse with `Stale` unless the log is in this epoch; `""` accepts every epoch.
        close: close the log after these records.
        fence: refuse with `Stale` unless this is the log's present fence; None skips the check.
        once: see guarantee 5.
        labels: merged into the log's labels; the value `""` removes a label.
        producer: see guarantee 12; None if the append is never sent again.
        attachment: replaces the log's attachment (guarantee 14); b"" leaves it as it is.
    """

    log_id: str
    records: list[bytes] = []
    epoch: str = ""
    close: bool = False
    fence: int | None = None
    once: Once | None = None
    labels: Mapping[str, str] | None = None
    producer: Producer | None = None
    attachment: bytes = b""


class Page(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Consecutive events of one epoch, framed.

    `frames` holds the events `first`..`last`, each as `events.position.frame_record` made it. In an
    empty page `last` is `first - 1`. `closed` is True if `last` is the last event there can ever
    be.
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
        """Return the part of this page after `seq`; `first <= seq < last`."""
        # A record holds no line feed, so this line can only be the frame's own beginning.
        start = self.frames.index(b"\nid: %b-%d\n" % (self.epoch.encode(), seq + 1)) + 1
        return msgspec.structs.replace(self, first=seq + 1, frames=self.frames[start:])


class Appended(msgspec.Struct, frozen=True, gc=False):
    """The result of an append: its pages in order, and the log's epoch, head and closed flag.

    `repeated` is True if nothing was appended because `once` or `producer` was seen before; then
    `first`..`last` are those of the first time. `is_resent` is True if `producer` shows that this
    very append was made before. `labels` are the log's labels after the append; None if they were
    not looked up.
    """

    epoch: str
    first: int
    last: int
    pages: tuple[Page, ...] = ()
    closed: bool = False
    repeated: bool = False
    is_resent: bool = False
    labels: Mapping[str, str] | None = None


@dataclass(slots=True, kw_only=True)
class LogInfo:
    """A store's description of a log, without its records. Times are Unix seconds.

    `log_id` is unique among all logs of the store; the store's methods take it.
    """

    log_id: str
    epoch: str
    created_at: float
    first: int = 1
    """The first `seq` still kept; `head + 1` if no event is kept."""
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
    """Status and open questions after the events up to `head`."""

    @property
    def status(self) -> Status:
        """The status after the events up to `head`."""
        return self.standing.status

    @property
    def kind(self) -> str:
        """The log's kind: `run`, `delivery`, `stream` or another short name."""
        return kind_of(self.log_id)

    @property
    def name(self) -> str:
        """The log's id within its kind; for a run, the run id."""
        return self.log_id.rpartition("/")[2]

    @property
    def position(self) -> Position:
        """The position of the last event."""
        return Position(self.epoch, self.head)


class Change(msgspec.Struct, frozen=True, gc=False):
    """A change of one log.

    Attributes:
        info: the log afterwards; for a deleted log, its last description.
        is_deleted: whether the log was deleted.
        pages: the appended events, oldest first, for listeners (`SharedStore`). It is empty if
            nothing was appended, or if the store knows only the log's new head.
    """

    info: LogInfo
    is_deleted: bool = False
    pages: tuple[Page, ...] = ()

    @property
    def log_id(self) -> str:
        """The log that changed."""
        return self.info.log_id


class ChangePage(NamedTuple):
    """Changed logs, each with its present description, and the next point (`Changes.changes`)."""

    changes: list[Change]
    after: str


def merge_labels(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Return the labels after an append. Raises `InvalidValue` if they are malformed."""
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


def check_attachment(attachment: bytes) -> None:
    """Raise `InvalidValue` if an attachment is too long."""
    if len(attachment) > MAX_ATTACHMENT_BYTES:
        raise InvalidValue(
            f"expected an attachment of at most {MAX_ATTACHMENT_BYTES} bytes, got {len(attachment)}"
        )


def is_text(text: str) -> bool:
    """Return whether every store can keep a text: no NUL and no lone surrogate."""
    if text.isascii():
        return "\0" not in text
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def check_text(text: str) -> None:
    """Raise `InvalidValue` unless every store can keep a text."""
    if not is_text(text):
        raise InvalidValue(f"expected text without NUL and lone surrogates, got {text[:140]!r}")
