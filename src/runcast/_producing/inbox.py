"""The inbox of a run: its messages, one after the other, read where the function is at work.

A message is acknowledged when the next one is asked for, or when the run ends and was not
cancelled. If the process dies in between, the next attempt gets the message again.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from runcast._clock import Clock
from runcast._hub.inlets import Inlet
from runcast._producing.messages import Message
from runcast._producing.waits import Waits
from runcast.errors import InvalidValue, RuncastError, RunClosed
from runcast.events.model import encode_record
from runcast.events.position import Position

if TYPE_CHECKING:
    from runcast._hub.hub import Hub  # late, because most processes of functions need no hub

__all__ = ("HubMailbox", "Inbox", "Mailbox")

_MESSAGE: Final = b'"type":"message",'


class Mailbox(Protocol):
    """Where a run's messages come from: its log, or the parent of its process."""

    async def next(self, after: int, read: Sequence[str], *, wait: bool) -> Message | None:
        """Acknowledge messages, then return the first unread one after a `seq`.

        Returns:
            None if there is none, unless it is to be waited for.
        """
        ...

    def cancel(self) -> None:
        """Stop waiting, for good: who waits gets `CancelledError`. Call on the loop."""
        ...


class HubMailbox:
    """The messages of a run whose log is in a hub. Call from the loop's thread."""

    def __init__(self, hub: "Hub", inlet: Inlet, clock: Clock) -> None:
        self._hub = hub
        self._inlet = inlet
        self._clock = clock
        self._waits = Waits()

    async def next(self, after: int, read: Sequence[str], *, wait: bool) -> Message | None:
        """Acknowledge messages, then return the first unread one after a `seq`; see `Mailbox`."""
        return await self._waits.wait(self._next(after, read, wait=wait))

    async def _next(self, after: int, read: Sequence[str], *, wait: bool) -> Message | None:
        if read:
            told = {"message_ids": [*read]}
            await self._inlet.append([encode_record("message_read", told, self._clock.time())])
        while True:
            try:
                info, snapshot = await self._hub.present(self._inlet.run_id)
                for unread in snapshot.messages:
                    if unread.seq > after and unread.message_id not in read:
                        return Message(
                            id=unread.message_id,
                            data=unread.data,
                            sender=unread.sender,
                            time=unread.time,
                            seq=unread.seq,
                        )
                if not wait:
                    return None
                await self._come(Position(info.epoch, snapshot.seq))
            except RuncastError as error:
                if not error.retryable or not self._hub.is_open:
                    raise
                await asyncio.sleep(self._hub.settings.store_retry_s)

    async def _come(self, after: Position) -> None:
        """Return once a message may have come after a position. Raises `RunClosed`."""
        with await self._hub.watch(self._inlet.run_id, after) as watch:
            async for chunk in watch:
                if chunk.gap is not None or (chunk.page and _MESSAGE in chunk.page.frames):
                    return
        raise RunClosed(f"the run {self._inlet.run_id!r} has ended; no message follows")

    def cancel(self) -> None:
        """Stop waiting, for good; see `Mailbox`."""
        self._waits.cancel()


class Inbox:
    """The messages sent into the current run, in order. Made by `runcast.inbox()`.

    `async for message in inbox` waits for each in a coroutine, `for message in inbox` in a thread.
    It goes on until the run is cancelled, or the loop is left.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        on_loop: Callable[[Coroutine[Any, Any, Any], str], Any],
    ) -> None:
        self._mailbox = mailbox
        self._on_loop = on_loop
        self._after = 0
        self._in_hand: tuple[str, ...] = ()
        self._is_read = False

    def __aiter__(self) -> "Inbox":
        return self

    async def __anext__(self) -> Message:
        message: Message = await self._on_loop(self._receive(wait=True), "a message")
        return message

    def __iter__(self) -> "Inbox":
        return self

    def __next__(self) -> Message:
        _check_no_loop()
        message: Message = self._on_loop(self._receive(wait=True), "a message")
        return message

    def poll(self) -> Any:
        """Return the next message, or None if there is none now: `await` it in a coroutine.

        Raises what iterating raises: `InvalidValue` if the run's inbox is being read elsewhere.
        """
        return self._on_loop(self._receive(wait=False), "a message")

    def poll_all(self) -> Any:
        """Return the messages that are there now, in order: `await` it in a coroutine.

        They are acknowledged together, when the next ones are asked for. Raises what `poll` raises.
        """
        return self._on_loop(self._receive_all(), "messages")

    def take_read(self) -> tuple[str, ...]:
        """Return the ids of what is still to be acknowledged, and forget them."""
        read, self._in_hand = self._in_hand, ()
        return read

    async def _receive(self, *, wait: bool) -> Message | None:
        with self._reading():
            message = await self._mailbox.next(self._after, self._in_hand, wait=wait)
            self._in_hand = () if message is None else (message.id,)
            self._after = self._after if message is None else message.seq
            return message

    async def _receive_all(self) -> list[Message]:
        found: list[Message] = []
        with self._reading():
            read = self._in_hand
            while (message := await self._mailbox.next(self._after, read, wait=False)) is not None:
                read = ()  # acknowledged by the first call
                found.append(message)
                self._after = message.seq
                self._in_hand = tuple(one.id for one in found)
            if not found:
                self._in_hand = ()
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        if self._is_read:
            raise InvalidValue(
                "expected one reader of the inbox at a time: asking for a message acknowledges the "
                "one before; read in one place, and hand messages on from there"
            )
        self._is_read = True
        try:
            yield
        finally:
            self._is_read = False


def _check_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise InvalidValue("expected `async for message in runcast.inbox()` in a coroutine")
