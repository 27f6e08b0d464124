"""Decorated functions: what they still are to who does not know, and what inputs they take."""

import enum
import inspect
import pydoc
from collections.abc import Iterator
from typing import Literal

import pytest

import runcast
from runcast.errors import InvalidInputs


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
        "size: expected one of 'l', 's'",
        "tone: expected one of 'cold', 'kind'",
    )
