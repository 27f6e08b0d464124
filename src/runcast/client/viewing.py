"""What one view of a run in a notebook gets: numbered batches, each of which its page confirms."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

from runcast.client.watching import Received

__all__ = (
    "BYTES_PER_S",
    "MAX_BATCH_BYTES",
    "MAX_UNCONFIRMED_BYTES",
    "Viewing",
    "batches_of",
    "gathered",
)

MAX_BATCH_BYTES: Final = 64 * 1024
"""Events of one message; a larger event is a message by itself."""

MAX_UNCONFIRMED_BYTES: Final = 4 * 1024 * 1024
"""What a watch sends before the page confirms it: minutes of a kernel that is at work."""

_PACE_S: Final = 0.05
"""Pause after a batch, during which more events gather."""

_SLOW_AFTER: Final = 32
"""Up to so many unconfirmed batches the pause stays the same; then it grows to `_SLOWEST_S`."""

_SLOWEST_S: Final = 1.0
BYTES_PER_S: Final = 400_000
"""What one view sends: some views of one notebook stay below the 1 MB/s of its server."""

_REMIND_S: Final = 5.0
"""When a page is asked for what it has; each time twice as late."""

_MAX_REMINDERS: Final = 10
"""After so many the page is gone: more than an hour."""


class Viewing:
    """What one view in one page gets: numbered messages, and which of them it has confirmed."""

    def __init__(self, name: str, send: Callable[[dict[str, Any]], None]) -> None:
        self.name = name
        self.tasks: list[asyncio.Task[None]] = []
        self._send = send
        self._sent = 0
        self._sizes: dict[int, int] = {}  # of what is not confirmed, in bytes
        self._unconfirmed_bytes = 0
        self._moved = asyncio.Event()

    def put(self, message: dict[str, Any], size: int = 0) -> None:
        self._sent += 1
        self._sizes[self._sent] = size
        self._unconfirmed_bytes += size
        self._moved.set()
        self._send({"id": self.name, "n": self._sent, **message})

    async def bring(self, batch: list[Received]) -> None:
        """Send a batch once there is room for it, and leave time for others."""
        while self._unconfirmed_bytes >= MAX_UNCONFIRMED_BYTES:
            await self._change()
        size = sum(len(received.text) for received in batch)
        self.put({"events": [(received.text, received.position) for received in batch]}, size)
        slower = max(1.0, len(self._sizes) / _SLOW_AFTER)
        await asyncio.sleep(max(min(_PACE_S * slower, _SLOWEST_S), size / BYTES_PER_S))

    def confirm(self, number: int) -> None:
        for each in [sent for sent in self._sizes if sent <= number]:
            self._unconfirmed_bytes -= self._sizes.pop(each)
        self._moved.set()

    async def until_confirmed(self) -> None:
        """Wait until the page has all that was sent."""
        while self._sizes:
            await self._change()

    async def remind(self) -> None:
        """Tell the page what was sent while it does not confirm; end the watch if it never does."""
        reminders = 0
        while True:
            while not self._sizes:
                reminders = 0
                await self._change()
            oldest = next(iter(self._sizes))
            await asyncio.sleep(_REMIND_S * 2**reminders)
            if self._sizes and next(iter(self._sizes)) == oldest:
                reminders += 1
                if reminders > _MAX_REMINDERS:
                    self.end()
                    return
                self._send({"id": self.name, "sent": self._sent})
            else:
                reminders = 0

    async def _change(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    def end(self) -> None:
        for task in self.tasks:
            task.cancel()


async def gathered(
    pages: AsyncGenerator[list[Received], None],
) -> AsyncGenerator[list[Received], None]:
    """Yield all that has arrived each time, however small its pages are; it reads a batch ahead."""
    held: list[Received] = []
    size = 0
    more, room = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        nonlocal size
        async with aclosing(pages):
            async for page in pages:
                held.extend(page)
                more.set()
                size += sum(len(received.text) for received in page)
                while size >= MAX_BATCH_BYTES:
                    room.clear()
                    await room.wait()

    reading = asyncio.create_task(read())
    reading.add_done_callback(lambda _: more.set())
    try:
        while held or not reading.done():
            if held:
                page = held.copy()
                held.clear()
                size = 0
                room.set()
                yield page
            else:
                more.clear()
                await more.wait()
        await reading
    finally:
        reading.cancel()
        await asyncio.wait({reading})


def batches_of(page: list[Received]) -> list[list[Received]]:
    batches: list[list[Received]] = []
    size = 0
    for received in page:
        size += len(received.text)
        if not batches or size > MAX_BATCH_BYTES:
            batches.append([])
            size = len(received.text)
        batches[-1].append(received)
    return batches
