"""The shared vectors of the fold and of views, which clients in other languages are held to."""

from typing import Any

import msgspec
import pytest

from runcast.events.fold import fold
from runcast.events.model import Event, encode_event
from runcast.events.snapshot import Snapshot
from runcast.events.view import View, ViewSpec, ViewState
from runcast.events.vocabulary import KNOWN
from tests.events.strategies import canonical
from tests.wire.reference import load

FOLDS, VIEWS = load("fold.json"), load("views.json")


def vectors(loaded: list[Any]) -> list[dict[str, Any]]:
    return [parameter.values[0] for parameter in loaded]


def whole(snapshot: Snapshot) -> Any:
    return msgspec.json.decode(msgspec.json.encode(snapshot))


def at_first() -> Any:
    """Return a snapshot before the first event, as the first vector has it."""
    first = vectors(FOLDS)[0]
    assert first["events"] == []
    return first["snapshot"]


def start_of(vector: dict[str, Any]) -> Snapshot:
    return msgspec.convert({**at_first(), **vector.get("start", {})}, Snapshot)


# --- the fold -------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", FOLDS)
def test_a_log_is_folded_to_its_snapshot(vector: dict[str, Any]) -> None:
    events = list(map(canonical, vector["events"]))

    assert whole(fold(events, start_of(vector))) == {**at_first(), **vector["snapshot"]}


@pytest.mark.parametrize("vector", FOLDS)
def test_from_any_snapshot_that_was_stored_the_rest_leads_to_the_same(
    vector: dict[str, Any],
) -> None:
    events = list(map(canonical, vector["events"]))
    for cut in range(len(events) + 1):
        stored = msgspec.json.encode(fold(events[:cut], start_of(vector)))
        rest = fold(events[cut:], msgspec.json.decode(stored, type=Snapshot))

        assert whole(rest) == {**at_first(), **vector["snapshot"]}


def test_the_vectors_of_the_fold_have_every_type_that_has_a_meaning() -> None:
    types = {event["type"] for vector in vectors(FOLDS) for event in vector["events"]}

    assert types >= KNOWN.keys()


# --- views ----------------------------------------------------------------------------------------


def canonical_form(event: Event) -> Any:
    return msgspec.json.decode(encode_event(event))


@pytest.mark.parametrize("vector", VIEWS)
def test_a_view_shows_what_it_is_to_show(vector: dict[str, Any]) -> None:
    view, state = View(msgspec.convert(vector["view"], ViewSpec)), ViewState(vector.get("since", 0))
    shown = []
    for event in map(canonical, vector["events"]):
        group = view.step(state, event)
        if group:
            events = [canonical_form(each) for each in group]
            shown.append({"because_of": event.seq, "events": events})

    assert shown == vector["shown"]


@pytest.mark.parametrize("vector", VIEWS)
def test_a_view_that_is_resumed_shows_the_rest(vector: dict[str, Any]) -> None:
    view, state = View(msgspec.convert(vector["view"], ViewSpec)), ViewState(vector.get("since", 0))
    events = list(map(canonical, vector["events"]))
    for place, event in enumerate(events):
        view.step(state, event)
        resumed = state.copy()
        rest = [each for later in events[place + 1 :] for each in view.step(resumed, later)]

        groups = [group for group in vector["shown"] if group["because_of"] > event.seq]
        expected = [each for group in groups for each in group["events"]]
        assert list(map(canonical_form, rest)) == expected


def test_the_vectors_of_views_use_every_part_of_a_view() -> None:
    used = {name for vector in vectors(VIEWS) for name in vector["view"]}
    streaming = {name for vector in vectors(VIEWS) for name in vector["view"].get("streaming", {})}

    assert used == set(ViewSpec.__struct_fields__)
    assert streaming == {"enabled", "batch_size", "max_buffer", "nodes"}
