"""Runs of functions with sources, and what their watchers see."""

from collections.abc import Callable
from typing import Any

import runcast
from runcast.events.model import Event

__all__ = ("data_of", "run_of")


def run_of(function: Callable[..., Any], **inputs: object) -> list[Event]:
    """Return the events of a run of a function, in a hub of its own."""
    with runcast.open_hub() as hub:
        run = hub.start(runcast.function(function), inputs)
        return list(hub.watch(run.run_id))


def data_of(events: list[Event], kind: str) -> list[Any]:
    """Return the data of all events of a type."""
    return [event.data for event in events if event.type == kind]
