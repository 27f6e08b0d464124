"""The source for tqdm: bars become `progress` events, each with the name of its bar.

    with runcast.sources.tqdm.stream():
        for page in tqdm(pages, desc="pages"):
            ...

    progress {"task": "pages", "current": 3, "total": 10, "percent": 30.0, "message": "pages"}

`task` is the bar's first description and stays the same; `message` is the bar's description and
postfix at present. Bars are printed as before. A disabled bar is not reported. Tested with tqdm
4.62 to 4.70.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from runcast._producing.context import current_writer
from runcast._producing.quiet import QUIET
from runcast._producing.writer import Writer
from runcast.sources._meters import Meter, Reading
from runcast.sources._packages import check_package
from runcast.sources._scope import Patch, Scope

check_package("tqdm", (4, 62))

from tqdm import std  # noqa: E402 - after the check that it is installed

__all__ = ("stream", "tqdm", "trange")

_METER: Final = "_runcast_meter"
"""Attribute of a bar that holds its meter."""


@contextmanager
def stream() -> Iterator[None]:
    """Report the bars that are made in the block, in the current run; outside a run, in all."""
    with _SCOPE.entered():
        yield


if TYPE_CHECKING:
    from tqdm import tqdm as tqdm
    from tqdm import trange as trange
else:

    class tqdm(std.tqdm):
        """tqdm's own bar, which reports to the run it is made in. Outside a run it only prints."""

        def refresh(self, *args, **kwargs):
            """Draw the bar, and report it."""
            return _refresh(self, super().refresh, current_writer, *args, **kwargs)

        def close(self):
            """Report the bar's last value, and close the bar."""
            _close(self, super().close)

    def trange(*args, **kwargs):
        """Return `tqdm(range(*args), **kwargs)`."""
        return tqdm(range(*args), **kwargs)


def _refresh(
    bar: Any,
    draw: Callable[..., Any],
    find_writer: Callable[[], Writer | None],
    *args: Any,
    **kwargs: Any,
) -> Any:
    meter = vars(bar).get(_METER)
    if meter is None and not bar.disable and (writer := find_writer()) is not None:
        bar_is = weakref.ref(bar)
        meter = Meter(writer, bar.desc or "", lambda: _read(bar_is()))
        setattr(bar, _METER, meter)
    if meter is None:
        return draw(*args, **kwargs)
    with QUIET:
        drawn = draw(*args, **kwargs)
    meter.look()
    return drawn


def _close(bar: Any, close: Callable[[], None]) -> None:
    meter = vars(bar).get(_METER)
    if meter is None or bar.disable:
        close()
        return
    try:
        meter.close()
    finally:
        with QUIET:
            close()


def _read(bar: Any) -> Reading | None:
    if bar is None:
        return None
    said = (bar.desc or "", getattr(bar, "postfix", None) or "")
    return Reading(bar.n, bar.total, " ".join(str(part).strip(" :") for part in said if part))


def _refreshing(before: Callable[..., Any]) -> Callable[..., Any]:
    def refresh(self: Any, *args: Any, **kwargs: Any) -> Any:
        def draw(*args: Any, **kwargs: Any) -> Any:
            return before(self, *args, **kwargs)

        return _refresh(self, draw, _SCOPE.writer, *args, **kwargs)

    return refresh


def _closing(before: Callable[[Any], None]) -> Callable[[Any], None]:
    def close(self: Any) -> None:
        _close(self, lambda: before(self))

    return close


def _quietly(before: Callable[..., Any]) -> Callable[..., Any]:
    def clear(self: Any, *args: Any, **kwargs: Any) -> Any:
        if _METER not in vars(self):
            return before(self, *args, **kwargs)
        with QUIET:
            return before(self, *args, **kwargs)

    return clear


_SCOPE: Final = Scope(
    # Every way to move a bar calls `refresh`, also in subclasses that draw differently.
    Patch(std.tqdm, "refresh", _refreshing),
    Patch(std.tqdm, "close", _closing),
    Patch(std.tqdm, "clear", _quietly),
)
