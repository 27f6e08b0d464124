"""Which of several streams was written first: marks in the pipes of standard output and error.

Two pipes have no common order. So before the script's Python writes to either of them, or sends an
event, it writes a mark with the next number into *both*. What lies between mark n and mark n+1 in
either pipe was written between them, by any process. A third mark follows what Python itself wrote.
It came first: a child that the script starts next may write to the other pipe.

    standard output:  ‹1›one\\n‹1 end›‹2›            ‹3›three\\n‹3 end›
    standard error:   ‹1›           ‹2›two\\n‹2 end›‹3›

Marks are written to descriptors of their own: a script that points standard output elsewhere never
finds one in its file. A script that forks writes none in the fork, and none are written once the
script has closed the descriptors. If marks of one pipe are missing the merger goes on without them
after `PATIENCE_S`, in an order that may be wrong, losing nothing.
"""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar

from runcast._hub.forks import Home, make_rlock
from runcast._workers.processes.descriptor import Descriptor

__all__ = ("ERR", "OUT", "PATIENCE_S", "Marker", "Merger", "Piece")

T = TypeVar("T")

OUT: Final = 0
ERR: Final = 1

PATIENCE_S: Final = 1.0
"""How long a mark waits for its other half, seconds: both are written in microseconds."""

_SHOWN: Final = b"v"
_QUIET: Final = b"q"
_ELSEWHERE: Final = b"o"
_END: Final = b"e"
_EVENT: Final = b"n"
_MAX_MARK_BYTES: Final = 64


class Marker:
    """Writes marks, in the script's process."""

    def __init__(self, nonce: str, out: int, err: int) -> None:
        self._nonce = nonce.encode()
        self._files = (Descriptor(out), Descriptor(err))
        self._number = 0
        self._home = Home()
        self._lock = make_rlock()
        self._is_busy = False

    def write(self, stream: int, write: Callable[[], T], *, is_quiet: bool) -> T:
        """Mark and write; what is written quietly is shown to people and not reported again."""
        if not self._home.is_here:
            return write()
        with self._lock:
            if self._is_busy:  # a signal's handler, in the middle of a mark
                return write()
            self._is_busy = True
            try:
                here = _QUIET if is_quiet else _SHOWN
                self._mark(*(here if each == stream else _ELSEWHERE for each in (OUT, ERR)))
                try:
                    return write()
                finally:
                    self._put(stream, _END)
            finally:
                self._is_busy = False

    def send(self, send: Callable[[int], None]) -> None:
        """Send an event with the number of its mark; 0 if it has none."""
        if not self._home.is_here:
            send(0)  # which refuses it
            return
        with self._lock:
            if self._is_busy or not all(file.is_ours for file in self._files):
                send(0)
                return
            self._is_busy = True
            try:
                try:
                    send(self._number + 1)
                finally:  # Ctrl-C may come anywhere
                    self._mark(_EVENT, _EVENT)
            finally:
                self._is_busy = False

    def _mark(self, out: bytes, err: bytes) -> None:
        self._number += 1
        try:
            self._put(OUT, out)
        finally:
            self._put(ERR, err)

    def _put(self, stream: int, kind: bytes) -> None:
        file = self._files[stream]
        if not file.is_ours:
            return  # the script has closed all files
        mark = b"\x1b]%b;%d%b\x07" % (self._nonce, self._number, kind)
        with suppress(OSError):  # nobody reads any more
            os.write(file.number, mark)


class Piece(NamedTuple):
    """Bytes of a stream, or the number of an event whose turn it is."""

    stream: int
    data: bytes = b""
    is_quiet: bool = False
    event: int = 0


class _Mark(NamedTuple):
    number: int
    kind: bytes


