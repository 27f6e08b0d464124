"""Questions that a run asks, and the answers that it waits for.

The question is an event, `interrupt_request`. Its answer is an `interrupt_response`, its end an
`interrupt_resolved`. The first answer, or the deadline, decides a question (see `decisions`).

The run that asks watches its own log: it reads on from its question until the answer comes.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runcast._clock import Clock
from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet
from runcast._logs import get_logger
from runcast._producing.answers import Answer, check_question
from runcast._producing.decisions import answer_in, expire_question, find_decision
from runcast._producing.keeping import OF_THE_RUN, Keeper, as_kept
from runcast._producing.labels import ANSWERED_LABEL
from runcast._producing.waits import Waits
from runcast.errors import (
    Conflict,
    Gone,
    NotFound,
    Overloaded,
    RuncastError,
    RunClosed,
    Stale,
)
from runcast.events.model import Event, Place, encode_record
from runcast.events.position import Position
from runcast.events.snapshot import MAX_INTERRUPTS
from runcast.stores.base import Appended, Once

__all__ = ("Questions",)

_log: Final = get_logger("runcast.runs")


@dataclass(slots=True, eq=False)
class _Question:
    """A question that a task here waits for."""

    interrupt_id: str
    is_asked_again: bool
    """Whether the question was asked here before and is still open, so its expiry is known."""
    attachment: bytes = b""
    """What the log's attachment is to be, because of what the question keeps; b"" if nothing."""
    is_written: bool = False
    """Whether the question is in the log, or on its way there."""


