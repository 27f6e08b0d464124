"""Feishu, and Lark outside China: a group, a topic of it, or a person, through an app's bot.

A message is a card. While its text grows, the card is in Feishu's streaming mode: each edit sends
the whole text, and clients show what is new like typing. Streaming ends by itself after ten
minutes; a whole card then replaces the card and begins it again. The end switches it off. Without
the permissions of cards, whole cards replace the message.

All calls to a card have numbers that rise. They come from the clock, so that a process which takes
a delivery over goes on above the numbers of the last one.

Feishu answers errors with codes, some of them with the status 200. A send has a `uuid`, by which
Feishu makes one message in an hour. A card can be changed although somebody has recalled its
message, so the last edit asks whether the message is there.

Source: https://open.feishu.cn/document/server-docs/im-v1/message/create, patch, reply, delete, get,
https://open.feishu.cn/document/cardkit-v1/streaming-updates-openapi-overview,
https://open.feishu.cn/document/cardkit-v1/card-element/content, card/update, card/id_convert, and
https://open.feishu.cn/document/server-docs/api-call-guide/frequency-control.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Unpack

from runcast._clock import Clock, SystemClock
from runcast.channels.actions import Edit, Send
from runcast.channels.calls import Answer, check_token, seconds_of
from runcast.channels.capability import Capability
from runcast.channels.inbound import Inbound, from_feishu, parse_json
from runcast.channels.keys import Decryptor
from runcast.channels.outcome import CallKind, CallOutcome
from runcast.channels.platforms.connected import (
    ConnectedChannel,
    Login,
    Reach,
    address_of,
    reach_of,
)
from runcast.channels.platforms.feishu_cards import TEXT_ELEMENT, card_of, markdown_of
from runcast.channels.platforms.options import optional, required
from runcast.channels.platforms.renewed import AppCaller, GivenToken
from runcast.channels.receiver import Callback, is_at
from runcast.channels.signatures import is_from_feishu
from runcast.errors import InvalidValue, Unauthorized

__all__ = ("URL", "FeishuChannel", "FeishuReceiver", "make_channel", "make_receiver")

URL: Final = "https://open.feishu.cn/open-apis"
_TARGET: Final = re.compile(
    r"((oc|ou|on)_[A-Za-z0-9]{1,64})(?:/(om_[A-Za-z0-9]{1,64}))?|[^@\s/]{1,64}@[^@\s/]{1,190}"
)
_KINDS_OF_IDS: Final = {"oc": "chat_id", "ou": "open_id", "on": "union_id"}
_APP: Final = re.compile(r"cli_[A-Za-z0-9]{1,64}")
_MESSAGE: Final = re.compile(r"om_[A-Za-z0-9_-]{1,80}")

_CAPABILITY: Final = Capability(
    limit=8000,  # a card has at most 30 KB as JSON, in which quotes and Chinese take more
    unit="utf8",
    takes_replies=True,
    closes_messages=True,
    is_idempotent=True,
    idempotent_s=3600.0,
    interval_s=0.5,
    slots=100,
    reserved=10,
)

_EPOCH: Final = 1_767_225_600.0  # 2026-01-01
_NUMBERS_PER_S: Final = 4
"""Numbers of calls begin with the time in quarters of a second: they are below 2^31 until 2043."""

_SKIP: Final = 1 << 16
"""What is added to a number that Feishu has seen already: the clock has gone back."""

_OUT_OF_ORDER: Final = 300317
_CLOSED: Final = frozenset({200850, 300309})
"""The card is not in streaming mode."""

_STALE: Final = frozenset({99991661, 99991663, 99991664, 99991668, 99991671})
"""The token has expired or was revoked."""

_LIMITED: Final = frozenset({99991400, 230020})
_TOUCHED: Final = 200810
"""Somebody presses a button of the card."""

_TOUCHED_S: Final = 1.0
_BUSY_S: Final = 1.0
"""Penalty where Feishu names no time: it counts per second there."""

_KINDS: Final[Mapping[int, CallKind]] = {
    **dict.fromkeys((230025, 200860), "too_long"),
    **dict.fromkeys((230099, 200220, 200621, 300305, 300307), "unparsable"),
    **dict.fromkeys((230011, 230110, 200740), "gone"),
    **dict.fromkeys((230031, 230072, 230075, 200750), "frozen"),
    **dict.fromkeys((230049, 300120), "uncertain"),
    **dict.fromkeys(
        (
            *(230002, 230006, 230013, 230018, 230019, 230026, 230027, 230029, 230034, 230035),
            *(230036, 230038, 230050, 230053, 230054, 230071, 230073, 230074, 232009, 300311),
            *(10003, 10014, 10015, 99991672, 99991679, *_STALE),
        ),
        "forbidden",
    ),
}
"""What the codes mean; others are refusals."""


def make_channel(
    target: str, options: Mapping[str, str], *, otherwise: str = URL
) -> "FeishuChannel":
    """Return the channel of `feishu:CHAT?app_id=…&app_secret=…`; raises `InvalidValue`.

    Args:
        otherwise: the address of the API, unless the options name another.
    """
    reach = reach_of(options, "verification_token")
    reach["url"] = reach["url"] or otherwise
    return FeishuChannel(
        address_of(target),
        optional(options, "app_id"),
        optional(options, "app_secret"),
        **reach,
    )


@dataclass(slots=True)
class _Card:
    """The card of a message, and the number of the last call to it."""

    card_id: str
    number: int = 0


class FeishuChannel(ConnectedChannel):
    """One conversation of Feishu or Lark.

    Args:
        target: the id of a group (`oc_…`), perhaps with `/` and the id of the message whose topic
            is meant (`om_…`); the id of a person (`ou_…`, `on_…`); or a person's mail address.
        app_id: of the app, `cli_…`.
        app_secret: of the app.
        reach: how the API is reached; see `Reach`. Lark has another address.

    Raises:
        InvalidValue: the target or the app is malformed. The message does not show the secret.
    """

    def __init__(
        self,
        target: str,
        app_id: str,
        app_secret: str,
        *,
        clock: Clock | None = None,
        **reach: Unpack[Reach],
    ) -> None:
        found = _TARGET.fullmatch(target)
        if found is None or (found[3] and found[2] != "oc"):
            raise InvalidValue(
                f"expected a conversation like oc_…, oc_…/om_…, ou_… or a mail address, "
                f"got {target!r:.80}"
            )
        if not _APP.fullmatch(app_id):
            raise InvalidValue(f"expected the id of an app, like cli_…, got {app_id!r:.40}")
        check_token(app_secret, "the secret of an app of Feishu")
        self._receiver = found[1] or target
        self._kind = _KINDS_OF_IDS.get(found[2] or "", "email")
        self._topic = found[3] or ""
        self._app_id, self._app_secret = app_id, app_secret
        self._clock: Clock = clock or SystemClock()
        self._cards: dict[str, _Card] = {}  # one for each message, of which there are few
        self._has_cards = True
        scope = f"feishu:{app_id}:{self._receiver}"
        super().__init__(URL, _CAPABILITY, scope, Login(secrets=(app_secret,)), **reach)
        self._app = AppCaller(
            self._caller,
            self._fetch_token,
            header="authorization",
            prefix="Bearer ",
            is_stale=lambda answer: answer.field("code") in _STALE,
            clock=clock,
        )

    async def send(self, message: Send) -> CallOutcome:
        """Send a new message."""
        body: dict[str, Any] = {
            "msg_type": "interactive",
            "content": card_of(message, is_streaming=_is_streaming(message)),
            "uuid": hashlib.sha256(message.key.encode()).hexdigest()[:40],
        }
        path = f"/im/v1/messages?receive_id_type={self._kind}"
        if self._topic:
            path, body["reply_in_thread"] = f"/im/v1/messages/{self._topic}/reply", True
        else:
            body["receive_id"] = self._receiver
        return self._outcome(await self._app.call("POST", path, body))

    async def edit(self, message: Edit) -> CallOutcome:
        """Replace a message's text and buttons."""
        path = _path(message.message_id)
        card = await self._card_of(message.message_id)
        if isinstance(card, CallOutcome):
            return card
        if card is None:
            content = {"content": card_of(message, is_streaming=False)}
            return self._outcome(await self._app.call("PATCH", path, content))
        if _is_streaming(message):
            answer = await self._change(
                card, f"/elements/{TEXT_ELEMENT}/content", {"content": markdown_of(message.text)}
            )
            if isinstance(answer, CallOutcome) or answer.field("code") not in _CLOSED:
                return self._outcome(answer)
        data = card_of(message, is_streaming=_is_streaming(message))
        outcome = self._outcome(
            await self._change(card, "", {"card": {"type": "card_json", "data": data}})
        )
        is_last = message.is_final and outcome.kind == "ok"
        return CallOutcome("gone") if is_last and await self._is_recalled(path) else outcome

    async def delete(self, message_id: str) -> CallOutcome:
        """Recall a message of ours."""
        return self._outcome(await self._app.call("DELETE", _path(message_id)))

    async def _card_of(self, message_id: str) -> _Card | CallOutcome | None:
        """Return the card of a message; None if the app may not change cards as such."""
        known = self._cards.get(message_id)
        if known is not None or not self._has_cards:
            return known
        answer = await self._app.call(
            "POST", "/cardkit/v1/cards/id_convert", {"message_id": message_id}
        )
        outcome = self._outcome(answer)
        if outcome.kind == "ok" and isinstance(answer, Answer):
            card = self._cards[message_id] = _Card(answer.text("data", "card_id"))
            return card
        if outcome.kind in ("limited", "not_started", "uncertain", "gone"):
            return outcome
        self._has_cards = False
        return None

    async def _change(self, card: _Card, path: str, body: dict[str, Any]) -> Answer | CallOutcome:
        """Make a call to a card, with the next number."""
        answer: Answer | CallOutcome = CallOutcome("not_started")
        for _ in range(2):
            by_time = int((self._clock.time() - _EPOCH) * _NUMBERS_PER_S)
            card.number = max(card.number + 1, by_time)
            answer = await self._app.call(
                "PUT", f"/cardkit/v1/cards/{card.card_id}{path}", {**body, "sequence": card.number}
            )
            if isinstance(answer, CallOutcome) or answer.field("code") != _OUT_OF_ORDER:
                break
            card.number += _SKIP
        return answer

    async def _is_recalled(self, path: str) -> bool:
        answer = await self._app.call("GET", path)
        if isinstance(answer, CallOutcome):
            return False
        if self._outcome(answer).kind == "gone":
            return True
        items = answer.field("data", "items")
        return isinstance(items, list) and any(
            isinstance(item, dict) and item.get("deleted") is True for item in items
        )

    async def _fetch_token(self) -> GivenToken | CallOutcome:
        body = {"app_id": self._app_id, "app_secret": self._app_secret}
        answer = await self._caller.call("POST", "/auth/v3/tenant_access_token/internal", body)
        outcome = self._outcome(answer)
        if outcome.kind != "ok" or isinstance(answer, CallOutcome):
            return outcome
        expire = answer.field("expire")
        seconds = float(expire) if isinstance(expire, int | float) else 0.0
        return GivenToken(answer.text("tenant_access_token"), seconds)

    def _outcome(self, answer: Answer | CallOutcome) -> CallOutcome:
        if isinstance(answer, CallOutcome):
            return answer
        code = answer.field("code")
        if code == 0:
            return CallOutcome("ok", answer.text("data", "message_id"))
        said = f"{code}: {answer.text('msg') or f'status {answer.status}'}"
        if answer.status == 429 or code in _LIMITED:
            seconds = seconds_of(answer.headers.get("x-ogw-ratelimit-reset")) or _BUSY_S
            return CallOutcome("limited", retry_after_s=seconds, reason=self._caller.clean(said))
        if code == _TOUCHED or (code == 230099 and "action is lock" in said):
            return CallOutcome("limited", retry_after_s=_TOUCHED_S, reason=said[:100])
        kind = _KINDS.get(code) if isinstance(code, int) else None
        return self._caller.outcome(kind or "rejected", said)


