"""How a notebook shows a run: live if it has widgets, and as plain HTML everywhere else."""

import asyncio
import html
import sys
from collections.abc import Callable, Collection
from importlib.util import find_spec
from typing import Any, Final

from runcast.client.channel import Channel, RunClient
from runcast.client.model import RunState
from runcast.errors import InvalidValue, RuncastError
from runcast.events.position import is_run_id

__all__ = ("ShownRun",)

_EXTRA: Final = "runcast[notebook]"
_MAX_TEXT_CHARS: Final = 2000
"""Longest text of a run in the plain form: the last part of it."""


class ShownRun:
    """A run that a notebook shows while it goes on: the last value of a cell, or `display(…)`.

    `Client.show` returns it. With the extra `runcast[notebook]` the view is live: it follows the
    run, takes answers and messages, and can cancel. It goes on after the page was loaded again, as
    long as the kernel and the client are there. Elsewhere, and in a saved notebook that is read
    without a kernel, it is plain HTML: the run as it was when it was displayed.
    """

    def __init__(
        self,
        run_id: str,
        client: Callable[[], RunClient],
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        about: Callable[[], str] | None = None,
        read: Callable[[], RunState] | None = None,
    ) -> None:
        """Make what shows a run.

        Args:
            client: returns the client of the run's hub or server; called at the first display.
            loop: the client's loop; by default the one that displays it.
            about: returns what is known of the run without waiting, for the plain form.
            read: returns the run's state, for the plain form, instead of `about`.
        """
        if not is_run_id(run_id):
            raise InvalidValue(f"expected the id of a run like 'report-7', got {run_id!r:.140}")
        self._run_id = run_id
        self._client = client
        self._loop = loop
        self._about = about
        self._read = read
        self._widget: Any = None

    def __repr__(self) -> str:
        return f"<ShownRun {self._run_id}>"

    def _repr_html_(self) -> str:
        return _plain(self._run_id, self._about, self._read, _hint())

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, Any]:
        """Return the forms in which a notebook can show the run, by media type."""
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self._repr_html_()}
        if _has_widgets():
            bundle = self._shown().bundle() | bundle
        return bundle

    def _shown(self) -> Any:
        """Return the widget. The run is displayed by one, however often it is displayed."""
        if self._widget is None:
            from runcast.client.widget import RunWidget

            loop = self._loop or asyncio.get_running_loop()
            self._widget = widget = RunWidget(run_id=self._run_id)
            channel = Channel(self._client(), self._run_id, loop, widget.send, widget.keep)
            widget.connect(channel)
        return self._widget


def _has_widgets() -> bool:
    """Return whether this is the kernel of a notebook, and the extra is installed."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None and find_spec("anywidget") is not None


def _hint() -> str:
    if find_spec("anywidget") is None:
        return f"To see it live: pip install '{_EXTRA}', and restart the kernel."
    return ""


def _plain(
    run_id: str, about: Callable[[], str] | None, read: Callable[[], RunState] | None, hint: str
) -> str:
    """Return a run as HTML without scripts. What the run says is escaped."""
    rows = [("run", run_id)]
    if about is not None and read is None:
        rows.append(("", about()))
    if read is not None:
        try:
            rows += _rows_of(read())
        except RuncastError as error:
            rows.append(("error", error.message))
    if hint:
        rows.append(("", hint))
    cells = "".join(
        f"<tr><th style='text-align:left;vertical-align:top'>{html.escape(name)}</th>"
        f"<td style='text-align:left;white-space:pre-wrap'>{html.escape(text)}</td></tr>"
        for name, text in rows
    )
    return f"<table>{cells}</table>"


def _rows_of(found: RunState) -> list[tuple[str, str]]:
    state = found.state
    rows = [("function", found.function), ("status", found.status)]
    if state.progress is not None:
        bar = state.progress
        percent = "" if bar.percent is None else f"{bar.percent:g} %"
        rows.append(("progress", " ".join(filter(None, (percent, bar.message)))))
    rows += [("question", asked.message or asked.action) for asked in state.interrupts]
    if state.texts:
        rows.append(("text", state.texts[-1].text[-_MAX_TEXT_CHARS:]))
    if state.failure is not None:
        rows.append(("failure", state.failure.message))
    if state.result is not None:
        rows.append(("result", str(state.result)[:_MAX_TEXT_CHARS]))
    return [(name, text) for name, text in rows if text]
