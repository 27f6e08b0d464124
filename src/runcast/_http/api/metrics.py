"""The numbers of this process for Prometheus: what it holds now, and what it has done so far.

Source: Prometheus, text-based exposition format 0.0.4, and its rules for names.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from runcast._http.api.responses import SAFE_HEADERS
from runcast._http.guard.gate import Gate
from runcast._http.streaming.streams import Streams
from runcast._hub.hub import HubStatistics
from runcast._runs.counts import RunCounts
from runcast._runs.protocols import Runs
from runcast._settings import Settings
from runcast.errors import Forbidden, RuncastError

__all__ = ("METRICS_TYPE", "VERSION", "Metrics")

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of the format."""


def _version() -> str:
    try:
        return version("runcast")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0"


VERSION: Final = _version()
"""The version of runcast."""


class _Metric(NamedTuple):
    """One number, or one for each value of a label."""

    name: str
    """Without the prefix. It ends in `_total` if the number only grows until the process ends."""
    about: str
    value: float | Mapping[str, float]
    label: str = ""

    def lines(self) -> Iterator[str]:
        """Yield the lines of the metric."""
        name = f"runcast_{self.name}"
        yield f"# HELP {name} {self.about}\n"
        yield f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}\n"
        if isinstance(self.value, Mapping):
            for of_label, value in sorted(self.value.items()):
                yield f'{name}{{{self.label}="{of_label}"}} {value}\n'
        else:
            yield f"{name} {self.value}\n"


class Metrics:
    """Answers `GET /metrics`, and counts refusals."""

    def __init__(self, runs: Runs, streams: Streams, gate: Gate) -> None:
        self._runs = runs
        self._streams = streams
        self._gate = gate
        self._refused: Counter[str] = Counter()

    def count(self, refusal: RuncastError) -> None:
        """Count a request that was answered with an error."""
        self._refused[type(refusal).code] += 1

    async def answer(self, request: Request) -> Response:
        """Answer with the numbers.

        Raises:
            Forbidden: the request may not see every run, and the numbers are those of all.
        """
        if not self._gate.access(request.scope).is_unlimited:
            raise Forbidden("the metrics count the runs of all users, and you may see only some")
        hub = self._runs.hub
        found = [
            _Metric("build_info", "The version.", {VERSION: 1}, "version"),
            *_of_runs(self._runs.runner.statistics(), hub.settings),
            *_of_watchers(hub.statistics(), hub.settings, self._streams),
            *_of_commits(hub.statistics()),
            _Metric(
                "refused_requests_total",
                "Requests that were answered with an error, by its code.",
                self._refused,
                "code",
            ),
        ]
        body = "".join(line for metric in found for line in metric.lines())
        return Response(body, 200, {**SAFE_HEADERS, "content-type": METRICS_TYPE})


def _of_runs(runs: RunCounts, settings: Settings) -> Iterator[_Metric]:
    yield _Metric("running_runs", "Runs at work in this process.", runs.running)
    yield _Metric("queued_runs", "Runs that wait for room here.", runs.queued)
    yield _Metric("max_runs", "The setting.", settings.max_runs)
    yield _Metric("max_queue", "The setting.", settings.max_queue)
    yield _Metric("busy_threads", "Threads that run functions.", runs.threads.busy)
    yield _Metric("stuck_threads", "Threads whose functions were given up.", runs.threads.stuck)
    yield _Metric("waiting_calls", "Functions that wait for a thread.", runs.threads.waiting)


def _of_watchers(hub: HubStatistics, settings: Settings, streams: Streams) -> Iterator[_Metric]:
    yield _Metric("open_streams", "Connections that watch.", len(streams))
    yield _Metric("max_watchers", "The setting.", settings.max_watchers)
    yield _Metric(
        "stalled_streams_total",
        "Streams that were ended because their client took nothing.",
        streams.stalled,
    )
    yield _Metric("watched_runs", "Logs that somebody watches.", hub.watched_runs)
    yield _Metric("watchers", "Places in logs, of all that watch.", hub.watchers)
    yield _Metric("tail_bytes", "Newest events of watched logs in memory.", hub.tail_bytes)
    yield _Metric("cache_bytes", "Pages of history in memory.", hub.cache_bytes)


def _of_commits(hub: HubStatistics) -> Iterator[_Metric]:
    pipeline = hub.pipeline
    yield _Metric("pending_bytes", "Events that wait for their commit.", pipeline.pending_bytes)
    yield _Metric("pending_appends", "Appends with these events.", pipeline.pending_appends)
    yield _Metric(
        "waiting_threads", "Threads that wait for room for an event.", pipeline.waiting_threads
    )
    yield _Metric("commits_total", "Commits that the store has made.", pipeline.commits)
    yield _Metric(
        "failed_commits_total",
        "Commits that failed; each is tried again, unless that cannot help.",
        pipeline.failed_commits,
    )
    yield _Metric("appended_events_total", "Events that were stored.", pipeline.appended)
    yield _Metric(
        "refused_events_total", "Events that were not stored, or may be lost.", pipeline.refused
    )
