"""What becomes of values in events, as docs/writing-events.md says: nothing is lost silently."""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import re
import types
import uuid
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import attrs
import msgspec
import pydantic
import pytest

import runcast
from runcast.errors import InvalidValue
from runcast.events.model import encode_record
from tests.opening import events_of


class Text(str):
    """A subclass that shows something else."""

    def __str__(self) -> str:
        return "other"


class Whole(int): ...


class Broken(float): ...


class Names(dict[Any, Any]): ...


class Items(list[Any]): ...


class Raw(bytes): ...


class Price(decimal.Decimal): ...


class Day(datetime.date): ...


class Moment(datetime.datetime):
    """More precise than its base, as pandas' is."""

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:
        return f"{super().isoformat(sep, timespec)}.000000001"


class Zoned(datetime.datetime): ...


class NoMoment(datetime.datetime):
    """Equal to nothing, as pandas' NaT."""

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = datetime.datetime.__hash__


class Span(datetime.timedelta): ...


class Colour(enum.Enum):
    RED = "red"
    BOTH = (1, 2)


class Level(enum.IntEnum):
    LOW = 1


class Pair(NamedTuple):
    a: int
    b: str


@dataclasses.dataclass
class Data:
    a: int
    by: dict[Any, int]


@attrs.define
class Attrs:
    a: int


class Struct(msgspec.Struct):
    a: int


class Model(pydantic.BaseModel):
    at: datetime.date


@dataclasses.dataclass
class DType:
    kind: str
    names: Any = None


class Array:
    """What numpy's values are, as far as anybody looks."""

    def __init__(self, listed: Any, kind: str = "i", text: str = "", names: Any = None) -> None:
        self.listed, self.text = listed, text
        self.dtype = DType(kind, names)

    def __str__(self) -> str:
        return self.text

    def __iter__(self) -> Any:
        return iter(self.listed)

    def tolist(self) -> Any:
        return [each.tolist() for each in self.listed] if self.dtype.kind == "MM" else self.listed


DAY = datetime.date(2024, 1, 2)
NOON = datetime.datetime(2024, 1, 2, 12)  # noqa: DTZ001 - of no zone, as numpy's
UID = uuid.UUID(int=1)

BECOMES: list[tuple[Any, Any]] = [
    (Text("own"), "own"),
    (Whole(5), 5),
    (Broken(1.5), 1.5),
    (float("nan"), None),
    (Broken("inf"), None),
    (2**70, 2**70),
    ("a\ud83d", "a\ufffd"),
    (Names(a=1), {"a": 1}),
    (Items([1]), [1]),
    ((1, 2), [1, 2]),
    ({1}, [1]),
    (frozenset({1}), [1]),
    (Pair(1, "b"), [1, "b"]),
    (collections.deque([1]), [1]),
    (range(2), [0, 1]),
    ({"a": 1}.keys(), ["a"]),
    (collections.OrderedDict(a=1), {"a": 1}),
    (collections.Counter("aa"), {"a": 2}),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (collections.ChainMap({"a": 1}), {"a": 1}),
    (collections.UserDict(a=1), {"a": 1}),
    (collections.UserList([1]), [1]),
    (collections.UserString("a"), "a"),
    (b"\xff", "/w=="),
    (Raw(b"\xff"), "/w=="),
    (bytearray(b"\xff"), "/w=="),
    (decimal.Decimal("1.50"), "1.50"),
    (Price("1.50"), "1.50"),
    (decimal.Decimal("NaN"), "NaN"),
    (DAY, "2024-01-02"),
    (Day(2024, 1, 2), "2024-01-02"),
    (NOON, "2024-01-02T12:00:00"),
    (Moment(2024, 1, 2, 12), "2024-01-02T12:00:00.000000001"),
    (Zoned(2024, 1, 2, 12, tzinfo=datetime.UTC), "2024-01-02T12:00:00Z"),
    (NoMoment(2024, 1, 2), None),
    (datetime.time(1), "01:00:00"),
    (datetime.timedelta(days=1), "P1D"),
    (Span(days=1), "P1D"),
    (UID, str(UID)),
    (PurePosixPath("a/b"), "a/b"),
    (Colour.RED, "red"),
    (Colour.BOTH, [1, 2]),
    (Level.LOW, 1),
    (Data(1, {2: 3}), {"a": 1, "by": {"2": 3}}),
    (Attrs(1), {"a": 1}),
    (Struct(1), {"a": 1}),
    (Model(at=DAY), {"at": "2024-01-02"}),
    (Array(5), 5),
    (Array([1, 2]), [1, 2]),
    (Array(1, "M", "2024-01-01T00:00:00.000000001"), "2024-01-01T00:00:00.000000001"),
    (Array(1, "M", "NaT"), None),
    (Array(NOON, "M"), "2024-01-02T12:00:00"),
    (Array(5, "m", "5 nanoseconds"), "PT0.000000005S"),
    (Array(-1, "m", "-1500000000 nanoseconds"), "-PT1.500000000S"),
    (Array([Array(1, "M", "2024"), Array(1, "M", "NaT")], "M"), ["2024", None]),
    ({1: "a", 2.5: "b"}, {"1": "a", "2.5": "b"}),
    ({DAY: 1, UID: 2, Colour.RED: 3}, {"2024-01-02": 1, str(UID): 2, "red": 3}),
    ({Array(5): 1, Text("own"): 2, Whole(7): 3}, {"5": 1, "own": 2, "7": 3}),
]

