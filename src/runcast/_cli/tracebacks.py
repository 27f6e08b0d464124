"""The traceback of a failed run: shown if the server shows it, else only in its log."""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from runcast._cli.texts import plain, plain_lines
from runcast.errors import RuncastError
from runcast.events.model import Event
from runcast.events.outcome import is_logged

if TYPE_CHECKING:
    from runcast.client.asynchronous import AsyncClient

__all__ = ("report_traceback",)


async def report_traceback(client: "AsyncClient", run_id: str, failed: Event) -> None:
    """Print the function's traceback, or a hint to the server's log, to standard error.

    Nothing is printed for a failure that the function reported by `RunFailed`.

    Args:
        failed: the terminal event.
    """
    data = failed.data if isinstance(failed.data, dict) else {}
    if not is_logged(str(data.get("message", "")), str(data.get("code", ""))):
        return
    with suppress(RuncastError):  # the server or the run is gone; its end was printed
        shown = (await client.snapshot(run_id)).traceback
        where = f"the log of the server has the traceback, under the run id {plain(run_id)}"
        print(plain_lines(shown) if shown else where, file=sys.stderr)
