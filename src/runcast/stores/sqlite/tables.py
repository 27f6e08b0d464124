"""The rows of the database: reading logs and segments, and writing a checkpoint.

Every statement here handles many rows. Python's `sqlite3` releases and takes the interpreter lock
around each step of a statement. Beside a busy thread each step costs up to a switch interval, so
one statement per row would stop commits for seconds.
"""

import json
import secrets
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

import msgspec

from runcast.events.lifecycle import Standing
from runcast.stores.base import LogInfo, Owner, Page
from runcast.stores.ledger import Ledger, Log
from runcast.stores.plans import OnceUse
from runcast.stores.producers import Use
from runcast.stores.sqlite.attachments import save_attachments
from runcast.stores.sqlite.indexes import add_to_lists, changed_in_lists, take_from_lists
from runcast.stores.sqlite.leases import Lease

__all__ = (
    "SEGMENT_BYTES",
    "delete_lease",
    "load_data_id",
    "load_lease",
    "load_log",
    "load_once",
    "note_written",
    "read_segments",
    "save_lease",
    "select_logs",
    "write_tables",
)

SEGMENT_BYTES: Final = 64 * 1024
"""A segment that a checkpoint makes holds about this much: a replay reads few rows."""

_EXTEND_BYTES: Final = 8 * 1024
"""A later checkpoint extends a segment that holds less than this. To extend a row means to write it
again, so the segments of many slow runs stay small."""

_FRAMES_CODEC: Final = 1
"""Frames as `events.position.frame_record` makes them: the wire form of the default dialect."""

_ROWS_TOGETHER: Final = tuple(2**power for power in range(8, -1, -1))
"""How many rows one statement inserts. Few sizes, since each is another statement, which is
compiled and kept for the next time: with 20 columns some 3 KiB a row."""

_FEW_HIDDEN: Final = 50
"""Extra rows read at first, because some of the selected logs may be hidden."""

_LOG_COLUMNS: Final = (
    "log_id, key, kind, epoch, created_at, status, questions, first, head, closed_at, bytes, "
    "labels, ttl_s, owner_id, fence, segment_first, segment_bytes"
)

_MORE_COLUMNS: Final = "producers, snapshot_seq, snapshot"
"""Columns that lists do not need."""

_ALL_COLUMNS: Final = f"{_LOG_COLUMNS}, {_MORE_COLUMNS}"
_UPDATE_ALL: Final = "ON CONFLICT (log_id) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _ALL_COLUMNS.split(", ")[1:]
)
_GROWING: Final = "head, bytes, segment_first, segment_bytes, producers"
"""Columns that change whenever a log grows. No index has one of them."""

_UPDATE_GROWN: Final = (
    ") UPDATE logs SET "
    + ", ".join(f"{name} = grown.{name}" for name in _GROWING.split(", "))
    + " FROM grown WHERE logs.log_id = grown.log_id"
)

_encode_json: Final = msgspec.json.Encoder().encode
_encode_producers: Final = msgspec.msgpack.Encoder().encode
_decode_producers: Final = msgspec.msgpack.Decoder(tuple[bool, dict[str, Use]]).decode


def load_log(connection: sqlite3.Connection, log_id: str) -> Log | None:
    """Return a log as of the last checkpoint."""
    row = connection.execute(
        f"SELECT {_LOG_COLUMNS}, {_MORE_COLUMNS} FROM logs WHERE log_id = ?", (log_id,)
    ).fetchone()
    if row is None:
        return None
    log = _log(row)
    *_, producers, snapshot_seq, snapshot = row
    if producers is not None:
        log.has_forgotten, log.producers = _decode_producers(producers)
    if snapshot_seq is not None:
        log.snapshot = (snapshot_seq, snapshot)
    return log


def _log(row: Sequence[Any]) -> Log:
    info = LogInfo(
        log_id=row[0],
        epoch=row[3],
        created_at=row[4],
        standing=Standing(row[5], tuple(json.loads(row[6]))),
        first=row[7],
        head=row[8],
        closed=row[9] is not None,
        closed_at=row[9],
        bytes=row[10],
        labels=json.loads(row[11]),
        ttl_s=row[12],
        owner_id=row[13],
        fence=row[14],
    )
    log = Log(row[1], info, segment=(row[15], row[16]))
    note_written(log)
    return log


def note_written(log: Log) -> None:
    """Note that the tables have a log as it is now."""
    log.listed, log.described = log.info.labels, _description(log)


def _description(log: Log) -> tuple[object, ...]:
    """Return what rarely changes while a log grows."""
    info = log.info
    return (log.key, info.standing, info.closed_at, info.owner_id, info.fence, info.first)


def load_once(connection: sqlite3.Connection, log: Log, once: str) -> OnceUse | None:
    """Return the first use of an idempotency key, as of the last checkpoint."""
    row = connection.execute(
        "SELECT digest, first, last FROM once_uses WHERE key = ? AND once = ?", (log.key, once)
    ).fetchone()
    return OnceUse(*row) if row else None


