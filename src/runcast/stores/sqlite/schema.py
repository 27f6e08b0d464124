"""The tables of the file, and the upgrade of files of earlier versions.

    journal    one row per commit, of all logs: commands that are not yet in the tables below
    logs       one row per log, as the last checkpoint left it
    segments   frames, 64 KiB and more in a row, in the wire form of the default dialect
    attachments  what belongs to logs beside their events, one row per epoch that has some
    once_uses  idempotency keys, as long as their epoch
    owners     processes that own runs, and when their leases end by the wall clock
    leases     when these leases end by the clock of their boot, which nobody can set
    dead       epochs whose segments are still to be deleted, a few at a time
    labelled   the labels of logs, for lists: labels from users, and `function`
    states     what the events up to a `seq` led to, kept only to save work

Version 2 had no `labelled` and no `states`.

Version 1 had no kinds, and a log's status was a label that every writer had to set. The label of
an open log, or a label that names no ending, cannot be trusted; then the events give the status.
"""

import json
import sqlite3
from typing import Final

import msgspec

from runcast.events.lifecycle import BEGINNING, Standing, Status, standing_after_frames

__all__ = (
    "LABELS_OF_LOGS",
    "SCHEMA_VERSION",
    "add_attachments",
    "make_tables",
    "read_as_present",
    "upgrade",
)

SCHEMA_VERSION: Final = 3

_LOGS: Final = """
CREATE TABLE logs (
    log_id TEXT PRIMARY KEY, key INTEGER NOT NULL UNIQUE, kind TEXT NOT NULL, epoch TEXT NOT NULL,
    created_at REAL NOT NULL, status TEXT NOT NULL, questions TEXT NOT NULL,
    first INTEGER NOT NULL, head INTEGER NOT NULL, closed_at REAL, bytes INTEGER NOT NULL,
    labels TEXT NOT NULL, ttl_s REAL, owner_id TEXT NOT NULL, fence INTEGER NOT NULL,
    segment_first INTEGER NOT NULL, segment_bytes INTEGER NOT NULL,
    producers BLOB, snapshot_seq INTEGER, snapshot BLOB
);
CREATE INDEX logs_by_age ON logs (kind, created_at, log_id);
CREATE INDEX logs_by_status ON logs (kind, status, created_at, log_id);
CREATE INDEX logs_open ON logs (owner_id) WHERE closed_at IS NULL;
CREATE INDEX logs_expiring ON logs (closed_at + ttl_s) WHERE ttl_s IS NOT NULL;
"""

_OTHERS: Final = """
CREATE TABLE journal (id INTEGER PRIMARY KEY, commands BLOB NOT NULL);
CREATE TABLE segments (
    key INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, codec INTEGER NOT NULL,
    frames BLOB NOT NULL
);
CREATE UNIQUE INDEX segments_by_first ON segments (key, first);
CREATE TABLE once_uses (
    key INTEGER NOT NULL, once TEXT NOT NULL, digest TEXT NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, PRIMARY KEY (key, once)
) WITHOUT ROWID;
CREATE TABLE owners (
    owner_id TEXT PRIMARY KEY, machine TEXT NOT NULL, pid INTEGER NOT NULL, started TEXT NOT NULL,
    expires_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE dead (key INTEGER PRIMARY KEY);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES ('next_key', 1);
"""

_LEASES: Final = """
CREATE {table} leases (
    owner_id TEXT PRIMARY KEY, boot TEXT NOT NULL, ends REAL NOT NULL
) WITHOUT ROWID
"""
"""A table that later files of version 1 also have."""

_LISTS: Final = """
CREATE TABLE labelled (
    of_kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, since REAL NOT NULL,
    of_log TEXT NOT NULL, PRIMARY KEY (of_kind, name, value, since, of_log)
) WITHOUT ROWID;
CREATE TABLE states (key INTEGER PRIMARY KEY, seq INTEGER NOT NULL, state BLOB NOT NULL);
"""
"""What version 3 has besides. The columns of `labelled` have names that `logs` does not have."""

LABELS_OF_LOGS: Final = (
    "SELECT logs.kind AS of_kind, label.key AS name, label.value AS value, "
    "logs.created_at AS since, logs.log_id AS of_log FROM logs, json_each(logs.labels) AS label "
    "WHERE label.key NOT GLOB 'runcast.*'"
)
"""What `labelled` holds of all logs."""

_ATTACHMENTS: Final = """
CREATE {table} attachments (key INTEGER PRIMARY KEY, data BLOB NOT NULL)
"""
"""A table that the first files of version 3 do not have."""

