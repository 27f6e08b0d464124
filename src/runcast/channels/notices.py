"""Deliveries that only notify: a few words when a run asks, and when it ends.

A notice is a message of two parts, written as Markdown so that every channel can show it:

    ✓ **report is done**

    All 312 files are imported.

Channels with a place for a title, such as push, take the parts from the text again with `read`.
"""

from typing import Any, Final, Literal, NamedTuple

from runcast.channels.actions import Edit, Send
from runcast.channels.capability import Capability
from runcast.channels.document import Document, Shows
from runcast.channels.html import to_plain
from runcast.channels.question_texts import LinkOf, how_to_answer, no_link
from runcast.events.model import Event
from runcast.events.vocabulary import TERMINAL, as_text, outcome_of, pick, text_of

__all__ = ("MAX_BODY_CHARS", "MAX_TITLE_CHARS", "Notice", "NoticeKind", "make_document", "read")

NoticeKind = Literal["asks", "answered", "done", "failed", "cancelled", "text"]

MAX_TITLE_CHARS: Final = 80
MAX_BODY_CHARS: Final = 500
"""Most characters of a notice: in any script it fits into a push message, which has 4 KB."""

_SIGNS: Final[dict[str, NoticeKind]] = {
    "❓": "asks",
    "→": "answered",
    "✓": "done",
    "✗": "failed",
    "■": "cancelled",
}
_SIGN_OF: Final = {kind: sign for sign, kind in _SIGNS.items()}


class Notice(NamedTuple):
    """What a notification says, as plain text."""

    kind: NoticeKind
    """`text` for a message that is not a notice."""
    title: str
    body: str


def read(message: Send | Edit) -> Notice:
    """Return the parts of a message. Of a message that is not a notice, the first line is the
    title."""
    first, _, rest = message.text.strip().partition("\n")
    kind = _SIGNS.get(first[:1], "text")
    title = to_plain(first if kind == "text" else first[1:]).strip()
    return Notice(kind, _cut(title, MAX_TITLE_CHARS), to_plain(rest).strip())


def make_document(capability: Capability, shows: Shows, link_of: LinkOf = no_link) -> Document:
    """Return the document of a delivery."""
    if shows == "notice" or capability.is_notice:
        return _NoticeDocument(capability, "answer", link_of)
    return Document(capability, shows, link_of)


class _NoticeDocument(Document):
    """A document of notices alone.

    Of the run's texts it keeps the beginning of the last one, which the last notice shows.
    """

    def __init__(self, capability: Capability, shows: Shows, link_of: LinkOf) -> None:
        super().__init__(capability, shows, link_of)
        self._name = "The run"
        self._most = min(MAX_BODY_CHARS, capability.limit // 4)  # a character has up to 4 bytes
        self._last: tuple[object, ...] = ()
        self._text = ""
        self._asked: dict[str, str] = {}

    def restart(self) -> None:
        """Forget everything: the log is sent again from its first event."""
        super().restart()
        self._last, self._text = (), ""
        self._asked.clear()

    def _take(self, event: Event) -> None:
        data: dict[str, Any] = event.data if isinstance(event.data, dict) else {}
        match event.type:
            case "started":
                self._name = _name_of(as_text(data.get("function"))) or self._name
            case "content":
                text = text_of(event.type, event.data)[0]
                self._hear(event, data, self._text + text, text)
            case "content_complete":
                text = as_text(data.get("message"))
                self._hear(event, data, text, text)
            case "interrupt_request":
                self._ask(data)
            case "interrupt_resolved":
                self._resolve(data)
            case kind if kind in TERMINAL:
                self._end(event)

    def _hear(self, event: Event, data: dict[str, Any], more: str, text: str) -> None:
        """Keep the beginning of the text that is said last."""
        said = event.agent, as_text(data.get("message_id")), data.get("attempt")
        self._text = (more if said == self._last else text)[: self._most + 1]
        self._last = said

    def _ask(self, data: dict[str, Any]) -> None:
        super()._ask(data)
        segment = self.segments[self._at]
        asked = as_text(pick(data, "message", "action")) or "The run asks for a decision."
        self._asked[segment.question_id] = asked
        notice = self._write("asks", f"{self._name} asks", asked)
        # Push channels have a place of their own for the link.
        if not self._capability.is_notice:
            link = self.answer_links.get(segment.question_id, "")
            how = how_to_answer(data.get("config"), self._capability, link)
            notice += f"\n\n{how}" if how else ""
        segment.replace(notice, segment.buttons)

    def _resolve(self, data: dict[str, Any]) -> None:
        super()._resolve(data)
        asked = as_text(data.get("interrupt_id"))
        said = as_text(data.get("outcome")) or "resolved"
        for segment in self.segments:
            if self._capability.can_edit and segment.question_id == asked in self._asked:
                title = f"{self._name}: {' '.join(said.split())}"
                segment.replace(self._write("answered", title, self._asked[asked]))

    def _end(self, event: Event) -> None:
        self._close(event)
        if event.type == "done":
            result, summary = outcome_of(event.data)
            text = result if isinstance(result, str) else self._text or as_text(summary)
            notice = self._write("done", f"{self._name} is done", text)
        elif event.type == "failed":
            notice = self._write("failed", f"{self._name} failed", text_of("failed", event.data)[0])
        else:
            reason = text_of("cancelled", event.data)[0]
            notice = self._write("cancelled", f"{self._name} was cancelled", reason)
        self._append(("end",), 0, notice)

    def _write(self, kind: NoticeKind, title: str, body: str) -> str:
        shown = _cut(" ".join(title.replace("*", "").replace("`", "").split()), MAX_TITLE_CHARS)
        return f"{_SIGN_OF[kind]} **{shown}**\n\n{_cut(body.strip(), self._most)}".rstrip()


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _name_of(function: str) -> str:
    """Return the short name of a function: `shop.tasks:report` is `report`."""
    return function.rpartition(":")[2].rpartition(".")[2]
