"""Plain appends: one page for an open log, and nothing else. Nearly all appends are plain. Pure.

They are planned, sent and remembered with as little work as possible. Any other append takes the
way of `keeping`, which knows every change of a log.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from runcast.stores.base import Append, Appended
from runcast.stores.ledger import plan_plain
from runcast.stores.model import Page
from runcast.stores.producers import Use, keep
from runcast.stores.redis.keeping import Planned, Seen

__all__ = ("CommitCall", "PlainAppend", "Word", "pack", "plan", "words_of")

Word: TypeAlias = str | bytes | float
"""One word of a command, as the client library takes it."""

_encode: Final = msgspec.msgpack.Encoder().encode


class PlainAppend(msgspec.Struct, gc=False):
    """An append that was planned on a log as it was seen.

    `producers` and `has_forgotten` are those of the log after the append.
    """

    log_id: str
    seen: Seen
    page: Page
    outcome: Appended
    producers: dict[str, Use]
    has_forgotten: bool
    since: bytes

    def finish(self, version: bytes) -> Seen:
        """Return the log as seen after the append, which was applied."""
        seen, log = self.seen, self.seen.log
        assert log is not None
        log.info.head = self.page.last
        log.info.bytes += len(self.page.frames)
        log.producers, log.has_forgotten = self.producers, self.has_forgotten
        seen.version, seen.is_remembered = version, True
        return seen


def plan(seen: Seen, append: Append) -> PlainAppend | None:
    """Return the plan of an append if it is plain and is not refused; else None."""
    log = seen.log
    if log is None or (planned := plan_plain(log, append)) is None:
        return None
    page, use = planned
    producers, has_forgotten = log.producers, log.has_forgotten
    if use is not None:
        assert append.producer is not None
        producer_id = append.producer.producer_id
        if len(producers) == 1 and producer_id in producers:
            producers = {producer_id: use}
        else:
            producers = dict(producers)
            has_forgotten |= keep(producers, producer_id, use)
    last, epoch = page.last, page.epoch
    since = _encode((last, log.info.bytes + len(page.frames), producers, has_forgotten))
    outcome = Appended(epoch, page.first, last, (page,), labels=log.info.labels)
    return PlainAppend(append.log_id, seen, page, outcome, producers, has_forgotten, since)


def words_of(appends: Sequence[PlainAppend], prefix: str, version: bytes) -> list[bytes]:
    """Return the words of appends for `commit.lua`."""
    words: list[bytes] = []
    for each in appends:
        words += (f"{prefix}now:{each.log_id}".encode(), version + each.since)
    for each in appends:
        page = each.page
        stream = f"{prefix}events:{each.log_id}:{page.epoch}"
        words += (each.seen.version, stream.encode(), b"%d-0" % page.last, page.frames)
    return words


def pack(appends: Sequence[PlainAppend], prefix: str, version: bytes) -> bytes:
    """Return the words of appends as they are sent: each with its length, as the protocol has it.

    The client library takes five times as long.
    """
    parts: list[bytes] = []
    for each in appends:
        seen, since = each.seen, each.since
        if not seen.keys:
            key = f"{prefix}now:{each.log_id}".encode()
            stream = f"{prefix}events:{each.log_id}:{each.page.epoch}".encode()
            seen.keys = b"$%d\r\n%b\r\n$" % (len(key), key)
            seen.stream = b"\r\n$%d\r\n%b\r\n$" % (len(stream), stream)
        parts.append(b"%b%d\r\n%b%b\r\n" % (seen.keys, len(version) + len(since), version, since))
    for each in appends:
        seen, frames = each.seen, each.page.frames
        entry = b"%d-0" % each.page.last
        parts.append(
            b"$%d\r\n%b%b%d\r\n%b\r\n$%d\r\n%b\r\n"
            % (len(seen.version), seen.version, seen.stream, len(entry), entry, len(frames), frames)
        )
    return b"".join(parts)


class CommitCall:
    """Packs calls of `commit.lua` that have their first words in common.

    Args:
        first: the command's words up to the number of its plain changes.
        version: the version of the changed logs, which is among these words.
    """

    def __init__(self, first: Sequence[Word], prefix: str, version: bytes) -> None:
        self._head = b"".join(map(_packed, first))
        self._count = len(first) + 1
        self._prefix = prefix
        self._version = version

    def pack(self, appends: Sequence[PlainAppend], changes: Sequence[Planned]) -> bytes:
        """Return a call as it is sent."""
        more = [_packed(word) for change in changes for word in change.words]
        whole = b"*%d\r\n" % (self._count + 6 * len(appends) + len(more))
        packed = pack(appends, self._prefix, self._version)
        return b"".join((whole, self._head, _packed(len(appends)), packed, *more))


def _packed(word: Word) -> bytes:
    """Return a word as it is sent."""
    known = word if isinstance(word, bytes) else str(word).encode()
    return b"$%d\r\n%b\r\n" % (len(known), known)
