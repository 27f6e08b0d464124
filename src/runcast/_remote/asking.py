"""Questions and messages of a remote run: what comes back from its watchers.

Both are events in the run's log. The first question, or the first wait for a message, opens a
stream of these events, which is followed across lost connections like any other.
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final
from urllib.parse import quote

from runcast._clock import Clock
from runcast._logs import get_logger
from runcast._producing.answers import Answer, check_question
from runcast._producing.decisions import answer_in
from runcast._producing.keeping import as_kept
from runcast._producing.messages import Message
from runcast._producing.waits import Waits
from runcast._remote.link import Link
from runcast.client.watching import watch
from runcast.errors import Gone, InvalidValue, Overloaded, RuncastError, RunClosed
from runcast.events.model import Event, Place, encode_record
from runcast.events.snapshot import MAX_INTERRUPTS

__all__ = ("RemoteMailbox", "RemoteQuestions", "Replies")

_TYPES: Final = "types=interrupt_response,interrupt_resolved,message"
_MOST_DECISIONS: Final = 1000
"""Decisions that are remembered, for questions that are asked again."""

_log: Final = get_logger("runcast.remote")


class Replies:
    """The stream of answers and messages. Call on the link's loop."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._task: asyncio.Task[None] | None = None
        self._decisions: dict[str, Answer] = {}
        self._newest_message = 0
        self._has_ended: RuncastError | None = None
        self._changed = asyncio.Condition()
        self._gaps = 0

    async def close(self) -> None:
        """End the stream. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def open(self) -> None:
        """Begin to follow. Idempotent."""
        if self._task is None:
            self._task = asyncio.create_task(self._follow(), name="runcast-remote-replies")

    async def _follow(self) -> None:
        begun, error = self._link.begun, None
        path = f"/runs/{begun.run_id}/events?{_TYPES}"
        pages = watch(self._link.transport, path, str(begun.position))
        try:
            async with aclosing(pages):
                async for page in pages:
                    async with self._changed:
                        for received in page:
                            self._take(received.event)
                        self._changed.notify_all()
        except RuncastError as refusal:
            error = refusal
        async with self._changed:
            self._has_ended = error or RunClosed(f"the run {begun.run_id!r} has ended")
            self._changed.notify_all()

    def _take(self, event: Event) -> None:
        if event.type == "message":
            self._newest_message = max(self._newest_message, event.seq)
        elif event.type == "gap":
            self._gaps += 1
        elif isinstance(event.data, dict):
            interrupt_id = event.data.get("interrupt_id")
            if isinstance(interrupt_id, str):
                answer = answer_in(event, interrupt_id)
                if answer is not None:
                    self._decisions.setdefault(interrupt_id, answer)
        while len(self._decisions) > _MOST_DECISIONS:
            del self._decisions[next(iter(self._decisions))]

    def decision(self, interrupt_id: str) -> Answer | None:
        """Return the decision on a question, if it is known here."""
        return self._decisions.get(interrupt_id)

    async def answered(self, interrupt_id: str) -> Answer:
        """Wait for the decision on a question.

        Raises:
            Gone: the answer was cut from the log before it could be read.
            RunClosed: the run ended before.
        """
        self.open()
        gaps = self._gaps
        async with self._changed:
            while (answer := self.decision(interrupt_id)) is None:
                if self._has_ended is not None:
                    raise self._has_ended
                if self._gaps != gaps:
                    raise Gone(
                        f"the answer to the question {interrupt_id!r} may have been cut from the "
                        "log (keep_bytes_per_run); ask under another id",
                        "trimmed",
                    )
                await self._changed.wait()
        return answer

    async def message_after(self, seq: int) -> None:
        """Wait until a message after a `seq` may be there. Raises `RunClosed`."""
        self.open()
        gaps = self._gaps
        async with self._changed:
            while self._newest_message <= seq and self._gaps == gaps:
                if self._has_ended is not None:
                    raise self._has_ended
                await self._changed.wait()


class RemoteQuestions:
    """The questions of a remote run; see `Asks`. Call on the link's loop."""

    def __init__(self, link: Link, replies: Replies, clock: Clock) -> None:
        self._link = link
        self._replies = replies
        self._clock = clock
        self._waits = Waits()
        self._open: dict[str, int] = {}
        """How many calls wait for the answer to each question."""

    @property
    def is_waiting(self) -> bool:
        """Whether the run waits for an answer."""
        return bool(self._open)

    def end_of(self, interrupt_id: str) -> float | None:
        """Return None: each call keeps its own deadline."""
        return None

    def cancel(self) -> None:
        """Stop waiting for answers, for good."""
        self._waits.cancel()

    def end(self) -> None:
        """Do nothing: remaining calls end with the stream of answers."""

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
        """Ask, and wait for the answer. Raises what `Questions.ask` raises."""
        check_question(message, action, config, timeout_s, interrupt_id)
        if keep is not None:
            as_kept(keep)  # refused here as elsewhere; not sent, because no later attempt reads it
        interrupt_id = interrupt_id or f"q-{uuid.uuid4().hex[:16]}"
        known = self._replies.decision(interrupt_id)
        if known is not None:
            return known
        if len(self._open) >= MAX_INTERRUPTS and interrupt_id not in self._open:
            raise Overloaded(f"{len(self._open)} questions of this run are open already")
        now = self._clock.time()
        asked: dict[str, Any] = {
            **{"interrupt_id": interrupt_id, "action": action, "args": args, "message": message},
            **({"config": dict(config)} if config else {}),
            **({"expires_at": now + timeout_s} if timeout_s is not None else {}),
        }
        kind = "interrupt_request"
        if interrupt_id in self._open:
            kind, asked = "interrupt_waiting", {"interrupt_id": interrupt_id}
        record = encode_record(kind, asked, now, place, self._link.begun.max_event_bytes)
        self._open[interrupt_id] = self._open.get(interrupt_id, 0) + 1
        try:
            return await self._waits.wait(self._ask(record, interrupt_id, timeout_s))
        finally:
            self._open[interrupt_id] -= 1
            if not self._open[interrupt_id]:
                del self._open[interrupt_id]

    async def keep(self, kept: bytes) -> None:
        """Refuse: nothing continues a remote run whose process has ended. Raises `InvalidValue`."""
        raise InvalidValue(
            "a remote run has no next attempt, so nobody would read what keep() keeps; store it "
            "yourself, or run this code as a function with recover= on the server"
        )

    async def _ask(self, record: bytes, interrupt_id: str, timeout_s: float | None) -> Answer:
        await self._link.outbox.drain()
        self._link.outbox.put(record)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._replies.answered(interrupt_id)
        except TimeoutError:
            await self._link.outbox.flushed(_FOR_EVER_S)
            path = f"/interrupts/{quote(interrupt_id, safe='')}/expire"
            decided = (await self._link.ask("POST", path)).field("decision")
            kind = decided.get("type") if isinstance(decided, dict) else None
            if kind == "expired":
                return Answer("expired")
            return Answer.parse({name: decided[name] for name in ("type", "args", "by")})


