"""Deliveries through a client of Slack that your program has already: slack-sdk's, also Bolt's.

    from runcast.channels import slack

    delivery = await hub.deliver(run_id, slack.from_client(client, event["channel"]))

The client's own connections and token are used. slack-sdk is not imported here.
"""

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from runcast.channels.borrowed import BorrowedCalls
from runcast.channels.calls import Answer
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms.slack import SlackChannel
from runcast.errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("from_client",)


def from_client(client: object, channel: str, *, thread: str = "") -> SlackChannel:
    """Return a channel that a client writes to.

    The client must be usable while the delivery goes on; runcast does not close it.

    Args:
        client: an `AsyncWebClient` of slack-sdk, with a bot's token.
        channel: the id or the name of a channel, or the id of a person.
        thread: the `ts` of the message whose thread is meant.

    Raises:
        InvalidValue: the object is not such a client, or the channel is malformed.
    """
    if not callable(getattr(client, "api_call", None)) or "Async" not in type(client).__name__:
        raise InvalidValue(f"expected an AsyncWebClient of slack-sdk, got {type(client).__name__}")
    token = getattr(client, "token", None)
    calls = _Calls(client, token)
    return SlackChannel(f"{channel}/{thread}" if thread else channel, str(token), calls=calls)


class _Calls(BorrowedCalls):
    async def ask(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        name, _, query = path.strip("/").partition("?")
        if method == "GET":
            asked = dict(parse_qsl(query))
            return _answer(await self.lender.api_call(name, http_verb="GET", params=asked))
        return _answer(await self.lender.api_call(name, json=body))

    def refused(self, error: Exception) -> Answer | CallOutcome:
        response = getattr(error, "response", None)
        has_answer = isinstance(getattr(response, "status_code", None), int)
        return _answer(response) if has_answer else self.lost(error)


def _answer(response: Any) -> Answer:
    headers: Mapping[str, str] = response.headers or {}
    small = {str(name).lower(): str(value) for name, value in headers.items()}
    data = response.data if isinstance(response.data, dict) else None
    return Answer(response.status_code, small, data)
