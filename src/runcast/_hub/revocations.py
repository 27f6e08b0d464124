"""Revoked access, published to every process of a store through a log of its own kind."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

from runcast._clock import Clock
from runcast._hub.cursor import Chunk
from runcast._hub.inlets import Inlet
from runcast._hub.watcher import Watch
from runcast._logs import get_logger
from runcast.errors import BackendError, Conflict, InvalidValue, NotFound
from runcast.events.model import encode_record
from runcast.events.position import Position, make_log_id
from runcast.stores.base import LogInfo, Store

__all__ = ("follow_revocations", "revoke")

_KIND: Final = "access"
_LOG: Final = make_log_id(_KIND, "revoked")

_MAX_SUBJECT_CHARS: Final = 1024
_KEPT: Final = 1000
"""Revocations kept: a process that missed more of them checks all its streams."""

_AGAIN_S: Final = 1.0
"""Pause before the log is followed again after the store failed, seconds."""

_log: Final = get_logger("runcast.hub")


class _Hub(Protocol):
    @property
    def store(self) -> Store: ...

    @property
    def clock(self) -> Clock: ...

    def inlet(self, run_id: str, epoch: str = "", fence: int | None = None) -> Inlet: ...

    async def watch(self, run_id: str, after: Position | None = None) -> Watch[Chunk]: ...

    async def info(self, run_id: str) -> LogInfo: ...

    async def trim(self, run_id: str, first: int, snapshot: bytes) -> None: ...


async def revoke(hub: _Hub, subject: str) -> None:
    """Make every process that shares the store ask again what a subject may see.

    Raises:
        InvalidValue: the subject is not a text of 1 to 1024 characters.
        StoreUnavailable: the revocation could not be stored; no process was notified.
    """
    if not isinstance(subject, str) or not 1 <= len(subject) <= _MAX_SUBJECT_CHARS:
        raise InvalidValue(
            f"expected a subject of 1 to {_MAX_SUBJECT_CHARS} characters, got {subject!r:.80}"
        )
    await _make_log(hub)
    record = encode_record("revoked", {"subject": subject}, hub.clock.time())
    appended = await hub.inlet(_LOG).append([record])
    if appended.last % _KEPT == 0:
        await hub.trim(_LOG, appended.last - _KEPT + 1, b"")


async def _make_log(hub: _Hub) -> Position:
    """Return the head of the log of revocations; create the log if it is missing."""
    with suppress(Conflict):
        await hub.store.create("revoked", kind=_KIND)
    return (await hub.info(_LOG)).position


async def follow_revocations(
    hub: _Hub, look_again: Callable[[str | None], Awaitable[None]]
) -> None:
    """Call `look_again(subject)` for each revocation from now on; with None if some were missed.

    It runs until it is cancelled.
    """
    after: Position | None = None
    while True:
        try:
            after = after or await _make_log(hub)
            with await hub.watch(_LOG, after) as watch:
                async for chunk in watch:
                    if chunk.gap is not None:
                        await look_again(None)
                    for event in chunk.events():
                        await look_again(str(event.data["subject"]))
                    after = chunk.position
        except (BackendError, NotFound) as error:
            _log.warning("revocations cannot be followed now: %s", error)
        await asyncio.sleep(_AGAIN_S)
