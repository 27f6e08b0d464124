"""runcast: streaming the life of long-running Python work to whoever watches it."""

from typing import TYPE_CHECKING

from runcast.app import OpenHub, asgi, open_hub
from runcast.errors import Cancelled, RuncastError, RunFailed
from runcast.events.model import Event
from runcast.events.position import Position
from runcast.runs.answers import Answer
from runcast.runs.context import (
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
from runcast.runs.function import Function, function
from runcast.runs.stream_writer import StreamWriter
from runcast.runs.writer import Writer
from runcast.settings import Settings

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
