"""The source for `logging`: every record that a logger lets through becomes a `log` event.

    with runcast.sources.logging.stream():
        logging.getLogger("shop").info("sold %s", 3, extra={"customer": "ada"})

    log {"level": "info", "message": "sold 3", "logger": "shop", "extra": {"customer": "ada"}}

| record | field |
|---|---|
| the level, down to the next one that events know | `level` |
| the message with its arguments | `message` |
| the logger's name | `logger` |
| `exc_info` | `exception` (one line) and `traceback` |
| `stack_info` | `stack` |
| `extra=` | `extra` |

The program's own loggers, handlers and levels are not changed. Records of runcast itself are left
out. Tested with Python 3.11 to 3.14.
"""

import logging
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from runcast._producing.context import current_writer
from runcast._producing.quiet import QUIET
from runcast._producing.writer import Writer
from runcast.errors import EventTooLarge, InvalidValue
from runcast.events.plain import cut, make_plain, shown
from runcast.events.vocabulary import as_text
from runcast.sources._scope import Patch, Scope
from runcast.sources._telling import tell

__all__ = ("Handler", "stream")

_MAX_TEXT_CHARS: Final = 16_384
"""Longest message, traceback and extra of a record: more than anybody reads."""

_SHORT_CHARS: Final = 256
"""The length they are cut to if the event is still too large."""

_LEVELS: Final = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)

_MOST_REPORTED: Final = 1024
"""Most reported records that are remembered: more than usually wait in a `QueueHandler`."""

_OWN_FIELDS: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})
"""Attributes of a record that do not come from `extra=`."""


class Handler(logging.Handler):
    """A handler that writes records to the run of the code that logs; outside a run it writes
    nowhere.

    For programs that configure their handlers themselves, with `addHandler` or `logging.config`. A
    record that `stream()` has reported is not reported again.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record to the current run. Raises only `Cancelled`."""
        writer = current_writer()
        if writer is not None and not _REPORTED.is_known(record):
            _report(writer, record)


@contextmanager
def stream(level: int | str = logging.NOTSET) -> Iterator[None]:
    """Report records logged inside the block, in the current run; outside a run, in every run.

    Args:
        level: the least level to report, a number or a name such as `"INFO"`. Records below a
            logger's own level are never reported.

    Raises:
        InvalidValue: the level is unknown.
    """
    try:
        least = logging.Handler(level).level
    except (TypeError, ValueError):
        raise InvalidValue(
            f"expected a level of logging, such as logging.INFO or 'INFO', got {shown(level)}"
        ) from None
    with _SCOPE.entered(least):
        yield


class _Reported:
    """The records that were reported last, so that each is reported once.

    Compared by value, because a `QueueHandler` passes copies to handlers in another thread.
    """

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[object, ...], None] = OrderedDict()

    def add(self, record: logging.LogRecord) -> None:
        self._keys[_key(record)] = None
        if len(self._keys) > _MOST_REPORTED:
            with suppress(KeyError):  # another thread was faster
                self._keys.popitem(last=False)

    def is_known(self, record: logging.LogRecord) -> bool:
        return _key(record) in self._keys


def _key(record: logging.LogRecord) -> tuple[object, ...]:
    return record.created, record.thread, record.name, record.lineno, record.process


def _calling_handlers(before: Callable[..., None]) -> Callable[..., None]:
    def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:
        writer = _SCOPE.writer(record.levelno)
        if writer is not None:
            _report(writer, record)
        before(self, record)

    return callHandlers


def _handling(before: Callable[..., Any]) -> Callable[..., Any]:
    def handle(self: logging.Handler, record: logging.LogRecord) -> Any:
        if not _REPORTED.is_known(record):
            return before(self, record)
        with QUIET:
            return before(self, record)

    return handle


_REPORTED: Final = _Reported()

_SCOPE: Final = Scope(
    # A handler at the root would turn off `basicConfig` and the last resort, and would miss
    # loggers that do not propagate.
    Patch(logging.Logger, "callHandlers", _calling_handlers),
    Patch(logging.Handler, "handle", _handling),
)


def _report(writer: Writer, record: logging.LogRecord) -> None:
    if as_text(record.name).partition(".")[0] == "runcast":
        return

    _REPORTED.add(record)
    data = _safe_data_of(record, _MAX_TEXT_CHARS)  # this runs code of the program, which may log

    def write() -> None:
        try:
            writer.emit("log", data)
        except EventTooLarge:
            writer.emit("log", _safe_data_of(record, _SHORT_CHARS))

    tell(writer, write)


def _safe_data_of(record: logging.LogRecord, most: int) -> dict[str, object]:
    """Return a record's fields. Never raises: a program must not fail because it is watched."""
    try:
        return _data_of(record, most)
    except Exception:  # noqa: BLE001 - whatever the program's objects raise
        return {"message": shown(record.msg), "logger": shown(record.name)}


def _data_of(record: logging.LogRecord, most: int) -> dict[str, object]:
    data: dict[str, object] = {
        "level": _level_of(record.levelno),
        "message": cut(_message_of(record), most),
        "logger": as_text(record.name),
    }
    if record.exc_info and record.exc_info[1] is not None:
        kind, error, _ = record.exc_info
        data["exception"] = cut("".join(traceback.format_exception_only(kind, error)).strip(), most)
        data["traceback"] = cut("".join(traceback.format_exception(*record.exc_info)), most)
    if record.stack_info:
        data["stack"] = cut(record.stack_info, most)
    extra = {
        name: _plain(record.__dict__[name], most) for name in record.__dict__.keys() - _OWN_FIELDS
    }
    if extra:
        data["extra"] = extra
    return data


def _level_of(number: int) -> str:
    for least, name in _LEVELS:
        if number >= least:
            return name
    return "debug"


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - the program's own handlers report what is wrong with it
        return f"{_text_of(record.msg, str)} % {_text_of(record.args, repr)}"


def _text_of(value: object, as_text_of: Callable[[object], str]) -> str:
    try:
        return as_text_of(value)
    except Exception:  # noqa: BLE001 - whatever a user's object raises
        return shown(value)


def _plain(value: object, most: int) -> object:
    """Return an extra as JSON; as text if JSON cannot hold it, or if it is long."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return cut(value, most)
    try:
        plain = make_plain(value)
    except Exception:  # noqa: BLE001 - whatever a user's object raises
        return cut(_text_of(value, repr), most)
    text = as_text(plain)
    return plain if len(text) <= most else cut(text, most)
