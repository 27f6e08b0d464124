"""DingTalk: a group or a person through an app's robot, or a group through a robot of its own.

An app's message is an AI card. While its text grows, the card streams: each edit sends the whole
text. The end closes the stream, and writes the text into the card itself, because DingTalk shows
what the card holds once it is finished. The card's template is the one of DingTalk's own client;
another one may be named.

A group's own robot has an address with a token, and signs each message. It cannot edit.

Source: https://open.dingtalk.com/document/development/create-and-deliver-cards,
https://open.dingtalk.com/document/orgapp/typewriter-effect-streaming-ai-card,
https://open.dingtalk.com/document/orgapp/interactive-card-update-interface,
https://open.dingtalk.com/document/orgapp/custom-robot-access (20 messages in a minute), and the
client dingtalk-stream. Rates of cards are not published: DingTalk's people name 40 to 50 in a
second for an app.
"""

import base64
import dataclasses
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final, Unpack
from urllib.parse import quote

from runcast._clock import Clock, SystemClock
from runcast.channels.actions import Edit, Send
from runcast.channels.calls import Answer, check_token, seconds_of
from runcast.channels.capability import Capability
from runcast.channels.html import to_plain
from runcast.channels.inbound import Inbound, from_dingtalk, parse_json
from runcast.channels.outcome import CallKind, CallOutcome
from runcast.channels.platforms.connected import (
    ConnectedChannel,
    Login,
    Reach,
    address_of,
    reach_of,
)
from runcast.channels.platforms.native import outside_code, with_links_for_images
from runcast.channels.platforms.options import is_yes, optional, required
from runcast.channels.platforms.renewed import AppCaller, GivenToken
from runcast.channels.receiver import Callback
from runcast.channels.signatures import is_from_dingtalk
from runcast.errors import InvalidValue, Unauthorized

__all__ = (
    "DingTalkChannel",
    "DingTalkReceiver",
    "DingTalkRobot",
    "make_channel",
    "make_receiver",
)

_URL: Final = "https://api.dingtalk.com"
_ROBOT_URL: Final = "https://oapi.dingtalk.com/robot/send"
_TARGET: Final = re.compile(r"(cid[A-Za-z0-9+/=_-]{1,120})|user/([A-Za-z0-9_.$:-]{1,120})")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")

_TEMPLATE: Final = "382e4302-551d-4880-bf29-a30acfab2e71.schema"
"""The card of Markdown that DingTalk's own client uses."""

_KEY: Final = "msgContent"
_WRITING, _FINISHED = "2", "3"

_CARDS: Final = Capability(
    limit=6000,  # a card has about 20 000 bytes
    can_delete=False,
    closes_messages=True,
    interval_s=0.5,  # of all cards of an app
    slots=20,
    window_s=1.0,
    reserved=5,
)
_ROBOT: Final = Capability(
    limit=15_000,  # a body has at most 20 000 bytes
    unit="utf8",
    can_edit=False,
    can_delete=False,
    interval_s=3.1,
    slots=19,
    reserved=6,
)
_ROBOT_PENALTY_S: Final = 600.0
"""How long DingTalk refuses a robot that has sent more than 20 messages in a minute."""

_MAX_BUSY_S: Final = 60.0

_ROBOT_CODES: Final[Mapping[int, CallKind]] = {
    **dict.fromkeys((300001, 300005, 310000, 400101, 400102, 400105, 40035), "forbidden"),
    460101: "too_long",
}


def make_channel(target: str, options: Mapping[str, str]) -> "DingTalkChannel | DingTalkRobot":
    """Return the channel of `dingtalk:cid…?app_key=…&app_secret=…`, or of
    `dingtalk:robot?token=…&secret=…`; raises `InvalidValue`."""
    address = address_of(target)
    if address == "robot":
        token, secret = optional(options, "token"), optional(options, "secret")
        return DingTalkRobot(token, secret, **reach_of({**options, "buttons": "no"}))
    return DingTalkChannel(
        address,
        optional(options, "app_key"),
        optional(options, "app_secret"),
        robot=optional(options, "robot"),
        template=optional(options, "template"),
        template_key=optional(options, "template_key"),
        hears_texts=is_yes(options, "replies"),
        **reach_of({**options, "buttons": "no"}),
    )