class Questions:
    """The questions of one run that runs here. Call from the loop's thread."""

    def __init__(self, hub: Hub, inlet: Inlet, clock: Clock, keeper: Keeper | None = None) -> None:
        self._hub = hub
        self._inlet = inlet
        self._keeper = keeper or Keeper()
        self._clock = clock
        self._waits = Waits()
        self._unanswered: dict[_Question, None] = {}  # in the order in which they were asked
        self._deadlines: dict[asyncio.Task[None], None] = {}
        """The deadlines of questions that no task waits for any more, oldest first."""
        self._ends: dict[str, float] = {}
        """When open questions expire, by the monotonic clock, because the wall clock may be
        changed."""
        self._has_ended = False

    async def ask(
        self,
        message: str,
        *,
        action: str,
        args: object,
        config: Mapping[str, Any] | None,
        timeout_s: float | None,
        interrupt_id: str,
        place: Place | None,
        keep: object = None,
    ) -> Answer:
        """Store a question and wait for its answer.

        Raises:
            Overloaded: too many questions of this run are open.
            InvalidValue, Conflict: the id is malformed or was used before, or the timeout is
            invalid.
            EventTooLarge: the question is longer than `max_event_bytes`, or what the run keeps
                would be longer than MAX_KEPT_BYTES.
            Gone: the question was answered so long ago that the answer is no longer kept.
            CancelledError: the run was cancelled.
        """
        check_question(message, action, config, timeout_s, interrupt_id)
        is_named = bool(interrupt_id)
        interrupt_id = interrupt_id or f"q-{uuid.uuid4().hex[:16]}"
        if len(self._unanswered) >= MAX_INTERRUPTS:
            raise Overloaded(f"{len(self._unanswered)} questions of this run are open already")
        now = self._clock.time()
        asked: dict[str, Any] = {
            "interrupt_id": interrupt_id,
            "action": action,
            "args": args,
            "message": message,
        }
        if config:
            asked["config"] = dict(config)
        if timeout_s is not None:
            asked["expires_at"] = now + timeout_s
        most = self._hub.settings.max_event_bytes
        record = encode_record("interrupt_request", asked, now, place, most)
        kept = None if keep is None else as_kept(keep)
        attachment = b"" if kept is None else self._keeper.put(interrupt_id, kept)
        question = _Question(interrupt_id, interrupt_id in self._ends, attachment)
        self._unanswered[question] = None
        if timeout_s is not None:
            self._note_end(interrupt_id, timeout_s)
        is_left = False
        try:
            asking = self._ask(question, interrupt_id, record, timeout_s, was_emitted=is_named)
            return await self._waits.wait(asking)
        except asyncio.CancelledError:
            is_left = self._leave(question)
            raise
        finally:
            self._unanswered.pop(question, None)
            if not is_left:
                self._ends.pop(interrupt_id, None)

    def _note_end(self, interrupt_id: str, left_s: float) -> None:
        end = self._clock.monotonic() + left_s
        self._ends[interrupt_id] = min(end, self._ends.get(interrupt_id, end))

    def end_of(self, interrupt_id: str) -> float | None:
        """Return when a question expires, by the monotonic clock; None if it does not expire or was
        not asked here."""
        return self._ends.get(interrupt_id)

    async def keep(self, kept: bytes) -> None:
        """Keep a value of the run itself; stored when this returns.

        Raises:
            EventTooLarge: what the run keeps would be longer than MAX_KEPT_BYTES.
        """
        await self._inlet.append(attachment=self._keeper.put(OF_THE_RUN, kept))

    @property
    def is_waiting(self) -> bool:
        """Whether the run waits for an answer."""
        return bool(self.waiting_for)

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """The ids of the questions that the run waits for."""
        return tuple(each.interrupt_id for each in self._unanswered if each.is_written)

    async def leave(self, interrupt_ids: Sequence[str]) -> None:
        """Have the log say that the run waits, or that it was answered, so that it can continue.

        The run may have been stopped while it asked again, before it could write that itself.

        Args:
            interrupt_ids: the questions that the run waited for when it was stopped.
        """
        await self._inlet.append()  # the present state is to have what was on its way
        info, snapshot = await self._hub.present(self._inlet.run_id)
        if info.status == "waiting" or ANSWERED_LABEL in info.labels:
            return
        is_open = {each.interrupt_id: not each.is_answered for each in snapshot.interrupts}
        now = self._clock.time()
        waiting = [
            encode_record("interrupt_waiting", {"interrupt_id": each}, now)
            for each in interrupt_ids
            if is_open.get(each)
        ]
        if waiting:
            await self._inlet.append(waiting)
            return
        for each in interrupt_ids:
            if await self._find_earlier(each) is not None:
                await self._inlet.append(labels={ANSWERED_LABEL: each})
                return

    def cancel(self) -> None:
        """Stop waiting for answers, permanently: every call gets `CancelledError`."""
        self._waits.cancel()
        self.end()

    def end(self) -> None:
        """Drop the deadlines, because the run ends. Remaining calls see the end in the log."""
        self._has_ended = True
        for task in self._deadlines:
            task.cancel()

    def _leave(self, question: _Question) -> bool:
        """Let the deadline of an abandoned question run on. The question stays open, to be asked
        again.

        Returns whether the question has a deadline.
        """
        interrupt_id = question.interrupt_id
        end = self._ends.get(interrupt_id)
        if self._has_ended or not question.is_written or end is None:
            return False
        if len(self._deadlines) >= MAX_INTERRUPTS:
            # A late answer is refused even without this deadline.
            oldest = next(iter(self._deadlines))
            del self._deadlines[oldest]
            oldest.cancel()
        left_s = max(0.0, end - self._clock.monotonic())
        expiring = self._expire(interrupt_id, left_s)
        deadline = asyncio.create_task(expiring, name=f"runcast-deadline-{interrupt_id}")
        self._deadlines[deadline] = None

        def forget(done: asyncio.Task[None]) -> None:
            self._deadlines.pop(done, None)
            self._ends.pop(interrupt_id, None)

        deadline.add_done_callback(forget)
        return True

    async def _ask(
        self,
        question: _Question,
        interrupt_id: str,
        record: bytes,
        timeout_s: float | None,
        *,
        was_emitted: bool,
    ) -> Answer:
        """Ask; `was_emitted` if the function may have emitted the question itself."""
        question.is_written = True
        attachment = question.attachment
        once = Once(f"ask:{interrupt_id}")
        appended = await self._inlet.append([record], once=once, attachment=attachment)
        answer, resolved = None, []
        if appended.repeated and attachment:
            await self._inlet.append(attachment=attachment)
        if appended.repeated:
            timeout_s = await self._write_waiting(question, appended, timeout_s)
        elif (
            was_emitted and (answer := await self._find_earlier(interrupt_id, appended)) is not None
        ):
            closed = {"interrupt_id": interrupt_id, "outcome": "answered"}
            resolved = [encode_record("interrupt_resolved", closed, self._clock.time())]
        if answer is None:
            answer = await self._wait(interrupt_id, appended, timeout_s)
        self._unanswered.pop(question, None)
        self._keeper.decide(interrupt_id)
        await self._inlet.append(resolved, labels={ANSWERED_LABEL: ""})
        return answer

    async def _find_earlier(
        self, interrupt_id: str, asked: Appended | None = None
    ) -> Answer | None:
        """Return the decision, or None; given `asked`, only one before that append."""
        before = asked.first if asked is not None else None
        while True:
            try:
                return await find_decision(self._hub, self._inlet.run_id, interrupt_id, before)
            except RuncastError as error:
                await self._wait_out(error)

    async def _write_waiting(
        self, waiting: _Question, asked: Appended, timeout_s: float | None
    ) -> float | None:
        """Write that the run waits for an earlier question, perhaps of another attempt. Otherwise
        the run would count as working, and be lost with its process.

        Returns how long to wait for an answer: the first timeout, or a shorter one asked for now.

        Raises `Gone` if the answer was cut from the log: nobody will give it again.
        """
        interrupt_id = waiting.interrupt_id
        while True:
            try:
                info, snapshot = await self._hub.present(self._inlet.run_id)
                break
            except RuncastError as error:
                await self._wait_out(error)
        for question in snapshot.interrupts:
            if question.interrupt_id == interrupt_id and not question.is_answered:
                data = {"interrupt_id": interrupt_id}
                record = encode_record("interrupt_waiting", data, self._clock.time())
                await self._inlet.append([record])
                return self._left_of(waiting, question.expires_at)
        if info.first > asked.first and await self._find_earlier(interrupt_id) is None:
            raise Gone(
                f"the question {interrupt_id!r} was answered before, and its answer is not kept "
                "any more (keep_bytes_per_run); ask under another id, or keep what was answered",
                "trimmed",
            )
        return timeout_s

    def _left_of(self, question: _Question, expires_at: object) -> float | None:
        """Return the time left for an open question, seconds; None if it never expires.

        Args:
            expires_at: the time in the log, by the wall clock. It counts for questions of an
                earlier attempt, perhaps in another process.
        """
        if isinstance(expires_at, int | float) and not question.is_asked_again:
            self._note_end(question.interrupt_id, expires_at - self._clock.time())
        end = self._ends.get(question.interrupt_id)
        return None if end is None else max(0.0, end - self._clock.monotonic())

    async def _wait(self, interrupt_id: str, asked: Appended, timeout_s: float | None) -> Answer:
        deadline = (
            None
            if timeout_s is None
            else asyncio.create_task(self._expire(interrupt_id, timeout_s))
        )
        try:
            async for event in self._events(Position(asked.epoch, asked.first - 1)):
                if (answer := answer_in(event, interrupt_id)) is not None:
                    return answer
        finally:
            if deadline is not None:
                deadline.cancel()
        raise RunClosed(f"the run {self._inlet.run_id!r} ended before its question was answered")

    async def _events(self, after: Position) -> AsyncIterator[Event]:
        """Yield the events after a position. Errors of the store, perhaps met by other commits, are
        waited out: they are no reason to drop the question."""
        while True:
            try:
                with await self._hub.watch(self._inlet.run_id, after) as watch:
                    async for chunk in watch:
                        for event in chunk.events():
                            yield event
                        after = chunk.position
                return
            except RuncastError as error:
                await self._wait_out(error)

    async def _wait_out(self, error: RuncastError) -> None:
        """Return once another try makes sense; raise the error if none does."""
        if not error.retryable or not self._hub.is_open:
            raise error
        await asyncio.sleep(self._hub.settings.store_retry_s)

    async def _expire(self, interrupt_id: str, timeout_s: float) -> None:
        await asyncio.sleep(timeout_s)
        while self._hub.is_open:
            try:
                await expire_question(self._hub, self._inlet, interrupt_id, self._clock)
                return
            except (Conflict, RunClosed, Stale, NotFound):
                return  # answered at the last moment, or the run has ended
            except RuncastError as error:
                _log.warning("question %s could not be closed yet: %s", interrupt_id, error)
            await asyncio.sleep(self._hub.settings.store_retry_s)
