"""Calls inside a run that work in both coroutines and threads: awaited in one, blocking in the
other.

A thread's result can also be awaited, so that `asyncio.run(runcast.flush())` works there.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NoReturn, TypedDict, TypeVar, cast

from runcast.errors import InvalidValue
from runcast.events.model import Place
from runcast.events.position import Position

__all__ = ("NOTHING", "Flushed", "PlaceFields", "Waited", "in_turn", "not_a_place", "place_of")


class PlaceFields(TypedDict, total=False):
    """The keywords of `emit`: the place of an event and its duration."""

    node: str
    """The node where it happened."""
    agent: str
    """The agent that did it."""
    path: Sequence[str]
    """The agents above `agent`, outermost first."""
    duration: float | None
    """Seconds."""


_PLACE_FIELDS: Final = frozenset(PlaceFields.__annotations__)


def place_of(
    *,
    node: str = "",
    agent: str = "",
    path: Sequence[str] = (),
    duration: float | None = None,
) -> Place | None:
    """Return the place in the keywords of `emit`; None without any."""
    if node or agent or path or duration is not None:
        return node, agent, cast("tuple[str, ...]", path), duration
    return None


def not_a_place(kind: object, given: Mapping[str, object]) -> InvalidValue:
    """Return the error of `emit` for unknown keywords."""
    unknown = {name: value for name, value in given.items() if name not in _PLACE_FIELDS}
    held = ", ".join(f'"{name}": {value!r:.40}' for name, value in unknown.items())
    close = get_close_matches(next(iter(unknown)), _PLACE_FIELDS, 1)
    meant = f" ({close[0]}= is a keyword)" if close else ""
    return InvalidValue(
        f"expected an event's data as one value, got {', '.join(unknown)}= as keywords: call "
        f'emit("{kind}", {{{held}}}){meant}'
    )


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Waited(Coroutine[Any, Any, T_co]):
    """The result of a call that a coroutine awaits and a thread waits in.

    In a thread it already holds the result.
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
        yield  # makes this a generator, as `await` needs


class Flushed(Position, Waited[T_co]):
    """What `flush` returns: in a thread the position, in a coroutine an awaitable for it."""

    __slots__ = ()


class _Nothing(Waited[None]):
    __slots__ = ()

    def _outcome(self) -> None:
        return None

    def __bool__(self) -> bool:
        return False


NOTHING: Final = _Nothing()
"""The result of a call without a value in a thread, and of any call outside a run."""


def in_turn(
    work: Coroutine[Any, Any, T], wait: Callable[[Coroutine[Any, Any, T]], T]
) -> Coroutine[Any, Any, T] | T:
    """Return an awaitable in a coroutine; in a thread without a loop, wait here with `wait`."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return wait(work)
    return work
