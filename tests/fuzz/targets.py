"""What must hold for any bytes that a stranger can send: one function for each place they come in.

A target takes bytes and returns nothing; an assertion or an unexpected exception is a finding.
"""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from runcast._http.api import requests
from runcast._wire import dialects, sse
from runcast._wire.dialects.base import LogRef
from runcast.errors import InvalidValue, PeerError
from runcast.events.fold import apply
from runcast.events.model import Event, decode_event, encode_record
from runcast.events.position import Position
from runcast.events.snapshot import Snapshot
from runcast.events.view import Streaming, View, ViewSpec, ViewState
from runcast.views import parse_view
from tests.wire.reference import cut, decoded, reference

__all__ = ("TARGETS",)


def sse_stream(data: bytes) -> None:
    """The decoder says what the standard says, however the stream is cut."""
    places, stream = data[:8], data[8:]
    assert decoded(*cut(stream, places)) == decoded(stream) == reference(stream)


def sse_text(data: bytes) -> None:
    """What is encoded comes back; no text can forge a field, a comment or an event."""
    text = data.decode("utf-8", "replace")
    name, _, said = text.partition("|")
    try:
        frame = sse.encode(said, event=name, id=name)
        frame += sse.comment(said)
    except InvalidValue:
        return
    found = decoded(frame)
    meant = said.replace("\r\n", "\n").replace("\r", "\n")
    assert [(e.event, e.data, e.id) for e in found.events] == [(name or "message", meant, name)]


def request(data: bytes) -> None:
    """A request is understood or refused; what is not understood is never a server's error."""
    names = ("after", "live", "dialect", "view", "types", "nodes", "agents", "limit", "before")
    # As the server decodes them: queries leniently as UTF-8, header fields as Latin-1.
    texts = data.decode("utf-8", "replace").split("\0")
    query = dict(zip(names, texts, strict=False))
    fields = reversed(data.decode("latin-1").split("\0"))
    headers = dict(zip(("accept", "last-event-id", "prefer"), fields, strict=False))
    parses: tuple[Callable[[], object], ...] = (
        lambda: requests.parse_watch(query, headers),
        lambda: requests.parse_many(texts, query, headers),
        lambda: requests.parse_limit(query),
        lambda: requests.parse_before(query.get("before", "")),
        lambda: requests.parse_flag(query, "live"),
        lambda: requests.parse_preferences(headers.get("prefer", "")),
        lambda: requests.preferred_type(headers.get("accept", ""), ("a/b", "c/d"), "c/d"),
        lambda: requests.parse_invocation(data),
    )
    for parse in parses:
        _refusing(parse)


def position(data: bytes) -> None:
    """A position is what it says, or refused."""
    token = data.decode("utf-8", "replace")
    found = _refusing(lambda: Position.parse(token))
    assert found is None or Position.parse(str(found)) == found


def view_file(data: bytes) -> None:
    """A view file is read or refused with its line."""
    _refusing(lambda: parse_view(data.decode("utf-8", "replace")))


def log(data: bytes) -> None:
    """No event, whoever wrote it, keeps a run from being folded, viewed or told in a dialect."""
    snapshot, memory, stream = Snapshot(), ViewState(), LogRef("run", "0123456789")
    for seq, line in enumerate(data.split(b"\n")[:64], 1):
        event = _event(line, seq)
        apply(snapshot, event)
        for shown in _VIEW.step(memory, event):
            for speaker in dialects.DIALECTS.values():
                speaker.start(stream).group([shown])


_VIEW: Final = View(
    ViewSpec(streaming=Streaming(enabled=False, batch_size=2, nodes={"research": False}))
)


def _event(line: bytes, seq: int) -> Event:
    """Return the event that a producer would have stored who was given these bytes."""
    try:
        meant = decode_event(line)
        place = (meant.node, meant.agent, meant.path, meant.duration)
        record = encode_record(meant.type, meant.data, meant.time, place)
    except (PeerError, InvalidValue):
        record = encode_record("content", line.decode("utf-8", "replace"), 0.0)
    return decode_event(b'{"seq":%d,' % seq + record)


def _refusing(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except InvalidValue as refusal:
        json.dumps(refusal.message).encode()  # it can be told
        return None


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = MappingProxyType(
    {
        target.__name__: target
        for target in (sse_stream, sse_text, request, position, view_file, log)
    }
)
