"""A process that stays above the server: process 1 of a container, and `runcast serve --reload`.

Processes that lost their parents come to process 1, which has to wait for them, or they stay as
zombies until no process can be started. The server must not do that itself: it cannot tell them
from processes that its functions have started, whose exit codes it would take. So process 1 stays
behind, and the server is its child. `--reload` starts the server again when its code changes.
"""

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from runcast.errors import InvalidValue

__all__ = (
    "leave_the_terminals_group",
    "serve_again_and_again",
    "stay_behind_as_init",
    "watched_folder",
)

_FIRST: Final = 1

_NOT_PASSED_ON: Final = frozenset(
    (
        *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGABRT),
        *(signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGBUS),
    )
)
"""Signals that cannot be handled, or that concern this process itself."""


def stay_behind_as_init(first: int = _FIRST) -> None:
    """Return in a child process, if this is process 1. Otherwise return at once.

    Process 1 itself passes signals on, waits for all its child processes, and ends with the
    server's exit code.

    Args:
        first: the id of process 1, for tests.
    """
    if os.getpid() != first:
        return
    passed_on = signal.valid_signals() - _NOT_PASSED_ON
    # Block signals until there is a child to pass them to.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, passed_on)
    child = os.fork()
    if child:
        _look_after(child, passed_on, before)
    # The terminal then sends signals only to the child, so they are not passed on twice.
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
        with contextlib.suppress(OSError, ValueError):  # the signal cannot be handled
            signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


_RELOADED: Final = "_RUNCAST_RELOADED"
"""Set in the environment of the servers that `--reload` starts."""


def leave_the_terminals_group() -> None:
    """Make Ctrl-C reach the reloaded server only once: from the process that started it."""
    if os.environ.pop(_RELOADED, ""):
        os.setpgid(0, 0)


def watched_folder(target: str | None) -> Path:
    """Return the folder whose code is watched: the target's own, or the working directory."""
    path = Path(target) if target else Path()
    if path.is_file():
        return path.parent.resolve()
    return (path if path.is_dir() else Path()).resolve()


def serve_again_and_again(target: str | None, argv: Sequence[str]) -> None:
    """Run `runcast` with these arguments, and again after each change, until Ctrl-C or SIGTERM.

    Each start is a process of its own. Changes of `.py` and `.json` files below the target's folder
    count. The old server gets SIGINT, and gets as long as it needs to shut down.

    Raises:
        InvalidValue: the package that watches files is not installed.
    """
    try:
        import watchfiles
    except ImportError:
        raise InvalidValue(
            "--reload needs the package watchfiles: pip install watchfiles"
        ) from None
    folder = watched_folder(target)
    command = shlex.join([sys.executable, "-m", "runcast", *argv])
    os.environ[_RELOADED] = "1"
    print(f"watching {folder}; the server starts again when its code changes", file=sys.stderr)
    watchfiles.run_process(
        folder,
        target=command,
        target_type="command",
        watch_filter=_CodeFilter(watchfiles.DefaultFilter()),
        callback=lambda changes: print(f"{_named(changes)} changed", file=sys.stderr),
        sigint_timeout=30,
    )


class _CodeFilter:
    """Accepts changes of code: Python files and manifests outside tools' folders."""

    def __init__(self, usual: object) -> None:
        self._usual = usual

    def __call__(self, change: object, path: str) -> bool:
        usual = self._usual
        return path.endswith((".py", ".json")) and callable(usual) and bool(usual(change, path))


def _named(changes: object) -> str:
    paths = sorted({path for _, path in changes}) if isinstance(changes, set) else []
    return ", ".join(Path(path).name for path in paths[:3]) or "code"
