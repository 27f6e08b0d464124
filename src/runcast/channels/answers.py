"""Answers that people give in chats and by links: what they said, as an answer to the question that
a message shows.

The first answer counts, and a later one is told who decided: see `docs/questions.md`.

Source: ours.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

from runcast._hub.hub import Hub
from runcast._producing.answers import Answer
from runcast.channels.question_texts import buttons_of, choice_of, takes_text_alone
from runcast.channels.shown_messages import Shown
from runcast.errors import AlreadyAnswered, InvalidValue, NotFound, RunClosed, Stale
from runcast.events.asking import takes_json
from runcast.events.snapshot import MAX_VALUE_CHARS, Answered, Interrupt
from runcast.events.vocabulary import as_text

__all__ = ("GONE", "TEXT", "Answers", "Runs")

GONE: Final = "This cannot be answered here any more."
TEXT: Final = "response"
"""The type of an answer that is a text or a choice."""

_DONE: Final = {"accept": "Approved.", "reject": "Rejected."}
_WORDS: Final = {"accept": "approved", "reject": "rejected", "expired": "expired"}
_LABELS: Final = ("approve", "reject")
_MAX_NOTICE_CHARS: Final = 128


class Runs(Protocol):
    """The runs that people answer."""

    @property
    def hub(self) -> Hub: ...

    async def answer(
        self, run_id: str, interrupt_id: str, answer: object, *, epoch: str = ""
    ) -> tuple[Mapping[str, Any], bool]: ...

    async def send(
        self,
        run_id: str,
        data: object,
        *,
        message_id: str = "",
        sender: str = "",
        epoch: str = "",
    ) -> object: ...


class Answers:
    """Answers the questions of runs."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    async def question(self, shown: Shown) -> Interrupt | None:
        """Return the question that a message shows, if it is open."""
        return (await self._look(shown))[0]

    async def _look(self, shown: Shown) -> tuple[Interrupt | None, Answered | None]:
        """Return the question that a message shows if it is open, or else what was decided."""
        if not shown.question_id:
            return None, None
        try:
            _, snapshot = await self._runs.hub.present(shown.run_id, shown.epoch)
        except (NotFound, Stale):  # since `is_present` the run was deleted, or begun again
            return None, None
        for question in snapshot.interrupts:
            if question.interrupt_id == shown.question_id and not question.is_answered:
                return question, None
        for answered in reversed(snapshot.answered):
            if answered.interrupt_id == shown.question_id:
                return None, answered
        return None, None

    async def with_question(self, shown: Shown) -> Shown:
        """Return a run with its open question, if it has one alone."""
        _, snapshot = await self._runs.hub.present(shown.run_id)
        ids = [each.interrupt_id for each in snapshot.interrupts if not each.is_answered]
        return shown._replace(question_id=ids[0]) if len(ids) == 1 else shown

    async def is_early(self, shown: Shown, sent_at: float) -> bool:
        """Return whether a text was written before the question was asked.

        Args:
            sent_at: by the platform's clock, Unix seconds; 0.0 if it does not say. Platforms cut
                it off, some to whole seconds. What is left counts: a text of the very second of
                the question may be from before it, and nobody reads a question and answers it
                within one second.
        """
        question = await self.question(shown) if sent_at else None
        return question is not None and sent_at < question.asked_at

    async def said(self, shown: Shown, text: str, by: str) -> tuple[str, object] | None:
        """Return what a reply to a question's message answers: the type and the args.

        That is what a number or a label chooses of the question's list. A question that asks for a
        text takes any other text, too. Else it is no answer: a remark such as "not yet" is none.
        What comes after the decision is one if it chooses, or comes again: see `give`.
        """
        question, decided = await self._look(shown)
        said = text.strip().lower()
        if question is None:
            is_choice = said in _LABELS or (said.isascii() and said.isdigit() and len(said) < 3)
            is_late = decided is not None and (is_choice or _is_again(decided, text, by))
            return (TEXT, text) if is_late else None
        is_text = takes_text_alone(question.config)
        for number, button in enumerate(buttons_of(question.config), 1):
            if said == button.label.lower() or (said == str(number) and not is_text):
                return button.answer, None
        return (TEXT, text) if is_text else None

    async def give(self, shown: Shown, answer: str, text: object, by: str) -> str:
        """Answer a question, and return a notice.

        Args:
            answer: what a button answers, or `response`.
            text: of a `response`, or the reason of a `reject`; None for none.
        """
        try:
            given = await self._given(shown, answer, text)
            if given is None:
                return await self._decision(shown, text, by)
            parsed = Answer.parse({**given, "by": by})
            decision, _ = await self._runs.answer(
                shown.run_id, shown.question_id, parsed, epoch=shown.epoch
            )
        except AlreadyAnswered as error:
            return _decided(error.decision)
        except (RunClosed, NotFound, Stale):
            return GONE
        except InvalidValue as error:
            return error.message[:_MAX_NOTICE_CHARS]
        if decision.get("by") != by:  # somebody else was first, with the same answer
            return _decided(decision)
        return _DONE.get(parsed.type, "Answered.")

    async def _given(self, shown: Shown, answer: str, text: object) -> dict[str, object] | None:
        """Return the answer to send, without the person; None if it is no answer to this question.

        Raises:
            InvalidValue: the question wants JSON, and the text is none.
        """
        if answer in ("accept", "reject"):
            return {"type": answer} if text is None else {"type": answer, "args": text}
        question = await self.question(shown)
        if question is None:
            return None
        if answer != TEXT:
            chosen = choice_of(question.config, answer)
            return {"type": TEXT, "args": chosen[0]} if chosen else None
        if not takes_json(question.config):
            return {"type": TEXT, "args": text}
        try:
            return {"type": TEXT, "args": _parse_json(str(text))}
        except (ValueError, RecursionError):
            raise InvalidValue('The answer must be JSON, such as 5 or {"to": "staging"}.') from None

    async def _decision(self, shown: Shown, text: object, by: str) -> str:
        """Return what is told to a person who answers too late."""
        _, decided = await self._look(shown)
        if decided is None:
            return GONE
        if _is_again(decided, text, by):
            return "Answered."
        return _decided({"type": decided.answer, "by": decided.by})


def _parse_json(text: str) -> object:
    """Return the JSON of a text. Raises `ValueError`, also for numbers that JSON does not have."""
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("JSON has finite numbers alone")
    return number


def _is_again(decided: Answered, text: object, by: str) -> bool:
    """Return whether this text of this person is what was decided: platforms repeat callbacks."""
    is_text = decided.answer == TEXT and decided.by == by and isinstance(text, str)
    return is_text and as_text(decided.args) == as_text(text)[:MAX_VALUE_CHARS]


def _decided(decision: object) -> str:
    found = decision if isinstance(decision, Mapping) else {}
    said = _WORDS.get(str(found.get("type")), "answered")
    by = str(found.get("by") or "")
    return f"It is decided already: {said}{by and f' by {by}'}."[:200]
