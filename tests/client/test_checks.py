"""A client refuses what a caller passes wrongly before it sends anything, and says what to pass."""

from collections.abc import Callable
from typing import Any

import pytest

import runcast
from runcast.client.reconnect import ReconnectOptions

NOWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"timeout_s": 0}, "expected timeout_s to be more than 0 seconds, got 0"),
        ({"timeout_s": float("nan")}, "expected timeout_s to be more than 0 seconds, got nan"),
        ({"attempts": 0}, "expected attempts to be a whole number, at least 1, got 0"),
        ({"reconnect": 3}, "expected reconnect to be a ReconnectOptions .* got 3"),
        (
            {"reconnect": ReconnectOptions(), "attempts": 1},
            "expected either attempts or reconnect, got both",
        ),
        ({"link": "a b"}, "expected the link to be text of ASCII characters"),
        ({"link": "l.s", "token": "t"}, "expected either a token or a link, got both"),
        ({"retries": True}, "expected retries to be a whole number, at least 0, got True"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(runcast.InvalidValue, match=problem):
        runcast.AsyncClient(NOWHERE, **options)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"first_s": -1}, "expected first_s to be seconds, at least 0, got -1"),
        ({"longest_s": "30"}, "expected longest_s to be seconds, at least 0, got '30'"),
        ({"poll_s": float("inf")}, "expected poll_s to be seconds, at least 0, got inf"),
        ({"attempts": 0}, "expected attempts to be a whole number, at least 1, got 0"),
    ],
)
def test_waits_that_make_no_sense_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(runcast.InvalidValue, match=problem):
        ReconnectOptions(**options)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda it: it.invoke(None), "expected function to be a text like"),
        (lambda it: it.invoke("f", [1]), "expected inputs like"),
        (lambda it: it.invoke("f", labels="a"), "expected labels like"),
        (lambda it: it.runs(limit="3"), "expected a limit of at least 1, got '3'"),
        (lambda it: it.runs(labels=["a"]), "expected labels like"),
        (
            lambda it: it.runs(labels={"build": 7}),
            "value of the label 'build' to be a text, got 7; write it",
        ),
        (lambda it: anext(it.watch_thread("t", labels={"a": None})), "to be a text, got None"),
        (lambda it: it.answer("r", "q", None), "expected an answer like"),
        (lambda it: anext(it.watch_thread("")), "expected thread to be a text like"),
    ],
)
async def test_a_wrong_argument_is_refused_before_anything_is_sent(
    call: Callable[[Any], Any], problem: str
) -> None:
    async with runcast.AsyncClient(NOWHERE, retries=0) as client:
        with pytest.raises(runcast.InvalidValue, match=problem):
            await call(client)


def test_one_text_is_one_type() -> None:
    def work() -> int:
        runcast.log("a line")
        return 1

    with runcast.open_hub(functions=[work]) as hub:
        client = hub.client()
        run_id = client.invoke("work")

        assert [event.type for event in client.watch(run_id, types="log")] == ["log", "done"]
        with pytest.raises(runcast.InvalidValue, match="expected types to be texts, got 1"):
            client.watch(run_id, types=[1]).__next__()  # type: ignore[list-item]


def test_a_client_shows_where_it_is_and_no_secret() -> None:
    with runcast.Client("https://runs.example/", token="secret") as client:
        assert repr(client) == "<Client of https://runs.example>"
    with runcast.open_hub() as hub:
        assert repr(hub.client()) == "<Client of this process>"
