"""Slack: a channel, a thread, or a person, through the Web API.

A message is sent as a block of rich text: formatting is data, so marks that are open cannot break
it, and text like `<!channel>` notifies nobody. The text beside it is for notifications.

Slack counts the edits of an app in a whole workspace. So all chats of a token have one scope.

Source: https://docs.slack.dev/reference/methods/chat.postMessage, chat.update, chat.delete, and
https://docs.slack.dev/apis/web-api/rate-limits (chat.update: 50 and more in a minute; one message
in a second and channel).
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final, Unpack
from urllib.parse import parse_qsl, urlencode

from runcast._clock import Clock, SystemClock
from runcast.channels.actions import Edit, Find, Send
from runcast.channels.callbacks import callback_of
from runcast.channels.calls import Answer, Caller, check_token, seconds_of
from runcast.channels.capability import Capability
from runcast.channels.document import Button
from runcast.channels.inbound import Inbound, from_slack, parse_json
from runcast.channels.markdown import Rendered, Span, render
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
from runcast.channels.signatures import is_from_slack
from runcast.errors import InvalidValue, Unauthorized

__all__ = ("SlackChannel", "SlackReceiver", "blocks_of", "make_channel", "make_receiver")

_URL: Final = "https://slack.com/api"
_TARGET: Final = re.compile(r"#?([A-Za-z0-9._-]{1,80})(?:/([0-9]{1,12}\.[0-9]{1,8}))?")
_CONVERSATION: Final = re.compile(r"[CDG][A-Z0-9]+")
"""An id of a conversation. Names are in small letters."""

_FORM: Final = "application/x-www-form-urlencoded"
_TOKEN_KINDS: Final = "a bot's token of Slack, like xoxb-…"

_CAPABILITY: Final = Capability(
    limit=4000,  # what Slack advises; it cuts at 40 000
    unit="utf16",
    interval_s=1.2,
    slots=50,
    reserved=10,
    can_find=True,
)

_KINDS: Final[Mapping[str, CallKind]] = {
    **dict.fromkeys(("msg_too_long", "msg_blocks_too_long"), "too_long"),
    **dict.fromkeys(
        ("invalid_blocks", "invalid_blocks_format", "invalid_attachments", "blocks_too_long"),
        "unparsable",
    ),
    **dict.fromkeys(("message_not_found", "thread_not_found"), "gone"),
    **dict.fromkeys(("edit_window_closed", "cant_update_message"), "frozen"),
    # Slack says of these that something may have been done.
    **dict.fromkeys(
        ("internal_error", "fatal_error", "service_unavailable", "request_timeout"), "uncertain"
    ),
    **dict.fromkeys(
        (
            *("channel_not_found", "not_in_channel", "is_archived", "no_permission"),
            *("restricted_action", "restricted_action_read_only_channel", "missing_scope"),
            *("restricted_action_thread_only_channel", "restricted_action_non_threadable_channel"),
            *("not_authed", "invalid_auth", "account_inactive", "token_revoked", "token_expired"),
            *("access_denied", "ekm_access_denied", "team_access_not_granted", "user_not_found"),
            *("org_login_required", "messages_tab_disabled", "not_allowed_token_type"),
        ),
        "forbidden",
    ),
}

_SECTION_CHARS: Final = 1500
"""Most characters of a section: Slack takes 3000, perhaps of another unit."""

_MOST_FOUND: Final = 200
"""Messages among which one is looked for: if there are more, the search says nothing."""

_CLOCKS_DIFFER_S: Final = 60.0

_BUSY_S: Final = 30.0
"""Penalty where Slack refuses for the rate and names no time."""


def make_channel(target: str, options: Mapping[str, str]) -> "SlackChannel":
    """Return the channel of `slack:CHANNEL?token=…`; raises `InvalidValue`."""
    return SlackChannel(
        address_of(target), options.get("token", ""), **reach_of(options, "signing_secret")
    )


class SlackChannel(ConnectedChannel):
    """One conversation of Slack.

    Args:
        target: the id or the name of a channel, or the id of a person; then, perhaps, `/` and the
            `ts` of the message whose thread is meant.
        token: of the bot.
        reach: how the Web API is reached; see `Reach`.

    Raises:
        InvalidValue: the target or the token is malformed. The message does not show the token.
    """

    def __init__(self, target: str, token: str, **reach: Unpack[Reach]) -> None:
        found = _TARGET.fullmatch(target)
        if found is None:
            raise InvalidValue(
                f"expected a channel like C0123456, #name or C0123456/1712345678.000100, "
                f"got {target!r:.80}"
            )
        if not check_token(token, _TOKEN_KINDS).startswith("xox"):
            raise InvalidValue(f"expected {_TOKEN_KINDS}")
        self._conversation, self._thread = found[1], found[2]
        workspace = hashlib.sha256(token.encode()).hexdigest()[:12]
        login = Login(secrets=(token,), headers={"authorization": f"Bearer {token}"})
        super().__init__(_URL, _CAPABILITY, f"slack:{workspace}", login, **reach)
        self.place = f"slack:{workspace}/{target}"
        self._clock: Clock = SystemClock()

    async def send(self, message: Send) -> CallOutcome:
        """Send a new message."""
        body: dict[str, Any] = {"channel": self._conversation, **_content(message)}
        body["blocks"][0]["block_id"] = _mark_of(message.key)
        if self._thread:
            body["thread_ts"] = self._thread
        body |= {"unfurl_links": False, "unfurl_media": False}
        return await self._ask("chat.postMessage", body)

    async def edit(self, message: Edit) -> CallOutcome:
        """Replace a message's text and buttons."""
        return await self._ask("chat.update", {**_place(message.message_id), **_content(message)})

    async def delete(self, message_id: str) -> CallOutcome:
        """Delete a message of ours."""
        return await self._ask("chat.delete", _place(message_id))

    async def find(self, message: Find) -> CallOutcome:
        """Find a message by the mark that its first block has."""
        asked = {"channel": self._conversation, "limit": str(_MOST_FOUND)}
        asked["oldest"] = f"{self._clock.time() - message.age_s - _CLOCKS_DIFFER_S:.6f}"
        if self._thread:
            asked["ts"] = self._thread
        method = "conversations.replies" if self._thread else "conversations.history"
        answer = await self._caller.call("GET", f"/{method}?{urlencode(asked)}")
        if isinstance(answer, CallOutcome):
            return answer
        found = answer.field("messages")
        if answer.field("ok") is not True or not isinstance(found, list):
            refusal = self._refusal(answer)
            return refusal if refusal.kind == "limited" else CallOutcome("rejected")
        mark = _mark_of(message.key)
        for each in found:
            if any(block.get("block_id") == mark for block in each.get("blocks") or ()):
                return CallOutcome("ok", f"{self._conversation}/{each.get('ts')}")
        return CallOutcome("rejected" if answer.field("has_more") else "gone")

    async def identify(self) -> CallOutcome:
        """Return the bot's name, and its workspace."""
        answer = await self._caller.call("POST", "/auth.test", {})
        if isinstance(answer, CallOutcome):
            return answer
        if answer.field("ok") is True:
            return CallOutcome("ok", reason=f"{answer.text('user')} in {answer.text('team')}")
        return self._refusal(answer)

    async def _ask(self, method: str, body: dict[str, Any]) -> CallOutcome:
        answer = await self._caller.call("POST", f"/{method}", body)
        if isinstance(answer, CallOutcome):
            return answer
        if answer.field("ok") is True:
            place = f"{answer.text('channel')}/{answer.text('ts')}"
            return CallOutcome("ok", "" if place == "/" else place)
        return self._refusal(answer)

    def _refusal(self, answer: Answer) -> CallOutcome:
        error = answer.text("error") or f"status {answer.status}"
        if answer.status == 429 or error in ("ratelimited", "rate_limited"):
            seconds = seconds_of(answer.headers.get("retry-after")) or 1.0
            return CallOutcome("limited", retry_after_s=seconds, reason=error[:100])
        if error == "message_limit_exceeded":
            return CallOutcome("limited", retry_after_s=_BUSY_S, reason=error)
        if answer.status in (401, 403):
            return self._caller.outcome("forbidden", error)
        return self._caller.outcome(_KINDS.get(error, "rejected"), error)


