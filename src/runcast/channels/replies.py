"""What people do in chats, done to the runs: a press answers a question, a reply is a message.

A callback is checked by its platform's receiver. Then the message that was pressed, or replied to,
leads to the delivery that sent it, in this process or another one, and so to the run. A text that
replies to nothing of ours is none of ours: people in a group talk to each other. Some platforms do
not say what a text replies to. There a text that is written to the bot itself, by a mention or a
command, is for the run that is delivered to the chat, if that is one alone.

Everything may come twice, because platforms repeat what they got no answer to. An answer counts
once by the rules of questions, and a message by the platform's key of the update. A text that
replies to nothing is for the run and the question that were open when it was written, and for no
later ones: see `heard_texts`. A text for a run that has ended is refused, and the person is told
so once.

Source: ours.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from runcast._logs import format_places, get_logger
from runcast.channels.answers import GONE, Answers, Runs
from runcast.channels.callbacks import read_callback
from runcast.channels.deliveries import Deliveries
from runcast.channels.heard_texts import Bound, HeardTexts
from runcast.channels.inbound import Inbound
from runcast.channels.linked_questions import LinkedQuestion, LinkedQuestions
from runcast.channels.open_runs import delivered_runs
from runcast.channels.platforms import make_receiver
from runcast.channels.receiver import Callback, CanComplete, CanTell, Knows, Receiver
from runcast.channels.refusals import Refusals
from runcast.channels.shown_messages import Shown, is_present
from runcast.channels.targets import Target
from runcast.errors import (
    BackendError,
    Conflict,
    EventTooLarge,
    InvalidValue,
    NotFound,
    Overloaded,
    RunClosed,
    Stale,
    StoreUnavailable,
    Unauthorized,
)

__all__ = ("Replies",)

_MAX_AT_ONCE: Final = 100
"""Most callbacks at work. Further ones are refused, and the platform repeats them."""

_ANSWER_S: Final = 2.0
"""How long an answer to a callback waits for the store. Slack, Discord and Feishu want it in three
seconds, and show a fault to the person otherwise. The work goes on behind it."""

_LOOKS_S: Final = (0.0, 0.2, 0.8)
"""The pauses before each look for the delivery of a pressed message."""

_AHEAD_S: Final = 2.0
"""How much the clock of a platform may be ahead of ours. If it is further ahead, a text that comes
late seems to be written after a question that its writer has not seen."""

_MAX_NAME_CHARS: Final = 60
_MAX_PERSON_CHARS: Final = 100
_MAX_KEY_CHARS: Final = 128

_FORBIDDEN: Final = "You may not answer here."
_NOBODY: Final = "No run that is at work is delivered here."
_SEVERAL: Final = (
    "Several runs are delivered here. Reply to the message of one, or answer on its page."
)
_ENDED: Final = "This run has ended; nothing was sent to it."
_EARLY: Final = "This came before the question, so it is a message and no answer."
_AHEAD: Final = (
    "The chat's clock is ahead of the server's, so nobody knows which question this is about. "
    "Nothing was sent; answer on the run's page."
)
_NAMELESS: Final = (
    "The chat did not say which text this is, so it could not be told from one that comes again. "
    "Nothing was sent; answer on the run's page."
)
_NOT_TOLD: Final = "The chat did not say what this replies to. Try again in a moment."
_LATER: Final = "It could not be stored. Try again in a moment."

_log: Final = get_logger("runcast.channels")


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
        self._answers = Answers(runs)
        self._heard = HeardTexts(runs.hub)
        self._links = LinkedQuestions(runs, deliveries, self._answers)
        self._make = make
        self._answer_s = answer_s
        self._receivers: dict[str, Receiver] = {}
        self._refusals = Refusals(runs.hub.clock)
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
            inbound = _read(receiver, callback)
        except (InvalidValue, Unauthorized) as error:
            self._refusals.note(
                name if name.isprintable() else ascii(name),
                error.message,
                is_known=name in self._deliveries.channels.apps(),
            )
            # For strangers all names are alike, of channels that exist or not.
            raise Unauthorized("no platform sent this") from None
        if inbound is None:
            return None
        if inbound.kind == "ping":
            return receiver.reply(inbound, "")
        taking = self._begin(self._take_and_tell(name, receiver, inbound))
        await asyncio.wait({taking}, timeout=self._answer_s)
        return receiver.reply(inbound, taking.result() if taking.done() else "")

    def _receiver(self, name: str) -> Receiver:
        """Return what reads the callbacks of a name. Raises `InvalidValue` if nothing does."""
        if name not in self._receivers:
            options = self._deliveries.channels.apps().get(name)
            if options is None:
                raise InvalidValue("the channels file has no such name")
            self._receivers[name] = self._make(name.partition(":")[0], options)
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
            name = type(error).__name__
            _log.warning("a callback could not be taken: %s\n%s", name, format_places(error))

    async def _take_and_tell(self, name: str, receiver: Receiver, inbound: Inbound) -> str:
        if isinstance(receiver, CanComplete) and inbound.kind == "text" and not inbound.message_id:
            completed = await receiver.complete(inbound)
            if completed is None:
                _log.warning("a text in %.80r was not taken: its thread is not known", name)
                return _NOT_TOLD if inbound.is_addressed else ""
            inbound = completed
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
        targets = {target.shown: target for target in self._targets(name, knows, inbound)}
        if inbound.is_addressed and inbound.kind == "text" and not inbound.message_id:
            if not targets:
                return f"No target of the channels file is this chat: {inbound.place[:128]}"
            return await self._take_loose(name, targets, inbound)
        shown = await self._find(list(targets), inbound) if targets else None
        is_ours = shown is not None and await is_present(self._runs.hub, shown)
        if shown is None and inbound.kind == "text" and inbound.message_id:
            shown = await self._deliveries.find_ended(list(targets), inbound.message_id)
        if shown is None or (inbound.kind == "button" and not is_ours):
            return GONE if inbound.kind == "button" else ""
        if not _may_answer(targets.get(shown.target), inbound):
            return _FORBIDDEN
        notice = await self._do(name, shown, inbound)
        is_late = notice == _ENDED or (notice and not is_ours)
        if is_late and not await self._heard.end(self._heard_key(name, inbound)):
            return ""  # the person was told before
        return notice

    async def _take_loose(self, name: str, targets: Mapping[str, Target], inbound: Inbound) -> str:
        """Take a text that replies to nothing: for what it was bound to when it came first."""
        if not inbound.key.rpartition(":")[2]:
            return _NAMELESS
        key = self._heard_key(name, inbound)
        bound = await self._heard.bind(key, lambda: self._choose(list(targets), inbound))
        if bound.is_taken:
            return ""
        shown, notice = bound.shown, bound.notice
        if shown is not None and not _may_answer(targets.get(shown.target), inbound):
            notice = _FORBIDDEN
        elif shown is not None:
            notice = await self._do(name, shown, inbound)
        await self._heard.end(key)
        return notice

    async def _choose(self, targets: list[str], inbound: Inbound) -> Bound:
        """Return what a text is for that replies to nothing: the run that was alone in its chat."""
        if inbound.sent_at > self._runs.hub.clock.time() + _AHEAD_S:
            return Bound(None, _AHEAD)
        runs = await delivered_runs(self._runs.hub, targets, inbound.sent_at)
        if len(runs) != 1:
            return Bound(None, _SEVERAL if runs else _NOBODY)
        if not runs[0].is_at_work:
            return Bound(None, _ENDED)
        return Bound(await self._answers.with_question(runs[0].shown))

    async def _do(self, name: str, shown: Shown, inbound: Inbound) -> str:
        """Do what a person did with a run."""
        if not await is_present(self._runs.hub, shown):
            return _ENDED
        by = _by(name.partition(":")[0], inbound)
        if inbound.kind == "button":
            answer = _answer_of(inbound, shown)
            return GONE if answer is None else await self._answers.give(shown, answer, None, by)
        said = await self._answers.said(shown, inbound.value, by)
        if said is None:
            return await self._send(shown, inbound, by)
        if not inbound.message_id and await self._answers.is_early(shown, inbound.sent_at):
            return await self._send(shown, inbound, by) or _EARLY
        return await self._answers.give(shown, *said, by)

    def _heard_key(self, name: str, inbound: Inbound) -> str:
        """Return what names a text among those of all chats and apps."""
        platform, options = name.partition(":")[0], self._deliveries.channels.apps().get(name, {})
        app = Target(platform, "", options).app
        return "\0".join((app, inbound.place, _key_of(inbound)))

    async def _find(self, targets: list[str], inbound: Inbound) -> Shown | None:
        """Return what the message shows. A person may see a message before its delivery knows the
        message's id; then this looks again."""
        for pause_s in _LOOKS_S if inbound.message_id else ():
            await asyncio.sleep(pause_s)
            is_sending = self._deliveries.is_sending(targets)
            pressed = inbound.value if inbound.kind == "button" else ""
            shown = await self._deliveries.find(targets, inbound.message_id, pressed)
            if shown is not None or not (is_sending or inbound.kind == "button"):
                return shown
        return None

    def _targets(self, name: str, knows: Knows, inbound: Inbound) -> list[Target]:
        channels = self._deliveries.channels
        found = channels.of_app(name.partition(":")[0], channels.apps().get(name, {}))
        return [target for target in found if knows.is_in(inbound, target.address)]

    async def _send(self, shown: Shown, inbound: Inbound, by: str) -> str:
        key = _key_of(inbound)
        try:
            await self._runs.send(
                shown.run_id, inbound.value, message_id=key, sender=by, epoch=shown.epoch
            )
        except (RunClosed, NotFound, Stale):
            return _ENDED
        except Overloaded:
            return "The run has too many unread messages. Send it again later."
        except EventTooLarge:
            return "The message is too long."
        except Conflict:
            return ""
        return ""

    async def question_of_link(self, token: str) -> LinkedQuestion:
        """Return the question of a signed link; this answers nothing. Raises `NotFound`."""
        return await self._links.question(token)

    async def answer_link(self, token: str, answer: str, text: str = "") -> str:
        """Answer the question of a signed link; see `LinkedQuestions.answer`. Raises `NotFound`."""
        return await self._links.answer(token, answer, text)

    async def close(self) -> None:
        """Wait for what is at work, and close connections. Idempotent."""
        if self._working:
            _, late = await asyncio.wait(self._working, timeout=_ANSWER_S)
            for task in late:
                task.cancel()
        for receiver in self._receivers.values():
            if isinstance(receiver, CanTell | CanComplete):
                await receiver.close()
        self._receivers.clear()


