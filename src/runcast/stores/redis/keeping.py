"""What the server keeps of a log, and the commands that change it. Pure.

All keys of a namespace begin with its prefix. It is a hash tag, so a cluster keeps them on one
node and every script may touch all of them:

| key | type | holds |
|---|---|---|
| `now:<id>` | string | version, and what plain appends have changed since the state was written |
| `log:<id>` | hash | `p` epoch, `s` state, `a` attachment, `t` snapshot of the last trim, `e` saved state of the fold, `o:<key>` the use of an idempotency key |
| `events:<id>:<epoch>` | stream | one entry a page; the entry's id is the page's last `seq`, its field `f` the frames |
| `all`, `kind:…`, `status:…`, `label:…` | sorted sets | ids of logs by the time of their creation |
| `expiring` | sorted set | closed logs by the time when they may be deleted |
| `owners`, `owned:<owner>` | sets | owners, and the open logs of each |
| `leases` | sorted set | owners by the end of their lease |
| `changes`, `gone`, `floor`, `number` | | which logs changed last: see `commit.lua` |
| `data` | string | the id of the namespace's data |
| `feed` | channel, in a cluster one of the shard | what was changed, for the other processes: all but plain appends |
| `feed:<origin>` | the same | plain appends, for one process |
| `watched` | hash | for each log, the origins of the processes that hear its plain appends; `*` for all logs |
"""  # noqa: E501 - a table

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from runcast.stores.ledger import Ledger, Log, copy_info
from runcast.stores.model import Change, LogInfo, Page
from runcast.stores.plans import (
    AppendCommand,
    ClaimCommand,
    Command,
    CreateCommand,
    DeleteCommand,
    OnceUse,
    TrimCommand,
)
from runcast.stores.producers import Use

__all__ = (
    "ABSENT",
    "VERSION_BYTES",
    "Planned",
    "Seen",
    "Since",
    "changes_of",
    "decode_info",
    "decode_now",
    "decode_saved",
    "decode_snapshot",
    "decode_use",
    "label_key",
    "once_field",
    "page_of",
    "plan_change",
    "status_key",
)

ABSENT: Final = b""
"""The version of a log that does not exist."""

VERSION_BYTES: Final = 14
"""Length of all other versions."""

_LENGTH_BYTES: Final = 4
"""Before each word on the feed: its length, the most significant byte first."""

_encode: Final = msgspec.msgpack.Encoder().encode

_Operation = tuple[str | bytes | float, ...]
"""A command of the server: its name, its key without the prefix, its arguments."""


class _State(msgspec.Struct, array_like=True, gc=False):
    """A log without its records. A field may be added at the end, with a default."""

    info: LogInfo
    producers: dict[str, Use] = {}
    has_forgotten: bool = False


class Since(msgspec.Struct, array_like=True, gc=False):
    """What plain appends have changed of a state since it was written."""

    head: int
    bytes: int
    producers: dict[str, Use]
    has_forgotten: bool


class _News(msgspec.Struct, array_like=True, gc=False):
    """A change of a log, for the other processes."""

    info: LogInfo
    is_deleted: bool
    pages: tuple[Page, ...]


_decode_state: Final = msgspec.msgpack.Decoder(_State).decode
_decode_since: Final = msgspec.msgpack.Decoder(Since).decode
_decode_news: Final = msgspec.msgpack.Decoder(_News).decode
decode_snapshot: Final = msgspec.msgpack.Decoder(tuple[int, bytes]).decode
"""Decodes (seq, snapshot), the field `t` of a log."""
decode_saved: Final = msgspec.msgpack.Decoder(tuple[str, int, bytes]).decode
"""Decodes (epoch, seq, state), the field `e` of a log."""
decode_use: Final = msgspec.msgpack.Decoder(OnceUse).decode
"""Decodes the use of an idempotency key, a field `o:…` of a log."""
decode_info: Final = msgspec.msgpack.Decoder(LogInfo).decode
"""Decodes the last description of a deleted log, a field of `gone`."""


