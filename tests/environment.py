"""The environment of processes that tests start: the same on every machine."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ("PARSER", "environment")

PARSER: Final = os.environ.get("TEST_PARSER", "httptools")
"""The parser of HTTP that servers have where a test does not say: this, or h11."""

_WITHOUT_HTTPTOOLS: Final = str(Path(__file__).with_name("without_httptools"))
"""A folder in which httptools cannot be imported."""

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
    if PARSER == "h11":
        kept["PYTHONPATH"] = _WITHOUT_HTTPTOOLS
    return {**kept, **(given or {})}
