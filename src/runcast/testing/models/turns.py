"""What a stand-in for a model says: its turns, and the calls that it got."""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from runcast.errors import InvalidValue

__all__ = ("Api", "Counts", "Frame", "ModelCall", "ModelTurn", "counts_of", "pieces_of", "said")

Api = Literal["chat", "responses", "messages"]
"""OpenAI's chat completions, OpenAI's Responses, Anthropic's messages."""

_FAULTS: Final = ("", "cut", "error", "failed", "stall")
_WORDS: Final = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, kw_only=True)
class ModelTurn:
    """One answer of a model: it thinks, writes a text, then calls tools.

    Args:
        text: streamed word by word; a sequence of texts is streamed in these pieces.
        thinking: as `text`.
        tools: name and arguments of each call.
        input_tokens: tokens of the prompt, cached ones included; by default its words.
        output_tokens: tokens written, reasoning included; by default the number of pieces.
        cached_tokens: how many input tokens were read from a cache.
        reasoning_tokens: how many output tokens were reasoning; by default the pieces of
            `thinking`.
        status: an HTTP status such as 429 or 500 refuses the call; 200 answers it.
        fault: what goes wrong in a streamed answer after `after` pieces. `cut` closes the
            connection. `error` sends the API's error event. `failed` sends `response.failed` of
            Responses, and elsewhere the error event. `stall` sends nothing until `release()`.
        after: how many pieces come before the fault; with fewer pieces it comes at the end.

    Raises:
        InvalidValue: an argument is malformed.
    """

    text: str | Sequence[str] = ""
    thinking: str | Sequence[str] = ""
    tools: Sequence[tuple[str, Mapping[str, Any]]] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int = 0
    reasoning_tokens: int | None = None
    status: int = 200
    fault: Literal["", "cut", "error", "failed", "stall"] = ""
    after: int = 0

    def __post_init__(self) -> None:
        if self.fault not in _FAULTS:
            known = ", ".join(_FAULTS[1:])
            raise InvalidValue(f"expected a fault of {known}, got {self.fault!r:.80}")
        if type(self.status) is not int or not (self.status == 200 or 400 <= self.status < 600):
            raise InvalidValue(f"expected a status of 200 or 400 to 599, got {self.status!r:.80}")
        if type(self.after) is not int or self.after < 0:
            raise InvalidValue(
                f"expected after to be a whole number from 0, got {self.after!r:.80}"
            )
        for call in self.tools:
            if not isinstance(call, tuple) or len(call) != 2 or not isinstance(call[0], str):
                raise InvalidValue(f"expected tools as (name, arguments), got {call!r:.80}")


@dataclass(eq=False, kw_only=True)
class ModelCall:
    """One call of a client, and what became of it."""

    number: int
    """1 for the server's first call."""
    api: Api
    model: str
    body: Mapping[str, Any]
    """The request's JSON."""
    sent: int = 0
    """Pieces of the answer that were sent so far."""
    ending: str = ""
    """`complete`, `cut`, `error`, `refused`, or `left` if the client closed the connection;
    "" while the call is under way."""
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def is_streamed(self) -> bool:
        """Whether the client asked for a stream."""
        return self.body.get("stream") is True

    @property
    def prompt(self) -> str:
        """The text of the user's last message."""
        given = self.body.get("input" if self.api == "responses" else "messages")
        if isinstance(given, str):
            return given
        messages = [it for it in given or () if isinstance(it, dict) and it.get("role") == "user"]
        return said(messages[-1].get("content")) if messages else ""

    def end(self, ending: str) -> None:
        """Note how the call ended; only the first ending counts."""
        if not self.ending:
            self.ending = ending
            self._ended.set()

    def wait(self, timeout_s: float = 5.0) -> str:
        """Wait until the call has ended, and return its `ending`. Raises `TimeoutError`."""
        if not self._ended.wait(timeout_s):
            raise TimeoutError(f"the model's call {self.number} did not end in {timeout_s} s")
        return self.ending


class Frame(NamedTuple):
    """One event of a streamed answer."""

    name: str
    """The event's name on the wire, or ""."""
    data: Mapping[str, Any] | str
    is_piece: bool = False
    """Whether it holds a piece of text, thought or arguments."""


class Counts(NamedTuple):
    """The tokens of a turn."""

    input: int
    output: int
    cached: int
    reasoning: int


def pieces_of(text: str | Sequence[str]) -> list[str]:
    """Return the pieces in which a text is streamed."""
    return _WORDS.findall(text) if isinstance(text, str) else [*text]


def counts_of(turn: ModelTurn, call: ModelCall) -> Counts:
    """Return the tokens of a turn: as it says, or counted."""
    thoughts = len(pieces_of(turn.thinking))
    written = thoughts + len(pieces_of(turn.text)) + len(turn.tools)
    return Counts(
        len(call.prompt.split()) if turn.input_tokens is None else turn.input_tokens,
        written if turn.output_tokens is None else turn.output_tokens,
        turn.cached_tokens,
        thoughts if turn.reasoning_tokens is None else turn.reasoning_tokens,
    )


def said(content: object) -> str:
    """Return the text of a message's content: a text, or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text") or "") for part in parts if isinstance(part, dict)).strip()
