"""What the tests of the codecs share: a reference decoder, ways to cut a stream, the vectors."""

import base64
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st

from runcast._wire import sse
from runcast._wire.sse import Decoder, SSEvent
from runcast.errors import PeerError

PLACES = st.lists(st.integers(min_value=0, max_value=200), max_size=12)
"""Where to `cut` a stream; folded into its length, so that small streams are cut often too."""

_CONFORMANCE = Path(__file__).parents[2] / "conformance"


class Outcome(NamedTuple):
    """All that can be seen of a stream once it is over."""

    events: list[SSEvent]
    last_event_id: str
    retry_ms: int | None
    is_refused: bool = False


def reference(stream: bytes) -> Outcome:
    """Read a whole stream as the standard tells it, with no thought for speed or cuts."""
    text = whatwg_utf8(stream)
    text = text[1:] if text.startswith("\ufeff") else text
    *lines, _unfinished = re.split(r"\r\n|\r|\n", text)
    events: list[SSEvent] = []
    data = event = last_id_buffer = last_id = ""
    retry_ms: int | None = None
    for line in lines:
        if line == "":
            last_id = last_id_buffer
            if data != "":
                events.append(SSEvent(event or "message", data[:-1], last_id))
            data = event = ""
            continue
        field = re.fullmatch(r"([^:]*)(?::\x20?(.*))?", line, re.DOTALL)
        assert field is not None
        name, value = field[1], field[2] or ""
        if name == "data":
            data += value + "\n"
        elif name == "event":
            event = value
        elif name == "id" and "\0" not in value:
            last_id_buffer = value
        elif name == "retry" and re.fullmatch(r"[0-9]+", value):
            retry_ms = min(int(value), sse.MAX_RETRY_MS)
    return Outcome(events, last_id, retry_ms)


def whatwg_utf8(stream: bytes) -> str:
    """Decode by the state machine of the Encoding standard, without Python's own decoder."""
    out: list[str] = []
    point = needed = seen = 0
    lower, upper = 0x80, 0xBF
    index = 0
    while index < len(stream):
        byte = stream[index]
        index += 1
        if not needed:
            if byte <= 0x7F:
                out.append(chr(byte))
            elif 0xC2 <= byte <= 0xDF:
                needed, point = 1, byte & 0x1F
            elif 0xE0 <= byte <= 0xEF:
                lower = 0xA0 if byte == 0xE0 else 0x80
                upper = 0x9F if byte == 0xED else 0xBF
                needed, point = 2, byte & 0xF
            elif 0xF0 <= byte <= 0xF4:
                lower = 0x90 if byte == 0xF0 else 0x80
                upper = 0x8F if byte == 0xF4 else 0xBF
                needed, point = 3, byte & 0x7
            else:
                out.append("\ufffd")
            continue
        if not lower <= byte <= upper:
            point = needed = seen = 0
            lower, upper = 0x80, 0xBF
            index -= 1  # the byte is read again, as the first of something else
            out.append("\ufffd")
            continue
        lower, upper = 0x80, 0xBF
        point = point << 6 | byte & 0x3F
        seen += 1
        if seen == needed:
            out.append(chr(point))
            point = needed = seen = 0
    if needed:
        out.append("\ufffd")
    return "".join(out)


# --- driving the decoder --------------------------------------------------------------------------


def outcome(decoder: Decoder, chunks: Iterable[bytes]) -> Outcome:
    """Feed `chunks` and close, as a client does that stops at the first refusal."""
    events: list[SSEvent] = []
    is_refused = False
    try:
        for chunk in chunks:
            events += decoder.feed(chunk)
        decoder.close()
    except PeerError:
        is_refused = True
    return Outcome(events, decoder.last_event_id, decoder.retry_ms, is_refused)


def decoded(*chunks: bytes) -> Outcome:
    return outcome(Decoder(), chunks)


def single_bytes(stream: bytes) -> Iterator[bytes]:
    return (stream[i : i + 1] for i in range(len(stream)))


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut at each place; equal places give empty chunks."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


def load(name: str) -> list[Any]:
    """Read vectors as pytest parameters named after them."""
    vectors = json.loads((_CONFORMANCE / name).read_text("utf-8"))
    return [pytest.param(vector, id=vector["name"].replace(" ", "-")) for vector in vectors]


def stream_of(vector: dict[str, Any]) -> bytes:
    if "input_base64" in vector:
        return base64.b64decode(vector["input_base64"], validate=True)
    return "".join(vector["input"]).encode()


def expected_of(vector: dict[str, Any]) -> Outcome:
    events = [SSEvent(e["event"], e["data"], e["id"]) for e in vector["events"]]
    return Outcome(events, vector["last_event_id"], vector["retry_ms"])
