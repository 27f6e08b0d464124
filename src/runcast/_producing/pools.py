"""A pool of threads whose calls write to the run that submitted them."""

import concurrent.futures
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

from runcast._producing.context import current_writer, using
from runcast._producing.writer import Writer

__all__ = ("ThreadPoolExecutor",)

P = ParamSpec("P")
T = TypeVar("T")


class ThreadPoolExecutor(concurrent.futures.ThreadPoolExecutor):
    """The standard library's `ThreadPoolExecutor`, whose calls write to the run of their caller.

    Each call belongs to the run in which `submit` or `map` was called. One pool may serve several
    runs at once, and their events never mix. Outside a run the pool is the standard library's.

    Only the run is passed on: other context variables are as in the standard library's
    pool. An `initializer` belongs to no run.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule a call and return its future, as the standard library's `submit` does."""
        writer = current_writer()
        if writer is None:
            return super().submit(fn, *args, **kwargs)
        return super().submit(_call, writer, fn, args, kwargs)


def _call(writer: Writer, fn: Callable[..., T], args: tuple[object, ...], kwargs: object) -> T:
    with using(writer):
        return fn(*args, **kwargs)  # type: ignore[arg-type]
