"""The store contract: a set of append-only logs of opaque records.

A **log** has an id, a kind, an epoch, records with dense `seq` 1..n, a closed flag, labels, a time
to live, and an owner with a fence. Everything rests on one atomic primitive, `commit`: a group of
appends, each of which either happens wholly (records, close, labels, keys, number) or not at all.

What every store guarantees, whatever it is made of (`runcast.testing.contract` checks it):

1.  `seq` is given at commit: dense, rising by one, whoever else appends. A refused append uses
    none.
2.  An append is visible to readers only once it is durable as the store promises.
3.  Appends of one commit to one log keep their order; so do commits awaited one after another.
4.  Close is part of the append that carries it. A closed log refuses every append for ever.
5.  `once`: a repeated key returns the first result and appends nothing; the same key with another
    digest is refused with `Conflict`. Keys live as long as their epoch.
6.  A stale fence or another epoch is refused with `Stale`, even inside a group.
7.  Creating over an existing log is refused, or, when asked to, begins a later epoch at `seq` 1.
8.  `read` returns exactly what follows a position, or raises `Gone` and says why.
9.  Any id that `is_run_id` accepts names a log of its own within its kind: ids never fold, escape
    or collide.
10. Cancelling a call leaves the store as if it had not been made or as if it had been completed.
11. A log's status is that which its events lead to (`events.lifecycle`), at every `seq` and
    whatever becomes of the events: it is part of what an append changes, and nobody sets it.
12. `producer`: an append that is sent again returns the first result and appends nothing, before
    anything else about it is checked: whether the log was closed, claimed or trimmed since. An
    append that is not the next of its producer is refused with `OutOfSequence`, and so is one that
    may have been made before by a producer that the log has forgotten.

Methods take a log's id, which holds its kind (see `events.position`); only `create` takes the two
apart. What is true of runs is true of every kind, except that lists are of runs unless they are
asked for another kind.

A *record* is bytes without line feed and carriage return; `events.position` tells how records
become frames. A record is opaque to the store otherwise, except that those of a few types change
the log's status.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self, runtime_checkable

from runcast.errors import RuncastError, Stale
from runcast.events.lifecycle import Status
from runcast.events.position import RUN, Position, describe_log
from runcast.stores.model import (
    MAX_APPENDS_TOGETHER,
    MAX_LABEL_CHARS,
    MAX_LABELS,
    MAX_LIST,
    MAX_PRODUCERS,
    PAGE_BYTES,
    Append,
    Appended,
    LogInfo,
    Once,
    Owner,
    Page,
    Producer,
)

__all__ = (
    "MAX_APPENDS_TOGETHER",
    "MAX_LABELS",
    "MAX_LABEL_CHARS",
    "MAX_LIST",
    "MAX_PRODUCERS",
    "PAGE_BYTES",
    "Append",
    "Appended",
    "Leases",
    "Listing",
    "LogInfo",
    "Logs",
    "Once",
    "Owner",
    "Page",
    "Producer",
    "Retention",
    "SharedStore",
    "Store",
    "epoch_is_over",
    "listen_to",
)


class Logs(ABC):
    """The core: logs, appended to and read. `async with` it."""

    @abstractmethod
    async def open(self) -> Self:
        """Make ready. Raises `StoreUnusable` or `StoreUnavailable`. Idempotent."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was begun and release everything. Idempotent."""

    @abstractmethod
    async def create(
        self,
        log_id: str,
        *,
        kind: str = RUN,
        owner_id: str = "",
        labels: Mapping[str, str] | None = None,
        ttl_s: float | None = None,
        replace: bool = False,
    ) -> LogInfo:
        """Begin a log, or with `replace` a new epoch of it, whatever state the old one is in.

        The new epoch sorts after the old one and its fence is higher.

        Args:
            log_id: unique among the logs of its kind, which it does not hold yet; what `is_run_id`
                accepts.

        Raises:
            Conflict: the log exists and `replace` is False.
            InvalidValue: the name, the kind or the labels are malformed.
        """

    @abstractmethod
    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        """Append a group in one durable step; one outcome per append, in their order.

        An append that is refused (`NotFound`, `RunClosed`, `Stale`, `Conflict`, `InvalidValue`,
        `OutOfSequence`) leaves the others as they are.

        Raises:
            StoreReadOnly: nothing of the group was appended.
            StoreUnavailable: the store did not say whether the group was appended, as a whole. Only
                appends with a `producer` or `once` can be sent again.
        """

    @abstractmethod
    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        """Return the events that follow a position, oldest first, as many as fit.

        Raises:
            NotFound: there is no such log.
            Gone: `trimmed`, `replaced` or `rewound`.
        """

    @abstractmethod
    async def info(self, log_id: str) -> LogInfo:
        """Return a copy of what is known of a log. Raises `NotFound`."""

    @abstractmethod
    async def delete(self, log_id: str) -> None:
        """Remove a log and all that belongs to it. Raises `NotFound`."""

    async def delete_epoch(self, log_id: str, epoch: str) -> None:
        """Remove a log as `delete` does, but only while it is in this epoch.

        This default looks and then deletes: between the two another process may begin the log
        again. A store that can do both in one step overrides it.

        Raises:
            NotFound: there is no such log.
            Stale: the log is in another epoch, which stays as it is.
        """
        info = await self.info(log_id)
        if info.epoch != epoch:
            raise epoch_is_over(info, epoch)
        await self.delete(log_id)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class Listing(ABC):
    """Lists of logs."""

    @abstractmethod
    async def list(
        self,
        *,
        kind: str | None = RUN,
        status: Status | None = None,
        labels: Mapping[str, str] | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> list[LogInfo]:
        """Return logs, newest first by (created_at, log_id).

        Args:
            kind: only logs of this kind; None for all kinds.
            status: only logs that have this status; None for any.
            labels: only logs that bear all of these.
            before: the key of the last log of the page before.
            limit: 1 to MAX_LIST.
        """


class Retention(ABC):
    """How logs grow old."""

    @abstractmethod
    async def trim(self, log_id: str, first: int, snapshot: bytes) -> LogInfo:
        """Forget the events before `first` and keep a snapshot of the state they led to.

        The last event is always kept: `first` is lowered to `head`. A trim that goes back is
        ignored. Raises `NotFound`.
        """

    @abstractmethod
    async def snapshot(self, log_id: str) -> tuple[int, bytes] | None:
        """Return (seq, snapshot) of the last trim: the state after `seq`; None if never trimmed."""

    @abstractmethod
    async def expired(self, limit: int = 100) -> Sequence[str]:
        """Return ids of closed logs, of every kind, whose time to live is over, oldest first."""


class Leases(ABC):
    """Who owns logs, and what becomes of them when their owner dies."""

    @abstractmethod
    async def renew(self, owner: Owner, ttl_s: float) -> None:
        """Hold or renew an owner's lease for `ttl_s` seconds from now; 0 gives it up."""

    @abstractmethod
    async def claim(self, log_id: str, owner_id: str) -> LogInfo:
        """Take over an open log that nobody living owns; the fence rises by one.

        Raises:
            Conflict: its owner's lease still runs and the owner is not known to be dead.
            RunClosed, NotFound: there is nothing to own.
        """

    @abstractmethod
    async def orphans(self, limit: int = 100) -> Sequence[LogInfo]:
        """Return open logs, of every kind, whose owner is dead or has no lease any more."""


class Store(Logs, Listing, Retention, Leases):
    """Keeps logs. All methods are called from one event loop; see the module for the guarantees."""

    @property
    def is_lasting(self) -> bool:
        """Whether logs outlive the process, unless they are deleted."""
        return True

    @property
    def path(self) -> str | None:
        """The file that holds the logs, if one does. What belongs to them can be kept beside it."""
        return None

    async def trim_epoch(self, log_id: str, epoch: str, first: int, snapshot: bytes) -> LogInfo:
        """Trim a log as `trim` does, but only while it is in this epoch: its state is no other's.

        This default looks and then trims; see `delete_epoch`, which raises the same.
        """
        info = await self.info(log_id)
        if info.epoch != epoch:
            raise epoch_is_over(info, epoch)
        return await self.trim(log_id, first, snapshot)


def epoch_is_over(info: LogInfo, epoch: str) -> Stale:
    """Return the refusal of a request that is about another epoch than the log is in."""
    return Stale(
        f"the {describe_log(info.log_id)} began again (epoch {info.epoch}); epoch {epoch} is over"
    )


@runtime_checkable
class SharedStore(Protocol):
    """A store that other processes append to as well."""

    def listen(self, callback: Callable[[str | None], None]) -> Callable[[], None]:
        """Call `callback(log_id)` on the loop after another process changed a log.

        None means that any log may have changed. Returns what ends it.
        """
        ...


def listen_to(store: Store, callback: Callable[[str | None], None]) -> Callable[[], None]:
    """Listen to a store, as `SharedStore.listen` does, if it is one that other processes append to.

    Returns what ends it.
    """
    if isinstance(store, SharedStore):
        return store.listen(callback)
    return lambda: None