def _mark_of(key: str) -> str:
    """Return what a block is called so that its message can be found by the key of its send."""
    return f"runcast-{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def _place(message_id: str) -> dict[str, str]:
    """Return the conversation and the `ts` of a message: a message to a person has a conversation
    of its own, which only the answer names."""
    conversation, _, ts = message_id.partition("/")
    return {"channel": conversation, "ts": ts}


def _content(message: Send | Edit) -> dict[str, Any]:
    rendered = render(message.text)
    if message.is_plain or not rendered.text.strip():
        rendered = Rendered(message.text)
    text = rendered.text.encode("utf-8", "replace").decode()
    # Without blocks, chat.update would leave those that the message has.
    blocks = _plain_blocks(text) if message.is_plain else [blocks_of(rendered)]
    if message.buttons:
        buttons = [_button(button, message) for button in message.buttons]
        blocks.append({"type": "actions", "elements": buttons})
    return {"text": _escaped(text), "mrkdwn": False, "blocks": blocks}


def _plain_blocks(text: str) -> list[dict[str, Any]]:
    parts = [text[at : at + _SECTION_CHARS] for at in range(0, len(text), _SECTION_CHARS)]
    return [{"type": "section", "text": {"type": "plain_text", "text": part}} for part in parts]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _button(button: Button, message: Send | Edit) -> dict[str, Any]:
    callback = callback_of(message.question_id, button.answer, message.epoch)
    made: dict[str, Any] = {
        "type": "button",
        "text": {"type": "plain_text", "text": button.label[:75]},
        "action_id": callback,
        "value": callback,
    }
    style = {"accept": "primary", "reject": "danger"}.get(button.answer)
    return {**made, "style": style} if style else made


