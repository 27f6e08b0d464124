"""The SSE decoder: shared vectors at every cut, an independent reference, bounds."""

import itertools
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runcast._wire import sse
from runcast._wire.sse import Decoder, SSEvent
from runcast.errors import InvalidValue, PeerError
from tests.wire.reference import (
    PLACES,
    Outcome,
    cut,
    decoded,
    expected_of,
    load,
    outcome,
    reference,
    single_bytes,
    stream_of,
    whatwg_utf8,
)

_MOST_BYTES_CUT_IN_THREE = 64  # 2,145 cuts; longer vectors are cut in two everywhere


# --- decoding: the vectors ------------------------------------------------------------------------

each_stream = pytest.mark.parametrize("vector", load("sse-decode.json"))


@each_stream
def test_a_vector_decodes_as_written_in_one_piece(vector: dict[str, Any]) -> None:
    assert decoded(stream_of(vector)) == expected_of(vector)


@each_stream
def test_a_vector_decodes_the_same_at_every_cut_in_two(vector: dict[str, Any]) -> None:
    stream, expected = stream_of(vector), expected_of(vector)

    for place in range(len(stream) + 1):
        assert decoded(stream[:place], stream[place:]) == expected, place


@pytest.mark.parametrize(
    "vector",
    [
        param
        for param in load("sse-decode.json")
        if len(stream_of(param.values[0])) <= _MOST_BYTES_CUT_IN_THREE
    ],
)
def test_a_short_vector_decodes_the_same_at_every_cut_in_three(vector: dict[str, Any]) -> None:
    stream, expected = stream_of(vector), expected_of(vector)

    for places in itertools.combinations_with_replacement(range(len(stream) + 1), 2):
        assert decoded(*cut(stream, places)) == expected, places


@each_stream
def test_a_vector_decodes_the_same_byte_by_byte(vector: dict[str, Any]) -> None:
    stream, expected = stream_of(vector), expected_of(vector)

    assert decoded(*single_bytes(stream)) == expected


@each_stream
def test_empty_chunks_anywhere_change_nothing(vector: dict[str, Any]) -> None:
    stream, expected = stream_of(vector), expected_of(vector)

    chunks = [c for byte in single_bytes(stream) for c in (b"", byte, b"", b"")]
    assert decoded(b"", *chunks) == expected


@each_stream
def test_an_event_comes_with_the_last_byte_it_needs(vector: dict[str, Any]) -> None:
    stream = stream_of(vector)
    decoder = Decoder()
    events: list[SSEvent] = []

    for end, byte in enumerate(single_bytes(stream), start=1):
        events += decoder.feed(byte)
        so_far = Outcome(events, decoder.last_event_id, decoder.retry_ms)
        assert so_far == reference(stream[:end]), stream[:end]


@each_stream
def test_the_reference_agrees_with_the_vectors(vector: dict[str, Any]) -> None:
    assert reference(stream_of(vector)) == expected_of(vector)


# --- decoding: random streams ---------------------------------------------------------------------

