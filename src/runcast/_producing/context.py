"""Write to the current run from anywhere, without passing a writer around.

A context variable holds the current writer. Coroutines, tasks and `asyncio.to_thread` inherit it.
Raw threads and executors do not; use `bind` for functions that they call. Outside a run all
functions here do nothing, so that code which reports can be used and tested on its own.
"""

import functools
import inspect
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, Token
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, Unpack, cast, overload

from runcast._producing.answers import Asked
from runcast._producing.calls import NOTHING, Flushed, PlaceFields, Waited, not_a_place, place_of
from runcast._producing.inbox import Inbox
from runcast._producing.writer import Writer
from runcast.errors import InvalidValue
from runcast.events.position import Position

__all__ = (
    "ask",
    "bind",
    "content",
    "current_writer",
    "drain",
    "emit",
    "enter",
    "flush",
    "inbox",
    "keep",
    "leave",
    "log",
    "progress",
    "run_id_in",
    "track",
    "using",
    "workspace",
    "write_everywhere",
)

P = ParamSpec("P")
T = TypeVar("T")

_writer: Final[ContextVar[Writer | None]] = ContextVar("runcast_writer")


class _Everywhere:
    """The writer where no other is the current one: in threads that were started by hand, too."""

    writer: Writer | None = None


_EVERYWHERE: Final = _Everywhere()

_TRACK_EVERY_S: Final = 0.1
"""Least time between two reports of `track`, seconds: faster than anybody reads."""


def current_writer() -> Writer | None:
    """Return the writer of the current run; None outside a run."""
    return _writer.get(_EVERYWHERE.writer)


def run_id_in(context: Context) -> str:
    """Return the id of a context's run, or ""."""
    writer = context.get(_writer)
    return writer.run_id if writer is not None else ""


def write_everywhere(writer: Writer | None) -> None:
    """Make a writer the current one wherever no other is: for a process that is one run."""
    _EVERYWHERE.writer = writer


@contextmanager
def using(writer: Writer | None) -> Iterator[None]:
    """Make a writer the current one inside the block; with None nothing is written."""
    token = _writer.set(writer)
    try:
        yield
    finally:
        _writer.reset(token)


def enter(writer: Writer) -> Token[Writer | None]:
    """Make a writer the current one until `leave` is called with the returned token."""
    return _writer.set(writer)


def leave(token: Token[Writer | None] | None) -> None:
    """Restore the writer that was current before `enter`."""
    if token is not None:
        with suppress(ValueError):  # left in another context than entered
            _writer.reset(token)


