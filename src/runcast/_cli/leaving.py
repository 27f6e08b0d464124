"""The end of the server's process, even if functions left work behind.

Python waits for ever for the threads of pools, for processes of `multiprocessing`, for tasks that
refuse to be cancelled, and for functions registered with `atexit`. Here each of these gets a
limited time. Work that is still running then is named in the log and abandoned.
"""

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from typing import Final, NoReturn, Self

from runcast._logs import get_logger
from runcast._runs.runner import Runner
from runcast._settings import Settings
from runcast._workers.left_behind import end_left_children, place_of

__all__ = ("Leaving",)

_POLL_S: Final = 0.02

_log: Final = get_logger("runcast.cli")


class Leaving:
    """A context manager whose exit ends this process.

    Threads, and the loop, get `cancel_grace_s` to end; processes `terminate_grace_s` after SIGTERM;
    functions registered with `atexit` get `exit_wait_s`.
    """

    def __init__(self, runner: Runner, settings: Settings) -> None:
        self._shutdown = runner.shutdown
        self._left = runner.left_threads
        self._grace_s = settings.cancel_grace_s
        self._terminate_s = settings.terminate_grace_s
        self._exit_wait_s = settings.exit_wait_s
        self._moved_on = threading.Event()
        self._wait_s = 0.0
        self._phase = ""
        self._is_watched = False

    def hurry(self, number: signal.Signals) -> None:
        """Stop waiting for threads, because a second signal came; after SIGINT, for runs, too.

        Call it from a signal handler.
        """
        self._grace_s = 0.0
        if number == signal.SIGINT:  # a person waits
            self._shutdown.hurry()

    def begin(self) -> None:
        """Start the loop's time to end; nothing else is left to do. Called on the loop."""
        self._allow(self._grace_s + 1.0, "the event loop does not end")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Return once this process can end, or end it here. Called in the main thread.

        Does nothing if the loop never ended, because the server could not start.
        """
        if not self._is_watched:
            return
        try:
            self._wait_for_threads()
        except (KeyboardInterrupt, SystemExit):
            self._abandon()  # a second signal
        self._allow(self._terminate_s + 1.0, "processes left by functions do not end")
        end_left_children(self._terminate_s)
        self._allow(self._exit_wait_s, "functions registered with atexit do not end (exit_wait_s)")
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
        """End this process after `wait_s`, unless this method is called again before."""
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
        """Log the work that is still running, and end the process."""
        for thread in self._left.at_work():
            _log.warning("%s is still running and is abandoned: the process ends", thread)
        for flush in (sys.stdout.flush, sys.stderr.flush, logging.shutdown):
            # a function may have closed or replaced the stream
            with contextlib.suppress(Exception):
                flush()
        os._exit(0)
