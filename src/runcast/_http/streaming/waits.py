"""Bounded waits for and with clients; a wait ends when the client or the server leaves."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Send

from runcast._clock import Clock
from runcast._http.server.cycle import has_whole_body
from runcast._settings import Settings
from runcast.errors import BodyTooLarge, InvalidValue, Overloaded, RequestTooSlow, RuncastError

__all__ = ("read_body", "read_pieces", "send_on", "wait_with")

T = TypeVar("T")

_LAST_BODY_S: Final = 0.5
"""How long the rest of a body may still take when the server ends: it is on its way already."""

_LEAST_BYTES_PER_S: Final = 1024
"""Least average speed of a body that is not bounded in time."""


async def read_body(
    request: Request, settings: Settings, closing: asyncio.Event, most: int = 0
) -> bytes:
    """Return a request's body.

    Args:
        most: fewer bytes than `max_body_bytes` that it may have; 0: no other limit.

    Raises:
        InvalidValue: the body is compressed.
        BodyTooLarge: the body is larger than `max_body_bytes`, or announces that it will be.
        RequestTooSlow: the body did not arrive within `request_wait_s`.
        Overloaded: the server is shutting down.
        InvalidValue: the server dropped the body (`_check_whole`).
        ClientDisconnect: the client left.
    """
    _check_encoding(request)
    limit = min(most or settings.max_body_bytes, settings.max_body_bytes)
    name = "" if most == limit else " (max_body_bytes)"
    refusal = BodyTooLarge(f"expected a body of at most {limit} bytes{name}")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and len(announced) < 20 and int(announced) > limit:
        raise refusal

    async def read() -> bytes:
        parts, size = list[bytes](), 0
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            if size > limit:
                raise refusal
        return b"".join(parts)

    if has_whole_body(request.receive):
        body: bytes | None = await read()  # without the tasks of a wait
    else:
        body = await _unless(closing, read(), settings.request_wait_s, _LAST_BODY_S)
    if body is None:
        raise _ending(closing, settings)
    _check_whole(request, len(body))
    return body


def _check_whole(request: Request, size: int) -> None:
    """Refuse a body that the server in front of us has dropped.

    uvicorn with httptools takes the head of a request that offers another protocol for the whole
    request. `runcast serve` does not.
    """
    fields = request.headers
    if "upgrade" not in fields:
        return
    announced = fields.get("content-length", "0")
    is_short = announced.isdigit() and len(announced) < 20 and size < int(announced)
    if is_short or ("transfer-encoding" in fields and not size):
        raise InvalidValue(
            "expected the body that the request announces, got "
            f"{size} bytes: this server drops a body behind `Upgrade: {fields['upgrade'][:40]}`; "
            "send the request without Upgrade (curl --http1.1)"
        )


def _check_encoding(request: Request) -> None:
    """Raise `InvalidValue` if a body is compressed: stored unchanged, it would be another body."""
    given = request.headers.get("content-encoding", "identity").strip().lower()
    if given not in ("", "identity"):
        raise InvalidValue(
            f"expected a body without Content-Encoding, got {given[:40]!r}: send it uncompressed"
        )


def _ending(closing: asyncio.Event, settings: Settings) -> RuncastError:
    """Return the error for a body that did not arrive in time."""
    if closing.is_set():
        return Overloaded("the server is shutting down; try another or again later")
    return RequestTooSlow(
        f"expected the body within {settings.request_wait_s:g} s (request_wait_s)"
    )


async def read_pieces(
    request: Request, settings: Settings, clock: Clock, closing: asyncio.Event
) -> AsyncIterator[bytes]:
    """Yield a request's body as it arrives; a large body may take long.

    Raises:
        InvalidValue: the body is compressed.
        RequestTooSlow: nothing arrived for `request_wait_s`, or very little for longer.
        Overloaded: the server is shutting down.
        InvalidValue: the server dropped the body (`_check_whole`).
        ClientDisconnect: the client left.
    """
    _check_encoding(request)
    pieces = request.stream()
    waited_s, size = 0.0, 0

    async def take() -> bytes:
        return await anext(pieces, b"")

    while True:
        began = clock.monotonic()
        piece = await _unless(closing, take(), settings.request_wait_s)
        if piece == b"":
            _check_whole(request, size)
            return
        waited_s += clock.monotonic() - began
        size += len(piece or b"")
        is_slow = waited_s > settings.request_wait_s and size < waited_s * _LEAST_BYTES_PER_S
        if piece is None or is_slow:
            raise _ending(closing, settings)
        yield piece


async def send_on(send: Send, message: Message, stall_s: float, unsent: Callable[[], int]) -> None:
    """Send a message. It may take any time as long as the client takes some data.

    Args:
        unsent: returns how many bytes the client has yet to take; constant if unknown.

    Raises:
        TimeoutError: the client took nothing for `stall_s`.
    """
    sending = asyncio.ensure_future(send(message))
    try:
        while True:
            before = unsent()
            await asyncio.wait({sending}, timeout=stall_s)
            if sending.done():
                return sending.result()
            if unsent() >= before:
                raise TimeoutError
    finally:
        await _end(sending)


async def wait_with(
    request: Request,
    awaited: Coroutine[Any, Any, T],
    closing: asyncio.Event,
    *,
    grace_s: float = 0.0,
) -> T | None:
    """Wait for a result while the client and the server stay.

    Args:
        grace_s: how much longer to wait when the server ends.

    Returns:
        The result, or None if the server ended before.

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
    """Return the result; None if it took too long, or the server ended."""
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
