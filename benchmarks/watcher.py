"""One watcher of the load generator: a connection that checks every event it is given."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from benchmarks.histogram import Histogram
from benchmarks.response import BadResponse, ResponseReader
from benchmarks.sequence import Digits, SequenceCheck

MOST_CARRY_BYTES = 8 * 1024 * 1024  # one unfinished event; more is a server that never ends it
WORTH_KEEPING_BYTES = 1024  # of checked events: below, checking again is as cheap as comparing
MOST_KEPT = 64  # bodies of at most one read, 256 kB, each
MOST_PROBLEMS = 5  # descriptions kept for the report
LAST_CHUNK = b"\r\n0\r\n\r\n"  # with the end of the chunk before it

# The event's own blank line is part of the match: two events run together count as one. About
# 0.2 us an event of 230 bytes, which is what makes checking every number affordable.
find_numbers: Callable[[bytes], list[bytes]] = re.compile(rb'"seq": ?(\d+)[^\n]*\r?\n\r?\n').findall
match_published = re.compile(rb'"ts": ?(\d+)').match


@dataclass(frozen=True)
class CheckedBody:
    """Bytes that were found to be just the events that should come next after some number."""

    body: bytes
    count: int
    oldest_ns: int | None
    newest_ns: int | None


@dataclass
class Totals:
    """What all connections share while they read."""

    expect: int | None
    first: int | None
    warm_ns: int
    check_later: bool = False
    digits: Digits = field(default_factory=Digits)
    latency: Histogram = field(default_factory=Histogram)
    checked: dict[int, CheckedBody] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    reads: int = 0
    body_bytes: int = 0
    first_ns: int = 0
    last_ns: int = 0
    waiting: int = 0
    all_complete: asyncio.Event = field(default_factory=asyncio.Event)

    def complain(self, problem: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)


class Watcher(asyncio.Protocol):
    """One connection: asks for one stream and checks what comes."""

    def __init__(self, url: str, totals: Totals, opened: asyncio.Future[None]) -> None:
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._request = (
            f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Accept: text/event-stream\r\nCache-Control: no-cache\r\n\r\n"
        ).encode()
        self._url = url
        self._totals = totals
        self._opened = opened
        self._response = ResponseReader()
        self._carry = b""
        self._complete = False
        self._kept: list[tuple[int, bytes]] = []
        self._kept_end = b""
        self.transport: asyncio.Transport | None = None
        self.check = SequenceCheck(totals.digits, totals.first)
        self.is_bad = False
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if self._totals.check_later:
            self._keep(data, now)
        else:
            self._take(data, now)

    def _keep(self, data: bytes, now: int) -> None:
        """Put the bytes aside until all have come; a head and the end are noticed at once."""
        self._kept.append((now, data))
        if not self._opened.done():
            self._opened.set_result(None)
        self._kept_end = (self._kept_end + data)[-len(LAST_CHUNK) :]
        if self._kept_end == LAST_CHUNK:
            self._end()

    def check_kept(self) -> None:
        """Check what was put aside, with the times at which it came."""
        for now, data in self._kept:
            self._take(data, now)
        self._kept.clear()

    def _take(self, data: bytes, now: int) -> None:
        response = self._response
        try:
            body = response.feed(data)
        except BadResponse as error:
            self.fail(str(error))
            return
        if response.status and not self._opened.done():
            self._opened.set_result(None)
            if response.status != 200:
                self.fail(f"status {response.status}")
                return
        if body:
            self._read(body, now)
        if response.ended:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self._complete:
            self._totals.complain(f"{self._url}: {exc!r}")
        self._end()

    def _read(self, body: bytes, now: int) -> None:
        totals = self._totals
        totals.reads += 1
        totals.body_bytes += len(body)
        if self._carry:
            body = self._carry + body
        end = body.rfind(b"\n\n") + 2
        if end < 2:  # not found
            at = body.rfind(b"\r\n\r\n")
            end = at + 4 if at >= 0 else 0
        whole, self._carry = (body, b"") if end == len(body) else (body[:end], body[end:])
        if len(self._carry) > MOST_CARRY_BYTES:
            self.fail(f"an event of more than {MOST_CARRY_BYTES} bytes")
            return
        if whole:
            self._check(whole, now)

    def _check(self, whole: bytes, now: int) -> None:
        """Check whole events.

        All watchers of a stream get the same bytes. Those that were found right for one watcher
        are right for another that waits for the same number, and comparing them costs a tenth.
        """
        totals, check = self._totals, self.check
        start = check.next
        found = totals.checked.get(start)
        if found is not None and found.body == whole:
            check.advance(found.count)
        else:
            numbers = find_numbers(whole)
            if not numbers:
                return
            is_as_expected = check.add(numbers)
            found = CheckedBody(whole, len(numbers), *_published(whole))
            if is_as_expected and len(whole) >= WORTH_KEEPING_BYTES:
                if len(totals.checked) >= MOST_KEPT:
                    totals.checked.clear()
                totals.checked[start] = found
        if not totals.first_ns and found.oldest_ns is not None:
            totals.first_ns = now  # what a log begins with may be there long before
        totals.last_ns = now
        if totals.first_ns and now - totals.first_ns >= totals.warm_ns:
            self._record_latency(found, now)
        expect = totals.expect
        if expect is not None and not self._complete and check.distinct >= expect:
            self._set_complete()

    def _record_latency(self, found: CheckedBody, now: int) -> None:
        """Take the latency of the first and last event exactly, of those between by a line.

        A publisher at a steady rate makes that line nearly true, and every event has its weight:
        one late read of a thousand events counts a thousand times.
        """
        if found.oldest_ns is None or found.newest_ns is None:
            return
        latency = self._totals.latency
        if found.count == 1:
            latency.add(now - found.oldest_ns)
        else:
            latency.add_range(now - found.oldest_ns, now - found.newest_ns, found.count)

    def _set_complete(self) -> None:
        if not self._complete:
            self._complete = True
            self._totals.waiting -= 1
            if self._totals.waiting == 0:
                self._totals.all_complete.set()

    def fail(self, problem: str) -> None:
        """Give this connection up and say why."""
        self.is_bad = True
        self._totals.complain(f"{self._url}: {problem}")
        if self.transport is not None:
            self.transport.abort()
        self._end()

    def _end(self) -> None:
        self.is_closed = True
        if not self._opened.done():
            self.is_bad = True
            self._opened.set_result(None)
        self._set_complete()
        if self.transport is not None:
            self.transport.close()


def _published(whole: bytes) -> tuple[int | None, int | None]:
    """Return when the first and the last event that say so were published."""
    at = whole.find(b'"ts"')
    oldest = match_published(whole, at) if at >= 0 else None
    if oldest is None:
        return None, None
    newest = match_published(whole, whole.rfind(b'"ts"')) or oldest
    return int(oldest[1]), int(newest[1])
