"""One chat message that is edited while tokens arrive, with the documented names.

    handler = StreamingHandler(chain)
    await handler.start_streaming(channel="Telegram", user_id="7")
    handler.emit(token)                      # from any thread
    if not await handler.stop_streaming():
        send(await handler.take())           # what is not on the screen yet

`chain` has `send_direct_message(notification)` and `edit_message(…)`, sync or async.

New: sync calls of the chain run in a thread of their own; the text is never there twice; a limit of
length begins the next message at a good place; a refused edit is repeated at the pace that the
server asks for (an exception with `retry_after`, seconds); `emit` takes content blocks, too.
`stop_streaming` returns True if nothing must be sent again: also if nobody knows whether the
platform has taken a message.
"""

from runcast.compat.streaming_handler.capabilities import (
    ChannelCapabilities,
    ChannelCapability,
    ChannelCapabilityHandover,
    ChannelCapabilityManager,
    MessageChannel,
)
from runcast.compat.streaming_handler.handler import Chain, StreamingHandler
from runcast.compat.streaming_handler.messages import MessageResponse, Notification

__all__ = (
    "Chain",
    "ChannelCapabilities",
    "ChannelCapability",
    "ChannelCapabilityHandover",
    "ChannelCapabilityManager",
    "MessageChannel",
    "MessageResponse",
    "Notification",
    "StreamingHandler",
)
