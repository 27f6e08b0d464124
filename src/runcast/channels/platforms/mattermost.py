"""Mattermost: a channel, a thread, or a direct message, through the REST API of its server.

Mattermost reads Markdown itself and refuses none. A name behind an `@` gets a space without width,
so that text notifies nobody.

A post has a `pending_post_id`, by which the server knows a repeated one for thirty seconds. An edit
of a deleted post is refused as one of a post that the bot may not edit. So a refused edit asks
whether the post is there.

A button sends what it holds to an address of ours: it holds a signature, because anyone can send
something to that address.

Source: https://developers.mattermost.com/api-documentation/ (posts, users/typing),
https://developers.mattermost.com/integrate/plugins/interactive-messages/,
https://docs.mattermost.com/administration-guide/configure/rate-limiting-configuration-settings.html
and, for `pending_post_id`, server/channels/app/post.go of the server.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Unpack
from urllib.parse import parse_qsl, urlsplit

from runcast.channels.actions import Edit, Send
from runcast.channels.callbacks import callback_of
from runcast.channels.calls import Answer, Caller, check_token, seconds_of
from runcast.channels.capability import Capability
from runcast.channels.document import Button
from runcast.channels.inbound import Inbound, from_mattermost, parse_json
from runcast.channels.outcome import CallKind, CallOutcome
from runcast.channels.platforms.connected import (
    ConnectedChannel,
    Login,
    Reach,
    address_of,
    reach_of,
)
from runcast.channels.platforms.native import (
    outside_code,
    with_links_for_images,
    without_mentions,
)
from runcast.channels.platforms.options import networks_for, optional, required
from runcast.channels.receiver import Callback, is_at
from runcast.channels.signatures import is_from_mattermost, sign_for_mattermost
from runcast.errors import InvalidValue, Unauthorized

__all__ = ("MattermostChannel", "MattermostReceiver", "make_channel", "make_receiver")

_TARGET: Final = re.compile(r"([a-z0-9]{26})(?:/([a-z0-9]{26}))?")
_POST: Final = re.compile(r"[a-z0-9]{26}")
_FORM: Final = "application/x-www-form-urlencoded"
_OF_BOTS: Final = ("from_bot", "from_webhook", "from_plugin")
"""Properties of posts that no person wrote."""

_LOOK_S: Final = 5.0
"""How long the server may be silent when it is asked for the thread of a post."""

_CAPABILITY: Final = Capability(
    limit=16_000,  # a post has 16 383; names get a character more
    can_type=True,
    typing_s=4.5,  # clients show it for five seconds
    is_idempotent=True,
    idempotent_s=30.0,
    interval_s=1.5,
    slots=60,
    reserved=10,
)

_IDS: Final[tuple[tuple[str, CallKind], ...]] = (
    ("message_length", "too_long"),
    ("is_valid.msg.", "too_long"),
    ("permissions_time_limit", "frozen"),
    ("can_not_post_to_deleted", "forbidden"),
    ("root_id", "forbidden"),
)
"""What is in the id of a refusal, and what it means."""


def make_channel(target: str, options: Mapping[str, str]) -> "MattermostChannel":
    """Return the channel of `mattermost:CHANNEL?url=…&token=…`; raises `InvalidValue`."""
    required(options, "url", "Mattermost")
    return MattermostChannel(
        address_of(target),
        optional(options, "token"),
        callback_url=optional(options, "callback_url"),
        callback_secret=optional(options, "callback_secret"),
        hears_texts=any(optional(options, name) for name in ("webhook_token", "command_token")),
        **reach_of(options, "callback_secret"),
    )


class MattermostChannel(ConnectedChannel):
    """One channel of Mattermost.

    Args:
        target: the id of a channel, then, perhaps, `/` and the id of the post whose thread is
            meant.
        token: of a bot account, or a personal access token.
        callback_url: where buttons send their answers; needed for buttons.
        callback_secret: signs what buttons send.
        hears_texts: whether the server gets what people write, by a webhook or a command.
        reach: how the server is reached; see `Reach`. Its address has no path.

    Raises:
        InvalidValue: the target, the token or the callback is malformed, or the server is not
            named. The message shows no secret.
    """

    def __init__(
        self,
        target: str,
        token: str,
        *,
        callback_url: str = "",
        callback_secret: str = "",
        hears_texts: bool = False,
        **reach: Unpack[Reach],
    ) -> None:
        found = _TARGET.fullmatch(target)
        if found is None:
            raise InvalidValue(
                f"expected the id of a channel, 26 small letters and digits, got {target!r:.80}"
            )
        check_token(token, "a token of Mattermost")
        if reach.get("has_buttons"):
            _check_callback(callback_url, callback_secret)
        self._channel, self._root = found[1], found[2] or ""
        self._callback_url, self._callback_secret = callback_url, callback_secret
        login = Login(
            secrets=(token, callback_secret), headers={"authorization": f"Bearer {token}"}
        )
        capability = replace(_CAPABILITY, hears_texts=hears_texts)
        super().__init__("", capability, f"mattermost:{self._channel}", login, **reach)

    async def send(self, message: Send) -> CallOutcome:
        """Send a new post."""
        body = {
            "channel_id": self._channel,
            "root_id": self._root,
            "pending_post_id": hashlib.sha256(message.key.encode()).hexdigest()[:26],
            **self._content(message),
        }
        return self._outcome(await self._ask("POST", "/posts", body))

    async def edit(self, message: Edit) -> CallOutcome:
        """Replace a post's text and buttons."""
        path = _path(message.message_id)
        answer = await self._ask("PUT", f"{path}/patch", self._content(message))
        is_refused = isinstance(answer, Answer) and answer.status == 403
        if is_refused and await self._is_gone(path):
            return CallOutcome("gone")
        return self._outcome(answer)

    async def delete(self, message_id: str) -> CallOutcome:
        """Delete a post of ours."""
        path = _path(message_id)
        answer = await self._ask("DELETE", path)
        is_refused = isinstance(answer, Answer) and answer.status == 403
        if is_refused and await self._is_gone(path):
            return CallOutcome("gone")
        return self._outcome(answer)

    async def show_typing(self, is_on: bool) -> CallOutcome:
        """Show that somebody writes; it goes by itself."""
        if not is_on:
            return CallOutcome("ok")
        body = {"channel_id": self._channel, "parent_id": self._root}
        return self._outcome(await self._ask("POST", "/users/me/typing", body))

    async def identify(self) -> CallOutcome:
        """Return the bot's name."""
        answer = await self._ask("GET", "/users/me")
        if isinstance(answer, Answer) and answer.is_ok:
            return CallOutcome("ok", reason=answer.text("username"))
        return self._outcome(answer)

    async def _ask(self, method: str, path: str, body: object = None) -> Answer | CallOutcome:
        return await self._caller.call(method, f"/api/v4{path}", body)

    async def _is_gone(self, path: str) -> bool:
        answer = await self._ask("GET", path)
        return isinstance(answer, Answer) and answer.status == 404

    def _content(self, message: Send | Edit) -> dict[str, Any]:
        content: dict[str, Any] = {"message": _text(message)}
        if message.buttons or message.question_id:
            actions = [self._button(each, message) for each in message.buttons]
            content["props"] = {"attachments": [{"actions": actions}] if actions else []}
        return content

    def _button(self, button: Button, message: Send | Edit) -> dict[str, Any]:
        callback = callback_of(message.question_id, button.answer, message.epoch)
        signature = sign_for_mattermost(self._callback_secret, self._channel, callback)
        return {
            "id": re.sub(r"[^A-Za-z0-9]", "", button.answer) or "answer",
            "type": "button",
            "name": button.label,
            "style": {"accept": "good", "reject": "danger"}.get(button.answer, "default"),
            "integration": {
                "url": self._callback_url,
                "context": {"callback": callback, "signature": signature},
            },
        }

    def _outcome(self, answer: Answer | CallOutcome) -> CallOutcome:
        if isinstance(answer, CallOutcome):
            return answer
        if answer.is_ok:
            return CallOutcome("ok", answer.text("id"))
        named = answer.text("id")
        said = answer.text("message") or named or f"status {answer.status}"
        if answer.status == 429:
            seconds = seconds_of(
                answer.headers.get("retry-after") or answer.headers.get("x-ratelimit-reset")
            )
            return CallOutcome("limited", retry_after_s=seconds or 1.0, reason="rate limit")
        if answer.status == 413:
            return self._caller.outcome("too_long", said)
        kind = next((kind for part, kind in _IDS if part in named), None)
        if kind is None:
            by_status: dict[int, CallKind] = {401: "forbidden", 403: "forbidden", 404: "gone"}
            kind = by_status.get(answer.status, "rejected")
        return self._caller.outcome(kind, said)


