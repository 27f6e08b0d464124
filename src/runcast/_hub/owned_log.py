"""A log that this process owns: how it is written, cancelled and ended."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from runcast._clock import Clock
from runcast._hub.inlets import Inlet
from runcast.errors import NotFound, RuncastError, RunClosed, Stale
from runcast.events.model import OWN_EVENT_BYTES, encode_record
from runcast.events.outcome import Outcome, cancelled, failed
from runcast.events.position import describe_log
from runcast.stores.base import Appended, Once

__all__ = ("TERMINAL_KEY", "OwnedLog")

TERMINAL_KEY: Final = "terminal"
"""The idempotency key of a log's terminal event: its first use ends the log."""


class OwnedLog:
    """A log that only this process may end. Made by `Hub.begin` and `Hub.take`.

    The owner's lease keeps the log open. If the process dies, other processes end it as lost.
    """

    def __init__(
        self,
        inlet: Inlet,
        clock: Clock,
        max_event_bytes: int,
        discard: "Callable[[OwnedLog], None]",
    ) -> None:
        self.inlet = inlet
        """The inlet for the log's records."""
        self.on_cancel: Callable[[str], None] | None = None
        """Called on the loop with the reason if the log is cancelled, deleted or replaced. It must
        lead to a call of `end`. If it is None, the log is ended at once."""
        self.end_of_question: Callable[[str], float | None] = lambda interrupt_id: None
        """Returns when a question of the log's writer expires, by the monotonic clock; None if
        unknown."""
        self.correct: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda labels: {}
        """Returns the labels to set, given the log's labels after another process changed the log.
        """
        self.is_ending = False
        """Whether the log's end is being stored."""
        self.must_look = self.is_looking = False
        """Whether the store may have a command, and whether somebody looks for it."""
        self.left = asyncio.Event()
        """Set once the log is no longer owned: it has ended, was released, or has another owner."""
        self._clock = clock
        self._max_event_bytes = max_event_bytes
        self._discard = discard

    @property
    def log_id(self) -> str:
        """The log's id, which holds its kind."""
        return self.inlet.run_id

    @property
    def epoch(self) -> str:
        """The owned epoch."""
        return self.inlet.epoch

    async def end(
        self, outcome: Outcome, *, agent: str = "", files: Mapping[str, Any] | None = None
    ) -> Outcome:
        """Append the terminal event and close the log, in one step, unless it is closed already.

        Returns the outcome that was written. It differs from `outcome` if a result cannot be
        stored. If events of the log were lost, it is not `done` either.

        Args:
            outcome: a `done`, which holds a result, may be as long as `max_event_bytes`; any other
                may be as long as any event of ours.
            agent: the agent that gave the outcome.
            files: the data of a `files` event, written right before the terminal event.

        Raises:
            RunClosed: the log has already ended.
            Stale, NotFound: the log has another owner now, or was deleted.
            BackendError: the hub closes before the end could be committed.
        """
        self.is_ending = True
        try:
            outcome, appended = await self._append_end(outcome, agent, files)
        except (RunClosed, Stale, NotFound):
            self._discard(self)
            raise
        self._discard(self)
        if appended.repeated:
            raise RunClosed(f"{describe_log(self.log_id)} was ended before")
        return outcome

    async def _append_end(
        self, outcome: Outcome, agent: str, files: Mapping[str, Any] | None
    ) -> tuple[Outcome, Appended]:
        once = Once(TERMINAL_KEY)
        while True:
            lost = self.inlet.lost
            if lost is not None and outcome.type == "done":
                # Its function has not heard of the loss: it emitted nothing afterwards.
                outcome = failed(lost.public, lost.code, retryable=lost.retryable)
            outcome, records = self._last_records(outcome, agent, files)
            try:
                return outcome, await self.inlet.append(records, close=True, once=once)
            except RuncastError:
                if self.inlet.lost is lost:
                    raise
                # Events before the end were lost while it waited: the end must say so.

    def _last_records(
        self, outcome: Outcome, agent: str, files: Mapping[str, Any] | None
    ) -> tuple[Outcome, list[bytes]]:
        now, place = self._clock.time(), ("", agent, (), None) if agent else None
        longest = max(self._max_event_bytes, OWN_EVENT_BYTES)
        limit = self._max_event_bytes if outcome.type == "done" else longest
        try:
            record = encode_record(outcome.type, outcome.data, now, place, limit)
        except RuncastError as error:
            # The result cannot be stored, but the end must be.
            outcome = failed(f"the result cannot be stored: {error.public}", error.code)
            record = encode_record(outcome.type, outcome.data, now, None, longest)
        if files is None:
            return outcome, [record]
        return outcome, [encode_record("files", files, now, None, longest), record]

    def release(self) -> None:
        """Leave the log open for another owner."""
        self._discard(self)

    async def set_labels(self, labels: Mapping[str, str]) -> None:
        """Set labels, unless the log has ended or has another owner."""
        with suppress(RunClosed, Stale, NotFound):
            await self.inlet.append(labels=labels)

    async def cancel(self, reason: str) -> None:
        """End the log as cancelled: through `on_cancel`, or at once if it is None."""
        if self.on_cancel is not None:
            self.on_cancel(reason)
            return
        with suppress(RunClosed, Stale, NotFound):  # the log has ended, or has another owner by now
            await self.end(cancelled(reason))
