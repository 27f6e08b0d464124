"""The deliveries of one process: begun here, or taken over from a process that died.

A run is delivered to a target once: to begin the same delivery again returns the first one. A
delivery that failed, and of which nothing can be in the chat, is begun again.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from runcast._hub.hub import Hub
from runcast._hub.owned_log import OwnedLog
from runcast._logs import get_logger
from runcast.channels._worker import Worker, outcome_of
from runcast.channels.actions import Send
from runcast.channels.answer_links import AnswerLink, make_answer_link
from runcast.channels.beginnings import begin_log
from runcast.channels.budget import Budgets
from runcast.channels.channel import Channel, HasPlace
from runcast.channels.checks import check_channels
from runcast.channels.delivery_options import DeliveryOptions
from runcast.channels.document import Shows
from runcast.channels.engine import Engine, Finish, may_be_shown
from runcast.channels.notices import make_document
from runcast.channels.outcome import Receipt
from runcast.channels.platforms import make_channel
from runcast.channels.question_texts import LinkOf, no_link
from runcast.channels.receipts import (
    DELIVERY,
    DeliveryState,
    receipts_of,
    wait_for_receipts,
)
from runcast.channels.shown_messages import Shown, ShownMessages, last_state, shown_by
from runcast.channels.targets import ChannelsFile, Target
from runcast.errors import BackendError, InvalidValue, NotFound, RunClosed, Stale
from runcast.events.position import describe_log
from runcast.stores.base import LogInfo

if TYPE_CHECKING:
    from runcast.channels.capability import Capability

__all__ = ("DELIVERY", "Deliveries", "Delivery")

_GRACE_S: Final = 5.0
"""How long the ends of runs may take to be delivered when the process ends. The rest is for the
next process."""

_MAX_NAME_CHARS: Final = 100
"""Characters of a run's id in the id of its delivery, which has at most 128."""

_log: Final = get_logger("runcast.channels")


class Delivery:
    """A delivery of this process."""

    def __init__(
        self, delivery_id: str, run_id: str, target: str, task: "asyncio.Task[Receipt | None]"
    ) -> None:
        self.delivery_id = delivery_id
        """The id of its log, in the kind `delivery`."""
        self.run_id = run_id
        """The run's id."""
        self.target = target
        """The target, without secrets."""
        self._task = task

    async def wait(self) -> Receipt | None:
        """Wait for the end. None if another process goes on, or the delivery was cancelled."""
        return await asyncio.shield(self._task)