def load_data_id(connection: sqlite3.Connection, *, may_write: bool) -> str:
    """Return what names the data of this file, which gets a name when it is first opened."""
    sql = "SELECT value FROM counters WHERE name = 'data_id'"
    row = connection.execute(sql).fetchone()
    if row is None and may_write:
        connection.execute(
            "INSERT OR IGNORE INTO counters VALUES ('data_id', ?)", (secrets.randbits(48),)
        )
        row = connection.execute(sql).fetchone()  # another process may have been first
    return f"{row[0] if row else 0:x}"


def load_lease(connection: sqlite3.Connection, owner_id: str) -> Lease | None:
    """Return an owner's lease, or None."""
    row = connection.execute(
        "SELECT machine, pid, started, expires_at, coalesce(boot, ''), coalesce(ends, 0) "
        "FROM owners LEFT JOIN leases USING (owner_id) WHERE owner_id = ?",
        (owner_id,),
    ).fetchone()
    if row is None:
        return None
    machine, pid, started, *ends = row
    return Lease(Owner(owner_id=owner_id, machine=machine, pid=pid, started=started), *ends)


def save_lease(connection: sqlite3.Connection, lease: Lease) -> None:
    """Write a lease.

    In two steps: between them, a reader finds the owner with its old lease.
    """
    owner = lease.owner
    connection.execute(
        "INSERT INTO leases VALUES (?, ?, ?) ON CONFLICT (owner_id) DO UPDATE SET "
        "boot = excluded.boot, ends = excluded.ends",
        (owner.owner_id, lease.boot, lease.ends),
    )
    connection.execute(
        "INSERT INTO owners VALUES (?, ?, ?, ?, ?) ON CONFLICT (owner_id) DO UPDATE SET "
        "machine = excluded.machine, pid = excluded.pid, started = excluded.started, "
        "expires_at = excluded.expires_at",
        (owner.owner_id, owner.machine, owner.pid, owner.started, lease.expires_at),
    )


def delete_lease(connection: sqlite3.Connection, owner_id: str) -> None:
    """Remove an owner's lease, if any."""
    for table in ("owners", "leases"):
        connection.execute(f"DELETE FROM {table} WHERE owner_id = ?", (owner_id,))


def select_logs(
    connection: sqlite3.Connection,
    where: str,
    parameters: Sequence[object],
    order: str,
    limit: int,
    hidden: Collection[str],
    source: str = "logs",
) -> list[LogInfo]:
    """Return the logs that a condition selects, without the hidden ones, as of the last
    checkpoint; -1 sets no limit.

    Args:
        source: the tables to select from.
    """
    query = f"SELECT {_LOG_COLUMNS} FROM {source} WHERE {where} ORDER BY {order} LIMIT ?"
    # Few hidden logs are among the selected ones, so a few extra rows are usually enough.
    enough = limit + min(len(hidden), _FEW_HIDDEN) if limit > 0 else -1
    rows = connection.execute(query, (*parameters, enough)).fetchall()
    found = [row for row in rows if row[0] not in hidden]
    if len(found) < limit and len(rows) == enough:
        rows = connection.execute(query, (*parameters, limit + len(hidden))).fetchall()
        found = [row for row in rows if row[0] not in hidden]
    return [_log(row).info for row in found]


def read_segments(
    connection: sqlite3.Connection, key: int, epoch: str, after_seq: int, max_bytes: int
) -> list[Page]:
    """Return the events after `after_seq` in the segments, as pages: as many whole segments as fit
    into `max_bytes`, and at least one.

    The list is empty if no event follows, or if the events were changed meanwhile.
    """
    # Look at the sizes first: reading a segment that does not fit would be wasted, and the
    # next page would read it again.
    sizes = connection.execute(
        "SELECT first, last, length(frames) FROM segments WHERE key = ? AND first >= coalesce("
        "(SELECT max(first) FROM segments WHERE key = ? AND first <= ?), 0) ORDER BY first",
        (key, key, after_seq + 1),
    )
    pages: list[Page] = []
    wanted: list[int] = []
    room = max_bytes
    for first, last, size in sizes:
        if last <= after_seq:
            continue
        if first <= after_seq:  # only the events show how much of the segment follows
            pages = [page.after(after_seq) for page in _pages(connection, key, epoch, first, first)]
            room -= sum(len(page.frames) for page in pages)
            continue
        if (pages or wanted) and size > room:
            break
        wanted.append(first)
        room -= size
    sizes.close()
    if wanted:
        whole = _pages(connection, key, epoch, wanted[0], wanted[-1])
        if [page.first for page in whole] != wanted:
            return []
        pages += whole
    return pages


