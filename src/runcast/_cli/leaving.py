"""How the server's process ends, whatever functions have left at work in it.

Python waits without end for the threads of pools, for processes of `multiprocessing`, for tasks
that do not let themselves be cancelled, and for what is registered with `atexit`. Here each of
these has its time. What is still at work then is named in the log and abandoned.
"""

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
from typing import Final, NoReturn, Self

from runcast._logs import get_logger
from runcast._workers.left_behind import LeftThreads, end_left_children, place_of

__all__ = ("Leaving",)

_POLL_S: Final = 0.02

_log: Final = get_logger("runcast.cli")


class Leaving:
    """The end of this process, which comes after the block.

    Args:
        grace_s: how long threads may go on, and how long the loop may take to end.
        terminate_s: how long processes may take to end by SIGTERM.
        exit_wait_s: how long what is registered with `atexit` may take.
    """

    def __init__(
        self, left: LeftThreads, *, grace_s: float, terminate_s: float, exit_wait_s: float
    ) -> None:
        self._left = left
        self._grace_s = grace_s
        self._terminate_s = terminate_s
        self._exit_wait_s = exit_wait_s
        self._moved_on = threading.Event()
        self._wait_s = 0.0
        self._phase = ""
        self._is_watched = False

    def hurry(self) -> None:
        """Wait for nothing that is at work: a second signal came. From a handler of signals."""
        self._grace_s = 0.0

    def begin(self) -> None:
        """Give the loop its time to end: nothing else is left to do. Called on it."""
        self._allow(self._grace_s + 1.0, "the event loop does not end")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Return once this process can end, or end it here. In the main thread.

        Does nothing if the loop never came to its end: the server could not start.
        """
        if not self._is_watched:
            return
        try:
            self._wait_for_threads()
        except (KeyboardInterrupt, SystemExit):
            self._abandon()  # a second signal
        self._allow(self._terminate_s + 1.0, "processes that were left do not end")
        end_left_children(self._terminate_s)
        self._allow(self._exit_wait_s, "what is registered with atexit does not end (exit_wait_s)")
        if self._left.at_work():
            with contextlib.suppress(Exception):
                atexit._run_exitfuncs()
            self._abandon()

    def _wait_for_threads(self) -> None:
        self._allow(2 * self._grace_s + 1.0, "")
        waited = 0.0
        while waited < self._grace_s and self._left.at_work():
            time.sleep(_POLL_S)
            waited += _POLL_S

    def _allow(self, wait_s: float, phase: str) -> None:
        """End this process in a while, unless this is called again before."""
        self._wait_s, self._phase = wait_s, phase
        self._moved_on.set()
        if not self._is_watched:
            self._is_watched = True
            threading.Thread(target=self._watch, name="runcast-leaving", daemon=True).start()

    def _watch(self) -> None:
        while self._moved_on.wait(self._wait_s):
            self._moved_on.clear()
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        if self._phase and frame is not None:
            _log.warning("%s: the main thread is at %s", self._phase, place_of(frame))
        self._abandon()

    def _abandon(self) -> NoReturn:
        """Name what is at work, and end the process."""
        for thread in self._left.at_work():
            _log.warning("%s is at work and is abandoned: the process ends", thread)
        for flush in (sys.stdout.flush, sys.stderr.flush, logging.shutdown):
            with contextlib.suppress(Exception):  # a function may have closed or replaced it
                flush()
        os._exit(0)
