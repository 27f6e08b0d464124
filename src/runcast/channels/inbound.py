"""What people do in a chat, as a platform sends it: a pressed button, or a written text.

A platform sends it to a webhook, whose signature `signatures` checks, or answers a poll with it. A
body may be anything. What is not understood is None, and nothing is raised.

Source: https://core.telegram.org/bots/api#update,
https://docs.slack.dev/reference/interaction-payloads/block_actions-payload,
https://docs.slack.dev/reference/events/message,
https://docs.discord.com/developers/interactions/receiving-and-responding,
https://open.feishu.cn/document/feishu-cards/card-callback-communication,
https://open.feishu.cn/document/server-docs/im-v1/message/events/receive,
https://developers.mattermost.com/integrate/plugins/interactive-messages/,
https://developers.mattermost.com/integrate/webhooks/outgoing/,
https://developers.mattermost.com/integrate/slash-commands/,
https://github.com/mattermost/mattermost/blob/master/server/public/model/integration_action.go,
https://open.dingtalk.com/document/orgapp/receive-message, and
https://spec.matrix.org/latest/client-server-api/#rich-replies.
"""

import json
import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Final, Literal

from runcast.events.vocabulary import mend

__all__ = (
    "MAX_TEXT_CHARS",
    "Inbound",
    "InboundKind",
    "from_dingtalk",
    "from_discord",
    "from_feishu",
    "from_matrix",
    "from_mattermost",
    "from_slack",
    "from_telegram",
    "parse_json",
)

InboundKind = Literal["button", "text", "ping"]

MAX_TEXT_CHARS: Final = 40_000
"""Most characters of a text; what follows is cut. No platform allows more."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """Something that a person did.

    | kind | value |
    |---|---|
    | `button` | what the button sends: `read_callback` reads it |
    | `text` | the text |
    | `ping` | what the platform wants back, to see that the address is right |
    """

    kind: InboundKind
    value: str
    key: str = ""
    """Equal if the platform sends the same thing again. A text that replies to nothing is not taken
    if nothing stands behind the last colon."""
    place: str = ""
    """The chat, as a target names it: without a topic or a thread."""
    thread: str = ""
    """The topic or the thread; empty if there is none."""
    message_id: str = ""
    """The message with the button, or that was answered, as a channel's `send` names it."""
    person: str = ""
    """The platform's id of the person."""
    name: str = ""
    """What the person is called there, for other people to read. Anyone can choose any name."""
    is_addressed: bool = False
    """Whether a text is written to the bot itself, on a platform that does not say which message it
    replies to. Without a `message_id` it is for the only run that is delivered to its chat."""
    sent_at: float = 0.0
    """When a text was written, Unix seconds; 0.0 if the platform does not say."""


def from_telegram(update: object) -> Inbound | None:
    """Return what an update of the Bot API says; None for other updates, and for bots."""
    key = f"telegram:{_part(update, 'update_id')}"
    query = _part(update, "callback_query")
    if query is not None:
        message = _part(query, "message")
        return Inbound(
            "button",
            _text(query, "data"),
            f"{key}:{_text(query, 'id')}",
            _text(message, "chat", "id"),
            _text(message, "message_thread_id"),
            _text(message, "message_id"),
            _text(query, "from", "id"),
            _text(query, "from", "first_name"),
        )
    message = _part(update, "message")
    text = _text(message, "text")
    if not text or _part(message, "from", "is_bot") is not False:
        return None
    return Inbound(
        "text",
        text,
        key,
        _text(message, "chat", "id"),
        _text(message, "message_thread_id"),
        _text(message, "reply_to_message", "message_id"),
        _text(message, "from", "id"),
        _text(message, "from", "first_name"),
    )


def from_slack(payload: object) -> Inbound | None:
    """Return what a payload of Slack says: of interactions, or of events."""
    match _text(payload, "type"):
        case "url_verification":
            return Inbound("ping", _text(payload, "challenge"))
        case "block_actions":
            return _slack_button(payload)
        case "event_callback":
            return _slack_text(payload)
    return None


