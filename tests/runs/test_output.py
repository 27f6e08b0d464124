"""What a child process prints: lines, bounded in length and in number."""

import pytest

from runcast._functions.secrets import Redactor
from runcast._settings import Settings
from runcast._workers.processes.output import Output
from runcast.testing import FakeClock


def make(clock: FakeClock, *, per_s: int = 5, most: int = 10, secret: str = "") -> Output:
    settings = Settings(output_lines_per_s=per_s, output_line_bytes=most)
    return Output(clock, settings, Redactor([secret]))


def test_lines_are_put_together_from_pieces(clock: FakeClock) -> None:
    output = make(clock)
    assert output.feed(b"on") == []
    assert output.feed(b"e\ntw") == ["one"]
    assert output.feed(b"o\r\nthree\rfour") == ["two", "three"]
    assert output.end() == ["four"]
    assert output.end() == []


def test_characters_that_are_cut_or_none_are_shown(clock: FakeClock) -> None:
    output = make(clock)
    first, second = "é".encode()[:1], "é".encode()[1:]
    assert output.feed(first) == []
    assert output.feed(second + b"\n\xff\n") == ["é", "\ufffd"]


@pytest.mark.parametrize("pieces", [[b"x" * 25 + b"\n"], [b"x" * 8, b"x" * 8, b"x" * 9 + b"\n"]])
def test_a_long_line_is_cut_and_that_is_told(clock: FakeClock, pieces: list[bytes]) -> None:
    output = make(clock)
    shown = [line for piece in pieces for line in output.feed(piece)]
    assert shown == ["xxxxxxxxxx… (15 more bytes)"]
    assert output.feed(b"short\n") == ["short"]


def test_a_long_line_is_not_cut_within_a_secret(clock: FakeClock) -> None:
    output = make(clock, secret="the-secret")
    assert output.feed(b"x" * 5 + b"the-secret" + b"y" * 5 + b"\n") == ["xxxxx… (15 more bytes)"]
    assert output.feed(b"the-secret\n") == ["the-secret"]


def test_lines_beyond_the_rate_are_left_out_and_counted(clock: FakeClock) -> None:
    output = make(clock)
    assert output.feed(b"a\n" * 12) == ["a"] * 5
    assert output.is_flooded
    clock.advance(0.5)
    assert output.feed(b"b\nb\nb\n") == ["lines left out here: 7 (output_lines_per_s)", "b", "b"]
    assert output.is_flooded
    clock.advance(100)
    shown = output.feed(b"c\n" * 10)
    assert shown == ["lines left out here: 1 (output_lines_per_s)", *["c"] * 5]
    assert output.end() == ["lines left out here: 5 (output_lines_per_s)"]
    assert not output.is_flooded


def test_the_last_line_is_kept_even_after_a_flood(clock: FakeClock) -> None:
    output = make(clock, most=100)
    output.feed(b"a\n" * 9 + b"Error: it broke")
    assert output.end() == ["lines left out here: 4 (output_lines_per_s)", "Error: it broke"]
