"""Functions to try runcast with; `runcast serve` without a target serves them."""

from typing import Any, Final

from runcast._functions.function import Function
from runcast.demo.chat import chat
from runcast.demo.primes import count_primes
from runcast.demo.research import research
from runcast.demo.ticks import emit_events
from runcast.demo.words import count_words

__all__ = ("FUNCTIONS", "chat", "count_primes", "count_words", "emit_events", "research")

FUNCTIONS: Final[tuple[Function[..., Any], ...]] = (
    chat,
    research,
    count_words,
    count_primes,
    emit_events,
)
"""All demo functions."""
