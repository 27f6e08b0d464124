"""`StreamingHandler`: tokens in, one message that grows. The engine of deliveries decides."""

import asyncio
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, Protocol

from runcast._clock import Clock, SystemClock
from runcast._logs import get_logger
from runcast.channels.actions import Action, Edit, Send
from runcast.channels.budget import Budget
from runcast.channels.capability import Capability
from runcast.channels.document import Document
from runcast.channels.engine import Engine
from runcast.channels.outcome import CallOutcome
from runcast.compat.streaming_handler.capabilities import (
    ChannelCapabilityManager,
    MessageChannel,
    find_channel,
)
from runcast.compat.streaming_handler.messages import MessageResponse, Notification
from runcast.events.model import Event

__all__ = ("Chain", "StreamingHandler")

_DEFAULT_LENGTH: Final = 4000
_END_S: Final = 600.0
"""How long `stop_streaming` tries to show the end."""

_log: Final = get_logger("runcast.compat")


class Chain(Protocol):
    """Sends and edits messages. Each method may be sync, and then blocks a thread of its own."""

    def send_direct_message(self, notification: Notification) -> Any:
        """Send a message; return a `MessageResponse`, or anything with its fields."""
        ...

    def edit_message(
        self, *, channel: Any, source: Any, message_id: Any, chat_id: Any, text: str, title: str
    ) -> Any:
        """Replace a message's text; return whether that was done."""
        ...


class StreamingHandler:
    """Collects tokens, and keeps one message up to date where the channel can edit."""

    FLUSH_INTERVAL = 1.0
    """Seconds between two edits."""

    def __init__(self, chain: Chain | None = None, *, clock: Clock | None = None) -> None:
        self._chain = chain
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._buffer = ""
        self._session: _Session | None = None

    def emit(self, token: object) -> None:
        """Take a token; call it from any thread. Content blocks give their text, all else none."""
        text = _text_of(token)
        if not text:
            return
        with self._lock:
            self._buffer += text
            session = self._session
        if session is not None:
            session.feed(text)

    async def take(self) -> str:
        """Return the collected text and forget it; "" while a message shows it."""
        with self._lock:
            if self._session is not None:
                return ""
            text, self._buffer = self._buffer, ""
        return text

    def clear(self) -> None:
        """Forget the collected text. The next text is a new message."""
        with self._lock:
            self._buffer = ""
            session, self._session = self._session, None
        if session is not None:
            session.abandon()
            if self._chain is not None:
                with self._lock:
                    self._session = session.again()

    async def start_streaming(
        self,
        channel: str | None = None,
        source: str | None = None,
        user_id: str | None = None,
        username: str | None = None,
        title: str = "",
    ) -> None:
        """Begin to show text, if the channel can edit messages. An earlier stream ends first."""
        if self._session is not None:
            await self.stop_streaming()
        with self._lock:
            self._buffer = ""
        known = find_channel(channel)
        if self._chain is None or not ChannelCapabilityManager.supports_editing(known):
            return
        length = ChannelCapabilityManager.get_max_message_length(known) or _DEFAULT_LENGTH
        note = Notification(
            channel=channel, source=source, userid=user_id, username=username, title=title
        )
        session = _Session(self._chain, note, known, length, self.FLUSH_INTERVAL, self._clock)
        with self._lock:
            self._session = session

    async def stop_streaming(self) -> bool:
        """Show the end; return whether the caller need not send anything.

        False: `take()` returns what is not shown.
        """
        with self._lock:
            session = self._session
        if session is None:
            return False
        rest = await session.finish()
        with self._lock:
            self._session = None
            self._buffer = rest
        return not rest and session.has_sent

    @property
    def is_streaming(self) -> bool:
        """Whether a message is kept up to date."""
        session = self._session
        return session is not None and session.is_alive

    @property
    def has_sent_message(self) -> bool:
        """Whether a message was sent since `start_streaming`."""
        session = self._session
        return session is not None and session.has_sent


