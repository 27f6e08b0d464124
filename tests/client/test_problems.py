"""A server's problem documents are the exceptions of `runcast.errors` again."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from runcast import errors
from runcast._http.api.responses import problem
from runcast.client.problems import error_of, refusal, retry_after_of
from runcast.client.reconnect import Answer, State, react
from runcast.errors import (
    AlreadyAnswered,
    CallerError,
    Conflict,
    Forbidden,
    Gone,
    InvalidEvent,
    InvalidInputs,
    NotFound,
    OutOfSequence,
    PeerError,
    RuncastError,
    RunFailed,
    ServerUnavailable,
    Unauthorized,
)
from tests.wire.reference import load


def classes(root: type[RuncastError] = RuncastError) -> Iterator[type[RuncastError]]:
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from classes(kind)


GIVEN: dict[type[RuncastError], tuple[Any, ...]] = {
    InvalidInputs: ("no", ("a is missing",)),
    InvalidEvent: ("no", 3),
    OutOfSequence: ("no", 7),
    Gone: ("no", "replaced"),
    AlreadyAnswered: ("no", {"type": "accept"}),
}


VECTORS = load("problems.json")


@pytest.mark.parametrize("vector", VECTORS)
def test_an_answer_is_the_error_that_the_vector_says(vector: dict[str, Any]) -> None:
    expected = dict(vector["error"])

    error = refusal(vector["status"], vector["document"], vector.get("retry_after", ""))

    assert type(error).__name__ == expected.pop("name")
    found = {name: getattr(error, name) for name in expected}
    assert json.loads(json.dumps(found)) == expected


@pytest.mark.parametrize("vector", VECTORS)
def test_a_watcher_does_with_an_answer_what_the_vector_says(vector: dict[str, Any]) -> None:
    error = refusal(vector["status"], vector["document"], vector.get("retry_after", ""))
    document = vector["document"] if isinstance(vector["document"], dict) else {}
    said = document.get("retryable")
    for status, retryable in (
        (error.status, error.retryable),  # as the watcher of this package sees it
        (vector["status"], said if isinstance(said, bool) else None),  # and as it was sent
    ):
        _, action = react(State(), Answer(status, True, error.retry_after_s, retryable))

        assert msgspec.to_builtins(action) == vector["then"]


def test_the_vectors_have_every_code_and_every_class() -> None:
    vectors = [vector.values[0] for vector in VECTORS]
    ours = {kind for kind in classes() if kind is not CallerError}

    assert {vector["error"]["name"] for vector in vectors} >= {kind.__name__ for kind in ours}
    codes = {vector["document"]["code"] for vector in vectors if has_code(vector["document"])}
    assert codes >= {kind.code for kind in classes() if "code" in vars(kind)}


def has_code(document: object) -> bool:
    return isinstance(document, dict) and isinstance(document.get("code"), str)


@pytest.mark.parametrize(
    "kind", [kind for kind in classes() if kind is not RunFailed], ids=lambda kind: kind.__name__
)
def test_each_error_comes_back_as_its_own_class(kind: type[RuncastError]) -> None:
    sent = kind(*GIVEN.get(kind, ("no",)))
    answer = problem(sent)
    got = error_of(answer.status_code, json.loads(bytes(answer.body)))

    assert type(got) is kind
    assert (got.message, got.code, got.retryable) == (sent.message, sent.code, sent.retryable)
    assert got.args[1:] == sent.args[1:]


@pytest.mark.parametrize(
    ("status", "document", "kind"),
    [
        (401, None, Unauthorized),
        (403, {"code": "new"}, Forbidden),
        (404, {}, NotFound),
        (418, [], CallerError),
        (429, "slow down", ServerUnavailable),
        (502, None, ServerUnavailable),
        (503, {"code": 5, "detail": 7}, ServerUnavailable),
        (302, None, PeerError),
        (409, {"code": "conflict"}, Conflict),
        (500, {"code": "disk_full", "detail": "no", "run_id": "r"}, RunFailed),
    ],
)
def test_other_answers_have_the_class_of_their_status(
    status: int, document: object, kind: type[RuncastError]
) -> None:
    assert type(error_of(status, document)) is kind


def test_only_seconds_are_read_as_a_time_to_wait() -> None:
    given = ["7", "", "-1", "1e9", "Wed, 21 Oct 2015 07:28:00 GMT", "9" * 99, "٣"]
    assert [retry_after_of(value) for value in given] == [7.0, *[None] * 6]
