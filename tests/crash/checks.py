"""What holds for a log, and for all who watched it, whatever happened in between."""

import json
from collections.abc import Iterable
from typing import Any

from tests.crash.served import Server, Watcher

__all__ = ("check_all", "check_log", "ending_of")


def check_log(log: list[tuple[str, str]]) -> dict[str, Any]:
    """Check that a log is dense, in its producer's order, and has one ending; return that."""
    events = [json.loads(data) for _, data in log]
    seqs = list(range(1, len(events) + 1))
    assert [event["seq"] for event in events] == seqs
    assert [int(position.rpartition("-")[2]) for position, _ in log] == seqs
    assert len({position.partition("-")[0] for position, _ in log}) == 1
    types = [event["type"] for event in events]
    assert types[:1] == ["started"] or types == ["failed"]
    assert types[1:-1] == ["tick"] * (len(types) - 2)
    ticks = [event["data"]["n"] for event in events[1:-1]]
    assert ticks == list(range(1, len(ticks) + 1))
    ending: dict[str, Any] = events[-1]
    if ending["type"] == "done":
        assert ending["data"]["result"]["events"] == len(ticks)
    else:
        assert (ending["type"], ending["data"]["code"]) == ("failed", "lost")
    return ending


def ending_of(watcher: Watcher) -> dict[str, Any]:
    """Return the last event that was seen."""
    ending: dict[str, Any] = json.loads(watcher.seen[-1][1])
    return ending


async def check_all(server: Server, watchers: Iterable[Watcher]) -> list[str]:
    """Check that each watcher saw its log, no more and no less; return how the runs ended."""
    logs: dict[str, list[tuple[str, str]]] = {}
    endings: list[str] = []
    for watcher in watchers:
        if watcher.run_id not in logs:
            logs[watcher.run_id] = await server.log_of(watcher.run_id)
            endings.append(check_log(logs[watcher.run_id])["type"])
        assert watcher.gaps == [], (watcher.run_id, watcher.gaps)
        assert watcher.seen == logs[watcher.run_id], (watcher.run_id, watcher.connections)
    return endings
