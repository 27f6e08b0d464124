"""runcast: streaming the life of long-running Python work to whoever watches it."""

from importlib.metadata import PackageNotFoundError, version

from runcast.app import OpenHub, asgi, open_hub
from runcast.errors import Cancelled, RuncastError, RunFailed
from runcast.events.model import Event
from runcast.events.position import Position
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
from runcast.runs.questions import Answer
from runcast.runs.stream_writer import StreamWriter
from runcast.runs.writer import Writer
from runcast.settings import Settings

try:
    __version__ = version("runcast")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0"

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
