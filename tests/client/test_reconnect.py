"""What a client does after each thing that can happen to its stream: shared vectors, and bounds."""

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast.client.reconnect import (
    Answer,
    Connect,
    Cut,
    Gap,
    Happened,
    Read,
    Reason,
    Received,
    ReconnectOptions,
    Retry,
    Silence,
    State,
    react,
)
from tests.wire.reference import load

VECTORS = load("reconnect.json")


@pytest.mark.parametrize("vector", VECTORS)
def test_a_client_does_what_the_vector_says(vector: dict[str, Any]) -> None:
    options = msgspec.convert(vector.get("options", {}), ReconnectOptions)
    position = vector.get("position", "")
    state = State(position)
    for step in vector["steps"]:
        position = step.get("position", position)
        beside = ("then", "chance", "position")
        told = {name: value for name, value in step.items() if name not in beside}
        happened = msgspec.convert(told, Happened, strict=True)

        state, action = react(state, happened, step.get("chance", 0.0), options)

        found, then = msgspec.to_builtins(action), dict(step["then"])
        assert found.pop("wait_s", None) == pytest.approx(then.pop("wait_s", None))
        assert found == then
        assert state.position == position


def test_the_vectors_have_all_that_can_happen_and_all_that_can_be_done() -> None:
    steps = [step for vector in VECTORS for step in vector.values[0]["steps"]]

    assert {step["on"] for step in steps} == {"answer", "event", "gap", "retry", "cut"}
    assert {step["then"]["do"] for step in steps} == {"read", "connect", "stop"}
    reasons = {step["then"]["reason"] for step in steps if "reason" in step["then"]}
    assert reasons == set(get_args(Reason))


# --- whatever happens -----------------------------------------------------------------------------

_ids = st.sampled_from(["", "01hq3v5k2m-1", "01hq3v5k2m-2", "01hq3v5k2n-1"])
_happened = (
    st.builds(
        Answer,
        st.integers(100, 599),
        st.booleans(),
        st.none() | st.floats(0, 1e9),
        st.none() | st.booleans(),
    )
    | st.builds(Received, _ids, st.sampled_from(["log", "content", "my.type"]))
    | st.builds(Gap, _ids)
    | st.builds(Retry, st.integers(0, 2**31 - 1))
    | st.builds(Cut, st.floats(0, 1e6))
    | st.builds(Silence, st.floats(0, 1e6), st.booleans())
)


@given(st.lists(st.tuples(_happened, st.floats(0, 1, exclude_max=True)), max_size=80))
def test_no_wait_is_shorter_than_the_server_asked_for_or_grows_without_bound(
    happened: list[tuple[Happened, float]],
) -> None:
    state, options = State(), ReconnectOptions()
    for each, chance in happened:
        before = state
        state, action = react(state, each, chance)
        first_s = options.first_s if state.retry_s is None else state.retry_s

        if isinstance(action, Connect):
            assert first_s <= action.wait_s
            most_s = 1.5 * max(first_s, options.longest_s)
            assert action.wait_s <= max(most_s, options.longest_retry_after_s)
            assert state.position == before.position
        assert react(before, each, chance) == (state, action)


@given(st.lists(_ids.filter(bool), min_size=1), st.floats(0, 1, exclude_max=True))
def test_a_client_comes_back_with_the_last_id_it_saw(ids: list[str], chance: float) -> None:
    state = State()
    for each in ids:
        state, action = react(state, Received(each, "log"))
        assert action == Read()
    state, action = react(state, Cut(), chance)

    assert isinstance(action, Connect)
    assert state.position == ids[-1]
