"""The order of several streams, from the marks between them."""

import os
import random
from collections.abc import Iterator

import pytest

from runcast._scripts.marks import ERR, OUT, Marker, Merger, Piece


@pytest.fixture
def pipes() -> Iterator[list[tuple[int, int]]]:
    pipes = [os.pipe(), os.pipe()]
    yield pipes
    for ends in pipes:
        for end in ends:
            os.close(end)


def said(pieces: list[Piece]) -> list[tuple[int, object]]:
    """Return what follows one another, pieces of one stream joined."""
    joined: list[tuple[int, object]] = []
    for piece in pieces:
        if piece.event:
            joined.append((piece.event, "event"))
        elif joined and joined[-1][0] == piece.stream and isinstance(joined[-1][1], bytes):
            joined[-1] = (piece.stream, joined[-1][1] + piece.data)
        else:
            joined.append((piece.stream, piece.data))
    return joined


@pytest.mark.parametrize("seed", range(30))
def test_pipes_read_in_any_pieces_give_the_order_of_writing(
    pipes: list[tuple[int, int]], seed: int
) -> None:
    chance = random.Random(seed)
    (out, out_end), (err, err_end) = pipes
    marker = Marker("n0nce", out_end, err_end)
    expected: list[Piece] = []
    for number in range(60):
        kind = chance.choice(
            ("out", "err", "child of out", "child of err", "event", "raw out", "raw err")
        )
        stream, end = (OUT, out_end) if kind.endswith("out") else (ERR, err_end)
        text = b"%d;" % number
        if kind == "event":
            marker.send(lambda at: expected.append(Piece(OUT, event=at)))
        elif kind.startswith("raw"):
            # What others write is ordered by the marks around it.
            marker.send(lambda at: expected.append(Piece(OUT, event=at)))
            os.write(end, text)
            expected.append(Piece(stream, text))
            marker.send(lambda at: expected.append(Piece(OUT, event=at)))
        else:
            marker.write(stream, lambda e=end, t=text: os.write(e, t), is_quiet=False)  # type: ignore[misc]
            expected.append(Piece(stream, text))
        if kind.startswith("child"):  # it was started after Python wrote, and writes to the other
            os.write(err_end if stream == OUT else out_end, b"child")
            expected.append(Piece(ERR - stream, b"child"))
    merger = Merger("n0nce")
    found: list[Piece] = []
    left = {OUT: os.read(out, 65536), ERR: os.read(err, 65536)}
    while any(left.values()):
        stream = chance.choice([each for each in left if left[each]])
        size = chance.randint(1, 40)
        found += merger.feed(stream, left[stream][:size])
        left[stream] = left[stream][size:]
    found += merger.end()

    assert said(found) == said(expected)
    assert merger.waits_behind is None


def test_what_is_quiet_is_passed_on_as_such(pipes: list[tuple[int, int]]) -> None:
    (out, out_end), (err, err_end) = pipes
    marker = Marker("n", out_end, err_end)
    marker.write(ERR, lambda: os.write(err_end, b"bar"), is_quiet=True)
    os.write(err_end, b"raw")
    merger = Merger("n")

    pieces = [*merger.feed(OUT, os.read(out, 99)), *merger.feed(ERR, os.read(err, 999))]

    assert pieces == [Piece(ERR, b"bar", is_quiet=True), Piece(ERR, b"raw")]


def test_marks_that_never_come_keep_nothing_back_for_ever(pipes: list[tuple[int, int]]) -> None:
    (out, out_end), (_, err_end) = pipes
    marker = Marker("n", out_end, err_end)
    marker.write(OUT, lambda: os.write(out_end, b"one"), is_quiet=False)
    merger = Merger("n")

    assert list(merger.feed(OUT, os.read(out, 99))) == []
    assert merger.waits_behind is not None
    assert list(merger.release()) == [Piece(OUT, b"one")]
    assert merger.waits_behind is None


def test_what_python_wrote_comes_before_what_its_child_writes_to_the_other_pipe(
    pipes: list[tuple[int, int]],
) -> None:
    """Although it was late in being read: the mark was read, and then both texts were there."""
    (out, out_end), (err, err_end) = pipes
    marker = Marker("n", out_end, err_end)
    marker.write(OUT, lambda: os.write(out_end, b"mine"), is_quiet=False)
    os.write(err_end, b"child")
    printed, merger = os.read(out, 99), Merger("n")
    at = printed.index(b"mine")

    pieces = [*merger.feed(OUT, printed[:at]), *merger.feed(ERR, os.read(err, 99))]
    assert (pieces, merger.waits_behind) == ([], 1)
    pieces += merger.feed(OUT, printed[at:])

    assert pieces == [Piece(OUT, b"mine"), Piece(ERR, b"child")]
    assert merger.waits_behind is None


def test_an_end_that_never_comes_keeps_nothing_back_for_ever(pipes: list[tuple[int, int]]) -> None:
    """A script that closes all files in the middle of a print leaves none."""
    (out, out_end), (err, err_end) = pipes
    marker = Marker("n", out_end, err_end)
    marker.write(OUT, lambda: os.write(out_end, b"mine"), is_quiet=False)
    os.write(err_end, b"child")
    printed, merger = os.read(out, 99), Merger("n")
    cut = printed[: printed.index(b"mine") + 4]

    pieces = [*merger.feed(OUT, cut), *merger.feed(ERR, os.read(err, 99))]
    assert (pieces, merger.waits_behind) == ([Piece(OUT, b"mine")], 1)

    assert list(merger.release()) == [Piece(ERR, b"child")]


def test_a_pipe_that_nobody_reads_any_more_is_not_waited_for(
    pipes: list[tuple[int, int]],
) -> None:
    (out, out_end), (_, err_end) = pipes
    marker = Marker("n", out_end, err_end)
    marker.write(OUT, lambda: os.write(out_end, b"one"), is_quiet=False)
    merger = Merger("n")
    assert list(merger.feed(OUT, os.read(out, 99))) == []

    assert list(merger.hang_up(ERR)) == [Piece(OUT, b"one")]


def test_marks_of_others_are_text(pipes: list[tuple[int, int]]) -> None:
    forged = b"\x1b]other;1v\x07text"
    merger = Merger("n")

    assert said([*merger.feed(OUT, forged), *merger.end()]) == [(OUT, forged)]
