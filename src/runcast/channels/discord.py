"""Deliveries through a client of Discord that your program has already: discord.py's.

    from runcast.channels import discord

    delivery = await hub.deliver(run_id, discord.from_channel(message.channel))

The client's own connections and token are used. discord.py is imported only if you have passed an
object of it. It waits inside a call while Discord refuses, so a text may be shown a little later
than with a token of its own.
"""

from typing import Any, Final

from runcast.channels.borrowed import BorrowedCalls
from runcast.channels.calls import Answer
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms.discord import DiscordChannel
from runcast.errors import InvalidValue

__all__ = ("from_channel",)

_TOO_LONG: Final = "or fewer in length"


def from_channel(channel: object) -> DiscordChannel:
    """Return a channel that a bot writes to.

    The bot must be logged in while the delivery goes on; runcast does not close it.

    Args:
        channel: a text channel, a thread or a direct message of discord.py; or a message, whose
            channel is meant.

    Raises:
        InvalidValue: the object is not one of these, or its bot is not logged in.
    """
    place = getattr(channel, "channel", channel)  # of a message
    http = getattr(getattr(place, "_state", None), "http", None)
    number = getattr(place, "id", None)
    if not isinstance(number, int) or not callable(getattr(http, "request", None)):
        raise InvalidValue(
            f"expected a channel or a message of discord.py, got {type(channel).__name__}"
        )
    token = getattr(http, "token", None)
    calls = _Calls(http, token)
    return DiscordChannel(str(number), str(token), calls=calls)


class _Calls(BorrowedCalls):
    async def ask(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        # Here, because only programs that use discord.py come here.
        from discord.http import Route

        # The number of the channel must be named: discord.py counts calls by it.
        _, _, number, rest = path.split("/", 3)
        route = Route(method, f"/channels/{{channel_id}}/{rest}", channel_id=number)
        data = await self.lender.request(route, **({"json": body} if body else {}))
        return Answer(200, {}, data if isinstance(data, dict) else None)

    def refused(self, error: Exception) -> Answer | CallOutcome:
        wait = getattr(error, "retry_after", None)  # the client was told to wait no longer
        if isinstance(wait, int | float):
            return Answer(429, {}, {"message": "rate limited", "retry_after": wait})
        status = getattr(error, "status", None)
        if not isinstance(status, int):
            return self.lost(error)
        said = str(getattr(error, "text", ""))
        errors = {"content": "BASE_TYPE_MAX_LENGTH"} if _TOO_LONG in said else {}
        code = getattr(error, "code", 0)
        return Answer(status, {}, {"message": said, "code": code, "errors": errors})
