"""Discord: a channel, a thread or a direct message of a bot, or a webhook, through the REST API.

Discord reads Markdown itself and refuses none. Mentions are switched off, so text notifies nobody.
Tables, which Discord does not know, become code blocks.

A bot's send has a nonce. Discord recognises it for a few minutes, so a send that got no answer can
be repeated for two minutes.

Source: https://docs.discord.com/developers/resources/message,
https://docs.discord.com/developers/topics/rate-limits and
https://docs.discord.com/developers/topics/opcodes-and-status-codes.
"""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final, Unpack

from runcast.channels.actions import Edit, Send
from runcast.channels.callbacks import callback_of
from runcast.channels.calls import Answer, check_token, seconds_of
from runcast.channels.capability import Capability, measure
from runcast.channels.document import Button
from runcast.channels.inbound import Inbound, from_discord, parse_json
from runcast.channels.markdown import end_of_table
from runcast.channels.outcome import CallKind, CallOutcome
from runcast.channels.platforms.connected import (
    ConnectedChannel,
    Login,
    Reach,
    address_of,
    reach_of,
)
from runcast.channels.platforms.options import required
from runcast.channels.receiver import Callback, is_at
from runcast.channels.signatures import check_discord_key, is_from_discord
from runcast.errors import InvalidValue, Unauthorized

__all__ = ("DiscordChannel", "DiscordReceiver", "make_channel", "make_receiver")

_URL: Final = "https://discord.com/api/v10"
_LIMIT: Final = 2000
_EPHEMERAL: Final = 1 << 6
_TARGET: Final = re.compile(r"(webhook/)?([0-9]{1,20})(?:/([0-9]{1,20}))?")
_AGENT: Final = "DiscordBot (https://github.com/runcast/runcast, 0)"
_NONCE_CHARS: Final = 25
_NO_PREVIEWS: Final = 1 << 2
"""SUPPRESS_EMBEDS: previews of links would come and go while text grows."""

_CAPABILITY: Final = Capability(
    limit=_LIMIT,
    unit="utf16",  # Discord does not say which; this one is never smaller than the other
    can_type=True,
    typing_s=8.0,  # Discord shows it for ten seconds
    is_idempotent=True,
    idempotent_s=120.0,  # Discord says "a few minutes"
    interval_s=1.5,
    slots=5,
    window_s=5.0,
    reserved=2,
    counts_apart=True,
)
"""Discord says that rates must be read from its answers. These have been the rates for years.

Two slots are kept, so that the end gets through even if its first try gets no answer. Sends and
edits of a channel name one bucket and are counted apart, which is what libraries have measured.
"""

_WEBHOOK: Final = dataclasses.replace(_CAPABILITY, can_type=False, is_idempotent=False)

_CODES: Final[Mapping[int, CallKind]] = {
    10008: "gone",  # unknown message
    30046: "frozen",  # too many edits of an old message
    50005: "frozen",  # another author's
    **dict.fromkeys(
        (
            *(10003, 10004, 10015, 40001, 50001, 50007, 50008, 50013, 50027, 50083),
            *(160005, 340015),
        ),
        "forbidden",
    ),
}


def make_channel(target: str, options: Mapping[str, str]) -> "DiscordChannel":
    """Return the channel of `discord:CHANNEL?token=…`; raises `InvalidValue`."""
    return DiscordChannel(
        address_of(target), options.get("token", ""), **reach_of(options, "public_key")
    )