def blocks_of(rendered: Rendered) -> dict[str, Any]:
    """Return a text as a block of rich text."""
    text, parts = rendered.text.encode("utf-8", "replace").decode(), []
    at = 0
    for span in [*_blocks(rendered.spans), None]:
        end = len(text) if span is None else span.start
        before = _cut_ends(text, at, end, is_first=at == 0, is_last=span is None)
        if before is not None:
            parts.append(_part("rich_text_section", rendered, *before))
        if span is not None:
            kind = "rich_text_preformatted" if span.kind == "pre" else "rich_text_quote"
            parts.append(_part(kind, rendered, span.start, span.end))
            at = span.end
    return {"type": "rich_text", "elements": parts}


def _blocks(spans: tuple[Span, ...]) -> list[Span]:
    return [span for span in spans if span.kind in ("pre", "quote")]


def _cut_ends(
    text: str, start: int, end: int, *, is_first: bool, is_last: bool
) -> tuple[int, int] | None:
    """Return a part without the line ends that a neighbouring block makes anyway."""
    if not is_first and text.startswith("\n", start, end):
        start += 1
    if not is_last and end > start and text[end - 1] == "\n":
        end -= 1
    return (start, end) if start < end else None


def _part(kind: str, rendered: Rendered, start: int, end: int) -> dict[str, Any]:
    elements = [*_elements(rendered, start, end, is_code=kind == "rich_text_preformatted")]
    return {"type": kind, "elements": elements}


def _elements(
    rendered: Rendered, start: int, end: int, *, is_code: bool
) -> Iterator[dict[str, Any]]:
    spans = [
        span
        for span in rendered.spans
        if span.kind not in ("pre", "quote") and span.start < end and span.end > start
    ]
    edges = {start, end, *(edge for span in spans for edge in span[:2] if start < edge < end)}
    places = sorted(edges)
    for first, last in pairwise(places):
        around = [span for span in spans if span.start <= first and last <= span.end]
        text = rendered.text[first:last].encode("utf-8", "replace").decode()
        element: dict[str, Any] = {"type": "text", "text": text}
        link = next((span.value for span in around if span.kind == "link"), "")
        if link:
            element = {"type": "link", "url": link, "text": text}
        styles = {span.kind: True for span in around if span.kind != "link"}
        yield element if is_code or not styles else {**element, "style": styles}


class SlackReceiver:
    """Reads interactions and events that Slack sends to an app.

    Args:
        secret: the app's signing secret.
        token: of the bot, to show notices.
    """

    def __init__(self, secret: str, token: str, **reach: Unpack[Reach]) -> None:
        self._secret = secret
        check_token(token, _TOKEN_KINDS)
        headers = {"authorization": f"Bearer {token}"}
        self._caller = Caller(
            reach.get("url") or _URL,
            secrets=(token,),
            headers=headers,
            networks=reach.get("networks"),
        )

    def read(self, callback: Callback) -> Inbound | None:
        """Return what a person did. Raises `Unauthorized`."""
        if not is_from_slack(callback.headers, callback.body, self._secret, callback.now):
            raise Unauthorized("Slack did not send this")
        if callback.headers.get("content-type", "").startswith(_FORM):
            sent = dict(parse_qsl(callback.body.decode("utf-8", "replace")))
            return from_slack(parse_json(sent.get("payload", "")))
        return from_slack(parse_json(callback.body))

    def reply(self, inbound: Inbound, notice: str) -> object:
        """Return the challenge; else nothing, which acknowledges."""
        return {"challenge": inbound.value} if inbound.kind == "ping" else None

    def is_in(self, inbound: Inbound, address: str) -> bool:
        """Return whether it happened in the conversation of an address, as far as that tells: a
        name or a person has an id that only Slack knows. Ids of messages hold it."""
        conversation = address.removeprefix("//").partition("/")[0]
        return is_at(inbound, address) or not _CONVERSATION.fullmatch(conversation)

    async def tell(self, inbound: Inbound, notice: str) -> CallOutcome:
        """Show a text to one person."""
        body = {"channel": inbound.place, "user": inbound.person, "text": _escaped(notice)}
        if inbound.thread:
            body["thread_ts"] = inbound.thread
        answer = await self._caller.call("POST", "/chat.postEphemeral", body)
        if isinstance(answer, CallOutcome):
            return answer
        kind = "ok" if answer.field("ok") is True else "rejected"
        return self._caller.outcome(kind, answer.text("error"))

    async def close(self) -> None:
        """Close connections. Idempotent."""
        await self._caller.close()


def make_receiver(options: Mapping[str, str]) -> SlackReceiver:
    """Return the receiver of an app."""
    return SlackReceiver(
        required(options, "signing_secret", "Slack"),
        required(options, "token", "Slack"),
        **reach_of(options),
    )
