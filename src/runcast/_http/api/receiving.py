"""The callbacks of chat platforms: what people did there; and how `/openapi.json` describes them.

A platform proves by its own signature where a callback comes from. So no access token is asked for,
and a callback that proves nothing is refused without saying why.
"""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from runcast._http.api.describing import Operation, Schema, of_path
from runcast._http.api.describing import Response as Answer
from runcast._http.api.responses import SAFE_HEADERS, json_response
from runcast._http.api.serving import Serving

__all__ = ("RECEIVING_OPERATIONS", "Receiving")

_MAX_BYTES: Final = 256 * 1024
"""Longest body of a callback. The longest texts of people have 40 000 characters."""


class Receiving:
    """Answers the callbacks of platforms."""

    def __init__(self, serving: Serving) -> None:
        self._replies = serving.runs.replies
        self._read = serving.read

    async def receive(self, request: Request) -> Response:
        """Take a callback, and answer it as its platform wants."""
        body = await self._read(request, _MAX_BYTES)
        reply = await self._replies.receive(
            request.path_params["name"], dict(request.headers), body, dict(request.query_params)
        )
        if reply is None:
            return Response(status_code=200, headers=SAFE_HEADERS)
        return json_response(reply)


# How it is described.

_ANY: Final[Schema] = {}

RECEIVING_OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("/channels/{name}", "post"): Operation(
        "receive_callback",
        "Take what a person did in a chat, from the chat's platform",
        "chats",
        {200: Answer("what the platform wants back, which may be nothing")},
        (of_path("name", "^.+$", "a platform, or a target of the channels file"),),
        {"application/json": _ANY, "application/x-www-form-urlencoded": _ANY},
        (401, 408, 413),
        is_open=True,
    ),
}
