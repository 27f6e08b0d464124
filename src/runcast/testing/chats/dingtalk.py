"""A DingTalk for tests: the calls of cards and of a group's robot that a delivery needs.

DingTalk does not say what becomes of a card that is delivered twice under one `outTrackId`: here
people see two messages, which is the worst case. Nor does it publish rates of cards: here an app
makes 40 calls in a second.

Source: https://open.dingtalk.com/document/development/create-and-deliver-cards,
https://open.dingtalk.com/document/orgapp/typewriter-effect-streaming-ai-card,
https://open.dingtalk.com/document/orgapp/custom-robot-access, and the client dingtalk-stream.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from runcast._clock import Clock
from runcast.testing.chats.faults import ChatMessage
from runcast.testing.chats.server import ChatCallback, ChatReply, ChatServer, Request, Window

__all__ = ("FakeDingTalk",)

_MAX_CONTENT_BYTES: Final = 20_000
_SIGNED_S: Final = 3600.0
_PENALTY_S: Final = 600.0
_TOKEN_S: Final = 7200
_METHODS: Final = {
    ("POST", "/v1.0/oauth2/accessToken"): "token",
    ("POST", "/v1.0/card/instances"): "cards.create",
    ("POST", "/v1.0/card/instances/deliver"): "cards.deliver",
    ("POST", "/v1.0/card/instances/createAndDeliver"): "cards.createAndDeliver",
    ("PUT", "/v1.0/card/instances"): "cards.update",
    ("PUT", "/v1.0/card/streaming"): "cards.stream",
    ("POST", "/robot/send"): "robot.send",
}


@dataclass(slots=True)
class _Card:
    params: dict[str, str]
    guids: set[str] = field(default_factory=set)
    is_closed: bool = False
    messages: list[ChatMessage] = field(default_factory=list)


class FakeDingTalk(ChatServer):
    """DingTalk with one app, whose robot is in groups, and one group with a robot of its own.

        with FakeDingTalk(["cid1"]) as dingtalk:
            client = dingtalk_stream.DingTalkStreamClient(…)  # its endpoint is dingtalk.url

    A card streams until its stream is closed. A `guid` is done once. A text has at most 20 000
    bytes. Refusals of the group's robot have the status 200; it sends 20 messages in a minute, or
    none for ten minutes. Its signature is good for an hour.

    Args:
        spaces: the groups (`cid…`) and people that the app's robot may write to.
    """

    APP_KEY: Final = "dingTESTkey"
    APP_SECRET: Final = "TEST-secret-of-the-fake-dingtalk"
    ROBOT_TOKEN: Final = "TEST0token0of0the0robot"
    ROBOT_SECRET: Final = "SECTEST0secret0of0the0robot"
    ROBOT_CHAT: Final = "robot"
    """The chat in which `shown` finds what the group's robot has sent."""

    def __init__(self, spaces: Iterable[str] = ("cid1",), *, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.spaces: Final = set(spaces)
        self.tokens: Final[list[str]] = []
        """The tokens that were given, oldest first."""
        self._good_until = 0.0
        self._cards: dict[str, _Card] = {}
        self._calls = Window(40, 1.0)
        self._sent = Window(20, 60.0)
        self._robot_waits_until = 0.0
        self._written = 0

    def status_of(self, message_id: str) -> str:
        """Return the `flowStatus` of a card: 1 begun, 2 being written, 3 finished."""
        return self._cards[message_id].params.get("flowStatus", "")

    def written(self, text: str, *, space: str = "cid1", person: str = "ada") -> ChatCallback:
        """Return what DingTalk sends when a person writes to the app's robot.

        Args:
            space: the group; `user/` and the person's id for a direct message.
        """
        self._written += 1
        is_direct = space.startswith("user/")
        sent_at = str(int(self.clock.time() * 1000))
        body = {
            **{"msgtype": "text", "text": {"content": f" {text} "}, "msgId": f"m{self._written}"},
            "conversationId": "cidOfTwo" if is_direct else space,
            "conversationType": "1" if is_direct else "2",
            **{"robotCode": self.APP_KEY, "createAt": int(sent_at)},
            **{"senderId": "$:LWCP:1", "senderStaffId": person, "senderNick": person.title()},
        }
        headers = {"timestamp": sent_at, "sign": _signature(self.APP_SECRET, sent_at)}
        return ChatCallback(headers, json.dumps(body).encode())

    def method_of(self, request: Request) -> str:
        return _METHODS.get((request.verb, request.path), "")

    def scope_of(self, method: str, request: Request) -> str:
        return "robot" if method == "robot.send" else "app"

    def limited(self, wait_s: float) -> ChatReply:
        said = "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"
        return _no(403, said, "The request was denied due to request throttling.")

    def failed(self) -> ChatReply:
        return _no(500, "ServiceUnavailable", "The request has failed due to a temporary failure.")

    def revoke_token(self) -> None:
        """Make the present token invalid before its time."""
        self._good_until = 0.0

    def do(self, method: str, request: Request, now: float) -> ChatReply:
        values = request.values
        if method == "robot.send":
            return self._send(values, now)
        if method == "token":
            return self._give_token(values, now)
        if not method:
            return _no(404, "InvalidAction.NotFound", "Specified api is not found.")
        sent = {name.lower(): value for name, value in request.headers.items()}
        token = sent.get("x-acs-dingtalk-access-token", "")
        if token not in self.tokens[-1:] or now >= self._good_until:
            return _no(401, "InvalidAuthentication", "不合法的access_token")
        if wait_s := self._calls.wait_s(now):
            return self.block("app", wait_s, now)
        self._calls.count(now)
        act = {
            "cards.create": self._create,
            "cards.deliver": self._deliver,
            "cards.createAndDeliver": self._create_and_deliver,
            "cards.update": self._update,
            "cards.stream": self._stream,
        }[method]
        return act(values)

    def _give_token(self, values: dict[str, Any], now: float) -> ChatReply:
        if (values.get("appKey"), values.get("appSecret")) != (self.APP_KEY, self.APP_SECRET):
            return _no(400, "invalidClientIdOrSecret", "无效的clientId或者clientSecret")
        if now >= self._good_until:
            self.tokens.append(f"TEST{len(self.tokens) + 1:028d}")
            self._good_until = now + _TOKEN_S
        given = {"accessToken": self.tokens[-1], "expireIn": int(self._good_until - now)}
        return ChatReply(200, given)

    # Cards.

    def _create(self, values: dict[str, Any]) -> ChatReply:
        card_id, params = str(values.get("outTrackId") or ""), _params_of(values)
        if not card_id or not values.get("cardTemplateId") or not params:
            return _no(400, "param.empty", "param.empty")
        if _is_long(params):
            return _no(400, "param.error", "the card is too large")
        self._cards.setdefault(card_id, _Card(params))
        return ChatReply(200, {"success": True, "result": card_id})

    def _deliver(self, values: dict[str, Any]) -> ChatReply:
        card = self._cards.get(str(values.get("outTrackId")))
        kind, _, space = str(values.get("openSpaceId")).partition("dtv1.card//")[2].partition(".")
        if card is None:
            return _no(404, "card.notExist", "card not exist")
        models = {"IM_GROUP": "imGroupOpenDeliverModel", "IM_ROBOT": "imRobotOpenDeliverModel"}
        if kind not in models or not values.get(models[kind]):
            return _no(400, "param.error", "param.error")
        is_there = space in self.spaces
        if is_there:
            message = ChatMessage(space, str(values["outTrackId"]), "")
            self.messages.append(message)
            card.messages.append(message)
            self._show(card)
        told = {} if is_there else {"errorMsg": "chatbot is not in the conversation"}
        result = {"spaceType": kind, "spaceId": space, "success": is_there, **told}
        return ChatReply(200, {"success": True, "result": [result]})

    def _create_and_deliver(self, values: dict[str, Any]) -> ChatReply:
        reply = self._create(values)
        delivered = self._deliver(values) if reply.status == 200 else reply
        if delivered.status != 200:
            return delivered
        results = delivered.body["result"]
        result = {"outTrackId": values["outTrackId"], "deliverResults": results}
        return ChatReply(200, {"success": True, "result": result})

    def _update(self, values: dict[str, Any]) -> ChatReply:
        card, params = self._cards.get(str(values.get("outTrackId"))), _params_of(values)
        if card is None:
            return _no(404, "card.notExist", "card not exist")
        if not params or _is_long(params):
            return _no(400, "param.error", "param.error")
        by_key = values.get("cardUpdateOptions", {}).get("updateCardDataByKey")
        card.params = {**card.params, **params} if by_key else params
        card.is_closed = card.is_closed or card.params.get("flowStatus") == "3"
        self._show(card, edits=1)
        return ChatReply(200, {"success": True, "result": True})

    def _stream(self, values: dict[str, Any]) -> ChatReply:
        card, guid = self._cards.get(str(values.get("outTrackId"))), str(values.get("guid") or "")
        key, content = str(values.get("key") or ""), values.get("content")
        if card is None:
            return _no(404, "card.notExist", "card not exist")
        if not guid or not isinstance(content, str):
            return _no(400, "param.empty", "param.empty")
        if guid in card.guids:
            return ChatReply(200, {"success": True, "result": True})
        grown = content if values.get("isFull") else card.params.get(key, "") + content
        if card.is_closed or _is_long({key: grown}):
            return _no(400, "param.error", "param.error")
        card.guids.add(guid)
        card.params[key] = grown
        card.params["flowStatus"] = "3" if values.get("isFinalize") else "2"
        card.is_closed = bool(values.get("isFinalize"))
        self._show(card, edits=1)
        return ChatReply(200, {"success": True, "result": True})

    def _show(self, card: _Card, edits: int = 0) -> None:
        for message in card.messages:
            if not message.is_deleted:
                shown = {name: text for name, text in card.params.items() if name in _SHOWN}
                message.text = "\n".join(filter(None, shown.values())).replace("  \n", "\n")
                message.edits += edits

    def _delete_named(self, request: Request) -> None:
        self.delete(str(request.values.get("outTrackId")))

    # The robot of a group.

    def _send(self, values: dict[str, Any], now: float) -> ChatReply:
        if values.get("access_token") != self.ROBOT_TOKEN:
            return _robot(300001, "token is not exist")
        sent_at = str(values.get("timestamp") or "0")
        is_fresh = abs(self.clock.time() - int(sent_at) / 1000) <= _SIGNED_S
        if not is_fresh or values.get("sign") != _signature(self.ROBOT_SECRET, sent_at):
            return _robot(310000, "sign not match, more: https://open.dingtalk.com")
        if now < self._robot_waits_until or self._sent.wait_s(now):
            if now >= self._robot_waits_until:
                self._robot_waits_until = now + _PENALTY_S
            return _robot(130101, "send too fast, exceed 20 times per minute")
        self._sent.count(now)
        found = values.get("markdown") or values.get("text") or {}
        text = str(found.get("text") or found.get("content") or "")
        if not text.strip() or (values.get("msgtype") == "markdown" and not found.get("title")):
            return _robot(40035, "缺少参数 text")
        if len(text.encode()) > _MAX_CONTENT_BYTES:
            return _robot(460101, "message too long, exceed 20000 bytes")
        shown = text.replace("  \n", "\n")
        self.messages.append(ChatMessage(self.ROBOT_CHAT, f"r{len(self.messages) + 1}", shown))
        return _robot(0, "ok")


_SHOWN: Final = ("msgContent", "staticMsgContent", "content")
"""The variables of the template whose texts people see."""


def _params_of(values: dict[str, Any]) -> dict[str, str]:
    found = values.get("cardData")
    params = found.get("cardParamMap") if isinstance(found, dict) else None
    return {name: str(text) for name, text in params.items()} if isinstance(params, dict) else {}


def _is_long(params: dict[str, str]) -> bool:
    return sum(len(text.encode()) for text in params.values()) > _MAX_CONTENT_BYTES + 1000


def _signature(secret: str, sent_at: str) -> str:
    signed = hmac.new(secret.encode(), f"{sent_at}\n{secret}".encode(), hashlib.sha256).digest()
    return base64.b64encode(signed).decode()


def _no(status: int, code: str, message: str) -> ChatReply:
    return ChatReply(status, {"code": code, "requestid": "R", "message": message})


def _robot(code: int, message: str) -> ChatReply:
    return ChatReply(200, {"errcode": code, "errmsg": message})
