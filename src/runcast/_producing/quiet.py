"""Text that is printed for people, and also reported to watchers in another form.

A progress bar and a line of `logging` become events of their own. The same text on standard error
must not become a second event. So code prints such text inside `with QUIET:`.
"""

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("QUIET", "Quiet")


class Quiet:
    """Marks text printed by a thread as already reported in another form: `with QUIET:`."""

    def __init__(self) -> None:
        self._here = threading.local()
        self.before: Callable[[], None] | None = None
        """Called when a thread enters; flushes the text printed before."""

    @property
    def is_set(self) -> bool:
        """Whether this thread is inside such a block."""
        return getattr(self._here, "depth", 0) > 0

    def __enter__(self) -> None:
        depth = getattr(self._here, "depth", 0)
        if not depth and self.before is not None:
            self.before()
        self._here.depth = depth + 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not getattr(self._here, "depth", 1) - 1 and self.before is not None:
            self.before()
        self._here.depth -= 1


QUIET: Final = Quiet()
