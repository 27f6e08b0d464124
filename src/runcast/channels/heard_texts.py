"""Which run a text is for that replies to nothing, decided once and for all processes.

Such a text is for the run that was alone in its chat when it was written. Platforms send a text
again if they got no answer, perhaps after that run has ended and another one has begun. So the
first process that hears a text notes in a log of the kind `heard` what the text is for: a run with
its open question, or nothing. The log is named by the text's key. It is closed once the text is
taken, and forgotten a day later. If a process dies between, the next time that the text comes it is
taken as it was bound.

Source: ours.
"""

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from runcast._hub.hub import Hub
from runcast.channels.shown_messages import Shown
from runcast.errors import Conflict, NotFound, RunClosed, Stale
from runcast.events.position import make_log_id

__all__ = ("HEARD", "Bound", "HeardTexts")

HEARD: Final = "heard"
"""The kind of these logs."""

_KNOWN_S: Final = 24 * 3600.0
"""How long a text is known. Feishu repeats for six hours, which is the longest known to us."""


class Bound(NamedTuple):
    """What a text is for."""

    shown: Shown | None
    """None for nothing."""
    notice: str = ""
    """Why it is for nothing, for the person."""
    is_taken: bool = False
    """Whether the text was taken before, to the end."""


class HeardTexts:
    """Remembers the texts of all chats, in the store."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def bind(self, key: str, choose: Callable[[], Awaitable[Bound]]) -> Bound:
        """Return what a text is for: as it was bound first, or else as `choose` says.

        Raises `BackendError`.

        Args:
            key: equal if the platform sends the same text again, and of no other text.
        """
        name = _name_of(key)
        bound = await self._known(name)
        if bound is not None:
            return bound
        chosen = await choose()
        try:
            await self._hub.create(name, kind=HEARD, ttl_s=_KNOWN_S, attachment=_pack(chosen))
        except Conflict:  # another process was first
            return await self._known(name) or chosen
        return chosen

    async def end(self, key: str) -> bool:
        """Note that a text is taken to the end; return False if that was noted before.

        A text that was not bound is noted, too. Raises `BackendError`.
        """
        name = _name_of(key)
        with suppress(Conflict):
            await self._hub.create(name, kind=HEARD, ttl_s=_KNOWN_S)
        try:
            await self._hub.inlet(make_log_id(HEARD, name)).append([], close=True)
        except (RunClosed, NotFound, Stale):
            return False
        return True

    async def _known(self, name: str) -> Bound | None:
        log_id = make_log_id(HEARD, name)
        try:
            info = await self._hub.info(log_id)
            _, packed = await self._hub.store.attachment(log_id)
        except NotFound:
            return None
        return _unpack(packed)._replace(is_taken=info.closed)


def _name_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _pack(bound: Bound) -> bytes:
    return msgspec.json.encode([bound.shown, bound.notice])


def _unpack(packed: bytes) -> Bound:
    if not packed:
        return Bound(None)
    shown, notice = msgspec.json.decode(packed, type=tuple[Shown | None, str])
    return Bound(shown, notice)
