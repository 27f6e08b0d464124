"""What a run says, as text for a chat: a fold of its events into segments.

A segment is text that flows over as many messages as it needs, or a question, which has a message
of its own because buttons belong to a message. Text after a question begins a new segment. So what
people read is in the order of the events.

Text grows at its end. It changes elsewhere only if an attempt starts a text again, or if a loss of
power has cut the log. The mark of a tool changes from running to done, which keeps its length.
"""

from typing import Any, Final, Literal

from runcast.channels.capability import Capability
from runcast.channels.question_texts import Button, LinkOf, buttons_of, no_link, question_text
from runcast.events.model import Event
from runcast.events.vocabulary import TERMINAL, as_text, outcome_of, pick, text_of

__all__ = (
    "MAX_CHARS",
    "MAX_MESSAGES",
    "SHOWS",
    "Button",
    "Document",
    "Segment",
    "Shows",
)

Shows = Literal["answer", "tools", "steps", "notice"]
SHOWS: Final[tuple[Shows, ...]] = ("answer", "tools", "steps", "notice")
"""What a delivery shows beside questions and the end: text; also tools; also steps and logs. Or
`notice`: only that the run asks or has ended, in a few words; see `notices`."""

MAX_CHARS: Final = 1_000_000
MAX_MESSAGES: Final = 100
"""Most characters of one delivery, and most messages that they fill. What follows is not shown, and
a note says so."""

_MAX_LINE_CHARS: Final = 120
"""Most characters of a line about a tool or a step."""

_DECISIONS: Final = {"accept": "approved", "reject": "rejected", "edit": "approved with changes"}

_RUNNING, _OK, _FAILED = "⚙", "✓", "✗"  # equally long in every unit


class _Part:
    __slots__ = ("attempt", "key", "text")

    def __init__(self, key: tuple[str, ...], attempt: float, text: str) -> None:
        self.key = key
        self.attempt = attempt
        self.text = text


class Segment:
    """A text that flows over messages, or a question."""

    def __init__(self) -> None:
        self.buttons: tuple[Button, ...] = ()
        self.question_id = ""
        """The question's id; empty for text."""
        self.boundary = 0
        """Text before here may be sent by a channel that cannot edit: a tool began behind it."""
        self._parts: list[_Part] = []
        self._text: str | None = ""
        self._changed_from: int | None = None
        self.decorations = 0
        """Counts changes of marks, which change no length."""

    @property
    def text(self) -> str:
        """All text so far, as Markdown."""
        if self._text is None:
            self._text = "".join(part.text for part in self._parts)
        return self._text

    def take_change(self) -> int | None:
        """Return the first place that has changed other than by growth since the last call."""
        changed, self._changed_from = self._changed_from, None
        return changed

    def append(self, key: tuple[str, ...], attempt: float, text: str) -> None:
        last = self._parts[-1] if self._parts else None
        if last is not None and last.key == key and last.attempt == attempt:
            last.text += text
        else:
            if last is not None:
                gap = _gap_between(self.text, last.key, key)
                last.text += gap
                self._text = None if self._text is None else self._text + gap
            self._parts.append(_Part(key, attempt, text))
        if self._text is not None:
            self._text += text

    def remove(self, key: tuple[str, ...], below: float) -> None:
        """Remove a text's earlier attempts."""
        kept = [part for part in self._parts if part.key != key or part.attempt >= below]
        if len(kept) < len(self._parts):
            before = self.text
            self._parts, self._text = kept, None
            self._note_change(_common(before, self.text))

    def mark(self, key: tuple[str, ...], sign: str) -> bool:
        """Replace a tool's sign; return whether the tool is here."""
        for part in reversed(self._parts):
            if part.key == key:
                part.text = sign + part.text[1:]
                self._text = None
                self.decorations += 1
                return True
        return False

    def replace(self, text: str, buttons: tuple[Button, ...] = ()) -> None:
        before = self.text
        self._parts, self._text, self.buttons = [_Part((), 0, text)], text, buttons
        self._note_change(_common(before, text))

    def clear(self) -> None:
        self.replace("")
        self._parts.clear()
        self.question_id, self.boundary, self._changed_from = "", 0, 0

    def _note_change(self, place: int) -> None:
        changed = self._changed_from
        self._changed_from = place if changed is None else min(place, changed)
        self.boundary = min(self.boundary, place)


