"""The store contract: a set of append-only logs of opaque records.

A **log** has an id, a kind, an epoch, records with dense `seq` 1..n, a closed flag, labels, a time
to live, and an owner with a fence. Everything rests on one atomic primitive, `commit`. It takes a
group of appends. Each append happens wholly (records, close, labels, keys, number) or not at all.

Every store guarantees the following (`runcast.testing.contract` checks it):

1.  `seq` is given at commit. It is dense and rises by one, even if several processes append. A
    refused append uses no `seq`.
2.  An append is visible to readers only once it is as durable as the store promises.
3.  Appends of one commit to one log keep their order; so do commits awaited one after another.
4.  Close is part of the append that carries it. A closed log refuses every append for ever.
5.  `once`: a repeated key returns the first result and appends nothing; the same key with another
    digest is refused with `Conflict`. Keys live as long as their epoch.
6.  A stale fence or another epoch is refused with `Stale`, even inside a group.
7.  Creating an existing log is refused. With `replace` it begins a later epoch at `seq` 1. If
    `replace` is an epoch, it is refused unless the log is in this epoch.
8.  `read` returns exactly the events after a position, or raises `Gone` with the reason.
9.  Any id that `is_run_id` accepts names its own log within its kind: ids never fold, escape
    or collide.
10. Cancelling a call has no effect, or its full effect.
11. A log's status follows from its events (`events.lifecycle`), at every `seq`, even after events
    were trimmed. An append changes the status together with the records; nobody sets it.
12. `producer`: an append that is sent again returns the first result and appends nothing. This is
    checked before everything else, even if the log was closed, claimed or trimmed since. An append
    that is not the next of its producer is refused with `OutOfSequence`. So is an append that may
    have been made before by a producer that the log has forgotten.
13. `changes` returns every log that was created, deleted or closed after a point, or whose status
    or labels changed after it, in this process or another one. Otherwise it raises `Gone`.
14. An attachment belongs to one epoch: it is there when the log is, and gone when the log is
    deleted or begun again. A trim leaves it. An append replaces it together with its records, or
    not at all.

Methods take a log's id, which contains its kind (see `events.position`); only `create` takes name
and kind separately. All guarantees hold for every kind. Lists hold runs unless another kind is
asked for.

A *record* is bytes without line feed and carriage return; `events.position` describes how a record
becomes a frame. A store does not look into records, except that records of a few types change the
log's status.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Self, runtime_checkable

from runcast.errors import RuncastError, Stale
from runcast.events.lifecycle import Status
from runcast.events.position import RUN, Position, describe_log
from runcast.stores.model import (
    LASTING,
    MAX_APPENDS_TOGETHER,
    MAX_ATTACHMENT_BYTES,
    MAX_CHANGES,
    MAX_LABEL_CHARS,
    MAX_LABELS,
    MAX_LIST,
    MAX_PRODUCERS,
    PAGE_BYTES,
    Append,
    Appended,
    Change,
    ChangePage,
    LogInfo,
    Once,
    Owner,
    Page,
    Producer,
)

__all__ = (
    "LASTING",
    "MAX_APPENDS_TOGETHER",
    "MAX_ATTACHMENT_BYTES",
    "MAX_CHANGES",
    "MAX_LABELS",
    "MAX_LABEL_CHARS",
    "MAX_LIST",
    "MAX_PRODUCERS",
    "PAGE_BYTES",
    "Append",
    "Appended",
    "Change",
    "ChangePage",
    "Changes",
    "CheckedStore",
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
    "find_dangers",
    "listen_to",
)


class Logs(ABC):
    """The core: append to logs and read them. Use `async with`."""

    @abstractmethod
    async def open(self) -> Self:
        """Open the store. Raises `StoreUnusable` or `StoreUnavailable`. Idempotent."""

    @abstractmethod
    async def close(self) -> None:
        """Finish all work in progress and release all resources. Idempotent."""

    @abstractmethod
    async def create(
        self,
        log_id: str,
        *,
        kind: str = RUN,
        owner_id: str = "",
        labels: Mapping[str, str] | None = None,
        ttl_s: float | None = None,
        replace: bool | str = False,
        attachment: bytes = b"",
    ) -> LogInfo:
        """Begin a log, or with `replace` begin its next epoch, whatever its state.

        The new epoch sorts after the old one and its fence is higher.

        Args:
            log_id: the log's name, unique within its kind and without the kind; what
                `is_run_id` accepts.
            replace: True, or the epoch that may be replaced.
            attachment: bytes to keep beside the records, as long as this epoch: what belongs to the
                log and is not an event. At most `MAX_ATTACHMENT_BYTES`.

        Raises:
            Conflict: the log exists, and `replace` is False or another epoch than the log's.
            InvalidValue: the name, the kind or the labels are malformed, or the attachment is too
                long.
        """

    @abstractmethod
    async def attachment(self, log_id: str) -> tuple[str, bytes]:
        """Return a log's epoch and what `create`, or the last append that replaced it, attached to
        it; b"" if nothing is attached. Raises `NotFound`."""

    @abstractmethod
    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        """Append a group in one durable step; one outcome per append, in the same order.

        An append that is refused (`NotFound`, `RunClosed`, `Stale`, `Conflict`, `InvalidValue`,
        `OutOfSequence`) does not affect the others.

        Raises:
            StoreReadOnly: nothing of the group was appended.
            StoreUnavailable: it is unknown which appends of the group were made. Only appends with
                a `producer` or `once` can be sent again.
        """

    @abstractmethod
    async def read(self, log_id: str, after: Position, max_bytes: int = PAGE_BYTES) -> Page:
        """Return the events after a position, oldest first, as many as fit.

        Raises:
            NotFound: there is no such log.
            Gone: `trimmed`, `replaced` or `rewound`.
        """

    @abstractmethod
    async def info(self, log_id: str) -> LogInfo:
        """Return a copy of a log's description. Raises `NotFound`."""

    @abstractmethod
    async def delete(self, log_id: str) -> None:
        """Remove a log with all its data. Raises `NotFound`."""

    async def delete_epoch(self, log_id: str, epoch: str) -> None:
        """Remove a log like `delete`, but only while the log is in this epoch.

        This default reads the epoch and then deletes. Between these two steps another process may
        begin the log again. A store that can do both in one step overrides this method.

        Raises:
            NotFound: there is no such log.
            Stale: the log is in another epoch; nothing is deleted.
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
            kind: only logs of this kind; None for every kind.
            status: only logs with this status; None for every status.
            labels: only logs with all of these labels.
            before: the key of the last log of the previous page.
            limit: 1 to MAX_LIST.
        """


