"""Driving a function of each kind to its end, writing what it yields."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

from runcast._producing.writer import Writer
from runcast._producing.yields import Yields
from runcast.errors import Cancelled, RuncastError, RunClosed, Stale
from runcast.events.outcome import Outcome, done, is_clean_exit

__all__ = ("drive_async", "drive_in_thread")

_END: Final = object()

_OVER: Final = (RunClosed, Stale)
"""Nothing can be yielded any more: the generator is closed, and not asked what it makes of it."""


def drive_in_thread(
    call: Callable[..., Any],
    arguments: dict[str, Any],
    writer: Writer,
    on_stream: Callable[[], None],
) -> Outcome:
    """Run a sync function or generator to its end, in the thread that calls this.

    Args:
        on_stream: called if what the function returned yields what it does.

    Raises whatever the function raises; `Cancelled` when it was cancelled.
    """
    returned = call(**arguments)
    if inspect.isawaitable(returned) or inspect.isasyncgen(returned):
        # A wrapper hid that the function is async: it gets a loop of its own, in this thread.
        return asyncio.run(_drive(returned, writer, on_stream))
    if not inspect.isgenerator(returned):
        return done(returned)
    on_stream()
    yields = Yields(writer)
    try:
        item = next(returned)
        while True:
            try:
                writer.check_cancelled()
                yields.take(item)
            except _OVER:
                raise
            except (RuncastError, Cancelled) as error:
                # Raised where the item was yielded: the function may handle it and go on.
                item = returned.throw(error)
            else:
                item = next(returned)
    except StopIteration as stop:
        return yields.outcome(stop.value)
    except BaseException as error:
        if is_clean_exit(error):
            return yields.outcome()
        yields.flush()
        raise
    finally:
        returned.close()


async def drive_async(
    call: Callable[..., Any],
    arguments: dict[str, Any],
    writer: Writer,
    on_stream: Callable[[], None],
) -> Outcome:
    """Run a coroutine function or async generator to its end, in the current task.

    Args:
        on_stream: as that of `drive_in_thread`.
    """
    return await _drive(call(**arguments), writer, on_stream)


async def _drive(returned: Any, writer: Writer, on_stream: Callable[[], None]) -> Outcome:
    if inspect.isawaitable(returned):
        returned = await returned
    if not inspect.isasyncgen(returned):
        return done(returned)
    on_stream()
    yields = Yields(writer)
    try:
        async with aclosing(returned):
            item = await anext(returned, _END)
            while item is not _END:
                # Others run, too, when a generator never waits; and there is room for the item.
                await asyncio.sleep(0)
                await writer.drain()
                try:
                    yields.take(item)
                except _OVER:
                    raise
                except RuncastError as error:
                    item = await _throw(returned, error)
                else:
                    item = await anext(returned, _END)
    except BaseException as error:
        if not is_clean_exit(error):
            yields.flush()
            raise
    return yields.outcome()


async def _throw(generator: AsyncGenerator[Any, Any], error: Exception) -> object:
    try:
        return await generator.athrow(error)
    except StopAsyncIteration:
        return _END
