"""The NDJSON codec: lines in and out, at every cut, within its bound."""

import itertools
import json
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast.errors import InvalidValue, PeerError
from runcast.wire.ndjson import MAX_LINE_BYTES, Decoder, encode_line
from tests.wire.reference import PLACES, cut, single_bytes


def outcome(decoder: Decoder, chunks: Iterable[bytes]) -> tuple[list[bytes], bytes | None, bool]:
    """Feed `chunks` and close: the lines, what followed the last one, whether it was refused."""
    lines: list[bytes] = []
    try:
        for chunk in chunks:
            lines += decoder.feed(chunk)
        return lines, decoder.close(), False
    except PeerError:
        return lines, None, True


def reference(stream: bytes) -> tuple[list[bytes], bytes | None, bool]:
    *lines, rest = stream.split(b"\n")
    stripped = [line[:-1] if line[-1:] == b"\r" else line for line in lines]
    return [line for line in stripped if line], rest or None, False


_STREAMS = {
    "nothing": (b"", [], None),
    "one line": (b'{"a":1}\n', [b'{"a":1}'], None),
    "two lines": (b"1\n2\n", [b"1", b"2"], None),
    "CRLF": (b"1\r\n2\r\n", [b"1", b"2"], None),
    "mixed line ends": (b"1\n2\r\n3\n", [b"1", b"2", b"3"], None),
    "only one CR is dropped": (b"1\r\r\n", [b"1\r"], None),
    "a lone CR ends no line": (b"1\r2\n", [b"1\r2"], None),
    "other separators end no line": (
        '"\u2028\u0085\x0b\x0c"\n'.encode(),
        ['"\u2028\u0085\x0b\x0c"'.encode()],
        None,
    ),
    "empty lines are skipped": (b"\n1\n\n\r\n2\n\n", [b"1", b"2"], None),
    "spaces are not an empty line": (b" \n", [b" "], None),
    "an unterminated line": (b"1\n2", [b"1"], b"2"),
    "an unterminated line with a CR": (b"1\n2\r", [b"1"], b"2\r"),
    "bytes that are not UTF-8": (b"\xff\n\xc0\x8a\n", [b"\xff", b"\xc0\x8a"], None),
}
each_stream = pytest.mark.parametrize(
    ("stream", "lines", "rest"), _STREAMS.values(), ids=[k.replace(" ", "-") for k in _STREAMS]
)


@each_stream
def test_a_stream_splits_the_same_at_every_cut(
    stream: bytes, lines: list[bytes], rest: bytes | None
) -> None:
    expected = (lines, rest, False)

    assert reference(stream) == expected
    assert outcome(Decoder(), single_bytes(stream)) == expected
    for places in itertools.combinations_with_replacement(range(len(stream) + 1), 2):
        assert outcome(Decoder(), cut(stream, places)) == expected, places


_PIECES = [b"\n", b"\r", b"\r\n", b"\n\n", b'{"a":1}', b"[]", b" ", b"\xe2\x80\xa8", b"\xff"]
streams = st.lists(st.sampled_from(_PIECES) | st.binary(max_size=3), max_size=20).map(b"".join)


@given(streams, PLACES)
def test_random_bytes_split_as_a_whole_does(stream: bytes, places: list[int]) -> None:
    assert outcome(Decoder(), cut(stream, places)) == reference(stream)


@given(streams, PLACES, st.integers(1, 12))
def test_a_refusal_comes_after_the_same_lines_however_cut(
    stream: bytes, places: list[int], max_line_bytes: int
) -> None:
    whole = outcome(Decoder(max_line_bytes=max_line_bytes), [stream])

    assert outcome(Decoder(max_line_bytes=max_line_bytes), cut(stream, places)) == whole
    assert outcome(Decoder(max_line_bytes=max_line_bytes), single_bytes(stream)) == whole
    expected = reference(stream)
    assert whole[0] == expected[0][: len(whole[0])]
    assert whole[2] or whole == expected


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


@given(st.lists(values, max_size=5), PLACES)
def test_any_value_comes_back_as_it_went_in(sent: list[object], places: list[int]) -> None:
    lines = [json.dumps(value, ensure_ascii=False).encode() for value in sent]
    stream = b"".join(map(encode_line, lines))

    assert outcome(Decoder(), cut(stream, places)) == (lines, None, False)


def test_a_line_is_the_value_and_one_lf() -> None:
    assert encode_line(b'{"a":"\\n"}') == b'{"a":"\\n"}\n'


@pytest.mark.parametrize("canonical", [b"", b"\n", b"1\n", b"1\r", b"1\r\n2", b'{\n"a":1}'])
def test_a_value_that_would_not_come_back_as_one_line_is_refused(canonical: bytes) -> None:
    with pytest.raises(InvalidValue, match="without CR and LF"):
        encode_line(canonical)


def test_closing_is_what_hands_out_an_unterminated_line_and_only_once() -> None:
    decoder = Decoder()

    assert decoder.feed(b"1\n[2,") == [b"1"]
    assert (decoder.close(), decoder.close()) == (b"[2,", None)


def test_a_closed_decoder_takes_no_bytes() -> None:
    decoder = Decoder()
    decoder.close()

    with pytest.raises(InvalidValue, match="closed"):
        decoder.feed(b"1\n")


def test_a_line_may_be_as_long_as_its_bound_and_no_longer() -> None:
    assert Decoder(max_line_bytes=4).feed(b"1234\n123\r\n") == [b"1234", b"123"]

    for too_long in (b"12345\n", b"12345", b"1234\r\n"):
        with pytest.raises(PeerError, match="at most 4 bytes"):
            Decoder(max_line_bytes=4).feed(too_long)
    assert Decoder().feed(b"x" * MAX_LINE_BYTES + b"\n") == [b"x" * MAX_LINE_BYTES]


def test_lines_before_a_refusal_are_returned_and_the_next_call_raises() -> None:
    feeding, closing = Decoder(max_line_bytes=4), Decoder(max_line_bytes=4)

    assert feeding.feed(b"1\n12345\n2\n") == closing.feed(b"1\n12345\n2\n") == [b"1"]

    for _ in range(2):
        with pytest.raises(PeerError):
            feeding.feed(b"3\n")
    with pytest.raises(PeerError):
        closing.close()
    assert feeding.close() is None
    assert closing.close() is None


def test_a_refused_decoder_closes_quietly_once_it_has_said_so() -> None:
    decoder = Decoder(max_line_bytes=4)

    with pytest.raises(PeerError):
        decoder.feed(b"12345")
    assert decoder.close() is None


def test_a_long_line_in_small_pieces_is_not_copied_again_at_every_piece() -> None:
    stream = encode_line(b"1" * 1_000_000)
    decoder = Decoder()
    lines: list[bytes] = []

    allocated = 0
    tracemalloc.start()
    try:
        for start in range(0, len(stream), 100):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            lines += decoder.feed(stream[start : start + 100])
            allocated += tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()

    # Joining all pieces at every feed allocates 5,000 times the stream.
    assert allocated < 50 * len(stream)
    assert lines == [b"1" * 1_000_000]
