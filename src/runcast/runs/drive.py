"""Driving a function of each kind to its end, writing what it yields."""

import asyncio
import inspect
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from runcast.errors import Cancelled, RuncastError
from runcast.runs.outcome import done
from runcast.runs.protocols import Ending
from runcast.runs.writer import Writer
from runcast.runs.yields import Yields

__all__ = ("drive_async", "drive_in_thread")


def drive_in_thread(call: Callable[..., Any], arguments: dict[str, Any], writer: Writer) -> Ending:
    """Run a sync function or generator to its end, in the thread that calls this.

    Raises whatever the function raises; `Cancelled` when it was cancelled.
    """
    returned = call(**arguments)
    if not inspect.isgenerator(returned):
        return done(returned)
    yields = Yields(writer)
    try:
        item = next(returned)
        while True:
            try:
                writer.check_cancelled()
                yields.take(item)
            except (RuncastError, Cancelled) as error:
                # Raised where the item was yielded: the function may handle it and go on.
                item = returned.throw(error)
            else:
                item = next(returned)
    except StopIteration as stop:
        return yields.outcome(stop.value)
    finally:
        returned.close()


async def drive_async(
    call: Callable[..., Any], arguments: dict[str, Any], writer: Writer
) -> Ending:
    """Run a coroutine function or async generator to its end, in the current task."""
    returned = call(**arguments)
    if inspect.isawaitable(returned):
        return done(await returned)
    if not inspect.isasyncgen(returned):
        return done(returned)
    yields = Yields(writer)
    async with aclosing(returned):
        item = await anext(returned, _END)
        while item is not _END:
            try:
                yields.take(item)
            except RuncastError as error:
                try:
                    item = await returned.athrow(error)
                except StopAsyncIteration:
                    break
            else:
                # Also lets others run: a generator that never waits must not hold the loop.
                await writer.drain()
                await asyncio.sleep(0)
                item = await anext(returned, _END)
    return yields.outcome()


_END = object()
