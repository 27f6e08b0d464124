"""The pattern many back ends have: a worker thread waits for the loop at every event.

One bounded queue for each task, filled with `run_coroutine_threadsafe(...).result(5)`, emptied by
the one watcher that the task has, JSON encoded in the response.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from benchmarks.peers.publisher import Event, WithPublisher, encode_json

MOST_WAITING = 1000  # events in a queue
loops: list[asyncio.AbstractEventLoop] = []
queues: defaultdict[str, asyncio.Queue[Event]] = defaultdict(lambda: asyncio.Queue(MOST_WAITING))


async def watch(request: Request) -> StreamingResponse:
    loops[:] = [asyncio.get_running_loop()]
    queue = queues[request.path_params["stream"]]

    async def frames() -> AsyncIterator[bytes]:
        while True:
            event = await asyncio.wait_for(queue.get(), timeout=30.0)
            yield f"data: {encode_json(event)}\n\n".encode()

    return StreamingResponse(frames(), media_type="text/event-stream")


def publish(stream: str, event: Event) -> None:
    queues[stream].put_nowait(event)


def publish_from_thread(stream: str, event: Event) -> None:
    asyncio.run_coroutine_threadsafe(queues[stream].put(event), loops[0]).result(timeout=5.0)


app = WithPublisher(
    Starlette(routes=[Route("/sse/{stream}", watch)]),
    publish,
    publish_from_thread=publish_from_thread,
)
