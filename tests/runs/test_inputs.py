"""Inputs of functions: what the schema allows is taken, and what is not checked is said."""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypedDict

import jsonschema_rs
import msgspec
import pytest

import runcast
from runcast.errors import InvalidInputs, UncheckedInput

if TYPE_CHECKING:
    from nowhere import Tensor  # type: ignore[import-not-found]


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Shelf:
    by_number: dict[int, str]
    below: Shelf | None = None


class Point(NamedTuple):
    x: int
    names: dict[int, str]


class Crate(msgspec.Struct, tag=True):
    weights: dict[int, float]


class Box(msgspec.Struct, tag=True):
    prices: dict[int, int]


class Sack(msgspec.Struct, tag=True, array_like=True):
    prices: dict[int, int]


class Card(TypedDict):
    scores: dict[int, int]


class Opaque:
    """Nothing that can be made from JSON."""


def taking(kind: Any) -> runcast.Function[..., Any]:
    """Return a function with one input of a type, which it returns."""

    def function(value: Any) -> Any:
        return value

    function.__annotations__ = {"value": kind}
    return runcast.Function(function)


UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"

ALLOWED: list[tuple[Any, Any, Any]] = [
    (dict[int, str], {"1": "a", "-20": "b"}, {1: "a", -20: "b"}),
    (dict[int, str], {"99999999999999999999": "a"}, {99999999999999999999: "a"}),
    (dict[float, str], {"1.5": "a", "-2": "b"}, {1.5: "a", -2.0: "b"}),
    (dict[Level, str], {"1": "a"}, {Level.LOW: "a"}),
    (dict[Size, str], {"s": "a"}, {Size.SMALL: "a"}),
    (dict[Literal[1, 2], str], {"1": "a"}, {1: "a"}),
    (dict[Literal["a", "b"], str], {"a": "b"}, {"a": "b"}),
    (dict[datetime.date, int], {"2024-01-01": 1}, {datetime.date(2024, 1, 1): 1}),
    (dict[uuid.UUID, int], {UUID: 1}, {uuid.UUID(UUID): 1}),
    (dict[decimal.Decimal, int], {"1.5": 1}, {decimal.Decimal("1.5"): 1}),
    (dict[int | Literal["all"], int], {"1": 1}, None),
    (dict[str | int, int], {"anything": 1}, {"anything": 1}),
    (dict[Any, int], {"anything": 1}, {"anything": 1}),
    (Mapping[int, str], {"1": "a"}, {1: "a"}),
    (list[dict[int, str]], [{"1": "a"}], [{1: "a"}]),
    (tuple[dict[int, str], int], [{"1": "a"}, 2], ({1: "a"}, 2)),
    (dict[int, dict[int, str]], {"1": {"2": "a"}}, {1: {2: "a"}}),
    (dict[int, str] | None, {"1": "a"}, {1: "a"}),
    (dict[int, str] | int, {"1": "a"}, {1: "a"}),
    (Annotated[dict[int, str], msgspec.Meta(min_length=1)], {"1": "a"}, {1: "a"}),
    (Shelf, {"by_number": {"1": "a"}}, Shelf({1: "a"})),
    (Shelf, {"by_number": {}, "below": {"by_number": {"1": "a"}}}, Shelf({}, Shelf({1: "a"}))),
    (Point, [1, {"1": "a"}], Point(1, {1: "a"})),
    (Crate | Box | None, {"type": "Crate", "weights": {"1": 1}}, Crate({1: 1.0})),
    (Sack, ["Sack", {"1": 2}], Sack({1: 2})),
    (Card, {"scores": {"1": 2}}, {"scores": {1: 2}}),
    (Sequence[int], [1, 2.0], [1, 2]),
    (Path, "a/b", Path("a/b")),
    (PurePosixPath | None, "a/b", PurePosixPath("a/b")),
    (list[Path], ["a", "b"], [Path("a"), Path("b")]),
    (int, 3.0, 3),
    (float, 3, 3.0),
    (bytes, "aGk=", b"hi"),
    (set[int], [1, 2], {1, 2}),
    (datetime.timedelta, "P1D", datetime.timedelta(days=1)),
    (object, {"anything": [None]}, {"anything": [None]}),
]