class Deliveries:
    """Begins deliveries, continues those of dead processes, and ends.

    Args:
        channels: the named targets.
        make: makes a channel for a target.
    """

    def __init__(
        self,
        hub: Hub,
        channels: ChannelsFile,
        make: Callable[[Target], Channel] = make_channel,
    ) -> None:
        self.channels = channels
        self._hub = hub
        self._make = make
        self._budgets: dict[Capability, Budgets] = {}
        self._messages = ShownMessages(hub)
        self._workers: dict[str, Worker] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._beginning: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._is_closing = False

    async def open(self, channels_file: str) -> None:
        """Read the named targets, if there is a file with them, and check them all.

        Raises:
            InvalidValue: the file or a target in it is malformed. The message names the table.
        """
        if channels_file:
            channels = await asyncio.to_thread(ChannelsFile.read, channels_file)
            await check_channels(channels, channels_file, self._make)
            self.channels = channels

    async def begin(
        self,
        run_id: str,
        target: str | Channel,
        *,
        shows: Shows | None = None,
        finish: Finish | None = None,
        epoch: str = "",
    ) -> Delivery:
        """Deliver a run to a target from its first event on. The delivery is stored on return.

        Args:
            target: a name of the channels file, an address such as `telegram://…?token=…`, or a
                channel. Tokens are not stored: only deliveries to names resume elsewhere.
            shows: `answer`, `tools`, `steps`, or `notice`, which a channel that takes notices alone
                has always; None: as the target says, else `tools`.
            finish: whether the answer changes the last message (`in_place`) or is a new one
                (`fresh`); None: as the target says, else `auto`.
            epoch: the epoch to deliver; "" is any epoch.

        Raises:
            NotFound: there is no such run.
            Stale: the run is in another epoch.
            InvalidValue: the target or an option is not known.
            Conflict: another process delivers the run to this target, or text of an earlier
                delivery is there, or may be.
        """
        chosen = DeliveryOptions.choose(shows, finish)
        info = await self._hub.info(run_id, epoch)
        if isinstance(target, str):
            found = self.channels.find(target)
            chosen = DeliveryOptions.choose(shows, finish, found.options)
            channel, shown, is_named = self._make(found), found.shown, bool(found.name)
        else:
            place = target.place if isinstance(target, HasPlace) else target.scope
            channel, shown, is_named = target, f"channel://{place}", False
        name = _name_of(run_id, info.epoch, shown)
        about = {
            "run": run_id,
            "epoch": info.epoch,
            "target": shown,
            "is_named": is_named,
            "shows": chosen.shows,
            "finish": chosen.finish,
        }
        # The same delivery may be begun twice at once, and the second one gets the first one's.
        async with self._beginning.setdefault(name, asyncio.Lock()):
            if (known := await self._present(name)) is not None:
                await channel.close()
                return known
            labels = {"run": run_id, "epoch": info.epoch, "to": shown[:200]}
            try:
                begun = await begin_log(self._hub, name, labels)
            except BaseException:
                await channel.close()
                raise
            return self._start(name, begun.log, channel, {**about, "key": begun.key}, None)

    async def _present(self, name: str) -> Delivery | None:
        """Return a delivery of this process that goes on, or has text in the chat."""
        known = self._deliveries.get(name)
        receipt = None if known is None else self._workers[name].engine.receipt
        if known is None or receipt is None or receipt.may_be_shown:
            return known
        await asyncio.wait({known._task}, timeout=_GRACE_S)  # until its end is stored
        return None

    async def check_names(self, names: Sequence[str]) -> None:
        """Raise `InvalidValue` if the channels file does not have all of these targets, or if one
        of them is malformed. The message does not list the others."""
        for name in names:
            await self._make(self._named(name)).close()

    async def begin_by_name(
        self,
        run_id: str,
        name: str,
        *,
        shows: Shows | None = None,
        finish: Finish | None = None,
        epoch: str = "",
    ) -> Delivery:
        """Deliver a run to a target of the channels file, and never to an address.

        Raises what `begin` raises.
        """
        self._named(name)
        return await self.begin(run_id, name, shows=shows, finish=finish, epoch=epoch)

    def _named(self, name: str) -> Target:
        try:
            return self.channels.named(name)
        except InvalidValue:
            shown = name.partition("?")[0][:80]  # behind it an address has its token
            raise InvalidValue(
                f"expected a target that the server's channels file names, like telegram:ops; "
                f"got {shown!r}"
            ) from None

    def take_over(self, claimed: LogInfo) -> None:
        """Go on with a delivery whose process died."""
        log = self._hub.take(claimed)
        task = asyncio.ensure_future(self._resume(log, claimed))
        task.add_done_callback(_report)

    async def _resume(self, log: OwnedLog, claimed: LogInfo) -> None:
        about = await last_state(self._hub, claimed)
        try:
            if about is None:
                raise InvalidValue("its process died before anything was recorded")
            if not about["is_named"]:
                raise InvalidValue(
                    f"the token of {about['target']} was given inline and is not stored"
                )
            channel = self._make(self.channels.named(str(about["target"])))
        except InvalidValue as error:
            receipt = Receipt(
                "failed",
                reason=f"it could not be continued: {error.message}",
                may_be_shown=about is not None and may_be_shown(about["state"]),
            )
            with suppress(RunClosed, Stale, NotFound):
                await log.end(outcome_of(receipt))
            _log.warning("%s: %s", describe_log(claimed.log_id), receipt.reason)
            return
        state = about.pop("state")
        if self._is_closing:
            log.release()
            return
        self._start(claimed.log_id.rpartition("/")[2], log, channel, about, state)

    def _start(
        self,
        name: str,
        log: OwnedLog,
        channel: Channel,
        about: Mapping[str, Any],
        state: Mapping[str, Any] | None,
    ) -> Delivery:
        capability = channel.capability
        scope = channel.scope
        budgets = self._budgets.setdefault(capability, Budgets(capability))
        document = make_document(capability, about["shows"], self._link_of(about))
        key = str(about.get("key", name))
        engine = Engine(key, capability, document, budgets.of(scope), finish=about["finish"])
        worker = Worker(self._hub, log, channel, engine, about, state)
        task = asyncio.create_task(worker.run(), name=f"runcast-delivery-{name}")
        delivery = Delivery(name, str(about["run"]), str(about["target"]), task)
        self._workers[name], self._deliveries[name] = worker, delivery

        def forget(done: "asyncio.Task[Receipt | None]") -> None:
            if self._workers.get(name) is worker:
                del self._workers[name], self._deliveries[name]
            _report(done)

        task.add_done_callback(forget)
        return delivery

    def _link_of(self, about: Mapping[str, Any]) -> LinkOf:
        """Return what makes the links that answer questions of a delivery."""
        if not about["is_named"]:
            return no_link
        target = str(about["target"])
        options = self.channels.named(target).options

        def link_of(question_id: str, asked_at: float, expires_at: float | None) -> str:
            link = AnswerLink(target, about["run"], about["epoch"], question_id, asked_at)
            return make_answer_link(options, link, expires_at)

        return link_of

    def is_sending(self, targets: Sequence[str]) -> bool:
        """Return whether a delivery of this process to one of these targets waits for the id of a
        message that it sent."""
        return any(
            self._deliveries[name].target in targets and isinstance(worker.engine.flight, Send)
            for name, worker in self._workers.items()
        )

    async def find(
        self, targets: Sequence[str], message_id: str, pressed: str = ""
    ) -> Shown | None:
        """Return what a message shows that an open delivery to one of these targets has sent.

        Deliveries of other processes are found by what they have stored. Raises `BackendError`.

        Args:
            targets: as `Target.shown` has them.
            pressed: what the message's button sends. It finds the message of a send that got no
                answer, whose id nobody knows: then its delivery knows it from now on.
        """
        for name, worker in self._workers.items():
            delivery = self._deliveries[name]
            if delivery.target in targets:
                state = worker.engine.save(0.0)
                if found := shown_by(worker.about, state, message_id, pressed):
                    if pressed and worker.engine.adopt(found.question_id, message_id):
                        worker.look()
                    return found
        for target in targets:
            if found := await self._messages.find(target, message_id, pressed, self._workers):
                return found
        return None

    async def find_ended(self, targets: Sequence[str], message_id: str) -> Shown | None:
        """Return what a message shows that an ended delivery to one of these targets has sent, of
        any process and not long ago. Raises `BackendError`."""
        for target in targets:
            if found := await self._messages.find_ended(target, message_id):
                return found
        return None

    async def states(self, run: LogInfo, delivery_id: str = "") -> list[DeliveryState]:
        """Return the deliveries of a run in one epoch, by all processes, newest first; or only one,
        by its id."""
        return await receipts_of(self._hub, run, delivery_id)

    async def wait(self, run: LogInfo, delivery_id: str = "") -> None:
        """Wait until those of these deliveries have ended that go on now."""
        await wait_for_receipts(self._hub, run, delivery_id)

    def of(self, run_id: str) -> list[Delivery]:
        """Return the deliveries of a run in this process."""
        return [each for each in self._deliveries.values() if each.run_id == run_id]

    async def close(self) -> None:
        """Deliver the ends of runs for a few seconds, and leave the rest to the next process.

        Idempotent.
        """
        self._is_closing = True
        tasks = {self._deliveries[name]._task for name in self._deliveries}
        if tasks:
            ending = {
                self._deliveries[name]._task
                for name, worker in self._workers.items()
                if worker.engine.document.has_ended
            }
            if ending:
                await asyncio.wait(ending, timeout=_GRACE_S)
            for worker in list(self._workers.values()):
                worker.leave()
            _, late = await asyncio.wait(tasks, timeout=_GRACE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        self._is_closing = False


def _name_of(run_id: str, epoch: str, target: str) -> str:
    """Return a delivery's id: the same for the same run and target."""
    digest = hashlib.sha256(f"{run_id}\0{epoch}\0{target}".encode()).hexdigest()[:16]
    return f"{run_id[:_MAX_NAME_CHARS]}.{digest}"


def _report(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        if isinstance(error, BackendError):
            _log.warning("a delivery stopped: %s", error)
        else:
            _log.error("a delivery stopped unexpectedly", exc_info=error)
