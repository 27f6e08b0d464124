"""FastAPI's own SSE, with `raw_data`, the cheapest form it offers, so that JSON is encoded once."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent

from benchmarks.peers.broadcast import Broadcast
from benchmarks.peers.publisher import WithPublisher, encode_json

streams = Broadcast(encode_json)
api = FastAPI()


@api.get("/sse/{stream}", response_class=EventSourceResponse)
async def watch(stream: str) -> AsyncIterator[ServerSentEvent]:
    async for text in streams.items(stream):
        yield ServerSentEvent(raw_data=text)


app = WithPublisher(api, streams.publish, fill=streams.fill)
