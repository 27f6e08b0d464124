"""What functions raised, for who develops them on this machine, and for nobody else."""

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from runcast._http.api.responses import SAFE_HEADERS
from runcast._http.guard.gate import Gate
from runcast._http.guard.security import is_local
from runcast._hub.hub import Hub
from runcast.errors import NotFound

__all__ = ("FindTraceback", "ShownTracebacks")

FindTraceback = Callable[[str, str], str]
"""Returns the traceback of a run in an epoch, "" where there is no such."""

_NOTHING: Final[FindTraceback] = lambda run_id, epoch: ""  # noqa: E731


class ShownTracebacks:
    """Answers for tracebacks. Shows none until `show` is called, which `serve --debug` does."""

    def __init__(self) -> None:
        self._find = _NOTHING

    def show(self, find: FindTraceback) -> None:
        """Show what this finds from now on."""
        self._find = find

    async def answer(self, request: Request, hub: Hub, gate: Gate) -> Response:
        """Return the traceback of a run that failed here.

        Raises:
            NotFound: there is no such run, the request may not see it, no traceback is kept, or
                the request does not come from a program on this machine.
        """
        run_id = request.path_params["run_id"]
        await gate.check(request, run_id)
        info = await hub.info(run_id)
        client = request.client.host if request.client is not None else ""
        found = self._find(run_id, info.epoch) if is_local(request.headers, client) else ""
        if not found:
            raise NotFound(
                "tracebacks are shown by `runcast serve --debug`, on its own machine, until it "
                f"ends; else the log of the server has them, under the run id {run_id}"
            )
        return PlainTextResponse(found, headers=SAFE_HEADERS)
