"""Messages into a run: how they are sent, and stored until the run has read them.

A message is an event, `message`; that the run has read it is another, `message_read`. What was sent
and not read is in the run's present state, whole, so that neither a crash nor the trimming of the
log loses it.
"""

import asyncio
import hashlib
import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from runcast.errors import Conflict, EventTooLarge, InvalidValue, Overloaded, RunClosed
from runcast.events.model import as_stored, encode_record
from runcast.events.plain import encode_json
from runcast.events.position import Position
from runcast.events.snapshot import MAX_INBOX, MAX_INBOX_BYTES
from runcast.stores.base import Appended, Once

if TYPE_CHECKING:
    from runcast._hub.hub import Hub  # late, because most processes of functions need no hub

__all__ = ("Message", "Sent", "send_message")

_MAX_ID_CHARS: Final = 128
_MAX_SENDER_CHARS: Final = 200


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody sent into a run.

    `id` is the same when the message is sent again, `data` is JSON, `sender` says who sent it, as
    they said. `time` is Unix seconds, `seq` the place of the message in the run's log.
    """

    id: str
    data: Any = None
    sender: str = ""
    time: float = 0.0
    seq: int = 0


class Sent(NamedTuple):
    """A message that is stored: its id, where it is in the log, and whether it was there before."""

    message_id: str
    position: Position
    repeated: bool


async def send_message(
    hub: "Hub",
    run_id: str,
    data: object,
    *,
    message_id: str = "",
    sender: str = "",
    epoch: str = "",
) -> Sent:
    """Store a message for a run.

    Args:
        data: what JSON can hold, at most MAX_INBOX_BYTES of it.
        message_id: makes a repetition harmless: the same message under the same id is stored once;
            made up if not given.
        sender: who sends it.
        epoch: the epoch that it is for; "" is any epoch.

    Raises:
        NotFound: there is no such run.
        Stale: the run is in another epoch.
        InvalidValue: an argument is malformed.
        EventTooLarge: the data is too long.
        Conflict: another message has this id.
        Overloaded: the run has MAX_INBOX unread messages.
        RunClosed: the run has ended.
    """
    _check("message_id", message_id, _MAX_ID_CHARS)
    _check("sender", sender, _MAX_SENDER_CHARS)
    message_id = message_id or f"m-{uuid.uuid4().hex[:16]}"
    kept = as_stored("message", data).data
    size = len(encode_json(kept))
    if size > MAX_INBOX_BYTES:
        raise EventTooLarge(
            f"expected a message of at most {MAX_INBOX_BYTES} bytes of JSON, got {size}; put large "
            "data into a file, and send its name"
        )
    told: dict[str, Any] = {"message_id": message_id, "data": kept}
    if sender:
        told["from"] = sender
    digest = hashlib.sha256(encode_json([kept, sender])).hexdigest()[:32]
    record = encode_record("message", told, hub.clock.time())
    # One after the other: of many at once, each would find the others not stored yet, and a run
    # that gets more than MAX_MESSAGES reads only the first.
    async with hub.sending.setdefault(run_id, asyncio.Lock()):
        appended = await _store(hub, run_id, message_id, record, digest, epoch=epoch)
    return Sent(message_id, Position(appended.epoch, appended.first), appended.repeated)


async def _store(
    hub: "Hub", run_id: str, message_id: str, record: bytes, digest: str, *, epoch: str
) -> Appended:
    """Append a message, unless the run has as many as it may have."""
    info, snapshot = await hub.present(run_id, epoch)
    unread = [message.message_id for message in snapshot.messages]
    if len(unread) >= MAX_INBOX and not info.closed and message_id not in unread:
        raise Overloaded(
            f"the run {run_id!r} has {len(unread)} unread messages, as many as a run may have; "
            "send it again once the run has read some"
        )
    once = Once(f"message:{message_id}", digest)
    try:
        return await hub.inlet(run_id, info.epoch).append([record], once=once)
    except RunClosed:
        raise RunClosed(f"the run {run_id!r} has ended; it reads no more messages") from None
    except Conflict:
        raise Conflict(
            f"another message was sent under the id {message_id!r} before; "
            "send this message under another id"
        ) from None


def _check(name: str, text: object, most: int) -> None:
    if not isinstance(text, str) or len(text) > most:
        raise InvalidValue(
            f"expected {name} to be a text of at most {most} characters, got {text!r:.80}"
        )
