"""The traceback of a failed run: shown if the server shows it, else only in its log."""

import sys
from contextlib import suppress

from runcast._cli.remote import Remote
from runcast._cli.texts import plain, plain_lines
from runcast.errors import NotFound, PeerError
from runcast.events.model import Event
from runcast.events.outcome import is_logged
from runcast.events.vocabulary import pick

__all__ = ("report_traceback",)


def report_traceback(remote: Remote, path: str, run_id: str, failed: Event) -> None:
    """Print the function's traceback, or a hint to the server's log, to standard error.

    Nothing is printed for a failure that the function reported by `RunFailed`.

    Args:
        path: the run's path, like `/runs/…`.
        failed: the terminal event.
    """
    data = failed.data if isinstance(failed.data, dict) else {}
    if not is_logged(str(data.get("message", "")), str(data.get("code", ""))):
        return
    with suppress(PeerError, NotFound):  # the server or the run is gone; its end was printed
        shown = pick(remote.ask("GET", path), "traceback")
        where = f"the log of the server has the traceback, under the run id {plain(run_id)}"
        print(plain_lines(shown) if isinstance(shown, str) else where, file=sys.stderr)
