"""The usage of models in a run, added up for people."""

from typing import Final

from runcast._cli.texts import plain
from runcast.events.fold import apply
from runcast.events.model import Event
from runcast.events.snapshot import Snapshot

__all__ = ("UsageTotals",)

_MOST: Final = 8
"""Most models and agents that are named; the rest is only counted."""


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
        shown = []
        for each in used[:_MOST]:
            who = " ".join(filter(None, (plain(each.agent), plain(each.model) or "a model")))
            parts = [
                f"{each.calls} {'call' if each.calls == 1 else 'calls'}",
                f"{each.input_tokens:,} tokens in",
                f"{each.output_tokens:,} out",
            ]
            if each.calls > each.unpriced:
                parts.append(f"{each.cost:,.6g} {plain(each.currency)}".rstrip())
            shown.append(f"used {who}: {', '.join(parts)}")
        if len(used) > _MOST:
            shown.append(f"used {len(used) - _MOST} more models or agents")
        self._snapshot = Snapshot()
        return shown
