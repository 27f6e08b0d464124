"""A line on standard error for files on their way; nothing where that is no terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from runcast._cli.show import is_terminal
from runcast._cli.terminal import size_of
from runcast._cli.texts import cut, plain, readable_bytes
from runcast._clock import SystemClock

__all__ = ("meter",)

_REDRAW_S: Final = 0.1


@contextmanager
def meter(verb: str, name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield what is to be told of each piece of a file, in bytes; shows how much has passed."""
    out, clock = sys.stderr, SystemClock()
    began = drawn = clock.monotonic()
    done, is_drawn = 0, False

    def passed(count: int) -> None:
        nonlocal done, drawn, is_drawn
        done += count
        now = clock.monotonic()
        if now - drawn < _REDRAW_S or not is_terminal(out):
            return
        rate = readable_bytes(done / (now - began))
        amount = f"{readable_bytes(done)} of {readable_bytes(total)} {rate}/s"
        line = cut(f"{verb} {amount} {plain(name)}", size_of(out)[0] - 1)
        drawn, is_drawn = now, True
        out.write(f"\r\x1b[K{line}")
        out.flush()

    try:
        yield passed
    finally:
        if is_drawn:
            out.write("\r\x1b[K")
            out.flush()