class Seen(msgspec.Struct, gc=False):
    """A log as it was seen: its version, and the log; None if there was no such log.

    `is_remembered` is True if it was not seen now, so that it may have changed since. A plain
    append that was applied changes version and log in one step.
    """

    version: bytes
    log: Log | None
    is_remembered: bool = False
    keys: bytes = b""
    stream: bytes = b""
    """The log's keys as `plain.pack` sends them; made at the first plain append."""


class Planned(msgspec.Struct, gc=False):
    """A change of a log that is no plain append: its words for `commit.lua`, and the log
    afterwards."""

    log_id: str
    after: Log | None
    words: tuple[bytes, ...]


def decode_now(now: bytes, state: bytes) -> Log:
    """Return the log that is this now (see the table), with this state."""
    return _decode_log(state, now[VERSION_BYTES:])


def _decode_log(state: bytes, since: bytes) -> Log:
    """Return the log with this state, and with what has changed since."""
    found = _decode_state(state)
    log = Log(0, found.info)
    log.producers, log.has_forgotten = found.producers, found.has_forgotten
    if since:
        changed = _decode_since(since)
        log.info.head, log.info.bytes = changed.head, changed.bytes
        log.producers, log.has_forgotten = changed.producers, changed.has_forgotten
    return log


def _copy_log(log: Log) -> Log:
    """Return a copy that commands can be applied to."""
    copied = Log(0, copy_info(log.info))
    copied.producers, copied.has_forgotten = dict(log.producers), log.has_forgotten
    return copied


def once_field(key: str) -> str:
    """Return the field of a log's hash that holds the use of an idempotency key."""
    return f"o:{key}"


def status_key(kind: str, status: str) -> str:
    """Return the key of the index of a status."""
    return f"status:{kind}:{status}"


def label_key(kind: str, name: str, value: str) -> str:
    """Return the key of the index of a label. No label holds a NUL."""
    return f"label:{kind}:{name}\0{value}"


def plan_change(
    log_id: str, seen: Seen, commands: Sequence[Command], *, rival: str = ""
) -> Planned:
    """Return the change that makes commands of one log durable; without commands, only compare.

    Args:
        rival: an owner whose lease must be over.
    """
    if not commands:
        return Planned(log_id, seen.log, _words(log_id, seen, None, (), rival))
    scratch = Ledger()
    if seen.log is not None:
        scratch.logs[log_id] = _copy_log(seen.log)
    scratch.apply(0, commands)
    log = scratch.logs.get(log_id)
    words = _words(log_id, seen, log, commands, rival)
    if log is not None:
        log.pages, log.once, log.attachment, log.snapshot = [], {}, None, None
    return Planned(log_id, log, words)


def _words(
    log_id: str, seen: Seen, log: Log | None, commands: Sequence[Command], rival: str
) -> tuple[bytes, ...]:
    """Return a change as `commit.lua` takes it."""
    before = None if seen.log is None else seen.log.info
    after = None if log is None else log.info
    operations = [each for command in commands for each in _operations(command, before, after)]
    news = gone = b""
    if log is not None and after is not None:
        state = _encode(_State(after, log.producers, log.has_forgotten))
        operations.append(("HSET", f"log:{log_id}", "s", state))
    if commands:
        operations.extend(_reindex(log_id, before, after))
        last = after or before
        assert last is not None
        news = _encode(_News(last, after is None, _pages_of(commands)))
        gone = _encode(last) if after is None else b""
    is_noted = int(any(map(_is_noted, commands)))
    words: list[str | bytes | float] = [log_id, seen.version, int(after is not None), is_noted]
    words += (gone, news, rival, len(operations))
    for operation in operations:
        words.append(len(operation))
        words += operation
    return tuple(each if type(each) is bytes else str(each).encode() for each in words)


def _is_noted(command: Command) -> bool:
    """Return whether `changes` must return the log after a command."""
    if isinstance(command, AppendCommand):
        is_plain = command.standing is None and command.labels is None
        return not is_plain or command.closed_at is not None
    return isinstance(command, CreateCommand | DeleteCommand)


