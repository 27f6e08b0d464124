"""Our own loggers. They cut their records, because a message may have any length. Logging never
raises, because an error would end a run or a commit."""

import contextlib
import logging
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Final

from runcast.events.plain import cut

__all__ = (
    "MAX_MESSAGE_CHARS",
    "MAX_TRACE_CHARS",
    "bound",
    "format_error",
    "format_places",
    "get_logger",
)

MAX_TRACE_CHARS: Final = 20_000
"""Most characters of a traceback; its end is kept, which has the exception."""

MAX_MESSAGE_CHARS: Final = 24_000
"""Most characters of any other line, which may hold another process's traceback."""

_MAX_CAUSES: Final = 5
"""Most errors of one chain that `format_places` shows."""

_MAX_PART_CHARS: Final = 2_000
"""Most characters of one part of a traceback, which is a frame or an exception's message."""


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a name; its records are bounded, for every handler.

    It raises nothing, whatever handlers and filters do.
    """
    log = logging.getLogger(name)
    # Changed afterwards, because the application may have created it before
    log.__class__ = _Logger
    bound(log)
    return log


class _Logger(logging.Logger):
    def handle(self, record: logging.LogRecord) -> None:
        # A handler raises if it reports its own failure to a closed `sys.stderr`; and other
        # handlers may raise at any time.
        with contextlib.suppress(Exception):
            super().handle(record)


def bound(log: logging.Logger) -> None:
    """Cut a logger's records from now on. Idempotent."""
    log.addFilter(_cut_record)


def format_error(error: BaseException, trace: TracebackType | None = None) -> str:
    """Return the traceback of an error, bounded.

    Args:
        trace: where to begin, by default the error's own traceback.
    """
    return _joined(_parts(error, trace))


def format_places(error: BaseException) -> str:
    """Return the traceback of an error without any message, because messages may hold secrets: the
    files, the lines and the classes. Bounded."""
    parts: list[str] = []
    for each in _chain_of(error):
        frames = traceback.format_list(traceback.extract_tb(each.__traceback__))
        parts = [*frames, f"{type(each).__module__}.{type(each).__qualname__}\n", *parts]
    return _joined(parts).rstrip("\n")


def _chain_of(error: BaseException) -> Iterator[BaseException]:
    """Return an error and those before it: its causes, the latest first."""
    following: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if following is None:
            return
        yield following
        is_hidden = following.__suppress_context__
        following = following.__cause__ or (None if is_hidden else following.__context__)


def _parts(error: BaseException, trace: TracebackType | None) -> list[str]:
    return traceback.format_exception(type(error), error, trace or error.__traceback__)


def _joined(parts: list[str]) -> str:
    text = "".join(map(_cut_part, parts))
    if len(text) <= MAX_TRACE_CHARS:
        return text
    return f"… ({len(text) - MAX_TRACE_CHARS} more characters)\n{text[-MAX_TRACE_CHARS:]}"


def _cut_part(part: str) -> str:
    return part if len(part) <= _MAX_PART_CHARS else f"{cut(part.rstrip(), _MAX_PART_CHARS)}\n"


def _cut_record(record: logging.LogRecord) -> bool:
    """Bound a record."""
    if record.exc_info and record.exc_info[1] is not None:
        parts = _parts(record.exc_info[1], record.exc_info[2])
        if max(map(len, parts)) > _MAX_PART_CHARS or sum(map(len, parts)) > MAX_TRACE_CHARS:
            # Formatters use it unchanged. `exc_info` stays for handlers that need the error itself.
            record.exc_text = _joined(parts).rstrip("\n")
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 - the handler reports it, with the place of the call
        return True
    if len(message) > MAX_MESSAGE_CHARS:
        record.msg, record.args = cut(message, MAX_MESSAGE_CHARS), ()
    return True
