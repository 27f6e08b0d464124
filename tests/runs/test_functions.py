"""Decorated functions: what they still are to who does not know, and what inputs they take."""

import asyncio
import enum
import functools
import inspect
import pydoc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import pytest

import runcast
from runcast.errors import InvalidInputs, InvalidValue


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@runcast.function
def order(tone: Literal["kind", "cold"] = "kind", size: Size = Size.SMALL) -> None:
    pass


@runcast.function
def greet(name: str, *, times: int = 1) -> Iterator[str]:
    """Greet somebody."""
    yield from [f"Hello {name}! "] * times


class Desk:
    @runcast.function
    def open(self, hour: int) -> int:
        """Open the desk."""
        return hour

    async def later(self, url: str) -> str:
        return url


async def fetch(url: str) -> str:
    return url


async def pages(url: str) -> AsyncIterator[str]:
    yield url


class Fetcher:
    async def __call__(self, url: str) -> str:
        return url


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (fetch, "iscoroutinefunction"),
        (Desk().later, "iscoroutinefunction"),
        (functools.partial(fetch), "iscoroutinefunction"),
        (Fetcher(), "iscoroutinefunction"),
        (pages, "isasyncgenfunction"),
        (greet.call, "isgeneratorfunction"),
        (order.call, ""),
        (Desk().open, ""),
    ],
)
def test_inspect_sees_what_kind_of_function_it_is(call: Callable[..., Any], kind: str) -> None:
    decorated = runcast.Function(call, name="decorated")
    kinds = ("iscoroutinefunction", "isasyncgenfunction", "isgeneratorfunction")

    assert [name for name in kinds if getattr(inspect, name)(decorated)] == [kind] * bool(kind)
    assert inspect.signature(decorated) == inspect.signature(decorated.call)


async def test_a_framework_that_asks_awaits_a_decorated_coroutine_function() -> None:
    decorated = runcast.function(fetch)

    assert await call_as_frameworks_do(decorated, url="x") == "x"
    with pytest.raises(InvalidValue, match="generator"):
        runcast.bind(greet)


async def call_as_frameworks_do(call: Callable[..., Any], **arguments: Any) -> Any:
    if inspect.iscoroutinefunction(call):
        return await call(**arguments)
    return await asyncio.to_thread(call, **arguments)


def test_it_has_the_docstring_and_signature_that_it_had() -> None:
    assert greet.__doc__ == "Greet somebody."
    assert inspect.signature(greet) == inspect.signature(greet.call)
    assert inspect.getdoc(greet) == greet.description
    assert list(greet("Ada", times=2)) == ["Hello Ada! ", "Hello Ada! "]


def test_as_a_method_too() -> None:
    assert inspect.getdoc(Desk.open) == inspect.getdoc(Desk().open) == "Open the desk."
    assert list(inspect.signature(Desk().open).parameters) == ["hour"]
    assert Desk().open(8) == 8
    assert "Open the desk." in pydoc.render_doc(Desk)


def test_it_says_what_it_is() -> None:
    assert repr(greet) == "<Function greet (generator)>"
    with runcast.open_hub() as hub:
        run = hub.start(greet, {"name": "Ada"}, run_id="r1")
        run.result()
        assert repr(run) == "<Run r1 of greet (done)>"


def test_a_choice_that_there_is_not_is_told_which_there_are() -> None:
    with pytest.raises(InvalidInputs) as raised:
        order.convert({"tone": "loud", "size": "m"})

    assert raised.value.problems == (
        "size: expected one of 's', 'l'",
        "tone: expected one of 'kind', 'cold'",
    )
