"""How a child process dies with its parent."""

import contextlib
import ctypes
import fcntl
import functools
import os
import select
import signal
import sys
from typing import Final

__all__ = ("die_with_parent",)

_F_SETSIG: Final = 10
"""Linux: chooses the signal that an open file sends."""

_PR_SET_PDEATHSIG: Final = 1
"""Linux: chooses the signal that a process gets when its parent dies."""


def die_with_parent(lifeline_fd: int) -> int:
    """Make the kernel kill this process, and what it starts, when the parent dies.

    Only the parent holds the other end of the lifeline, a pipe. When it closes, our end sends a
    signal to our process group. This needs no waiting thread, and C code that holds the interpreter
    cannot prevent it. If the function closes files that are not its own, the signal at the parent's
    death remains; on other systems than Linux, `Receiver` remains.

    Returns the descriptor to keep open, or -1.
    """
    if sys.platform != "linux":
        os.close(lifeline_fd)
        return -1
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    lifeline = -1
    with contextlib.suppress(OSError):
        # Opened again, because the inherited file and its owner are shared with all other children.
        lifeline = os.open(f"/proc/self/fd/{lifeline_fd}", os.O_RDONLY | os.O_NONBLOCK)
        os.close(lifeline_fd)
        fcntl.fcntl(lifeline, _F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
        poll = select.poll()
        poll.register(lifeline, 0)
        if poll.poll(0):  # the parent died before we were ready
            os._exit(0)
    return lifeline


@functools.cache
def _libc() -> ctypes.CDLL:
    """Return the C library; forks have the fork server's."""
    return ctypes.CDLL(None)
