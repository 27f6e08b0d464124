"""The link between a run and the server that stores it: batches, retries, heartbeats.

One batch is on its way at a time. If its answer does not come, the same batch goes again under the
same number, and the server stores it once. All of this happens on a loop in a thread of its own, so
that the code of the run may take its time without losing its lease.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from runcast._clock import Clock
from runcast._logs import get_logger
from runcast._producing.batches import MAX_BATCH_EVENTS
from runcast._remote.outbox import Outbox
from runcast.client.files import Outgoing
from runcast.client.reconnect import ReconnectOptions
from runcast.client.transport import Answer, Transport
from runcast.client.watching import pause_after
from runcast.errors import (
    BodyTooLarge,
    InvalidEvent,
    InvalidValue,
    PeerError,
    RuncastError,
    RunTooLarge,
)
from runcast.events.model import OWN_EVENT_BYTES, encode_record
from runcast.events.position import Position

__all__ = ("Begun", "Link", "begin")

_log: Final = get_logger("runcast.remote")

_WAITS: Final = ReconnectOptions(first_s=0.2, longest_s=10.0)
"""Pauses between tries: shorter than those of browsers, because a lease runs."""

_BATCH_BYTES: Final = 512 * 1024
"""Size of a batch from which on the rest waits for the next one: a second at 4 Mbit/s."""

_HEARTBEATS: Final = 3
"""Heartbeats within one lease."""

_LONGEST_WAIT_S: Final = 20.0
"""Longest wait of one heartbeat: below what proxies cut."""

_ANSWER_S: Final = 10.0
"""How long an answer may take, beside what it waits for."""


_FILE_ANSWER_S: Final = 60.0
"""How long the server may be silent about a file: it may write it to a bucket."""


class Begun(NamedTuple):
    """A run that has begun on the server."""

    run_id: str
    position: Position
    lease_id: str
    lease_s: float
    max_event_bytes: int
    max_batch_bytes: int
    offset_s: float
    """How far the server's clock is ahead of ours."""


