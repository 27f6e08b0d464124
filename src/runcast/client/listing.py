"""Lists of runs: which runs, a page after the other, and as streams of changes."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec

from runcast.client import reconnect
from runcast.client.checks import checked_labels
from runcast.client.model import RunChange, RunInfo, read
from runcast.client.polling import poll_feed
from runcast.client.reconnect import ReconnectOptions
from runcast.client.transport import Answer, Transport
from runcast.client.watching import Cut, follow
from runcast.errors import InvalidValue, PeerError

__all__ = ("follow_list", "list_runs", "read_change", "selection")

T = TypeVar("T")

_PAGE: Final = 500


def selection(
    status: str | None, function: str, labels: Mapping[str, str] | None
) -> list[tuple[str, str]]:
    """Return the query that selects runs."""
    query = [("status", status)] if status else []
    query += [("function", function)] if function else []
    return query + [("label", f"{name}={value}") for name, value in checked_labels(labels).items()]


async def list_runs(
    ask: Callable[[str, str], Awaitable[Answer]], chosen: list[tuple[str, str]], limit: int
) -> list[RunInfo]:
    """Return the newest of the selected runs; see `AsyncClient.runs`."""
    if not isinstance(limit, int) or limit < 1:
        raise InvalidValue(f"expected a limit of at least 1, got {limit!r:.80}")
    found: list[RunInfo] = []
    before = ""
    while len(found) < limit:
        query = [*chosen, ("limit", str(min(limit - len(found), _PAGE)))]
        if before:
            query.append(("before", before))
        answer = await ask("GET", f"/runs?{urlencode(query)}")
        found += read(answer.field("runs"), list[RunInfo])
        before = str(answer.field("before") or "")
        if not before:
            break
    return found


async def follow_list(
    transport: Transport,
    path: str,
    read_item: Callable[[str], tuple[T, reconnect.Received]],
    options: ReconnectOptions,
    on_cut: Cut,
    *,
    after: str = "",
) -> AsyncGenerator[tuple[T, str], None]:
    """Yield the items of a stream that has no end, each with the position after it."""
    pages = follow(
        *(transport, path),
        after=after,
        options=options,
        read=read_item,
        poll=poll_feed(transport, path),
        on_cut=on_cut,
    )
    async with aclosing(pages):
        async for page in pages:
            for item in page:
                yield item


def read_change(data: str) -> tuple[RunChange, reconnect.Received]:
    """Return a change of a list of runs. Raises `PeerError`."""
    given: Any
    try:
        given = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise PeerError("the server does not answer as runcast does: a list of runs is not JSON")
    gap = given.get("gap")
    change = RunChange(
        run=read(given["run"], RunInfo) if "run" in given else None,
        deleted=str(given.get("deleted", "")),
        gap=str(gap.get("reason", "trimmed")) if isinstance(gap, dict) else "",
    )
    return change, reconnect.Received("", "run")
