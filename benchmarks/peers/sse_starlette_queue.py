"""sse-starlette: an EventSourceResponse over a queue for each watcher."""

from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from benchmarks.peers.broadcast import Broadcast
from benchmarks.peers.publisher import WithPublisher, encode_json

streams = Broadcast(encode_json)


async def server_sent_events(stream: str) -> AsyncIterator[ServerSentEvent]:
    async for text in streams.items(stream):
        yield ServerSentEvent(data=text)


async def watch(request: Request) -> EventSourceResponse:
    return EventSourceResponse(server_sent_events(request.path_params["stream"]))


app = WithPublisher(
    Starlette(routes=[Route("/sse/{stream}", watch)]), streams.publish, fill=streams.fill
)
