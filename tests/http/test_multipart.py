"""Forms with a file: whole and in pieces, malformed and hostile."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast._http.api.bodies import FormFile, boundary_of, filename_of
from runcast.errors import InvalidValue

BOUNDARY = b"----x"


def part(content: bytes, disposition: str = 'name="f"; filename="a.txt"', more: str = "") -> bytes:
    head = f"Content-Disposition: form-data; {disposition}\r\n{more}\r\n"
    return b"--" + BOUNDARY + b"\r\n" + head.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def read(body: bytes, *cuts: int) -> tuple[FormFile, bytes]:
    found = FormFile(BOUNDARY)
    content = bytearray()
    edges = [0, *sorted(cuts), len(body)]
    for begin, end in pairwise(edges):
        for piece in found.feed(body[begin:end]):
            content += piece
    found.end()
    return found, bytes(content)


def test_the_file_of_a_form_is_found() -> None:
    found, content = read(
        form(
            part(b"ignored", 'name="note"'),
            part(b"abc\r\n--\r\n", more="Content-Type: text/plain; charset=utf-8\r\n"),
            part(b"ignored, too", 'name="other"'),
        )
    )

    assert (found.name, found.media_type, content) == ("a.txt", "text/plain", b"abc\r\n--\r\n")


@pytest.mark.parametrize("content", [b"", b"\r\n", b"--", b"\r\n----", b"\r\n------y", b"\x00\xff"])
def test_a_form_may_be_cut_anywhere(content: bytes) -> None:
    body = b"\r\n" + form(part(b"", 'name="n"'), part(content))

    for cut in range(len(body) + 1):
        assert read(body, cut)[1] == content
    assert read(body, *range(len(body)))[1] == content


@given(st.binary(max_size=200), st.lists(st.integers(0, 300), max_size=6))
def test_any_content_comes_through(content: bytes, cuts: list[int]) -> None:
    if b"\r\n--" + BOUNDARY in b"\r\n" + content:
        return
    body = form(part(content))

    assert read(body, *(min(cut, len(body)) for cut in cuts))[1] == content


@given(st.binary(max_size=300))
def test_nonsense_is_refused_and_nothing_else_happens(body: bytes) -> None:
    with pytest.raises(InvalidValue):
        read(body)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "cut off"),
        (form(), "a form with a file"),
        (form(part(b"x", 'name="f"')), "a form with a file"),
        (form(part(b"x"), part(b"y")), "one file"),
        (form(part(b"x"))[:-6], "cut off"),
        (b"--" + BOUNDARY + b"nonsense\r\n", "boundary"),
        (b"--" + BOUNDARY + b"x" * 2000, "boundary"),
        (b"--" + BOUNDARY + b"\r\nA: " + b"x" * 20_000, "header size"),
        (b"--" + BOUNDARY + b"\r\nA: " + b"x" * 20_000 + b"\r\n\r\n", "header size"),
        (form(part(b"x", more="A: b\r\n" * 20)), "header count"),
        (form(part(b"x" * 70_000, 'name="f"')), "besides the file"),
        (form(*[part(b"", 'name="f"')] * 2000, part(b"x")), "besides the file"),
        (b"x" * 70_000, "boundary"),
        (b"\r\n" + b"x" * 70_000, "besides the file"),
        (form(part(b"x")) + b"x" * 70_000, "besides the file"),
    ],
)
def test_what_is_wrong_with_a_form_is_told(body: bytes, problem: str) -> None:
    with pytest.raises(InvalidValue, match=problem):
        read(body)


def test_only_what_may_be_a_delimiter_is_kept() -> None:
    found = FormFile(BOUNDARY)
    found.feed(part(b"")[:-2])
    for _ in range(100):
        assert sum(map(len, found.feed(b"x" * 10_000))) == 10_000

    assert found.feed(b"\r\n--") == []
    assert b"".join(found.feed(b"x")) == b"\r\n--x"


def test_nonsense_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidValue):
        read(b"nonsense")

    assert caplog.records == []


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ('form-data; name="f"; filename="a b.txt"', "a b.txt"),
        ("attachment; filename=a.txt", "a.txt"),
        ('form-data; filename="a\\"b.txt"', 'a"b.txt'),
        ('form-data; filename="a%22%0D%0Ab"', 'a"\r\nb'),
        ('form-data; filename="C:\\temp\\a.txt"', "C:\\temp\\a.txt"),
        ('form-data; filename="100%.txt"', "100%.txt"),
        ('form-data; filename="文.txt"', "文.txt"),
        ("attachment; filename=\"x\"; filename*=UTF-8''%E6%96%87.txt", "文.txt"),
        ("attachment; filename*=UTF-8''%ff", "\ufffd"),
        ("attachment; filename*=klingon''x; filename=y", "y"),
        ('form-data; name="filename=x"', None),
        ('form-data; filename=""', ""),
        ("", None),
    ],
)
def test_names_are_read_as_browsers_write_them(given: str, name: str | None) -> None:
    assert filename_of(given) == name


@pytest.mark.parametrize(
    "given",
    [
        "",
        "; boundary=",
        '; boundary=""',
        "; boundary=" + "x" * 71,
        '; boundary="a\r"',
        "; boundary=é",
    ],
)
def test_a_boundary_must_be_one(given: str) -> None:
    with pytest.raises(InvalidValue, match="boundary"):
        boundary_of(f"multipart/form-data{given}")


def test_a_boundary_may_be_quoted() -> None:
    assert boundary_of('multipart/form-data; charset=x; boundary="a b"') == b"a b"
