"""Inputs of types that msgspec alone cannot make from JSON: models, unions, constraints, enums."""

from __future__ import annotations

import datetime
import decimal
import enum
import re
import subprocess
import sys
import uuid
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict

import annotated_types
import jsonschema_rs
import msgspec
import pydantic
import pytest
from typing_extensions import Doc, TypeAliasType

import runcast
from runcast.errors import InvalidInputs, InvalidValue


class Item(pydantic.BaseModel):
    name: str
    count: int = pydantic.Field(default=1, ge=1)


class Order(pydantic.BaseModel):
    id: int
    items: list[Item] = []
    note: str | None = None


class Strict(pydantic.BaseModel, strict=True):
    day: datetime.date


class Aliased(pydantic.BaseModel):
    n: int = pydantic.Field(alias="number")


class Tree(pydantic.BaseModel):
    value: int
    below: list[Tree] = []


class Names(pydantic.RootModel[list[str]]):
    pass


@pydantic.dataclasses.dataclass
class Checked:
    age: int = pydantic.Field(ge=0)


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = []


@dataclass
class Circle:
    radius: float


@dataclass
class Square:
    """Four equal sides."""

    side: float = 1.0
    name: str = ""


class Line(msgspec.Struct):
    length: int


@dataclass
class Drawing:
    shapes: list[Circle | Square]
    owner: Item
    inside: Drawing | None = None
    tags: list[str] = field(default_factory=list)
    secret: int = field(default=0, init=False)


class Card(TypedDict):
    owner: Item
    note: NotRequired[Annotated[str, "what it says"]]


class Pair(NamedTuple):
    first: Circle | Square
    second: int | datetime.date = 5


class Color(enum.Enum):
    NONE = None
    RED = (255, 0, 0)
    BLUE = "blue"


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"
    ALL = "a"


UserId = NewType("UserId", int)
Sizes = TypeAliasType("Sizes", list[Size | int])
Positive = Annotated[int, pydantic.Field(gt=0, description="how many")]


def taking(kind: Any) -> runcast.Function[..., Any]:
    """Return a function with one input of a type, which it returns. Nothing may be unchecked."""

    def function(value: Any) -> Any:
        return value

    function.__annotations__ = {"value": kind}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return runcast.Function(function)


UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
DAY = datetime.date(2025, 1, 31)

TAKEN: list[tuple[Any, Any, Any]] = [
    (Order, {"id": 1, "items": [{"name": "a"}]}, Order(id=1, items=[Item(name="a")])),
    (Order | None, None, None),
    (Order | None, {"id": 1}, Order(id=1)),
    (list[Order], [{"id": 1}], [Order(id=1)]),
    (dict[str, Item], {"a": {"name": "b"}}, {"a": Item(name="b")}),
    (dict[int, Item], {"1": {"name": "b"}}, {1: Item(name="b")}),
    (tuple[Item, ...], [{"name": "b"}], (Item(name="b"),)),
    (Strict, {"day": "2025-01-31"}, Strict(day=DAY)),
    (Aliased, {"number": 1}, Aliased(number=1)),
    (Tree, {"value": 1, "below": [{"value": 2}]}, Tree(value=1, below=[Tree(value=2)])),
    (Names, ["a"], Names(["a"])),
    (Checked, {"age": 1}, Checked(1)),
    (list[Checked], [{"age": 1}], [Checked(1)]),
    (pydantic.HttpUrl, "http://a.b/", pydantic.HttpUrl("http://a.b/")),
    (Annotated[Cat | Dog, pydantic.Field(discriminator="kind")], {"kind": "dog"}, Dog(kind="dog")),
    (Cat | Dog, {"kind": "dog", "tricks": ["a"]}, Dog(kind="dog", tricks=["a"])),
    (Positive, 3, 3),
    (list[Positive], [3], [3]),
    (Annotated[int, annotated_types.Ge(3)], 3, 3),
    (Circle | Square, {"radius": 1}, Circle(1.0)),
    (Square | Circle, {"radius": 1}, Circle(1.0)),
    (Square | Circle | None, None, None),
    (list[Square] | list[Circle], [{"radius": 1}], [Circle(1.0)]),
    (Circle | Line | Item, {"length": 1}, Line(1)),
    (Circle | Line | Item, {"name": "a"}, Item(name="a")),
    (Square | dict[str, int], {"a": 1}, {"a": 1}),
    (Path | None, "a", Path("a")),
    (Path | int, "a", Path("a")),
    (Path | int, 5, 5),
    (datetime.date | str, "soon", "soon"),
    (datetime.date | str, "2025-01-31", DAY),
    (Size | str, "a", Size.ALL),
    (Size | int | None, 5, 5),
    (uuid.UUID | str, UUID, uuid.UUID(UUID)),
    (decimal.Decimal | None, "1.50", decimal.Decimal("1.50")),
    (
        Drawing,
        {"shapes": [{"radius": 1}, {"side": 2}], "owner": {"name": "a"}},
        Drawing([Circle(1.0), Square(2.0)], Item(name="a")),
    ),
    (
        Drawing,
        {
            "shapes": [],
            "owner": {"name": "a"},
            "inside": {"shapes": [{"radius": 1}], "owner": {"name": "b"}, "tags": ["c"]},
        },
        Drawing([], Item(name="a"), Drawing([Circle(1.0)], Item(name="b"), tags=["c"]), tags=[]),
    ),
    (Card, {"owner": {"name": "a"}}, {"owner": Item(name="a")}),
    (Pair, [{"side": 2}, "2025-01-31"], Pair(Square(2.0), DAY)),
    (Pair, [{"side": 2}], Pair(Square(2.0))),
    (Color, [255, 0, 0], Color.RED),
    (Color, "blue", Color.BLUE),
    (Color, None, Color.NONE),
    (UserId, 5, 5),
    (list[UserId], [5], [5]),
    (Sizes, ["s", 1], [Size.SMALL, 1]),
    (Annotated[list[Annotated[Item, "one"]], "several"], [{"name": "a"}], [Item(name="a")]),
]


