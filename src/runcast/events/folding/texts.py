"""What pieces of text change in the state of a run: answers, thoughts and reasoning."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from runcast.events import snapshot as caps
from runcast.events.folding.fields import Fields, Law
from runcast.events.snapshot import Snapshot, Text
from runcast.events.vocabulary import as_text, pick

__all__ = ("TEXTS",)


def _delta(snapshot: Snapshot, fields: Fields) -> None:
    piece = fields.data if isinstance(fields.data, str) else pick(fields.data, "text", "content")
    if not isinstance(piece, str) or not piece:
        return
    message_id = fields.name("message_id")
    attempt = fields.attempt()
    text = _open_text(snapshot, (fields.type, fields.node, fields.agent, message_id))
    if text is not None and text.last_seq < snapshot.recovered_seq:
        # A text with an id is written again; one without is another text.
        if message_id:
            snapshot.texts.remove(text)
        text = None
    if text is None:
        _make_room(snapshot)
        text = Text(fields.type, fields.seq, fields.seq, fields.node, fields.agent, message_id)
        text.attempt = attempt
        snapshot.texts.append(text)
    elif attempt < text.attempt:
        return  # a late piece of a try that was given up
    elif attempt > text.attempt:
        text.text, text.dropped, text.is_complete, text.attempt = "", 0, False, attempt
    whole = text.text + as_text(piece)
    over = max(0, len(whole) - caps.MAX_TEXT_CHARS)
    text.text = whole[over:]
    text.dropped += over
    text.last_seq = fields.seq
    snapshot.dropped.chars += over


def _content_complete(snapshot: Snapshot, fields: Fields) -> None:
    text = _open_text(snapshot, ("content", fields.node, fields.agent, fields.name("message_id")))
    if text is None or text.last_seq < snapshot.recovered_seq:
        return
    if fields.attempt() >= text.attempt:
        text.is_complete = True


def _open_text(snapshot: Snapshot, key: tuple[str, str, str, str]) -> Text | None:
    """Return the text that a piece continues, or None.

    That is the last text with the piece's key. A text without a message id is known only by its
    place, and cannot be continued once it was completed.
    """
    for text in reversed(snapshot.texts):
        if (text.kind, text.node, text.agent, text.message_id) == key:
            return None if text.is_complete and not text.message_id else text
    return None


def _make_room(snapshot: Snapshot) -> None:
    texts = snapshot.texts
    chars = sum(len(text.text) for text in texts)
    while len(texts) >= caps.MAX_TEXTS or chars > caps.MAX_ALL_TEXT_CHARS:
        oldest = min(range(len(texts)), key=lambda index: texts[index].last_seq)
        chars -= len(texts[oldest].text)
        snapshot.dropped.chars += len(texts[oldest].text)
        snapshot.dropped.texts += 1
        del texts[oldest]


TEXTS: Final[Mapping[str, Law]] = MappingProxyType(
    {
        "content": _delta,
        "thinking": _delta,
        "reasoning": _delta,
        "content_complete": _content_complete,
    }
)
"""The laws, by event type."""
