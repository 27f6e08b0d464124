"""Fuzzes the SSE decoder: no input may crash it, and no cut may change what it says.

Run by hand, with atheris installed (it has wheels for few Pythons, so nothing depends on it):

    python fuzz/fuzz_sse_decoder.py fuzz/corpus/sse -max_total_time=60

The first argument is both the seed corpus and where new inputs are written; name an empty folder
first to keep the seeds as they are. The first two bytes of an input choose bounds and cuts, the
rest is the stream.
"""

import sys
from collections.abc import Iterable, Iterator

import atheris

with atheris.instrument_imports():
    from runcast.errors import PeerError
    from runcast.wire import sse

_LONGEST_CUT_EVERYWHERE = 64  # bytes; above it the cost, which is quadratic, stops the search


def check(blob: bytes) -> None:
    """Decode one input in several ways that must agree.

    Raises:
        AssertionError: they do not.
    """
    if len(blob) < 2:
        return
    bound, step, stream = blob[0], blob[1] + 1, blob[2:]
    expected = _outcome([stream], bound)
    _agree(expected, _outcome((stream[i : i + 1] for i in range(len(stream))), bound))
    _agree(expected, _outcome(_pieces(stream, step), bound))
    if len(stream) <= _LONGEST_CUT_EVERYWHERE:
        for place in range(len(stream) + 1):
            _agree(expected, _outcome([b"", stream[:place], b"", stream[place:]], bound))
    events, *_ = expected
    again = b"".join(
        sse.encode(event.data, id=event.id, event=event.event if "\0" not in event.event else None)
        for event in events
    )
    _agree([event.data for event in events], [event.data for event in sse.Decoder().feed(again)])


def _outcome(
    chunks: Iterable[bytes], bound: int
) -> tuple[list[sse.SSEvent], str, int | None, bool]:
    decoder = sse.Decoder()
    if bound < 128:  # half of the inputs meet a bound
        decoder = sse.Decoder(max_line_bytes=bound, max_event_bytes=bound)
    events: list[sse.SSEvent] = []
    is_refused = False
    try:
        for chunk in chunks:
            events += decoder.feed(chunk)
        decoder.close()
    except PeerError:
        is_refused = True
    return events, decoder.last_event_id, decoder.retry_ms, is_refused


def _pieces(stream: bytes, step: int) -> Iterator[bytes]:
    return (stream[i : i + step] for i in range(0, len(stream), step))


def _agree(expected: object, got: object) -> None:
    if expected != got:
        raise AssertionError(f"expected {expected!r}, got {got!r}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
