"""Whether a process may be forked after an import.

`fork` copies the memory and only the thread that forks. Locks of other threads stay locked, and
open files, shared memory and temporary files would belong to all children together. So a process
that has any of these is not forked.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

__all__ = ("ForkCheck", "count_threads", "is_supported")

_SELF: Final = Path("/proc/self")

_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

_SHOWN: Final = 3
"""Most descriptors that a reason names."""


def is_supported() -> bool:
    """Return whether this system has what fork servers need: Linux, with process handles.

    On macOS a forked process must not use the system's frameworks, so there is no fork server.
    """
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


class ForkCheck:
    """Compares what a process has after an import with what it had before."""

    def __init__(self) -> None:
        self._descriptors = _descriptors()
        self._shared = _shared_memory()

    def problem(self) -> str:
        """Return why the process must not be forked, as "it has …"; "" if it may be."""
        try:
            os.close(os.pidfd_open(os.getpid()))
        except OSError as error:
            return f"it has a system without handles for processes ({error.strerror})"
        if threads := count_threads() - 1:
            return f"it has {threads} more thread{'s' if threads > 1 else ''}"
        if different := set(_descriptors().items()) ^ set(self._descriptors.items()):
            shown = sorted({target for _, target in different})
            more = ", …" if len(shown) > _SHOWN else ""
            return f"it has opened or closed {', '.join(shown[:_SHOWN])}{more}"
        if _has_children():
            return "it has started a process"
        if _shared_memory() - self._shared:
            return "it has memory that is shared between processes"
        if any(signal.getitimer(each) != (0.0, 0.0) for each in _TIMERS):
            return "it has set a timer, which a fork would not have"
        if signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL:
            return "it has changed the handling of SIGCHLD"
        if getattr(tempfile, "_name_sequence", None) is not None:
            return "it has made temporary files or folders"
        return ""


def count_threads() -> int:
    """Return the number of this process's threads, those of libraries included."""
    return len(os.listdir(_SELF / "task"))


def _descriptors() -> dict[int, str]:
    """Return what this process has open, by number."""
    found = {}
    for name in os.listdir(_SELF / "fd"):
        try:
            found[int(name)] = os.readlink(_SELF / "fd" / name)
        except FileNotFoundError:  # the folder itself, which was open for the list
            continue
    return found


def _shared_memory() -> set[str]:
    """Return the writable memory that a fork would share."""
    found = set()
    with open(_SELF / "maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            place, access, _ = line.split(maxsplit=2)
            if access[1] == "w" and access[3] == "s":
                found.add(place)
    return found


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
