"""Whether the process lives, and whether a load balancer should send it requests."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from runcast._http.api.responses import json_response
from runcast._hub.hub import Hub
from runcast.errors import Overloaded, StoreUnavailable

__all__ = ("Health",)

_CHECK_S: Final = 2.0
"""Longest wait for the store, seconds: below the time-outs of probes (5 s in our examples). A cut
network says nothing, and calls of a store wait for longer."""


class Health:
    """Answers the probes of load balancers.

    Args:
        closing: set once streams end, because the server does.
    """

    def __init__(self, hub: Hub, closing: asyncio.Event) -> None:
        self._hub = hub
        self._closing = closing
        self.is_draining = False
        """Whether the server still answers requests, but will stop to listen."""

    async def health(self, _: Request) -> Response:
        """Answer that the process is alive."""
        return json_response({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """Answer whether the store can be read and written, and the server goes on.

        Raises:
            Overloaded: the server is shutting down.
            StoreUnavailable: the store fails, or does not answer in time.
        """
        if self.is_draining or self._closing.is_set():
            raise Overloaded("the server is shutting down; try another or again later")
        try:
            async with asyncio.timeout(_CHECK_S):
                await self._hub.check()
        except TimeoutError:
            raise StoreUnavailable(f"the store did not answer within {_CHECK_S:g} s") from None
        return json_response({"status": "ready"})
