"""One open stream, as the timer of all streams sees it: how its bytes reach the socket is for
`direct` and `plain`."""

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from starlette.types import Send

from runcast._http.streaming.feeds import Feed
from runcast.errors import RuncastError

if TYPE_CHECKING:
    from runcast._http.streaming.streams import Streams

__all__ = ("Stream",)

_log: Final = logging.getLogger("runcast._http")


class Stream(ABC):
    """The response that sends a feed."""

    __slots__ = ("__weakref__", "dismissed", "last", "lost", "paused_at", "send", "streams")

    def __init__(self, streams: "Streams", send: Send) -> None:
        self.streams = streams
        self.send = send
        self.last = streams.now
        """When it was last written to."""
        self.paused_at: float | None = None
        """Since when its socket takes nothing."""
        self.lost = False
        """Whether the client is gone, or was cut off."""
        self.dismissed = False
        """Whether it was ended although it could go on elsewhere."""

    @abstractmethod
    def wake(self) -> None:
        """Say that there may be more to send. Does not raise."""

    @abstractmethod
    async def run(self, feed: Feed, opening: bytes) -> None:
        """Send until there is nothing more to send, or nobody to send it to."""

    @abstractmethod
    def stop(self) -> None:
        """Make `run` return soon. Idempotent."""

    @abstractmethod
    def beat(self) -> None:
        """Send a heartbeat."""

    @abstractmethod
    def abort(self) -> None:
        """Cut the connection, whatever it still holds. Idempotent."""

    async def finish(self, last: bytes) -> None:
        """Send the last bytes and end the response."""
        await self.send({"type": "http.response.body", "body": last, "more_body": False})

    def close(self) -> None:  # noqa: B027 - most have nothing to let go
        """Let go of the connection."""

    def takes_some(self) -> bool:
        """Tell whether the socket, though full, took something since this was asked before."""
        return False

    def dismiss(self) -> None:
        """End it, though it could go on elsewhere."""
        if self.paused_at is not None and self.streams.closing.is_set():
            self.abort()  # the server will not wait for it
        self.dismissed = True
        self.stop()

    def leave(self, error: Exception) -> None:
        """End it because of an error: the watcher comes back and resumes."""
        if isinstance(error, RuncastError):
            _log.info("a stream was ended: %s", error)
        else:
            # A fault of ours. It must not reach who woke us: commits and other streams go on.
            _log.error("a stream was ended", exc_info=error)
        self.dismiss()