class Document:
    """The text of one run.

    Args:
        shows: what is shown beside questions and the end.
        capability: without buttons a question's text says where to answer; without edits its text
            stays as it is.
        link_of: returns the addresses that answer questions.
    """

    def __init__(
        self, capability: Capability, shows: Shows = "tools", link_of: LinkOf = no_link
    ) -> None:
        self.segments: list[Segment] = [Segment()]
        self.has_ended = False
        self.outcome = ""
        """The type of the terminal event."""
        self.is_waiting = False
        """Whether a question is open."""
        self.answer_links: dict[str, str] = {}
        """The addresses that answer open questions, by the questions' ids."""
        self._shows = shows
        self.seq = 0
        """The `seq` of the last event taken."""
        self.turns = 0
        """Counts what must not wait for the next edit: tools, questions, decisions, the end."""
        self._capability = capability
        self._link_of = link_of
        self._max_chars = min(MAX_CHARS, capability.limit * MAX_MESSAGES)
        self._replay_to = 0
        self._time = 0.0
        self._chars = self._lines = 0
        self._is_full = False
        self._at = 0
        self._said: set[str] = set()
        self._answers: dict[str, str] = {}

    def feed(self, event: Event) -> None:
        """Take the next event. Never raises because of an event's data."""
        if self.is_replaying and event.seq > self._replay_to:
            self._forget_changes()
        self.seq, self._time = event.seq or self.seq, event.time
        self._take(event)
        if self.is_replaying and (self.seq >= self._replay_to or self.has_ended):
            self._forget_changes()

    @property
    def is_replaying(self) -> bool:
        """Whether the document has not reached the place of `replay_to` yet."""
        return self._replay_to > 0

    def replay_to(self, seq: int) -> None:
        """Treat changes up to an event as known: a delivery goes on that knew them."""
        self._replay_to = seq

    def _forget_changes(self) -> None:
        self._replay_to = 0
        for segment in self.segments:
            segment.take_change()

    def _take(self, event: Event) -> None:
        data: dict[str, Any] = event.data if isinstance(event.data, dict) else {}
        match event.type:
            case "content":
                self._say(event, data, text_of(event.type, event.data)[0])
            case "content_complete" if _text_id(data) not in self._said:
                self._say(event, data, as_text(data.get("message")))
            case "tool_call" if self._shows != "answer":
                self._line(_tool_key(data), f"{_RUNNING} {_call(data)}")
            case "tool_result" if self._shows != "answer":
                self._mark_tool(data)
            case "step_start" | "progress" | "log" if self._shows == "steps":
                self._line(("step",), f"▸ {_one_line(text_of(event.type, event.data)[0])}")
            case "error":
                self._line(("error",), f"⚠ {_one_line(text_of(event.type, event.data)[0])}")
            case "interrupt_request":
                self._ask(data)
            case "interrupt_response":
                self._note_answer(data)
            case "interrupt_resolved":
                self._resolve(data)
            case "gap":
                self.note("*(earlier text cannot be read any more)*")
            case kind if kind in TERMINAL:
                self._end(event)

    def note(self, text: str) -> None:
        """Add a paragraph of our own."""
        self._lines += 1
        self._append(("note",), self._lines, text)

    def restart(self) -> None:
        """Forget everything: the log is sent again from its first event."""
        self.turns += 1
        for segment in self.segments:
            segment.clear()
        self.has_ended = self.is_waiting = self._is_full = False
        self._chars = self._at = self._replay_to = 0
        self._said.clear()
        self._answers.clear()
        self.answer_links.clear()

    def _say(self, event: Event, data: dict[str, Any], text: str) -> None:
        text_id = _text_id(data)
        key, given = ("text", event.agent, text_id), data.get("attempt")
        attempt = given if isinstance(given, int | float) else 0
        if attempt:
            for segment in self.segments:
                segment.remove(key, attempt)
        if text:
            self._said.add(text_id)
            self._append(key, attempt, text)

    def _line(self, key: tuple[str, ...], text: str) -> None:
        self.turns += 1
        self._lines += 1  # equal lines are lines of their own
        self._append(key, self._lines, text)
        segment = self._segment()
        segment.boundary = len(segment.text)

    def _mark_tool(self, data: dict[str, Any]) -> None:
        sign = _FAILED if data.get("ok") is False else _OK
        key = _tool_key(data)
        any(segment.mark(key, sign) for segment in reversed(self.segments))

    def _append(self, key: tuple[str, ...], attempt: float, text: str) -> None:
        if self._is_full:
            return
        if self._chars + len(text) > self._max_chars:
            self._is_full = True
            text = "\n\n*(the text is too long for a chat: read the rest in the run)*"
        self._chars += len(text)
        self._segment().append(key, attempt, text)

    def _segment(self) -> Segment:
        """Return the segment for text that comes now."""
        if self.segments[self._at].question_id:
            self._next()
        return self.segments[self._at]

    def _next(self) -> Segment:
        self._at += 1
        if self._at == len(self.segments):
            self.segments.append(Segment())
        return self.segments[self._at]

    def _ask(self, data: dict[str, Any]) -> None:
        self.turns += 1
        asked = as_text(data.get("interrupt_id"))
        here = self.segments[self._at]
        segment = self._next() if here.text or here.question_id else here
        segment.question_id = asked or "?"
        buttons = buttons_of(data.get("config"))
        expires_at = data.get("expires_at")
        link = self._link_of(
            segment.question_id,
            self._time,
            expires_at if isinstance(expires_at, int | float) else None,
        )
        if link:
            self.answer_links[segment.question_id] = link
        segment.replace(question_text(data, self._capability, link), buttons)
        self.is_waiting = True

    def _note_answer(self, data: dict[str, Any]) -> None:
        """Keep who decided what, until `interrupt_resolved` says that the decision counts."""
        answer, kind = data.get("answer"), as_text(pick(data.get("answer"), "type"))
        said = f"**{_DECISIONS.get(kind) or 'answered'}**"
        if kind == "response" and (value := _quoted(pick(answer, "args"))):
            said += f": `{value}`"
        by = _quoted(data.get("by"))
        self._answers[as_text(data.get("interrupt_id"))] = f"{said}{by and f' by `{by}`'}"

    def _resolve(self, data: dict[str, Any]) -> None:
        self.turns += 1
        asked = as_text(data.get("interrupt_id"))
        self.answer_links.pop(asked, None)
        answer = self._answers.pop(asked, "")
        for segment in self.segments:
            if segment.question_id == asked and segment.buttons:
                said = answer or f"**{_one_line(as_text(data.get('outcome'))) or 'resolved'}**"
                decision = f"\n\n→ {said}" if self._capability.can_edit else ""
                segment.replace(segment.text + decision)
        self.is_waiting = any(segment.buttons for segment in self.segments)

    def _end(self, event: Event) -> None:
        self._close(event)
        said = "\n".join(segment.text for segment in self.segments)
        if event.type == "done":
            result, summary = outcome_of(event.data)
            text = as_text(result if result is not None else summary)
            is_new = text and " ".join(text.split()) not in " ".join(said.split())
            if is_new and (isinstance(result, str) or not self._said):
                self._append(("result",), 0, text if isinstance(result, str) else _code(text))
            elif not said.strip():
                self.note("✓ Done")
        elif event.type == "failed":
            self.note(f"✗ **Failed:** {_one_line(text_of('failed', event.data)[0], 1000)}")
        else:
            self.note(f"■ Cancelled: {_one_line(text_of('cancelled', event.data)[0], 1000)}")

    def _close(self, event: Event) -> None:
        """Note the end of the run: its questions have no buttons any more."""
        self.turns += 1
        self.has_ended, self.is_waiting, self.outcome = True, False, event.type
        for segment in self.segments:
            if segment.buttons:
                segment.replace(segment.text)


