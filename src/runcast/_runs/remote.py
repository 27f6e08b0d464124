"""Runs of remote writers: code elsewhere that begins a run over HTTP, writes it, and ends it.

The owner of such a run is its writer, not this process: the run has a lease of its own in the
store, which any server on the store renews for the writer. So the run outlives a server. If the
writer dies, nobody renews the lease, and the run is lost like any run whose owner died.

The lease's id is a secret that only the writer knows. The store has its digest, as the run's owner.
"""

import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from runcast._files.files import Files
from runcast._files.model import StoredFile
from runcast._hub.hub import Hub
from runcast._hub.inlets import Inlet
from runcast._hub.owned_log import TERMINAL_KEY
from runcast._producing.answers import check_interrupt_id
from runcast._producing.batches import read_batch
from runcast._producing.budgets import Meter
from runcast._producing.decisions import expire_question, find_decision
from runcast._producing.labels import CANCEL_LABEL, LEASE_LABEL, check_labels
from runcast._runs.protocols import RemoteRun, Written
from runcast._runs.remote_files import FilesClaim, records_with_files
from runcast._runs.repetition import is_same_batch
from runcast._runs.run import make_run_id
from runcast.errors import (
    BackendError,
    Conflict,
    Forbidden,
    InvalidValue,
    NotFound,
    Overloaded,
    RunClosed,
    RunTooLarge,
    Stale,
)
from runcast.events.model import OWN_EVENT_BYTES, encode_record
from runcast.events.position import Position, is_run_id
from runcast.stores.base import LASTING, LogInfo, Once, Owner, Producer

__all__ = ("LEAST_LEASE_S", "MOST_LEASE_S", "RemoteRuns")

LEAST_LEASE_S: Final = 1.0
"""Shortest lease: a writer renews it over a network, several times."""

MOST_LEASE_S: Final = 86_400.0
"""Longest lease. A run whose writer died stays open so long."""

_LEAST_ID_CHARS, _MOST_ID_CHARS = 16, 128
"""Length of a lease's id: nobody may guess it."""

_LEASE_ID: Final = re.compile(rf"(?! )[ -~]{{{_LEAST_ID_CHARS},{_MOST_ID_CHARS}}}(?<! )")

_RENEWALS: Final = 4
"""Renewals of a lease within its time, at most, whatever number of batches comes."""


class _Held:
    """A run that a remote writer writes through this process."""

    def __init__(self, inlet: Inlet, owner_id: str, lease_s: float) -> None:
        self.inlet = inlet
        self.owner_id = owner_id
        self.lease_s = lease_s
        self.renewed = float("-inf")
        """When the lease was renewed here, by the monotonic clock."""
        self.last = ("", 0)
        """Producer and number of the last batch that was not too much, perhaps sent again."""


