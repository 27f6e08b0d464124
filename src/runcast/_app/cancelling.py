"""Runs are cancelled by a process of its own, for processes that fork.

A fork copies the locks that other threads hold, such as those of imports and of SQLite, and nobody
in the copy lets them go. So in the first process of a Celery worker, no thread may open a store.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from tempfile import TemporaryFile
from typing import Final

import msgspec

from runcast._app.hub import OpenHub
from runcast._app.in_thread import OpenHubInThread
from runcast._settings import Settings
from runcast.errors import NotFound, RuncastError

__all__ = ("Cancel", "cancel_apart")

_LONGEST_S: Final = 60.0
"""How long the process may take."""


class Cancel(msgspec.Struct, frozen=True):
    """A run to be cancelled: its id, the reason, and the URL of its store."""

    run_id: str
    reason: str
    store: str


def cancel_apart(cancels: Sequence[Cancel]) -> Mapping[str, str]:
    """Cancel runs by another process, and wait for it.

    Returns why runs could not be cancelled, by their ids. A run that does not exist is no failure.
    """
    command = [sys.executable, "-m", __name__]  # no URL among them: it may hold a password
    # Files, because a process that is forked meanwhile would inherit pipes, and keep them open. For
    # the same reason without `close_fds`: then Python needs no pipe of its own to start a process.
    with TemporaryFile() as given, TemporaryFile() as told, TemporaryFile() as said:
        given.write(msgspec.json.encode(cancels))
        given.seek(0)
        try:
            subprocess.run(
                command,
                stdin=given,
                stdout=told,
                stderr=said,
                close_fds=False,
                timeout=_LONGEST_S,
            )
            told.seek(0)
            return msgspec.json.decode(told.read(), type=dict[str, str])
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
        except msgspec.MsgspecError:
            said.seek(0)
            why = said.read().decode(errors="replace").strip()[-500:]
    return dict.fromkeys((cancel.run_id for cancel in cancels), why)


def _cancel(cancels: Sequence[Cancel]) -> Mapping[str, str]:
    settings, failures = Settings.load(), dict[str, str]()
    for store in {cancel.store for cancel in cancels}:
        theirs = [cancel for cancel in cancels if cancel.store == store]
        # As a worker it leaves other runs alone.
        hub = OpenHub(store, functions=[], settings=settings, is_worker=True)
        try:
            with OpenHubInThread(hub) as opened:
                for cancel in theirs:
                    try:
                        opened.cancel(cancel.run_id, cancel.reason)
                    except NotFound:
                        pass
                    except RuncastError as error:
                        failures[cancel.run_id] = error.message
        except RuncastError as error:  # the store cannot be opened
            failures.update((cancel.run_id, error.message) for cancel in theirs)
    return failures


def _main() -> None:
    given = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Cancel])
    sys.stdout.buffer.write(msgspec.json.encode(_cancel(given)))


if __name__ == "__main__":
    _main()
