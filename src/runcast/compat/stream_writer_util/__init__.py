"""Frames pushed from anywhere inside a task to the response that began it.

    queue = create_queue_task(execute, "resize", params)
    while (frame := await queue.get()) is not None:
        yield frame                     # "id: …\\nevent: progress\\ndata: {…}\\n\\n"

The names and their behaviour are those of the module that this one replaces. New: the task is a run
in a hub (`queue.run_id`), so that anybody can watch, replay or cancel it; and

- a stream ends with exactly one outcome. `send_queue(…, "done")` and `send_queue(…, "error")` are
  held back until the next message or the end: the last one sent decides how the run ends. A task
  that sends neither ends with `done` and its return value; a task that raises ends with `error`.
  Any other event, including `end`, is an ordinary event.
- what cannot be sent is refused at the call: with `InvalidValue` if JSON cannot hold the payload or
  the name is not `[a-z][a-z0-9_.-]*`, and with `EventTooLarge` if it exceeds the hub's settings.
  NaN becomes null. Without a task nothing is sent.
- the queue is a cursor over the run's log: it cannot fill up, it ends for every consumer, and a
  consumer that leaves changes nothing. If leaving should end the task, call `queue.cancel()`.
- coroutines, tasks and `asyncio.to_thread` inherit the task's context. Executors and raw threads do
  not: give them `bind(function)`.

Frames are those of the `named` dialect, without `started`.
"""

import asyncio
import contextvars
import functools
import inspect
import weakref
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

from runcast import OpenHub, Writer, current_writer
from runcast._hub.forks import Home, make_lock
from runcast._logs import get_logger
from runcast._wire import sse
from runcast.compat.payloads import (
    OUTCOMES,
    checked_name,
    data_of,
    done_data,
    error_data,
    framed,
    parsed,
    renamed,
)
from runcast.compat.stream_writer_util.task_queue import TaskQueue
from runcast.errors import EventTooLarge, InvalidValue, RuncastError, RunClosed
from runcast.events.model import as_stored
from runcast.events.outcome import Outcome

__all__ = ("MyStreamWriter", "TaskQueue", "bind", "create_queue_task", "send_queue", "task_context")

P = ParamSpec("P")
R = TypeVar("R")

_log: Final = get_logger("runcast.compat")


class _NoTask(dict[str, Any]):
    """The context outside any task: always empty, because all code outside shares it."""

    def _refuse(self, *args: object, **kwargs: object) -> NoReturn:
        raise InvalidValue("expected a task: outside one, set a dict of your own with set({…})")

    __setitem__ = setdefault = update = __ior__ = _refuse


task_context: Final[ContextVar[dict[str, Any]]] = ContextVar(
    "task_context",
    default=_NoTask(),  # noqa: B039 - it is immutable
)
"""The current task's context: `stream_writer`, and the entries of `context_data`."""


