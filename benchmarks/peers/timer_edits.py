"""The pattern many chat bots have: a timer sends the text, then edits it, once a second.

A first flush sends a message. If the message has no id, the timer stops. Each later flush edits the
message to the whole text; a refused edit is ignored until the next second. At the end there is one
more flush. If the message does not have the whole text after it, the text is sent as a new message.
"""

from collections.abc import Awaitable, Callable
from typing import Final

__all__ = ("FLUSH_S", "TimerEdits")

FLUSH_S: Final = 1.0
"""Pause between two flushes."""

Send = Callable[[str], Awaitable[str]]
Edit = Callable[[str, str], Awaitable[bool]]


class TimerEdits:
    """One answer. `send` returns a message's id, or nothing; `edit` whether it was done."""

    def __init__(self, send: Send, edit: Edit) -> None:
        self.text = ""
        self.is_growing = True
        """Whether the timer goes on."""
        self._send = send
        self._edit = edit
        self._message_id = ""
        self._sent = ""

    async def flush(self) -> None:
        """Show the present text, if that is possible."""
        text = self.text
        if not text or text == self._sent:
            return
        if self._message_id:
            if await self._edit(self._message_id, text):
                self._sent = text
            return
        self._message_id = await self._send(text)
        if self._message_id:
            self._sent = text
        else:
            self.is_growing = False

    async def end(self) -> None:
        """Show the end: once more, and then as a new message."""
        if self.is_growing:
            await self.flush()
        if not self._message_id or self._sent != self.text:
            await self._send(self.text)
