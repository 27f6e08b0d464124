"""Waiting for clients, and with them: never for ever, and not once they or the server leave."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from runcast.errors import BodyTooLarge, Overloaded, RequestTooSlow
from runcast.settings import Settings

__all__ = ("read_body", "wait_with")

T = TypeVar("T")


async def read_body(request: Request, settings: Settings, closing: asyncio.Event) -> bytes:
    """Return a request's body.

    Raises:
        BodyTooLarge: it is larger than `max_body_bytes`, or says that it will be.
        RequestTooSlow: it did not arrive within `request_wait_s`.
        Overloaded: the server ends.
        ClientDisconnect: the client left.
    """
    limit = settings.max_body_bytes
    refusal = BodyTooLarge(f"expected a body of at most {limit} bytes (max_body_bytes)")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and len(announced) < 20 and int(announced) > limit:
        raise refusal

    async def read() -> bytes:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > limit:
                raise refusal
        return bytes(body)

    body = await _unless(closing, read(), settings.request_wait_s)
    if body is not None:
        return body
    if closing.is_set():
        raise Overloaded("the server is shutting down; try another or again later")
    raise RequestTooSlow(f"expected the body within {settings.request_wait_s:g} s (request_wait_s)")


async def wait_with(
    request: Request,
    awaited: Coroutine[Any, Any, T],
    closing: asyncio.Event,
    *,
    grace_s: float = 0.0,
) -> T | None:
    """Wait for something as long as the client stays, and the server.

    Args:
        grace_s: how long to wait on once the server ends.

    Returns:
        What was awaited; None if the server ended before.

    Raises:
        ClientDisconnect: the client left before. The request's body must have been read.
    """

    async def leave() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        raise ClientDisconnect

    async def wait() -> T:
        waiting = asyncio.ensure_future(awaited)
        leaving = asyncio.ensure_future(leave())
        try:
            await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done() and not waiting.done():
                leaving.result()
            return await waiting
        finally:
            await _end(waiting, leaving)

    return await _unless(closing, wait(), None, grace_s)


async def _unless(
    closing: asyncio.Event,
    awaited: Coroutine[Any, Any, T],
    timeout_s: float | None,
    grace_s: float = 0.0,
) -> T | None:
    """Return what was awaited; None if it took too long, or the server ended."""
    waiting = asyncio.ensure_future(awaited)
    ending = asyncio.ensure_future(closing.wait())
    try:
        await asyncio.wait(
            {waiting, ending}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if not waiting.done() and ending.done() and grace_s:
            await asyncio.wait({waiting}, timeout=grace_s)
        return waiting.result() if waiting.done() else None
    finally:
        await _end(waiting, ending)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