def _read(receiver: Receiver, callback: Callback) -> Inbound | None:
    """Return what a receiver reads. A receiver of another package may raise anything, perhaps
    before it has checked the signature: then nothing proves who sent the request."""
    try:
        return receiver.read(callback)
    except Unauthorized:
        raise
    except Exception as error:  # noqa: BLE001 - a fault of one receiver is a refused request
        said = f"the receiver raised {type(error).__name__}\n{format_places(error)}"
        raise Unauthorized(said) from None


def _answer_of(inbound: Inbound, shown: Shown) -> str | None:
    """Return the answer that a press gives to the question of its message, or None."""
    answer = read_callback(inbound.value, shown.question_id, shown.epoch)
    # Buttons that an earlier version sent do not name the epoch; their message does.
    return read_callback(inbound.value, shown.question_id) if answer is None else answer


def _may_answer(target: Target | None, inbound: Inbound) -> bool:
    """Return whether a person is on the target's list; without a list, all people of the chat.
    Nobody is on the list of a target that has left the channels file since the delivery began."""
    if target is None:
        return False
    people = target.options.get("people", "")
    return not people or inbound.person in [each.strip() for each in people.split(",")]


def _key_of(inbound: Inbound) -> str:
    key = inbound.key
    if len(key) > _MAX_KEY_CHARS or not key.isprintable():
        return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return key


def _by(platform: str, inbound: Inbound) -> str:
    """Return who did something: a name, which anyone can choose, and the platform's id."""
    name = "".join(each for each in inbound.name if each.isprintable() and each not in "()`")
    person = f"{platform}:{inbound.person[:_MAX_PERSON_CHARS]}"
    name = name.strip()[:_MAX_NAME_CHARS]
    return f"{name} ({person})" if name else person
