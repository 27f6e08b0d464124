"""One turn of a commit: its appends are planned in steps. Pure.

If a log has changed since it was seen, its appends are refused, and planned again in another turn.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from runcast.errors import RuncastError
from runcast.stores.base import Append, Appended
from runcast.stores.ledger import Ledger
from runcast.stores.plans import Command, OnceUse
from runcast.stores.redis import plain
from runcast.stores.redis.keeping import Planned, Seen, plan_change
from runcast.stores.redis.plain import PlainAppend

__all__ = ("Step", "Turn")

_STEP: Final = 500
"""Most plain appends of a step: the server does nothing else for some 2 ms. Of short steps, each
would be planned while the server applies the one before; but a step of 25 costs both sides a third
more."""

_Outcomes = list[Appended | RuncastError | None]


class Step(NamedTuple):
    """What one call of `commit.lua` applies."""

    appends: Sequence[PlainAppend] = ()
    changes: Sequence[Planned] = ()


class Turn:
    """Plans appends of a group once, and notes their outcomes.

    Args:
        left: the places in the group of the appends that have no outcome yet.
        seen: the logs of these appends.
        uses: known uses of idempotency keys, by log and key.
        now: Unix seconds.
    """

    def __init__(
        self,
        group: Sequence[Append],
        left: Sequence[int],
        seen: Mapping[str, Seen],
        uses: Mapping[tuple[str, str], OnceUse],
        now: float,
    ) -> None:
        self._group = group
        self._left = left
        self._seen = seen
        self._uses = uses
        self._now = now

    def steps(self, outcomes: _Outcomes) -> Iterator[Step]:
        """Return the steps; each is planned when it is asked for.

        Args:
            outcomes: takes the outcome of each append, at its place in the group.
        """
        group, seen = self._group, self._seen
        appends: list[PlainAppend] = []
        others: list[int] = []
        # The appends of a log that has several are planned together.
        repeated = () if len(seen) == len(self._left) else _repeated(group, self._left)
        for place in self._left:
            append = group[place]
            planned = None
            if append.log_id not in repeated:
                planned = plain.plan(seen[append.log_id], append)
            if planned is None:
                others.append(place)
                continue
            outcomes[place] = planned.outcome
            appends.append(planned)
            if len(appends) == _STEP:
                yield Step(appends)
                appends = []
        changes = self._plan_others(others, outcomes) if others else ()
        if appends or changes:
            yield Step(appends, changes)

    def _plan_others(self, places: Sequence[int], outcomes: _Outcomes) -> list[Planned]:
        """Plan appends that are not plain."""
        appends = [self._group[place] for place in places]
        seen = {append.log_id: self._seen[append.log_id] for append in appends}
        ledger = Ledger(load_once=lambda log, key: self._uses.get((log.info.log_id, key)))
        ledger.logs = {log_id: each.log for log_id, each in seen.items() if each.log is not None}
        commands, found = ledger.plan_appends(appends, self._now)
        for place, outcome in zip(places, found, strict=True):
            outcomes[place] = outcome
        return _changes_of(seen, commands)


def _repeated(group: Sequence[Append], places: Iterable[int]) -> set[str]:
    """Return the ids of logs that have several of these appends."""
    counted = Counter(group[place].log_id for place in places)
    return {log_id for log_id, count in counted.items() if count > 1}


def _changes_of(seen: Mapping[str, Seen], commands: Sequence[Command]) -> list[Planned]:
    """Return the changes that commands make.

    A log that was planned from memory and is not changed is compared, too: a refusal counts only
    if it was decided on the log as it is.
    """
    by_log: dict[str, list[Command]] = {
        log_id: [] for log_id, each in seen.items() if each.is_remembered
    }
    for command in commands:
        by_log.setdefault(command.log_id, []).append(command)
    return [plan_change(log_id, seen[log_id], each) for log_id, each in by_log.items()]