class FeishuReceiver:
    """Reads the events and callbacks of an app.

    Args:
        token: the app's Verification Token.
        key: the app's Encrypt Key, with which Feishu encrypts and signs; "" if the app has none.

    Raises:
        InvalidValue: there is a key, but the package `cryptography` is not installed.
    """

    def __init__(self, token: str, key: str = "") -> None:
        self._token, self._key = token, key
        self._decryptor = Decryptor(key) if key else None

    def read(self, callback: Callback) -> Inbound | None:
        """Return what a person did. Raises `Unauthorized`."""
        event = self._decrypted(parse_json(callback.body))
        # Feishu does not sign the request with which it looks whether the address is right.
        is_signed = is_from_feishu(callback.headers, callback.body, self._key, callback.now)
        if not self._is_ours(event, may_be_unsigned=is_signed or not self._key):
            raise Unauthorized("Feishu did not send this")
        return from_feishu(event)

    def _decrypted(self, body: object) -> object:
        encrypted = body.get("encrypt") if isinstance(body, dict) else None
        if self._decryptor is None:
            return body
        try:
            data = base64.b64decode(encrypted if isinstance(encrypted, str) else "")
        except ValueError:
            return None
        return parse_json(self._decryptor.decrypt(data) or b"")

    def _is_ours(self, event: object, *, may_be_unsigned: bool) -> bool:
        found = event if isinstance(event, dict) else {}
        is_question = found.get("type") == "url_verification"
        header = found.get("header")
        given = header.get("token") if isinstance(header, dict) else found.get("token")
        is_known = hmac.compare_digest(str(given).encode("utf-8", "replace"), self._token.encode())
        return is_known and (is_question or may_be_unsigned)

    def reply(self, inbound: Inbound, notice: str) -> object:
        """Return the challenge, or a text that appears for a moment."""
        if inbound.kind == "ping":
            return {"challenge": inbound.value}
        has_toast = inbound.kind == "button" and notice
        return {"toast": {"type": "info", "content": notice}} if has_toast else {}

    def is_in(self, inbound: Inbound, address: str) -> bool:
        """Return whether it happened in the conversation of an address, as far as that tells: only
        Feishu knows the conversation with a person."""
        return is_at(inbound, address) or not address.removeprefix("//").startswith("oc_")


def make_receiver(options: Mapping[str, str]) -> FeishuReceiver:
    """Return the receiver of an app's events and callbacks."""
    return FeishuReceiver(
        required(options, "verification_token", "Feishu"), optional(options, "encrypt_key")
    )


def _is_streaming(message: Send | Edit) -> bool:
    """Return whether a text is shown as growing. A button cannot be pressed meanwhile."""
    return not (message.is_final or message.is_plain or message.buttons or message.question_id)


def _path(message_id: str) -> str:
    return f"/im/v1/messages/{message_id if _MESSAGE.fullmatch(message_id) else 'om_0'}"
