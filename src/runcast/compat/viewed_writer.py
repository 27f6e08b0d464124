"""A view on the producer's side: what it hides is not stored at all.

What a view gathers or joins is let go when something else happens in the node, by `flush`, and at
the latest before the run's terminal event. So the tail of a text is not lost.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from runcast import Event, Writer
from runcast.events.model import decode_event, encode_record
from runcast.events.view import View, ViewSpec, ViewState
from runcast.runs.protocols import Ending

__all__ = ("ViewedWriter",)

_MAX_MESSAGES: Final = 1000
"""Messages below an agent whose pieces are counted at once; beyond it counting starts anew."""

_PIECE: Final = frozenset({"text", "message_id"})
"""Fields of a piece of text whose index the writer counts."""


class ViewedWriter:
    """Stands before a run's writer. Its methods may be called from any thread."""

    def __init__(self, writer: Writer, spec: ViewSpec) -> None:
        self.writer = writer
        self._view = View(spec)
        self._state = ViewState()
        self._lock = threading.Lock()
        self._indexes: dict[tuple[str, str, str], int] = {}
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
        # As a log would give it back: what cannot be stored is refused before it is gathered.
        record = encode_record(type, data, 0.0, (node, agent, tuple(path), duration))
        self._tell(decode_event(b'{"seq":0,%b' % record))

    def content(self, text: str, *, message_id: str = "", node: str = "", agent: str = "") -> None:
        """Append a piece of text; see `Writer.content`."""
        data = {"text": text, "message_id": message_id} if message_id else {"text": text}
        self.emit("content", data, node=node, agent=agent)

    def before_end(self, hook: Callable[[Ending], Ending]) -> None:
        """Have a hook called before the run ends; see `Writer.before_end`."""
        self.writer.before_end(hook)

    def use(self, spec: ViewSpec) -> None:
        """Show what another specification says from now on."""
        if spec != self._view.spec:
            self.flush()
            self._view = View(spec)

    def flush(self) -> None:
        """Append what was gathered and joined so far."""
        # A terminal event makes a view let go of everything. It is not written.
        self._tell(Event(type="done"))

    def _tell(self, event: Event) -> None:
        with self._lock:
            shown = self._view.step(self._state, event)
        # Not with the lock held: a thread may have to wait for room.
        for one in shown:
            if one.type != "done":
                self._write(one)

    def _write(self, event: Event) -> None:
        data: Any = event.data
        if isinstance(data, dict) and data.get("of") == [0, 0]:
            # The places in the log that it stands for, which are not known yet.
            data = {name: value for name, value in data.items() if name != "of"}
        if event.type == "content" and isinstance(data, dict) and data.keys() <= _PIECE:
            key = (event.node, event.agent, data.get("message_id", ""))
            if not event.path:
                self.writer.content(
                    data.get("text", ""), message_id=key[2], node=event.node, agent=event.agent
                )
                return
            data = {**data, "index": self._next_index(key)}
        self.writer.emit(
            event.type,
            data,
            node=event.node,
            agent=event.agent,
            path=event.path,
            duration=event.duration,
        )

    def _next_index(self, key: tuple[str, str, str]) -> int:
        with self._lock:
            if len(self._indexes) >= _MAX_MESSAGES:
                self._indexes.clear()
            index = self._indexes.get(key, 0)
            self._indexes[key] = index + 1
            return index

    def _conclude(self, ending: Ending) -> Ending:
        self.flush()
        return ending
