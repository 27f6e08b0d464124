"""A view on the producer's side: hidden events are not stored at all.

Text that a view gathers or joins is written when something else happens in the node, by `flush`, or
at the latest before the run's terminal event. So no text is lost at the end.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from runcast import Event, Writer
from runcast._hub.forks import make_lock
from runcast.errors import EventTooLarge, RuncastError
from runcast.events.model import as_stored
from runcast.events.outcome import Outcome
from runcast.events.view import View, ViewSpec, ViewState
from runcast.events.vocabulary import pick

__all__ = ("ViewedWriter",)

_PIECE: Final = frozenset({"text", "message_id"})
"""Fields of a piece of text, which the run's writer counts."""


class ViewedWriter:
    """A filter in front of a run's writer. Call its methods from any thread.

    Args:
        let_go: called with the writer before its run ends.
    """

    def __init__(self, writer: Writer, spec: ViewSpec, let_go: Callable[[Writer], None]) -> None:
        self.writer = writer
        self._let_go = let_go
        self._view = View(spec)
        self._state = ViewState()
        self._steps = 0
        self._owed: list[Event] = []
        """Flushed events that are not yet written: they were accepted, and must not be lost."""
        self._lock = make_lock()
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
        self.writer.home.check("emit()")
        # Refuse what cannot be stored before it is gathered.
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

    def before_end(self, hook: Callable[[Outcome], Outcome]) -> None:
        """Call a hook before the run ends; see `Writer.before_end`."""
        self.writer.before_end(hook)

    def flush(self) -> None:
        """Append the text gathered and joined so far."""
        # A terminal event makes a view flush everything. The event itself is not written.
        self._step(Event(type="done", time=self.writer.clock.time()))

    def _step(self, event: Event) -> None:
        self._write_owed()
        with self._lock:
            self._steps += 1
            shown = self._view.step(self._state, _numbered(event, self._steps))
            is_shown = bool(shown) and pick(shown[-1].data, "of") == pick(event.data, "of")
            own = shown.pop() if is_shown else None
            self._owed += shown
        try:
            self._write_owed()
            if own is not None and own.type != "done":
                self._write_data(own, own.data)
        except RuncastError as error:
            if own is None and error.retryable:
                return  # the event was accepted, and is among the unwritten ones
            with self._lock:
                self._state.seen.forget(event)  # otherwise it would count as a repetition later
            raise

    def _write_owed(self) -> None:
        """Write flushed events; events without room now are written the next time."""
        # Without the lock, because a thread may have to wait for room.
        while True:
            with self._lock:
                if not self._owed:
                    return
                event = self._owed.pop(0)
            # The `seq`s of the joined events are not yet known.
            data = {name: value for name, value in event.data.items() if name != "of"}
            try:
                self._write_data(event, data)
            except RuncastError as error:
                if error.retryable:
                    with self._lock:
                        self._owed.insert(0, event)
                raise

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

    def _conclude(self, ending: Outcome) -> Outcome:
        self.flush()
        self._let_go(self.writer)
        return ending


def _numbered(event: Event, seq: int) -> Event:
    """Return an event with a number, by which a view distinguishes it from earlier ones."""
    return Event(
        seq=seq,
        time=event.time,
        type=event.type,
        data=event.data,
        node=event.node,
        agent=event.agent,
        path=event.path,
        duration=event.duration,
    )


def _halves(event_type: str, data: Any) -> list[dict[str, Any]]:
    """Return the data of a joined text that is too long, split in two; [] for other data."""
    name = "message" if event_type == "node_complete" else "text"
    text = data.get(name) if isinstance(data, dict) else None
    if not isinstance(text, str) or len(text) < 2:
        return []
    middle = len(text) // 2
    return [{**data, name: text[:middle]}, {**data, name: text[middle:]}]
