"""Lists of logs, by the indexes that the server keeps."""

from itertools import chain
from typing import Final

from runcast.stores.model import MAX_LABELS, LogInfo, is_text
from runcast.stores.paging import Filter, age_of
from runcast.stores.redis.keeping import decode_now, label_key, status_key
from runcast.stores.redis.server import Server

__all__ = ("find_logs",)

_LEAST_STEP: Final = 64
"""Fewest entries of an index to look at in one step; later steps take more."""

_MOST_STEP: Final = 1024


async def find_logs(server: Server, wanted: Filter, limit: int) -> list[LogInfo]:
    """Return the logs of a list, newest first, as many as `limit`.

    The index with the fewest logs is walked, and the other conditions are compared. The list may
    miss what changes while it is made.
    """
    if len(wanted.labels) > MAX_LABELS or not all(map(is_text, chain(*wanted.labels.items()))):
        return []  # no log has so many, or such ones
    index = await _smallest(server, _indexes(wanted))
    highest = "+inf" if wanted.before is None else repr(wanted.before[0])
    found: list[LogInfo] = []
    start, step = 0, max(_LEAST_STEP, min(limit, _MOST_STEP))
    while True:
        states = await server.run("list", index, highest, start, step)
        infos = [decode_now(now, state).info for now, state in states if state]
        found += [info for info in infos if wanted.matches(info)]
        if len(found) >= limit or len(states) < step:
            return sorted(found, key=age_of, reverse=True)[:limit]
        start, step = start + step, min(2 * step, _MOST_STEP)


def _indexes(wanted: Filter) -> list[str]:
    """Return the indexes that hold every log of a list."""
    if wanted.kind is None:
        return ["all"]
    keys = [label_key(wanted.kind, *label) for label in wanted.labels.items()]
    if wanted.status is not None:
        keys.append(status_key(wanted.kind, wanted.status))
    return keys or [f"kind:{wanted.kind}"]


async def _smallest(server: Server, indexes: list[str]) -> str:
    if len(indexes) == 1:
        return indexes[0]
    sizes = await server.call_all([("ZCARD", index) for index in indexes])
    return min(zip(sizes, indexes, strict=True))[1]
