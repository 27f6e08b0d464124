"""What steps and progress change in the state of a run."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from runcast.events import snapshot as caps
from runcast.events.folding.fields import Fields, Law, push
from runcast.events.snapshot import CompletedStep, Progress, Snapshot, Step
from runcast.events.vocabulary import as_number, percent_of, pick

__all__ = ("STEPS",)


def _step_start(snapshot: Snapshot, fields: Fields) -> None:
    _take_step(snapshot, fields)
    step_id = fields.name("step_id")
    _add_step(
        snapshot, Step(fields.time, fields.node, fields.agent, fields.message(), step_id=step_id)
    )


def _step_progress(snapshot: Snapshot, fields: Fields) -> None:
    step = _take_step(snapshot, fields)
    if step is None:
        step = Step(fields.time, fields.node, fields.agent, step_id=fields.name("step_id"))
    step.note = fields.message()
    step.percent = percent_of(fields.data)
    _add_step(snapshot, step)


def _add_step(snapshot: Snapshot, step: Step) -> None:
    snapshot.dropped.steps += push(snapshot.steps, step, caps.MAX_STEPS)


def _step_complete(snapshot: Snapshot, fields: Fields) -> None:
    step = _take_step(snapshot, fields)
    since = None if step is None else step.since
    duration = as_number(fields.duration)
    if duration is None and since is not None:
        duration = round(max(0.0, fields.time - since), 3)  # to the millisecond, in every language
    complete = CompletedStep(
        seq=fields.seq,
        ended_at=fields.time,
        node=fields.node,
        agent=fields.agent,
        message="" if step is None else step.message,
        note=fields.message() or ("" if step is None else step.note),
        since=since,
        duration=duration,
        step_id=fields.name("step_id"),
    )
    over = push(snapshot.completed_steps, complete, caps.MAX_COMPLETED_STEPS)
    snapshot.dropped.completed_steps += over


def _take_step(snapshot: Snapshot, fields: Fields) -> Step | None:
    """Take out the open step of this place and id, if there is one."""
    key = (fields.node, fields.agent, fields.name("step_id"))
    for index, step in enumerate(snapshot.steps):
        if (step.node, step.agent, step.step_id) == key:
            return snapshot.steps.pop(index)
    return None


def _progress(snapshot: Snapshot, fields: Fields) -> None:
    snapshot.progress = progress = Progress(
        as_number(pick(fields.data, "current", "processed")),
        as_number(pick(fields.data, "total")),
        percent_of(fields.data),
        fields.message() or fields.name("status"),
        fields.name("task"),
    )
    if progress.task:
        bar = msgspec.structs.replace(
            progress, node=fields.node, agent=fields.agent, seq=fields.seq
        )
        _keep_bar(snapshot, bar)


def _keep_bar(snapshot: Snapshot, bar: Progress) -> None:
    """Put a bar in the place of the bar of its name, or after all others."""
    bars, key = snapshot.bars, (bar.task, bar.node, bar.agent)
    for index, known in enumerate(bars):
        if (known.task, known.node, known.agent) == key:
            bars[index] = bar
            return
    if len(bars) >= caps.MAX_BARS:
        bars.remove(min(bars, key=lambda each: ((each.percent or 0) < 100, each.seq)))
        snapshot.dropped.bars += 1
    bars.append(bar)


STEPS: Final[Mapping[str, Law]] = MappingProxyType(
    {
        "step_start": _step_start,
        "step_progress": _step_progress,
        "step_complete": _step_complete,
        "node_complete": _step_complete,
        "progress": _progress,
    }
)
"""The laws, by event type."""
