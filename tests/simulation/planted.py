"""Known bugs, planted into the parts of nodes, so that tests can show that the simulation finds
them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import structs

from runcast._hub.cursor import Cursor
from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet
from runcast._hub.numbering import Numbering
from runcast._hub.tail import Tail
from runcast._hub.windows import Windows
from runcast._runs.remote import RemoteRuns
from runcast.events.position import Position
from runcast.stores.base import Appended, Once, Producer
from tests.simulation.real import Parts
from tests.simulation.store import SimulatedStore

if TYPE_CHECKING:
    from runcast._hub.inlets import Part

__all__ = ("PLANTED",)


class _ForgetfulNumbering(Numbering):
    """A retry without its key: what is sent again cannot be recognised."""

    def send_again(self, parts: "Sequence[Part]") -> None:
        for part in parts:
            if not part.is_numbered:
                part.producer = None


class _WrongClockStore(SimulatedStore):
    """A lease that is checked against the node's clock, and not the server's."""

    def _lease_time(self) -> float | str:
        return self._clock.time()


class _LateWindows(Windows):
    """A handover from history to the live tail without its critical section: the store is asked
    before the watcher is registered, so commits in between reach nobody."""

    async def cursor(self, run_id: str, after: Position | None, wake: Callable[[], None]) -> Cursor:
        info = await self._history.info(run_id)
        await self._history.read_page(run_id, after or Position(info.epoch, 0))  # "replay first"
        tail = self._tails.get(run_id)
        if tail is None:
            tail = self._tails[run_id] = Tail(run_id, self)
        cursor = Cursor(self._history, tail, after or Position("", 0), wake)
        self.cursors += 1
        tail.learn(info)
        tail.error = None
        cursor.begin(after)
        return cursor


class _ForgetfulHub(Hub):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._pipeline._numbering = _ForgetfulNumbering()


class _LateHub(Hub):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._windows = _LateWindows(self, self.settings, self._was_deleted, self.store)
        self._pipeline._failed = self._windows.fail


class _ForgetfulInlet:
    """An inlet that remembers the batches of writers outside here, and not in the store."""

    def __init__(self, inlet: Inlet) -> None:
        self._inlet = inlet
        self._made: dict[tuple[str, int], Appended] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inlet, name)

    async def append(
        self,
        records: Sequence[bytes] = (),
        *,
        close: bool = False,
        once: Once | None = None,
        producer: Producer | None = None,
        **more: Any,
    ) -> Appended:
        if producer is None:
            return await self._inlet.append(records, close=close, once=once, **more)
        batch = producer.producer_id, producer.number
        if batch in self._made:
            return structs.replace(self._made[batch], repeated=True, is_resent=True)
        ends = once if close else None
        appended = await self._inlet.append(records, close=close, once=ends, **more)
        self._made[batch] = appended
        return appended


class _ForgetfulWriters(RemoteRuns):
    """A retried batch that is recognised by the node that has taken it, and by no other."""

    def _hold(self, inlet: Inlet, owner_id: str, lease_s: float) -> Any:
        return super()._hold(cast("Inlet", _ForgetfulInlet(inlet)), owner_id, lease_s)


PLANTED: Final = {
    "a retry without its key": Parts(make_hub=_ForgetfulHub),
    "a lease checked against the wrong clock": Parts(make_store=_WrongClockStore),
    "a handover without its critical section": Parts(make_hub=_LateHub),
    "a retried batch that only its first node knows": Parts(make_writers=_ForgetfulWriters),
}
"""Parts with a bug, by what is wrong."""
