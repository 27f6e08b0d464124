"""The environment of processes that tests start: the same on every machine."""

import os
from collections.abc import Mapping

__all__ = ("environment",)

_OF_WHO_TESTS = frozenset(
    {"COLUMNS", "EDITOR", "LINES", "NO_COLOR", "PYTHONUNBUFFERED", "TERM", "VISUAL"}
)
"""What terminals and shells set, and what runcast or Python look at."""


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our own environment without what would change a test, and with what is given."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("RUNCAST_") and name not in _OF_WHO_TESTS
    }
    return {**kept, **(given or {})}
