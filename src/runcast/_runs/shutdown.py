"""How the runs of a process end when the process does: given time, left to others, cancelled."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from runcast._files.files import Files
from runcast._hub.hub import Hub
from runcast._hub.interrupts import INTERRUPTED, wait_for_first
from runcast._runs.function_run import FunctionRun
from runcast._runs.room import Place

__all__ = ("Shutdown",)

_REST_S: Final = 1.0
"""How long runs may take to end their logs, after their functions had their time."""


class Shutdown:
    """Ends the runs of a process.

    Args:
        living: the runs that have not ended, oldest first, each with its place in the room.
    """

    def __init__(self, hub: Hub, files: Files, living: Mapping[FunctionRun, Place]) -> None:
        self._hub = hub
        self._settings = hub.settings
        self._files = files
        self._living = living
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hurried = asyncio.Event()
        self._is_interrupted = False

    def open(self) -> None:
        """Belong to the running loop. May be called again after `end_runs`."""
        self._loop = asyncio.get_running_loop()
        self._hurried.clear()
        self._is_interrupted = False

    @property
    def reason(self) -> str:
        """Why runs are cancelled."""
        return INTERRUPTED if self._is_interrupted else "the server shut down"

    def interrupt(self) -> None:
        """Cancel the runs at once, also those that others could continue: a person waits for the
        end. Idempotent.

        Functions are interrupted wherever they are, if that is possible.
        """
        self._is_interrupted = True
        self._hurry()

    def hurry(self) -> None:
        """Give the runs no more time, as `interrupt` does, but leave to others those that others
        can continue. Idempotent. Call it from any thread or signal handler."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed, and each run has ended
                self._loop.call_soon_threadsafe(self._hurry)

    def _hurry(self) -> None:
        self._hurried.set()
        for run in self._living:
            if run.cancel_asked.is_set():
                run.hurry()

    async def end_runs(self) -> None:
        """Give runs `shutdown_grace_s`, cancel them, and wait until their logs have ended.

        Runs that wait for an answer and can be resumed stay open, without an owner. They need no
        time, because their answer starts the next attempt. So do runs that were answered but still
        wait for room. Runs of functions that recover stay open after that time, for another
        process, if their store lasts; after `interrupt` they are cancelled like the others.
        """
        self._release_waiting()
        await wait_for_first(self._settle(self._settings.shutdown_grace_s), self._hurried.wait())
        self._files.hurry()
        self._release_waiting()  # runs that have asked meanwhile
        for run in self._living:
            if self._may_be_left(run):
                run.release("the process ended; another one continues the run")
            run.cancel(self.reason)
            if self._hurried.is_set():
                run.hurry()
        settings = self._settings
        await self._settle(settings.cancel_grace_s + settings.terminate_grace_s + _REST_S)

    def _may_be_left(self, run: FunctionRun) -> bool:
        """Return whether another process continues a run after this one has closed."""
        is_lasting = self._hub.store.is_lasting
        return run.function.recovers and is_lasting and not self._is_interrupted

    def _release_waiting(self) -> None:
        for run, place in self._living.items():
            can_go_on = run.writer.is_waiting if run.has_begun else place.is_promised
            if run.function.resume is not None and can_go_on:
                run.release()

    async def _settle(self, timeout_s: float) -> None:
        tasks = [run.task for run in self._living if run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
