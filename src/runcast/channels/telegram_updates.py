"""Asks Telegram what people did, where no webhook reaches us.

Source: https://core.telegram.org/bots/api#getupdates.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from runcast._addresses import Network
from runcast.channels.calls import Caller, check_token, seconds_of
from runcast.channels.inbound import Inbound, from_telegram
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms.options import networks_for, required
from runcast.channels.receiver import is_at

__all__ = ("TelegramUpdates", "make_poller")

_URL: Final = "https://api.telegram.org"
_KINDS: Final = ["message", "callback_query"]


class TelegramUpdates:
    """What people do in all chats of a bot.

    One process asks at a time: Telegram refuses a second one. Updates of a poll are confirmed by
    the next poll. So a process that dies between them reads the same updates again.

    Args:
        token: of the bot.
        url: of a Bot API server.
        wait_s: how long Telegram waits for something to happen, whole seconds.

    Raises:
        InvalidValue: the token is malformed. The message does not show the token.
    """

    mark = ""
    """Nothing: Telegram itself remembers what was confirmed."""

    def __init__(
        self,
        token: str,
        *,
        url: str = _URL,
        wait_s: int = 25,
        networks: Iterable[Network] | None = None,
    ) -> None:
        check_token(token, "a bot's token of Telegram, like 123456:ABC-DEF")
        self._wait_s = wait_s
        self._offset = 0
        self._caller = Caller(
            url,
            secrets=(token, token.partition(":")[2]),
            secret_path=f"/bot{token}",
            networks=networks,
            timeout_s=wait_s + 10.0,
        )

    async def poll(self) -> list[Inbound] | CallOutcome:
        """Return what happened since the last poll, at once or within `wait_s`; or why not.

        `forbidden` means that the token is wrong, or that another process polls, or that the bot
        has a webhook.
        """
        asked = {"timeout": self._wait_s, "offset": self._offset, "allowed_updates": _KINDS}
        answer = await self._caller.call("POST", "/getUpdates", asked)
        if isinstance(answer, CallOutcome):
            return answer
        updates = answer.field("result")
        if answer.status != 200 or not isinstance(updates, list):
            said = answer.text("description") or f"status {answer.status}"
            if answer.status == 429:
                seconds = seconds_of(answer.field("parameters", "retry_after"))
                return CallOutcome("limited", retry_after_s=seconds, reason=said[:100])
            is_ours = answer.status in (401, 403, 404, 409)
            return self._caller.outcome("forbidden" if is_ours else "rejected", said)
        for update in updates:
            number = update.get("update_id") if isinstance(update, dict) else None
            if isinstance(number, int):
                self._offset = max(self._offset, number + 1)
        return [found for found in map(from_telegram, updates) if found is not None]

    async def confirm(self, pressed: Inbound, text: str = "") -> CallOutcome:
        """Take the sign of waiting off a pressed button, and show a short text, if there is one."""
        query = pressed.key.rpartition(":")[2]
        body = {"callback_query_id": query, "text": text[:200]}
        answer = await self._caller.call("POST", "/answerCallbackQuery", body)
        if isinstance(answer, CallOutcome):
            return answer
        said = answer.text("description") or f"status {answer.status}"
        return self._caller.outcome("ok" if answer.status == 200 else "rejected", said)

    async def tell(self, inbound: Inbound, notice: str) -> CallOutcome:
        """Confirm a pressed button with a notice, or send the notice into the chat."""
        if inbound.kind == "button":
            return await self.confirm(inbound, notice)
        place = {"message_thread_id": int(inbound.thread)} if inbound.thread else {}
        body = {"chat_id": int(inbound.place), **place, "text": notice}
        answer = await self._caller.call("POST", "/sendMessage", body)
        if isinstance(answer, CallOutcome):
            return answer
        said = answer.text("description") or f"status {answer.status}"
        return self._caller.outcome("ok" if answer.status == 200 else "rejected", said)

    def is_in(self, inbound: Inbound, address: str) -> bool:
        """Return whether it happened in the chat of an address."""
        return is_at(inbound, address)

    async def close(self) -> None:
        """Close connections. Idempotent."""
        await self._caller.close()


def make_poller(options: Mapping[str, str]) -> TelegramUpdates:
    """Return what asks for the updates of a bot."""
    url = options.get("url")
    return TelegramUpdates(
        required(options, "token", "Telegram"),
        url=url or _URL,
        networks=networks_for(options) if url else None,
    )
