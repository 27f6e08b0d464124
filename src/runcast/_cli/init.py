"""Being process 1, as in a container without an init: processes that lost their parents come here.

Process 1 has to wait for them, or they stay as zombies until no process can be started. The server
must not do that itself: it cannot tell them from processes that its functions have started, whose
exit codes it would take. So process 1 stays behind, and the server is its child.
"""

import contextlib
import os
import signal
from collections.abc import Iterable
from types import FrameType
from typing import Final, NoReturn

__all__ = ("stay_behind_as_init",)

_FIRST: Final = 1

_NOT_PASSED_ON: Final = frozenset(
    (
        *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGABRT),
        *(signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGBUS),
    )
)
"""Signals that cannot be handled, or that mean this process itself."""


def stay_behind_as_init(first: int = _FIRST) -> None:
    """Return in a child process, if this is process 1, and else at once.

    Process 1 itself passes signals on, waits for every process that comes to it, and ends with the
    child's exit code.

    Args:
        first: the id that process 1 has, for tests.
    """
    if os.getpid() != first:
        return
    passed_on = signal.valid_signals() - _NOT_PASSED_ON
    # No signal may come before somebody can pass it on.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, passed_on)
    child = os.fork()
    if child:
        _look_after(child, passed_on, before)
    # What the terminal sends is then sent to the child alone, and not passed on once more.
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
        if os.isatty(0):
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, os.getpid())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _look_after(child: int, passed_on: Iterable[int], mask: Iterable[int]) -> NoReturn:
    def pass_on(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in passed_on:
        with contextlib.suppress(OSError, ValueError):  # it cannot be handled
            signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
