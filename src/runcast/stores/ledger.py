"""The rules of the store contract, as a state machine without I/O.

A request is *planned* against the present state. A plan changes nothing and returns **commands**.
Commands are *applied* once they are durable. A store that several processes share makes its
commands durable by compare-and-append: if another process was first, the plan is thrown away, that
process's commands are applied, and the request is planned again. So every process that applies the
same commands in the same order holds the same state, and no lock is held across a plan.

Long because the plan of each command and its application must be read together.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from runcast.errors import Conflict, InvalidValue, NotFound, RuncastError
from runcast.events.lifecycle import is_decisive, standing_after, standing_after_frames
from runcast.events.position import describe_log, is_log_id, make_epoch
from runcast.stores.base import (
    Append,
    Appended,
    LogInfo,
    Once,
    Page,
    epoch_is_over,
)
from runcast.stores.changes import Point, RecentChanges
from runcast.stores.model import check_attachment, check_text, merge_labels
from runcast.stores.paging import frame_pages
from runcast.stores.plans import (
    VERSION,
    AppendCommand,
    ClaimCommand,
    Command,
    CreateCommand,
    DeleteCommand,
    Draft,
    OnceUse,
    TrimCommand,
    not_open,
)
from runcast.stores.producers import Turn, Use, check_producer, keep, refuse

__all__ = (
    "Ledger",
    "Log",
    "apply_append",
    "copy_info",
    "plan_plain",
)

_MAX_ONCE_CHARS: Final = 256
_STATUS_OF_VERSION_1: Final = "status"
"""The label that had the status in version 1 of the journal."""


@dataclass(slots=True)
class Log:
    """A log as the ledger holds it. `pages` holds the pages not yet moved to the store's tables."""

    key: int
    info: LogInfo
    pages: list[Page] = field(default_factory=list)
    once: dict[str, OnceUse] = field(default_factory=dict)
    snapshot: tuple[int, bytes] | None = None
    segment: tuple[int, int] = (0, 0)
    """First `seq` and bytes of the last segment in the store's tables; (0, 0) without a segment."""
    producers: dict[str, Use] = field(default_factory=dict)
    """The last appends of the remembered producers."""
    attachment: bytes | None = None  # None once it is in the store's tables
    has_forgotten: bool = False
    """Whether a producer was forgotten."""
    listed: dict[str, str] | None = None
    """The labels, the very object, by which the store's tables list it."""
    described: tuple[object, ...] | None = None
    """What the store's tables say of it, besides its labels and its growth; None if nothing."""