class MattermostReceiver:
    """Reads what buttons, outgoing webhooks and slash commands of Mattermost send.

    The last two do not say what a text replies to. The server is asked for the thread of a post.

    Args:
        secret: signs what buttons send; without one, they are refused.
        webhook_token: of an outgoing webhook; without one, its texts are refused.
        command_token: of a slash command; the same.
        calls: to the server; None if its address or the bot's token is not known.
    """

    def __init__(
        self,
        secret: str = "",
        webhook_token: str = "",
        command_token: str = "",
        calls: Caller | None = None,
    ) -> None:
        self._secret = secret
        self._webhook_token, self._command_token = webhook_token, command_token
        self._caller = calls
        self._own_id = ""

    def read(self, callback: Callback) -> Inbound | None:
        """Return what a person did. Raises `Unauthorized`."""
        if callback.headers.get("content-type", "").startswith(_FORM):
            body: object = dict(parse_qsl(callback.body.decode("utf-8", "replace")))
        else:
            body = parse_json(callback.body)
        is_command = isinstance(body, dict) and bool(body.get("command"))
        token = self._command_token if is_command else self._webhook_token
        if not is_from_mattermost(body, self._secret, token):
            raise Unauthorized("Mattermost did not send this")
        return from_mattermost(body)

    async def complete(self, inbound: Inbound) -> Inbound | None:
        """Return a text with the first post of its thread, which it replies to; None if the server
        does not tell.

        Posts of bots start outgoing webhooks, too, and what a run says in the chat is such a post.
        Those texts are for nobody: a run could approve itself.
        """
        post_id = inbound.key.rpartition(":")[2]
        if self._caller is None or not _POST.fullmatch(post_id):
            return inbound
        answer = await self._caller.call("GET", f"/api/v4{_path(post_id)}")
        if not isinstance(answer, Answer) or answer.text("channel_id") != inbound.place:
            return None
        own_id = await self._find_own_id(self._caller)
        if not own_id:
            return None
        is_of_bot = any(answer.field("props", name) for name in _OF_BOTS)
        if is_of_bot or own_id in (inbound.person, answer.text("user_id")):
            return replace(inbound, is_addressed=False)
        root = answer.text("root_id")
        return replace(inbound, message_id=root, thread=root)

    async def _find_own_id(self, caller: Caller) -> str:
        """Return the id of the user that the token belongs to; "" if the server does not tell."""
        if not self._own_id:
            answer = await caller.call("GET", "/api/v4/users/me")
            self._own_id = answer.text("id") if isinstance(answer, Answer) and answer.is_ok else ""
        return self._own_id

    def reply(self, inbound: Inbound, notice: str) -> object:
        """Return a text for the person, or nothing. All see the answer to an outgoing webhook."""
        if inbound.kind == "button":
            return {"ephemeral_text": notice} if notice else {}
        return {"text": notice, "response_type": "ephemeral"} if notice else None

    def is_in(self, inbound: Inbound, address: str) -> bool:
        """Return whether it happened in the channel of an address."""
        return is_at(inbound, address)

    async def close(self) -> None:
        """Close connections. Idempotent."""
        if self._caller is not None:
            await self._caller.close()


