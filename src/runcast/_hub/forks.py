"""Processes forked from a process with a hub: what they inherit there must not be used.

`fork` copies the memory, but only the thread that forks. In the child the hub's loop and the
store's threads are gone. A call that waits for them never returns, data passed to them is lost, and
a lock that another thread held at the fork is never released. So calls that lead to the hub raise
`InvalidValue` in a forked process, and locks begin unlocked.
"""

import os
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn, Protocol

from runcast._logs import format_error
from runcast.errors import InvalidValue

__all__ = (
    "Forked",
    "Home",
    "elsewhere",
    "ending_forks",
    "leave_fork",
    "make_lock",
    "make_rlock",
    "when_forked",
)


class Forked(Protocol):
    """An object that a forked process inherits."""

    def handle_fork(self) -> None:
        """Make the object safe to call. Called in the forked process, in its only thread."""
        ...


_inherited: Final[weakref.WeakSet[Forked]] = weakref.WeakSet()
_locks: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


def when_forked(thing: Forked) -> None:
    """Call `handle_fork` in each process that is forked while this object exists."""
    _inherited.add(thing)


def make_lock() -> threading.Lock:
    """Return a lock that is unlocked in a forked process, even if it was held at the fork."""
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def make_rlock() -> "threading.RLock":
    """Return a reentrant lock with the same property."""
    lock = threading.RLock()
    _locks.add(lock)
    return lock


class Home:
    """The process that an object was made in."""

    def __init__(self) -> None:
        self.is_here = True
        """Whether this is that process, not a fork. `os.getpid` takes as long as half an emit."""
        when_forked(self)

    def handle_fork(self) -> None:
        """Note that this process is a fork."""
        self.is_here = False

    def check(self, call: str) -> None:
        """Raise `InvalidValue` in a forked process; `call` names the refused call."""
        if not self.is_here:
            raise elsewhere(call)


def elsewhere(call: str = "this call") -> InvalidValue:
    """Return the error for a call in a forked process that needs its parent's hub."""
    return InvalidValue(
        f"expected {call} in the process that opened the hub or runs the function, not in one "
        "forked from it: pass the data back to that process, or open another hub here"
    )


@contextmanager
def ending_forks(run_id: str) -> Iterator[None]:
    """End a process that is forked inside the block when it leaves the block.

    Only the function's own code may run there, because the server's threads, loop and locks stayed
    in the parent.
    """
    home, error = Home(), None
    try:
        yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        if not home.is_here:
            leave_fork(error, run_id)


def leave_fork(error: BaseException | None, run_id: str) -> NoReturn:
    """End a forked process like a script that raised the error."""
    code = 0 if error is None else 1
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        code = error.code or 0
    elif error is not None:
        text = f"a process that run {run_id} has forked raised\n{format_error(error)}"
        # Not logged: the logging handlers belong to the parent.
        with suppress(Exception):
            sys.stderr.write(text)
            sys.stderr.flush()
    os._exit(code & 0xFF)


def _handle_fork() -> None:
    for lock in list(_locks):
        # As the locks of `logging` and `concurrent.futures` are. A lock held by this very thread,
        # because a signal handler forks, is released by this thread itself.
        if not (hasattr(lock, "_is_owned") and lock._is_owned()):
            lock._at_fork_reinit()
    for thing in list(_inherited):
        thing.handle_fork()


os.register_at_fork(after_in_child=_handle_fork)
