"""What parent and child say to each other, however the socket cuts it."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast._functions.function import Source
from runcast._workers.processes import control
from runcast.errors import PeerError

FRAMES = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=8)


@given(FRAMES, st.lists(st.integers(0, 400), max_size=12))
def test_frames_come_whole_wherever_they_are_cut(
    frames: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    data = b"".join(control.encode_frame(kind, body) for kind, body in frames)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = control.Frames(100)
    found = [frame for start, end in pairwise(places) for frame in reader.feed(data[start:end])]
    assert found == frames


@given(st.binary(max_size=200))
def test_rubbish_is_frames_or_refused(data: bytes) -> None:
    reader = control.Frames(50)
    with suppress(PeerError):
        assert all(len(body) < 50 for _, body in reader.feed(data))


def test_a_reader_that_stops_early_goes_on_with_the_next_frame() -> None:
    reader = control.Frames(100)
    data = b"".join(control.encode_frame(1, bytes((n,))) for n in range(3))
    for _, body in reader.feed(data):
        assert body == b"\0"
        break
    assert [body for _, body in reader.feed(b"")] == [b"\1", b"\2"]


@given(st.binary(max_size=100))
def test_a_message_that_is_none_is_refused(body: bytes) -> None:
    for kind in (control.Loaded, control.Ask, control.Flush, control.Trace):
        try:
            assert isinstance(control.decode(body, kind), kind)
        except PeerError:
            continue


@pytest.mark.parametrize(
    "command",
    [
        control.Load(Source("main", "main.py", ("src",))),
        control.Call(
            source=Source("main", "main.py"),
            attribute="f",
            inputs={"a": [1, None, "\u2028"]},
            is_plain=True,
            run_id="run",
            folder="/tmp",
            environment={"KEY": "value"},
            max_event_bytes=1,
        ),
        control.Cancel("enough"),
        control.Reply(1, {"type": "accept"}),
        control.Reply(2, code="conflict", message="no"),
    ],
)
def test_commands_arrive_as_they_were_sent(command: control.Command) -> None:
    ((_, body),) = control.Frames(1000).feed(control.encode(command))
    assert control.decode_command(body) == command