class DiscordChannel(ConnectedChannel):
    """One channel of Discord.

    Args:
        target: the number of a channel, a thread or a direct message; or `webhook/` and the number
            of a webhook, then, perhaps, `/` and the number of a thread.
        token: of the bot, or of the webhook.
        reach: how the REST API is reached; see `Reach`. Its address names its version. Webhooks
            have no buttons.

    Raises:
        InvalidValue: the target or the token is malformed. The message does not show the token.
    """

    def __init__(self, target: str, token: str, **reach: Unpack[Reach]) -> None:
        found = _TARGET.fullmatch(target)
        if found is None or (found[3] and not found[1]):
            raise InvalidValue(
                f"expected a channel like 123456789012345678, or webhook/123456789012345678, "
                f"got {target!r:.80}"
            )
        is_webhook = self._is_webhook = bool(found[1])
        check_token(token, "a token of Discord")
        if is_webhook and not re.fullmatch(r"[A-Za-z0-9_.-]+", token):
            raise InvalidValue("expected a webhook's token: what follows its number in its address")
        self._thread = found[3] or ""
        self._messages = "/messages" if is_webhook else f"/channels/{found[2]}/messages"
        self._typing = f"/channels/{found[2]}/typing"
        login = Login(
            secrets=(token,),
            secret_path=f"/webhooks/{found[2]}/{token}" if is_webhook else "",
            headers={"user-agent": _AGENT}
            | ({} if is_webhook else {"authorization": f"Bot {token}"}),
        )
        if is_webhook:
            reach["has_buttons"] = False
        capability = _WEBHOOK if is_webhook else _CAPABILITY
        super().__init__(_URL, capability, f"discord:{target}", login, **reach)

    async def send(self, message: Send) -> CallOutcome:
        """Send a new message."""
        if self._is_webhook:
            return await self._ask("POST", "", _content(message), wait="true")
        nonce = hashlib.sha256(message.key.encode()).hexdigest()[:_NONCE_CHARS]
        body = {**_content(message), "nonce": nonce, "enforce_nonce": True}
        return await self._ask("POST", self._messages, body)

    async def edit(self, message: Edit) -> CallOutcome:
        """Replace a message's text and buttons."""
        return await self._ask("PATCH", self._path(message.message_id), _content(message))

    async def delete(self, message_id: str) -> CallOutcome:
        """Delete a message of ours."""
        return await self._ask("DELETE", self._path(message_id))

    async def show_typing(self, is_on: bool) -> CallOutcome:
        """Show that somebody writes; it goes by itself."""
        if not is_on:
            return CallOutcome("ok")
        outcome = await self._ask("POST", self._typing, {})
        is_limited = outcome.kind == "limited"  # signs have a bucket of their own
        return outcome if is_limited else dataclasses.replace(outcome, retry_after_s=0.0)

    async def identify(self) -> CallOutcome:
        """Return the name of the bot, or of the webhook."""
        answer = await self._caller.call("GET", "" if self._is_webhook else "/users/@me")
        if isinstance(answer, CallOutcome):
            return answer
        if answer.status >= 300:
            return self._no(answer)
        return CallOutcome("ok", reason=answer.text("name" if self._is_webhook else "username"))

    def _path(self, message_id: str) -> str:
        return f"{self._messages}/{int(message_id) if message_id.isdecimal() else 0}"

    async def _ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, **query: str
    ) -> CallOutcome:
        if self._thread:
            query["thread_id"] = self._thread
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        answer = await self._caller.call(method, f"{path}?{asked}" if asked else path, body)
        if isinstance(answer, CallOutcome):
            return answer
        if answer.status >= 300:
            return self._no(answer)
        is_last = method != "DELETE" and answer.headers.get("x-ratelimit-remaining") == "0"
        after = seconds_of(answer.headers.get("x-ratelimit-reset-after")) if is_last else 0.0
        return CallOutcome("ok", answer.text("id"), after)

    def _no(self, answer: Answer) -> CallOutcome:
        """Return what a refusal means."""
        said = answer.text("message") or f"status {answer.status}"
        if answer.status == 429:
            named = answer.field("retry_after")
            seconds = seconds_of(answer.headers.get("retry-after") if named is None else named)
            return CallOutcome("limited", retry_after_s=seconds, reason=self._caller.clean(said))
        code = answer.field("code")
        kind = _CODES.get(code) if isinstance(code, int) else None
        if code == 50035 and "BASE_TYPE_MAX_LENGTH" in str(answer.field("errors", "content")):
            kind = "too_long"
        if kind is None:
            kind = "forbidden" if answer.status in (401, 403, 404) else "rejected"
        return self._caller.outcome(kind, said)


def _content(message: Send | Edit) -> dict[str, Any]:
    text = message.text if message.is_plain else _with_tables(message.text)
    content: dict[str, Any] = {
        "content": text.encode("utf-8", "replace").decode(),
        "allowed_mentions": {"parse": []},
        "flags": _NO_PREVIEWS,
    }
    buttons = [_button(button, message) for button in message.buttons]
    if buttons or isinstance(message, Edit):
        content["components"] = [
            {"type": 1, "components": buttons[at : at + _ROW_BUTTONS]}
            for at in range(0, len(buttons), _ROW_BUTTONS)
        ]
    return content


_ROW_BUTTONS: Final = 5
"""Most buttons of a row; a message has five rows."""


def _button(button: Button, message: Send | Edit) -> dict[str, Any]:
    style = {"accept": 3, "reject": 4}.get(button.answer, 2)
    callback = callback_of(message.question_id, button.answer, message.epoch)
    return {"type": 2, "style": style, "label": button.label[:80], "custom_id": callback}


_FENCE: Final = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)


def _with_tables(text: str) -> str:
    """Return a text whose tables are in code blocks, if that fits and there is no other code."""
    if "|" not in text or _FENCE.search(text):
        return text
    lines, changed, at = text.split("\n"), list[str](), 0
    while at < len(lines):
        end = end_of_table(lines, at)
        changed += lines[at : at + 1] if end == at else ["```", *lines[at:end], "```"]
        at = max(end, at + 1)
    joined = "\n".join(changed)
    return joined if measure(joined, "utf16") <= _LIMIT else text


class DiscordReceiver:
    """Reads the interactions that Discord sends to an application.

    Args:
        key: the application's public key, hexadecimal.

    Raises:
        InvalidValue: the key is not one, or signatures cannot be checked here.
    """

    def __init__(self, key: str) -> None:
        self._key = check_discord_key(key)

    def read(self, callback: Callback) -> Inbound | None:
        """Return what a person did. Raises `Unauthorized`."""
        if not is_from_discord(callback.headers, callback.body, self._key, callback.now):
            raise Unauthorized("Discord did not send this")
        return from_discord(parse_json(callback.body))

    def reply(self, inbound: Inbound, notice: str) -> object:
        """Return what Discord wants within three seconds; a notice is seen by one person."""
        if inbound.kind == "ping":
            return {"type": 1}
        if not notice:
            return {"type": 6}
        shown = {"content": notice, "flags": _EPHEMERAL, "allowed_mentions": {"parse": []}}
        return {"type": 4, "data": shown}

    def is_in(self, inbound: Inbound, address: str) -> bool:
        """Return whether it happened in the channel of an address."""
        return is_at(inbound, address)


def make_receiver(options: Mapping[str, str]) -> DiscordReceiver:
    """Return the receiver of an application."""
    return DiscordReceiver(required(options, "public_key", "Discord"))
