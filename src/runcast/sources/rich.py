"""The source for rich: the tasks of a `rich.progress.Progress` become `progress` events.

    with runcast.sources.rich.stream(), Progress() as progress:
        task = progress.add_task("pages", total=10)
        progress.advance(task)

    progress {"task": "pages", "current": 1, "total": 10, "percent": 10.0, "message": "pages"}

`task` is the first description of the task and stays the same; `message` is its description at
present. Bars are printed as before. A disabled `Progress` is not reported. Tested with rich 13.0 to
15.0.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from runcast._producing.context import current_writer
from runcast._producing.quiet import QUIET
from runcast.sources._meters import Meter, Reading
from runcast.sources._packages import check_package
from runcast.sources._scope import Patch, Scope

check_package("rich", (13,))

import rich.progress  # noqa: E402 - after the check that it is installed
from rich.progress import Progress, TaskID  # noqa: E402
from rich.text import Text  # noqa: E402

__all__ = ("stream", "track")

T = TypeVar("T")


@contextmanager
def stream() -> Iterator[None]:
    """Report the tasks that are added in the block, in the current run; outside a run, in all."""
    with _SCOPE.entered():
        yield


def track(
    sequence: Sequence[T] | Iterable[T],
    description: str = "Working...",
    total: float | None = None,
    **options: Any,
) -> Iterable[T]:
    """Iterate as `rich.progress.track` does, and report to the current run.

    Args:
        options: those of `rich.progress.track`.
    """
    if current_writer() is None:
        yield from rich.progress.track(sequence, description, total, **options)
        return
    with _SCOPE.entered():
        yield from rich.progress.track(sequence, description, total, **options)


class _Meters:
    """The meters of the tasks of every `Progress`."""

    def __init__(self) -> None:
        self._meters: weakref.WeakKeyDictionary[Progress, dict[TaskID, Meter]]
        self._meters = weakref.WeakKeyDictionary()

    def of(self, progress: Progress) -> dict[TaskID, Meter]:
        return self._meters.get(progress) or {}

    def add(self, progress: Progress, task: TaskID) -> None:
        writer = _SCOPE.writer()
        if writer is None or progress.disable:
            return
        progress_is = weakref.ref(progress)
        name = _plain(progress._tasks[task].description)
        meters = self._meters.setdefault(progress, {})
        meters[task] = Meter(writer, name, lambda: _read(progress_is(), task))
        meters[task].look()


_METERS: Final = _Meters()


def _read(progress: Progress | None, task_id: TaskID) -> Reading | None:
    task = progress._tasks.get(task_id) if progress is not None else None
    if task is None:
        return None
    return Reading(task.completed, task.total, _plain(task.description))


def _plain(description: str) -> str:
    try:
        return Text.from_markup(description).plain
    except Exception:  # noqa: BLE001 - not markup
        return str(description)


def _adding(before: Callable[..., TaskID]) -> Callable[..., TaskID]:
    def add_task(self: Progress, *args: Any, **kwargs: Any) -> TaskID:
        task = before(self, *args, **kwargs)
        _METERS.add(self, task)
        return task

    return add_task


def _moving(before: Callable[..., None]) -> Callable[..., None]:
    def move(self: Progress, task_id: TaskID, *args: Any, **kwargs: Any) -> None:
        before(self, task_id, *args, **kwargs)
        meter = _METERS.of(self).get(task_id)
        if meter is not None:
            meter.look()

    return move


def _removing(before: Callable[..., None]) -> Callable[..., None]:
    def remove_task(self: Progress, task_id: TaskID) -> None:
        meter = _METERS.of(self).pop(task_id, None)
        if meter is not None:
            meter.close()
        before(self, task_id)

    return remove_task


def _tracking(before: Callable[..., Iterable[T]]) -> Callable[..., Iterable[T]]:
    def track(self: Progress, *args: Any, **kwargs: Any) -> Iterable[T]:
        writer = _SCOPE.writer()
        for item in before(self, *args, **kwargs):
            # rich's own thread moves the bar, and is not cancelled.
            if writer is not None and writer is current_writer():
                writer.check_cancelled()
            yield item

    return track


def _starting(before: Callable[..., None]) -> Callable[..., None]:
    def start(self: Progress) -> None:
        for task in self.task_ids:  # after the display was stopped for a while
            if task not in _METERS.of(self) and not self._tasks[task].finished:
                _METERS.add(self, task)
        before(self)

    return start


def _stopping(before: Callable[..., None]) -> Callable[..., None]:
    def stop(self: Progress) -> None:
        meters = dict(_METERS.of(self))
        if not meters:
            before(self)
            return
        _METERS.of(self).clear()
        try:
            for meter in meters.values():
                meter.close()
        finally:
            with QUIET:
                before(self)

    return stop


def _drawing(before: Callable[..., None]) -> Callable[..., None]:
    def refresh(self: Progress) -> None:
        if not _METERS.of(self):
            before(self)
            return
        with QUIET:
            before(self)

    return refresh


_SCOPE: Final = Scope(
    Patch(Progress, "add_task", _adding),
    Patch(Progress, "advance", _moving),
    Patch(Progress, "update", _moving),
    Patch(Progress, "reset", _moving),
    Patch(Progress, "remove_task", _removing),
    Patch(Progress, "track", _tracking),
    Patch(Progress, "refresh", _drawing),
    Patch(Progress, "start", _starting),
    Patch(Progress, "stop", _stopping),
)
