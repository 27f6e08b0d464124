"""One open stream, as the timer of all streams sees it. `direct` and `plain` bring its bytes to the
socket."""

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from starlette.types import Send

from runcast._http.streaming.feeds import Form
from runcast._hub.admission import Admission
from runcast._hub.watcher import Watcher
from runcast._logs import get_logger
from runcast.errors import RuncastError

if TYPE_CHECKING:
    from runcast._http.guard.gate import Held
    from runcast._http.guard.links import LinkHold

__all__ = ("Shared", "Stream")

_log: Final = get_logger("runcast.http")


class Shared:
    """What the streams of an application share."""

    def __init__(self, now: float) -> None:
        self.closing = asyncio.Event()
        """Set when the server ends; every waiting request should watch it."""
        self.now = now
        """The time of the last beat, seconds: precise enough to notice silence, and free to
        read."""
        self._chunked: tuple[bytes, bytes] = (b"", b"")

    def chunked(self, data: bytes) -> bytes:
        """Return data as an HTTP/1.1 chunk, made once for all streams of the same bytes object."""
        if self._chunked[0] is not data:
            self._chunked = (data, b"%x\r\n%b\r\n" % (len(data), data))
        return self._chunked[1]


class Stream(Watcher[bytes]):
    """A response that sends a watcher's data. `is_full` until its head has been sent.

    Args:
        admission: released when the stream is closed.
    """

    __slots__ = (
        *("__weakref__", "admission", "dismissed", "form", "last", "lost", "paused_at"),
        *("held", "send", "shared"),
    )

    def __init__(self, shared: Shared, send: Send, form: Form, admission: Admission) -> None:
        super().__init__()
        self.shared = shared
        self.send = send
        self.form = form
        self.admission = admission
        self.held: Held | LinkHold | None = None
        """Ends the stream once its client may no longer see the run."""
        self.last = shared.now
        """When the stream was last written to."""
        self.paused_at: float | None = None
        """Since when the socket has taken nothing."""
        self.lost = False
        """Whether the client is gone, or was cut off."""
        self.dismissed = False
        """Whether the stream was ended although it could continue elsewhere."""

    @abstractmethod
    async def run(self, opening: bytes) -> None:
        """Send until the data ends or the client leaves."""

    @abstractmethod
    def abort(self) -> None:
        """Cut the connection, even with unsent data. Idempotent."""

    async def finish(self, last: bytes) -> None:
        """Send the last bytes and end the response."""
        await self.send({"type": "http.response.body", "body": last, "more_body": False})

    def beat(self) -> None:
        """Send a heartbeat, unless data is waiting already."""
        if not (self.is_full or self.is_over):
            self.take(self.form.heartbeat)

    def takes_some(self) -> bool:
        """Return whether the socket, though full, took something since the last call."""
        return False

    def dismiss(self) -> None:
        """End the stream, though it could continue elsewhere."""
        if self.paused_at is not None and self.shared.closing.is_set():
            self.abort()  # the server will not wait for it
        self.dismissed = True
        self.stop()

    def on_stop(self, error: Exception | None) -> None:
        if error is not None:
            self.leave(error)

    def leave(self, error: Exception) -> None:
        """End the stream because of an error; the watcher reconnects and resumes."""
        if isinstance(error, RuncastError):
            _log.info("a stream was ended: %s", error)
        else:
            _log.error("a stream was ended", exc_info=error)
        self.dismiss()

    def close(self) -> None:
        super().close()
        self.admission.close()
