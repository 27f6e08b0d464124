"""Cutting and joining pages, and the rules of reading that every store shares."""

from collections.abc import Iterable, Mapping

from runcast.errors import Gone, InvalidValue
from runcast.events.position import Position
from runcast.stores.base import MAX_LIST, LogInfo, Page

__all__ = ("check_limit", "check_position", "cut_pages", "join_pages", "matches")


def check_position(info: LogInfo, after: Position) -> None:
    """Raise `Gone` unless what follows `after` can be read from a log in this state."""
    if after.epoch != info.epoch:
        raise Gone(f"the run {info.log_id!r} began anew in epoch {info.epoch}", "replaced")
    if after.seq > info.head:
        raise Gone(f"the run {info.log_id!r} ends at {info.position}, before {after}", "rewound")
    if after.seq + 1 < info.first:
        raise Gone(f"the run {info.log_id!r} is kept from {info.first} on only", "trimmed")


def cut_page(page: Page, after_seq: int) -> Page:
    """Return the part of a page that follows `after_seq`, which lies inside it."""
    # A record holds no line feed, so this line can only be the frame's own beginning.
    start = page.frames.index(b"\nid: %b-%d\n" % (page.epoch.encode(), after_seq + 1)) + 1
    return page._replace(first=after_seq + 1, frames=page.frames[start:])


def cut_pages(pages: list[Page], after_seq: int) -> list[Page]:
    """Return what follows `after_seq` of consecutive pages."""
    if pages and pages[0].first <= after_seq < pages[0].last:
        return [cut_page(pages[0], after_seq), *pages[1:]]
    return [page for page in pages if page.first > after_seq]


def join_pages(info: LogInfo, after: Position, pages: Iterable[Page], max_bytes: int) -> Page:
    """Join consecutive pages up to `max_bytes`, but at least one, into the answer of a read."""
    chosen: list[bytes] = []
    last, size = after.seq, 0
    for page in pages:
        if chosen and size + len(page.frames) > max_bytes:
            break
        chosen.append(page.frames)
        size += len(page.frames)
        last = page.last
    frames = chosen[0] if len(chosen) == 1 else b"".join(chosen)
    return Page(after.epoch, after.seq + 1, last, frames, info.closed and last >= info.head)


def matches(info: LogInfo, labels: Mapping[str, str] | None) -> bool:
    """Tell whether a log bears all of these labels."""
    return all(info.labels.get(name) == value for name, value in (labels or {}).items())


def check_limit(limit: int) -> None:
    """Raise `InvalidValue` unless 1 <= limit <= MAX_LIST."""
    if not 1 <= limit <= MAX_LIST:
        raise InvalidValue(f"expected a limit of 1 to {MAX_LIST}, got {limit}")