class Ledger:
    """The present state of all logs touched since it was made.

    Args:
        load: fetches a log that the ledger does not hold; returns None for an unknown log.
        load_once: fetches the use of an idempotency key that the ledger does not hold.
    """

    def __init__(
        self,
        load: Callable[[str], Log | None] = lambda log_id: None,
        load_once: Callable[[Log, str], OnceUse | None] = lambda log, key: None,
    ) -> None:
        self.logs: dict[str, Log] = {}
        self.dead_keys: list[int] = []
        """Keys of epochs that were replaced or deleted: their data can be deleted."""
        self.deleted: set[str] = set()
        """Deleted logs; the store's tables may still have them."""
        self.next_key = 1
        self.recent = RecentChanges()
        """Which logs changed last."""
        self._load = load
        self._load_once = load_once

    def find(self, log_id: str) -> Log | None:
        """Return a log, or None."""
        log = self.logs.get(log_id)
        if log is None and log_id not in self.deleted and is_log_id(log_id):
            log = self._load(log_id)
            if log is not None:
                self.logs[log_id] = log
        return log

    def get(self, log_id: str) -> Log:
        """Return a log. Raises `NotFound`."""
        log = self.find(log_id)
        if log is None:
            raise NotFound(f"there is no {describe_log(log_id)}")
        return log

    def peek(self, log_id: str) -> LogInfo | None:
        """Return what is known of a log, without keeping the log."""
        log = self.logs.get(log_id)
        if log is None and log_id not in self.deleted:
            log = self._load(log_id)
        return None if log is None else log.info

    # Plans: they raise or return commands, and change nothing.

    def plan_create(
        self,
        log_id: str,
        *,
        now: float,
        entropy: int,
        owner_id: str,
        labels: Mapping[str, str] | None,
        ttl_s: float | None,
        replace: bool | str,
        attachment: bytes = b"",
    ) -> CreateCommand:
        check_attachment(attachment)
        old = self.find(log_id)
        if old is not None and replace not in (True, old.info.epoch):
            raise Conflict(
                f"the {describe_log(log_id)} exists already; choose another id or replace it"
            )
        return CreateCommand(
            log_id=log_id,
            key=self.next_key,
            epoch=make_epoch(now, entropy, after=old.info.epoch if old else ""),
            created_at=now,
            labels=merge_labels({}, labels or {}),
            ttl_s=ttl_s,
            owner_id=owner_id,
            fence=old.info.fence + 1 if old else 1,
            version=VERSION,
            attachment=attachment,
        )

    def plan_appends(
        self, group: Sequence[Append], now: float
    ) -> tuple[list[Command], list[Appended | RuncastError]]:
        drafts: dict[str, Draft] = {}
        commands: list[Command] = []
        outcomes: list[Appended | RuncastError] = []
        for append in group:
            try:
                log = self.get(append.log_id)
                draft = drafts.get(append.log_id)
                if draft is None:
                    info = log.info
                    draft = drafts[append.log_id] = Draft(
                        info.epoch,
                        info.head,
                        info.closed,
                        info.fence,
                        info.labels,
                        info.standing,
                        {},
                    )
                else:
                    draft.begin_turns()
                if append.producer is None:
                    command, outcome = self._plan_append(log, draft, append, now)
                else:
                    command, outcome = self._plan_numbered(log, draft, append, now)
            except RuncastError as error:
                outcomes.append(error)
            else:
                outcomes.append(outcome)
                if command is not None:
                    commands.append(command)
        return commands, outcomes

    def _plan_numbered(
        self, log: Log, draft: Draft, append: Append, now: float
    ) -> tuple[AppendCommand | None, Appended]:
        """Plan an append that may be a repeat.

        A repeat is recognised first: an append that was made stays made, whatever happened to
        the log since.
        """
        producer = append.producer
        assert producer is not None
        producer_id, number = producer.producer_id, producer.number
        earlier, turns = log.producers.get(producer_id), draft.turns
        turn = None if turns is None else turns.get(producer_id)
        last = turn or earlier
        expected = 1 if last is None else last.number + 1
        refusal: RuncastError | None = None
        if number != expected or number == 1:
            check_producer(producer)
        if number != expected:
            made = (turn and turn.find(number)) or (earlier and earlier.find(number))
            if made:
                result = (draft.epoch, made.first, made.last, (), draft.closed)
                return None, Appended(*result, repeated=True, is_resent=True)
            refusal = refuse(append.log_id, producer, expected)
        # An append behind one that was refused, or that another producer made, is still in
        # sequence: both were sent before either outcome was known.
        elif turns is None:
            draft.producer = producer
        elif turn is None:
            turn = turns[producer_id] = Turn(number)
        else:
            turn.number = number
        if producer.retried and last is None and log.has_forgotten and append.once is None:
            refusal = refuse(append.log_id, producer, expected, is_doubtful=True)
        command, appended = self._plan_append(log, draft, append, now, refusal)
        if command is not None:
            use = Use(number, appended.first, appended.last)
            if turn is None:
                draft.use = use
            else:
                turn.use = use = use.after(turn.use)
            command.producer_id, command.use = producer_id, use
        return command, appended

    def _plan_append(
        self,
        log: Log,
        draft: Draft,
        append: Append,
        now: float,
        refusal: RuncastError | None = None,
    ) -> tuple[AppendCommand | None, Appended]:
        """Plan an append or raise why it is refused. The `refusal` passed in is checked last."""
        if append.epoch and append.epoch != draft.epoch:
            raise epoch_is_over(log.info, append.epoch)
        if append.once is not None and (use := self._once_use(log, draft, append.once)):
            return None, Appended(draft.epoch, use.first, use.last, (), draft.closed, True)
        if draft.closed or (append.fence is not None and append.fence != draft.fence):
            raise not_open(draft, append)
        labels = merge_labels(draft.labels, append.labels) if append.labels else None
        check_attachment(append.attachment)
        first = draft.head + 1
        pages = frame_pages(draft.epoch, first, append.records, append.close)
        standing, records = draft.standing, append.records
        # Most commits have one record per run; one record needs no loop.
        if standing.status == "queued" or (
            is_decisive(records[0]) if len(records) == 1 else any(map(is_decisive, records))
        ):
            for record in records:
                standing = standing_after(standing, record)
        if refusal is not None:
            raise refusal
        # All checks passed: only now may the draft change.
        draft.head += len(append.records)
        command = AppendCommand(
            append.log_id,
            pages,
            now if append.close else None,
            labels,
            (*append.once, first, draft.head) if append.once else None,
            None if standing is draft.standing else standing,
            attachment=append.attachment,
        )
        draft.closed, draft.standing = append.close, standing
        if labels is not None:
            draft.labels = labels
        if append.once is not None:
            draft.once[append.once.key] = OnceUse(append.once.digest, first, draft.head)
        appended = Appended(
            draft.epoch, first, draft.head, pages, append.close, labels=draft.labels
        )
        return command, appended

    def plan_trim(
        self, log_id: str, first: int, snapshot: bytes, epoch: str = ""
    ) -> TrimCommand | None:
        """Plan a trim; "" means any epoch. Raises `NotFound`, `Stale`."""
        info = self.get(log_id).info
        if epoch and info.epoch != epoch:
            raise epoch_is_over(info, epoch)
        kept = min(first, info.head)
        return TrimCommand(log_id, kept, snapshot) if kept > info.first else None

    def plan_delete(self, log_id: str, epoch: str = "") -> DeleteCommand:
        """Plan to remove a log; "" means any epoch. Raises `NotFound`, `Stale`."""
        info = self.get(log_id).info
        if epoch and info.epoch != epoch:
            raise epoch_is_over(info, epoch)
        return DeleteCommand(log_id)

    def _once_use(self, log: Log, draft: Draft, once: Once) -> OnceUse | None:
        if not once.key or len(once.key) > _MAX_ONCE_CHARS:
            raise InvalidValue(
                f"expected an idempotency key of 1 to {_MAX_ONCE_CHARS} characters, "
                f"got {len(once.key)}"
            )
        check_text(once.key)
        check_text(once.digest)
        use = draft.once.get(once.key) or log.once.get(once.key) or self._load_once(log, once.key)
        if use is not None and use.digest != once.digest:
            raise Conflict(f"the key {once.key!r} was used before with other content")
        return use

    # Applying: changes the state. It never fails, because it loads nothing.

    def fetch(self, commands: Sequence[Command]) -> None:
        """Load the logs that another process's commands change, before these are applied."""
        for log_id in {command.log_id for command in commands}:
            self.find(log_id)

    def apply(self, row: int, commands: Iterable[Command]) -> None:
        """Apply durable commands to the state. Their plans, or `fetch`, have loaded their logs.

        Args:
            row: the place of these commands among all durable commands.
        """
        for index, command in enumerate(commands):
            self._apply(command, Point(row, index))

    def _apply(self, command: Command, point: Point) -> None:
        match command:
            case AppendCommand():
                apply_append(self.logs[command.log_id], command)
                is_plain = command.standing is None and command.labels is None
                if not is_plain or command.closed_at is not None:
                    self.recent.note(command.log_id, point)
            case CreateCommand():
                self._apply_create(command)
                self.recent.note(command.log_id, point)
            case ClaimCommand():
                info = self.logs[command.log_id].info
                info.owner_id, info.fence = command.owner_id, command.fence
            case TrimCommand():
                self._apply_trim(self.logs[command.log_id], command)
            case DeleteCommand():
                log = self.logs.pop(command.log_id)
                self.dead_keys.append(log.key)
                self.deleted.add(command.log_id)
                self.recent.note(command.log_id, point, deleted=log.info)

    def forget(self) -> None:
        """Drop all state, because the store's tables hold it."""
        self.logs.clear()
        self.dead_keys.clear()
        self.deleted.clear()

    def _apply_create(self, command: CreateCommand) -> None:
        old = self.logs.get(command.log_id)
        if old is not None:
            self.dead_keys.append(old.key)
        info = LogInfo(
            log_id=command.log_id,
            epoch=command.epoch,
            created_at=command.created_at,
            labels=command.labels,
            ttl_s=command.ttl_s,
            owner_id=command.owner_id,
            fence=command.fence,
        )
        if command.version == 1:
            info.labels.pop(_STATUS_OF_VERSION_1, None)
        self.logs[command.log_id] = Log(command.key, info, attachment=command.attachment)
        self.deleted.discard(command.log_id)
        self.next_key = max(self.next_key, command.key + 1)

    def _apply_trim(self, log: Log, command: TrimCommand) -> None:
        log.info.first = command.first
        log.snapshot = (command.first - 1, command.snapshot)
        while log.pages and log.pages[0].last < command.first:
            log.pages.pop(0)