def _slack_button(payload: object) -> Inbound | None:
    actions = _part(payload, "actions")
    if not isinstance(actions, list) or not actions:
        return None
    place, ts = _text(payload, "channel", "id"), _text(payload, "message", "ts")
    return Inbound(
        "button",
        _text(actions[0], "value"),
        f"slack:{_text(payload, 'trigger_id')}",
        place,
        _text(payload, "message", "thread_ts"),
        f"{place}/{ts}",
        _text(payload, "user", "id"),
        _text(payload, "user", "name") or _text(payload, "user", "username"),
    )


def _slack_text(payload: object) -> Inbound | None:
    event = _part(payload, "event")
    is_person = not _part(event, "bot_id") and not _part(event, "subtype")
    text = _text(event, "text")
    if _text(event, "type") not in ("message", "app_mention") or not text or not is_person:
        return None
    place, thread = _text(event, "channel"), _text(event, "thread_ts")
    plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return Inbound(
        "text",
        plain,
        f"slack:{_text(event, 'client_msg_id') or _text(payload, 'event_id')}",
        place,
        thread,
        f"{place}/{thread}" if thread else "",
        _text(event, "user"),
    )


_DISCORD_PING: Final = 1
_DISCORD_BUTTON: Final = 3


def from_discord(interaction: object) -> Inbound | None:
    """Return what an interaction of Discord says. Answer a ping with `{"type": 1}` and a button
    with `{"type": 6}`, within three seconds."""
    kind = _part(interaction, "type")
    if kind == _DISCORD_PING:
        return Inbound("ping", "")
    if kind != _DISCORD_BUTTON:
        return None
    user = _part(interaction, "member", "user") or _part(interaction, "user")
    return Inbound(
        "button",
        _text(interaction, "data", "custom_id"),
        f"discord:{_text(interaction, 'id')}",
        _text(interaction, "channel_id"),
        "",
        _text(interaction, "message", "id"),
        _text(user, "id"),
        _text(user, "global_name") or _text(user, "username"),
    )


def from_matrix(room: str, event: object) -> Inbound | None:
    """Return what an event of a room says: a text, and the message that it replies to. An edit says
    nothing, and neither does a notice, because bots write notices."""
    content = _part(event, "content")
    relation = _part(content, "m.relates_to")
    text = _text(content, "body")
    if _part(event, "type") != "m.room.message" or _part(content, "msgtype") != "m.text":
        return None
    if not text or _part(relation, "rel_type") == "m.replace":
        return None
    replied = _text(relation, "m.in_reply_to", "event_id")
    is_thread = _part(relation, "rel_type") == "m.thread"
    thread = _text(relation, "event_id") if is_thread else ""
    if is_thread and (_part(relation, "is_falling_back") or not replied):
        replied = thread
    return Inbound(
        "text",
        _without_quote(text) if replied else text,
        f"matrix:{_text(event, 'event_id')}",
        room,
        thread,
        replied,
        _text(event, "sender"),
    )


def _without_quote(text: str) -> str:
    """Return a reply without the lines that it repeats: older clients write them before it."""
    lines = text.split("\n")
    at = next((at for at, line in enumerate(lines) if not line.startswith(">")), len(lines))
    return "\n".join(lines[at:]).strip("\n") or text if at else text


def from_mattermost(body: object) -> Inbound | None:
    """Return what a pressed button of Mattermost sends, an outgoing webhook, or a slash command.

    Neither of the last two says what a text replies to.
    """
    place, person = _text(body, "channel_id"), _text(body, "user_id")
    name = _text(body, "user_name")
    pressed = _text(body, "context", "callback")
    if pressed:
        key, post = f"mattermost:{_text(body, 'trigger_id')}", _text(body, "post_id")
        return Inbound("button", pressed, key, place, "", post, person, name)
    is_command, trigger = bool(_text(body, "command")), _text(body, "trigger_word")
    text = _text(body, "text").removeprefix(trigger).strip()
    if not text:
        return None
    key = f"mattermost:{_text(body, 'trigger_id' if is_command else 'post_id')}"
    is_addressed = is_command or bool(trigger)
    sent_at = _trigger_time(body) if is_command else _time(body, "timestamp")
    return Inbound("text", text, key, place, "", "", person, name, is_addressed, sent_at)


