"""Positions in a log, the ids of logs, and the wire form of records.

A **log id** is unique among all logs of a store. A run's log has the run id. A log of any other
kind has its kind in front: `delivery/report-7`. No run id holds a slash.

A log's *record* is what a producer encoded: canonical JSON of an event without its opening brace
and without `seq`, for example `"time":1.5,"type":"log","data":{}}`. The sequencer that commits the
record knows the `seq` and makes the *frame*. The store keeps the frame, replay sends it, and every
watcher of the default dialect gets it:

    id: 01hq3v5k2m-7
    data: {"seq":7,"time":1.5,"type":"log","data":{}}
    <blank line>

Making a frame only joins bytes: an event is encoded once, by its producer.
"""

import re
from typing import Final, NamedTuple

from runcast.errors import InvalidValue

__all__ = (
    "EPOCH_LENGTH",
    "MAX_SEQ",
    "RUN",
    "Position",
    "describe_log",
    "epoch_parts",
    "frame_record",
    "is_log_id",
    "is_run_id",
    "kind_of",
    "make_epoch",
    "make_log_id",
    "split_frames",
    "split_sized_frames",
)

EPOCH_LENGTH: Final = 10
"""Characters of an epoch: 50 bits of Crockford's base32, sortable by time."""

MAX_SEQ: Final = 2**53 - 1
"""The largest `seq`: above it JavaScript loses digits."""

RUN: Final = "run"
"""The kind of the runs' logs; it is not part of their ids."""

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_TOKEN: Final = re.compile(r"([0-9a-hjkmnp-tv-z]{10})-(0|[1-9][0-9]{0,15})")
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
_KIND: Final = re.compile(r"[a-z][a-z0-9_-]{0,15}")
_EPOCH_RANDOM_BITS: Final = 9
_EPOCH_ORIGIN_MS: Final = 1_577_836_800_000  # 2020-01-01; 41 bits of ms last until 2089


class Position(NamedTuple):
    """A place in a log: everything up to and including `seq` of `epoch` has been seen.

    On the wire it is one opaque token, `"<epoch>-<seq>"`. `seq` 0 stands before the first event.
    """

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, token: str) -> "Position":
        """Parse a token.

        Raises:
            InvalidValue: the token is not of the form `<epoch>-<seq>`.
        """
        given: object = token
        found = _TOKEN.fullmatch(given) if isinstance(given, str) else None
        if found is None or (seq := int(found[2])) > MAX_SEQ:
            shown = repr(given)
            shown = shown if len(shown) <= 42 else shown[:42] + "…"
            raise InvalidValue(
                f"expected a position like '01hq3v5k2m-7', got {shown}; "
                "pass the last event's id unchanged, or pass no position to start at the beginning"
            )
        return cls(found[1], seq)


def make_epoch(time_s: float, entropy: int, after: str = "") -> str:
    """Return an epoch for a log that begins now; it sorts after `after`.

    Args:
        time_s: Unix seconds.
        entropy: any integer; its low 9 bits distinguish epochs of one millisecond.
        after: the log's last epoch, `""` if it has none. A clock that went back cannot make a
            new epoch sort before an old one.
    """
    ms = max(0, int(time_s * 1000) - _EPOCH_ORIGIN_MS)
    number = (ms << _EPOCH_RANDOM_BITS) | (entropy & ((1 << _EPOCH_RANDOM_BITS) - 1))
    if after:
        number = max(number, _epoch_number(after) + 1)
    number &= (1 << 50) - 1
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(45, -1, -5))


def epoch_parts(epoch: str) -> tuple[float, int]:
    """Return a time and an entropy from which `make_epoch` makes this epoch.

    Raises:
        InvalidValue: this is not an epoch.
    """
    number = _epoch_number(Position.parse(f"{epoch}-0").epoch)
    ms = (number >> _EPOCH_RANDOM_BITS) + _EPOCH_ORIGIN_MS
    return (ms + 0.5) / 1000, number & ((1 << _EPOCH_RANDOM_BITS) - 1)


def _epoch_number(epoch: str) -> int:
    number = 0
    for char in epoch:
        number = (number << 5) | _ALPHABET.index(char)
    return number


def is_run_id(text: object) -> bool:
    """Return whether a value may be a run id (and so a log id)."""
    return isinstance(text, str) and _RUN_ID.fullmatch(text) is not None


def make_log_id(kind: str, name: str) -> str:
    """Return the id of the log of this kind and name.

    Raises:
        InvalidValue: the kind or the name is malformed.
    """
    if not (isinstance(kind, str) and _KIND.fullmatch(kind)):
        raise InvalidValue(
            f"expected a kind of logs like 'delivery' ([a-z][a-z0-9_-]*, at most 16 characters), "
            f"got {kind!r:.140}"
        )
    if not is_run_id(name):
        raise InvalidValue(
            f"expected a {kind} id like 'report-7' ([A-Za-z0-9][A-Za-z0-9_.:-]*, at most 128 "
            f"characters), got {name!r:.140}"
        )
    return name if kind == RUN else f"{kind}/{name}"


def is_log_id(text: object) -> bool:
    """Return whether a value may be a log id, as made by `make_log_id`."""
    if not isinstance(text, str):
        return False
    kind, slash, name = text.partition("/")
    if not slash:
        return is_run_id(text)
    return kind != RUN and _KIND.fullmatch(kind) is not None and is_run_id(name)


def kind_of(log_id: str) -> str:
    """Return the kind of the log with this id."""
    kind, slash, _ = log_id.partition("/")
    return kind if slash else RUN


def describe_log(log_id: str) -> str:
    """Return a log's name for messages: `run 'report-7'`, `delivery 'report-7'`."""
    kind, name = RUN, log_id
    if is_log_id(log_id):
        kind, name = kind_of(log_id), log_id.rpartition("/")[2]
    return f"{kind} {name!r:.140}"


def frame_record(head: bytes, seq: int, record: bytes) -> bytes:
    """Return a record's frame; `head` is `b"id: <epoch>-"`, made once per log and epoch."""
    return b'%b%d\ndata: {"seq":%d,%b\n\n' % (head, seq, seq, record)


def split_sized_frames(frames: bytes) -> list[tuple[int, bytes]]:
    """Return what `split_frames` returns, each with its frame's size in bytes."""
    parts = frames.split(b"\n\n")[:-1]
    return [(len(part) + 2, part[part.index(b"\n") + 7 :]) for part in parts]


def split_frames(frames: bytes) -> list[bytes]:
    """Return the canonical JSON of each event in joined frames, oldest first."""
    # A record holds no line feed (JSON escapes it), so the blank line is an exact separator.
    return [frame[frame.index(b"\n") + 7 :] for frame in frames.split(b"\n\n")[:-1]]
