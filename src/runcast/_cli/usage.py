"""The usage of models in a run, added up for people."""

from typing import Final

from runcast._cli.texts import plain
from runcast.events.fold import apply
from runcast.events.model import Event
from runcast.events.snapshot import Snapshot, Usage

__all__ = ("UsageTotals", "describe_usage")

_MOST: Final = 8
"""Most models and agents that are named; the rest is only counted."""


def describe_usage(used: Usage) -> str:
    """Return what the calls of one model and agent used, on one line."""
    who = " ".join(filter(None, (plain(used.agent), plain(used.model) or "a model")))
    parts = [
        f"{used.calls} {'call' if used.calls == 1 else 'calls'}",
        f"{used.input_tokens:,} tokens in",
        f"{used.output_tokens:,} out",
    ]
    if used.calls > used.unpriced:
        parts.append(f"{used.cost:,.6g} {plain(used.currency)}".rstrip())
    return f"{who}: {', '.join(parts)}"


class UsageTotals:
    """Adds up `usage` events."""

    def __init__(self) -> None:
        self._snapshot = Snapshot()

    def take(self, event: Event) -> None:
        """Count one event."""
        apply(self._snapshot, event)

    def lines(self) -> list[str]:
        """Return a line for each model and agent with usage, and restart the counts."""
        used = self._snapshot.usage
        shown = [f"used {describe_usage(each)}" for each in used[:_MOST]]
        if len(used) > _MOST:
            shown.append(f"used {len(used) - _MOST} more models or agents")
        self._snapshot = Snapshot()
        return shown