def bind(function: Callable[P, T], writer: Writer | None = None) -> Callable[P, T]:
    """Return a function that writes to this run (or `writer`) in any thread that calls it.

    If it is bound outside a run, it writes nowhere. Coroutine functions can also be bound.

    Raises:
        InvalidValue: `function` is a generator function, whose body does not run at the call (bind
            the function that iterates over it), or it is not callable.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidValue("expected no generator function; bind what iterates over it")
    if not callable(function):
        raise InvalidValue(f"expected a callable, got {function!r:.80}")
    bound = writer if writer is not None else _writer.get(_EVERYWHERE.writer)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            with using(bound):
                return await function(*args, **kwargs)

        return cast("Callable[P, T]", call_async)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        # Like `using`, but without its generator, because this may be called for every event.
        token = _writer.set(bound)
        try:
            return function(*args, **kwargs)
        finally:
            _writer.reset(token)

    return call


def emit(
    type: str,  # noqa: A002 - the field's name
    data: object = None,
    **place: Unpack[PlaceFields],
) -> None:
    """Append an event to the current run; see `Writer.emit`."""
    where = None
    if place:
        try:
            where = place_of(**place)
        except TypeError:
            raise not_a_place(type, place) from None
    writer = _writer.get(_EVERYWHERE.writer)
    if writer is not None:
        writer.emit_at(where, type, data)  # faster than passing keywords on


def progress(
    current: float | None = None,
    total: float | None = None,
    message: str = "",
    *,
    percent: float | None = None,
    **more: object,
) -> None:
    """Report progress of the current run; see `Writer.progress`."""
    writer = _writer.get(_EVERYWHERE.writer)
    if writer is not None:
        writer.progress(current, total, message, percent=percent, **more)  # type: ignore[arg-type]


def log(message: object, level: str = "info", *, logger: str = "") -> None:
    """Append a log line to the current run; see `Writer.log`."""
    writer = _writer.get(_EVERYWHERE.writer)
    if writer is not None:
        writer.log(message, level, logger=logger)


def content(
    text: str,
    *,
    message_id: str = "",
    attempt: int = 1,
    node: str = "",
    agent: str = "",
    path: Sequence[str] = (),
) -> None:
    """Append a piece of text to the current run; see `Writer.content`."""
    writer = _writer.get(_EVERYWHERE.writer)
    if writer is not None:
        writer.content(
            text, message_id=message_id, attempt=attempt, node=node, agent=agent, path=path
        )


def ask(
    message: str,
    *,
    action: str = "",
    args: object = None,
    config: Mapping[str, Any] | None = None,
    timeout_s: float | None = None,
    interrupt_id: str = "",
    node: str = "",
    agent: str = "",
    keep: object = None,
) -> Asked:
    """Ask the run's watchers and wait for the answer; see `Writer.ask`.

    Raises:
        InvalidValue: outside a run nobody can answer.
    """
    writer = _writer.get(_EVERYWHERE.writer)
    if writer is None:
        raise InvalidValue("expected ask() inside a run: outside there is nobody to answer")
    return writer.ask(
        message,
        action=action,
        args=args,
        config=config,
        timeout_s=timeout_s,
        interrupt_id=interrupt_id,
        node=node,
        agent=agent,
        keep=keep,
    )


def keep(value: object) -> Waited[None]:
    """Keep a value for the next attempt of the current run; see `Writer.keep`. Outside a run it
    does nothing."""
    writer = _writer.get(_EVERYWHERE.writer)
    return writer.keep(value) if writer is not None else NOTHING


def inbox() -> Inbox:
    """Return the messages that are sent into the current run; see `Inbox`.

    Raises:
        InvalidValue: outside a run nobody can send any.
    """
    writer = _writer.get(_EVERYWHERE.writer)
    if writer is None:
        raise InvalidValue("expected inbox() inside a run: outside there is none to send to")
    return writer.inbox()


def workspace() -> Path:
    """Return the working directory of the current run; see `Writer.workspace`.

    Outside a run it is the process's working directory, so that a function finds its files.
    """
    writer = _writer.get(_EVERYWHERE.writer)
    return writer.workspace() if writer is not None else Path.cwd()


def flush() -> Flushed[Position | None]:
    """Wait until everything emitted so far is committed, and return its position.

    `await` it in a coroutine; a thread waits in it. Outside a run it does nothing, and awaiting it
    gives None.
    """
    writer = _writer.get(_EVERYWHERE.writer)
    return cast("Flushed[Position | None]", writer.flush() if writer is not None else NOTHING)


def drain() -> Waited[None]:
    """Wait until there is room for more events; for coroutines that emit many.

    `await` it in a coroutine; a thread waits in it.
    """
    writer = _writer.get(_EVERYWHERE.writer)
    return writer.drain() if writer is not None else NOTHING


@overload
def track(
    items: AsyncIterable[T], total: float | None = None, message: str = ""
) -> AsyncIterator[T]: ...
@overload
def track(items: Iterable[T], total: float | None = None, message: str = "") -> Iterator[T]: ...
def track(
    items: Iterable[T] | AsyncIterable[T], total: float | None = None, message: str = ""
) -> Iterator[T] | AsyncIterator[T]:
    """Iterate over items and report the progress: at most ten times a second, and at the end.

    Args:
        total: number of items; by default `len(items)`, if it has a length.
        message: shown beside the bar.
    """
    if total is None:
        try:
            total = len(items)  # type: ignore[arg-type]
        except TypeError:
            total = None
    meter = _Meter(total, message)
    if isinstance(items, AsyncIterable):
        return _track_async(items, meter)
    return _track(items, meter)


class _Meter:
    """Counts items, and reports the progress."""

    def __init__(self, total: float | None, message: str) -> None:
        self._total = total
        self._message = message
        self._count = 0
        self._due = 0.0

    def step(self) -> None:
        writer = _writer.get(_EVERYWHERE.writer)
        if writer is not None and (now := writer.clock.monotonic()) >= self._due:
            self._due = now + _TRACK_EVERY_S
            self.report()
        self._count += 1

    def report(self) -> None:
        progress(self._count, self._total, self._message)


def _track(items: Iterable[T], meter: _Meter) -> Iterator[T]:
    for item in items:
        meter.step()
        yield item
    meter.report()


async def _track_async(items: AsyncIterable[T], meter: _Meter) -> AsyncIterator[T]:
    async for item in items:
        meter.step()
        yield item
    meter.report()
