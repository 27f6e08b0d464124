"""What lies between the SQLite store and its file: seen, refused, looked at from outside."""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing.contract.harness import append, record
from tests.waiting import WAIT_S


class Spy:
    """Sees every connection made and every statement on it, and can have SQLite refuse some.

    A connection is used by the thread that the store uses it in, and by no other. Our callbacks
    wait for the interpreter while SQLite holds the connection's lock; a second thread that held
    the interpreter and waited for that lock would never get it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements: list[str] = []
        self._writer: sqlite3.Connection | None = None
        self._waiting: deque[Callable[[sqlite3.Connection], object]] = deque()
        self._refused: tuple[int, str, asyncio.AbstractEventLoop, asyncio.Event] | None = None
        real_connect = sqlite3.connect
        spy = self

        class Connection(sqlite3.Connection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                while self is spy._writer and spy._waiting:
                    spy._waiting.popleft()(self)
                return super().execute(*arguments)

        def connect(database: str | Path, **options: Any) -> sqlite3.Connection:
            # A statement is only authorized when it is prepared: none may be kept.
            options |= {"cached_statements": 0, "factory": Connection}
            connection: sqlite3.Connection = real_connect(database, **options)
            connection.set_trace_callback(self.statements.append)
            if "mode=rwc" in str(database):
                self._writer = self._writer or connection
                connection.set_authorizer(self._authorize)
            return connection

        monkeypatch.setattr(sqlite3, "connect", connect)

    def before_next_write(self, step: Callable[[sqlite3.Connection], object]) -> None:
        """Have the thread that writes do something before its next statement.

        It is the writer of the store that was opened first.
        """
        self._waiting.append(step)

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
