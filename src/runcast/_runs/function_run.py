"""The run of a function: from its start to the one event that ends the run."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any, Final

from runcast._clock import Clock
from runcast._files.files import RunFiles
from runcast._hub.hub import Hub
from runcast._hub.owned_log import OwnedLog
from runcast._logs import get_logger
from runcast._producing.labels import ANSWERED_LABEL, RESUMABLE_LABEL
from runcast._producing.questions import Questions
from runcast._producing.writer import Writer
from runcast._runs.attempts import Attempt
from runcast._runs.following import find_outcome, follow
from runcast._runs.recoverable import Recoverable, as_living
from runcast._runs.run import Run
from runcast._settings import Settings
from runcast._workers.work import Job, Work, Workers, how_it_ended
from runcast.errors import NotFound, RuncastError, RunClosed, Stale
from runcast.events.model import OWN_EVENT_BYTES, encode_record
from runcast.events.outcome import (
    LOST,
    TAKEN_OVER,
    Outcome,
    cancelled,
    failed,
    failed_with,
    timed_out,
)

__all__ = ("FunctionRun",)

_log: Final = get_logger("runcast.runs")

_DEATHS: Final = frozenset({"killed", "crashed"})
"""Codes of the failure of a run whose own process died."""

_NOTICE_S: Final = 1.0
"""How long a hurried function may take to notice that it was cancelled."""


class FunctionRun(Run):
    """A run of a function. Made by the runner.

    Guarantees: exactly one terminal event ends the log, whatever the function does. The function's
    clean-up runs in the same thread or task as the function.
    """

    def __init__(
        self,
        attempt: Attempt,
        log: OwnedLog,
        writer: Writer,
        files: RunFiles,
        questions: Questions,
    ) -> None:
        function = attempt.function
        super().__init__(log.log_id, log.epoch, function.name)
        self.function = function
        self.attempt = attempt
        self.has_begun = False
        """Whether its log has its `started` event, or is about to."""
        self._job = Job(
            function,
            attempt.arguments,
            log.inlet,
            writer,
            attempt.secrets,
            files.open,
            self._note_stream,
            attempt.continuation,
        )
        if function.is_certain and function.is_streaming:
            self._note_stream()
        self._files = files
        self._questions = questions
        self._waited_for: Sequence[str] = ()
        """The questions that it waited for when it was released."""
        self._owned = log
        log.on_cancel = self.cancel
        log.end_of_question = writer.end_of_question
        log.correct = self._correct
        self.writer = writer
        loop, self._is_over_budget = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            with suppress(RuntimeError):  # the loop is closed, and the run with it
                loop.call_soon_threadsafe(self._is_over_budget.set)

        writer.on_over_budget = stop
        self.on_raised: Callable[[BaseException], None] = lambda error: None
        """Called with the function's exception, before watchers see the failure."""
        self.is_released = False
        """Whether it was released: its log stays open for the next owner."""
        self.is_left = False
        """Whether its own process died and its log stays open for another attempt."""
        self.task: asyncio.Task[None] | None = None
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        """After `cancel`: interrupt the function, and wait for a stuck one only shortly."""
        self._hurried.set()

    def release(self, reason: str = "the process ended while the run waited") -> None:
        """Stop the function but leave the log open: the run continues elsewhere, once answered or,
        if its function recovers, at once.

        A run that was already cancelled, or has finished, still ends.
        """
        if not self.cancel_asked.is_set():
            self.is_released = True
            self._waited_for = self._questions.waiting_for
            self._owned.release()
            self.cancel(reason)

    def _correct(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        # Before it runs, its first append sets the labels.
        return as_living(labels, self.attempt.labels) if self.status == "running" else {}

    async def prepare(self) -> None:
        """Move its input files into its workspace now, before the run waits for room."""
        with suppress(RuncastError):  # tried again, and reported, when the run begins
            await self._files.prepare()

    async def live(self, hub: Hub, workers: Workers, context: Context) -> None:
        """Run the function and end the log."""
        try:
            outcome = await self._run(hub.clock, hub.settings, workers, context)
            if over := self.writer.meter.over:
                # Whatever its outcome: the function may have ignored the request to stop.
                outcome = outcome if self.cancel_asked.is_set() else over
        except RuncastError as error:  # for example, it was begun again before its start
            outcome = failed_with(error)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - see below
            # Our own error, or cancelled with the loop: the log still gets its ending.
            _log.error("run %s was interrupted", self.run_id, exc_info=error)
            outcome = failed("the run was interrupted", "interrupted", retryable=True)
        self.is_left = await self._may_be_left(hub, outcome)
        if self._goes_on_elsewhere(outcome):
            files_data = None
        else:
            outcome, files_data = await self._files.collect(outcome)
        # Kept in a list, because a put on the loop cannot wait for room, and this is the last
        # chance.
        last_words: list[bytes] = []
        outcome = self.writer.conclude(outcome, last_words.append)
        if last_words:
            with suppress(RuncastError):  # it already has another ending, which `_end` finds
                await self._owned.inlet.append(last_words)
        await self._end(hub, outcome, files_data)

    async def _run(
        self, clock: Clock, settings: Settings, workers: Workers, context: Context
    ) -> Outcome:
        if self.cancel_asked.is_set():
            return cancelled(self._cancel_reason)
        self.has_begun = True
        started = self.attempt.started()
        await self._owned.inlet.append(
            [encode_record("started", started, clock.time(), None, OWN_EVENT_BYTES)],
            # The run has taken over its answer now.
            labels={ANSWERED_LABEL: "", **self.attempt.labels},
        )
        self.status = "running"
        if self.cancel_asked.is_set():
            return cancelled(self._cancel_reason)
        await self._files.prepare()
        work = workers.begin(self._job, context)
        asked = asyncio.ensure_future(self.cancel_asked.wait())
        over = asyncio.ensure_future(self._is_over_budget.wait())
        try:
            waiting: set[asyncio.Future[Any]] = {work.ending, asked, over}
            done, _ = await asyncio.wait(
                waiting,
                return_when=asyncio.FIRST_COMPLETED,
                timeout=settings.run_time_s or None,
            )
            if work.ending in done:
                return self._note_ending(work)
            if asked in done:
                ending = cancelled(self._cancel_reason)
            elif over in done and self.writer.meter.over is not None:
                ending = self.writer.meter.over
            else:
                ending = timed_out(settings.run_time_s)
            return await self._stop(work, ending)
        finally:
            asked.cancel()
            over.cancel()
            if not work.ending.done():
                # Given up, or cancelled with the loop: its outcome will not be used.
                work.ask_to_stop(self._why_to_stop())
                work.ending.add_done_callback(_swallow)

    async def _stop(self, work: Work, ending: Outcome) -> Outcome:
        """Ask the function to stop; give it up if it does not."""
        if work.withdraw():
            return ending
        work.ask_to_stop(self._why_to_stop())
        hurrying: asyncio.Future[Any] = asyncio.ensure_future(self._hurry(work))
        waiting: set[asyncio.Future[Any]] = {work.ending, hurrying}
        await asyncio.wait(waiting, timeout=work.grace_s, return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        if not work.ending.done():
            _log.warning("run %s does not stop and is given up", self.run_id)
            work.give_up()
            return ending
        outcome = self._note_ending(work, "stopped")
        # A function that finished after all counts as finished.
        return outcome if outcome.type == "done" and outcome.data else ending

    async def _hurry(self, work: Work) -> None:
        """Interrupt work once that is wanted; return if it does not notice, else never."""
        await self._hurried.wait()
        work.hurry()
        await asyncio.sleep(_NOTICE_S)
        if work.is_stopping:
            await asyncio.Event().wait()

    def _why_to_stop(self) -> str:
        over = self.writer.meter.over
        return self._cancel_reason or (over.data["message"] if over is not None else "timed_out")

    def _note_ending(self, work: Work, reason: str = "") -> Outcome:
        """Return the outcome of the work, and keep its exception."""
        outcome, self.raised = how_it_ended(work, self.run_id, reason)
        if self.raised is not None:
            self.on_raised(self.raised)
        return outcome

    def _goes_on_elsewhere(self, outcome: Outcome) -> bool:
        return self.is_left or (self.is_released and outcome.type == "cancelled")

    async def _may_be_left(self, hub: Hub, outcome: Outcome) -> bool:
        """Return whether another attempt continues the run, because its own process died."""
        if (
            self.function.isolation != "process"
            or self.cancel_asked.is_set()
            or outcome.type != "failed"
            or outcome.data["code"] not in _DEATHS
        ):
            return False
        with suppress(RuncastError):
            info = await hub.info(self.run_id)
            is_waiting = RESUMABLE_LABEL in info.labels and info.status == "waiting"
            is_ours = info.epoch == self.epoch and info.fence == self._owned.inlet.fence
            return is_ours and (is_waiting or Recoverable.of(info.labels) is not None)
        return False

    async def _leave(self, hub: Hub) -> None:
        """Note that the run was left on purpose, which is no crash."""
        info = await hub.info(self.run_id)
        known = Recoverable.of(info.labels)
        if self._waited_for and RESUMABLE_LABEL in info.labels:
            await self._questions.leave(self._waited_for)
        if known is not None:
            left = known._replace(since=hub.clock.time(), was_left=True)
            await self._owned.inlet.append(labels=left.labels())

    async def _end(self, hub: Hub, outcome: Outcome, files: Mapping[str, Any] | None) -> None:
        if self.is_left:
            with suppress(RuncastError):
                await self._owned.inlet.append()  # what it said last comes before the next attempt
            self._owned.release()
            return  # its starter waits for the end of the next attempt
        goes_on = self._goes_on_elsewhere(outcome)
        # Report no ending that the log does not have: until the ending is stored, the run is lost.
        known = outcome if goes_on else LOST
        try:
            if goes_on:
                await self._leave(hub)
            else:
                known = await self._end_log(hub, outcome, files)
        except RuncastError as error:
            how = "left" if goes_on else "ended"
            _log.error("run %s could not be %s: %s", self.run_id, how, error)
            if isinstance(error, NotFound):
                known = cancelled("deleted")
        finally:
            self._settle(known)

    async def follow(self, hub: Hub) -> None:
        """After the run was left: wait for its end, whoever continues it, and report that."""
        known = TAKEN_OVER
        try:
            known = await follow(hub, self.run_id, self.epoch)
        finally:
            self._settle(known)

    async def _end_log(
        self, hub: Hub, outcome: Outcome, files: Mapping[str, Any] | None
    ) -> Outcome:
        """End the log and return its actual ending."""
        try:
            return await self._owned.end(outcome, files=files)
        except (RunClosed, Stale) as error:
            # Taken over, begun again, or ended by another process, which decides.
            _log.warning("run %s has another ending than %s: %s", self.run_id, outcome.type, error)
            return await find_outcome(hub, self.run_id, self.epoch) or TAKEN_OVER


def _swallow(work: "asyncio.Future[Outcome]") -> None:
    if not work.cancelled():
        work.exception()
