"""Calls that a coroutine awaits and a thread waits in: the same call, wherever code runs.

What a thread gets can be awaited all the same, so that `asyncio.run(runcast.flush())` works there.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final, NoReturn, TypeVar, cast

from runcast.events.position import Position

__all__ = ("NOTHING", "Flushed", "Waited", "in_turn")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Waited(Coroutine[Any, Any, T_co]):
    """What a call gives that a coroutine awaits and a thread waits in.

    In a thread it holds the outcome already.
    """

    __slots__ = ()

    def _outcome(self) -> T_co:
        return cast("T_co", self)

    def send(self, value: object) -> NoReturn:
        raise StopIteration(self._outcome())

    def throw(self, typ: Any, val: Any = None, tb: Any = None) -> NoReturn:
        raise typ if val is None else val

    def close(self) -> None:
        pass

    def __await__(self) -> Generator[Any, None, T_co]:
        return self._outcome()
        yield  # which makes it a generator, as `await` wants one


class Flushed(Position, Waited[T_co]):
    """What `flush` returns: in a thread the position, in a coroutine what to await for it."""

    __slots__ = ()


class _Nothing(Waited[None]):
    __slots__ = ()

    def _outcome(self) -> None:
        return None

    def __bool__(self) -> bool:
        return False


NOTHING: Final = _Nothing()
"""What a thread gets that has waited for no value, and any code outside a run."""


def in_turn(
    work: Coroutine[Any, Any, T], wait: Callable[[Coroutine[Any, Any, T]], T]
) -> Coroutine[Any, Any, T] | T:
    """Return what a coroutine is to await; a thread without a loop waits here, by `wait`."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return wait(work)
    return work
