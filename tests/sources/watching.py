"""Runs of functions with sources, and what their watchers see."""

from collections.abc import Callable
from typing import Any

from blockbuster import BlockBuster

import runcast
from runcast.events.model import Event

__all__ = ("data_of", "let_functions_block", "run_of")


def run_of(function: Callable[..., Any], **inputs: object) -> list[Event]:
    """Return the events of a run of a function, in a hub of its own."""
    with runcast.open_hub() as hub:
        run = hub.start(runcast.function(function), inputs)
        return list(hub.watch(run.run_id))


def data_of(events: list[Event], kind: str) -> list[Any]:
    """Return the data of all events of a type."""
    return [event.data for event in events if event.type == kind]


def let_functions_block(detector: BlockBuster) -> None:
    """Allow blocking calls inside functions of runs: clients of models read files at first."""
    for function in detector.functions.values():
        function.can_block_in("runcast/_workers/drive.py", {"_drive", "drive_in_thread"})