async def begin(
    transport: Transport, clock: Clock, fields: Mapping[str, Any], wait_s: float
) -> Begun:
    """Begin a run; try again for `wait_s` if the server cannot be reached.

    Raises:
        ServerUnavailable: the server could not be reached.
        Conflict, InvalidValue, Forbidden, …: what the server answers.
    """
    asked = {"lease_id": secrets.token_urlsafe(24), **fields}
    until, failures = clock.monotonic() + wait_s, 0
    while True:
        try:
            answer = await transport.ask("POST", "/runs", asked, timeout_s=_ANSWER_S)
            break
        except RuncastError as error:
            pause_s = pause_after(failures, _WAITS, error)
            if not error.retryable or clock.monotonic() + pause_s > until:
                raise
            failures += 1
            await asyncio.sleep(pause_s)
    try:
        return Begun(
            str(answer.field("run_id")),
            Position.parse(answer.field("position")),
            str(answer.field("lease_id")),
            float(answer.field("lease_s")),
            int(answer.field("max_event_bytes")),
            min(_BATCH_BYTES, int(answer.field("max_body_bytes")) // 2),
            float(answer.field("time")) - clock.time(),
        )
    except (TypeError, ValueError) as error:
        raise PeerError(f"the server does not answer as runcast does: {error!s:.200}") from None


class Link:
    """Sends the records of one run, and keeps its lease. Make it on its loop.

    Args:
        on_cancel: called once with the reason when the run shall end.
    """

    def __init__(
        self,
        transport: Transport,
        begun: Begun,
        outbox: Outbox,
        clock: Clock,
        on_cancel: Callable[[str], None],
    ) -> None:
        self.transport = transport
        self.begun = begun
        self.outbox = outbox
        self._clock = clock
        self._on_cancel = on_cancel
        self._path = f"/runs/{quote(begun.run_id, safe='')}"
        self._headers = {"runcast-lease": begun.lease_id}
        self._producer = secrets.token_hex(8)
        self._number = 1
        self._is_cancelled = False
        self.is_ending = False
        """Whether the run's end is among the records: heartbeats no longer matter."""
        self._most_bytes = begun.max_batch_bytes
        self._tasks = [
            asyncio.create_task(self._send_all(), name="runcast-remote-send"),
            asyncio.create_task(self._stay_alive(), name="runcast-remote-heartbeat"),
        ]

    async def close(self) -> None:
        """Stop sending. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        """Send a request about the run until the server has answered it.

        Raises what the server answers.
        """
        failures = 0
        while True:
            try:
                return await self.transport.ask(
                    method, self._path + path, body, headers=self._headers, timeout_s=_ANSWER_S
                )
            except RuncastError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(pause_after(failures, _WAITS, error))
                failures += 1

    async def send_file(self, path: str, file: Outgoing) -> Answer:
        """Send a file, again and again while the server cannot take it, as long as the lease.

        Raises what the server answers; `ServerUnavailable` if it was silent for too long.
        """
        headers = {
            **self._headers,
            "content-type": "application/octet-stream",
            "content-length": str(file.length),
        }
        failures, begun = 0, self._clock.monotonic()
        while True:
            try:
                return await self.transport.ask(
                    "PUT",
                    self._path + path,
                    content=file.pieces(),
                    headers=headers,
                    timeout_s=_FILE_ANSWER_S,
                )
            except RuncastError as error:
                pause_s = pause_after(failures, _WAITS, error)
                is_late = self._clock.monotonic() - begun + pause_s > self.begun.lease_s
                if not error.retryable or is_late or self.outbox.is_over:
                    raise
                await asyncio.sleep(pause_s)
                failures += 1

    # Sending.

    async def _send_all(self) -> None:
        outbox = self.outbox
        try:
            while not outbox.is_over:
                records = outbox.take(MAX_BATCH_EVENTS, self._most_bytes)
                if records:
                    await self._send(records)
                else:
                    await outbox.wake.wait()
        except Exception as error:  # a fault of ours must not look like a run that goes on
            _log.exception("the events of run %s can no longer be sent", self.begun.run_id)
            self._end(PeerError(f"the events can no longer be sent: {type(error).__name__}"))
            raise

    async def _send(self, records: list[bytes]) -> None:
        """Send one batch until it is stored, or until it is clear that it cannot be."""
        try:
            answer = await self._persist(records)
            position = Position.parse(answer.field("position"))
        except InvalidEvent as refusal:
            self._leave_out(refusal, len(records))
        except BodyTooLarge as refusal:
            if len(records) == 1:
                self._leave_out(InvalidEvent(refusal.message, 0), 1)
            else:
                self._most_bytes = max(1, sum(map(len, records)) // 2)
        except RunTooLarge as full:
            last = records[-1] if self.is_ending else None
            self.outbox.fill(full)
            if last is not None:
                self.outbox.put_anyway(last)
        except (RuncastError, InvalidValue) as error:
            self._end(error)
        else:
            self._number += 1
            self.outbox.settle(len(records), position)
            self._heed(answer)

    async def _persist(self, records: list[bytes]) -> Answer:
        query = urlencode({"producer": self._producer, "sequence": self._number})
        content = b"".join(b"{%b\n" % record for record in records)
        headers = {**self._headers, "content-type": "application/x-ndjson"}
        failures, begun = 0, self._clock.monotonic()
        while True:
            try:
                answer = await self.transport.ask(
                    "POST",
                    f"{self._path}/events?{query}",
                    content=content,
                    headers=headers,
                    timeout_s=_ANSWER_S,
                )
            except RuncastError as error:
                if not error.retryable:
                    raise
                self._report(error, failures, begun)
                await asyncio.sleep(pause_after(failures, _WAITS, error))
                failures += 1
            else:
                if failures:
                    _log.warning(
                        "the server stores the events of run %s again; nothing was lost",
                        self.begun.run_id,
                    )
                self.outbox.is_failing = False
                return answer

    def _report(self, error: RuncastError, failures: int, begun: float) -> None:
        if not failures:
            _log.warning(
                "the events of run %s could not be sent, and will be sent again: %s",
                self.begun.run_id,
                error,
            )
        if self._clock.monotonic() - begun > self.begun.lease_s:
            self.outbox.fail()

    def _leave_out(self, refusal: InvalidEvent, count: int) -> None:
        """Write a log line in the place of an event that the server refuses."""
        index = refusal.index if 0 <= refusal.index < count else 0
        _log.error("run %s: the server refuses an event: %s", self.begun.run_id, refusal)
        said = {
            "level": "warning",
            "message": f"an event was left out, because the server refuses it: {refusal}"[:2000],
            "logger": "runcast",
        }
        now = self._clock.time() + self.begun.offset_s
        self.outbox.replace(index, encode_record("log", said, now, None, OWN_EVENT_BYTES))

    def _end(self, error: RuncastError) -> None:
        self._cancel(error.message)  # first, so that the next emit raises `Cancelled`
        self.outbox.end(error)

    # Staying alive.

    async def _stay_alive(self) -> None:
        lease_s, failures = self.begun.lease_s, 0
        pause_s = lease_s / _HEARTBEATS
        while not self.outbox.is_over and not self.is_ending:
            wait_s = 0.0 if self._is_cancelled else min(pause_s, _LONGEST_WAIT_S)
            begun = self._clock.monotonic()
            try:
                answer = await self.transport.ask(
                    "POST",
                    f"{self._path}/heartbeat?wait_s={wait_s:.3f}",
                    headers=self._headers,
                    timeout_s=wait_s + _ANSWER_S,
                )
            except RuncastError as error:
                if not error.retryable:
                    if not self.is_ending:
                        self._end(error)
                    return
                await asyncio.sleep(min(pause_s, pause_after(failures, _WAITS, error)))
                failures += 1
            else:
                failures = 0
                self._heed(answer)
                if self._is_cancelled:
                    await asyncio.sleep(pause_s)
                elif self._clock.monotonic() - begun < wait_s / 2:  # the server shuts down, say
                    await asyncio.sleep(min(1.0, pause_s))

    def _heed(self, answer: Answer) -> None:
        reason = answer.field("cancel")
        if reason is not None:
            self._cancel(str(reason))

    def _cancel(self, reason: str) -> None:
        if not self._is_cancelled:
            self._is_cancelled = True
            self._on_cancel(reason)
