"""The reading half of the store: logs as they are, from the server."""

from collections.abc import Mapping, Sequence
from typing import Any

from runcast._clock import Clock
from runcast.errors import NotFound
from runcast.events.lifecycle import Status
from runcast.events.position import RUN, Position, describe_log, is_log_id
from runcast.stores.base import MAX_LIST, PAGE_BYTES, Change, ChangePage, LogInfo, Page, Store
from runcast.stores.changes import Point, check_point, parse_point
from runcast.stores.ledger import Log
from runcast.stores.paging import Filter, check_limit, check_position, join_pages
from runcast.stores.redis.keeping import (
    decode_info,
    decode_now,
    decode_saved,
    decode_snapshot,
    page_of,
)
from runcast.stores.redis.listing import find_logs
from runcast.stores.redis.server import Server

__all__ = ("Reading", "check_id", "found_log")


class Reading(Store):
    """What can be asked of a server's logs. Nothing is answered from memory."""

    _server: Server
    _clock: Clock
    _data_id: str

    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        check_id(log_id)
        found = await self._server.run("read", log_id, after.epoch, after.seq + 1, max_bytes)
        now, state, *entries = found or [None, None]
        info = found_log(log_id, now, state).info
        check_position(info, after)
        pages, first = [], after.seq + 1
        for entry_id, frames in zip(entries[::2], entries[1::2], strict=True):
            page = page_of(after.epoch, entry_id, frames)
            pages.append(page if page.first >= first else page.after(first - 1))
            first = page.last + 1
        return join_pages(info, after, pages, max_bytes)

    async def info(self, log_id: str) -> LogInfo:
        return (await self._get(log_id))[0]

    async def attachment(self, log_id: str) -> tuple[str, bytes]:
        info, attachment = await self._get(log_id, "a")
        return info.epoch, attachment or b""

    async def snapshot(self, log_id: str) -> tuple[int, bytes] | None:
        _, kept = await self._get(log_id, "t")
        return None if kept is None else decode_snapshot(kept)

    async def saved_state(self, log_id: str, epoch: str) -> tuple[int, bytes] | None:
        _, kept = await self._get(log_id, "e")
        of_epoch, seq, state = decode_saved(kept) if kept is not None else ("", 0, b"")
        return (seq, state) if of_epoch == epoch else None

    async def _get(self, log_id: str, field: str = "p") -> tuple[LogInfo, Any]:
        """Return a log's description and one field. Raises `NotFound`."""
        check_id(log_id)
        ((now, state, value),) = await self._server.run("look", field, log_id)
        return found_log(log_id, now, state).info, value

    async def list(
        self,
        *,
        kind: str | None = RUN,
        status: Status | None = None,
        labels: Mapping[str, str] | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[LogInfo]:
        check_limit(limit)
        return await find_logs(self._server, Filter(kind, status, labels or {}, before), limit)

    async def expired(self, limit: int = 100) -> Sequence[str]:
        now = self._clock.time()
        found = await self._server.call("ZRANGEBYSCORE", "expiring", "-inf", now, "LIMIT", 0, limit)
        return [str(log_id, "ascii") for log_id in found]

    async def changes(self, after: str = "", *, limit: int = MAX_LIST) -> ChangePage:
        check_limit(limit)
        point = parse_point(after, self._data_id) if after else Point(0, 0)
        number, floor, *found = await self._server.run("changes", point.row, limit)
        if not after:
            return ChangePage([], Point(int(number), 0).text(self._data_id))
        check_point(point, Point(int(float(floor)), 0), int(number))
        if not found:
            return ChangePage([], after)
        log_ids = [str(log_id, "ascii") for log_id in found[::2]]
        infos = await self.describe(log_ids)
        lost = await self._server.call("HMGET", "gone", *log_ids)
        changes = []
        for info, last in zip(infos, lost, strict=True):
            if info is not None:
                changes.append(Change(info))
            elif last is not None:
                changes.append(Change(decode_info(last), is_deleted=True))
        return ChangePage(changes, Point(int(float(found[-1])), 0).text(self._data_id))

    async def describe(self, log_ids: Sequence[str]) -> Sequence[LogInfo | None]:
        """Return descriptions of logs; None for a log that is not there."""
        if not log_ids:
            return []
        found = await self._server.run("look", "p", *log_ids)
        return [None if now is None else decode_now(now, state).info for now, state, _ in found]


def check_id(log_id: str) -> None:
    """Raise `NotFound` if no log can have this id."""
    if not is_log_id(log_id):
        raise NotFound(f"there is no {describe_log(log_id)}")


def found_log(log_id: str, now: bytes | None, state: bytes | None) -> Log:
    """Return the log that is this now, with this state. Raises `NotFound` if there is none."""
    if now is None or state is None:
        raise NotFound(f"there is no {describe_log(log_id)}")
    return decode_now(now, state)
