"""Make, cut and join pages, and check positions: the same for every store."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from runcast.errors import Gone, InvalidValue
from runcast.events.lifecycle import Status
from runcast.events.position import Position, describe_log, frame_record
from runcast.stores.base import MAX_LIST, PAGE_BYTES, LogInfo, Page

__all__ = (
    "Filter",
    "age_of",
    "check_limit",
    "check_position",
    "cut_pages",
    "frame_pages",
    "join_pages",
)

_LINE_FEED: Final = 0x0A
_CARRIAGE_RETURN: Final = 0x0D

_LEAST_BYTES: Final = 32
"""The least bytes of a frame: its epoch and field names alone take more."""


def check_position(info: LogInfo, after: Position) -> None:
    """Raise `Gone` unless the events after `after` can be read from a log in this state."""
    if after.epoch != info.epoch:
        raise _gone(info, f"began again in epoch {info.epoch}", "replaced")
    if after.seq > info.head:
        raise _gone(info, f"ends at {info.position}, before {after}", "rewound")
    if after.seq + 1 < info.first:
        raise _gone(info, f"is kept from {info.first} on only", "trimmed")


def _gone(info: LogInfo, why: str, reason: str) -> Gone:
    return Gone(f"the {describe_log(info.log_id)} {why}", reason)


def frame_pages(epoch: str, first: int, records: Sequence[bytes], close: bool) -> tuple[Page, ...]:
    """Return the pages that hold these records, each as short as possible."""
    head = b"id: %b-" % epoch.encode()
    if len(records) == 1:  # as in most commits of most runs: no lists
        record = records[0]
        if _LINE_FEED in record or _CARRIAGE_RETURN in record:
            raise _breaks_a_line()
        return (Page(epoch, first, first, frame_record(head, first, record), close),)
    frames = [frame_record(head, seq, record) for seq, record in enumerate(records, first)]
    joined = b"".join(frames)
    if joined.count(_LINE_FEED) != 3 * len(frames) or _CARRIAGE_RETURN in joined:
        raise _breaks_a_line()
    last = first + len(frames) - 1
    if len(joined) <= PAGE_BYTES:
        return (Page(epoch, first, last, joined, close),) if frames else ()
    pages: list[Page] = []
    start = size = 0
    for index, frame in enumerate(frames):
        if size and size + len(frame) > PAGE_BYTES:
            pages.append(
                Page(epoch, first + start, first + index - 1, b"".join(frames[start:index]))
            )
            start, size = index, 0
        size += len(frame)
    pages.append(Page(epoch, first + start, last, b"".join(frames[start:]), close))
    return tuple(pages)


def _breaks_a_line() -> InvalidValue:
    return InvalidValue("expected records without line feed and carriage return")


def cut_pages(pages: Sequence[Page], after_seq: int, max_bytes: int) -> list[Page]:
    """Return the part of consecutive pages after `after_seq`, at least as much as fits."""
    start = bisect_right(pages, after_seq, key=lambda page: page.last)
    found = list(pages[start : start + max(0, max_bytes) // _LEAST_BYTES + 1])
    if found and found[0].first <= after_seq:
        found[0] = found[0].after(after_seq)
    return found


def _cut_end(page: Page, max_bytes: int) -> Page:
    """Return the first events of a page, as many as fit and at least one."""
    if len(page.frames) <= max_bytes:
        return page
    end = page.frames.rfind(b"\n\n", 0, max(0, max_bytes))
    if end < 0:
        end = page.frames.index(b"\n\n")
    before = page.frames.rfind(b"\n\n", 0, end)
    start = before + 2 if before >= 0 else 0
    last = int(page.frames[start : page.frames.index(b"\n", start)].rpartition(b"-")[2])
    return replace(page, last=last, frames=page.frames[: end + 2], closed=False)


def join_pages(info: LogInfo, after: Position, pages: Iterable[Page], max_bytes: int) -> Page:
    """Join consecutive pages up to `max_bytes`, at least one event, into the result of a read."""
    chosen: list[bytes] = []
    last, size = after.seq, 0
    for page in pages:
        if chosen and size + len(page.frames) > max_bytes:
            break
        part = _cut_end(page, max_bytes)
        chosen.append(part.frames)
        size += len(part.frames)
        last = part.last
        if last < page.last:
            break
    frames = chosen[0] if len(chosen) == 1 else b"".join(chosen)
    return Page(after.epoch, after.seq + 1, last, frames, info.closed and last >= info.head)


def age_of(info: LogInfo) -> tuple[float, str]:
    """Return a log's sort key in lists."""
    return (info.created_at, info.log_id)


class Filter(NamedTuple):
    """The conditions of a list; see `Store.list`."""

    kind: str | None
    status: Status | None
    labels: Mapping[str, str]
    before: tuple[float, str] | None

    def matches(self, info: LogInfo) -> bool:
        """Return whether a log belongs to the list."""
        return (
            (self.kind is None or info.kind == self.kind)
            and (self.status is None or info.status == self.status)
            and (self.before is None or age_of(info) < self.before)
            and all(info.labels.get(name) == value for name, value in self.labels.items())
        )


def check_limit(limit: int) -> None:
    """Raise `InvalidValue` unless 1 <= limit <= MAX_LIST."""
    if not 1 <= limit <= MAX_LIST:
        raise InvalidValue(f"expected a limit of 1 to {MAX_LIST}, got {limit}")
