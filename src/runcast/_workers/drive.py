"""Drive a function of any kind to its end: write its yielded items, and return its outcome.

| yielded | becomes |
|---|---|
| an `Event` | that event |
| a dict with a string `type` | an event of that type with its `data`, or else its other fields |
| a string | `content{text}` |
| None | nothing: such a yield only allows cancelling |
| anything else | `result{value}` |

A yielded `done` is held back until the generator returns, because only then the run has ended; its
data becomes the `summary`. A yielded `error` is held back until the generator continues or returns:
if it continues, it survived the error; if it returns, the run has failed.
"""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, Final

from runcast._producing.returned import find_runner
from runcast._producing.writer import Writer
from runcast.errors import Cancelled, RuncastError, RunClosed, Stale
from runcast.events.model import Event, as_stored
from runcast.events.outcome import Outcome, cancelled, done, failed, failed_with, is_clean_exit
from runcast.events.vocabulary import DELTA_TYPES, as_text, pick

__all__ = (
    "Yields",
    "as_event",
    "drive_async",
    "drive_in_thread",
    "outcome_of",
)


def outcome_of(error: BaseException) -> Outcome:
    """Return the outcome of a run whose function raised; the run may have been cancelled."""
    if is_clean_exit(error):
        return done()
    if isinstance(error, Cancelled):
        return cancelled(str(error))
    if isinstance(error, asyncio.CancelledError):
        return cancelled("the function cancelled itself")
    return failed_with(error)


_END: Final = object()

_OVER: Final = (RunClosed, Stale)
"""The run has ended: close the generator without throwing the error into it."""


def drive_in_thread(
    call: Callable[..., Any],
    arguments: dict[str, Any],
    writer: Writer,
    on_stream: Callable[[], None],
) -> Outcome:
    """Run a sync function or generator to its end, in the calling thread.

    Args:
        on_stream: called if the function returned an iterator of events.

    Raises what the function raises, or `Cancelled` if it was cancelled.
    """
    returned = call(**arguments)
    if inspect.isawaitable(returned) or inspect.isasyncgen(returned):
        # A wrapper hid that the function is async: run it on its own loop, in this thread.
        inputs = partial(_with_defaults, call, arguments)
        return asyncio.run(_drive(returned, inputs, writer, on_stream))
    if not inspect.isgenerator(returned):
        runner = find_runner(returned)
        return done(returned if runner is None else runner.run(_with_defaults(call, arguments)))
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
                # Raise the error at the yield: the function may handle it and continue.
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
        on_stream: as for `drive_in_thread`.
    """
    inputs = partial(_with_defaults, call, arguments)
    return await _drive(call(**arguments), inputs, writer, on_stream)


def _with_defaults(call: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a call's arguments together with the defaults of its other parameters."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return arguments
    defaults = {it.name: it.default for it in parameters if it.default is not it.empty}
    return {**defaults, **arguments}


async def _drive(
    returned: Any,
    inputs: Callable[[], dict[str, Any]],
    writer: Writer,
    on_stream: Callable[[], None],
) -> Outcome:
    if inspect.isawaitable(returned):
        returned = await returned
    if not inspect.isasyncgen(returned):
        runner = find_runner(returned)
        return done(returned if runner is None else await runner.run_async(inputs()))
    on_stream()
    yields = Yields(writer)
    try:
        async with aclosing(returned):
            item = await anext(returned, _END)
            while item is not _END:
                # Let other tasks run even if the generator never waits, and wait for room.
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


_PLACE: Final = ("node", "agent", "path", "duration")

_NOT_DATA: Final = frozenset({"type", "error_code", "metadata", *_PLACE})
"""Fields of a yielded dict without `data` that do not become part of its data."""


class Yields:
    """Writes one generator's items, and returns its outcome at the end."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._summary: object = None
        self._error: dict[str, Any] | None = None

    def take(self, item: object) -> None:
        """Write one item. Raises what `Writer.emit` raises."""
        if item is None:
            return
        event = as_event(item)
        self._write_error()
        # Refuse now what could not be stored at the end.
        most = self._writer.max_event_bytes
        if event.type == "done":
            data = as_stored("done", {"summary": event.data}, max_bytes=most).data
            self._summary = data["summary"]
        elif event.type == "error":
            error = as_stored("error", _error_data(event.data), max_bytes=most).data
            as_stored("failed", _failure(error).data, max_bytes=most)
            self._error = error
        else:
            self._writer.emit_event(event)

    def outcome(self, result: object = None) -> Outcome:
        """Return the run's outcome after the generator has returned `result`."""
        if self._error is None:
            return done(result, self._summary)
        return _failure(self._error)

    def flush(self) -> None:
        """Write held items after the generator has ended in another way."""
        with suppress(RuncastError, Cancelled):
            self._write_error()

    def _write_error(self) -> None:
        if self._error is not None:
            self._writer.emit("error", self._error)  # kept if it is refused
            self._error = None


def _failure(error: dict[str, Any]) -> Outcome:
    """Return the outcome of a run whose last item was an error."""
    code = as_text(error.get("code", "error"))
    ending = failed(error["message"], code, retryable=error.get("retryable") is True)
    return ending._replace(data={**error, **ending.data})


def as_event(item: object) -> Event:
    """Return the event for a yielded item."""
    if isinstance(item, Event):
        return item
    if isinstance(item, str):
        return Event(type="content", data={"text": item})
    if isinstance(item, Mapping) and isinstance(item.get("type"), str):
        return _from_mapping(item)
    return Event(type="result", data={"value": item})


def _from_mapping(item: Mapping[str, Any]) -> Event:
    rest = {name: value for name, value in item.items() if name not in _NOT_DATA}
    kind, data = item["type"], item.get("data", rest or None)
    if kind in DELTA_TYPES and isinstance(data, str):
        data = {"text": data}
    elif kind == "error":
        data = _error_data(data)
        if item.get("error_code") is not None:
            data["code"] = as_text(item["error_code"])
    if item.get("metadata") is not None and isinstance(data, dict):
        data = {"metadata": item["metadata"], **data}
    place = {name: item[name] for name in _PLACE if item.get(name) is not None}
    return Event(type=kind, data=data, **place)


def _error_data(data: object) -> dict[str, Any]:
    fields = dict(data) if isinstance(data, Mapping) else {}
    message = pick(fields, "message", "error", "content")
    if message is None:
        message = data
    return {
        **fields,
        "message": str(message) if isinstance(message, Exception) else as_text(message),
    }
