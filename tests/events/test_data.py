"""The types of events' data are those that the schemas describe, and readers get what they say."""

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from runcast._hub.cursor import Gap
from runcast.errors import InvalidValue, PeerError
from runcast.events import data
from runcast.events.data import GapData, HasData
from runcast.events.model import Event
from runcast.events.position import Position
from runcast.events.schemas import DATA, event_schemas
from runcast.events.vocabulary import KNOWN

OF_SCHEMA: dict[str, object] = {
    "string": str,
    "number": float,
    "integer": int,
    "boolean": bool,
    "object": dict[str, Any],
    "array": list[Any],
    "": Any,
}


def typed() -> dict[str, Any]:
    """Return the class for each type of event, from the overloads of `data_of`."""
    found: dict[str, Any] = {}
    for each in typing.get_overloads(HasData.data_of):
        hints = typing.get_type_hints(each, vars(data) | {"Mapping": Mapping})
        for kind in typing.get_args(hints["kind"]):
            assert kind not in found
            found[kind] = typing.get_args(hints["return"])[0]
    return found


def test_every_standard_type_has_the_fields_of_its_schema() -> None:
    described = {
        kind: {
            name: list[str] if schema.get("items") else OF_SCHEMA[schema.get("type", "")]
            for name, schema in DATA[kind].items()
        }
        for kind in KNOWN
    }
    required = {
        name.removeprefix("Event."): set(schema["properties"]["data"].get("required", ()))
        for name, schema in event_schemas("").items()
        if name != "Event"
    }
    classes = typed()
    classes.pop("gap")

    assert {kind: typing.get_type_hints(each) for kind, each in classes.items()} == described
    assert {kind: set(each.__required_keys__) for kind, each in classes.items()} == required
    assert {each.__name__ for each in typed().values()} == {*data.__all__} - {"HasData"}


def test_a_gap_has_the_fields_of_its_class() -> None:
    place = Position("0123456789", 3)

    assert Gap("trimmed", place, place).data().keys() == typing.get_type_hints(GapData).keys()


@dataclass
class Report:
    pages: int


def test_data_is_returned_only_for_its_type() -> None:
    event = Event(type="progress", data={"percent": 40})

    assert event.data_of("progress") == {"percent": 40}
    assert event.data_of("log") is None
    assert Event(type="progress", data="half").data_of("progress") is None
    assert Event(type="report.made", data={"pages": 3}).data_of("report.made") == {"pages": 3}


def test_data_of_a_type_of_ones_own_becomes_a_class_or_an_error_that_says_what_it_lacks() -> None:
    event = Event(seq=7, type="report.made", data={"pages": 3})

    assert event.data_of("report.made", Report) == Report(pages=3)
    assert event.data_of("report.sent", Report) is None
    with pytest.raises(PeerError, match=r"report\.made event as Report, got event 7.*`pages`"):
        Event(seq=7, type="report.made", data={}).data_of("report.made", Report)
    with pytest.raises(InvalidValue, match="expected a dataclass"):
        event.data_of("report.made", print)  # type: ignore[call-overload]
