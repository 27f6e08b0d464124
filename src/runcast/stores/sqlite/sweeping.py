"""Deleting the data of deleted logs, a little at a time, and giving free pages back."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Final

__all__ = ("sweep_dead",)

_SWEEP_ROWS: Final = 256
_SWEEP_BYTES: Final = 1024 * 1024
_SWEEP_PAGES: Final = 256
"""Epochs and segments deleted, or pages given back, at once: a megabyte and a few milliseconds, so
that commits do not wait for a large deletion."""


def sweep_dead(connection: sqlite3.Connection, *, gives_back: bool = True) -> int:
    """Delete some data of deleted logs or, if none is left, give free pages back.

    Returns about how many pages changed; 0 if there was nothing to do.

    Args:
        gives_back: False keeps free pages in the file, for later rows.
    """
    keys = [row[0] for row in connection.execute("SELECT key FROM dead LIMIT ?", (_SWEEP_ROWS,))]
    if keys:
        return _delete_epochs(connection, keys)
    free = _free_pages(connection) if gives_back else 0
    if not free:
        return 0
    # A script, because `execute` would take only one step and free one page.
    connection.executescript(f"PRAGMA incremental_vacuum({_SWEEP_PAGES})")
    return free - _free_pages(connection)


def _delete_epochs(connection: sqlite3.Connection, keys: Sequence[int]) -> int:
    # One statement for any number of keys: each other one would be compiled and kept.
    those, dead = "key IN (SELECT value FROM json_each(?))", json.dumps(keys)
    found = connection.execute(
        f"SELECT rowid, length(frames) FROM segments WHERE {those} LIMIT ?", (dead, _SWEEP_ROWS)
    ).fetchall()
    going: list[int] = []
    size = 0
    for rowid, length in found:
        going.append(rowid)
        size += length
        if size >= _SWEEP_BYTES:
            break
    if going:
        connection.execute(
            "DELETE FROM segments WHERE rowid IN (SELECT value FROM json_each(?))",
            (json.dumps(going),),
        )
    if len(going) < len(found) or len(found) == _SWEEP_ROWS:
        return len(going)  # there may be more
    for table in ("once_uses", "states", "attachments"):
        connection.execute(f"DELETE FROM {table} WHERE {those}", (dead,))
    return len(going) + connection.execute(f"DELETE FROM dead WHERE {those}", (dead,)).rowcount


def _free_pages(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])