_PIECES = [
    *(b"data", b"event", b"id", b"retry", b"dat", b"Data", b"message"),
    *(b"data:", b"data: ", b"event: e", b"id: 1", b"id: 2", b"id:", b"retry: 10", b":", b" "),
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r"),
    *(b"\xef\xbb\xbf", b"\xef\xbb", b"\xbf", b"\0", b"7", b"007", b"x", b"\t", b"\xc2\xa0"),
    *(b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b", b"\x0c", b"\x1c", b"\xf0\x9f\x98\x80", b"\xf0\x9f"),
    *(b"\x80", b"\xc0\x8a", b"\xe0\x80\x8a", b"\xed\xa0\x80", b"\xf4\x90", b"\xff"),
    b"99999999999999999999",
]
streams = st.lists(st.sampled_from(_PIECES) | st.binary(max_size=3), max_size=30).map(b"".join)


@given(streams, PLACES)
@example(b"\xef\xbb\xbfdata: x\n\n", [0, 0, 1, 2, 3])
@example(b"data\r\ndata\r\n\r\n", [5, 5, 11, 12, 12, 13])
def test_the_decoder_agrees_with_the_reference_at_random_cuts(
    stream: bytes, places: list[int]
) -> None:
    assert decoded(*cut(stream, places)) == reference(stream)


@given(st.binary(max_size=200), PLACES)
def test_random_bytes_never_crash_and_mean_the_same_however_cut(
    stream: bytes, places: list[int]
) -> None:
    assert decoded(*cut(stream, places)) == reference(stream)


@given(st.binary(max_size=40))
def test_the_reference_replaces_malformed_utf8_as_python_does(data: bytes) -> None:
    """Not about runcast: the two halves of the comparison above rest on different decoders."""
    assert whatwg_utf8(data) == data.decode("utf-8", "replace")


@given(streams, PLACES, st.integers(1, 24), st.integers(1, 24))
def test_a_refusal_comes_after_the_same_events_however_cut(
    stream: bytes, places: list[int], max_line_bytes: int, max_event_bytes: int
) -> None:
    def bounded() -> Decoder:
        return Decoder(max_line_bytes=max_line_bytes, max_event_bytes=max_event_bytes)

    whole = outcome(bounded(), [stream])

    assert outcome(bounded(), cut(stream, places)) == whole
    assert outcome(bounded(), single_bytes(stream)) == whole
    full = reference(stream)
    assert whole.events == full.events[: len(whole.events)]
    assert whole.is_refused or whole == full


@given(streams, streams)
def test_a_reset_decoder_reads_as_a_new_one_that_resumes(before: bytes, stream: bytes) -> None:
    decoder = Decoder()
    decoder.feed(before)
    resumed = Decoder(last_event_id=decoder.last_event_id)

    decoder.reset()

    assert decoder.feed(stream) == resumed.feed(stream)
    assert decoder.last_event_id == resumed.last_event_id


# --- decoding: the life of a stream ---------------------------------------------------------------


def test_an_event_before_any_id_carries_the_id_that_was_resumed_after() -> None:
    decoder = Decoder(last_event_id="e-3")

    assert decoder.feed(b"data: a\n\n") == [SSEvent("message", "a", "e-3")]
    assert decoder.last_event_id == "e-3"


def test_an_id_counts_from_its_empty_line_on() -> None:
    decoder = Decoder(last_event_id="e-3")

    decoder.feed(b"id: e-4\ndata: a\n")
    before = decoder.last_event_id
    decoder.feed(b"\n")

    assert (before, decoder.last_event_id) == ("e-3", "e-4")


def test_a_new_stream_keeps_id_and_retry_and_forgets_the_unfinished() -> None:
    decoder = Decoder()
    decoder.feed(b"retry: 9\nid: 1\ndata: a\n\nid: 2\nevent: e\ndata: lost\nda")

    decoder.reset()

    assert decoder.feed(b"\xef\xbb\xbfdata: b\n\n") == [SSEvent("message", "b", "1")]
    assert decoder.retry_ms == 9


def test_a_new_stream_does_not_swallow_an_lf_for_the_cr_of_the_last() -> None:
    decoder = Decoder()
    decoder.feed(b"data: a\r")

    decoder.reset()

    # With that LF swallowed the byte order mark would stand at the start, and be dropped.
    assert decoder.feed(b"\n\xef\xbb\xbfdata: b\n\n") == []


@pytest.mark.parametrize(
    ("stream", "is_cut"),
    [
        (b"", False),
        (b"data: a\n\n", False),
        (b"data: a\r\r", False),
        (b"data: a\n\n: bye\n", False),
        (b"retry: 5\n", False),
        (b"data: a\n", True),
        (b"data\n", True),
        (b"event: e\n", True),
        (b"id: 1\n", True),
        (b"da", True),
        (b": by", True),
    ],
)
def test_closing_tells_whether_something_was_cut_off(stream: bytes, is_cut: bool) -> None:
    whole, in_bytes = Decoder(), Decoder()
    whole.feed(stream)
    for byte in single_bytes(stream):
        in_bytes.feed(byte)

    assert (whole.close(), whole.close()) == (is_cut, False)
    assert in_bytes.close() is is_cut


def test_a_closed_decoder_takes_no_bytes_until_it_is_reset() -> None:
    decoder = Decoder()
    decoder.close()

    with pytest.raises(InvalidValue, match="reset"):
        decoder.feed(b"data: a\n\n")

    decoder.reset()
    assert decoder.feed(b"data: a\n\n") == [SSEvent("message", "a", "")]


def test_a_retry_beyond_the_timers_of_javascript_is_read_as_the_longest() -> None:
    decoder = Decoder()

    for digits in (b"2147483648", b"9" * 20, b"1" * 10_000):
        decoder.feed(b"retry: 1\nretry: %b\n" % digits)
        assert decoder.retry_ms == sse.MAX_RETRY_MS == 2**31 - 1

    decoder.feed(b"retry: %b12\n" % (b"0" * 10_000))
    assert decoder.retry_ms == 12


# --- decoding: bounds -----------------------------------------------------------------------------


def test_the_largest_event_fits_in_one_line_of_the_default_bounds() -> None:
    assert len(b"data: ") + sse.MAX_EVENT_BYTES <= sse.MAX_LINE_BYTES
    data = b"x" * sse.MAX_EVENT_BYTES
    decoder = Decoder()

    (event,) = decoder.feed(sse.encode(data))
    with pytest.raises(PeerError, match="max_event_bytes"):
        decoder.feed(sse.encode(data + b"x"))

    assert len(event.data) == sse.MAX_EVENT_BYTES


@pytest.mark.parametrize("line", [b"data: 7890", b": 34567890", b"unknown:90", b"1234567890"])
def test_a_line_may_be_as_long_as_its_bound_and_no_longer(line: bytes) -> None:
    assert len(line) == 10
    Decoder(max_line_bytes=10).feed(line + b"\n")
    Decoder(max_line_bytes=10).feed(line + b"\r")
    Decoder(max_line_bytes=10).feed(line)

    for too_long in (line + b"x\n", line + b"x\r", line + b"x"):
        with pytest.raises(PeerError, match="line of at most 10 bytes"):
            Decoder(max_line_bytes=10).feed(too_long)


def test_a_byte_order_mark_counts_for_the_first_line_however_cut() -> None:
    stream = b"\xef\xbb\xbfdata: a\n\n"

    for chunks in ([stream], single_bytes(stream)):
        assert outcome(Decoder(max_line_bytes=10), chunks).events == [SSEvent("message", "a", "")]
    for chunks in ([stream], single_bytes(stream)):
        assert outcome(Decoder(max_line_bytes=9), chunks).is_refused


def test_the_line_ends_between_lines_of_data_count_as_data() -> None:
    fits = Decoder(max_event_bytes=5).feed(b"data: ab\r\ndata: cd\r\n\r\n")

    assert fits == [SSEvent("message", "ab\ncd", "")]
    with pytest.raises(PeerError, match="event of at most 5 bytes"):
        Decoder(max_event_bytes=5).feed(b"data: ab\ndata: cde\n\n")
    with pytest.raises(PeerError, match="event of at most 5 bytes"):
        Decoder(max_event_bytes=5).feed(b"data\n" * 7)


def test_bounds_are_for_each_line_and_event_not_for_the_stream() -> None:
    decoder = Decoder(max_line_bytes=10, max_event_bytes=4)

    events = decoder.feed(b"id: 1\ndata: abcd\n\n" * 100)

    assert len(events) == 100


def test_events_before_a_refusal_are_returned_and_the_next_call_raises() -> None:
    stream = b"id: 1\ndata: a\n\nid: 2\ndata: 7890x\n\ndata: b\n\n"
    feeding, closing = Decoder(max_line_bytes=10), Decoder(max_line_bytes=10)

    assert feeding.feed(stream) == closing.feed(stream) == [SSEvent("message", "a", "1")]

    with pytest.raises(PeerError):
        feeding.feed(b"")
    with pytest.raises(PeerError):
        closing.close()
    assert feeding.last_event_id == closing.last_event_id == "1"


def test_a_refused_decoder_stays_refused_and_closes_quietly_once_it_has_said_so() -> None:
    once, often = Decoder(max_line_bytes=10), Decoder(max_line_bytes=10)

    with pytest.raises(PeerError):
        once.feed(b"data: 7890x")
    for chunk in (b"data: 7890x", b"\n\n", b"data: a\n\n"):
        with pytest.raises(PeerError):
            often.feed(chunk)

    assert once.close() is False
    assert often.close() is False


def test_a_refused_decoder_reads_the_next_stream_after_a_reset() -> None:
    decoder = Decoder(max_line_bytes=10)
    with pytest.raises(PeerError):
        decoder.feed(b"data: 7890x")

    decoder.reset()

    assert decoder.feed(b"data: a\n\n") == [SSEvent("message", "a", "")]


def test_a_long_line_in_small_pieces_is_not_copied_again_at_every_piece() -> None:
    stream = sse.encode("x" * 1_000_000, id="1")
    decoder = Decoder()
    events: list[SSEvent] = []

    allocated = 0
    tracemalloc.start()
    try:
        for start in range(0, len(stream), 100):
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            events += decoder.feed(stream[start : start + 100])
            allocated += tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()

    # Joining all pieces at every feed allocates 5,000 times the stream.
    assert allocated < 50 * len(stream)
    assert [len(event.data) for event in events] == [1_000_000]


@pytest.mark.parametrize("piece", [b"data:ab\n", b"data:ab\r\n", b"d", b"data\n", b"id:abc\n"])
def test_an_event_that_never_ends_takes_memory_within_its_bounds(piece: bytes) -> None:
    bound = 100_000
    decoder = Decoder(max_line_bytes=bound, max_event_bytes=bound)
    chunk = piece * (1000 // len(piece))

    tracemalloc.start()
    try:
        for _ in range(2 * bound // len(chunk)):
            try:
                decoder.feed(chunk)
            except PeerError:
                break
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < 3 * bound


def test_an_event_that_was_received_cannot_be_changed() -> None:
    event = SSEvent("message", "a", "1")

    with pytest.raises(AttributeError):
        event.data = "b"  # type: ignore[misc]  # what the test is about