def make_receiver(options: Mapping[str, str]) -> MattermostReceiver:
    """Return the receiver of a server's buttons, outgoing webhook and slash command."""
    names = ("callback_secret", "webhook_token", "command_token")
    secrets = [optional(options, name) for name in names]
    if not any(secrets):
        raise InvalidValue(f"callbacks of Mattermost need one of the options {', '.join(names)}")
    url, token = optional(options, "url"), optional(options, "token")
    calls = None
    if url and token:
        calls = Caller(
            url,
            secrets=(token,),
            headers={"authorization": f"Bearer {check_token(token, 'a token of Mattermost')}"},
            networks=networks_for(options),
            timeout_s=_LOOK_S,
        )
    callback, webhook, command = secrets
    return MattermostReceiver(callback, webhook, command, calls)


def _check_callback(url: str, secret: str) -> None:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise InvalidValue(
            "buttons of Mattermost need callback_url, where Mattermost reaches runcast: "
            "https://runcast.example/channels/mattermost"
        )
    if len(secret) < _LEAST_SECRET_CHARS:
        raise InvalidValue("buttons of Mattermost need callback_secret: 16 characters or more")


_LEAST_SECRET_CHARS: Final = 16


def _text(message: Send | Edit) -> str:
    if message.is_plain:
        return message.text.encode("utf-8", "replace").decode()
    return outside_code(message.text, lambda part: without_mentions(with_links_for_images(part)))


def _path(post_id: str) -> str:
    return f"/posts/{post_id if _POST.fullmatch(post_id) else '0' * 26}"
