"""The event and its encoding: what was meant is what is stored, or it is refused."""

import collections
import dataclasses
import datetime
import enum
import json
import math
import pathlib
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runcast.errors import EventTooLarge, InvalidValue, PeerError
from runcast.events.model import (
    MAX_NAME_CHARS,
    MAX_PATH,
    Event,
    as_stored,
    decode_event,
    encode_record,
)
from runcast.events.plain import MAX_DEPTH
from tests.events.strategies import broken_texts, events, json_values, names, types

TIME = 1763715600.123456

_python_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | broken_texts
    | st.sampled_from([pathlib.PurePosixPath("a/b"), datetime.date(2026, 1, 31), ValueError("x")]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(names | broken_texts | st.integers() | st.floats(), inner, max_size=3)
    ),
    max_leaves=8,
)


def recorded(data: object, **options: Any) -> Event:
    """Return the event that a log gives back for this data."""
    return decode_event(b'{"seq":7,' + encode_record("x", data, TIME, **options))


@pytest.fixture
def lift_limit_on_digits() -> Iterator[None]:
    """Let whole numbers of any length be written, as a program may that prints such."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(limit)


def nested(levels: int, core: object = "x") -> object:
    for _ in range(levels):
        core = [core]
    return core


# --- what goes in comes out -----------------------------------------------------------------------


@given(json_values)
def test_json_comes_back_as_it_went_in(data: object) -> None:
    assert recorded(data).data == data


@given(events())
def test_encoding_what_was_decoded_gives_the_same_bytes(event: Event) -> None:
    place = (event.node, event.agent, event.path, event.duration)
    record = encode_record(event.type, event.data, event.time, place)

    assert decode_event(b'{"seq":1,' + record) == event
    assert encode_record(event.type, event.data, event.time, place) == record


@given(_python_values)
@example("\n\nid: 9\ndata: {}\n\n")
def test_any_value_gives_one_line_of_json_or_a_clear_refusal(data: object) -> None:
    refusal = ""
    record = b""
    try:
        record = encode_record("x", data, TIME)
    except InvalidValue as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("expected ")
        assert len(refusal) < 600
        return

    assert b"\n" not in record
    assert b"\r" not in record
    assert json.loads(b"{" + record, parse_constant=pytest.fail).keys() == {"time", "type", "data"}
    assert decode_event(b'{"seq":1,' + record).type == "x"


def test_the_order_is_canonical_and_empty_places_are_left_out() -> None:
    place = ("research", "writer", ("supervisor",), 1.5)

    assert encode_record("log", {"b": 1, "a": 2}, TIME, place) == (
        b'"time":1763715600.123456,"type":"log","data":{"b":1,"a":2},"node":"research",'
        b'"agent":"writer","path":["supervisor"],"duration":1.5}'
    )
    assert encode_record("log", None, TIME) == b'"time":1763715600.123456,"type":"log","data":null}'
    assert encode_record("log", 1, TIME, ("", "", (), None)) == encode_record("log", 1, TIME)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([math.nan, math.inf, -math.inf], [None, None, None]),
        (2**80, 2**80),
        (-(2**80), -(2**80)),
        (0.1 + 0.2, 0.1 + 0.2),
        ("\ud800a\udfff", "\ufffda\ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
        ({"\ud800": ["\udfff"]}, {"\ufffd": ["\ufffd"]}),
        ("\0\u2028\x85\x7f", "\0\u2028\x85\x7f"),
        ({1: "a", 2.5: "b", 2**70: "\ud800"}, {"1": "a", "2.5": "b", str(2**70): "\ufffd"}),
        ({1: "a", 2.5: "b"}, {"1": "a", "2.5": "b"}),
        ((1, (2,)), [1, [2]]),
        ({3}, [3]),
        (pathlib.PurePosixPath("out/a.txt"), "out/a.txt"),
        ([pathlib.PurePosixPath("a"), "\ud800"], ["a", "\ufffd"]),
        (datetime.datetime(2026, 1, 31, 10, tzinfo=datetime.UTC), "2026-01-31T10:00:00Z"),
        (b"\xff", "/w=="),
    ],
)
def test_what_json_holds_otherwise_is_translated(data: object, expected: object) -> None:
    assert recorded(data).data == expected


# --- objects --------------------------------------------------------------------------------------


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "overridden"


class Whole(int):
    pass


class Number(float):
    pass


class Colour(str, enum.Enum):  # noqa: UP042 - its str() is not its value, which is the point
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Node:
    name: str
    below: object = None


class Model:
    def model_dump(self, mode: str) -> dict[str, str]:
        return {"mode": mode}


class Array:
    def tolist(self) -> list[int]:
        return [1, 2]


class Record(msgspec.Struct):
    name: str


@pytest.mark.parametrize("beside", ["fine", "\ud800"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Text("x"), "x"),
        ({Text("k"): Text("v")}, {"k": "v"}),
        (Whole(3), 3),
        (Number(2.5), 2.5),
        (True, True),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Node("a", Node("b")), {"name": "a", "below": {"name": "b", "below": None}}),
        (Model(), {"mode": "json"}),
        (Array(), [1, 2]),
        (Record("a"), {"name": "a"}),
        (msgspec.Raw(b'{"a": 1}'), {"a": 1}),
        (collections.OrderedDict(a=1), {"a": 1}),
    ],
)
def test_an_object_is_encoded_alone_and_beside_what_must_be_mended(
    value: object, expected: object, beside: str
) -> None:
    mended = "fine" if beside == "fine" else "\ufffd"

    assert recorded([value, beside]).data == [expected, mended]


def test_text_inside_an_object_is_mended() -> None:
    assert recorded(Node("\ud800")).data == {"name": "\ufffd", "below": None}
    assert recorded([Node("a", Node("\ud800"))]).data[0]["below"]["name"] == "\ufffd"


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError

    @property
    def model_dump(self) -> object:
        raise RuntimeError


class Impostor:
    """Says that it is of another class, which `isinstance` believes."""

    def __init__(self, of: type) -> None:
        self.of = of

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return self.of


class Unnameable(str):
    __slots__ = ()

    def encode(self, *_: str, **__: str) -> bytes:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


class Chatty:
    def __repr__(self) -> str:
        return Unnameable("chatty")


class Unreadable(dict[str, object]):
    def items(self) -> Any:
        raise KeyError("items")


class Endless:
    def model_dump(self, mode: str) -> object:
        return Endless()


def _cyclic() -> list[object]:
    cycle: list[object] = []
    cycle.append({"again": cycle})
    return cycle


def _cyclic_object() -> Node:
    node = Node("a")
    node.below = node
    return node


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_cyclic, r"a cycle at data\[0\]\['again'\]"),
        (_cyclic_object, "at data, got Node"),
        (object, "at data, got object"),
        (lambda: {"a": [1, {"b": object()}]}, r"at data\['a'\]\[1\]\['b'\], got object"),
        (lambda: {"k" * 1000: object()}, r"at data\['k{79}…\], got object"),
        (lambda: [ValueError("x")], r"at data\[0\], got ValueError"),
        (lambda: (i for i in "ab"), "at data, got generator"),
        (lambda: iter([1]), "at data, got list_iterator"),
        (lambda: Node, "at data, got type"),
        (lambda: Model, "at data, got type"),
        (Rude, "at data, got Rude"),
        (Endless, "at data, got Endless"),
        (lambda: 10**5000, "at data, got int"),
        (lambda: {None: 1}, "the keys of data to be strings or numbers, got None"),
        (lambda: {True: 1}, "the keys of data to be strings or numbers, got True"),
        (lambda: {10**5000: 1}, "the keys of data to be strings or numbers, got an object of int"),
        (lambda: Unreadable(a="\ud800"), "data that can be read, got KeyError"),
        (lambda: {(1, 2): 1}, r"the keys of data to be strings or numbers, got \(1, 2\)"),
        (lambda: {Rude(): 1}, "the keys of data to be strings or numbers, got an object of Rude"),
        (lambda: msgspec.Raw(b"1\n\ndata: forged\n\n"), "at data, got Raw"),
        (lambda: msgspec.Raw(b""), "at data, got Raw"),
        (lambda: msgspec.Raw(b"nul"), "at data, got Raw"),
        (lambda: msgspec.Raw(b'"\xff"'), "at data, got Raw"),
        (lambda: msgspec.Raw(b"1}"), "at data, got Raw"),
        (lambda: msgspec.Raw(b'1,"seq":99'), "at data, got Raw"),
        (lambda: msgspec.Raw(b'1,"data":2'), "at data, got Raw"),
        (lambda: {"a": msgspec.Raw(b'1},"type":"done","x":{"b":2')}, r"at data\['a'\], got Raw"),
        (lambda: [{"a": (msgspec.Raw(b"1,"),)}], r"at data\[0\]\['a'\]\[0\], got Raw"),
        (lambda: msgspec.Raw(b"1e999"), "at data, got Raw"),
        (lambda: {"a": [msgspec.Raw(b"-1e999")]}, r"at data\['a'\]\[0\], got Raw"),
        (lambda: nested(60, [msgspec.Raw(b"1e999")] * 60), r"\[0\], got Raw"),
        (lambda: Node("a", msgspec.Raw(b"")), "at data, got Node"),
        (lambda: nested(MAX_DEPTH + 1), r"nested at most 100 deep, got more at data\[0\]"),
        (lambda: nested(MAX_DEPTH + 1, "\ud800"), "nested at most 100 deep"),
        (lambda: nested(MAX_DEPTH + 1, {}), "nested at most 100 deep"),
        (lambda: nested(5_000), r"nested at most 100 deep, got more at data\[0\]"),
        (lambda: nested(MAX_DEPTH, Node("a")), "nested at most 100 deep"),
        (lambda: [_chain(MAX_DEPTH)], "nested at most 100 deep"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(
    make: Callable[[], object], said: str
) -> None:
    with pytest.raises(InvalidValue, match=said) as caught:
        encode_record("x", make(), TIME)

    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("number", [-(10**4299), 10**5000], ids=["at the bound", "beyond it"])
def test_a_number_too_long_to_be_read_again_is_refused(
    number: int, lift_limit_on_digits: None
) -> None:
    for data in (number, {"a": number}, {"a": {"b": [number]}}):
        with pytest.raises(InvalidValue, match="got int"):
            encode_record("x", data, TIME)
    assert recorded({"a": 10**4000, "text": "x" * 5000}).data["a"] == 10**4000


def test_a_dict_that_changes_while_it_is_read_is_encoded_as_it_was() -> None:
    class Changing:
        def tolist(self) -> int:
            changed.clear()
            return 1

    changed = {"a": "\ud800", "b": Changing(), "c": 3}

    assert recorded(changed).data == {"a": "\ufffd", "b": 1, "c": 3}


def test_a_dict_that_another_thread_changes_at_any_moment_is_encoded() -> None:
    shared: dict[str, object] = {"a": 1, "b": 2}

    def change(frame: FrameType, event: str, arg: object) -> Any:
        # As if the other thread had its turn before each line.
        if frame.f_code is encode_record.__code__:
            shared[f"more {len(shared)}"] = 3
            return change
        return None

    tracer = sys.gettrace()
    sys.settrace(change)
    try:
        record = encode_record("x", shared, TIME)
    finally:
        sys.settrace(tracer)

    assert decode_event(b"{" + record).data.items() <= shared.items()


@pytest.mark.parametrize("place", [None, ("n", "", ("p",), 1.5)])
@pytest.mark.parametrize("text", ["plain", "\u2028é"])
def test_json_written_beforehand_is_taken_as_it_is(text: str, place: Any) -> None:
    raw = msgspec.Raw(f'{{"a": ["{text}"]}}'.encode())

    record = encode_record("x", {"raw": raw}, TIME, place)

    assert b'"a": [' in record, "it was not taken apart"
    assert decode_event(b"{" + record).data == {"raw": {"a": [text]}}


LINE_ENDS = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\x1dh\x1ei\rj\nk\r\nl “quoted” – \u2028"


@pytest.mark.parametrize(
    "data",
    [
        LINE_ENDS,
        {"text": LINE_ENDS, LINE_ENDS: 1},
        [{"deep": [LINE_ENDS]}],
        msgspec.Raw(json.dumps(LINE_ENDS, ensure_ascii=False).encode()),
        {"long": LINE_ENDS * 1000},
        {"many": "\u0085" * 1000},
    ],
    ids=lambda data: f"{data!s:.20}",
)
def test_an_event_is_one_line_to_every_reader(data: Any) -> None:
    record = encode_record("x", data, TIME, (LINE_ENDS[:20], "", (LINE_ENDS[:20],), None))

    assert len(record.decode().splitlines()) == 1
    event = decode_event(b"{" + record)
    assert event.data == (LINE_ENDS if isinstance(data, msgspec.Raw) else data)
    assert event.node == LINE_ENDS[:20]


def test_the_bound_of_an_event_counts_the_escapes() -> None:
    data = {"text": "\u0085" * 100}
    size = len(encode_record("x", data, TIME))
    assert encode_record("x", data, TIME, max_bytes=size)
    with pytest.raises(EventTooLarge):
        encode_record("x", data, TIME, max_bytes=size - 1)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_json_written_beforehand_ends_no_line(end: bytes) -> None:
    raw = msgspec.Raw(b'{"a":' + end + b"[1]}" + end)

    record = encode_record("x", {"raw": raw}, TIME)

    assert not set(b"\r\n") & set(record), "no store takes it"
    assert decode_event(b"{" + record).data == {"raw": {"a": [1]}}


def _chain(length: int) -> Node | None:
    chain: Node | None = None
    for _ in range(length):
        chain = Node("x", chain)
    return chain


@pytest.mark.parametrize("make", [_chain, nested], ids=["objects", "lists"])
def test_no_depth_beyond_the_bound_gets_through(make: Callable[[int], object]) -> None:
    for levels in range(MAX_DEPTH + 1, 1200, 3):
        with pytest.raises(InvalidValue):
            encode_record("x", make(levels), TIME)


@pytest.mark.parametrize("core", ["x", "\ud800", []])
def test_the_deepest_nesting_allowed_is_encoded(core: object) -> None:
    levels = MAX_DEPTH - isinstance(core, list)

    assert recorded(nested(levels, core)).type == "x"
    assert recorded([nested(levels - 1, core)] * 3).type == "x"


def test_the_same_list_twice_is_no_cycle() -> None:
    shared = ["\ud800"]

    assert recorded([shared, shared]).data == [["\ufffd"], ["\ufffd"]]


# --- type, time, place and size -------------------------------------------------------------------


@pytest.mark.parametrize(
    "type_",
    [
        *("", "A", "a b", "a\n", "x" * 65, "x" * 10_000_000, "\ud800", None, 5, [], {}, b"log"),
        *(Rude(), Chatty(), pytest.param(Impostor(str), id="impostor")),
    ],
)
def test_a_malformed_type_is_refused(type_: Any) -> None:
    with pytest.raises(InvalidValue, match="expected an event type like 'progress'") as caught:
        encode_record(type_, {}, TIME)

    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("type_", [Text("red"), Colour.RED])
def test_a_type_may_be_a_kind_of_string(type_: str) -> None:
    assert b'"type":"red"' in encode_record(type_, {}, TIME)


def test_a_kind_of_string_does_not_pass_for_another() -> None:
    class Disguised(str):
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    assert b'"type":"fine"' in encode_record(Disguised("fine"), {}, TIME)
    with pytest.raises(InvalidValue, match="expected an event type like 'progress'"):
        encode_record(Disguised("A\n"), {}, TIME)


@pytest.mark.parametrize(
    "time", [math.nan, math.inf, -math.inf, pytest.param(10**400, id="long"), None, "1"]
)
def test_a_time_that_is_none_is_refused(time: Any) -> None:
    with pytest.raises(InvalidValue, match="expected the time as Unix seconds"):
        encode_record("x", {}, time)


@given(broken_texts, broken_texts, st.lists(broken_texts, max_size=3), st.none() | st.floats(0, 9))
def test_a_place_comes_back_mended(
    node: str, agent: str, path: list[str], duration: float | None
) -> None:
    event = recorded({}, place=(node, agent, tuple(path), duration))

    def mended(name: str) -> str:
        return name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    assert (event.node, event.agent) == (mended(node), mended(agent))
    assert event.path == tuple(map(mended, path))
    assert event.duration == duration


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("x" * (MAX_NAME_CHARS + 1), "", (), None), "names of at most 200 characters"),
        ((None, "", (), None), "names of at most 200 characters, got None"),
        (("", 5, (), None), "names of at most 200 characters, got 5"),
        (("", "", ("a", None), None), "names of at most 200 characters, got None"),
        (("", "", ("a",) * (MAX_PATH + 1), None), "a path of at most 32 steps"),
        (("", "", None, None), "a path of at most 32 steps, got None"),
        (("", "", "abc", None), "a path of at most 32 steps, got 'abc'"),
        (("", "", (), "1.5"), "the duration in seconds or None, got '1.5'"),
        (("", "", (), True), "the duration in seconds or None, got True"),
        (("", "", (), math.nan), "the duration in seconds or None, got nan"),
        (("", "", (), 10**400), "the duration in seconds or None, got 1000"),
        ((Impostor(str), "", (), None), "that can be read, got TypeError"),
        (("", "", Impostor(tuple), None), "that can be read, got TypeError"),
        (("", "", (), Impostor(float)), "that can be read, got TypeError"),
    ],
)
def test_a_malformed_place_is_refused(place: Any, said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        encode_record("x", {}, TIME, place)


def test_a_name_may_be_any_kind_of_string() -> None:
    name = Unnameable("\ud800é")

    event = recorded({}, place=(name, Text("agent"), (name,), None))

    assert (event.node, event.agent, event.path) == ("\ufffdé", "agent", ("\ufffdé",))


def test_names_and_paths_may_be_as_long_as_their_caps() -> None:
    name = "n" * MAX_NAME_CHARS

    assert recorded({}, place=(name, name, (name,) * MAX_PATH, 0)).path == (name,) * MAX_PATH


def test_whole_seconds_are_written_as_decoding_gives_them_back() -> None:
    record = encode_record("x", {}, 5, ("", "", (), 2))

    assert record == b'"time":5.0,"type":"x","data":{},"duration":2.0}'


@given(data=json_values, kind=types, time=st.floats(0, 1e10) | st.just(TIME))
def test_what_would_be_stored_is_what_the_log_gives_back(
    data: object, kind: str, time: float
) -> None:
    place = ("n", "a", ("p",), 1.5)
    record = encode_record(kind, data, time, place)

    assert as_stored(kind, data, time, place) == decode_event(b"{" + record)


@given(time=st.floats(0, 9_999_999_999))
def test_what_fits_without_a_time_fits_whenever_it_is_stored(time: float) -> None:
    longest = len(encode_record("x", "data", 1111111111.0000002))
    as_stored("x", "data", max_bytes=longest)
    with pytest.raises(EventTooLarge):
        as_stored("x", "data", max_bytes=longest - 1)

    encode_record("x", "data", round(time, 7), max_bytes=longest)


def test_an_event_over_its_size_is_refused_and_one_byte_less_is_not() -> None:
    size = len(encode_record("x", "a" * 100, TIME))

    assert encode_record("x", "a" * 100, TIME, max_bytes=size)
    with pytest.raises(EventTooLarge, match=f"at most {size - 1} bytes, got {size} "):
        encode_record("x", "a" * 100, TIME, max_bytes=size - 1)


def test_size_is_counted_in_bytes_of_utf8() -> None:
    with pytest.raises(EventTooLarge):
        encode_record("x", "\U0001f600" * 30, TIME, max_bytes=120)


# --- reading --------------------------------------------------------------------------------------


def test_unknown_types_and_fields_are_read() -> None:
    event = decode_event('{"seq":1,"time":2,"type":"weather","data":[1],"new_field":{"a":1}}')

    assert event == Event(seq=1, time=2.0, type="weather", data=[1])


def test_an_event_not_yet_committed_has_no_seq() -> None:
    assert decode_event(b'{"type":"x"}') == Event(seq=0, time=0.0, type="x", data=None)


@pytest.mark.parametrize(
    "canonical",
    [
        *(b"", b"{", b"null", b"[]", b'"x"', b"{}", b'{"type":1}', b'{"type":null}'),
        *(b'{"type":"x","seq":"1"}', b'{"type":"x","seq":1.5}', b'{"type":"x","time":"now"}'),
        *(b'{"type":"x","path":["a",1]}', b'{"type":"x"} {"type":"y"}', b'{"type":"x","data":NaN}'),
        *(
            b'{"type":"\xff"}',
            b'{"type":"\xed\xa0\x80"}',
            '{"type":"\ud800"}',
            '{"type":"\\ud800"}',
        ),
        b'{"type":"x","data":' + b"[" * 100_000,
        b'{"type":"x","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"type":"x","data":' + b"9" * 100_000 + b"}",
    ],
)
def test_what_is_no_event_is_the_peers_fault(canonical: bytes | str) -> None:
    with pytest.raises(PeerError, match="expected the JSON of an event"):
        decode_event(canonical)


@given(st.binary() | st.text(st.characters()))
def test_reading_either_gives_an_event_or_a_peer_error(canonical: bytes | str) -> None:
    try:
        event = decode_event(canonical)
    except PeerError:
        return

    assert isinstance(event.type, str)


@given(types)
def test_an_event_cannot_be_changed(type_: str) -> None:
    with pytest.raises(AttributeError):
        Event(type=type_).seq = 5  # type: ignore[misc]
