"""Signed links that answer a question, for channels with neither buttons nor replies.

A link holds what it is about, and a signature: nothing is stored. It lasts for a week at most, and
no longer than its question. Opening it answers nothing, because scanners of mails open links: the
page asks for a click. Whoever has the link can answer, so it goes only where its channel goes.

A target of the channels file has such links with the options `answer_url`, the address of the
server as people reach it, and `answer_secret`, which signs.

Source: ours.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

import msgspec

from runcast.channels.targets import ChannelsFile
from runcast.errors import InvalidValue, NotFound

__all__ = ("AnswerLink", "make_answer_link", "read_answer_link")

_MAX_S: Final = 7 * 24 * 3600.0
_MAX_TOKEN_CHARS: Final = 2048


class AnswerLink(msgspec.Struct, frozen=True, array_like=True):
    """What a link is about."""

    target: str
    """The target that it was sent to, as the channels file names it."""
    run_id: str
    epoch: str
    question_id: str
    expires_at: float
    """Unix seconds."""


def make_answer_link(
    options: Mapping[str, str], link: AnswerLink, question_expires_at: float | None
) -> str:
    """Return the address that answers a question; "" if the target has no such links.

    Args:
        options: of the target.
        link: its `expires_at` is when the question was asked.
    """
    url, secret = options.get("answer_url", ""), options.get("answer_secret", "")
    if not url or not secret:
        return ""
    expires_at = link.expires_at + _MAX_S
    if question_expires_at is not None:
        expires_at = min(expires_at, question_expires_at)
    body = msgspec.json.encode(msgspec.structs.replace(link, expires_at=float(int(expires_at))))
    return f"{url.rstrip('/')}/answers?token={_text(body)}.{_text(_signature(body, secret))}"


def read_answer_link(channels: ChannelsFile, token: str, now: float) -> AnswerLink:
    """Return what a link's token is about.

    Raises:
        NotFound: it is not a token of ours, or it has expired.
    """
    missing = NotFound("this link is not valid, or it has expired")
    body, _, signature = token.partition(".")
    if len(token) > _MAX_TOKEN_CHARS:
        raise missing
    try:
        link = msgspec.json.decode(_bytes(body), type=AnswerLink)
        options = channels.named(link.target).options
        given = _bytes(signature)
    except (ValueError, RecursionError, msgspec.MsgspecError, InvalidValue):
        raise missing from None
    secret = options.get("answer_secret", "")
    is_ours = bool(secret) and hmac.compare_digest(_signature(_bytes(body), secret), given)
    if not is_ours or link.expires_at <= now:
        raise missing
    return link


def _signature(body: bytes, secret: str) -> bytes:
    return hmac.new(secret.encode(), b"runcast answer\0" + body, hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
