"""What is behind a request's `receive` under uvicorn, whoever started that.

ASGI gives an application neither its socket nor the framing of its answer. uvicorn's `receive` is a
method of what has both: its `RequestResponseCycle`. Under another server, and behind middleware
that wraps `receive`, there is nothing to be found.
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.types import Receive, Send

__all__ = ("transport_behind", "without_chunks")


def transport_behind(receive: Receive) -> asyncio.Transport | None:
    """Return the transport of a request; None where it cannot be seen."""
    found: asyncio.Transport | None = getattr(_cycle_behind(receive), "transport", None)
    return found if callable(getattr(found, "get_extra_info", None)) else None


def without_chunks(receive: Receive, send: Send) -> Send:
    """Return a `send` for a client of HTTP/1.0, which knows no chunks.

    With httptools uvicorn sends chunks to any client. An answer of unknown length ends with its
    connection instead. Source: RFC 9112 §6.1 and §6.3.
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
        elif is_unframed:  # each piece is as long as uvicorn is to expect
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    return sending


def _cycle_behind(receive: Receive) -> Any:
    return getattr(receive, "__self__", None)
