"""Counting the words of a file: a generator that yields how far it is and what it has so far."""

import os
import stat
from collections.abc import Generator
from typing import Any, BinaryIO, Final

import runcast
from runcast.demo.pace import Reports
from runcast.demo.tally import Tally

__all__ = ("count_words",)

_PIECE_BYTES: Final = 256 * 1024
"""Counted in about 5 ms: other threads want the interpreter too."""

_MOST_TOP: Final = 1000


@runcast.function
def count_words(path: str, top: int = 10) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Count the words of a text or log file, and tell the most frequent so far as it goes.

    `path` is a file on the machine of the server; `top` says how many words to tell, 1 to 1000.
    """
    if not 1 <= top <= _MOST_TOP:
        raise runcast.RunFailed(f"expected top to be 1 to {_MOST_TOP}, got {top}", "invalid_inputs")
    tally, reports, done = Tally(), Reports(), 0
    with _open(path) as file:
        # What the file holds now: a log that grows faster than it is read would never end.
        total = os.fstat(file.fileno()).st_size
        while piece := file.read(min(_PIECE_BYTES, total - done)):
            tally.feed(piece)
            done += len(piece)
            if reports.is_due():
                yield _progress(tally, reports, done, total)
                # An object without a type is a result: here, what is known so far.
                yield _result(tally, top)
        tally.finish()
    yield _progress(tally, reports, done, total)
    return {"path": path, "bytes": done, **_result(tally, top)}


def _open(path: str) -> BinaryIO:
    try:
        # Before it is opened: opening a pipe would wait for its writer.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise runcast.RunFailed(f"expected a file, and {path!r} is none", "not_a_file")
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