class _Stream:
    """One pipe, as it is read: bytes and marks in order."""

    def __init__(self, nonce: str) -> None:
        self._mark = re.compile(rb"\x1b\]%b;(\d+)([vqoen])\x07" % nonce.encode())
        self._head = b"\x1b]%b;" % nonce.encode()
        self._rest = b""
        self._is_quiet = False
        self.waiting: deque[_Mark | tuple[bytes, bool]] = deque()

    def feed(self, data: bytes) -> None:
        data = self._rest + data
        start = 0
        for found in self._mark.finditer(data):
            self._take(data[start : found.start()])
            start = found.end()
            self.waiting.append(_Mark(int(found[1]), found[2]))
            self._is_quiet = found[2] == _QUIET
        end = len(data) - self._beginning_of_mark(data[start:])
        self._take(data[start:end])
        self._rest = data[end:]

    def end(self) -> None:
        self._take(self._rest)
        self._rest = b""

    def _take(self, text: bytes) -> None:
        if text:
            self.waiting.append((text, self._is_quiet))

    def _beginning_of_mark(self, text: bytes) -> int:
        """Return how many bytes at the end may be the beginning of a mark."""
        at = text.rfind(b"\x1b", max(0, len(text) - _MAX_MARK_BYTES))
        if at < 0:
            return 0
        tail = text[at:]
        may_be = tail.startswith(self._head) or self._head.startswith(tail)
        return len(tail) if may_be else 0


class Merger:
    """Brings what both pipes give into the order in which it was written."""

    def __init__(self, nonce: str) -> None:
        self._streams = (_Stream(nonce), _Stream(nonce))
        self._passed = 0
        self._written: int | None = None
        """The stream that Python wrote to behind the last mark, until all of it has been read."""
        self._gone: int | None = None

    def hang_up(self, stream: int) -> Iterator[Piece]:
        """Stop waiting for a pipe from which nothing is read any more."""
        self._gone = stream
        if self._written == stream:
            self._written = None
        yield from self._advance()

    @property
    def waits_behind(self) -> int | None:
        """The number of the mark behind which something waits; None if nothing waits."""
        return self._passed if any(stream.waiting for stream in self._streams) else None

    def feed(self, stream: int, data: bytes) -> Iterator[Piece]:
        """Take what was read from a pipe; yield what can be shown now."""
        self._streams[stream].feed(data)
        yield from self._advance()

    def end(self) -> Iterator[Piece]:
        """Yield what is left, now that nothing follows."""
        for stream in self._streams:
            stream.end()
        yield from self.release()

    def release(self) -> Iterator[Piece]:
        """Yield what waits for marks that did not come in `PATIENCE_S`."""
        while self.waits_behind is not None:
            self._written = None
            yield from self._advance()
            marks = [(mark.number, stream) for stream in (OUT, ERR) if (mark := self._next(stream))]
            if self._written is None and marks:
                yield from self._pass(min(marks)[1])

    def _advance(self) -> Iterator[Piece]:
        while True:
            first = OUT if self._written is None else self._written
            for stream in (first, ERR - first):
                yield from self._texts(stream)
            if self._written is not None:
                return
            marks = [self._next(stream) for stream in (OUT, ERR) if stream != self._gone]
            if None in marks or len({mark.number for mark in marks if mark}) > 1:
                return
            yield from self._pass(ERR if self._gone == OUT else OUT)

    def _next(self, stream: int) -> _Mark | None:
        """Return the mark that a stream has come to, if it has come to one."""
        waiting = self._streams[stream].waiting
        return waiting[0] if waiting and isinstance(waiting[0], _Mark) else None

    def _texts(self, stream: int) -> Iterator[Piece]:
        """Yield what stands before the next mark that has not been passed."""
        waiting = self._streams[stream].waiting
        while waiting and self._written in (None, stream):
            head = waiting[0]
            if not isinstance(head, _Mark):
                waiting.popleft()
                yield Piece(stream, *head)
                continue
            # Without its end, as a script leaves it that closes all files, the next mark ends it.
            if head.number > self._passed or head == (self._passed, _END):
                self._written = None
            if head.number > self._passed:
                return
            waiting.popleft()

    def _pass(self, stream: int) -> Iterator[Piece]:
        """Go behind the next mark, which stands in this stream and perhaps in the other."""
        mark = self._next(stream)
        assert mark is not None
        self._passed = mark.number
        if mark.kind == _EVENT:
            yield Piece(OUT, event=mark.number)
            return
        written = ERR - stream if mark.kind == _ELSEWHERE else stream
        self._written = None if written == self._gone else written
