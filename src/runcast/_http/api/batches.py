"""What remote writers send: bodies, batches and headers, parsed."""

import codecs
import re
from collections.abc import Sequence
from itertools import islice
from typing import Final, Literal, NamedTuple

import msgspec
from starlette.requests import Request

from runcast._http.api.bodies import parse_json
from runcast._http.api.fields import parse_fields
from runcast._producing.batches import MAX_BATCH_EVENTS, GivenEvent
from runcast.errors import InvalidEvent, InvalidValue

__all__ = ("LEASE_HEADER", "PRODUCER", "Begin", "GivenBatch")

LEASE_HEADER: Final = "runcast-lease"
"""The header with the secret by which a writer writes its run."""

PRODUCER: Final = "^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$"
"""The id of a producer, of the writer's choice."""

_NDJSON: Final = "application/x-ndjson"
_EXAMPLE: Final = '[{"type": "progress", "data": {…}}]'
_NUMBER: Final = re.compile("[1-9][0-9]{0,15}")


class Begin(msgspec.Struct):
    """The body of `POST /runs`."""

    name: str
    run_id: str = ""
    labels: dict[str, str] = {}
    ttl_s: float | None = None
    lease_s: float | None = None
    lease_id: str = ""
    replace: bool = False

    @classmethod
    def parse(cls, body: bytes) -> "Begin":
        """Return the body. Raises `InvalidValue`."""
        return parse_fields(body, cls, '{"name": "train"}')


class GivenBatch(NamedTuple):
    """A batch as it was sent: its events, not yet checked, its producer and its number."""

    events: Sequence[object]
    producer_id: str
    number: int

    @classmethod
    def parse(cls, request: Request, body: bytes) -> "GivenBatch":
        """Return the batch of a request.

        Raises:
            InvalidValue: a parameter or the body is malformed.
            InvalidEvent: names the line that is not JSON.
        """
        query = request.query_params
        producer_id, sequence = query.get("producer", ""), query.get("sequence", "")
        if not re.fullmatch(PRODUCER[1:-1], producer_id):
            raise InvalidValue(
                "expected ?producer= with an id of the sender's choice, 1 to 64 letters, digits "
                f"and _.:-, got {producer_id[:80]!r}"
            )
        if not _NUMBER.fullmatch(sequence):
            raise InvalidValue(
                f"expected ?sequence= with 1 for the first batch, then 2, …; got {sequence[:80]!r}"
            )
        given = _type_of(request)
        events = _lines(body) if given == "lines" else _array(body)
        return cls(events, producer_id, int(sequence))


def _type_of(request: Request) -> Literal["lines", "array"]:
    given = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if given == _NDJSON:
        return "lines"
    if given == "application/json" or given.endswith("+json"):
        return "array"
    raise InvalidValue(
        f"expected a batch of type application/json or {_NDJSON}, got {given[:80]!r}"
    )


_MALFORMED: Final = (ValueError, msgspec.MsgspecError)
"""msgspec's errors are `ValueError` only in its newer versions."""

_decode_array: Final = msgspec.json.Decoder(list[GivenEvent]).decode
_decode_line: Final = msgspec.json.Decoder(GivenEvent).decode
_split_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_LINE: Final = re.compile(rb"[^ \t\r\n][^\n]*")
_ESCAPE: Final = b"\\u"


def _array(body: bytes) -> Sequence[object]:
    try:
        return _decode_array(body)
    except (*_MALFORMED, RecursionError):
        pass  # Read it leniently, and one event after another, to name what is wrong.
    if _ESCAPE in body:
        _check_count(body)
    given = parse_json(body, _EXAMPLE)
    if not isinstance(given, list):
        raise InvalidValue(f"expected an array of events like {_EXAMPLE}")
    return given


def _check_count(body: bytes) -> None:
    """Raise `InvalidValue` if a body that may have halves of surrogate pairs has too many events.

    To mend so many would keep the loop busy for seconds. They are counted without the escapes:
    `n` may stand in a text, and behind a backslash.
    """
    try:
        count = len(_split_array(body.removeprefix(codecs.BOM_UTF8).replace(_ESCAPE, b"nu")))
    except RecursionError:
        return  # `parse_json` says so
    except _MALFORMED as error:
        raise InvalidValue(f"expected a body like the array {_EXAMPLE}: {error!s:.300}") from None
    if count > MAX_BATCH_EVENTS:
        raise _too_many(str(count))


def _too_many(count: str) -> InvalidValue:
    return InvalidValue(f"expected 1 to {MAX_BATCH_EVENTS} events, got {count}")


def _lines(body: bytes) -> Sequence[object]:
    lines = [found[0] for found in islice(_LINE.finditer(body), MAX_BATCH_EVENTS + 1)]
    if len(lines) > MAX_BATCH_EVENTS:
        raise _too_many("more")
    try:
        return list(map(_decode_line, lines))
    except (*_MALFORMED, RecursionError):
        pass  # as above
    events = []
    for index, line in enumerate(lines):
        try:
            events.append(parse_json(line, '{"type": "progress", "data": {…}}'))
        except InvalidValue as error:
            raise InvalidEvent(f"event {index}: {error.message}", index) from None
    return events
