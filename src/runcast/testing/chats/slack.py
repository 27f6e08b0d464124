"""A Slack for tests: the methods of the Web API that a delivery needs, with its rules.

Source: https://docs.slack.dev/reference/methods, https://docs.slack.dev/apis/web-api/rate-limits,
https://docs.slack.dev/reference/block-kit. Slack takes short bursts of messages and does not say
how short: here a channel takes 5 in 5 seconds. How long a block of rich text may be is not
published, either: here as long as a block of Markdown.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from runcast._clock import Clock
from runcast.testing.chats.faults import ChatMessage
from runcast.testing.chats.server import ChatCallback, ChatReply, ChatServer, Request, Window

__all__ = ("FakeSlack",)

_MAX_TEXT: Final = 40_000
_MAX_MARKDOWN: Final = 12_000
_MAX_SECTION: Final = 3000
_MAX_BLOCKS: Final = 50

_PER_MINUTE: Final[Mapping[str, int]] = {
    "chat.update": 50,  # tier 3
    "chat.delete": 50,
    "conversations.history": 50,  # tier 3, of an app that is not sold
    "conversations.replies": 50,
    "chat.startStream": 20,  # tier 2
    "chat.appendStream": 100,  # tier 4
    "chat.stopStream": 20,
}


class FakeSlack(ChatServer):
    """Slack with one app in one workspace.

        with FakeSlack(["C1"]) as slack:
            client = WebClient(slack.TOKEN, base_url=slack.api_url)  # slack-sdk's

    Errors come with the status 200, as Slack's do. A text has at most 40 000 characters, blocks of
    Markdown and rich text 12 000 in all, a section 3000; a message 50 blocks. Each method has the
    rate of its tier. An edit without `blocks` leaves the blocks. A stream takes text for five
    minutes.

    Args:
        channels: the channels that the app may write to. `U…` opens a conversation with a person.
        edit_window_s: how long a message can be edited; 0: no limit.
        can_read: whether the app may read its conversations.
    """

    TOKEN: Final = "xoxb-test-token-of-the-fake-slack"
    SIGNING_SECRET: Final = "test-signing-secret-of-the-fake-slack"

    def __init__(
        self,
        channels: Iterable[str] = ("C1",),
        *,
        edit_window_s: float = 0.0,
        can_read: bool = True,
        stream_s: float = 300.0,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock)
        self.channels: Final = set(channels)
        self.edit_window_s = edit_window_s
        self.can_read = can_read
        self.stream_s = stream_s
        self.blocks: Final[dict[str, list[dict[str, Any]]]] = {}
        """The blocks of each message, by its `ts`."""
        self.notices: Final[list[tuple[str, str]]] = []
        """The texts that one person saw: the person, and the text."""
        self._sent = 0
        self._times: dict[str, float] = {}
        self._written_at: dict[str, float] = {}
        """When each message was written, Unix seconds."""
        self._streams: dict[str, float] = {}
        """When each open stream began."""
        self._windows: dict[str, Window] = {}

    def press(self, message_id: str, label: str, user: str = "U1") -> ChatCallback:
        """Press a button, as a person does; return what Slack sends."""
        message, value = self.pressed(message_id, label)
        self._sent += 1
        payload = {
            "type": "block_actions",
            "trigger_id": f"trigger{self._sent}",
            "user": {"id": user, "name": "ada"},
            "channel": {"id": message.chat},
            "message": {"ts": message.message_id, "text": message.text},
            "actions": [{"action_id": value, "value": value, "type": "button"}],
        }
        body = urlencode({"payload": json.dumps(payload)}).encode()
        return self._signed(body, "application/x-www-form-urlencoded")

    def say(
        self, text: str, channel: str = "C1", *, user: str = "U1", thread: str = ""
    ) -> ChatCallback:
        """Write a text, as a person does; return what Slack sends.

        Args:
            thread: the `ts` of the thread's first message.
        """
        self._sent += 1
        ts = f"{1_763_800_000 + self._sent}.000100"
        event = {"type": "message", "channel": channel, "user": user, "text": text, "ts": ts}
        event |= {"client_msg_id": f"message{self._sent}"}
        if thread:
            event["thread_ts"] = thread
        return self.sign({"type": "event_callback", "event_id": f"Ev{self._sent}", "event": event})

    def sign(self, payload: object) -> ChatCallback:
        """Return an event as Slack sends it."""
        return self._signed(json.dumps(payload).encode(), "application/json")

    def _signed(self, body: bytes, kind: str) -> ChatCallback:
        sent_at = str(int(self.clock.time()))
        signed = b"v0:" + sent_at.encode() + b":" + body
        digest = hmac.new(self.SIGNING_SECRET.encode(), signed, hashlib.sha256).hexdigest()
        headers = {
            "content-type": kind,
            "x-slack-request-timestamp": sent_at,
            "x-slack-signature": f"v0={digest}",
        }
        return ChatCallback(headers, body)

    @property
    def api_url(self) -> str:
        """The base URL of slack-sdk's clients."""
        return f"{self.url}/api/"

    def method_of(self, request: Request) -> str:
        return request.path.removeprefix("/api/")

    def scope_of(self, method: str, request: Request) -> str:
        if method == "chat.postMessage":
            return f"{method} {request.values.get('channel')}"
        return method

    def limited(self, wait_s: float) -> ChatReply:
        seconds = str(max(1, -int(-wait_s // 1)))
        return ChatReply(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": seconds})

    def failed(self) -> ChatReply:
        return ChatReply(500, {"ok": False, "error": "internal_error"})

    def do(self, method: str, request: Request, now: float) -> ChatReply:
        values = {name: _parsed(name, value) for name, value in request.values.items()}
        sent = {name.lower(): value for name, value in request.headers.items()}
        token = sent.get("authorization", "").removeprefix("Bearer ") or values.get("token")
        if token != self.TOKEN:
            return _error("invalid_auth" if token else "not_authed")
        if method in ("auth.test", "api.test"):
            return _ok(user_id="UBOT", user="bot", team_id="T1", team="Test", bot_id="B1")
        act = {
            "chat.postMessage": self._post,
            "chat.postEphemeral": self._notify,
            "chat.update": self._update,
            "chat.delete": self._delete,
            "conversations.history": self._history,
            "conversations.replies": self._history,
            "chat.startStream": self._start,
            "chat.appendStream": self._append,
            "chat.stopStream": self._stop,
        }.get(method)
        if act is None:
            return _error("unknown_method")
        scope = self.scope_of(method, request)
        most = _PER_MINUTE.get(method)
        made = Window(5, 5.0) if most is None else Window(most, 60.0)
        window = self._windows.setdefault(scope, made)
        if wait_s := window.wait_s(now):
            return self.block(scope, wait_s, now)
        window.count(now)
        channel = str(values.get("channel", "")).removeprefix("#")
        if channel.startswith("U"):
            channel = f"D{channel[1:]}"
        elif channel not in self.channels and not channel.startswith("D"):
            return _error("channel_not_found")
        return act(channel, values, now)

    def _post(self, channel: str, values: dict[str, Any], now: float) -> ChatReply:
        wrong = _wrong_content(values)
        if wrong:
            return _error(wrong)
        return self._add(channel, values, now)

    def _notify(self, channel: str, values: dict[str, Any], now: float) -> ChatReply:
        if not values.get("user") or not values.get("text"):
            return _error("no_text" if values.get("user") else "user_not_in_channel")
        self.notices.append((str(values["user"]), _unescaped(str(values["text"]))))
        return _ok(message_ts=f"{now:.6f}")

    def _add(self, channel: str, values: dict[str, Any], now: float) -> ChatReply:
        number = len(self.messages) + 1
        ts = f"{1_763_715_600 + number}.{number:06d}"
        message = ChatMessage(channel, ts, "")
        self.messages.append(message)
        self._times[ts], self._written_at[ts] = now, self.clock.time()
        self._write(message, values, values.get("blocks") or [])
        return _ok(channel=channel, ts=ts, message={"text": message.text, "ts": ts})

    def _update(self, channel: str, values: dict[str, Any], now: float) -> ChatReply:
        message = self.find(channel, values.get("ts"))
        if message is None:
            return _error("message_not_found")
        if self.edit_window_s and now > self._times[message.message_id] + self.edit_window_s:
            return _error("edit_window_closed")
        wrong = _wrong_content(values)
        if wrong:
            return _error(wrong)
        blocks = values["blocks"] if "blocks" in values else self.blocks[message.message_id]
        self._write(message, values, blocks)
        message.edits += 1
        return _ok(channel=channel, ts=message.message_id, text=message.text)

    def _write(
        self, message: ChatMessage, values: dict[str, Any], blocks: list[dict[str, Any]]
    ) -> None:
        self.blocks[message.message_id] = blocks
        text = str(values.get("markdown_text") or _unescaped(str(values.get("text") or "")))
        shown = [each for each in map(_shown, blocks) if each]
        message.text = "\n".join(shown) if shown else text
        message.buttons = tuple(
            (str(each["text"]["text"]), str(each.get("value", "")))
            for block in blocks
            if block["type"] == "actions"
            for each in block["elements"]
        )

    def _delete(self, channel: str, values: dict[str, Any], now: float) -> ChatReply:
        message = self.find(channel, values.get("ts"))
        if message is None:
            return _error("message_not_found")
        message.is_deleted = True
        return _ok(channel=channel, ts=message.message_id)

    def _history(self, channel: str, values: dict[str, Any], now: float) -> ChatReply:
        if not self.can_read:
            return _error("missing_scope")
        oldest, most = float(values.get("oldest") or 0.0), int(values.get("limit") or 100)
        found = [
            {"ts": each.message_id, "text": each.text, "blocks": self.blocks[each.message_id]}
            for each in reversed(self.messages)
            if each.chat == channel
            and not each.is_deleted
            and self._written_at[each.message_id] >= oldest
        ]
        return _ok(messages=found[:most], has_more=len(found) > most)

    def _start(self, channel: str, values: dict[str, Any], now: float) -> ChatReply:
        if not values.get("thread_ts"):
            return _error("invalid_arguments")
        for name in ("recipient_team_id", "recipient_user_id"):
            if not channel.startswith("D") and not values.get(name):
                return _error(f"missing_{name}")
        reply = self._grow(None, channel, values, now)
        if reply.body["ok"]:
            self._streams[reply.body["ts"]] = now
        return reply

    def _append(self, channel: str, values: dict[str, Any], now: float) -> ChatReply:
        return self._grow(self._streaming(channel, values, now), channel, values, now)

    def _stop(self, channel: str, values: dict[str, Any], now: float) -> ChatReply:
        message = self._streaming(channel, values, now)
        reply = self._grow(message, channel, values, now)
        if message is not None and reply.body["ok"]:
            del self._streams[message.message_id]
        return reply

    def _streaming(self, channel: str, values: dict[str, Any], now: float) -> ChatMessage | None:
        ts = str(values.get("ts"))
        begun = self._streams.get(ts)
        return None if begun is None or now >= begun + self.stream_s else self.find(channel, ts)

    def _grow(
        self, message: ChatMessage | None, channel: str, values: dict[str, Any], now: float
    ) -> ChatReply:
        text = _streamed(values)
        if len(text) > _MAX_MARKDOWN:
            return _error("msg_too_long")
        if "ts" not in values:
            return self._add(channel, {"markdown_text": text}, now)
        if message is None:
            return _error("message_not_in_streaming_state")
        message.text += text
        return _ok(channel=channel, ts=message.message_id)


def _streamed(values: dict[str, Any]) -> str:
    """Return the text that a call adds to a stream: as one text, or in chunks."""
    chunks = [each for each in values.get("chunks") or () if each.get("type") == "markdown_text"]
    return str(values.get("markdown_text") or "") + "".join(str(each["text"]) for each in chunks)


def _wrong_content(values: dict[str, Any]) -> str:
    """Return the error of a message's content, or nothing."""
    text, markdown = str(values.get("text") or ""), str(values.get("markdown_text") or "")
    blocks = values.get("blocks") or []
    if markdown and (text or blocks):
        return "markdown_text_conflict"
    if len(markdown) > _MAX_MARKDOWN or len(text) > _MAX_TEXT:
        return "msg_too_long"
    if not isinstance(blocks, list) or len(blocks) > _MAX_BLOCKS:
        return "invalid_blocks"
    long = 0
    for block in blocks:
        if not isinstance(block, dict) or not _is_block(block):
            return "invalid_blocks"
        if block["type"] in ("markdown", "rich_text"):
            long += len(_shown(block))
    if long > _MAX_MARKDOWN:
        return "msg_blocks_too_long"
    return "" if text.strip() or markdown.strip() or blocks else "no_text"


def _is_block(block: dict[str, Any]) -> bool:
    match block.get("type"):
        case "markdown":
            return bool(block.get("text"))
        case "section":
            text = block.get("text")
            return isinstance(text, dict) and 0 < len(str(text.get("text"))) <= _MAX_SECTION
        case "rich_text":
            parts = block.get("elements")
            return isinstance(parts, list) and bool(parts) and all(map(_is_part, parts))
        case "actions":
            buttons = block.get("elements")
            is_list = isinstance(buttons, list) and 0 < len(buttons) <= 25
            return is_list and _are_buttons(buttons or [])
    return block.get("type") in ("divider", "context", "header")


def _is_part(part: dict[str, Any]) -> bool:
    kinds = {"rich_text_section", "rich_text_preformatted", "rich_text_quote"}
    elements = part.get("elements")
    if part.get("type") not in kinds or not isinstance(elements, list) or not elements:
        return False
    for element in elements:
        kind, styles = element.get("type"), element.get("style", {})
        if kind not in ("text", "link") or not element.get("text"):
            return False
        if kind == "link" and not element.get("url"):
            return False
        if not set(styles) <= {"bold", "italic", "strike", "code"}:
            return False
        if part["type"] == "rich_text_preformatted" and styles:
            return False
    return True


def _are_buttons(buttons: list[dict[str, Any]]) -> bool:
    names = [str(button.get("action_id")) for button in buttons]
    return len(set(names)) == len(names) and all(
        0 < len(str(button.get("text", {}).get("text", ""))) <= 75
        and len(str(button.get("value", ""))) <= 2000
        and len(str(button.get("action_id"))) <= 255
        for button in buttons
        if button.get("type") == "button"
    )


def _shown(block: dict[str, Any]) -> str:
    """Return the text that people see of a block."""
    match block["type"]:
        case "markdown":
            return str(block["text"])
        case "section" | "header":
            return str(block["text"]["text"])
        case "rich_text":
            parts = block["elements"]
            return "\n".join("".join(each["text"] for each in part["elements"]) for part in parts)
    return ""


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _parsed(name: str, value: Any) -> Any:
    """Return a value of a form, in which blocks are JSON."""
    if name in ("attachments", "blocks", "chunks") and isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return None
    return value


def _ok(**fields: Any) -> ChatReply:
    return ChatReply(200, {"ok": True, **fields})


def _error(error: str) -> ChatReply:
    return ChatReply(200, {"ok": False, "error": error})
