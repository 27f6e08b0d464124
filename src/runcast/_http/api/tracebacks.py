"""Tracebacks of functions, shown only to their developers on this machine."""

from collections.abc import Callable
from typing import Final

from starlette.requests import Request

from runcast._http.guard.security import is_local

__all__ = ("FindTraceback", "ShownTracebacks")

FindTraceback = Callable[[str, str], str]
"""Returns the traceback of a run in an epoch, "" if there is no traceback."""

_NOTHING: Final[FindTraceback] = lambda run_id, epoch: ""  # noqa: E731


class ShownTracebacks:
    """Shows tracebacks, but only after `show` is called, as `serve --debug` does."""

    def __init__(self) -> None:
        self._find = _NOTHING

    def show(self, find: FindTraceback) -> None:
        """Show the tracebacks that `find` returns, from now on."""
        self._find = find

    def find(self, request: Request, run_id: str, epoch: str) -> str:
        """Return the traceback of a run that failed here.

        Returns "" if no traceback is kept, or if the request does not come from a program on this
        machine.
        """
        client = request.client.host if request.client is not None else ""
        return self._find(run_id, epoch) if is_local(request.headers, client) else ""