def plan_plain(log: Log, append: Append) -> tuple[Page, Use | None] | None:
    """Return the page and the producer's use of an append that only adds a page to an open log.

    None if the append does anything else, may be a repeat, or is to be refused. Nearly all appends
    are plain; for these it gives what `Ledger.plan_appends` gives, in a third of the time.
    """
    info, records, producer = log.info, append.records, append.producer
    standing = info.standing
    if (
        info.closed
        or append.close
        or append.once is not None
        or append.labels
        or append.attachment
        or (append.epoch and append.epoch != info.epoch)
        or (append.fence is not None and append.fence != info.fence)
        or not records
        or (is_decisive(records[0]) if len(records) == 1 else any(map(is_decisive, records)))
    ):
        return None
    if standing.status == "queued" and any(
        standing_after(standing, each) is not standing for each in records
    ):
        return None
    use = None
    if producer is not None:
        earlier = log.producers.get(producer.producer_id)
        if earlier is None or producer.number != earlier.number + 1:
            return None
        use = Use(producer.number, info.head + 1, info.head + len(records))
    try:
        pages = frame_pages(info.epoch, info.head + 1, records, close=False)
    except InvalidValue:
        return None
    return (pages[0], use) if len(pages) == 1 else None


def apply_append(log: Log, command: AppendCommand) -> None:
    """Apply a durable append to its log."""
    info = log.info
    for page in command.pages:
        log.pages.append(page)
        info.head = page.last
        info.bytes += len(page.frames)
    if command.closed_at is not None:
        info.closed, info.closed_at = True, command.closed_at
    if command.labels is not None:
        info.labels = command.labels
    if command.once is not None:
        key, digest, *result = command.once
        log.once[key] = OnceUse(digest, *result)
    if command.use is not None:
        log.has_forgotten |= keep(log.producers, command.producer_id, command.use)
    log.attachment = command.attachment or log.attachment
    if command.standing == "unsaid":
        for page in command.pages:
            info.standing = standing_after_frames(info.standing, page.frames)
        info.labels.pop(_STATUS_OF_VERSION_1, None)
    elif command.standing is not None:
        info.standing = command.standing


def copy_info(info: LogInfo) -> LogInfo:
    """Return a deep copy."""
    # Field by field: `dataclasses.replace` takes four times as long, and commits to Redis copy.
    return LogInfo(
        log_id=info.log_id,
        epoch=info.epoch,
        created_at=info.created_at,
        first=info.first,
        head=info.head,
        closed=info.closed,
        closed_at=info.closed_at,
        bytes=info.bytes,
        labels=dict(info.labels),
        ttl_s=info.ttl_s,
        owner_id=info.owner_id,
        fence=info.fence,
        standing=info.standing,
    )