class Retention(ABC):
    """Trimming logs, and finding logs whose time to live is over."""

    @abstractmethod
    async def trim(self, log_id: str, first: int, snapshot: bytes) -> LogInfo:
        """Drop the events before `first` and keep a snapshot of the state after them.

        The last event is always kept: `first` is lowered to `head`. A trim to an earlier `first` is
        ignored. Raises `NotFound`.
        """

    @abstractmethod
    async def snapshot(self, log_id: str) -> tuple[int, bytes] | None:
        """Return (seq, snapshot) of the last trim: the state after `seq`; None if never trimmed."""

    @abstractmethod
    async def expired(self, limit: int = 100) -> Sequence[str]:
        """Return ids of closed logs, of every kind, whose time to live is over, oldest first."""


class Leases(ABC):
    """The owners of logs, and the logs whose owner died."""

    @abstractmethod
    async def renew(self, owner: Owner, ttl_s: float) -> None:
        """Hold or renew an owner's lease for `ttl_s` seconds from now; 0 ends the lease."""

    @abstractmethod
    async def claim(self, log_id: str, owner_id: str) -> LogInfo:
        """Take over an open log without a living owner; the fence rises by one.

        Raises:
            Conflict: the owner's lease has not ended, and the owner is not known to be dead.
            RunClosed, NotFound: there is no open log to own.
        """

    @abstractmethod
    async def orphans(self, limit: int = 100) -> Sequence[LogInfo]:
        """Return open logs, of every kind, whose owner is dead or has no valid lease."""