class DingTalkChannel(ConnectedChannel):
    """One conversation of an app's robot.

    Args:
        target: the id of a group (`cid…`), or `user/` and the id of a person in the organisation.
        app_key: of the app: its Client ID.
        app_secret: of the app: its Client Secret.
        robot: the code of the app's robot; by default the app's key.
        template: the id of a card's template, if it is not DingTalk's own.
        template_key: the variable of that template with the text.
        hears_texts: whether the server gets what people write to the robot.
        reach: how the API is reached; see `Reach`. There are no buttons.

    Raises:
        InvalidValue: the target or the app is malformed. The message does not show the secret.
    """

    def __init__(
        self,
        target: str,
        app_key: str,
        app_secret: str,
        *,
        robot: str = "",
        template: str = "",
        template_key: str = "",
        hears_texts: bool = False,
        clock: Clock | None = None,
        **reach: Unpack[Reach],
    ) -> None:
        found = _TARGET.fullmatch(target)
        if found is None:
            raise InvalidValue(f"expected a conversation like cid… or user/…, got {target!r:.80}")
        check_token(app_key, "the key of an app of DingTalk")
        check_token(app_secret, "the secret of an app of DingTalk")
        self._group, self._person = found[1] or "", found[2] or ""
        self._app_key, self._app_secret = app_key, app_secret
        self._robot = robot or app_key
        self._template, self._key = template or _TEMPLATE, template_key or _KEY
        self._refusals = 0
        cards = dataclasses.replace(_CARDS, hears_texts=hears_texts)
        super().__init__(_URL, cards, f"dingtalk:{app_key}", Login(secrets=(app_secret,)), **reach)
        self._app = AppCaller(
            self._caller,
            self._fetch_token,
            header="x-acs-dingtalk-access-token",
            is_stale=lambda answer: answer.status == 401,
            clock=clock,
        )

    async def send(self, message: Send) -> CallOutcome:
        """Send a new card."""
        card_id = hashlib.sha256(message.key.encode()).hexdigest()[:40]
        body = {
            "cardTemplateId": self._template,
            "outTrackId": card_id,
            "callbackType": "STREAM",
            "userIdType": 1,
            **self._data(message, _FINISHED if message.is_final else _WRITING),
            **self._place(),
        }
        answer = await self._app.call("POST", "/v1.0/card/instances/createAndDeliver", body)
        outcome = self._outcome(answer)
        if outcome.kind != "ok" or isinstance(answer, CallOutcome):
            return outcome
        delivered = answer.field("result", "deliverResults")
        for each in delivered if isinstance(delivered, list) else ():
            if isinstance(each, dict) and each.get("success") is False:
                said = str(each.get("errorMsg") or "the card was not delivered")
                return self._caller.outcome("forbidden", said)
        return CallOutcome("ok", card_id)

    async def edit(self, message: Edit) -> CallOutcome:
        """Replace a card's text; the last edit closes the card."""
        body = {
            "outTrackId": message.message_id,
            "guid": uuid.uuid4().hex,
            "key": self._key,
            "content": _text(message),
            "isFull": True,
            "isFinalize": message.is_final,
            "isError": False,
        }
        outcome = self._outcome(await self._app.call("PUT", "/v1.0/card/streaming", body))
        # A stream that was closed already is refused; the card itself still takes text.
        if not message.is_final or outcome.kind not in ("ok", "rejected"):
            return outcome
        finished = {
            "outTrackId": message.message_id,
            "cardUpdateOptions": {"updateCardDataByKey": True},
            **self._data(message, _FINISHED),
        }
        return self._outcome(await self._app.call("PUT", "/v1.0/card/instances", finished))

    def _place(self) -> dict[str, Any]:
        if self._group:
            return {
                "openSpaceId": f"dtv1.card//IM_GROUP.{self._group}",
                "imGroupOpenSpaceModel": {"supportForward": True},
                "imGroupOpenDeliverModel": {"robotCode": self._robot},
            }
        return {
            "openSpaceId": f"dtv1.card//IM_ROBOT.{self._person}",
            "imRobotOpenSpaceModel": {"supportForward": True},
            "imRobotOpenDeliverModel": {"spaceType": "IM_ROBOT", "robotCode": self._robot},
        }

    def _data(self, message: Send | Edit, status: str) -> dict[str, Any]:
        params = {self._key: _text(message), "flowStatus": status}
        if self._template == _TEMPLATE:
            params["sys_full_json_obj"] = json.dumps({"order": [_KEY]})
        return {"cardData": {"cardParamMap": params}}

    async def _fetch_token(self) -> GivenToken | CallOutcome:
        body = {"appKey": self._app_key, "appSecret": self._app_secret}
        answer = await self._caller.call("POST", "/v1.0/oauth2/accessToken", body)
        if isinstance(answer, CallOutcome):
            return answer
        token, seconds = answer.text("accessToken"), answer.field("expireIn")
        if answer.is_ok and token:
            return GivenToken(token, float(seconds) if isinstance(seconds, int | float) else 0.0)
        outcome = self._outcome(answer)
        is_unknown = outcome.kind in ("rejected", "gone", "ok")
        return self._caller.outcome("forbidden", outcome.reason) if is_unknown else outcome

    def _outcome(self, answer: Answer | CallOutcome) -> CallOutcome:
        if isinstance(answer, CallOutcome):
            return answer
        if answer.is_ok and answer.field("success") is not False:
            self._refusals = 0
            return CallOutcome("ok")
        code = answer.text("code")
        said = f"{code}: {answer.text('message')}" if code else f"status {answer.status}"
        if answer.status == 429 or "limit" in code.lower():
            return self._limited(answer, said)
        if "notexist" in code.lower() or "notfound" in code.lower():
            return self._caller.outcome("gone", said)
        is_forbidden = answer.status in (401, 403)
        return self._caller.outcome("forbidden" if is_forbidden else "rejected", said)

    def _limited(self, answer: Answer, said: str) -> CallOutcome:
        """DingTalk names no time: it counts per second, and per month."""
        self._refusals += 1
        named = seconds_of(answer.headers.get("retry-after"))
        seconds = named or min(2.0 ** min(self._refusals - 1, 10), _MAX_BUSY_S)
        return CallOutcome("limited", retry_after_s=seconds, reason=self._caller.clean(said))


