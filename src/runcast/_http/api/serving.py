"""What the routes of one application share, on one event loop."""

import asyncio
from dataclasses import dataclass

from starlette.requests import Request

from runcast._http.guard.gate import Gate
from runcast._http.streaming.streams import Streams
from runcast._http.streaming.waits import read_body
from runcast._hub.hub import Hub
from runcast._runs.protocols import Runs

__all__ = ("Serving",)


@dataclass(frozen=True, slots=True)
class Serving:
    """The runs, the open streams, and the decisions about access."""

    runs: Runs
    streams: Streams
    gate: Gate

    @property
    def hub(self) -> Hub:
        """The hub of the runs."""
        return self.runs.hub

    @property
    def closing(self) -> asyncio.Event:
        """Set when the streams end, because the server does."""
        return self.streams.closing

    async def read(self, request: Request, most: int = 0) -> bytes:
        """Return a request's body; see `read_body`, which says what this raises."""
        return await read_body(request, self.hub.settings, self.closing, most)
