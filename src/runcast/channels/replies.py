"""What people do in chats, done to the runs: a press answers a question, a reply is a message.

A callback is checked by its platform's receiver. Then the message that was pressed, or replied to,
leads to the delivery that sent it, in this process or another one, and so to the run. A text that
replies to nothing of ours is none of ours: people in a group talk to each other.

Everything may come twice, because platforms repeat what they got no answer to. An answer counts
once by the rules of questions, and a message by the platform's key of the update.

Source: ours.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple, Protocol

from runcast._hub.hub import Hub
from runcast._logs import get_logger
from runcast._producing.answers import Answer
from runcast.channels.answer_links import AnswerLink, read_answer_link
from runcast.channels.callbacks import read_callback
from runcast.channels.deliveries import Deliveries, Shown
from runcast.channels.inbound import Inbound
from runcast.channels.platforms import make_receiver
from runcast.channels.question_texts import buttons_of
from runcast.channels.receiver import Callback, CanTell, Knows, Receiver
from runcast.channels.targets import Target
from runcast.errors import (
    AlreadyAnswered,
    BackendError,
    Conflict,
    EventTooLarge,
    InvalidValue,
    NotFound,
    Overloaded,
    RunClosed,
    StoreUnavailable,
    Unauthorized,
)
from runcast.events.vocabulary import as_text

__all__ = ("LinkedQuestion", "Replies", "Runs")

_MAX_AT_ONCE: Final = 100
"""Most callbacks at work. Further ones are refused, and the platform repeats them."""

_ANSWER_S: Final = 2.0
"""How long an answer to a callback waits for the store. Slack, Discord and Feishu want it in three
seconds, and show a fault to the person otherwise. The work goes on behind it."""

_LOOKS_S: Final = (0.0, 0.2, 0.8)
"""The pauses before each look for the delivery of a pressed message."""

_MAX_NAME_CHARS: Final = 60
_MAX_KEY_CHARS: Final = 128

_GONE: Final = "This cannot be answered here any more."
_FORBIDDEN: Final = "You may not answer here."
_LATER: Final = "It could not be stored. Try again in a moment."
_DONE: Final = {"accept": "Approved.", "reject": "Rejected."}
_WORDS: Final = {"accept": "approved", "reject": "rejected", "expired": "expired"}

_log: Final = get_logger("runcast.channels")


class Runs(Protocol):
    """The runs that people answer."""

    @property
    def hub(self) -> Hub: ...

    async def answer(
        self, run_id: str, interrupt_id: str, answer: object
    ) -> tuple[Mapping[str, Any], bool]: ...

    async def send(
        self, run_id: str, data: object, *, message_id: str = "", sender: str = ""
    ) -> object: ...


class LinkedQuestion(NamedTuple):
    """The question of a signed link, for a page."""

    message: str = ""
    details: str = ""
    """What the run will do, as JSON, or ""."""
    answers: tuple[tuple[str, str], ...] = ()
    """The answers that may be given: the type and the label of each."""
    notice: str = ""
    """Why it cannot be answered; "" if it can."""


class Replies:
    """Takes what people do in the chats of the channels file.

    Args:
        make: makes a platform's receiver.
        answer_s: longest wait of an answer to a callback for the store.
    """

    def __init__(
        self,
        runs: Runs,
        deliveries: Deliveries,
        make: Callable[[str, Mapping[str, str]], Receiver] = make_receiver,
        answer_s: float = _ANSWER_S,
    ) -> None:
        self._runs = runs
        self._deliveries = deliveries
        self._make = make
        self._answer_s = answer_s
        self._receivers: dict[str, Receiver] = {}
        self._working: set[asyncio.Task[Any]] = set()

    async def receive(
        self, name: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, str]
    ) -> object:
        """Take a callback, and return its answer as JSON; None for an empty one.

        Args:
            name: a platform, or a target of the channels file.
            headers: with names in small letters.

        Raises:
            Unauthorized: the platform did not send it, or there is no such channel.
            Overloaded: too many callbacks are at work.
            StoreUnavailable: a text could not be stored; the platform repeats it.
        """
        callback = Callback(headers, body, self._runs.hub.clock.time(), query)
        try:
            receiver = self._receiver(name)
            inbound = receiver.read(callback)
        except Unauthorized:  # for strangers all names are alike, of channels that exist or not
            raise Unauthorized("no platform sent this") from None
        if inbound is None:
            return None
        if inbound.kind == "ping":
            return receiver.reply(inbound, "")
        taking = self._begin(self._take_and_tell(name, receiver, inbound))
        await asyncio.wait({taking}, timeout=self._answer_s)
        return receiver.reply(inbound, taking.result() if taking.done() else "")

    def _receiver(self, name: str) -> Receiver:
        if name not in self._receivers:
            options = self._deliveries.channels.apps().get(name)
            try:
                if options is None:
                    raise InvalidValue("the channels file has no such name")
                self._receivers[name] = self._make(name.partition(":")[0], options)
            except InvalidValue as error:
                _log.warning("a callback for %.80r was refused: %s", name, error.message)
                raise Unauthorized("no platform sent this") from None
        return self._receivers[name]

    def _begin(self, work: Coroutine[Any, Any, str]) -> "asyncio.Task[str]":
        if len(self._working) >= _MAX_AT_ONCE:
            work.close()
            raise Overloaded("too many callbacks at once; send it again in a moment")
        task = asyncio.ensure_future(work)
        self._working.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: "asyncio.Task[str]") -> None:
        """Forget a callback. If its answer was given before, nobody else sees that it failed."""
        self._working.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("a callback could not be taken: %s", type(error).__name__)

    async def _take_and_tell(self, name: str, receiver: Receiver, inbound: Inbound) -> str:
        notice = await self.take(name, receiver, inbound)
        if notice and isinstance(receiver, CanTell):
            await receiver.tell(inbound, notice)
        return notice

    async def take(self, name: str, platform: Knows, inbound: Inbound) -> str:
        """Do what a person did in a chat; return a notice for the person, or "".

        Raises:
            StoreUnavailable: a text could not be stored. A press is not repeated by platforms, so
                its notice asks for another one.
        """
        try:
            return await self._take(name, platform, inbound)
        except BackendError as error:
            _log.warning("what a person did in %s could not be stored: %s", name, error)
            if inbound.kind == "text":
                raise StoreUnavailable("the text could not be stored; send it again") from None
            return _LATER

    async def _take(self, name: str, knows: Knows, inbound: Inbound) -> str:
        platform = name.partition(":")[0]
        targets = {target.shown: target for target in self._targets(name, knows, inbound)}
        shown = await self._find(list(targets), inbound) if targets else None
        if shown is None or not await self._is_present(shown):
            return _GONE if inbound.kind == "button" else ""
        if not _may_answer(targets[shown.target], inbound):
            return _FORBIDDEN
        by = _by(platform, inbound)
        if inbound.kind == "button":
            answer = read_callback(inbound.value, shown.question_id)
            return _GONE if answer is None else await self._answer(shown, answer, by)
        number = await self._numbered(shown, inbound.value)
        if number:
            return await self._answer(shown, number, by)
        return await self._send(shown, inbound, by)

    async def _find(self, targets: list[str], inbound: Inbound) -> Shown | None:
        """Return what the message shows. A person may see a message before its delivery knows the
        message's id; then this looks again."""
        for pause_s in _LOOKS_S if inbound.message_id else ():
            await asyncio.sleep(pause_s)
            is_sending = self._deliveries.is_sending(targets)
            shown = await self._deliveries.find(targets, inbound.message_id)
            if shown is not None or not (is_sending or inbound.kind == "button"):
                return shown
        return None

    def _targets(self, name: str, knows: Knows, inbound: Inbound) -> list[Target]:
        channels = self._deliveries.channels
        found = channels.of_app(name.partition(":")[0], channels.apps().get(name, {}))
        return [target for target in found if knows.is_in(inbound, target.address)]

    async def _is_present(self, shown: Shown) -> bool:
        """Return whether a message is about the run's present epoch."""
        try:
            return (await self._runs.hub.info(shown.run_id)).epoch == shown.epoch
        except NotFound:
            return False

    async def _numbered(self, shown: Shown, text: str) -> str:
        """Return the answer that a text like `1` chooses of a question's list, or ""."""
        said = text.strip().lower()
        if not shown.question_id or len(said) > _MAX_NAME_CHARS:
            return ""
        _, snapshot = await self._runs.hub.present(shown.run_id)
        open_ones = {each.interrupt_id: each.config for each in snapshot.interrupts}
        buttons = buttons_of(open_ones.get(shown.question_id))
        for number, button in enumerate(buttons, 1):
            if said in (str(number), button.label.lower()):
                return button.answer
        return ""

    async def _answer(self, shown: Shown, answer: str, by: str) -> str:
        try:
            given = Answer.parse({"type": answer, "by": by})
            decision, _ = await self._runs.answer(shown.run_id, shown.question_id, given)
        except AlreadyAnswered as error:
            return _decided(error.decision)
        except (RunClosed, NotFound):
            return _GONE
        except InvalidValue as error:
            return error.message[:_MAX_KEY_CHARS]
        if decision.get("by") != by:  # somebody else was first, with the same answer
            return _decided(decision)
        return _DONE.get(answer, "Answered.")

    async def _send(self, shown: Shown, inbound: Inbound, by: str) -> str:
        key = inbound.key
        if len(key) > _MAX_KEY_CHARS or not key.isprintable():
            key = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        try:
            await self._runs.send(shown.run_id, inbound.value, message_id=key, sender=by)
        except RunClosed:
            return "The run has ended; it reads no more messages."
        except Overloaded:
            return "The run has too many unread messages. Send it again later."
        except EventTooLarge:
            return "The message is too long."
        except (Conflict, NotFound):
            return ""
        return ""

    # Signed links.

    async def question_of_link(self, token: str) -> LinkedQuestion:
        """Return the question of a link; this answers nothing.

        Raises:
            NotFound: the link is not valid, or has expired.
        """
        link = self._read(token)
        if not await self._is_present(_shown_by(link)):
            return LinkedQuestion(notice=_GONE)
        _, snapshot = await self._runs.hub.present(link.run_id)
        for question in snapshot.interrupts:
            if question.interrupt_id == link.question_id and not question.is_answered:
                buttons = buttons_of(question.config)
                return LinkedQuestion(
                    question.message or question.action,
                    "" if question.args in (None, {}, [], "") else as_text(question.args),
                    tuple((button.answer, button.label) for button in buttons),
                )
        return LinkedQuestion(notice="This question is decided.")

    async def answer_link(self, token: str, answer: str) -> str:
        """Answer the question of a link, and return what the page says.

        Raises:
            NotFound: the link is not valid, or has expired.
        """
        link = self._read(token)
        shown = _shown_by(link)
        if answer not in _DONE or not await self._is_present(shown):
            return _GONE
        return await self._answer(shown, answer, f"link of {link.target}")

    def _read(self, token: str) -> AnswerLink:
        return read_answer_link(self._deliveries.channels, token, self._runs.hub.clock.time())

    async def close(self) -> None:
        """Wait for what is at work, and close connections. Idempotent."""
        if self._working:
            _, late = await asyncio.wait(self._working, timeout=_ANSWER_S)
            for task in late:
                task.cancel()
        for receiver in self._receivers.values():
            if isinstance(receiver, CanTell):
                await receiver.close()
        self._receivers.clear()


def _shown_by(link: AnswerLink) -> Shown:
    return Shown(link.run_id, link.epoch, link.target, link.question_id)


def _may_answer(target: Target, inbound: Inbound) -> bool:
    """Return whether a person is on the target's list; without a list, all people of the chat."""
    people = target.options.get("people", "")
    return not people or inbound.person in [each.strip() for each in people.split(",")]


def _by(platform: str, inbound: Inbound) -> str:
    """Return who did something: a name, which anyone can choose, and the platform's id."""
    name = "".join(each for each in inbound.name if each.isprintable() and each not in "()`")
    person = f"{platform}:{inbound.person}"
    name = name.strip()[:_MAX_NAME_CHARS]
    return f"{name} ({person})" if name else person


def _decided(decision: object) -> str:
    found = decision if isinstance(decision, Mapping) else {}
    said = _WORDS.get(str(found.get("type")), "answered")
    by = str(found.get("by") or "")
    return f"It is decided already: {said}{by and f' by {by}'}."[:200]
