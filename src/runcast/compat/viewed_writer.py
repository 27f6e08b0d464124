"""A view on the producer's side: what it hides is not stored at all.

What a view gathers or joins is let go when something else happens in the node, by `flush`, and at
the latest before the run's terminal event. So the tail of a text is not lost.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from runcast import Event, Writer
from runcast.errors import EventTooLarge
from runcast.events.model import as_stored
from runcast.events.view import View, ViewSpec, ViewState
from runcast.runs.protocols import Ending

__all__ = ("ViewedWriter",)

_PIECE: Final = frozenset({"text", "message_id"})
"""Fields of a piece of text, which the run's writer counts."""


class ViewedWriter:
    """Stands before a run's writer. Its methods may be called from any thread.

    Args:
        let_go: called with the writer before its run ends.
    """

    def __init__(self, writer: Writer, spec: ViewSpec, let_go: Callable[[Writer], None]) -> None:
        self.writer = writer
        self._let_go = let_go
        self._view = View(spec)
        self._state = ViewState()
        self._lock = threading.Lock()
        writer.before_end(self._conclude)

    def emit(
        self,
        type: str,  # noqa: A002 - the name of the field
        data: object = None,
        *,
        node: str = "",
        agent: str = "",
        path: Sequence[str] = (),
        duration: float | None = None,
    ) -> None:
        """Append an event, if the view shows it; see `Writer.emit`."""
        # What cannot be stored is refused before it is gathered.
        place = (node, agent, tuple(path), duration)
        most = self.writer.max_event_bytes
        self._step(as_stored(type, data, self.writer.clock.time(), place, most))

    def emit_event(self, event: Event) -> None:
        """Append an `Event`, if the view shows it."""
        self.emit(
            event.type,
            event.data,
            node=event.node,
            agent=event.agent,
            path=event.path,
            duration=event.duration,
        )

    def content(self, text: str, *, message_id: str = "", node: str = "", agent: str = "") -> None:
        """Append a piece of text; see `Writer.content`."""
        data = {"text": text, "message_id": message_id} if message_id else {"text": text}
        self.emit("content", data, node=node, agent=agent)

    def before_end(self, hook: Callable[[Ending], Ending]) -> None:
        """Have a hook called before the run ends; see `Writer.before_end`."""
        self.writer.before_end(hook)

    def flush(self) -> None:
        """Append what was gathered and joined so far."""
        # A terminal event makes a view let go of everything. It is not written.
        self._step(Event(type="done", time=self.writer.clock.time()))

    def _step(self, event: Event) -> None:
        with self._lock:
            shown = self._view.step(self._state, event)
        # Not with the lock held: a thread may have to wait for room.
        for one in shown:
            if one.type != "done":
                self._write(one)

    def _write(self, event: Event) -> None:
        data = event.data
        if isinstance(data, dict) and data.get("of") == [0, 0]:
            # The places in the log that it stands for, which are not known yet.
            del data["of"]
        self._write_data(event, data)

    def _write_data(self, event: Event, data: Any) -> None:
        place: dict[str, Any] = {"node": event.node, "agent": event.agent, "path": event.path}
        try:
            if event.type == "content" and isinstance(data, dict) and data.keys() <= _PIECE:
                self.writer.content(
                    data.get("text", ""), message_id=data.get("message_id", ""), **place
                )
            else:
                self.writer.emit(event.type, data, duration=event.duration, **place)
        except EventTooLarge:
            halves = _halves(event.type, data)
            if not halves:
                raise
            for half in halves:
                self._write_data(event, half)

    def _conclude(self, ending: Ending) -> Ending:
        self.flush()
        self._let_go(self.writer)
        return ending


def _halves(event_type: str, data: Any) -> list[dict[str, Any]]:
    """Return the data of a text that became too long by being joined as two; [] of all others."""
    name = "message" if event_type == "node_complete" else "text"
    text = data.get(name) if isinstance(data, dict) else None
    if not isinstance(text, str) or len(text) < 2:
        return []
    middle = len(text) // 2
    return [{**data, name: text[:middle]}, {**data, name: text[middle:]}]
