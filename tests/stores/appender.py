"""A process that appends to a shared log and to one of its own, and says what was acknowledged.

    python appender.py PATH NAME COMMITS [CHECKPOINT_BYTES]

It writes "ready" to stdout, waits for a line on stdin, then makes COMMITS commits (0: until it is
killed), and after each writes a line: the number of the commit, its first `seq` in the shared log,
its first `seq` in its own log, and how many records it had in each.
"""

import asyncio
import itertools
import os
import sys

from runcast.errors import RuncastError
from runcast.stores.base import Append, Appended
from runcast.stores.sqlite import journal as sqlite_journal
from runcast.stores.sqlite import upkeep as sqlite_upkeep
from runcast.stores.sqlite.store import SQLiteStore

# A checkpoint every few commits instead of every few megabytes: there is more to kill then.
CHECKPOINT_BYTES = 30_000


def records_of(name: str, number: int) -> list[bytes]:
    """Return what the commit of that number appends: 1 to 4 records of 20 to 2,000 bytes."""
    return [
        b'"by":"%b","n":%d,"i":%d,"x":"%b"'
        % (name.encode(), number, index, b"x" * (number * 7919 % 2000))
        for index in range(1 + number % 4)
    ]


def first_of(outcome: Appended | RuncastError) -> int:
    if isinstance(outcome, RuncastError):
        raise outcome
    return outcome.first


async def append(path: str, name: str, commits: int) -> None:
    async with SQLiteStore(path) as store:
        os.write(1, b"ready\n")
        await asyncio.to_thread(sys.stdin.readline)
        for number in range(commits) if commits else itertools.count():
            records = records_of(name, number)
            group = [Append("shared", records), Append(f"own-{name}", records)]
            shared, own = map(first_of, await store.commit(group))
            # One write of the system, so that a killed process has said a line or has not.
            os.write(1, b"%d %d %d %d\n" % (number, shared, own, len(records)))


if __name__ == "__main__":
    checkpoint_bytes = int(sys.argv[4]) if len(sys.argv) > 4 else CHECKPOINT_BYTES
    setattr(sqlite_journal, "CHECKPOINT_BYTES", checkpoint_bytes)  # noqa: B010 - it is Final
    # However slow the machine is, it is not taken for a silence: the journal stays to be killed.
    setattr(sqlite_upkeep, "_QUIET_S", 3600.0)  # noqa: B010 - it is Final
    asyncio.run(append(sys.argv[1], sys.argv[2], int(sys.argv[3])))