_MAX_TRIGGER_CHARS: Final = 1000


def _trigger_time(body: object) -> float:
    """Return when a slash command was written, which only its trigger says: Base64 of four parts,
    of which the third one counts milliseconds. 0.0 if it says nothing."""
    try:
        parts = b64decode(_text(body, "trigger_id")[:_MAX_TRIGGER_CHARS], validate=True).split(b":")
    except ValueError:
        return 0.0
    return _time({"at": parts[2].decode("latin-1")}, "at") if len(parts) == 4 else 0.0


def from_feishu(event: object) -> Inbound | None:
    """Return what an event of Feishu says, which is not encrypted any more."""
    if _text(event, "type") == "url_verification":
        return Inbound("ping", _text(event, "challenge"))
    key = f"feishu:{_text(event, 'header', 'event_id')}"
    match _text(event, "header", "event_type"):
        case "card.action.trigger":
            pressed = _part(event, "event")
            return Inbound(
                "button",
                _text(pressed, "action", "value", "callback"),
                key,
                _text(pressed, "context", "open_chat_id"),
                "",
                _text(pressed, "context", "open_message_id"),
                _text(pressed, "operator", "open_id"),
            )
        case "im.message.receive_v1":
            return _feishu_text(_part(event, "event"), key)
    return None


_MARK: Final = re.compile(r"@_\w+")
_MAX_MENTIONS: Final = 20
_MAX_NAME_CHARS: Final = 60


def _feishu_text(event: object, key: str) -> Inbound | None:
    message = _part(event, "message")
    text = _text(parse_json(_text(message, "content")), "text")
    mentions = _part(message, "mentions")
    given = mentions[:_MAX_MENTIONS] if isinstance(mentions, list) else ()
    names = {_text(each, "key"): f"@{_text(each, 'name')[:_MAX_NAME_CHARS]}" for each in given}
    # Once, because a person may be called like the mark of another mention.
    text = _MARK.sub(lambda mark: names.get(mark[0], mark[0]), text)
    if not text.strip() or _text(event, "sender", "sender_type") != "user":
        return None
    return Inbound(
        "text",
        text.strip(),
        key,
        _text(message, "chat_id"),
        _text(message, "root_id"),
        _text(message, "parent_id"),
        _text(event, "sender", "sender_id", "open_id"),
    )


def from_dingtalk(body: object) -> Inbound | None:
    """Return what a person writes to a robot of DingTalk, which does not say what it replies to.

    A direct message happens at `user/` and the person's id, as targets name it.
    """
    text = _text(body, "text", "content").strip()
    if _text(body, "msgtype") != "text" or not text:
        return None
    person = _text(body, "senderStaffId")
    is_direct = _text(body, "conversationType") == "1"
    return Inbound(
        "text",
        text,
        f"dingtalk:{_text(body, 'msgId')}",
        f"user/{person}" if is_direct else _text(body, "conversationId"),
        "",
        "",
        person or _text(body, "senderId"),
        _text(body, "senderNick"),
        is_addressed=True,
        sent_at=_time(body, "createAt"),
    )


def parse_json(body: bytes | str) -> object:
    """Return the JSON of a body; None if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _part(found: object, *names: str) -> Any:
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


_MILLISECONDS_FROM: Final = 1e11
"""From here on a time counts milliseconds: in seconds it would be in the year 5138."""


def _time(found: object, name: str) -> float:
    """Return a time inside an object, in Unix seconds; 0.0 if there is none."""
    text = _text(found, name)
    if not (text.isascii() and text.isdigit() and len(text) < 15):
        return 0.0
    return float(text) / (1000 if float(text) > _MILLISECONDS_FROM else 1)


def _text(found: object, *names: str) -> str:
    """Return a text or a number inside an object, as text; empty if there is none."""
    value = _part(found, *names)
    is_value = isinstance(value, str | int) and not isinstance(value, bool)
    # JSON may name half of a character, which no store can keep.
    return mend(str(value)[:MAX_TEXT_CHARS]) if is_value else ""
