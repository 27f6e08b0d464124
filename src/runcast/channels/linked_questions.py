"""The questions of signed links: shown on a page, and answered there.

Source: ours.
"""

from typing import NamedTuple

from runcast.channels.answer_links import AnswerLink, read_answer_link
from runcast.channels.answers import GONE, TEXT, Answers, Runs
from runcast.channels.deliveries import Deliveries
from runcast.channels.inbound import MAX_TEXT_CHARS
from runcast.channels.question_texts import buttons_of
from runcast.channels.shown_messages import Shown, is_present
from runcast.events.asking import allows, choices_of
from runcast.events.vocabulary import as_text

__all__ = ("LinkedQuestion", "LinkedQuestions")


class LinkedQuestion(NamedTuple):
    """The question of a signed link, for a page."""

    message: str = ""
    details: str = ""
    """What the run will do, as JSON, or ""."""
    answers: tuple[tuple[str, str], ...] = ()
    """The buttons: what each answers, and its label."""
    takes_text: bool = False
    """Whether a person may write an answer."""
    notice: str = ""
    """Why it cannot be answered; "" if it can."""


class LinkedQuestions:
    """Shows and answers the questions of signed links."""

    def __init__(self, runs: Runs, deliveries: Deliveries, answers: Answers) -> None:
        self._runs = runs
        self._deliveries = deliveries
        self._answers = answers

    async def question(self, token: str) -> LinkedQuestion:
        """Return the question of a link; this answers nothing.

        Raises:
            NotFound: the link is not valid, or has expired.
        """
        shown = _shown_by(self._read(token))
        if not await is_present(self._runs.hub, shown):
            return LinkedQuestion(notice=GONE)
        question = await self._answers.question(shown)
        if question is None:
            return LinkedQuestion(notice="This question is decided.")
        config = question.config
        return LinkedQuestion(
            question.message or question.action,
            "" if question.args in (None, {}, [], "") else as_text(question.args),
            tuple((button.answer, button.label) for button in buttons_of(config)),
            allows(config, "response") and not choices_of(config),
        )

    async def answer(self, token: str, answer: str, text: str = "") -> str:
        """Answer the question of a link, and return what the page says.

        Args:
            answer: of a button of the page, or `response`, or `reject` with a reason.
            text: what the person wrote.

        Raises:
            NotFound: the link is not valid, or has expired.
        """
        link = self._read(token)
        shown = _shown_by(link)
        if not await is_present(self._runs.hub, shown):
            return GONE
        if answer == TEXT and not text.strip():
            return "Write an answer first."
        is_written = answer in (TEXT, "reject") and text.strip() != ""
        given = text.replace("\r\n", "\n")[:MAX_TEXT_CHARS] if is_written else None
        return await self._answers.give(shown, answer, given, f"link of {link.target}")

    def _read(self, token: str) -> AnswerLink:
        return read_answer_link(self._deliveries.channels, token, self._runs.hub.clock.time())


def _shown_by(link: AnswerLink) -> Shown:
    return Shown(link.run_id, link.epoch, link.target, link.question_id)
