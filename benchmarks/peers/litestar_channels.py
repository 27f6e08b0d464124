"""Litestar: its channels plugin (memory backend) behind a ServerSentEvent response."""

from collections.abc import AsyncIterator
from typing import Any, cast

from litestar import Litestar, get
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.response import ServerSentEvent, ServerSentEventMessage

from benchmarks.peers.publisher import Event, WithPublisher, encode_json

channels = ChannelsPlugin(backend=MemoryChannelsBackend(), arbitrary_channels_allowed=True)


@get("/sse/{stream:str}")
async def watch(stream: str) -> ServerSentEvent:
    async def messages() -> AsyncIterator[ServerSentEventMessage]:
        async with channels.start_subscription([stream]) as subscriber:
            async for text in subscriber.iter_events():
                yield ServerSentEventMessage(data=text.decode())

    return ServerSentEvent(messages())


def publish(stream: str, event: Event) -> None:
    channels.publish(encode_json(event), stream)


app = WithPublisher(cast("Any", Litestar([watch], plugins=[channels])), publish)
