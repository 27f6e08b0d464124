"""Access to uvicorn's objects behind a request's `receive`.

ASGI gives an application neither its socket nor the framing of its response. uvicorn's `receive` is
a method of its `RequestResponseCycle`, which has both. Under another server, and behind middleware
that wraps `receive`, nothing is found.
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.types import Receive, Send

__all__ = ("has_whole_body", "transport_behind", "without_chunks")


def transport_behind(receive: Receive) -> asyncio.Transport | None:
    """Return the transport of a request; None if it cannot be found."""
    found: asyncio.Transport | None = getattr(_cycle_behind(receive), "transport", None)
    return found if callable(getattr(found, "get_extra_info", None)) else None


def has_whole_body(receive: Receive) -> bool:
    """Return whether all of a request's body has arrived, so that reading it cannot wait."""
    return getattr(_cycle_behind(receive), "more_body", True) is False


def without_chunks(receive: Receive, send: Send) -> Send:
    """Return a `send` for an HTTP/1.0 client, which does not understand chunks.

    With httptools uvicorn sends chunks to every client. Here a response of unknown length ends
    with its connection instead. Source: RFC 9112 §6.1 and §6.3.
    """
    cycle = _cycle_behind(receive)
    if not hasattr(cycle, "chunked_encoding"):
        return send

    is_unframed = False

    async def sending(message: MutableMapping[str, Any]) -> None:
        nonlocal is_unframed
        if message["type"] == "http.response.start":
            named = {name.lower() for name, _ in message.get("headers", ())}
            is_unframed = b"content-length" not in named
            if is_unframed:
                cycle.chunked_encoding = cycle.keep_alive = False
        elif is_unframed:  # tell uvicorn to expect exactly this piece
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    return sending


def _cycle_behind(receive: Receive) -> Any:
    return getattr(receive, "__self__", None)
