"""Split the text of a model that thinks, acts and answers in one text, while it streams.

    Thought: I should look it up          thought "I should look it up"
    Action: weather                       tool "weather"
    Action Input: {"city": "Paris"}       args '{"city": "Paris"}'
    Observation: …                        thought: nobody reads what a model makes up here
    Final Answer: It is sunny             answer "It is sunny"

Text before the first marker is an answer. Markers and the white space around them are dropped;
nothing else is. Pure: text in, parts out. The parts of a kind, joined, do not depend on where the
text was cut.
"""

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

__all__ = ("Part", "ReactText")

Kind = Literal["thought", "tool", "args", "answer"]


class Part(NamedTuple):
    """A piece of text. `tool` is the whole name of a tool; the other kinds come in pieces."""

    kind: Kind
    text: str


_ANSWER: Final = "Final Answer:"

_LINE_MARKER: Final = re.compile(
    r"(?<![^\n])[ \t]*(?P<bold>\*\*)?(?:(?P<thought>Thought)|(?P<observation>Observation)"
    r"|(?P<args>Action[ \t]*\d{0,3}[ \t]*Input[ \t]*\d{0,3})|(?P<tool>Action[ \t]*\d{0,3}))"
    r"[ \t]*:(?(bold)(?:\*\*)?)"
)
"""A marker at the beginning of a line."""

_ANSWER_MARKER: Final = re.compile(r"(?P<bold>\*\*)?Final Answer:(?(bold)(?:\*\*)?)")
"""A marker anywhere, as CrewAI reads it."""


def _begun(*words: str) -> str:
    """Return a pattern for every beginning of words, the empty one included."""
    beginnings = {word[:size] for word in words for size in range(len(word) + 1)}
    return "|".join(sorted((re.escape(it) for it in beginnings), key=len, reverse=True))


_NUMBER: Final = r"[ \t]*\d{0,3}[ \t]*"
_LINE_BEGUN: Final = re.compile(
    r"(?<![^\n])[ \t]*\**(?:"
    rf"(?:Thought|Observation)[ \t]*(?::\*?)?|{_begun('Thought', 'Observation', 'Action')}"
    rf"|Action{_NUMBER}(?:(?::\*?)|{_begun('Input')})|Action{_NUMBER}Input{_NUMBER}(?::\*?)?)\Z"
)
"""The end of a text that may become a marker at the beginning of a line."""

_ANSWER_BEGUN: Final = re.compile(rf"\**(?:{_begun(_ANSWER)}|Final Answer:\*?)\Z")

_SPACE: Final = " \t\r\n"
_FENCE: Final = _SPACE + "`"


class ReactText:
    """Splits one text. `feed` it piece by piece, then `end` it."""

    def __init__(self) -> None:
        self._state = "start"
        self._held = ""
        self._before = ""
        """The character before `_held`, which tells whether a line begins there."""
        self._at_start = True
        """Whether white space is dropped because nothing of this section has come yet."""
        self._name = ""

    def feed(self, text: str) -> list[Part]:
        """Return the parts that are certain now."""
        if self._state == "final":  # nothing but the answer follows
            return [*self._said(text)]
        self._held += text
        parts: list[Part] = []
        while (part_of := self._next_marker()) is not None:
            parts += part_of
        return [*parts, *self._take(self._certain_chars())]

    def end(self) -> list[Part]:
        """Return what was held back until the text was complete."""
        text = self._held if self._kind == "answer" else self._held.rstrip(_SPACE)
        parts = [*self._take(len(text))]
        parts += _unused(self._name.strip(_SPACE))
        self._held = self._name = ""
        return parts

    @property
    def _kind(self) -> Kind:
        match self._state:
            case "thought" | "observation":
                return "thought"
            case "tool" | "args":
                return self._state
        return "answer"

    def _next_marker(self) -> list[Part] | None:
        """Take the text up to the next marker, and the marker; None if there is none."""
        if self._state == "final":
            return None
        whole = self._before + self._held
        found = self._find(whole, len(self._before))
        if found is None or self._may_grow(whole, found):
            return None
        marker, state = found
        size = marker.start() - len(self._before)
        parts = [*self._take(self._chars_before(self._held[:size]))]
        parts += self._enter(state)
        self._before = whole[marker.end() - 1]
        self._held = whole[marker.end() :]
        if state == "final":
            rest, self._held = self._held, ""
            parts += self._said(rest)
        return parts

    def _find(self, whole: str, start: int) -> tuple[re.Match[str], str] | None:
        line, answer = self._find_line(whole, start), self._find_answer(whole, start)
        if answer is not None and (line is None or answer.start() < line.start()):
            return answer, "final"
        if line is None:
            return None
        state = str(line.lastgroup)
        return line, state

    def _find_line(self, whole: str, start: int) -> re.Match[str] | None:
        for found in _LINE_MARKER.finditer(whole, start):
            if self._accepts(str(found.lastgroup)):
                return found
        return None

    def _find_answer(self, whole: str, start: int) -> re.Match[str] | None:
        for found in _ANSWER_MARKER.finditer(whole, start):
            line = whole[whole.rfind("\n", 0, found.start()) + 1 : found.start()]
            if self._state != "args" or not line.strip(" \t"):
                return found
        return None

    def _accepts(self, state: str) -> bool:
        """Return whether a section may follow the present one."""
        match self._state:
            case "thought" | "observation":
                return state not in ("thought", "args")
            case "tool":
                return state == "args"  # anything else is part of the name
            case "args":
                return state in ("thought", "observation")
        return state != "args"

    def _may_grow(self, whole: str, found: tuple[re.Match[str], str]) -> bool:
        """Return whether stars may still come that belong to the marker."""
        is_bold = found[0]["bold"] is not None and not found[0].group().endswith("**")
        rest = whole[found[0].end() :]
        return is_bold and len(rest) < 2 and not rest.strip("*")

    def _enter(self, state: str) -> list[Part]:
        name, self._name = self._name.strip(_SPACE + "*`"), ""
        self._state, self._at_start = state, True
        return [Part("tool", name)] if state == "args" else _unused(name)

    def _chars_before(self, text: str) -> int:
        """Return how much of a text remains if a marker follows it."""
        if self._state == "start" and self._at_start and not text.strip(_FENCE):
            return 0  # the beginning of a block of code around everything
        return len(text.rstrip(_SPACE))

    def _certain_chars(self) -> int:
        """Return how much of the held text cannot belong to a marker, nor stand before one."""
        whole = self._before + self._held
        certain = len(whole)
        for begun in (_LINE_BEGUN, _ANSWER_BEGUN):
            if (found := begun.search(whole, len(self._before))) is not None:
                certain = min(certain, found.start())
        return self._chars_before(self._held[: max(0, certain - len(self._before))])

    def _take(self, chars: int) -> Iterator[Part]:
        """Yield the first characters of the held text."""
        if chars <= 0:
            return
        text, self._held = self._held[:chars], self._held[chars:]
        self._before = text[-1]
        yield from self._said(text)

    def _said(self, text: str) -> Iterator[Part]:
        if self._state == "tool":
            self._name += text
            return
        if self._at_start and self._state != "start":
            text = text.lstrip(_SPACE)
        if text:
            self._at_start = False
            yield Part(self._kind, text)


def _unused(name: str) -> list[Part]:
    """Return the name of a tool without arguments, which is no call."""
    return [Part("thought", f"\nAction: {name}")] if name else []