class DingTalkRobot(ConnectedChannel):
    """The own robot of a group.

    Args:
        token: what stands behind `access_token=` in the robot's address.
        secret: signs messages: `SEC…`; "" if the robot asks for no signature.
        reach: how the address is reached; see `Reach`.

    Raises:
        InvalidValue: the token or the secret is malformed. The message shows neither.
    """

    def __init__(
        self, token: str, secret: str = "", *, clock: Clock | None = None, **reach: Unpack[Reach]
    ) -> None:
        if not _TOKEN.fullmatch(check_token(token, "the token of a robot of DingTalk")):
            raise InvalidValue("expected the token of a robot: what stands behind access_token=")
        if secret:
            check_token(secret, "the secret of a robot of DingTalk, like SEC…")
        self._secret = secret
        self._clock: Clock = clock or SystemClock()
        digest = hashlib.sha256(token.encode()).hexdigest()[:12]
        login = Login(secrets=(token, secret), secret_path=f"?access_token={token}")
        super().__init__(_ROBOT_URL, _ROBOT, f"dingtalk:robot:{digest}", login, **reach)

    async def send(self, message: Send) -> CallOutcome:
        """Send a message. It has no id, so nothing can change it."""
        lines = to_plain(message.text).splitlines()
        title = next((line.strip() for line in lines if line.strip()), "runcast")
        body = {
            "msgtype": "markdown",
            "markdown": {"title": title[:60], "text": _text(message)},
        }
        answer = await self._caller.call("POST", self._signature(), body)
        if isinstance(answer, CallOutcome):
            return answer
        code = answer.field("errcode")
        if answer.is_ok and code == 0:
            return CallOutcome("ok")
        said = f"{code}: {answer.text('errmsg') or f'status {answer.status}'}"
        if answer.status == 429 or code in (130101, 410100):
            reason = self._caller.clean(said)
            return CallOutcome("limited", retry_after_s=_ROBOT_PENALTY_S, reason=reason)
        kind = _ROBOT_CODES.get(code) if isinstance(code, int) else None
        return self._caller.outcome(kind or "rejected", said)

    def _signature(self) -> str:
        """Return what is added to the address, behind the token."""
        if not self._secret:
            return ""
        sent_at = str(int(self._clock.time() * 1000))
        signed = f"{sent_at}\n{self._secret}".encode()
        digest = hmac.new(self._secret.encode(), signed, hashlib.sha256).digest()
        sign = quote(base64.b64encode(digest), safe="")
        return f"&timestamp={sent_at}&sign={sign}"


class DingTalkReceiver:
    """Reads what people write to an app's robot.

    DingTalk does not say which card a text replies to.

    Args:
        secret: the app's secret.
        robot: the code of the app's robot; "" if it is not known.
    """

    def __init__(self, secret: str, robot: str = "") -> None:
        self._secret, self._robot = secret, robot

    def read(self, callback: Callback) -> Inbound | None:
        """Return what a person did. Raises `Unauthorized`."""
        if not is_from_dingtalk(callback.headers, self._secret, callback.now):
            raise Unauthorized("DingTalk did not send this")
        body = parse_json(callback.body)
        named = body.get("robotCode") if isinstance(body, dict) else None
        if self._robot and named not in (None, self._robot):
            raise Unauthorized("DingTalk did not send this to the app's robot")
        return from_dingtalk(body)

    def reply(self, inbound: Inbound, notice: str) -> object:
        """Return a message of the robot, or nothing."""
        return {"msgtype": "text", "text": {"content": notice}} if notice else None

    def is_in(self, inbound: Inbound, address: str) -> bool:
        """Return whether it happened in the conversation of an address. Ids hold slashes."""
        return inbound.place != "" and address_of(address) == inbound.place


def make_receiver(options: Mapping[str, str]) -> DingTalkReceiver:
    """Return the receiver of an app's robot."""
    robot = optional(options, "robot") or optional(options, "app_key")
    return DingTalkReceiver(required(options, "app_secret", "DingTalk"), robot)


_LINE_END: Final = re.compile(r"(?<=[^\n ])\n(?=[^\n])")


def _text(message: Send | Edit) -> str:
    """Return Markdown in which each line is a line, because DingTalk joins them."""
    text = message.text.encode("utf-8", "replace").decode()
    if message.is_plain:
        return text
    return outside_code(text, lambda part: _LINE_END.sub("  \n", with_links_for_images(part)))