_FOR_EVER_S: Final = 1e9


class RemoteMailbox:
    """The messages of a remote run; see `Mailbox`. Call on the link's loop."""

    def __init__(self, link: Link, replies: Replies, clock: Clock) -> None:
        self._link = link
        self._replies = replies
        self._clock = clock
        self._waits = Waits()

    def cancel(self) -> None:
        """Stop waiting, for good."""
        self._waits.cancel()

    async def next(self, after: int, read: Sequence[str], *, wait: bool) -> Message | None:
        """Acknowledge messages, then return the first unread one after a `seq`."""
        return await self._waits.wait(self._next(after, read, wait=wait))

    async def _next(self, after: int, read: Sequence[str], *, wait: bool) -> Message | None:
        outbox = self._link.outbox
        if read:
            said = {"message_ids": [*read]}
            await outbox.drain()
            outbox.put(encode_record("message_read", said, self._clock.time()))
        while True:
            shown = await self._link.ask("GET", "")
            seq = int(shown.field("events"))
            for unread in _unread_in(shown.field("state")):
                if unread.seq > after and unread.id not in read:
                    return unread
            if not wait:
                return None
            await self._replies.message_after(max(after, seq))


def _unread_in(state: object) -> list[Message]:
    messages = state.get("messages") if isinstance(state, dict) else None
    return [
        Message(
            id=each["message_id"],
            data=each.get("data"),
            sender=str(each.get("from", "")),
            time=float(each.get("time", 0.0)),
            seq=int(each.get("seq", 0)),
        )
        for each in (messages if isinstance(messages, list) else ())
        if isinstance(each, dict) and isinstance(each.get("message_id"), str)
    ]
