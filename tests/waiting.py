"""How long tests wait, and how they wait for what has no event."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

__all__ = ("START_S", "WAIT_S", "look_again", "until")

WAIT_S: Final = 5.0
"""Longest wait for what must come, seconds."""

START_S: Final = 4 * WAIT_S
"""Longest wait for a program that starts first, seconds: a busy machine imports slowly."""

_PAUSE_S: Final = 0.002
_TURNS: Final = 200
"""Turns of a loop without a pause: most of what tests wait for takes fewer."""


async def until(holds: Callable[[], bool]) -> None:
    """Let others run until something holds that has no event. The caller bounds the wait.

    A loop that only looked again and again would take a processor, and keep the interpreter from
    the threads for which it waits.
    """
    turns = 0
    while not holds():
        await asyncio.sleep(0 if turns < _TURNS else _PAUSE_S)
        turns += 1


def look_again() -> None:
    """Let others run, between two looks of a thread at what has no event."""
    time.sleep(_PAUSE_S)
