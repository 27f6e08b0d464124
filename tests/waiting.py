"""How long tests wait."""

from typing import Final

__all__ = ("START_S", "WAIT_S")

WAIT_S: Final = 5.0
"""Longest wait for what must come, seconds."""

START_S: Final = 4 * WAIT_S
"""Longest wait for a program that starts first, seconds: a busy machine imports slowly."""
