"""Work that functions leave behind: threads (with their runs and places), and processes.

Before a process ends, Python waits for most threads and for the processes of `multiprocessing`. A
thread that a function started, or that works for it in a pool, may never end.
"""

import concurrent.futures.thread
import functools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from time import sleep
from types import FrameType
from typing import Any, Final, NamedTuple

from runcast._hub.forks import make_lock
from runcast._producing.context import run_id_in

__all__ = (
    "LeftThread",
    "LeftThreads",
    "end_left_children",
    "place_of",
)

_POOL: Final = concurrent.futures.thread.__file__
_MACHINERY: Final = (_POOL, threading.__file__)

_OF_STORES: Final = ("runcast-read", "runcast-wal")
"""What the names of a store's threads begin with: they end with the store."""

_MOST_RUNS: Final = 3
"""Most runs that are named if it is unknown which of them started a thread."""


class LeftThread(NamedTuple):
    """A running thread that Python would wait for.

    `run_ids` has the run that it works for. If only that is known, it has all runs that were
    running when the thread began. It may be empty.
    """

    name: str
    run_ids: tuple[str, ...]
    place: str
    is_pooled: bool
    """Whether it belongs to a `ThreadPoolExecutor`. Python waits for these threads although they
    may be daemons."""

    def __str__(self) -> str:
        whose = ""
        if self.run_ids:
            more = ", …" if len(self.run_ids) > _MOST_RUNS else ""
            named = " or ".join(self.run_ids[:_MOST_RUNS])
            whose = f" of run {named}{more}"
        return f"the thread {self.name}{whose} ({self.place})"


class LeftThreads:
    """Notes which runs are running when a thread begins. Call its methods from any thread."""

    def __init__(self) -> None:
        self._lock = make_lock()
        self._at_work: dict[str, int] = {}
        self._count = 0
        self._begun: weakref.WeakKeyDictionary[threading.Thread, tuple[str, ...]] = (
            weakref.WeakKeyDictionary()
        )

    @contextmanager
    def during(self, run_id: str) -> Iterator[None]:
        """Assign threads that begin inside the block to this run, or to a run beside it."""
        with self._lock:
            self._look()
            self._at_work[run_id] = self._at_work.get(run_id, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._look()
                self._at_work[run_id] -= 1
                if not self._at_work[run_id]:
                    del self._at_work[run_id]

    def _look(self) -> None:
        # Most runs start no thread; counting threads costs less than a microsecond.
        if threading.active_count() == self._count:
            return
        threads = threading.enumerate()
        self._count = len(threads)
        for thread in threads:
            if thread not in self._begun:
                self._begun[thread] = tuple(self._at_work)

    def at_work(self) -> list[LeftThread]:
        """Return the running threads that Python would wait for, without idle threads of pools."""
        with self._lock:
            self._look()
            begun = dict(self._begun)
        found = []
        for thread in threading.enumerate():
            frame = sys._current_frames().get(thread.ident or 0)
            if frame is None or thread is threading.main_thread() or _is_idle(thread, frame):
                continue
            if thread.name.startswith(_OF_STORES):
                continue
            if _is_pooled(thread) or not thread.daemon:
                found.append(_look_at(thread, frame, begun.get(thread, ())))
        return found


def place_of(frame: FrameType) -> str:
    """Return a frame's place: file, line and function."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"


def _is_idle(thread: threading.Thread, frame: FrameType) -> bool:
    # The managing thread of a process pool knows the pool's pending work.
    if getattr(thread, "pending_work_items", None) == {}:
        return True
    return frame.f_code.co_filename == _POOL and frame.f_code.co_name == "_worker"


def _is_pooled(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)  # until the thread ends
    return target is getattr(concurrent.futures.thread, "_worker", None) is not None


def _look_at(thread: threading.Thread, frame: FrameType, begun: tuple[str, ...]) -> LeftThread:
    run_ids, place, is_pooled = begun, "", _is_pooled(thread)
    at: FrameType | None = frame
    while at is not None:
        code = at.f_code
        if code.co_filename not in _MACHINERY:
            place = place or place_of(at)
        elif code.co_filename == _POOL and code.co_name == "run":
            call, context = _task_of(at.f_locals.get("self"))
            # A pool's thread also works for other runs than the one that started it.
            if context is not None and (run_id := run_id_in(context)):
                run_ids = (run_id,)
            place = place or _name(call)
        elif code.co_name == "run":
            place = place or _name(getattr(thread, "_target", None) or thread.run)
        if place and not is_pooled:
            break  # the thread goes on meanwhile: look no further than needed
        at = at.f_back
    return LeftThread(thread.name, run_ids, place, is_pooled)


def _task_of(item: Any) -> tuple[Callable[..., Any] | None, Context | None]:
    """Return what an executor calls, and in which context if known (`asyncio.to_thread` runs the
    call in one)."""
    call = getattr(item, "fn", None) or next(iter(getattr(item, "task", ())), None)
    if isinstance(call, functools.partial):
        context = getattr(call.func, "__self__", None)
        if isinstance(context, Context) and call.args:
            return call.args[0], context
    return call, None


def _name(call: Any) -> str:
    while isinstance(call, functools.partial):
        call = call.func
    name = getattr(call, "__qualname__", "") or type(call).__qualname__
    return f"{getattr(call, '__module__', None) or 'builtins'}.{name}"


_POLL_S: Final = 0.01


def end_left_children(grace_s: float = 0.0) -> None:
    """End the child processes that this process would wait for.

    Args:
        grace_s: time to end after SIGTERM; with 0 they are killed at once.
    """
    if "multiprocessing" not in sys.modules:
        return
    from multiprocessing import active_children, process  # late: most programs do not use it

    children = active_children()
    if grace_s > 0:
        for child in children:
            child.terminate()
        for _ in range(max(1, round(grace_s / _POLL_S))):
            if not any(map(process.BaseProcess.is_alive, children)):
                return
            sleep(_POLL_S)
    for child in children:
        child.kill()
