"""Streamed texts of several agents: whole lines of each, and what is unfinished.

Pieces of one text come word by word, and those of several agents come in turns. So that words of
one do not stand between the words of another, each text is gathered by itself.
"""

from typing import Final, NamedTuple

from runcast._cli.texts import plain, plain_lines
from runcast.events.model import Event
from runcast.events.vocabulary import as_number, as_text, pick, text_of

__all__ = ("Line", "Stream", "TextStreams")

_MOST_CHARS: Final = 16_384
"""Longest unfinished line; a longer one is ended, so that what is gathered stays bounded."""

_MOST_STREAMS: Final = 64
"""Most unfinished texts; of more, the oldest one is ended."""

_DIM: Final = 2
"""A terminal's style for thoughts."""


_IDLE_S: Final = 10.0
"""After this time without a piece, by the run's clock, a text ends with the next event."""


class Stream:
    """A text that one agent streams, under one message id, in one attempt.

    `text` is its unfinished line, `head` names its source.
    """

    def __init__(self, event: Event, message_id: str, attempt: float) -> None:
        self.kind = event.type
        self.place = (event.node, event.agent)
        self.message_id = message_id
        self.depth = len(event.path)
        kind = "" if event.type == "content" else event.type
        tried = f"(attempt {attempt:g})" if attempt > 1 else ""
        place = plain(" ".join(filter(None, self.place)))
        self.head = " ".join(filter(None, (place, kind, tried)))
        self.style = None if event.type == "content" else _DIM
        self.text = ""
        self.time = event.time
        """When its last piece came, by the run's clock."""
        self.written = 0
        """For a printer: characters of the unfinished line that it has written."""


class Line(NamedTuple):
    """A finished line; `is_last` if its text is over."""

    stream: Stream
    text: str
    is_last: bool = False


class TextStreams:
    """Gathers pieces of text into lines."""

    def __init__(self) -> None:
        self._streams: dict[object, Stream] = {}
        self._finished: list[Line] = []
        self._steps: dict[tuple[str, str], int] = {}
        """How many steps of an agent are at work."""

    @property
    def unfinished(self) -> list[Stream]:
        """The texts with an unfinished line, oldest first."""
        return [stream for stream in self._streams.values() if stream.text]

    @property
    def alone(self) -> Stream | None:
        """The only text with an unfinished line, unless its agent is at work on several steps."""
        unfinished = self.unfinished
        if len(unfinished) != 1 or self._steps.get(unfinished[0].place, 0) > 1:
            return None
        return unfinished[0]

    def all(self) -> list[Stream]:
        """Return the texts that are not over, oldest first."""
        return list(self._streams.values())

    def take(self, event: Event) -> None:
        """Add a piece of text."""
        text, rest = text_of(event.type, event.data)
        if not text:
            return
        message_id = as_text(rest.get("message_id"))
        attempt = as_number(rest.get("attempt")) or 1
        source = (event.type, event.node, event.agent, message_id, attempt)
        stream = self._streams.get(source)
        if stream is None:
            stream = Stream(event, message_id, attempt)
            self._end_followed_by(stream)
            self._streams[source] = stream
        stream.time = event.time
        *lines, stream.text = (stream.text + plain_lines(text)).split("\n")
        self._finished += (Line(stream, line) for line in lines)
        if len(stream.text) > _MOST_CHARS:
            self._finished.append(Line(stream, stream.text))
            stream.text = ""

    def _end_followed_by(self, new: Stream) -> None:
        """End the texts that another text of the same agent follows, and not only accompanies."""
        for source, old in list(self._streams.items()):
            is_same_id = old.message_id == new.message_id or not (old.message_id and new.message_id)
            if old.place == new.place and is_same_id:
                self._end(source)
        while len(self._streams) >= _MOST_STREAMS:
            self._end(next(iter(self._streams)))

    def see(self, event: Event) -> None:
        """Take an event of another type into account, which may end texts.

        It ends the texts of its agent: all of them with the agent's last step, and otherwise those
        without an id, or with the id that it names. Texts that nobody continues end, too.
        """
        place = (event.node, event.agent)
        if event.type == "step_start":
            self._steps[place] = self._steps.get(place, 0) + 1
        is_last_step = event.type == "step_complete" and self._is_last_step(place)
        message_id = as_text(pick(event.data, "message_id", "step_id"))
        for source, stream in list(self._streams.items()):
            is_same = not stream.message_id or stream.message_id == message_id
            if (
                stream.place == place and (is_same or is_last_step)
            ) or event.time - stream.time > _IDLE_S:
                self._end(source)

    def _is_last_step(self, place: tuple[str, str]) -> bool:
        left = self._steps.pop(place, 1) - 1
        if left > 0:
            self._steps[place] = left
        return left <= 0

    def end(self) -> None:
        """End all texts."""
        for source in list(self._streams):
            self._end(source)

    def _end(self, source: object) -> None:
        stream = self._streams.pop(source)
        if stream.text:
            self._finished.append(Line(stream, stream.text, is_last=True))
            stream.text = ""
        elif stream.kind == "content":
            self._finished.append(Line(stream, "", is_last=True))

    def finished(self) -> list[Line]:
        """Return the finished lines since the last call."""
        lines, self._finished = self._finished, []
        return lines