class MyStreamWriter:
    """Puts frames into a queue, from any thread.

    `write` never waits, and never raises because the stream has ended: late frames are counted in
    `dropped`, and logged.
    """

    def __init__(self, queue: "asyncio.Queue[Any]", loop: asyncio.AbstractEventLoop) -> None:
        self.queue: asyncio.Queue[Any] | None = queue
        self.loop: asyncio.AbstractEventLoop | None = loop
        self.dropped = 0
        self._is_closed = False
        self._lock = make_lock()
        self._home = Home()

    def write(self, msg: Any) -> None:
        """Put a frame."""
        self._home.check("a frame")
        # Under the lock, so that nothing comes after the end.
        with self._lock:
            if not self._is_closed and self._put(msg):
                return
        self._drop()

    def close(self) -> None:
        """Put the end, None. Idempotent."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._put(None)

    def send(self, msg: Any, event: str) -> None:
        """Put a message as a frame. Raises `InvalidValue`."""
        self.write(framed(checked_name(event), msg))

    def _put(self, msg: Any) -> bool:
        assert self.loop is not None
        try:
            self.loop.call_soon_threadsafe(self._put_now, msg)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def _put_now(self, msg: Any) -> None:
        assert self.queue is not None
        try:
            self.queue.put_nowait(msg)
        except asyncio.QueueFull:
            self._drop()

    def _drop(self) -> None:
        self.dropped += 1
        if self.dropped == 1:
            _log.warning("a frame came after the end of its stream, or found its queue full")


class _RunWriter(MyStreamWriter):
    """The writer of a run: messages become events, and outcomes are held back."""

    def __init__(self, writer: Writer) -> None:
        self.queue = None  # only the consumer holds the queue, so that its leaving is noticed
        self.loop = None
        self.dropped = 0
        # Weakly, because the run's writer holds this one by its hook while the run exists.
        self._writer = weakref.ref(writer)
        self._is_closed = False
        self._lock = make_lock()
        self._held: Outcome | None = None
        writer.before_end(self._conclude)

    def write(self, msg: Any) -> None:
        """Send the content of one or more frames; other text is the payload of a `message`."""
        found: list[sse.SSEvent] = []
        if isinstance(msg, str):
            found = sse.Decoder().feed(msg.encode("utf-8", "replace"))
        for event in found:
            self.send(parsed(event.data), event.event)
        if not found:
            self.send(msg, "message")

    def close(self) -> None:
        """Refuse later messages; the stream ends with the run. Idempotent."""
        self._is_closed = True

    def send(self, msg: Any, event: str) -> None:
        """Append a message to the run. Raises what `Writer.emit` raises, except `RunClosed`."""
        name = checked_name(event)
        writer = self._writer()
        if self._is_closed or writer is None:
            self._drop()
            return
        writer.home.check("send_queue()")
        try:
            if name in OUTCOMES:
                self._write_survived(writer, _outcome(name, msg, writer.max_event_bytes))
            else:
                self._write_survived(writer, None)
                writer.emit(name, data_of(name, msg))
        except RunClosed:
            self._drop()

    def _write_survived(self, writer: Writer, outcome: Outcome | None) -> None:
        """Handle a later message: a held error was survived; a new outcome replaces the held
        one."""
        # Release the lock before emitting: a thread may wait there, and the loop must not.
        with self._lock:
            held = self._held
            if outcome is not None or (held is not None and held.type == "failed"):
                self._held = outcome
            else:
                held = None
        if held is None:
            return
        try:
            _write_held(writer, held)
        except RuncastError:
            with self._lock:
                if self._held is outcome:  # the later message was refused, so it does not count
                    self._held = held
            raise

    def _conclude(self, ending: Outcome) -> Outcome:
        with self._lock:
            self._is_closed = True
            held, self._held = self._held, None
        if held is None or ending.type == "done":
            return held or ending
        writer = self._writer()
        if writer is not None:
            _write_held(writer, held)
        return ending


def _outcome(name: str, msg: Any, max_bytes: int) -> Outcome:
    """Return a message sent as an outcome; it must fit in every form that it may take."""
    if name == "done":
        return Outcome("done", as_stored("result", done_data(msg), max_bytes=max_bytes).data)
    return Outcome("failed", as_stored("failed", error_data(msg), max_bytes=max_bytes).data)


def _write_held(writer: Writer, held: Outcome) -> None:
    """Write a held outcome as an ordinary event: the run continued, or ends differently."""
    if held.type == "failed":
        writer.emit("error", held.data)
        return
    try:
        writer.emit("result", {**held.data, "value": held.data.get("result")})
    except EventTooLarge:  # the text twice is too much
        writer.emit("result", renamed(held.data, "result", "value"))


_writers: Final[weakref.WeakKeyDictionary[Writer, _RunWriter]] = weakref.WeakKeyDictionary()
_writers_lock: Final = make_lock()


def _writer_of(run: Writer) -> _RunWriter:
    """Return the only such writer of a run, so that an outcome is held once."""
    with _writers_lock:
        writer = _writers.get(run)
        if writer is None:
            writer = _writers[run] = _RunWriter(run)
        return writer


def send_queue(msg: Any, event: str) -> None:
    """Send a message to the watchers of the current task; without a task nothing happens.

    Args:
        msg: any value that JSON can hold.
        event: the name of the frame: `content`, `progress`, `log`, `done`, `error`, or your own.

    Raises:
        InvalidValue: the message or the name cannot be sent.
        EventTooLarge: the message is longer than `max_event_bytes` of the hub.
        Overloaded: too much waits; call `await runcast.drain()` now and then.
    """
    writer = task_context.get().get("stream_writer")
    if writer is None and (run := current_writer()) is not None:
        writer = _writer_of(run)  # a run that was begun in another way
    if isinstance(writer, MyStreamWriter):
        writer.send(msg, event)
    elif writer is not None:
        writer.write(framed(checked_name(event), msg))


def bind(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that runs in the present context, in any thread.

    For `loop.run_in_executor` and raw threads, which inherit no context.
    """
    context = contextvars.copy_context()

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        # A copy for each call: two threads cannot be in one context at once.
        return context.copy().run(function, *args, **kwargs)

    return call


def create_queue_task(
    func: Callable[..., Awaitable[Any]],
    *args: Any,
    context_data: Mapping[str, Any] | None = None,
    hub: OpenHub | None = None,
    **kwargs: Any,
) -> TaskQueue:
    """Begin a task that is also a run, and return the queue of its frames; None follows the last.

    Args:
        func: called with `args` and the other keyword arguments.
        context_data: further entries of the task's `task_context`.
        hub: the run's open hub; None is the hub in use.

    Raises:
        InvalidValue: no event loop is running.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise InvalidValue("expected a running event loop: call this in a coroutine") from None

    async def run() -> Any:
        writer = current_writer()
        assert writer is not None
        task_context.set({**(context_data or {}), "stream_writer": _writer_of(writer)})
        returned = func(*args, **kwargs)
        return await returned if inspect.isawaitable(returned) else returned

    return TaskQueue(run, getattr(func, "__name__", type(func).__name__), hub)