class _Session:
    """One stream of text into one chat."""

    def __init__(
        self,
        chain: Chain,
        note: Notification,
        channel: MessageChannel | str,
        length: int,
        interval_s: float,
        clock: Clock,
    ) -> None:
        self._arguments = (chain, note, channel, length, interval_s, clock)
        self._chain, self._note, self._channel, self._clock = chain, note, channel, clock
        self._loop = asyncio.get_running_loop()
        capability = Capability(
            limit=length, unit="utf16", can_delete=False, interval_s=max(interval_s, 0.0)
        )
        self._document = Document(capability, "answer")
        self._engine = Engine("stream", capability, self._document, Budget(capability))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="runcast-chat")
        self._changed = asyncio.Event()
        self._where: dict[str, MessageResponse] = {}
        self.has_sent = False
        self._task = asyncio.ensure_future(self._run())

    @property
    def is_alive(self) -> bool:
        return not self._task.done()

    def again(self) -> "_Session":
        return _Session(*self._arguments)

    def feed(self, text: str) -> None:
        """Take text, from any thread."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._feed, text)

    def _feed(self, text: str) -> None:
        self._document.feed(Event(type="content", data={"text": text}))
        self._changed.set()

    def abandon(self) -> None:
        """Leave the message as it is."""
        self._loop.call_soon_threadsafe(self._task.cancel)

    async def finish(self) -> str:
        """Show the end; return the text that is not shown."""
        await asyncio.sleep(0)  # what other threads fed before
        text = "".join(segment.text for segment in self._document.segments)
        if not text.strip():
            self._task.cancel()
        else:
            self._document.feed(Event(type="done", data={}))
            self._changed.set()
        with suppress(asyncio.CancelledError, TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._task
        self._thread.shutdown(wait=False)
        receipt = self._engine.receipt
        return self._engine.unshown() if receipt is None or receipt.status == "failed" else ""

    async def _run(self) -> None:
        while self._engine.receipt is None:
            found = self._engine.next(self._clock.monotonic())
            if isinstance(found, Action):
                outcome = await asyncio.shield(self._call(found))
                self._engine.settle(outcome, self._clock.monotonic())
            elif self._engine.receipt is None:
                left = None if found is None else max(0.0, found - self._clock.monotonic())
                self._changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._changed.wait()

    async def _call(self, action: Action) -> CallOutcome:
        try:
            if isinstance(action, Send):
                return await self._send(action)
            if isinstance(action, Edit):
                return await self._edit(action)
        except Exception as error:  # noqa: BLE001 - the chain is the caller's code
            return _outcome_of(error, is_edit=isinstance(action, Edit))
        return CallOutcome("rejected")

    async def _send(self, action: Send) -> CallOutcome:
        note = self._note
        made = Notification(
            channel=note.channel,
            source=note.source,
            userid=note.userid,
            username=note.username,
            title=note.title,
            text=action.text,
        )
        sent = await self._do(lambda: self._chain.send_direct_message(made))
        if not sent or not getattr(sent, "success", False):
            return CallOutcome("rejected", reason="the message was not sent")
        self.has_sent = True
        message_id = getattr(sent, "message_id", None)
        if message_id is None or message_id == "":
            return CallOutcome("ok")
        self._where[str(message_id)] = sent
        return CallOutcome("ok", str(message_id))

    async def _edit(self, action: Edit) -> CallOutcome:
        sent = self._where[action.message_id]
        is_done = await self._do(
            lambda: self._chain.edit_message(
                channel=self._channel,
                source=getattr(sent, "source", None),
                message_id=sent.message_id,
                chat_id=getattr(sent, "chat_id", None),
                text=action.text,
                title=self._note.title,
            )
        )
        return CallOutcome("ok") if is_done else CallOutcome("rejected")

    async def _do(self, call: Callable[[], Any]) -> Any:
        """Call the chain: sync code in a thread, coroutines on the loop."""
        result = await self._loop.run_in_executor(self._thread, call)
        return await result if inspect.isawaitable(result) else result


def _outcome_of(error: Exception, *, is_edit: bool) -> CallOutcome:
    wait: object = getattr(error, "retry_after", None)
    if isinstance(wait, timedelta):
        wait = wait.total_seconds()
    if isinstance(wait, int | float):
        return CallOutcome("limited", retry_after_s=float(wait))
    said = str(error).lower()
    if "not modified" in said:
        return CallOutcome("same")
    if "to edit not found" in said:
        return CallOutcome("gone")
    if "can't be edited" in said:
        return CallOutcome("frozen")
    if "too long" in said:
        return CallOutcome("too_long")
    if "can't parse entities" in said:
        return CallOutcome("unparsable")
    _log.warning("a chat's %s raised %s", "edit" if is_edit else "send", type(error).__name__)
    return CallOutcome("uncertain", reason=type(error).__name__)


def _text_of(token: object) -> str:
    if isinstance(token, str):
        return token
    if isinstance(token, list):
        return "".join(map(_text_of, token))
    if isinstance(token, dict):
        text = token.get("text")
        return text if isinstance(text, str) and token.get("type", "text") == "text" else ""
    return ""
