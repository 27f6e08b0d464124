"""Which logs changed last, and when: a bounded memory, equal in every process of a store.

A **point** is the place of a command among all commands of a store: its row, and its place in the
row. Every process applies the same rows in the same order, so a point means the same in every
process. As a text it begins with the id of the store's data. Callers pass it on unchanged.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice, takewhile
from typing import Final, NamedTuple

import msgspec

from runcast.errors import Gone, InvalidValue
from runcast.stores.base import MAX_CHANGES, Change, ChangePage, LogInfo

__all__ = ("Data", "Noted", "Point", "RecentChanges", "check_point", "parse_point")

_END: Final = 1 << 30
"""A place after all commands of a row."""

_POINT: Final = re.compile(r"([0-9a-f]{1,16})\.([0-9a-f]{1,16})\.([0-9a-f]{1,16})")


class Point(NamedTuple):
    """The place of a command: its row, and its place in the row."""

    row: int
    place: int

    def text(self, data_id: str) -> str:
        """Return the point as callers pass it on."""
        return f"{data_id}.{self.row:x}.{self.place:x}"


class Data(NamedTuple):
    """The present data of a store: their unique id, and the last applied row."""

    data_id: str
    row: int


class Noted(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The last change of a log; for a deleted log, also its last description."""

    log_id: str
    point: Point
    deleted: LogInfo | None = None


class RecentChanges:
    """The last change of each recently changed log. Not safe for several threads at once."""

    def __init__(self) -> None:
        self._changed: OrderedDict[str, Noted] = OrderedDict()  # the latest change is last
        self._floor = Point(0, _END)

    def note(self, log_id: str, point: Point, deleted: LogInfo | None = None) -> None:
        """Remember that a log changed."""
        self._changed[log_id] = Noted(log_id, point, deleted)
        self._changed.move_to_end(log_id)
        while len(self._changed) > MAX_CHANGES:
            _, oldest = self._changed.popitem(last=False)
            self._floor = oldest.point

    def last(self, count: int) -> tuple[Point, tuple[Noted, ...]]:
        """Return the last changes, oldest first, and the point after which they are complete."""
        if len(self._changed) <= count:
            return self._floor, tuple(self._changed.values())
        before, *noted = islice(self._changed.values(), len(self._changed) - count - 1, None)
        return before.point, tuple(noted)

    def bridge(self, row: int, since: Point, noted: Iterable[Noted]) -> None:
        """Note changes that were not applied here; drop earlier ones if some are missing.

        Args:
            row: the last row that was applied here.
            since, noted: the results of `last` in another process.
        """
        if since > Point(row, _END):
            self._changed.clear()
            self._floor = since
        for each in noted:
            if each.point > Point(row, _END):
                self.note(each.log_id, each.point, each.deleted)

    def page(
        self, after: str, limit: int, data: Data, find: Callable[[str], LogInfo | None]
    ) -> ChangePage:
        """Return a page of `Changes.changes`.

        Args:
            find: returns a log's description; None for an unknown log.
        """
        if not after:
            return ChangePage([], self._newest().text(data.data_id))
        found = list(islice(self._since(parse_point(after, data.data_id), data.row), limit))
        changes = []
        for each in found:
            info = each.deleted or find(each.log_id)
            if info is not None:  # otherwise its deletion follows
                is_deleted = each.deleted is not None
                changes.append(Change(replace(info, labels=dict(info.labels)), is_deleted))
        return ChangePage(changes, found[-1].point.text(data.data_id) if found else after)

    def _newest(self) -> Point:
        if not self._changed:
            return self._floor
        return next(reversed(self._changed.values())).point

    def _since(self, after: Point, row: int) -> Iterator[Noted]:
        check_point(after, self._floor, row)
        newer = takewhile(lambda each: each.point > after, reversed(self._changed.values()))
        return reversed(list(newer))


def check_point(after: Point, floor: Point, row: int) -> None:
    """Raise `Gone` unless all changes after a point are known: those after `floor`, up to `row`."""
    if after < floor:
        raise Gone("more logs changed than are remembered; list the logs again", "trimmed")
    if after.row > row:
        raise Gone("the point lies ahead of the store; list the logs again", "rewound")


def parse_point(text: str, data_id: str) -> Point:
    """Return the point that a text names.

    Raises:
        InvalidValue: the text is not a point.
        Gone: the point belongs to other data.
    """
    given: object = text
    found = _POINT.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise InvalidValue(f"expected a point that `changes` returned, got {given!r:.80}")
    if found[1] != data_id:
        raise Gone("the point is of other logs; list the logs again", "replaced")
    return Point(int(found[2], 16), int(found[3], 16))