@pytest.mark.parametrize(("kind", "given", "arrives"), TAKEN, ids=str)
def test_an_input_arrives_as_the_type_of_its_annotation(
    kind: Any, given: Any, arrives: Any
) -> None:
    function = taking(kind)
    assert jsonschema_rs.is_valid(function.schema, {"value": given})
    (made,) = function.convert({"value": given}).values()
    assert (made, type(made)) == (arrives, type(arrives))


@pytest.mark.parametrize(
    ("kind", "given", "problem"),
    [
        (Order, {"id": "x"}, r"value: Input should be a valid integer.* - at `\$.id`"),
        (Order, {"id": 1, "items": [{}]}, r"value: Field required - at `\$.items\[0\].name`"),
        (Order, 5, "value: Input should be an object"),
        (list[Order], [{"id": 1}, {}], r"value: Field required - at `\$\[1\].id`"),
        (dict[str, Item], {"a": {}}, r"value: Field required - at `\$\[...\].name`"),
        (Checked, {"age": -1}, r"value: .*greater than or equal to 0 - at `\$.age`"),
        (Positive, 0, "value: Input should be greater than 0"),
        (Annotated[int, annotated_types.Ge(3)], 2, "value: Expected `int` >= 3"),
        (Circle | Square, 5, r"value: Expected `Circle \| Square`, but the value fits no member"),
        (Circle | Line, {}, r"Circle: .*missing.*`radius`; Line: .*missing.*`length`"),
        (Drawing, {"shapes": [{"side": "x"}], "owner": {}}, r"at `\$.shapes\[0\]`"),
        (Drawing, {"shapes": [], "owner": {}}, r"value: Field required - at `\$.owner.name`"),
        (Drawing, {"shapes": []}, r"value: Object missing required field `owner`"),
        (Card, {"owner": {"name": 5}}, r"value: Input should be a valid string - at `\$.owner"),
        (Color, [1], r"value: expected one of None, \[255, 0, 0\], 'blue'"),
        (Sizes, ["x"], r"value: Invalid enum value 'x' - at `\$\[0\]`"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_with_its_place(kind: Any, given: Any, problem: str) -> None:
    function = taking(kind)
    assert not jsonschema_rs.is_valid(function.schema, {"value": given})
    with pytest.raises(InvalidInputs) as caught:
        function.convert({"value": given})
    (told,) = caught.value.problems
    assert re.search(problem, told)


def test_all_that_is_wrong_with_a_model_is_named_once() -> None:
    with pytest.raises(InvalidInputs) as caught:
        taking(list[Order]).convert({"value": [{"id": "x", "items": [{}, {"name": 5}]}]})
    (told,) = caught.value.problems
    assert re.findall(r"at `\$([^`]*)`", told) == [
        "[0].id",
        "[0].items[0].name",
        "[0].items[1].name",
    ]
    with pytest.raises(InvalidInputs) as caught:
        taking(Order).convert({"value": {"id": 1, "items": [{}] * 1000}})
    assert "and 995 more" in caught.value.problems[0]


@pytest.mark.parametrize(
    "value",
    [Order(id=1), Cat(), Circle(1.0), Drawing([Circle(1.0)], Item(name="a"))],
    ids=lambda value: type(value).__name__,
)
def test_a_script_may_give_the_objects_themselves(value: Any) -> None:
    for kind in (type(value), type(value) | None, Path | type(value)):
        assert taking(kind).convert({"value": value}) == {"value": value}


# --- the schema -----------------------------------------------------------------------------------


def schema_of(kind: Any) -> dict[str, Any]:
    schema = taking(kind).schema
    found: dict[str, Any] = schema["properties"]["value"]
    while "$ref" in found:
        found = {**schema["$defs"][found["$ref"].rpartition("/")[2]], **found}
        del found["$ref"]
    return found


def test_choices_keep_their_order() -> None:
    assert schema_of(Literal["z", "a", "m"])["enum"] == ["z", "a", "m"]
    assert schema_of(Literal["z", 3, "a"] | None)["anyOf"][0]["enum"] == ["z", 3, "a"]
    assert schema_of(Size)["enum"] == ["s", "l", "a"]
    assert schema_of(list[Literal[3, 1]])["items"]["enum"] == [3, 1]

    class Held(msgspec.Struct):
        inner: list[Literal["y", "x"]]

    Held.__annotations__["inner"] = list[Literal["y", "x"]]
    assert schema_of(Held)["properties"]["inner"]["items"]["enum"] == ["y", "x"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Annotated[int, "how many"], {"type": "integer", "description": "how many"}),
        (Annotated[int, Doc("how many")], {"type": "integer", "description": "how many"}),
        (
            Annotated[int, msgspec.Meta(ge=1), "how many"],
            {"type": "integer", "minimum": 1, "description": "how many"},
        ),
        (
            Annotated[int, msgspec.Meta(ge=1, description="mine"), "theirs"],
            {"type": "integer", "minimum": 1, "description": "mine"},
        ),
        (Positive, {"type": "integer", "exclusiveMinimum": 0, "description": "how many"}),
        (
            Annotated[str, annotated_types.Len(1, 5)],
            {"type": "string", "minLength": 1, "maxLength": 5},
        ),
        (
            Annotated[Path | None, "where"],
            {
                "anyOf": [{"type": "string", "format": "path"}, {"type": "null"}],
                "description": "where",
            },
        ),
        (datetime.datetime, {"type": "string", "format": "date-time"}),
        (datetime.time, {"type": "string", "format": "time"}),
    ],
    ids=str,
)
def test_a_description_and_constraints_are_in_the_schema(kind: Any, expected: Any) -> None:
    assert schema_of(kind) == expected


def test_a_class_keeps_its_title_its_description_and_the_order_of_its_fields() -> None:
    schema = taking(Circle | Square).schema
    assert schema["$defs"]["Square"]["description"] == "Four equal sides."
    drawing = schema_of(Drawing)
    assert drawing["title"] == "Drawing"
    assert list(drawing["properties"]) == ["shapes", "owner", "inside", "tags"]
    assert drawing["required"] == ["shapes", "owner"]


def test_two_classes_of_one_name_have_definitions_of_their_own() -> None:
    def other() -> Any:
        class Item(pydantic.BaseModel):
            weight: float

        class Order(pydantic.BaseModel):
            items: list[Item]

        Order.model_rebuild(_types_namespace={"Item": Item})
        return Order

    second = other()

    def function(one: Any, two: Any) -> None: ...

    function.__annotations__ = {"one": Order, "two": second}
    schema = runcast.Function(function).schema
    good = {"one": {"id": 1, "items": [{"name": "a"}]}, "two": {"items": [{"weight": 1}]}}
    assert jsonschema_rs.is_valid(schema, good)
    assert not jsonschema_rs.is_valid(schema, {**good, "two": good["one"]})


def test_defaults_are_in_the_schema_as_they_are_in_json() -> None:
    one = Item(name="a")

    def function(
        file: Any = Path("a/b"), size: Any = Size.LARGE, item: Any = one, day: Any = DAY
    ) -> None: ...

    function.__annotations__ = {"file": Path, "size": Size, "item": Item, "day": datetime.date}
    properties = runcast.Function(function).schema["properties"]
    assert {name: it["default"] for name, it in properties.items()} == {
        "file": "a/b",
        "size": "l",
        "item": {"name": "a", "count": 1},
        "day": "2025-01-31",
    }


def test_the_data_of_events_is_described_by_a_model() -> None:
    @runcast.function(events={"order": Order})
    def function() -> None: ...

    assert function.events["order"]["properties"]["id"] == {"title": "Id", "type": "integer"}


# --- without pydantic -----------------------------------------------------------------------------


def test_a_model_is_refused_where_pydantic_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    for kind in (Order, list[Order], Drawing, Positive, Order | None, Checked):
        with pytest.raises(
            InvalidValue, match="'value' of 'function': expected pydantic to be installed"
        ):
            taking(kind)


def test_a_model_of_pydantic_1_is_refused() -> None:
    class Old:
        @classmethod
        def __get_validators__(cls) -> Any:
            yield

    with pytest.raises(InvalidValue, match=r"'value' of 'function'.*pydantic 2, got Old"):
        taking(list[Old])


def test_a_field_as_a_default_is_refused() -> None:
    def function(n: int = pydantic.Field(default=5, ge=1)) -> None: ...

    with pytest.raises(InvalidValue, match=r"default for the input 'n'.*Annotated"):
        runcast.Function(function)


def test_pydantic_is_imported_only_for_a_model() -> None:
    code = (
        "import sys, runcast, dataclasses\n"
        "@dataclasses.dataclass\n"
        "class A: a: int\n"
        "@runcast.function\n"
        "def f(a: A | int | None, b: list[str] = []): ...\n"
        "print('pydantic' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
