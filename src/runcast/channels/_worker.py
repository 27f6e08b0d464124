"""One delivery at work: watches a run's log, asks the engine, calls the channel, keeps the record.

Its memory is a log of the kind `delivery`, which this process owns. A record holds the whole state,
so the last record is enough to go on. A record is committed before a message is sent, and after the
outcome: if the process dies in between, the next one knows that the send has no answer.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from runcast._hub.cursor import Chunk
from runcast._hub.hub import Hub
from runcast._hub.owned_log import OwnedLog
from runcast._hub.watcher import Watch
from runcast._logs import format_places, get_logger
from runcast.channels.actions import Action, Delete, Edit, Find, Send, Typing
from runcast.channels.channel import CanDelete, CanEdit, CanFind, CanType, Channel
from runcast.channels.engine import Engine
from runcast.channels.outcome import CallOutcome, Receipt
from runcast.errors import BackendError, NotFound, RunClosed, Stale
from runcast.events.model import Event, encode_record
from runcast.events.outcome import Outcome, done, failed

if TYPE_CHECKING:
    from runcast._clock import Clock
    from runcast.events.position import Position

__all__ = ("STATE", "Worker")

STATE: Final = "delivery_state"
"""The type of a delivery's records."""

_CALL_S: Final = 30.0
"""Longest time of one call, whatever the channel does."""

_OPENING_S: Final = 12.0
"""The same for a message that is shown while its text grows: people see nothing meanwhile. Longer
than connecting takes (10 s), so that a server that cannot be reached is known as such."""

_TYPING_S: Final = 3.0
"""The same for the sign that somebody writes: text must not wait for it."""

_LOOK_S: Final = 0.1
"""How often a new message looks for more text. Looking at each token would cost more than it is
worth, with a thousand deliveries on one loop."""

_NOTED_FAILURES: Final = 3
"""After so many calls that failed one after another a delivery says so in the log."""

_STORE_RETRY_S: Final = 1.0

_log: Final = get_logger("runcast.channels")


