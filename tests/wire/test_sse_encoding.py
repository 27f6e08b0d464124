"""The SSE encoder: shared vectors, and hostile text that must stay text."""

import base64
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast._wire import sse
from runcast._wire.sse import SSEvent
from runcast.errors import InvalidValue
from tests.wire.reference import PLACES, Outcome, cut, decoded, load, whatwg_utf8

_ENCODERS = {
    "encode": sse.encode,
    "comment": sse.comment,
    "id_only": sse.id_only,
    "retry_only": sse.retry_only,
}


@pytest.mark.parametrize("vector", load("sse-encode.json"))
def test_a_vector_encodes_to_the_exact_bytes_or_the_error(vector: dict[str, Any]) -> None:
    encoder: Any = _ENCODERS[vector["call"]]
    args = dict(vector["args"])
    if "data_base64" in args:
        args["data"] = base64.b64decode(args.pop("data_base64"), validate=True)
    positional = [args.pop(next(iter(args)))] if vector["call"] != "encode" else [args.pop("data")]

    if "error" in vector:
        with pytest.raises(InvalidValue) as caught:
            encoder(*positional, **args)
        assert caught.value.code == vector["error"]
    else:
        assert encoder(*positional, **args) == output_of(vector)


def output_of(vector: dict[str, Any]) -> bytes:
    if "output_base64" in vector:
        return base64.b64decode(vector["output_base64"], validate=True)
    return "".join(vector["output"]).encode()


_HOSTILE = [
    *("\n", "\r", "\r\n", "\n\n", "\r\r", "\0", ":", " ", "\ufeff", "\u2028", "\u2029", "\x85"),
    *("data: x", "data:", "id: 9", "event: done", "retry: 0", ": c", "\x0b", "\x1c", "\\n"),
    *("\n\ndata: forged\n\n", "\r\rid: 9\r\r", "\nretry: 1\n", "\U0001f600", "e\u0301"),
]
hostile = st.lists(st.sampled_from(_HOSTILE) | st.text(max_size=5), max_size=12).map("".join)
fields = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)
frames = st.tuples(hostile, st.none() | fields, st.none() | fields.filter(bool))


def as_received(data: str) -> str:
    return data.replace("\r\n", "\n").replace("\r", "\n")


@given(st.lists(frames, max_size=5), PLACES)
def test_any_text_comes_back_as_it_went_in(
    sent: list[tuple[str, str | None, str | None]], places: list[int]
) -> None:
    stream = b"".join(sse.encode(data, id=id_, event=event) for data, id_, event in sent)
    last_id = ""
    expected = []
    for data, id_, event in sent:
        last_id = last_id if id_ is None else id_
        expected.append(SSEvent(event or "message", as_received(data), last_id))

    assert decoded(*cut(stream, places)) == Outcome(expected, last_id, None)


@given(hostile, hostile, PLACES)
def test_between_others_a_hostile_event_or_comment_is_itself_and_nothing_else(
    data: str, text: str, places: list[int]
) -> None:
    frames = [
        sse.retry_only(5),
        sse.encode("before", id="1"),
        sse.comment(text),
        sse.encode(data),
        sse.comment(text),
        sse.id_only("2"),
        sse.encode("after", event="named"),
    ]
    expected = [
        SSEvent("message", "before", "1"),
        SSEvent("message", as_received(data), "1"),
        SSEvent("named", "after", "2"),
    ]

    assert decoded(*cut(b"".join(frames), places)) == Outcome(expected, "2", 5)


@given(hostile, fields, fields.filter(bool))
def test_a_frame_has_the_lines_it_was_asked_for_and_one_empty_line_at_its_end(
    data: str, id_: str, event: str
) -> None:
    frame = sse.encode(data, id=id_, event=event)

    assert b"\r" not in frame
    *lines, empty, rest = frame.split(b"\n")
    names = [line.partition(b": ")[0] for line in lines]
    assert names == [b"id", b"event", *[b"data"] * (as_received(data).count("\n") + 1)]
    assert (empty, rest) == (b"", b"")


@given(st.binary(max_size=60), PLACES)
def test_bytes_of_any_kind_are_one_event(data: bytes, places: list[int]) -> None:
    stream = sse.encode(data, id="1") + sse.encode("next")

    first, second = decoded(*cut(stream, places)).events

    assert first == SSEvent("message", as_received(whatwg_utf8(data)), "1")
    assert second == SSEvent("message", "next", "1")


anything = st.text(st.characters(exclude_categories=[]), max_size=8)


@given(anything, anything, anything)
def test_text_is_carried_exactly_or_refused_with_a_clear_error(
    data: str, id_: str, event: str
) -> None:
    cannot_be_carried = (
        re.search(r"[\ud800-\udfff]", data + id_ + event)
        or re.search(r"[\r\n\0]", id_ + event)
        or not event
    )

    if cannot_be_carried:
        with pytest.raises(InvalidValue, match=r"^expected .*, got "):
            sse.encode(data, id=id_, event=event)
    else:
        frame = sse.encode(data, id=id_, event=event)
        assert decoded(frame).events == [SSEvent(event, as_received(data), id_)]


@given(anything)
def test_a_comment_is_never_an_event_or_is_refused(text: str) -> None:
    if re.search(r"[\ud800-\udfff]", text):
        with pytest.raises(InvalidValue, match=r"^expected .*, got "):
            sse.comment(text)
    else:
        lines = sse.comment(text)
        assert decoded(lines) == Outcome([], "", None)
        assert all(line.startswith(b": ") for line in lines.splitlines())