REFUSED: list[Any] = [
    *(object(), ValueError("x"), 1j, fractions.Fraction(1, 2), int, iter([1]), lambda: None),
    *({None: 1}, {(1, 2): 1}, {True: 1}, {object(): 1}),
    *({1: "a", "1": "b"}, {1.5: "a", "1.5": "b"}, {DAY: 1, "2024-01-02": 2}),
    *(dict.fromkeys(["\ud83d", "\ud83e"]), {Colour.RED: 1, "red": 2}, {Level.LOW: 1, "1": 2}),
    *({Array(5): 1, "5": 2}, Names({1: 1, "1": 2}), Data(1, {1: 1, "1": 2})),
    *([{"a": {1: 1, "1": 2}}], {"a": ({1: 1, "1": 2},)}, types.MappingProxyType({1: 1, "1": 2})),
    msgspec.Raw(b'{"a": 1, "a": 2}'),
    Array(5, "m", "5 months"),
    Array(5, "m", "5"),
    Array([(1, 2)], "V", names=("a", "b")),
]


def name_of(value: object) -> str:
    """Return a name for a case: the same one in every process that collects the tests."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:40]


@pytest.mark.parametrize(("value", "becomes"), BECOMES, ids=name_of)
def test_what_a_value_becomes(value: Any, becomes: Any) -> None:
    for data, expected in ((value, becomes), ({"v": value}, {"v": becomes}), ([value], [becomes])):
        record = encode_record("step", data, 0.0)
        assert json.loads(b"{" + record)["data"] == expected


@pytest.mark.parametrize("value", REFUSED, ids=name_of)
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    for data in (value, {"v": value}, [value]):
        with pytest.raises(InvalidValue, match="expected"):
            encode_record("step", data, 0.0)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ((5, 10), {"current": 5, "total": 10, "percent": 50.0}),
        ((decimal.Decimal(5), 10), {"current": 5, "total": 10, "percent": 50.0}),
        ((decimal.Decimal("2.5"), 10), {"current": 2.5, "total": 10, "percent": 25.0}),
        ((Array(5), Array(10)), {"current": 5, "total": 10, "percent": 50.0}),
        ((Whole(5), fractions.Fraction(10)), {"current": 5, "total": 10, "percent": 50.0}),
        ((5, 0), {"current": 5, "total": 0}),
        *(((given, 10), None) for given in ("5", True, Array([1]), [1], object(), "")),
        *(((1, given), None) for given in ("10", False)),
    ],
    ids=name_of,
)
async def test_progress_is_numbers_on_the_wire_or_refused(
    given: tuple[Any, Any], sent: Mapping[str, Any] | None
) -> None:
    def works() -> bool:
        try:
            runcast.progress(*given)
        except InvalidValue:
            return False
        return True

    async with runcast.open_hub() as hub:
        run = await hub.start(works)
        assert await run.result() is (sent is not None)
        found = [e.data for e in await events_of(hub, run.run_id) if e.type == "progress"]
    assert found == ([] if sent is None else [sent])
    assert [type(value) for data in found for value in data.values() if type(value) is str] == []
