"""How long an answer waits for what its client wants to know: `wait_s` of a request."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from runcast.errors import InvalidValue

__all__ = ("MAX_WAIT_S", "parse_wait")

MAX_WAIT_S: Final = 60.0
"""Longest wait that a request may ask for, seconds: as proxies let a request wait."""


def parse_wait(query: Mapping[str, str]) -> float:
    """Return how long an answer may wait, seconds; 0.0 by default. Raises `InvalidValue`."""
    given = query.get("wait_s", "0")
    with suppress(ValueError):
        seconds = float(given)
        if 0 <= seconds <= MAX_WAIT_S:
            return seconds
    raise InvalidValue(f"expected wait_s from 0 to {MAX_WAIT_S:g}, got {given[:80]!r}")
