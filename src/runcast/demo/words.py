"""Count the words of a file: a generator that yields its progress and its results so far.

A word is a run of letters, in any script and case, without apostrophes ("don't" is "dont"). A run
with digits is not a word, nor is a run of more than 64 letters: identifiers and encoded data would
outnumber the words.
"""

import codecs
import os
import re
import stat
from collections import Counter
from collections.abc import Generator
from itertools import islice
from typing import Any, BinaryIO, Final, NamedTuple

import runcast
from runcast.demo.pace import Reports

__all__ = (
    "MOST_LETTERS",
    "MOST_WORDS",
    "Tally",
    "WordCount",
    "count_words",
)

MOST_LETTERS: Final = 64
"""Most letters of a word."""

MOST_WORDS: Final = 200_000
"""Distinct words held, some 20 MB: ten times the words of a long novel."""

_SPACED: Final = bytes(
    byte | 0x20 if chr(byte).isalpha() else byte if chr(byte).isdigit() else 0x20
    for byte in range(128)
) + bytes(128)
"""ASCII in lower case, with spaces for all other characters than letters and digits."""

_RUNS: Final = re.compile(r"[^\W_]+")
_APOSTROPHES: Final = str.maketrans("", "", "'’")


class WordCount(NamedTuple):
    """A word and its count."""

    word: str
    times: int


class Tally:
    """Counts words and lines. The result is the same wherever the text is cut.

    Memory is bounded: beyond MOST_WORDS distinct words the rarer half is dropped; `forgotten`
    counts these occurrences. Malformed UTF-8 separates words.
    """

    def __init__(self, most_words: int = MOST_WORDS) -> None:
        self.lines = self.words = self.forgotten = 0
        self._most_words = most_words
        self._counts: Counter[str] = Counter()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tail = ""
        """The run at the end of the last piece: it may continue in the next."""

    @property
    def distinct(self) -> int:
        """Number of distinct words held."""
        return len(self._counts)

    def feed(self, piece: bytes) -> None:
        """Count a piece; the run at its end is counted with the next piece, or by `finish`."""
        self.lines += piece.count(b"\n")
        is_lower = piece.isascii() and self._tail.isascii() and not self._decoder.getstate()[0]
        if is_lower:
            # Log files are ASCII for the most part, and this is three times as fast.
            text = self._tail.lower() + piece.translate(_SPACED, b"'").decode("ascii")
            runs = text.split()
        else:
            text = self._tail + self._decoder.decode(piece).translate(_APOSTROPHES)
            # Convert to lower case only at the end, because a sigma's form depends on the next
            # letter.
            runs = _RUNS.findall(text)
        if not runs or not text.endswith(runs[-1]):
            self._tail = ""
        else:
            # One letter more than a word may have: too long, whatever follows.
            self._tail = runs.pop()[: MOST_LETTERS + 1]
        self._count(runs, is_lower)

    def finish(self) -> None:
        """Count the run at the very end."""
        rest = self._tail + self._decoder.decode(b"", True).translate(_APOSTROPHES)
        self._tail = ""
        self._count(_RUNS.findall(rest), False)

    def top(self, count: int) -> list[WordCount]:
        """Return the most frequent words, and among equals the one that came first."""
        return [WordCount(word, times) for word, times in self._counts.most_common(count)]

    def _count(self, runs: list[str], is_lower: bool) -> None:
        words = [run for run in runs if run.isalpha()]
        if not is_lower:
            words = [word.lower() for word in words]
        known = len(self._counts)
        self._counts.update(words)
        self.words += len(words)
        if len(self._counts) > known:
            self._drop_long(len(self._counts) - known)
        if len(self._counts) > self._most_words:
            self._forget_rare()

    def _drop_long(self, new: int) -> None:
        # Only words not seen before can be too long: a dict keeps them at its end.
        long = [w for w in islice(reversed(self._counts), new) if len(w) > MOST_LETTERS]
        for word in long:
            self.words -= self._counts.pop(word)

    def _forget_rare(self) -> None:
        """Keep the more frequent half."""
        kept = self._counts.most_common(self._most_words // 2)
        self.forgotten += sum(self._counts.values()) - sum(count for _, count in kept)
        self._counts = Counter(dict(kept))


_PIECE_BYTES: Final = 256 * 1024
"""Counted in about 5 ms: other threads also need the interpreter."""

_MOST_TOP: Final = 1000


@runcast.function
def count_words(path: str, top: int = 10) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Count the words of a text or log file, and report the most frequent ones while counting.

    `path` is a file on the machine of the server; `top` is the number of words to report, 1 to
    1000.
    """
    if not 1 <= top <= _MOST_TOP:
        raise runcast.RunFailed(f"expected top to be 1 to {_MOST_TOP}, got {top}", "invalid_inputs")
    tally, reports, done = Tally(), Reports(), 0
    with _open(path) as file:
        # The file's present size: a log that grows faster than it is read would never end.
        total = os.fstat(file.fileno()).st_size
        while piece := file.read(min(_PIECE_BYTES, total - done)):
            tally.feed(piece)
            done += len(piece)
            if reports.is_due():
                yield _progress(tally, reports, done, total)
                # An object without a type is a result: here, the result so far.
                yield _result(tally, top)
        tally.finish()
    yield _progress(tally, reports, done, total)
    return {"path": path, "bytes": done, **_result(tally, top)}


def _open(path: str) -> BinaryIO:
    try:
        # Check before opening, because opening a pipe would wait for its writer.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise runcast.RunFailed(
                f"expected a file, but {path!r} is something else", "not_a_file"
            )
        return open(path, "rb")
    except FileNotFoundError:
        raise runcast.RunFailed(f"there is no file {path!r}", "file_not_found") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise runcast.RunFailed(f"cannot read {path!r}: {why}", "file_unreadable") from None


def _progress(tally: Tally, reports: Reports, done: int, total: int) -> dict[str, Any]:
    mb_per_s = done / 1e6 / reports.elapsed_s
    return {
        "type": "progress",
        "data": {
            "current": done,
            "total": total,
            "percent": round(100 * done / total, 1) if total else 100,
            "message": f"{done / 1e6:.1f} of {total / 1e6:.1f} MB, {mb_per_s:.1f} MB/s",
            "mb_per_s": round(mb_per_s, 1),
            "lines_per_s": round(tally.lines / reports.elapsed_s),
        },
    }


def _result(tally: Tally, top: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "lines": tally.lines,
        "words": tally.words,
        "distinct": tally.distinct,
        "top": [word._asdict() for word in tally.top(top)],
    }
    if tally.forgotten:
        result["forgotten"] = tally.forgotten
    return result
