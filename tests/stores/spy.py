"""What lies between the SQLite store and its file: seen, refused, looked at from outside."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing.contract.steps import append, record
from tests.waiting import WAIT_S


class Spy:
    """Sees every connection made and every statement on it, and can have SQLite refuse some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements: list[str] = []
        self._writers: list[sqlite3.Connection] = []
        self._refused: tuple[int, str, asyncio.AbstractEventLoop, asyncio.Event] | None = None
        real_connect = sqlite3.connect

        def connect(database: str | Path, **options: Any) -> sqlite3.Connection:
            # A statement is only authorized when it is prepared: none may be kept.
            connection: sqlite3.Connection = real_connect(database, cached_statements=0, **options)
            connection.set_trace_callback(self.statements.append)
            if "mode=rwc" in str(database):
                self._writers.append(connection)
                # Set now, before other threads use it: SQLite would hold its lock and wait for
                # Python's, while we hold Python's and wait for SQLite's.
                connection.set_authorizer(self._authorize)
            return connection

        monkeypatch.setattr(sqlite3, "connect", connect)

    @property
    def writer(self) -> sqlite3.Connection:
        """The connection that writes, of the store opened first."""
        return self._writers[0]

    def refuse(self, action: int, name: str) -> asyncio.Event:
        """Let statements of a kind fail where files are written; the event is set when one did."""
        refused = asyncio.Event()
        self._refused = (action, name, asyncio.get_running_loop(), refused)
        return refused

    def allow(self) -> None:
        """Let everything work again."""
        self._refused = None

    def _authorize(self, action: int, name: str | None, *rest: str | None) -> int:
        if self._refused is None or self._refused[:2] != (action, name):
            return sqlite3.SQLITE_OK
        _, _, loop, refused = self._refused
        loop.call_soon_threadsafe(refused.set)
        return sqlite3.SQLITE_DENY


def ask(path: Path, sql: str) -> Any:
    """Return the first value of a query on the file, asked past the store."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchone()[0]


def ask_all(path: Path, sql: str) -> list[Any]:
    """Return all rows of a query on the file, asked past the store."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def tell(path: Path, sql: str) -> None:
    """Change the file past the store."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(sql)
        connection.commit()


def names_in(directory: Path) -> list[str]:
    """Return the names of the files in a directory."""
    return sorted(file.name for file in directory.iterdir())


async def make_file(path: Path) -> None:
    """Make a file that holds one closed log."""
    async with SQLiteStore(str(path)) as store:
        await store.create("a")
        await append(store, "a", record(1), record(2), close=True)


async def until(store: SQLiteStore, claim: Callable[[], bool]) -> None:
    """Let a store's writer go on until a claim holds, 5 s at most."""
    async with asyncio.timeout(WAIT_S):
        while not claim():
            await store.commit([])  # a turn of its thread


def is_checkpointed(path: Path) -> bool:
    """Tell whether everything of the journal is in the tables."""
    return bool(ask(path, "SELECT count(*) FROM journal") == 1)
