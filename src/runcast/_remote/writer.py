"""The writer of a remote run: what code inside the run uses."""

import asyncio
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

from runcast._clock import Clock
from runcast._logs import get_logger
from runcast._producing.answers import Answer
from runcast._producing.batches import REFUSED
from runcast._producing.writer import RESERVED, Writer
from runcast._remote.asking import RemoteMailbox, RemoteQuestions, Replies
from runcast._remote.files import RemoteFiles
from runcast._remote.link import Begun, Link
from runcast._remote.outbox import Outbox, OutboxStatistics
from runcast._runs.owned_run import outcome_of_block
from runcast._settings import Settings
from runcast.client.transport import Transport
from runcast.errors import NotFound, RuncastError, RunClosed, ServerUnavailable, Stale
from runcast.events.model import OWN_EVENT_BYTES, as_stored, encode_record
from runcast.events.outcome import Outcome, checked_reason, failed
from runcast.events.vocabulary import KNOWN

__all__ = ("RemoteClock", "RemoteWriter")

_MOST_SAID: Final = 20
"""Most problems with files in one message."""

_log: Final = get_logger("runcast.remote")


class RemoteClock:
    """A clock that shows the server's time, so that events of all writers agree."""

    def __init__(self, clock: Clock, offset_s: float) -> None:
        self._clock = clock
        self._offset_s = offset_s
        self.monotonic = clock.monotonic

    def time(self) -> float:
        """The server's wall clock, Unix seconds, as far as it is known."""
        return self._clock.time() + self._offset_s


class RemoteWriter(Writer):
    """A run on a server elsewhere, which the block of a `RemoteRun` writes. It is the current
    writer in the block.

    Events wait here, in order, until the server has stored them. `flush()` waits for that.
    """

    _reserved = RESERVED | REFUSED
    _free_types = frozenset(KNOWN) - RESERVED - REFUSED - {"usage"}

    def __init__(
        self, transport: Transport, begun: Begun, name: str, settings: Settings, clock: Clock
    ) -> None:
        outbox = Outbox(
            begun.run_id,
            begun.position,
            bound=settings.pending_bytes_per_run,
            wait_s=settings.emit_wait_s,
        )
        own_clock = RemoteClock(clock, begun.offset_s)
        self._link = Link(transport, begun, outbox, clock, self._obey)
        self._replies = Replies(self._link)
        super().__init__(
            outbox,
            own_clock,
            begun.max_event_bytes,
            RemoteQuestions(self._link, self._replies, own_clock),
            lambda: self._files.workspace(),
            mailbox=RemoteMailbox(self._link, self._replies, own_clock),
        )
        outbox.before_refusal = self.check_cancelled  # once in each thread
        self.name = name
        """The run's name; lists show it as the run's function."""
        self._outbox = outbox
        self._files = RemoteFiles(self._link, begun.position.epoch, settings, clock)
        self._end_wait_s = settings.emit_wait_s
        self._result: object = None
        self._reason: str | None = None
        self._task: asyncio.Task[Any] | None = None
        self._task_loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<RemoteWriter {self.run_id} of {self.name} at {self._link.transport.url}>"

    @property
    def epoch(self) -> str:
        """The epoch of the run's log."""
        return self._link.begun.position.epoch

    @property
    def url(self) -> str:
        """The server's address."""
        return self._link.transport.url

    def statistics(self) -> OutboxStatistics:
        """Return how many events wait, were stored, and were refused."""
        return self._outbox.statistics()

    def set_result(self, value: object) -> None:
        """Set the run's result: the `result` of its `done` event, written when the block is left.

        The value is copied at the call; the last call counts.

        Raises:
            InvalidValue: JSON cannot hold the value.
            EventTooLarge: the event is longer than the server's `max_event_bytes`.
        """
        data = {"result": value}
        self._result = as_stored("done", data, max_bytes=self.max_event_bytes).data["result"]

    def answer(self, interrupt_id: str, answer: object) -> None:
        """Answer a question of the run, in a thread: for a program that also shows the question.

        Args:
            answer: what `hub.answer` takes.

        Raises:
            NotFound: the question is not stored yet, or was never asked.
            AlreadyAnswered: somebody was faster.
            InvalidValue: the answer is malformed, or the question does not allow it.
        """
        given = answer if isinstance(answer, Answer) else Answer.parse(answer)
        said = {"type": given.type, "args": given.args, "by": given.by}
        path = f"/interrupts/{quote(interrupt_id, safe='')}"
        self._outbox.wait_for(self._link.ask("POST", path, said))

    def _cancel_with(
        self, task: "asyncio.Task[Any] | None", loop: asyncio.AbstractEventLoop
    ) -> None:
        """Cancel a task on another loop when the run is cancelled."""
        self._task, self._task_loop = task, loop
        self._notified.is_notified = True  # this thread's loop cancels the task

    def _obey(self, reason: str) -> None:
        self._reason = checked_reason(reason)
        self.request_cancel(self._reason)
        if self._task is not None and self._task_loop is not None:
            with suppress(RuntimeError):  # its loop is closed, and the task with it
                self._task_loop.call_soon_threadsafe(self._task.cancel)

    async def _finish(self, error: BaseException | None) -> None:
        """End the run according to how its block was left.

        Raises:
            ServerUnavailable: the end cannot be stored; raised only if the block raised nothing.
        """
        self._task = None
        outcome = outcome_of_block(error, self._reason, self._result)
        outcome = self.conclude(outcome, self._outbox.put_anyway)
        outcome = await self._send_files(outcome)
        self._link.is_ending = True
        self._outbox.put_anyway(self._last_record(outcome))
        try:
            await self._outbox.flushed(self._end_wait_s)
        except (RunClosed, Stale, NotFound) as ended:
            _log.warning("run %s has another end than %s: %s", self.run_id, outcome.type, ended)
        except RuncastError as failure:
            left = self._outbox.statistics().waiting
            said = f"the end of run {self.run_id!r} and {left} events could not be stored"
            if error is None:
                raise ServerUnavailable(f"{said}: {failure}") from failure
            _log.error("%s: %s", said, failure)

    async def _send_files(self, outcome: Outcome) -> Outcome:
        """Send the files that the block has left; return the run's outcome, which is `failed` if it
        would be done without them."""
        sent = await self._files.send()
        if sent.skipped:
            said = f"outputs that were not kept: {'; '.join(sent.skipped[:_MOST_SAID])}"
            line = {"level": "warning", "message": said[:2000], "logger": "runcast"}
            self._outbox.put_anyway(encode_record("log", line, self.clock.time()))
        if sent.problems:
            said = "; ".join(sent.problems[:_MOST_SAID])
            _log.error("the files of run %s are not all kept: %s", self.run_id, said)
            if outcome.type == "done":
                said = f"the outputs are not what they should be: {said}"
                return failed(said, "invalid_outputs")
        return outcome

    def _last_record(self, outcome: Outcome) -> bytes:
        now, longest = self.clock.time(), max(self.max_event_bytes, OWN_EVENT_BYTES)
        limit = self.max_event_bytes if outcome.type == "done" else longest
        try:
            return encode_record(outcome.type, outcome.data, now, None, limit)
        except RuncastError as error:
            outcome = failed(f"the result cannot be stored: {error.public}", error.code)
            return encode_record(outcome.type, outcome.data, now, None, longest)

    async def _close(self) -> None:
        await self._replies.close()
        await self._link.close()
        await self._link.transport.close()
        await self._files.close()
