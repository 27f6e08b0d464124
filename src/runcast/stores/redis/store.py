"""Logs in a server that speaks Redis' protocol, for many processes on many machines.

A request is planned here by the ledger's rules and applied there by a script, if the logs are
still as the plan saw them. If another process was first, the request is planned again. So nothing
is locked, and no append depends on whether its answer arrived.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Self, TypeVar

import msgspec

from runcast._clock import Clock, SystemClock
from runcast._logs import get_logger
from runcast.errors import Conflict, RuncastError, RunClosed, StoreUnavailable
from runcast.events.position import RUN, describe_log, is_log_id, make_log_id
from runcast.stores.base import (
    MAX_CHANGES,
    Append,
    Appended,
    Change,
    LogInfo,
    Owner,
    epoch_is_over,
)
from runcast.stores.ledger import Ledger, Log, copy_info
from runcast.stores.plans import ClaimCommand, Command, OnceUse
from runcast.stores.redis.addresses import parse_url
from runcast.stores.redis.dangers import dangers_of
from runcast.stores.redis.interest import Interest
from runcast.stores.redis.keeping import (
    ABSENT,
    VERSION_BYTES,
    Seen,
    changes_of,
    decode_now,
    once_field,
    plan_change,
)
from runcast.stores.redis.reading import Reading, check_id, found_log
from runcast.stores.redis.server import Server
from runcast.stores.redis.turns import Step, Turn

__all__ = ("RedisStore",)

T = TypeVar("T")

_log: Final = get_logger("runcast.stores.redis")

_MAX_CACHED: Final = 10_000
"""Logs whose state is remembered between two appends; each costs about a KiB. Those that were used
longest ago are asked for again."""

_MAX_TURNS: Final = 200
"""How often a request is planned again because others were first."""

_ORIGIN_BYTES: Final = 16
_COUNT_BYTES: Final = VERSION_BYTES - _ORIGIN_BYTES // 2

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_use: Final = msgspec.msgpack.Decoder(OnceUse).decode
_decode_info: Final = msgspec.msgpack.Decoder(LogInfo).decode
_decode_saved: Final = msgspec.msgpack.Decoder(tuple[str, int, bytes]).decode

_Plan = Callable[[Ledger], Sequence[Command]]


class RedisStore(Reading):
    """Keeps logs in a server that speaks Redis' protocol, such as Valkey.

    What a commit survives is up to the server's settings (`appendonly`, `appendfsync`, replicas);
    `runcast doctor` looks at them. Leases are measured by the server's clock.

    Args:
        url: `redis://[user:password@]host[:port][/database][?namespace=runcast]`, or `rediss://`
            for TLS, or `valkey://`. Logs of different namespaces do not see each other. With
            `redis+cluster://host:port,host:port/`, the members of a cluster. With
            `?wait_replicas=1`, a commit is acknowledged once a replica has it.
        lease_clock: measures leases instead of the server's clock; for tests.
    """

    def __init__(
        self,
        url: str,
        clock: Clock | None = None,
        *,
        lease_clock: Callable[[], float] | None = None,
    ) -> None:
        self._server = Server(parse_url(url))
        self._clock = clock or SystemClock()
        self._lease_clock = lease_clock
        self._node = secrets.token_bytes(_ORIGIN_BYTES // 2)
        self._origin = self._node.hex().encode()
        self._commits = 0
        self._cached: OrderedDict[str, Seen] = OrderedDict()
        self._listeners: dict[object, Callable[[Change | None], None]] = {}
        self._interest = Interest(self._server, self._origin, self._notify_all)
        self._data_id = ""

    @property
    def identity(self) -> str:
        return f"redis-{self._data_id}" if self._data_id else ""

    async def open(self) -> Self:
        if self._data_id:
            return self
        await self._server.open()
        try:
            await self._server.call("SET", "data", secrets.token_hex(4), "NX")
            data_id = await self._server.call("GET", "data")
            self._interest = Interest(self._server, self._origin, self._notify_all)
            await self._server.listen(self._origin.decode(), self._hear, self._miss)
            await self._interest.open()
        except BaseException:
            await self._server.close()
            raise
        self._data_id = str(data_id, "ascii")
        return self

    async def close(self) -> None:
        self._data_id = ""
        self._cached.clear()
        await self._interest.close()
        await self._server.close()

    # Writing.

    async def commit(self, group: Sequence[Append]) -> list[Appended | RuncastError]:
        outcomes: list[Appended | RuncastError | None] = [None] * len(group)
        left, now, member = list(range(len(group))), self._clock.time(), self._server.member
        for _ in range(_MAX_TURNS):
            appends = [group[place] for place in left]
            seen = await self._look([append.log_id for append in appends])
            turn = Turn(group, left, seen, await self._uses_of(appends, seen), now)
            results = await self._send(turn.steps(outcomes))
            changed = {log_id for log_id, result in results.items() if result < 0}
            left = [place for place in left if group[place].log_id in changed] if changed else []
            if not left:
                await self._server.settle(member)
                return [outcome for outcome in outcomes if outcome is not None]
        raise _too_busy()

    async def _uses_of(
        self, appends: Iterable[Append], seen: Mapping[str, Seen]
    ) -> dict[tuple[str, str], OnceUse]:
        """Return the known uses of the idempotency keys of appends, by log and key."""
        asked = [
            (append.log_id, append.once.key)
            for append in appends
            if append.once is not None and seen[append.log_id].log is not None
        ]
        if not asked:
            return {}
        fields = [("HGET", f"log:{log_id}", _field(key)) for log_id, key in asked]
        found = zip(asked, await self._server.call_all(fields), strict=True)
        return {which: _decode_use(use) for which, use in found if use is not None}

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
        log_id = make_log_id(kind, log_id)
        now, entropy = self._clock.time(), secrets.randbits(9)
        log = await self._transact(
            log_id,
            lambda ledger: [
                ledger.plan_create(
                    log_id,
                    now=now,
                    entropy=entropy,
                    owner_id=owner_id,
                    labels=labels,
                    ttl_s=ttl_s,
                    replace=replace,
                    attachment=attachment,
                )
            ],
        )
        return _info_of(log)

    async def trim(self, log_id: str, first: int, snapshot: bytes) -> LogInfo:
        return await self.trim_epoch(log_id, "", first, snapshot)

    async def trim_epoch(self, log_id: str, epoch: str, first: int, snapshot: bytes) -> LogInfo:
        def plan(ledger: Ledger) -> list[Command]:
            command = ledger.plan_trim(log_id, first, snapshot, epoch)
            return [] if command is None else [command]

        return _info_of(await self._transact(log_id, plan))

    async def delete(self, log_id: str) -> None:
        await self.delete_epoch(log_id, "")

    async def delete_epoch(self, log_id: str, epoch: str) -> None:
        await self._transact(log_id, lambda ledger: [ledger.plan_delete(log_id, epoch)])

    async def claim(self, log_id: str, owner_id: str) -> LogInfo:
        def plan(ledger: Ledger) -> list[Command]:
            info = ledger.get(log_id).info
            if info.closed:
                raise RunClosed(f"the {describe_log(log_id)} has ended; it needs no owner")
            return [ClaimCommand(log_id, owner_id, info.fence + 1)]

        return _info_of(await self._transact(log_id, plan, claimed_by=owner_id))

    async def _transact(self, log_id: str, plan: _Plan, *, claimed_by: str = "") -> Log | None:
        """Plan and apply a change of one log; return the log afterwards.

        Args:
            claimed_by: an owner who takes the log over; the present owner's lease must be over.
        """
        for _ in range(_MAX_TURNS):
            self._cached.pop(log_id, None)  # such a change is rare, and must be refused only if new
            seen = await self._look([log_id])
            log = seen[log_id].log
            ledger = Ledger()
            if log is not None:
                ledger.logs[log_id] = log
            commands = plan(ledger)
            owner_id = log.info.owner_id if log is not None and claimed_by else ""
            rival = "" if owner_id == claimed_by else owner_id
            planned = plan_change(log_id, seen[log_id], commands, rival=rival)
            if not commands:
                return planned.after
            member = self._server.member
            result = (await self._send([Step(changes=[planned])]))[log_id]
            if result == _LEASED:
                raise Conflict(f"the {describe_log(log_id)} is owned by a process that lives")
            if result > 0:
                await self._server.settle(member)
                return planned.after
        raise _too_busy()

    async def _look(self, log_ids: Iterable[str]) -> dict[str, Seen]:
        """Return logs, as remembered or as they are."""
        seen: dict[str, Seen] = {}
        unknown: list[str] = []
        for log_id in log_ids:
            if log_id in seen:
                continue
            if (known := self._cached.get(log_id)) is not None:
                self._cached.move_to_end(log_id)
                seen[log_id] = known
            else:
                seen[log_id] = Seen(ABSENT, None)
                if is_log_id(log_id):
                    unknown.append(log_id)
        if unknown:
            found = await self._server.run("look", "p", *unknown)
            for log_id, (now, state, _) in zip(unknown, found, strict=True):
                if now is not None:
                    seen[log_id] = Seen(now[:VERSION_BYTES], decode_now(now, state))
        return seen

    async def _send(self, steps: Iterable[Step]) -> Mapping[str, int]:
        """Have the server apply steps, and remember the logs.

        Returns the server's result for each change, and -1 for each plain append that was not
        applied.
        """
        version, sent = self._next_version(), list[Step]()
        words = (self._origin, self._lease_time(), MAX_CHANGES, version)
        results: dict[str, int] = {}
        try:
            answers = await self._server.commit(words, version, _noted(steps, sent))
        except BaseException:
            for step in sent:  # nobody knows whether the logs were changed
                self._forget(step)
            raise
        for (appends, changes), (refused, numbers) in zip(sent, answers, strict=True):
            results.update((appends[place - 1].log_id, -1) for place in refused)
            for append in appends:
                if not refused or append.log_id not in results:
                    self._remember(append.log_id, append.finish(version))
            for change, number in zip(changes, numbers, strict=True):
                results[change.log_id] = number
                if number > 0 and change.after is not None:
                    self._remember(change.log_id, Seen(version, change.after, is_remembered=True))
        for log_id, result in results.items():
            if result < 0:
                self._cached.pop(log_id, None)
        return results

    def _forget(self, step: Step) -> None:
        for append in step.appends:
            self._cached.pop(append.log_id, None)
        for change in step.changes:
            self._cached.pop(change.log_id, None)

    def _next_version(self) -> bytes:
        self._commits += 1
        return self._node + self._commits.to_bytes(_COUNT_BYTES)

    def _remember(self, log_id: str, seen: Seen) -> None:
        cached = self._cached
        if cached.get(log_id) is seen:
            return
        cached[log_id] = seen
        cached.move_to_end(log_id)
        while len(cached) > _MAX_CACHED:
            cached.popitem(last=False)

    async def renew(self, owner: Owner, ttl_s: float) -> None:
        await self._server.run("renew", owner.owner_id, ttl_s, self._lease_time())

    async def save_state(self, log_id: str, epoch: str, seq: int, state: bytes) -> None:
        check_id(log_id)
        kept = _encode((epoch, seq, state))
        found = await self._server.run("save_state", log_id, epoch, kept)
        info = found_log(log_id, *found).info
        if info.epoch != epoch:
            raise epoch_is_over(info, epoch)

    async def orphans(self, limit: int = 100) -> Sequence[LogInfo]:
        found = await self._server.run("orphans", self._lease_time(), limit)
        seen = await self.describe([str(log_id, "ascii") for log_id in found])
        return [info for info in seen if info is not None and not info.closed]

    def _lease_time(self) -> float | str:
        return "" if self._lease_clock is None else self._lease_clock()

    async def dangers(self) -> Sequence[tuple[str, str]]:
        return dangers_of(await self._server.facts(), self._clock.time())

    # Other processes.

    def listen(self, callback: Callable[[Change | None], None]) -> Callable[[], None]:
        key = object()
        self._listeners[key] = callback

        def stop() -> None:
            self._listeners.pop(key, None)

        return stop

    async def focus(self) -> None:
        await self._interest.focus()

    async def watch(self, log_id: str) -> None:
        await self._interest.watch(log_id)

    def leave(self, log_id: str) -> None:
        self._interest.leave(log_id)

    def _hear(self, message: bytes) -> None:
        if message.startswith(self._origin):
            return
        for change, is_plain in changes_of(message[_ORIGIN_BYTES:]):
            self._cached.pop(change.log_id, None)
            if is_plain:
                self._interest.heard(change.log_id)
            for callback in list(self._listeners.values()):
                callback(change)

    def _miss(self) -> None:
        self._cached.clear()
        self._interest.lost()

    def _notify_all(self) -> None:
        for callback in list(self._listeners.values()):
            callback(None)


_LEASED: Final = -2
"""What `commit.lua` returns if an owner lives."""


def _noted(steps: Iterable[Step], sent: list[Step]) -> Iterator[Step]:
    """Return steps, and note each."""
    for step in steps:
        sent.append(step)
        yield step


def _info_of(log: Log | None) -> LogInfo:
    assert log is not None
    return copy_info(log.info)


def _field(key: object) -> bytes:
    """Return the field of an idempotency key, which may be malformed."""
    return once_field(str(key)).encode(errors="surrogatepass")


def _too_busy() -> StoreUnavailable:
    return StoreUnavailable(
        f"others changed the same logs {_MAX_TURNS} times while a request was planned; try again"
    )
