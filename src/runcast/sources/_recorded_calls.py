"""Which calls of a model an adapter records: the tap of the client leaves them alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ("RecordedCall", "calls_recorded", "is_call_recorded")


class RecordedCall:
    """A call that an adapter records: from now on in this context, until `end()` in any context.

    For adapters that hear of the beginning and the end of a call in different contexts.
    """

    def __init__(self) -> None:
        self._is_over = False
        before = _recorded.get()
        while before is not None and before._is_over:
            before = before._before  # so that ended calls are not kept
        self._before: RecordedCall | None = before
        _recorded.set(self)

    def end(self) -> None:
        """The call has ended. May be called again."""
        self._is_over = True

    @property
    def is_on(self) -> bool:
        """Whether this call, or one around it, has not ended."""
        call: RecordedCall | None = self
        while call is not None and call._is_over:
            call = call._before
        return call is not None


_recorded: ContextVar[RecordedCall | None] = ContextVar("runcast_recorded_call", default=None)


@contextmanager
def calls_recorded() -> Iterator[None]:
    """Say that an adapter records the calls made inside the block, in this context."""
    call = RecordedCall()
    try:
        yield
    finally:
        call.end()


def is_call_recorded() -> bool:
    """Return whether an adapter records the calls made here."""
    call = _recorded.get()
    return call is not None and call.is_on
