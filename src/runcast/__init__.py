"""runcast: streaming the life of long-running Python work to whoever watches it."""

import logging
from typing import TYPE_CHECKING

from runcast._app import OpenHub, asgi, open_hub
from runcast._functions.function import Function, function
from runcast._producing.answers import Answer
from runcast._producing.context import (
    ask,
    bind,
    content,
    current_writer,
    drain,
    emit,
    flush,
    log,
    progress,
    track,
    using,
    workspace,
)
from runcast._producing.stream_writer import StreamWriter
from runcast._producing.writer import Writer
from runcast._settings import Settings
from runcast.errors import Cancelled, RuncastError, RunFailed
from runcast.events.model import Event
from runcast.events.position import Position

# A library logs nothing by itself: what it says goes where the application's own logging sends it.
logging.getLogger("runcast").addHandler(logging.NullHandler())

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name):
        """Find the version out when somebody asks: a quarter of the time that importing takes."""
        if name != "__version__":
            raise AttributeError(f"module 'runcast' has no attribute {name!r}")
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("runcast")
        except PackageNotFoundError:  # run from a source tree that was never installed
            return "0"


__all__ = (
    "Answer",
    "Cancelled",
    "Event",
    "Function",
    "OpenHub",
    "Position",
    "RunFailed",
    "RuncastError",
    "Settings",
    "StreamWriter",
    "Writer",
    "__version__",
    "asgi",
    "ask",
    "bind",
    "content",
    "current_writer",
    "drain",
    "emit",
    "flush",
    "function",
    "log",
    "open_hub",
    "progress",
    "track",
    "using",
    "workspace",
)
