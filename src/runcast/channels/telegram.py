"""Deliveries through a bot of Telegram that your program has already: aiogram's or
python-telegram-bot's.

    from runcast.channels import telegram

    delivery = await hub.deliver(run_id, telegram.from_bot(bot, message.chat.id))

The bot's own connections and token are used. Neither library is imported here.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from runcast.channels.borrowed import BorrowedCalls, classes_of
from runcast.channels.calls import Answer
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms.telegram import TelegramChannel
from runcast.errors import InvalidValue

__all__ = ("from_bot",)

_STATUSES: Final[Mapping[str, int]] = {
    "TelegramUnauthorizedError": 401,
    "InvalidToken": 401,
    "TelegramForbiddenError": 403,
    "Forbidden": 403,
    "TelegramNotFound": 404,
    "TelegramEntityTooLarge": 413,
    "TelegramBadRequest": 400,
    "BadRequest": 400,
    "TelegramMigrateToChat": 400,
    "ChatMigrated": 400,
    "TelegramConflictError": 409,
    "Conflict": 409,
}
"""The statuses of the Bot API, by the classes of errors of both libraries."""


def from_bot(bot: object, chat: int | str, *, topic: int = 0) -> TelegramChannel:
    """Return a channel that a bot writes to.

    The bot must be open while the delivery goes on; runcast does not close it.

    Args:
        bot: a `Bot` of aiogram or of python-telegram-bot.
        chat: the chat's number, or `@name` of a public group.
        topic: the number of a topic of the group.

    Raises:
        InvalidValue: the object is not such a bot, or the chat is malformed.
    """
    token = getattr(bot, "token", None)
    if not callable(getattr(bot, "send_chat_action", None)):
        raise InvalidValue(
            f"expected a Bot of aiogram or python-telegram-bot, got {type(bot).__name__}"
        )
    make = _RawCalls if hasattr(bot, "do_api_request") else _Calls
    target = f"{chat}/{topic}" if topic else str(chat)
    return TelegramChannel(target, str(token), calls=make(bot, token))


_NAMED: Final = frozenset({"chat_id", "message_id", "text", "action"})
"""What python-telegram-bot takes by name; it passes on the rest as it is."""


class _Calls(BorrowedCalls):
    """Calls by either library, which have a coroutine for each method of the Bot API."""

    async def ask(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        name = re.sub(r"[A-Z]", lambda found: f"_{found[0].lower()}", path.strip("/"))
        named = self.named(body)
        result = await getattr(self.lender, name)(**named)
        return _done({"message_id": getattr(result, "message_id", None)})

    def named(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a coroutine for a method's parameters."""
        return body  # aiogram makes its own objects of them

    def refused(self, error: Exception) -> Answer | CallOutcome:
        said = str(getattr(error, "message", "") or error)
        wait = getattr(error, "retry_after", None)
        if wait is not None:
            seconds = wait.total_seconds() if isinstance(wait, timedelta) else wait
            return _answer(429, said, {"retry_after": seconds})
        status = next((_STATUSES[name] for name in classes_of(error) if name in _STATUSES), 0)
        moved = getattr(error, "migrate_to_chat_id", None) or getattr(error, "new_chat_id", None)
        return _answer(status, said, {"migrate_to_chat_id": moved}) if status else self.lost(error)


class _RawCalls(_Calls):
    """Calls by python-telegram-bot, whose objects we cannot make without importing them."""

    def named(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a coroutine for a method's parameters."""
        named = {name: body[name] for name in _NAMED & body.keys()}
        return {**named, "api_kwargs": {name: body[name] for name in body.keys() - _NAMED}}


def _done(result: dict[str, Any]) -> Answer:
    return Answer(200, {}, {"ok": True, "result": result})


def _answer(status: int, said: str, parameters: dict[str, Any]) -> Answer:
    return Answer(status, {}, {"ok": False, "description": said, "parameters": parameters})