_STANDINGS: Final = """
CREATE TEMP TABLE standings (key INTEGER PRIMARY KEY, status TEXT NOT NULL, questions TEXT NOT NULL)
"""
"""The standings, from the events, of logs whose label cannot be trusted."""

_FROM_VERSION_1: Final = """
SELECT log_id, old.key AS key, 'run' AS kind, epoch, created_at,
    coalesce(known.status, json_extract(labels, '$.status')) AS status,
    coalesce(known.questions, '[]') AS questions, first, head, closed_at, bytes,
    json_remove(labels, '$.status') AS labels, ttl_s, owner_id, fence,
    segment_first, segment_bytes, NULL AS producers, snapshot_seq, snapshot
FROM {old} AS old LEFT JOIN temp.standings AS known ON known.key = old.key
"""


class _Asked(msgspec.Struct):
    interrupt_id: str = ""


class _Kept(msgspec.Struct):
    """The needed fields of the snapshot that a trimmed log begins with."""

    status: Status = "queued"
    interrupts: list[_Asked] = []


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file; within the caller's transaction."""
    _run(connection, _LOGS + _OTHERS + _LISTS)
    connection.execute(_LEASES.format(table="TABLE"))
    add_attachments(connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Upgrade a file of an earlier version, within the caller's transaction."""
    if version == 1:
        _upgrade_logs(connection)
    _run(connection, _LISTS)
    connection.execute(f"INSERT INTO labelled {LABELS_OF_LOGS}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _upgrade_logs(connection: sqlite3.Connection) -> None:
    for index in ("logs_by_age", "logs_open", "logs_expiring"):
        connection.execute(f"DROP INDEX {index}")
    connection.execute("ALTER TABLE logs RENAME TO logs_of_version_1")
    # A new table instead of more columns: columns after the snapshot are slow to read.
    _run(connection, _LOGS)
    _fill_standings(connection, "logs_of_version_1")
    select = _FROM_VERSION_1.format(old="logs_of_version_1")
    connection.execute(f"INSERT INTO main.logs {select}")
    connection.execute("DROP TABLE logs_of_version_1")
    connection.execute("DROP TABLE temp.standings")
    connection.execute(_LEASES.format(table="TABLE IF NOT EXISTS"))


def add_attachments(connection: sqlite3.Connection, *, is_temporary: bool = False) -> None:
    """Give a file that has no table of attachments one, or only this connection."""
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'attachments'").fetchone()
    if found is None:
        kind = "TEMP TABLE IF NOT EXISTS" if is_temporary else "TABLE"
        connection.execute(_ATTACHMENTS.format(table=kind))


def read_as_present(connection: sqlite3.Connection, version: int) -> None:
    """Let this connection read a file of an earlier version that cannot be upgraded."""
    if version == 1:
        _read_logs_as_present(connection)
    connection.execute(f"CREATE TEMP VIEW labelled AS {LABELS_OF_LOGS}")
    connection.execute("CREATE TEMP TABLE states (key INTEGER PRIMARY KEY, seq, state)")


def _read_logs_as_present(connection: sqlite3.Connection) -> None:
    _fill_standings(connection, "main.logs")
    connection.execute(f"CREATE TEMP VIEW logs AS {_FROM_VERSION_1.format(old='main.logs')}")
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'leases'").fetchall():
        connection.execute(_LEASES.format(table="TEMP TABLE"))


def _fill_standings(connection: sqlite3.Connection, old: str) -> None:
    connection.execute(_STANDINGS)
    doubtful = connection.execute(
        f"SELECT key, snapshot_seq, snapshot FROM {old} WHERE closed_at IS NULL "
        "OR coalesce(json_extract(labels, '$.status'), '') NOT IN ('done', 'failed', 'cancelled')"
    ).fetchall()
    for key, seq, snapshot in doubtful:
        standing = BEGINNING if snapshot is None else _standing_in(snapshot)
        for (frames,) in connection.execute(
            "SELECT frames FROM segments WHERE key = ? ORDER BY first", (key,)
        ):
            standing = standing_after_frames(standing, frames, seq or 0)
        connection.execute(
            "INSERT INTO temp.standings VALUES (?, ?, ?)",
            (key, standing.status, json.dumps(standing.questions, ensure_ascii=False)),
        )


def _standing_in(snapshot: bytes) -> Standing:
    try:
        kept = msgspec.json.decode(snapshot, type=_Kept)
    except msgspec.DecodeError:
        return BEGINNING  # another program's snapshot
    return Standing(kept.status, tuple(each.interrupt_id for each in kept.interrupts))


def _run(connection: sqlite3.Connection, script: str) -> None:
    # `executescript` would commit the transaction.
    for statement in script.strip().split(";\n"):
        connection.execute(statement)
