"""The next frames of a stream as a whole answer (long-poll), where streams are held back."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from runcast._http.api.responses import SAFE_HEADERS
from runcast._http.guard.gate import Gate
from runcast._http.streaming.feeds import SSE
from runcast._http.streaming.waits import wait_with
from runcast._hub.watcher import Source, Watch
from runcast.errors import InvalidValue

__all__ = ("is_long_poll", "whole_answer")


def is_long_poll(query: Mapping[str, str]) -> bool:
    """Return whether a list or a thread is asked for its next frames alone.

    Raises `InvalidValue`.
    """
    live = query.get("live", "true")
    if live not in ("true", "long-poll"):
        raise InvalidValue(f"expected live to be true or long-poll, got {live[:80]!r}")
    return live == "long-poll"


async def whole_answer(
    request: Request,
    gate: Gate,
    make: Callable[[Callable[[], None]], Source[bytes]],
    closing: asyncio.Event,
    *,
    wait_s: float,
) -> Response:
    """Return the frames that come next, once there are some; none after a while (R-9.5).

    It ends early, too, if the server ends, or once the request may see other runs.

    Args:
        make: makes the source of the frames, from what wakes its watcher.

    Raises what the source raises.
    """
    parts: list[bytes] = []
    with Watch[bytes]() as watch:
        watch.source = make(watch.wake)

        async def gather() -> None:
            # A frame without data only moves the position.
            while (part := await watch.next()) is not None:
                parts.append(part)
                if b"data: " in part:
                    return

        gathering = asyncio.ensure_future(gather())

        def stop() -> None:
            gathering.cancel()

        held = gate.add_list(request, stop)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await wait_with(request, _settled(gathering), closing)
        finally:
            if held is not None:
                held.forget()
            gathering.cancel()
            await asyncio.wait({gathering})
        if not gathering.cancelled():
            gathering.result()
    headers = {**SAFE_HEADERS, "cache-control": "no-store"}
    return Response(b"".join(parts), headers=headers, media_type=SSE.content_type)


async def _settled(task: asyncio.Future[None]) -> None:
    await asyncio.wait({task})
