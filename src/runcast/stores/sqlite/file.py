"""The database file: opening, upgrading, and the meaning of its errors."""

import logging
import os
import sqlite3
from pathlib import Path
from typing import Final, TypeVar

from runcast.errors import BackendError, StoreReadOnly, StoreUnavailable, StoreUnusable
from runcast.stores.sqlite.schema import (
    SCHEMA_VERSION,
    add_attachments,
    make_tables,
    read_as_present,
    upgrade,
)

__all__ = ("about", "explain", "identify", "open_copier", "open_file", "open_reader")

E = TypeVar("E", bound=BackendError)

_log: Final = logging.getLogger("runcast.stores.sqlite")

_APPLICATION_ID: Final = 0x52_43_53_54  # "RCST"
_BUSY_TIMEOUT_S: Final = 10.0
_WRITER_CACHE_KIB: Final = 16 * 1024
_READER_CACHE_KIB: Final = 1024
"""Small, because a replay reads nothing twice: filling a large cache costs more than reading."""

# WAL needs shared memory, which no network file system gives. This is SQLite's own advice.
_NETWORK_FILE_SYSTEMS: Final = frozenset(
    [
        "9p",
        "afs",
        "ceph",
        "cifs",
        "fuse.glusterfs",
        "fuse.sshfs",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
    ]
)


def open_file(path: str, *, full_sync: bool, first_journal_row: bytes) -> sqlite3.Connection:
    """Open the file for writing, and create it if it is missing.

    Raises:
        StoreReadOnly: the file can only be read.
        StoreUnusable: the file is another program's, of a newer version, or on a network file
            system.
        StoreUnavailable: the file cannot be opened now.
    """
    kind = _file_system(path)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise about(
            StoreUnusable,
            path,
            f"is on a network file system ({kind}), where SQLite loses data when several machines "
            "use it; keep it on a local disk",
        )
    try:
        connection = _connect(f"{Path(path).absolute().as_uri()}?mode=rwc", _WRITER_CACHE_KIB)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    try:
        _prepare(connection, path, full_sync=full_sync, first_journal_row=first_journal_row)
    except sqlite3.Error as error:
        connection.close()
        raise explain(error, path) from error
    except BackendError:
        connection.close()
        raise
    return connection


def open_reader(path: str) -> sqlite3.Connection:
    """Open the file for reading only. Raises what `open_file` raises."""
    uri = f"{Path(path).absolute().as_uri()}?mode=ro"
    try:
        try:
            return _connect_reader(uri, path)
        except sqlite3.OperationalError:
            wal = Path(f"{path}-wal")
            if wal.exists() and wal.stat().st_size:
                raise
            # A write-ahead log cannot be shared where nothing can be written. `immutable` declares
            # that the file does not change. It does not, and there is no log to miss.
            return _connect_reader(f"{uri}&immutable=1", path)
    except sqlite3.Error as error:
        raise explain(error, path) from error


def open_copier(path: str, *, wait_s: float) -> sqlite3.Connection:
    """Open the file for copying its write-ahead log.

    Args:
        wait_s: longest wait for other connections.

    Raises what `open_file` raises.
    """
    try:
        connection = _connect_reader(f"{Path(path).absolute().as_uri()}?mode=rw", path)
        connection.execute(f"PRAGMA busy_timeout = {round(wait_s * 1000)}")
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error as error:
        raise explain(error, path) from error
    return connection


def _connect_reader(uri: str, path: str) -> sqlite3.Connection:
    connection = _connect(uri, _READER_CACHE_KIB)
    try:
        _check_version(connection, path)
        version = _version(connection)
        if version < SCHEMA_VERSION:
            read_as_present(connection, version)
        add_attachments(connection, is_temporary=True)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(uri: str, cache_kib: int) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,  # no implicit transactions: we begin each one
        check_same_thread=False,  # used on another thread, but never on two at once
    )
    try:
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")  # the first access to the file
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(
    connection: sqlite3.Connection, path: str, *, full_sync: bool, first_journal_row: bytes
) -> None:
    if _is_empty(connection):
        # Must be set before the first table is created; the file keeps the setting.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    else:
        _check_version(connection, path)  # before changing a file that may not be ours
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise about(StoreUnusable, path, f"cannot use a write-ahead log (journal mode {mode!r})")
    connection.execute(f"PRAGMA synchronous = {'FULL' if full_sync else 'NORMAL'}")
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # another thread does it
    # Some builds overwrite freed space with zeros, and write the zeros to the log and the disk.
    connection.execute("PRAGMA secure_delete = FAST")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_empty(connection):
            make_tables(connection)
            connection.execute("INSERT INTO journal VALUES (1, ?)", (first_journal_row,))
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        _check_version(connection, path)
        version = _version(connection)
        if version < SCHEMA_VERSION:
            _log.info("%s is of an earlier version and will be upgraded", path)
            upgrade(connection, version)
        add_attachments(connection)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _is_empty(connection: sqlite3.Connection) -> bool:
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return not tables and _version(connection) == 0


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check_version(connection: sqlite3.Connection, path: str) -> None:
    version = _version(connection)
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise about(StoreUnusable, path, "is a database of another program; name another file")
    if version > SCHEMA_VERSION:
        raise about(
            StoreUnusable,
            path,
            f"was written by a newer runcast (schema {version}, this one knows {SCHEMA_VERSION}); "
            "upgrade runcast",
        )


def identify(path: str) -> tuple[int, int]:
    """Return the identity of the file at a path (device and inode); (0, 0) without a file."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def about(kind: type[E], path: str, what: str) -> E:
    """Return an error that names the store's file; clients read "the store" instead."""
    return kind(f"{path} {what}", f"the store {what}")


def explain(error: sqlite3.Error, path: str) -> BackendError:
    """Return our error for an SQLite error."""
    name = getattr(error, "sqlite_errorname", "") or ""
    # A file that cannot be opened because nothing can be created beside it (a disk mounted
    # read-only) can still be read.
    if name.startswith("SQLITE_READONLY") or (name == "SQLITE_CANTOPEN" and _is_fixed(path)):
        return about(StoreReadOnly, path, f"can be read but not written ({error})")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return about(StoreUnusable, path, f"is not a sound SQLite database ({error})")
    if name == "SQLITE_FULL":
        return StoreUnavailable(
            f"no space is left for {path} ({error}); free some", "no space is left for the store"
        )
    folder = Path(path).parent
    if name == "SQLITE_CANTOPEN" and not folder.is_dir():
        missing = f"the folder {str(folder)!r} of {path} is not there; make it"
        return StoreUnavailable(missing, "the folder of the store is not there")
    return about(StoreUnavailable, path, f"could not be used ({error})")


def _is_fixed(path: str) -> bool:
    """Return whether a file exists in a folder that cannot be written."""
    effective = os.access in os.supports_effective_ids
    return os.path.isfile(path) and not os.access(
        os.path.dirname(os.path.abspath(path)), os.W_OK, effective_ids=effective
    )


def _file_system(path: str) -> str:
    """Return the type of the file system a path lies on, "" if it is unknown."""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    place = Path(path).absolute().parent.resolve()
    best, kind = -1, ""
    for line in mounts:
        _, point, found, *_ = line.split(" ")
        root = Path(point.replace("\\040", " "))
        if (place == root or root in place.parents) and len(root.parts) >= best:
            best, kind = len(root.parts), found
    return kind
