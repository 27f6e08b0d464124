"""How long tests wait."""

from typing import Final

__all__ = ("WAIT_S",)

WAIT_S: Final = 5.0
"""Longest wait for what must come, seconds."""
