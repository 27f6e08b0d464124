"""Give the memory of a burst of load back to the system.

glibc keeps freed memory for later, in one heap for each of up to eight threads per core. Without
this call a process stays as large as it once was, although it no longer uses the memory.
"""

import ctypes
from collections.abc import Callable
from typing import Final

__all__ = ("give_back_memory",)


def _find() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None  # another C library: musl and macOS give memory back by themselves
    return trim


_TRIM: Final = _find()


def give_back_memory() -> None:
    """Give free memory back to the system; takes milliseconds, without the interpreter's lock."""
    if _TRIM is not None:
        _TRIM(0)
