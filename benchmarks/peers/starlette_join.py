"""Starlette, by a careful hand: whatever waits in the queue goes out in one write."""

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from benchmarks.peers.broadcast import Broadcast
from benchmarks.peers.publisher import WithPublisher
from benchmarks.peers.starlette_queue import encode_frame

streams = Broadcast(encode_frame)


async def joined_frames(stream: str) -> AsyncIterator[bytes]:
    async for batch in streams.batches(stream):
        yield b"".join(batch)


async def watch(request: Request) -> StreamingResponse:
    frames = joined_frames(request.path_params["stream"])
    return StreamingResponse(frames, media_type="text/event-stream")


app = WithPublisher(
    Starlette(routes=[Route("/sse/{stream}", watch)]), streams.publish, fill=streams.fill
)
