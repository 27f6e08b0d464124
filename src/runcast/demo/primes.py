"""Count primes: a plain function that computes in its thread and reports its progress."""

from math import isqrt
from typing import Final

import runcast
from runcast.demo.pace import Reports

__all__ = ("count_primes",)

_MOST: Final = 10**12
"""Larger limits take more than a day, and need a large table of small primes."""

_SEGMENT: Final = 1 << 18
"""Odd numbers sieved at a time: their flags fit the processor's cache."""


@runcast.function
def count_primes(limit: int) -> dict[str, int]:
    """Count the primes up to a limit, at most 10^12; it can be cancelled at any time.

    A limit of 10^9 takes some seconds.
    """
    if not 0 <= limit <= _MOST:
        raise runcast.RunFailed(f"expected a limit of 0 to 10^12, got {limit}", "invalid_inputs")
    reports = Reports()
    small = _small_primes(isqrt(limit))
    count, largest = (1, 2) if limit >= 2 else (0, 0)
    for low in range(3, limit + 1, 2 * _SEGMENT):
        flags = _sieve(low, min(_SEGMENT, (limit - low) // 2 + 1), small)
        count += flags.count(1)
        last = flags.rfind(1)
        largest = low + 2 * last if last >= 0 else largest
        if reports.is_due():
            reached = low + 2 * (len(flags) - 1)
            runcast.progress(reached, limit, f"{count:,} primes up to {reached:,}")
            runcast.emit("result", {"value": _result(reached, count, largest)})
    runcast.progress(limit, limit, f"{count:,} primes up to {limit:,}")
    return _result(limit, count, largest)


def _result(limit: int, count: int, largest: int) -> dict[str, int]:
    return {"limit": limit, "primes": count, "largest": largest}


def _small_primes(most: int) -> list[int]:
    """Return the odd primes up to a number."""
    flags = bytearray([1]) * (most + 1)
    for number in range(3, isqrt(most) + 1, 2):
        if flags[number]:
            flags[number * number :: number] = bytes(len(range(number * number, most + 1, number)))
    return [number for number in range(3, most + 1, 2) if flags[number]]


def _sieve(low: int, size: int, small: list[int]) -> bytearray:
    """Return flags for `size` odd numbers from `low` on: 1 for each that is a prime."""
    flags = bytearray([1]) * size
    high = low + 2 * (size - 1)
    for prime in small:
        square = prime * prime
        if square > high:
            break
        # The first odd multiple that no smaller prime has marked.
        first = max(square, (low + prime - 1) // prime * prime)
        first += prime if first % 2 == 0 else 0
        start = (first - low) // 2
        flags[start::prime] = bytes(len(range(start, size, prime)))
    return flags