class Worker:
    """Delivers one run to one channel.

    Args:
        log: the delivery's own log.
        about: what every record repeats: the run, the target, the options.
        saved: the state in the last record of the process before; None at the beginning.
    """

    def __init__(
        self,
        hub: Hub,
        log: OwnedLog,
        channel: Channel,
        engine: Engine,
        about: Mapping[str, Any],
        saved: Mapping[str, Any] | None,
    ) -> None:
        self.engine = engine
        self.is_leaving = False
        """Whether the delivery stops as soon as no call is in flight, for another process."""
        self._hub = hub
        self._log = log
        self._channel = channel
        self.about = about
        """What every record repeats."""
        self._clock: Clock = hub.clock
        self._changed = asyncio.Event()
        self._turns = 0
        self._failures = 0
        self._position: Position | None = None
        if saved is not None:
            engine.load(dict(saved), self._offset, self._clock.monotonic())

    @property
    def _offset(self) -> float:
        return self._clock.time() - self._clock.monotonic()

    async def run(self) -> Receipt | None:
        """Deliver until the end is there; None if another process goes on.

        Raises nothing because of the platform or the store.
        """
        reading = asyncio.create_task(self._read())
        try:
            while self.engine.receipt is None and not self.is_leaving:
                found = self.engine.next(self._clock.monotonic())
                if isinstance(found, Action):
                    await self._do(found)
                elif self.engine.receipt is None:
                    await self._wait(found)
            if self.engine.receipt is None:
                await self._save()
                self._log.release()
                return None
            return await self._end(self.engine.receipt)
        except (Stale, RunClosed, NotFound):
            return None  # another process has the delivery, or it was cancelled or deleted
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
            await self._channel.close()

    def leave(self) -> None:
        """Stop as soon as no call is in flight, so that another process can go on."""
        self.is_leaving = True
        self._changed.set()

    def look(self) -> None:
        """Ask the engine again soon: it knows more than before."""
        self._turns = -1
        self._changed.set()

    # The run's log.

    async def _read(self) -> None:
        """Feed the document. If the log cannot be read, the delivery ends with what is known."""
        while True:
            try:
                with await self._hub.watch(str(self.about["run"]), self._position) as watch:
                    await self._feed_all(watch, str(self.about["epoch"]))
                break
            except NotFound:
                self._stop_reading("the run was deleted")
                break
            except BackendError as error:
                _log.warning("a delivery cannot read its run, and tries again: %s", error)
                await self._sleep(_STORE_RETRY_S)
        self._changed.set()

    async def _feed_all(self, watch: Watch[Chunk], epoch: str) -> None:
        document = self.engine.document
        async for chunk in watch:
            if chunk.gap is not None:
                if chunk.gap.reason == "replaced":
                    self._stop_reading("the run was started again")
                    return
                if chunk.gap.reason == "rewound":
                    document.restart()
                else:
                    document.feed(Event(type="gap"))
            elif epoch and chunk.position.epoch != epoch:
                self._stop_reading("the run was started again")
                return
            for event in chunk.events():
                document.feed(event)
            self._position = chunk.position
            self._changed.set()

    def _stop_reading(self, why: str) -> None:
        if not self.engine.document.has_ended:
            self.engine.document.feed(Event(type="cancelled", data={"reason": why}))

    # The engine's wishes.

    async def _wait(self, until: float | None) -> None:
        """Wait for a time, and for changes that are worth another look before it."""
        document, engine = self.engine.document, self.engine
        while not self.is_leaving:
            if document.turns != self._turns or (engine.is_idle and self._changed.is_set()):
                self._turns = document.turns
                self._changed.clear()
                return
            left = None if until is None else until - self._clock.monotonic()
            if left is not None and left <= 0:
                return
            if engine.is_opening and self._changed.is_set():
                self._changed.clear()
                await self._sleep(_LOOK_S if left is None else min(_LOOK_S, left))
                return
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _do(self, action: Action) -> None:
        is_kept = isinstance(action, Send | Delete | Find)
        if is_kept and not await self._save():
            outcome = CallOutcome("not_started", reason="the store does not answer")
        else:
            outcome = await self._call(action)
        self.engine.settle(outcome, self._clock.monotonic())
        if outcome.kind not in ("ok", "same"):
            _log.info(
                "delivery %s: %s: %s %s",
                self._log.log_id,
                type(action).__name__.lower(),
                outcome.kind,
                outcome.reason,
            )
        self._note_failure(outcome)
        if is_kept or outcome.kind == "limited":
            await self._save()

    def _note_failure(self, outcome: CallOutcome) -> None:
        """Log once that calls fail again and again: a delivery tries for a day."""
        if outcome.kind not in ("not_started", "uncertain", "rejected"):
            self._failures = 0
            return
        self._failures += 1
        if self._failures == _NOTED_FAILURES:
            run, target = self.about["run"], self.about["target"]
            said = "run %r is not delivered to %s so far, and is tried again: %s"
            _log.warning(said, run, target, outcome.reason or outcome.kind)

    async def _call(self, action: Action) -> CallOutcome:
        channel = self._channel
        if isinstance(action, Send | Edit):
            link = self.engine.document.answer_links.get(action.question_id, "")
            has_buttons = channel.capability.has_buttons  # else nobody takes what they send
            action = replace(
                action,
                buttons=action.buttons if has_buttons else (),
                answers=action.buttons,
                run_id=str(self.about["run"]),
                epoch=str(self.about["epoch"]),
                answer_url=link,
            )
        try:
            async with asyncio.timeout(self._longest_s(action)):
                if isinstance(action, Send):
                    return await channel.send(action)
                if isinstance(action, Edit):
                    if isinstance(channel, CanEdit):
                        return await channel.edit(action)
                elif isinstance(action, Delete):
                    if isinstance(channel, CanDelete):
                        return await channel.delete(action.message_id)
                elif isinstance(action, Find):
                    if isinstance(channel, CanFind):
                        return await channel.find(action)
                elif isinstance(channel, CanType):
                    return await channel.show_typing(action.is_on)
            return CallOutcome("rejected", reason="the channel cannot do what it says it can")
        except TimeoutError:
            return CallOutcome("uncertain", reason="no answer in time")
        except Exception as error:  # noqa: BLE001 - a fault of one channel must not end the others
            # Not its message, which may hold an address with a token.
            _log.warning(
                "the channel of %s raised %s\n%s",
                self.about["target"],
                type(error).__name__,
                format_places(error),
            )
            return CallOutcome("uncertain", reason=f"the channel raised {type(error).__name__}")

    def _longest_s(self, action: Action) -> float:
        """Return how long a call may take, whatever the channel does."""
        if isinstance(action, Typing):
            return _TYPING_S
        is_opening = isinstance(action, Send) and self._channel.capability.can_edit
        return _OPENING_S if is_opening else _CALL_S

    # The delivery's log.

    async def _save(self) -> bool:
        """Commit the state; return False if the store does not answer. Raises if it is not ours."""
        data = {**self.about, "state": self.engine.save(self._offset)}
        try:
            await self._log.inlet.append([encode_record(STATE, data, self._clock.time())])
        except BackendError as error:
            _log.warning("a delivery's state could not be stored: %s", error)
            return False
        return True

    async def _end(self, receipt: Receipt) -> Receipt:
        while True:
            try:
                await self._log.end(outcome_of(receipt))
            except BackendError as error:
                _log.warning("the end of a delivery could not be stored yet: %s", error)
                await self._sleep(_STORE_RETRY_S)
                continue
            if receipt.status == "failed":
                run, target = self.about["run"], self.about["target"]
                _log.warning("run %r was not delivered to %s: %s", run, target, receipt.reason)
            return receipt


def outcome_of(receipt: Receipt) -> Outcome:
    """Return how a delivery's log ends."""
    if receipt.status == "failed":
        kind, data = failed(f"not delivered: {receipt.reason}", "not_delivered")
        return Outcome(kind, {**data, "may_be_shown": receipt.may_be_shown})
    result = {
        "status": receipt.status,
        "message_ids": list(receipt.message_ids),
        "reason": receipt.reason,
        "strays": receipt.strays,
    }
    return done(result)
