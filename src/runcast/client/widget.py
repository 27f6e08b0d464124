"""The widget that shows a run in a notebook: anywidget's, with the page's part of `channel`."""

from importlib.resources import files
from typing import Any, Final

import anywidget
import traitlets

from runcast.client.channel import Channel, Kept

__all__ = ("RunWidget",)

_PAGE: Final = "notebook.js"
"""Made by `python3 dev.py web --write` from web/client/src/notebook.ts."""


class RunWidget(anywidget.AnyWidget):
    """One run, in every place where it is displayed; anywidget keeps it as long as the kernel."""

    _esm = files("runcast.client").joinpath(_PAGE).read_text("utf-8")
    run_id = traitlets.Unicode().tag(sync=True)
    first = traitlets.Unicode().tag(sync=True)
    early = traitlets.Unicode("[]").tag(sync=True)

    def connect(self, channel: Channel) -> None:
        """Let the pages talk to a channel, from now on."""
        self.on_msg(lambda _widget, content, _buffers: channel.receive(content))
        channel.begin()

    def keep(self, kept: Kept) -> None:
        """Keep what pages find when they open."""
        with self.hold_sync():
            self.first, self.early = kept.first, kept.early

    def bundle(self) -> dict[str, Any]:
        """Return the forms in which a notebook can show the widget, by media type."""
        shown: Any = self._repr_mimebundle_()
        return dict(shown[0] if isinstance(shown, tuple) else shown)
