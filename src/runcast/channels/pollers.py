"""Asks platforms what people did, where no callback can reach us: one process for each bot.

Who asks is decided by a log of the kind `poll`: its owner asks. If that process dies, another one
takes the log over, as it takes over a delivery. What a platform handed out counts as taken when it
is done, so a process that dies midway leaves it to the next one, and nothing is lost. What is done
twice counts once: see `replies`.

Source: ours.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from runcast._hub.hub import Hub
from runcast._hub.owned_log import OwnedLog
from runcast._logs import format_places, get_logger
from runcast.channels.inbound import Inbound
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms import make_poller
from runcast.channels.receiver import Poller
from runcast.channels.replies import Replies
from runcast.channels.targets import ChannelsFile, Target
from runcast.errors import BackendError, Conflict, NotFound, RunClosed, Stale
from runcast.events.model import decode_event, encode_record
from runcast.events.outcome import done
from runcast.events.position import Position, make_log_id, split_frames
from runcast.stores.base import LogInfo

__all__ = ("POLL", "Pollers")

POLL: Final = "poll"
"""The kind of the logs whose owners ask."""

_MARK: Final = "poll_mark"
"""The type of their records."""

_PAUSE_S: Final = 1.0
_MAX_PAUSE_S: Final = 60.0
"""Pause after a poll that failed, doubled each time, and its longest."""

_EMPTY_S: Final = 0.5
"""Shortest time of a poll that brings nothing. A server that does not wait is asked less often."""

_log: Final = get_logger("runcast.channels")


class Pollers:
    """Polls for the bots of the channels file that have the option `poll`.

    Args:
        make: makes what asks a platform.
    """

    def __init__(
        self,
        hub: Hub,
        replies: Replies,
        make: Callable[[str, Mapping[str, str]], Poller] = make_poller,
    ) -> None:
        self._hub = hub
        self._replies = replies
        self._make = make
        self._targets: dict[str, Target] = {}
        self._owned: dict[str, asyncio.Future[OwnedLog]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def read(self, channels: ChannelsFile) -> bool:
        """Find the bots to ask for; return whether there are any.

        Raises:
            InvalidValue: a platform cannot be asked, or options lack.
        """
        self._targets = {_name_of(target): target for target in channels.polled()}
        for target in self._targets.values():
            self._make(target.platform, target.options)
        return bool(self._targets)

    def open(self) -> None:
        """Begin to ask, or to wait for the process that asks."""
        for name in self._targets:
            self._owned[name] = asyncio.get_running_loop().create_future()
            self._tasks.append(asyncio.create_task(self._run(name), name=f"runcast-poll-{name}"))

    def take_over(self, claimed: LogInfo) -> None:
        """Ask in place of a process that died."""
        log = self._hub.take(claimed)
        waiting = self._owned.get(claimed.name)
        if waiting is not None and not waiting.done():
            waiting.set_result(log)
        else:  # no bot of ours has this log any more
            self._tasks.append(asyncio.create_task(_end(log)))

    async def close(self) -> None:
        """Leave the polls to other processes. Idempotent."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for owned in self._owned.values():
            if owned.done() and not owned.cancelled():
                owned.result().release()
        self._owned.clear()

    # One bot.

    async def _run(self, name: str) -> None:
        while True:
            log = await self._own(name)
            polling = asyncio.create_task(self._poll(name, log))
            leaving = asyncio.create_task(log.left.wait())
            try:
                await asyncio.wait({polling, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (polling, leaving):
                    task.cancel()
                await asyncio.gather(polling, leaving, return_exceptions=True)
            # Another process has taken over, or the log is gone.
            self._owned[name] = asyncio.get_running_loop().create_future()

    async def _own(self, name: str) -> OwnedLog:
        """Return the log once it is ours: begun here, or taken over by `take_over`."""
        owned = self._owned[name]
        while not owned.done():
            try:
                log = await self._hub.begin(name, kind=POLL)
            except Conflict:
                await asyncio.wait({owned}, timeout=self._hub.settings.lease_s)
                with suppress(NotFound, BackendError):
                    info = await self._hub.info(make_log_id(POLL, name))
                    if info.closed:
                        await self._hub.delete(info.log_id, info.epoch)
            except BackendError as error:
                _log.warning("nobody can be made to poll yet: %s", error)
                await asyncio.wait({owned}, timeout=_PAUSE_S)
            else:
                owned.set_result(log)
        return await owned

    async def _poll(self, name: str, log: OwnedLog) -> None:
        target = self._targets[name]
        poller = self._make(target.platform, target.options)
        pause_s, is_warned = _PAUSE_S, False
        try:
            poller.mark = mark = await self._last_mark(log)
            while True:
                asked = self._hub.clock.monotonic()
                polled = await self._polled(target, poller)
                if isinstance(polled, CallOutcome):
                    if not is_warned:
                        _log.warning("%s cannot be polled: %s", target.shown, polled.reason)
                        is_warned = True
                    await asyncio.sleep(polled.retry_after_s or pause_s)
                    pause_s = min(pause_s * 2, _MAX_PAUSE_S)
                    continue
                pause_s, is_warned = _PAUSE_S, False
                for inbound in polled:
                    await self._take(target, poller, inbound)
                if poller.mark != mark:
                    mark = await _save(log, poller.mark, self._hub.clock.time())
                if not polled and self._hub.clock.monotonic() - asked < _EMPTY_S:
                    await asyncio.sleep(_PAUSE_S)
        except (Stale, RunClosed, NotFound):
            return  # another process polls now
        finally:
            await poller.close()

    async def _polled(self, target: Target, poller: Poller) -> list[Inbound] | CallOutcome:
        """Return what people did. A poller of another package may raise: then it is asked again."""
        try:
            return await poller.poll()
        except Exception as error:  # noqa: BLE001 - a fault of one poller must not end it for ever
            name = type(error).__name__
            _log.warning("the poller of %s raised %s\n%s", target.shown, name, format_places(error))
            return CallOutcome("rejected", reason=f"it raised {name}")

    async def _take(self, target: Target, poller: Poller, inbound: Inbound) -> None:
        """Do what a person did; until it is stored, nothing later is asked for."""
        name = f"{target.platform}:{target.name}"
        while True:
            try:
                notice = await self._replies.take(name, poller, inbound)
                break
            except BackendError:
                await asyncio.sleep(_PAUSE_S)
            except Exception:  # noqa: BLE001 - one thing that a person did must not stop all others
                _log.exception("what a person did in %s cannot be taken", target.shown)
                return
        if notice or inbound.kind == "button":
            await self._tell(target, poller, inbound, notice)

    async def _tell(self, target: Target, poller: Poller, inbound: Inbound, notice: str) -> None:
        """Tell a person what became of it. A poller that raises goes on: what was done is done."""
        try:
            await poller.tell(inbound, notice)
        except Exception as error:  # noqa: BLE001 - as in `_polled`
            name = type(error).__name__
            _log.warning("tell of %s raised %s\n%s", target.shown, name, format_places(error))

    async def _last_mark(self, log: OwnedLog) -> str:
        while True:
            try:
                info = await self._hub.info(log.log_id)
                if info.head < info.first:
                    return ""
                after = Position(info.epoch, info.head - 1)
                page = await self._hub.store.read(info.log_id, after)
                records = [decode_event(each) for each in split_frames(page.frames)]
                return str(_field(records[-1].data, "mark")) if records else ""
            except BackendError:
                await asyncio.sleep(_PAUSE_S)


async def _save(log: OwnedLog, mark: str, now: float) -> str:
    """Store where to go on. If the store does not answer, the next mark is stored."""
    with suppress(BackendError):
        await log.inlet.append([encode_record(_MARK, {"mark": mark}, now)])
    return mark


async def _end(log: OwnedLog) -> None:
    with suppress(RunClosed, Stale, NotFound, BackendError):
        await log.end(done())


def _field(data: Any, name: str) -> object:
    return data.get(name, "") if isinstance(data, dict) else ""


def _name_of(target: Target) -> str:
    """Return the name of a bot's log: the same for all targets of the bot."""
    return f"{target.platform}.{target.app[:16]}"
