"""The usual way to fan out in one process: a queue for each watcher."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

from benchmarks.peers.publisher import Event

Item = TypeVar("Item")


class Broadcast(Generic[Item]):
    """Streams by name; every watcher of a stream has its own queue, every event is encoded once."""

    def __init__(self, encode: Callable[[Event], Item]) -> None:
        self._encode = encode
        self._queues: defaultdict[str, set[asyncio.Queue[Item]]] = defaultdict(set)
        self._closed: dict[str, list[Item]] = {}

    def publish(self, stream: str, event: Event) -> None:
        """Give the event to every watcher of the stream."""
        item = self._encode(event)
        for queue in self._queues[stream]:
            queue.put_nowait(item)

    def fill(self, stream: str, events: list[Event]) -> None:
        """Make the stream a closed one, whose watchers get these events and the end."""
        self._closed[stream] = [self._encode(event) for event in events]

    async def items(self, stream: str) -> AsyncIterator[Item]:
        """Yield a stream's items one by one."""
        if stream in self._closed:
            for item in self._closed[stream]:
                yield item
            return
        queue: asyncio.Queue[Item] = asyncio.Queue()
        self._queues[stream].add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues[stream].discard(queue)

    async def batches(self, stream: str) -> AsyncIterator[list[Item]]:
        """Yield whatever waits in the queue, all at once."""
        if stream in self._closed:
            yield self._closed[stream]
            return
        queue: asyncio.Queue[Item] = asyncio.Queue()
        self._queues[stream].add(queue)
        try:
            while True:
                batch = [await queue.get()]
                while not queue.empty():
                    batch.append(queue.get_nowait())
                yield batch
        finally:
            self._queues[stream].discard(queue)