def _gap_between(text: str, before: tuple[str, ...], after: tuple[str, ...]) -> str:
    """Return the line ends between two parts: lines about tools stand close together."""
    are_lines = {before[:1], after[:1]} <= {("tool",), ("step",)}
    wanted = "\n" if are_lines else "\n\n"
    has = len(text) - len(text.rstrip("\n"))
    return wanted[min(has, len(wanted)) :] if text else ""


def _common(before: str, after: str) -> int:
    """Return the length of the common beginning."""
    most = min(len(before), len(after))
    if before[:most] == after[:most]:
        return most
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if before[:middle] == after[:middle] else (low, middle - 1)
    return low


def _text_id(data: dict[str, Any]) -> str:
    return as_text(data.get("message_id"))


def _tool_key(data: dict[str, Any]) -> tuple[str, str]:
    return "tool", as_text(data.get("call_id") or data.get("tool"))


def _one_line(text: str, most: int = _MAX_LINE_CHARS) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _quoted(value: object) -> str:
    """Return a value as one line that can stand between backticks."""
    return _one_line(as_text(value)).replace("`", "'")


def _call(data: dict[str, Any]) -> str:
    args = data.get("args")
    shown = ""
    if isinstance(args, dict):
        shown = ", ".join(f"{name}={as_text(value)}" for name, value in list(args.items())[:4])
    elif args is not None:
        shown = as_text(args)
    call = f"{as_text(data.get('tool')) or 'tool'}({shown[: _MAX_LINE_CHARS * 2]})"
    return f"`{_one_line(call).replace('`', chr(39))}`"


def _code(text: str) -> str:
    return f"```json\n{text}\n```"
