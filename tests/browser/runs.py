"""What tests of the view of a run share: servers, runs on them, and the tabs of the view."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.browser.chromium import Page
from tests.cli.served import Served, serve

__all__ = ("REFUSED", "RESTART_S", "Serve", "serving_on", "show_tab", "start")

RESTART_S: Final = 15.0
"""A server's start on a busy machine, and the longest wait of a page before it tries again."""

REFUSED: Final = (
    r"net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING"
    r"|INTERNET_DISCONNECTED)"
)
"""What the browser complains of when a server or the network is gone."""

_TARGET: Final = str(Path(__file__).with_name("functions.py"))

Serve = Callable[..., Served]


@contextmanager
def serving_on(folder: Path) -> Iterator[Serve]:
    """Give a function that starts servers on one store."""
    with ExitStack() as stack:

        def begin(*arguments: str, port: int = 0) -> Served:
            store = f"sqlite:///{folder}/runs.db"
            command = (_TARGET, "--store", store, *arguments)
            return stack.enter_context(serve(*command, cwd=folder, port=port, wait_s=RESTART_S))

        yield begin


def start(server: Served, function: str, run_id: str, **inputs: object) -> str:
    """Begin a run and return the address at which the console shows it."""
    server.start(function, run_id, **inputs)
    return f"{server.url}/#/runs/{run_id}"


def show_tab(page: Page, name: str) -> None:
    """Show one of the views of a run, as `Log` or `Events`."""
    # Not by the mouse: the tabs move while a run grows.
    tabs = "[...document.querySelectorAll('[role=tab]')]"
    find = f"{tabs}.find(it => it.innerText.includes({json.dumps(name)}))"
    page.until(f"{find} && ({find}.click(), {find}.ariaSelected === 'true')")