@pytest.mark.parametrize(("kind", "given", "arrives"), ALLOWED, ids=str)
def test_what_the_schema_allows_is_taken(kind: Any, given: Any, arrives: Any) -> None:
    function = taking(kind)
    if arrives is None:
        return
    assert jsonschema_rs.is_valid(function.schema, {"value": given})
    assert function.convert({"value": given}) == {"value": arrives}


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (dict[int, str], {"a": "b"}),
        (dict[int, str], {"1.0": "b"}),
        (dict[int, str], {"01": "b"}),
        (dict[float, str], {"1e999": "b"}),
        (dict[float, str], {"x": "b"}),
        (dict[Level, str], {"3": "b"}),
        (dict[Size, str], {"m": "b"}),
        (dict[Literal[1, 2], str], {"3": "b"}),
        (Shelf, {"by_number": {"a": "b"}}),
        (Shelf, {"by_number": {}, "below": {"by_number": {"a": "b"}}}),
        (Point, [1, {"a": "b"}]),
        (Crate | Box, {"type": "Crate", "weights": {"a": 1}}),
        (Sack, ["Sack", {"a": 2}]),
        (Card, {"scores": {"a": 2}}),
        (list[dict[int, str]], [{"a": "a"}]),
        (dict[int, str] | int, {"a": "a"}),
        (Path, 5),
    ],
    ids=str,
)
def test_what_is_refused_is_not_allowed_by_the_schema(kind: Any, given: Any) -> None:
    function = taking(kind)
    assert not jsonschema_rs.is_valid(function.schema, {"value": given})
    with pytest.raises(InvalidInputs):
        function.convert({"value": given})


async def test_a_script_gives_the_values_themselves() -> None:
    given = {"by_number": {1: "a"}, "path": Path("a"), "at": datetime.date(2024, 1, 1)}

    def takes(by_number: dict[int, str], path: Path, at: datetime.date) -> bool:
        return {"by_number": by_number, "path": path, "at": at} == given

    async with runcast.open_hub() as hub:
        assert await (await hub.start(takes, given)).result() is True


# --- what is not checked --------------------------------------------------------------------------


def unresolvable_return(config: Shelf, steps: int) -> Tensor: ...


def test_the_annotation_of_what_is_returned_matters_to_nobody() -> None:
    function = runcast.Function(unresolvable_return)
    assert function.schema["properties"]["steps"] == {"type": "integer"}
    with pytest.raises(InvalidInputs) as caught:
        function.convert({"config": {"by_number": 1}, "steps": "ten"})
    assert len(caught.value.problems) == 2


def unresolvable_input(tensor: Tensor, steps: int) -> None: ...


def twice_unresolvable(tensor: Tensor, more: list[Tensor] | None = None) -> None: ...


class Method:
    def call(self, tensor: Tensor, steps: int) -> None: ...

    def __call__(self, tensor: Tensor, steps: int) -> None: ...


def wrapped() -> Callable[..., Any]:
    @functools.wraps(unresolvable_input)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return unresolvable_input(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    "call",
    [
        unresolvable_input,
        functools.partial(unresolvable_input),
        Method().call,
        Method(),
        wrapped(),
    ],
    ids=["function", "partial", "method", "object", "wrapped"],
)
def test_an_annotation_that_cannot_be_resolved_takes_away_no_others(
    call: Callable[..., Any],
) -> None:
    with pytest.warns(UncheckedInput, match=r"'tensor' of 'job'.*Tensor.*resolved") as warned:
        function = runcast.Function(call, name="job")
    assert warned[0].filename == __file__
    assert function.schema["properties"]["tensor"] == {}
    assert function.convert({"tensor": object(), "steps": 1}).keys() == {"tensor", "steps"}
    with pytest.raises(InvalidInputs, match="steps"):
        function.convert({"tensor": None, "steps": "ten"})


@pytest.mark.parametrize(
    "kind",
    [
        *(Opaque, list[Opaque], Shelf | Point | Opaque, Callable[[], int], msgspec.Raw),
        *(dict[bool, int], dict[tuple[int, int], int], dict[None, int], list[dict[bytes, int]]),
        *("not an annotation", 5),
    ],
    ids=str,
)
def test_what_no_json_can_be_converted_to_is_warned_of(kind: Any) -> None:
    with pytest.warns(UncheckedInput, match="'value' of 'function'"):
        function = taking(kind)
    assert function.schema["properties"] == {"value": {}}
    value = object()
    assert function.convert({"value": value}) == {"value": value}


def test_what_says_nothing_is_not_warned_of() -> None:
    def silent(a, b: Any, c: object, *, d=None, **more: Opaque) -> None: ...  # type: ignore[no-untyped-def]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert runcast.Function(silent).schema["required"] == ["a", "b", "c"]


def test_it_is_warned_once_where_the_function_is_defined() -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        globals().pop("__warningregistry__", None)
        for _ in range(3):
            runcast.Function(twice_unresolvable)
    line = twice_unresolvable.__code__.co_firstlineno
    assert [warning.lineno for warning in warned] == [line, line]
    assert "'tensor'" in str(warned[0].message)
    assert "'more'" in str(warned[1].message)