def _pages(
    connection: sqlite3.Connection, key: int, epoch: str, first: int, last: int
) -> list[Page]:
    """Return the segments whose first event is in `first`..`last`."""
    rows = connection.execute(
        "SELECT first, last, frames FROM segments WHERE key = ? AND first BETWEEN ? AND ? "
        "ORDER BY first",
        (key, first, last),
    )
    return [Page(epoch, *row) for row in rows]


def write_tables(connection: sqlite3.Connection, ledger: Ledger) -> None:
    """Write the whole ledger into the tables, within the caller's transaction."""
    changed = changed_in_lists(ledger)
    take_from_lists(connection, changed)
    _delete_logs(connection, ledger)
    segments = [row for log in ledger.logs.values() for row in _segment_rows(log)]
    _upsert(
        connection,
        "INSERT INTO segments (key, first, last, codec, frames) VALUES",
        segments,
        # `||` turns blobs into text; the cast turns the same bytes back into a blob.
        "ON CONFLICT (key, first) DO UPDATE SET last = excluded.last, "
        "frames = CAST(frames || excluded.frames AS BLOB)",
    )
    _write_logs(connection, ledger.logs.values())
    add_to_lists(connection, changed)
    save_attachments(connection, ledger)
    _upsert(
        connection,
        "INSERT OR IGNORE INTO once_uses (key, once, digest, first, last) VALUES",
        [
            (log.key, once, use.digest, use.first, use.last)
            for log in ledger.logs.values()
            for once, use in log.once.items()
        ],
    )
    for log in ledger.logs.values():
        if log.snapshot is not None:
            connection.execute(
                "DELETE FROM segments WHERE key = ? AND last < ?", (log.key, log.info.first)
            )
    connection.execute("UPDATE counters SET value = ? WHERE name = 'next_key'", (ledger.next_key,))


def _write_logs(connection: sqlite3.Connection, logs: Iterable[Log]) -> None:
    grown: list[tuple[object, ...]] = []
    others: list[tuple[object, ...]] = []
    for log in logs:
        if log.listed is log.info.labels and log.described == _description(log):
            grown.append(_grown_row(log))
        else:
            others.append(_log_row(log))
    # Most have only grown. Their rows keep their places in all indexes.
    _upsert(connection, f"WITH grown (log_id, {_GROWING}) AS (VALUES", grown, _UPDATE_GROWN)
    _upsert(connection, f"INSERT INTO logs ({_ALL_COLUMNS}) VALUES", others, _UPDATE_ALL)


def _delete_logs(connection: sqlite3.Connection, ledger: Ledger) -> None:
    _upsert(connection, "INSERT OR IGNORE INTO dead VALUES", [(key,) for key in ledger.dead_keys])
    for log_id in ledger.deleted:
        connection.execute("DELETE FROM logs WHERE log_id = ?", (log_id,))


def _segment_rows(log: Log) -> list[tuple[int, int, int, int, bytes]]:
    """Return the segment rows for a log's pages, and note the new last segment."""
    rows: list[tuple[int, int, int, int, bytes]] = []
    first, size = log.segment
    if size >= _EXTEND_BYTES:
        first = 0
    parts: list[bytes] = []
    for page in log.pages:
        if size >= SEGMENT_BYTES or not first:
            if parts:
                rows.append((log.key, first, page.first - 1, _FRAMES_CODEC, b"".join(parts)))
            first, size, parts = page.first, 0, []
        parts.append(page.frames)
        size += len(page.frames)
    if parts:
        rows.append((log.key, first, log.info.head, _FRAMES_CODEC, b"".join(parts)))
    log.segment = (first, size)
    return rows


def _log_row(log: Log) -> tuple[object, ...]:
    info = log.info
    return (
        info.log_id,
        log.key,
        info.kind,
        info.epoch,
        info.created_at,
        info.status,
        _encode_json(info.standing.questions).decode(),
        info.first,
        info.head,
        info.closed_at,
        info.bytes,
        _encode_json(info.labels).decode(),
        info.ttl_s,
        info.owner_id,
        info.fence,
        *log.segment,
        _producers(log),
        *(log.snapshot or (None, None)),
    )


def _grown_row(log: Log) -> tuple[object, ...]:
    return (log.info.log_id, log.info.head, log.info.bytes, *log.segment, _producers(log))


def _producers(log: Log) -> bytes | None:
    return _encode_producers((log.has_forgotten, log.producers)) if log.producers else None


def _upsert(
    connection: sqlite3.Connection,
    head: str,
    rows: Sequence[tuple[object, ...]],
    tail: str = "",
) -> None:
    """Insert rows, many in one statement."""
    start = 0
    while start < len(rows):
        many = next(size for size in _ROWS_TOGETHER if size <= len(rows) - start)
        part = rows[start : start + many]
        row = f"({', '.join('?' * len(part[0]))})"
        connection.execute(
            f"{head} {', '.join([row] * many)} {tail}",
            [value for values in part for value in values],
        )
        start += many