class RemoteRuns:
    """Begins and writes the runs of remote writers. Call from the loop's thread.

    Args:
        files: None refuses files.
    """

    def __init__(self, hub: Hub, files: Files | None = None) -> None:
        self._hub = hub
        self._files = files
        self._held: dict[str, _Held] = {}
        settings = hub.settings
        self._has_limits = bool(settings.max_events_per_run or settings.max_bytes_per_run)
        """Whether runs have limits; only then is the size of a log read before each batch."""

    async def begin(
        self,
        name: str,
        *,
        run_id: str = "",
        labels: Mapping[str, str] | None = None,
        ttl_s: float | None = None,
        lease_s: float | None = None,
        lease_id: str = "",
        replace: bool | str = False,
    ) -> RemoteRun:
        """Begin a run; see `RemoteWriters.begin`."""
        settings = self._hub.settings
        if not is_run_id(name):
            raise InvalidValue(f"expected a name like 'train' for the run, got {name!r:.140}")
        check_labels(labels or {})
        lease_s = settings.lease_s if lease_s is None else lease_s
        if not min(LEAST_LEASE_S, settings.lease_s) <= lease_s <= MOST_LEASE_S:
            raise InvalidValue(
                f"expected lease_s from {LEAST_LEASE_S:g} to {MOST_LEASE_S:g}, got {lease_s!r:.80}"
            )
        _check_lease_id(lease_id)
        secret = lease_id or secrets.token_urlsafe(24)
        owner_id = _owner_of(secret)
        run_id = run_id or make_run_id(self._hub.clock.time(), os.urandom(10))
        held = await self._begun_before(run_id, owner_id)
        is_repeated = held is not None
        if held is None:
            self._make_room()
            await self._hub.store.renew(Owner(owner_id=owner_id), lease_s)
            inlet = await self._hub.create(
                run_id,
                owner_id=owner_id,
                labels={**(labels or {}), "function": name, LEASE_LABEL: repr(float(lease_s))},
                ttl_s=_sooner(ttl_s, settings.keep_runs_s),
                replace=replace,
            )
            held = self._hold(inlet, owner_id, lease_s)
            self._hub.owned.look(run_id)  # an epoch that this process owned is over
        now = self._hub.clock.time()
        started = encode_record("started", {"function": name}, now, None, OWN_EVENT_BYTES)
        appended = await held.inlet.append([started], once=Once("started"))
        await self._renew(held)
        position = Position(appended.epoch, appended.last)
        return RemoteRun(run_id, position, secret, held.lease_s, is_repeated)

    async def _begun_before(self, run_id: str, owner_id: str) -> _Held | None:
        """Return a run that this very writer began, with a request whose answer was lost."""
        try:
            info = await self._hub.info(run_id)
        except NotFound:
            return None
        if info.owner_id != owner_id or info.closed:
            return None
        return self._find(info)

    def _make_room(self) -> None:
        """Raise `Overloaded` if too many runs are open."""
        most = self._hub.settings.max_remote_runs
        if len(self._held) >= most:
            now = self._hub.clock.monotonic()
            over = [it for it, held in self._held.items() if held.renewed + held.lease_s < now]
            for run_id in over:
                del self._held[run_id]
        if len(self._held) >= most:
            raise Overloaded(
                f"{len(self._held)} runs of remote writers are open, as many as may be "
                "(max_remote_runs)"
            )

    def _hold(self, inlet: Inlet, owner_id: str, lease_s: float) -> _Held:
        held = self._held[inlet.run_id] = _Held(inlet, owner_id, lease_s)
        self._hub.owned.note_written(inlet.run_id)
        return held

    def _find(self, info: LogInfo) -> _Held:
        held = self._held.get(info.log_id)
        if held is None or held.inlet.epoch != info.epoch:
            inlet = self._hub.inlet(info.log_id, info.epoch, info.fence)
            lease_s = float(info.labels.get(LEASE_LABEL, self._hub.settings.lease_s))
            if info.closed:  # only a repetition is answered
                return _Held(inlet, info.owner_id, lease_s)
            held = self._hold(inlet, info.owner_id, lease_s)
        return held

    async def _renew(self, held: _Held) -> None:
        now = self._hub.clock.monotonic()
        if now >= held.renewed + held.lease_s / _RENEWALS:
            await self._hub.store.renew(Owner(owner_id=held.owner_id), held.lease_s)
            held.renewed = now
            self._hub.owned.note_written(held.inlet.run_id)

    async def _check(self, run_id: str, lease_id: str) -> tuple[LogInfo, _Held]:
        """Return a run that a lease belongs to.

        Raises:
            NotFound: there is no such run.
            RunClosed, Stale: the run was lost, or belongs to somebody else now.
            Forbidden: the lease is not that of the run.
        """
        info = await self._hub.info(run_id)
        if not lease_id or info.owner_id != _owner_of(lease_id):
            if info.closed:
                raise _ended(run_id)
            if lease_id and LEASE_LABEL in info.labels and not info.owner_id.startswith(LASTING):
                raise Stale(f"the run {run_id!r} was taken over, because its lease was over")
            raise Forbidden(
                f"only the writer that began the run {run_id!r} may write it: send the lease_id "
                "that POST /runs returned as the header Runcast-Lease"
            )
        return info, self._find(info)

    async def append(
        self,
        run_id: str,
        lease_id: str,
        events: Sequence[object],
        *,
        producer_id: str,
        number: int,
    ) -> Written:
        """Append a batch once; see `RemoteWriters.append`."""
        held = self._known(run_id, lease_id)
        if held is not None:
            # The store refuses the append if the run has ended or belongs to somebody else by now.
            with suppress(RunClosed, Stale, NotFound):
                return await self._append(held, None, events, producer_id, number)
        info, held = await self._check(run_id, lease_id)
        return await self._append(held, info, events, producer_id, number)

    def _known(self, run_id: str, lease_id: str) -> _Held | None:
        """Return a run that a lease belonged to at its last batch; None if its log must be read."""
        if self._has_limits:
            return None
        held = self._held.get(run_id)
        return held if held is not None and held.owner_id == _owner_of(lease_id) else None

    async def _append(
        self,
        held: _Held,
        info: LogInfo | None,
        events: Sequence[object],
        producer_id: str,
        number: int,
    ) -> Written:
        """Append a batch once.

        Args:
            info: the run's log; None if it was not read.
        """
        hub, run_id, max_bytes = self._hub, held.inlet.run_id, self._hub.settings.max_event_bytes
        price = Meter(hub.prices).price
        records, outcome = read_batch(events, hub.clock.time(), max_bytes, price)
        if info is not None and outcome is None and held.last != (producer_id, number):
            self._check_size(info, records)
            held.last = producer_id, number
        if info is None or not info.closed:
            await self._renew(held)
        sent, has_files = records, False
        if outcome is not None:
            ending = self._hub, self._files, held.inlet, records, outcome
            sent, has_files = await records_with_files(*ending)
        once = Once(TERMINAL_KEY) if outcome is not None else None
        if number == 1 and outcome is None:
            once = Once(f"{LASTING}{producer_id}")  # known even if the log forgets the producer
        appended = await held.inlet.append(
            sent,
            close=outcome is not None,
            once=once,
            producer=Producer(f"{LASTING}{producer_id}", number, retried=number > 1),
        )
        if appended.repeated:
            if outcome is not None and not appended.is_resent:
                raise _ended(run_id)
            if not await is_same_batch(hub, run_id, appended, records, has_files=has_files):
                raise Conflict(
                    f"the batch {number} of the producer {producer_id!r} was written before, with "
                    "other events; each new batch has the next number, and a writer that is "
                    "started again has another producer id"
                )
        if outcome is not None:
            await self._let_go(held)
        labels = appended.labels if info is None else info.labels
        if labels is None:
            with suppress(NotFound, Stale):  # the run is gone, or was begun again
                labels = (await hub.info(run_id, appended.epoch)).labels
        position = Position(appended.epoch, appended.last)
        return _written(held, position, labels or {}, appended.repeated)

    def _check_size(self, info: LogInfo, records: Sequence[bytes]) -> None:
        """Raise `RunTooLarge` if a run has reached its limit; it can still end."""
        settings = self._hub.settings
        events, size = info.head + len(records), info.bytes + sum(map(len, records))
        if 0 < settings.max_events_per_run < events or 0 < settings.max_bytes_per_run < size:
            raise RunTooLarge(
                f"the run {info.log_id!r} has as many events as a run may have "
                "(max_events_per_run, max_bytes_per_run): write less, or end the run"
            )

    async def receive(
        self, run_id: str, lease_id: str, path: str, pieces: AsyncIterable[bytes]
    ) -> tuple[StoredFile, bool]:
        """Store a file of a run; see `RemoteWriters.receive`."""
        if self._files is None:
            raise InvalidValue("expected no file: this server keeps none")
        info, held = await self._check_open(run_id, lease_id)
        await self._renew(held)

        async def arriving() -> AsyncIterator[bytes]:
            async for piece in pieces:
                yield piece
            await self._check_open(run_id, lease_id, epoch)  # that took its time

        epoch, claim = info.epoch, FilesClaim(self._hub, held.inlet, info)
        try:
            received = await self._files.receive_for(run_id, epoch, path, arriving(), claim)
        except BackendError:
            await self._check_open(run_id, lease_id, epoch)  # its folder has gone with it
            raise
        file, is_known = received
        _, held = await self._check_open(run_id, lease_id, epoch)  # otherwise nobody has listed it
        await self._renew(held)
        return file, is_known

    async def _check_open(
        self, run_id: str, lease_id: str, epoch: str = ""
    ) -> tuple[LogInfo, _Held]:
        """Return a run that a lease belongs to and that goes on, in this epoch if one is given.
        Raises as `_check` does."""
        info, held = await self._check(run_id, lease_id)
        if info.closed or epoch not in ("", info.epoch):
            raise _ended(run_id)
        return info, held

    async def _let_go(self, held: _Held) -> None:
        self._held.pop(held.inlet.run_id, None)
        with suppress(Exception):  # the run has ended; a lease that is left is only a row
            await self._hub.store.renew(Owner(owner_id=held.owner_id), 0)

    async def renew(self, run_id: str, lease_id: str) -> Written:
        """Renew a run's lease; see `RemoteWriters.renew`."""
        info, held = await self._check_open(run_id, lease_id)
        await self._renew(held)
        return _written(held, info.position, info.labels)

    async def expire(
        self, run_id: str, lease_id: str, interrupt_id: str
    ) -> tuple[dict[str, Any], bool]:
        """Close a question of the run without an answer; see `RemoteWriters.expire`."""
        check_interrupt_id(interrupt_id)
        _, held = await self._check(run_id, lease_id)
        await self._renew(held)
        _, snapshot = await self._hub.present(run_id, held.inlet.epoch)
        known = [it for it in snapshot.interrupts if it.interrupt_id == interrupt_id]
        if known and not known[0].is_answered:
            with suppress(Conflict):  # answered at the last moment
                await expire_question(self._hub, held.inlet, interrupt_id, self._hub.clock)
        first = await find_decision(self._hub, run_id, interrupt_id, epoch=held.inlet.epoch)
        if first is None:
            raise NotFound(f"the run {run_id!r} asks no question {interrupt_id!r:.140}")
        return first.document(), first.type != "expired"


def _ended(run_id: str) -> RunClosed:
    return RunClosed(f"the run {run_id!r} has ended; nothing can be added to it")


def _written(
    held: _Held, position: Position, labels: Mapping[str, str], is_repeated: bool = False
) -> Written:
    return Written(position, held.lease_s, labels.get(CANCEL_LABEL), is_repeated)


def _owner_of(lease_id: str) -> str:
    return LASTING + hashlib.sha256(lease_id.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _check_lease_id(lease_id: str) -> None:
    if lease_id and not _LEASE_ID.fullmatch(lease_id):  # it is sent as a header
        raise InvalidValue(
            f"expected a lease_id of {_LEAST_ID_CHARS} to {_MOST_ID_CHARS} printable ASCII "
            f"characters without a space at the ends, got {len(lease_id)} characters: make it by "
            "a random number that nobody can guess"
        )


def _sooner(ttl_s: float | None, keep_runs_s: float) -> float | None:
    """Return how long the run is kept: at most as long as the server keeps runs."""
    if ttl_s is None:
        return keep_runs_s or None
    if not ttl_s > 0:
        raise InvalidValue(f"expected ttl_s above 0, got {ttl_s!r:.80}")
    return min(ttl_s, keep_runs_s) if keep_runs_s else ttl_s