def _pages_of(commands: Sequence[Command]) -> tuple[Page, ...]:
    return tuple(
        page for command in commands if isinstance(command, AppendCommand) for page in command.pages
    )


def _operations(
    command: Command, before: LogInfo | None, after: LogInfo | None
) -> Iterator[_Operation]:
    """Return what one command changes besides the log's state and the indexes."""
    log_id = command.log_id
    log = f"log:{log_id}"
    match command:
        case AppendCommand():
            for page in command.pages:
                if page.frames:
                    stream = f"events:{log_id}:{page.epoch}"
                    yield "XADD", stream, f"{page.last}-0", "f", page.frames
            if command.once is not None:
                key, *use = command.once
                yield "HSET", log, once_field(key), _encode(use)
            if command.attachment:
                yield "HSET", log, "a", command.attachment
        case CreateCommand():
            if before is not None:
                yield "DEL", log
                yield "UNLINK", f"events:{log_id}:{before.epoch}"
            yield "HSET", log, "p", command.epoch, "a", command.attachment
        case TrimCommand():
            assert after is not None
            yield "HSET", log, "t", _encode((command.first - 1, command.snapshot))
            yield "XTRIM", f"events:{log_id}:{after.epoch}", "MINID", f"{command.first}-0"
        case DeleteCommand():
            assert before is not None
            yield "DEL", log
            yield "HDEL", "watched", log_id
            yield "UNLINK", f"events:{log_id}:{before.epoch}"
        case ClaimCommand():
            pass  # only the state changes


def _reindex(log_id: str, before: LogInfo | None, after: LogInfo | None) -> Iterator[_Operation]:
    """Return what changes in the indexes."""
    if before is not None and after is not None and _indexed(before) == _indexed(after):
        return
    old = {} if before is None else _indexes(before)
    new = {} if after is None else _indexes(after)
    for key in old.keys() - new.keys():
        yield "ZREM", key, log_id
    for key, score in new.items():
        if old.get(key) != score:
            yield "ZADD", key, score, log_id
    was, is_now = _owner_of(before), _owner_of(after)
    if was != is_now:
        if was:
            yield "SREM", f"owned:{was}", log_id
        if is_now:
            yield "SADD", f"owned:{is_now}", log_id
            yield "SADD", "owners", is_now


def _indexed(info: LogInfo) -> tuple[object, ...]:
    return (info.epoch, info.status, info.labels, info.closed, info.owner_id)


def _indexes(info: LogInfo) -> Mapping[str, float]:
    kind, created = info.kind, info.created_at
    keys = {"all": created, f"kind:{kind}": created, status_key(kind, info.status): created}
    for name, value in info.labels.items():
        keys[label_key(kind, name, value)] = created
    if info.closed_at is not None and info.ttl_s is not None:
        keys["expiring"] = info.closed_at + info.ttl_s
    return keys


def _owner_of(info: LogInfo | None) -> str:
    return "" if info is None or info.closed else info.owner_id


def _split_words(joined: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(joined):
        body = start + _LENGTH_BYTES
        start = body + int.from_bytes(joined[start:body])
        yield joined[body:start]


def changes_of(message: bytes) -> Iterator[tuple[Change, bool]]:
    """Return the changes that a message is about, and whether each is a plain append."""
    words = _split_words(message)
    for kind in words:
        if kind == b"p":
            info = _decode_log(next(words), next(words)).info
            entry, frames = next(words), next(words)
            yield Change(info, False, (page_of(info.epoch, entry, frames),)), True
        else:
            news = _decode_news(next(words))
            yield Change(news.info, news.is_deleted, news.pages), False


def page_of(epoch: str, entry: bytes, frames: bytes) -> Page:
    """Return the page of a stream's entry."""
    first = int(frames[: frames.index(b"\n")].rpartition(b"-")[2])
    return Page(epoch, first, int(entry.partition(b"-")[0]), frames)
