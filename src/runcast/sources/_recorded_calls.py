"""Which calls of a model an adapter records: the tap of the client leaves them alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ("calls_recorded", "is_call_recorded")

_is_recorded: ContextVar[bool] = ContextVar("runcast_is_call_recorded", default=False)


@contextmanager
def calls_recorded() -> Iterator[None]:
    """Say that an adapter records the calls made inside the block, in this context."""
    token = _is_recorded.set(True)
    try:
        yield
    finally:
        _is_recorded.reset(token)


def is_call_recorded() -> bool:
    """Return whether an adapter records the calls made here."""
    return _is_recorded.get()