class Changes(ABC):
    """Which logs changed since a point. A live list of runs is built on it."""

    @abstractmethod
    async def changes(self, after: str = "", *, limit: int = MAX_LIST) -> ChangePage:
        """Return the logs that changed after a point, each once, in the order of last changes.

        A log has changed if it was created, deleted or closed, or if its status or labels changed
        (guarantee 13). Logs that changed in other ways may be included. To follow a list, take the
        present point first, then list, then ask for the changes after the point.

        Args:
            after: `ChangePage.after` of an earlier call, in any process that has the same logs
                open. "" returns the present point and no changes.
            limit: 1 to MAX_LIST.

        Raises:
            Gone: the store does not remember all changes since the point (it remembers at most
                `MAX_CHANGES` logs): list the logs again. `reason` is `trimmed`; it is `replaced`
                if the point is of other logs, and `rewound` if the point lies ahead of the store.
            InvalidValue: the point or the limit is malformed.
        """


class Store(Logs, Listing, Changes, Retention, Leases):
    """A store of logs. Call all methods from one event loop. See the module for the guarantees."""

    @property
    def is_lasting(self) -> bool:
        """Whether logs outlive the process, unless they are deleted."""
        return True

    @property
    def identity(self) -> str:
        """Names the kept data, in each process that opened the store; "" if that is unknown.

        Files that are kept elsewhere are marked with it, so that no other store removes them.
        """
        return ""

    @property
    def path(self) -> str | None:
        """The file that holds the logs, or None. Related files can be kept beside it."""
        return None

    async def trim_epoch(self, log_id: str, epoch: str, first: int, snapshot: bytes) -> LogInfo:
        """Trim a log like `trim`, but only in this epoch, because the snapshot is of this epoch.

        This default reads the epoch and then trims; see `delete_epoch` for the errors.
        """
        info = await self.info(log_id)
        if info.epoch != epoch:
            raise epoch_is_over(info, epoch)
        return await self.trim(log_id, first, snapshot)

    async def save_state(self, log_id: str, epoch: str, seq: int, state: bytes) -> None:
        """Keep the state after the events up to `seq`, replacing an earlier one.

        The state only saves folding a long log again. A store may lose it at any time. This default
        keeps nothing.

        Raises:
            NotFound, Stale: the log does not exist, or is in another epoch.
            StoreReadOnly: nothing can be kept.
        """

    async def saved_state(self, log_id: str, epoch: str) -> tuple[int, bytes] | None:
        """Return (seq, state) as last kept by `save_state`; None without a state of this epoch.

        Raises `NotFound`.
        """
        return None


def epoch_is_over(info: LogInfo, epoch: str) -> Stale:
    """Return the error for a request that names another epoch than the log's."""
    return Stale(
        f"the {describe_log(info.log_id)} began again (epoch {info.epoch}); epoch {epoch} is over"
    )


@runtime_checkable
class SharedStore(Protocol):
    """A store that other processes also append to."""

    def listen(self, callback: Callable[[Change | None], None]) -> Callable[[], None]:
        """Call `callback` on the loop with each change that another process made to a log.

        Changes of one log come in their order; several may come as one. None means that any log
        may have changed. Returns a function that ends the listening.
        """
        ...


@runtime_checkable
class CheckedStore(Protocol):
    """A store whose settings lie elsewhere, and may lose what it keeps."""

    async def dangers(self) -> Sequence[tuple[str, str]]:
        """Return what is dangerous about the settings, each as (what, what to do)."""
        ...


def listen_to(store: Store, callback: Callable[[Change | None], None]) -> Callable[[], None]:
    """Listen to a store like `SharedStore.listen`, if other processes append to the store.

    Returns a function that ends the listening.
    """
    if isinstance(store, SharedStore):
        return store.listen(callback)
    return lambda: None


async def find_dangers(store: Store) -> Sequence[tuple[str, str]]:
    """Return what `CheckedStore.dangers` returns; nothing of a store that has no settings."""
    return await store.dangers() if isinstance(store, CheckedStore) else ()
