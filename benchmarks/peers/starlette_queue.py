"""Starlette: a StreamingResponse that yields the frames of a queue, one write for each event."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from benchmarks.peers.broadcast import Broadcast
from benchmarks.peers.publisher import Event, WithPublisher, encode_json


def encode_frame(event: Event) -> bytes:
    return f"data: {encode_json(event)}\n\n".encode()


streams = Broadcast(encode_frame)


async def watch(request: Request) -> StreamingResponse:
    items = streams.items(request.path_params["stream"])
    return StreamingResponse(items, media_type="text/event-stream")


app = WithPublisher(
    Starlette(routes=[Route("/sse/{stream}", watch)]), streams.publish, fill=streams.fill
)
