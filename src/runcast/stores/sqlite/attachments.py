"""The rows of attachments, one row for each epoch that has one."""

import sqlite3

from runcast.stores.ledger import Ledger

__all__ = ("load_attachment", "save_attachments")


def load_attachment(connection: sqlite3.Connection, key: int) -> bytes:
    """Return the attachment of an epoch, as of the last checkpoint; b"" if there is no such."""
    row = connection.execute("SELECT data FROM attachments WHERE key = ?", (key,)).fetchone()
    return bytes(row[0]) if row else b""


def save_attachments(connection: sqlite3.Connection, ledger: Ledger) -> None:
    """Write those that the tables do not have yet, within the caller's transaction."""
    rows = [(log.key, log.attachment) for log in ledger.logs.values() if log.attachment]
    connection.executemany("INSERT OR REPLACE INTO attachments VALUES (?, ?)", rows)
