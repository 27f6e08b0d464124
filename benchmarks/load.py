"""Watch many SSE streams at once and check every event: the load generator.

    python -m benchmarks.load --connections 1000 --expect 175 --first 0 http://127.0.0.1:8000/sse/s0

A process of its own, so that its CPU time is not the server's. It opens the connections (spread
over the URLs in turn), says so in a first JSON line, reads until every connection has all it
expects or the time is up, and prints a second JSON line with what it saw. The exit code is 1 if
anything was lost, repeated, out of order or missing, else 0.

An event counts once the blank line that ends it has come. It is JSON on one line, the last line of
its event, with `"seq"` (per stream, rising by 1) and, where its latency is wanted, `"ts"`
(CLOCK_MONOTONIC nanoseconds when it was published). Rates and the warm-up count from the first
event that has a `"ts"`.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import resource
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it can be run as a file

from benchmarks.watcher import Totals, Watcher

OPENING_AT_ONCE = 200  # connections being opened at the same time; below any server's backlog
LINGER_S = 0.2  # after the last expected event, to catch those that should not come


@dataclass(frozen=True)
class LoadOptions:
    """What to watch and for how long; times in seconds."""

    urls: list[str]
    connections: int
    expect: int | None
    first: int | None
    seconds: float
    warm_s: float
    open_s: float
    check_later: bool = False


async def watch(options: LoadOptions) -> dict[str, Any]:
    """Open all connections, read until they are complete or time is up, return the report."""
    totals = Totals(options.expect, options.first, int(options.warm_s * 1e9), options.check_later)
    totals.waiting = options.connections
    began = time.monotonic_ns()
    watchers = await _open_all(options, totals)
    ready = time.monotonic_ns()
    _say({"ready": len(watchers), "open_s": _seconds(began, ready)})
    gc.collect()
    gc.freeze()
    gc.disable()
    cpu_before = _cpu_s()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(totals.all_complete.wait(), options.seconds)
    cpu_s = _cpu_s() - cpu_before
    wall_s = _seconds(ready, time.monotonic_ns())
    if totals.all_complete.is_set() and not all(watcher.is_closed for watcher in watchers):
        await asyncio.sleep(LINGER_S)
    for watcher in watchers:
        watcher.check_kept()
    report = _report(options, totals, watchers)
    report |= {
        "cpu_s": round(cpu_s, 3),
        "wall_s": wall_s,
        "open_s": _seconds(began, ready),
        "open_to_last_s": _seconds(began, totals.last_ns) if totals.last_ns else 0.0,
    }
    for watcher in watchers:
        if watcher.transport is not None:
            watcher.transport.abort()
    return report


async def _open_all(options: LoadOptions, totals: Totals) -> list[Watcher]:
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(OPENING_AT_ONCE)
    deadline = loop.time() + options.open_s

    async def open_one(url: str) -> Watcher:
        parts = urlsplit(url)
        opened: asyncio.Future[None] = loop.create_future()
        watcher = Watcher(url, totals, opened)
        async with gate:
            try:
                await loop.create_connection(
                    lambda: watcher, parts.hostname or "127.0.0.1", parts.port or 80
                )
                await asyncio.wait_for(opened, deadline - loop.time())
            except (OSError, TimeoutError) as error:
                watcher.fail(f"not opened: {error!r}")
        return watcher

    urls = options.urls
    return list(
        await asyncio.gather(
            *(open_one(urls[index % len(urls)]) for index in range(options.connections))
        )
    )


def _report(options: LoadOptions, totals: Totals, watchers: list[Watcher]) -> dict[str, Any]:
    checks = [watcher.check for watcher in watchers]
    messages = sum(check.messages for check in checks)
    latency = totals.latency
    span_s = _seconds(totals.first_ns, totals.last_ns) if totals.first_ns else 0.0
    expect = options.expect
    report: dict[str, Any] = {
        "connections": len(watchers),
        "messages": messages,
        "gaps": sum(check.gaps for check in checks),
        "duplicates": sum(check.duplicates for check in checks),
        "disorder": sum(check.disorder for check in checks),
        "short": sum(check.missing_at_end(expect) for check in checks) if expect else 0,
        "surplus": sum(max(0, check.distinct - expect) for check in checks) if expect else 0,
        "bad": sum(watcher.is_bad for watcher in watchers),
        "closed": sum(watcher.is_closed for watcher in watchers),
        "latency_ms": {
            "p50": round(latency.percentile(50) / 1e6, 3),
            "p90": round(latency.percentile(90) / 1e6, 3),
            "p99": round(latency.percentile(99) / 1e6, 3),
            "max": round(latency.largest / 1e6, 3),
        },
        "span_s": span_s,
        "messages_per_s": round(messages / span_s) if span_s > 0 else 0,
        "reads": totals.reads,
        "body_bytes": totals.body_bytes,
        "problems": totals.problems,
    }
    faults = ("gaps", "duplicates", "disorder", "short", "surplus", "bad")
    report["ok"] = not any(report[fault] for fault in faults)
    return report


def _seconds(start_ns: int, end_ns: int) -> float:
    return round((end_ns - start_ns) / 1e9, 6)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def run_on_best_loop(main: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Run a coroutine on uvloop where it is installed, else on asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def parse_options(arguments: list[str] | None = None) -> LoadOptions:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("urls", nargs="*", help="http URLs, one stream each")
    parser.add_argument("--urls-from", help="a file with one URL a line; - is standard input")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--expect", type=int, help="events that each connection must get")
    parser.add_argument("--first", type=int, help="the first seq; default: whatever comes first")
    parser.add_argument("--seconds", type=float, default=10.0, help="at most, once all are open")
    parser.add_argument("--warm-s", type=float, default=0.0, help="not counted in latency")
    parser.add_argument(
        "--check-later",
        action="store_true",
        help="keep all bytes and check them at the end: for short bursts of streams that end",
    )
    parser.add_argument("--open-s", type=float, default=30.0, help="at most, to open all")
    found = parser.parse_args(arguments)
    urls: list[str] = found.urls
    if found.urls_from == "-":
        urls += sys.stdin.read().split()
    elif found.urls_from:
        urls += Path(found.urls_from).read_text(encoding="utf-8").split()
    if not urls:
        parser.error("expected at least one URL")
    return LoadOptions(
        urls=urls,
        connections=found.connections,
        expect=found.expect,
        first=found.first,
        seconds=found.seconds,
        warm_s=found.warm_s,
        open_s=found.open_s,
        check_later=found.check_later,
    )


def raise_file_limit() -> None:
    """Allow this process and its children as many sockets as the system lets it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> int:
    raise_file_limit()
    report = run_on_best_loop(watch(parse_options()))
    _say(report)
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
