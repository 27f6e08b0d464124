"""How often one scope may be called: a sliding window, a pause between calls, and penalties.

A scope is what the platform counts together: a chat, a group with all its topics, a room. All
deliveries of a process to one scope share a `Budget`, so a penalty that one of them meets holds
the others back, too.

A window, not one call in each second: a bucket would delay a one-word answer behind the text of
another delivery. Some slots are reserved, so that the answer and the questions get through when
growing text has used all the others.

Some platforms count sends, edits and deletions apart. Then each of them has a window of its own.
The pause between calls and the penalties are common to all of them.
"""

from collections import OrderedDict, deque
from typing import Final, Literal

from runcast.channels.capability import Capability

__all__ = ("Budget", "Budgets", "CallGroup")

CallGroup = Literal["send", "edit", "other"]
"""What a platform that `counts_apart` counts together."""

_CAUTION: Final = 1.1
"""How much longer than asked the pause becomes after a penalty."""

_MAX_INTERVAL_S: Final = 30.0
"""Longest pause that is learnt. A penalty of minutes says nothing about the pace that is allowed
after it."""

_FORGET_S: Final = 30.0
_FORGET: Final = 0.9
"""After each half minute without a penalty, a tenth of what was learnt is forgotten."""

_MAX_SCOPES: Final = 10_000
"""Most scopes that are remembered; the one that was not used for the longest time goes first."""


class Budget:
    """The calls to one scope. Pure: every method gets the time."""

    __slots__ = ("_capability", "_clean_since", "_interval_s", "_last", "_windows", "blocked_until")

    def __init__(self, capability: Capability) -> None:
        self.blocked_until = 0.0
        """No call before this time, whatever it is for."""
        self._capability = capability
        self._interval_s = capability.interval_s
        self._clean_since = 0.0
        self._last = -capability.interval_s
        self._windows: dict[CallGroup, _Window] = {}

    @property
    def held_until(self) -> float:
        """When no group of calls is held or blocked any more."""
        held = (window.held_until for window in self._windows.values())
        return max(self.blocked_until, *held, 0.0)

    def earliest(self, now: float, *, is_important: bool, group: CallGroup = "other") -> float:
        """Return when the next call may be made; `now` or earlier if at once.

        Args:
            is_important: for a question, a decision or an ending: it need not keep the pause, and
                may use the reserved slots.
        """
        capability, window = self._capability, self._window(group)
        slots = capability.slots if is_important else capability.slots - capability.reserved
        earliest = max(self.blocked_until, window.held_until)
        if len(window.spent) >= slots:
            earliest = max(earliest, window.spent[-slots] + capability.window_s)
        if not is_important:
            earliest = max(earliest, self._last + self.interval_s(now))
        return earliest

    def spend(self, now: float, group: CallGroup = "other") -> None:
        """Note a call that is made now."""
        self._window(group).spent.append(now)
        self._last = now

    def penalise(self, now: float, retry_after_s: float) -> None:
        """Note that the server refused a call, and for how long it will refuse more."""
        self.blocked_until = max(self.blocked_until, now + retry_after_s)
        learnt = min(retry_after_s * _CAUTION, _MAX_INTERVAL_S)
        self._interval_s = max(self.interval_s(now), learnt)
        self._clean_since = now

    def hold(self, now: float, seconds: float, group: CallGroup = "other") -> None:
        """Note that the server said when it takes the next call, before it had to refuse one."""
        if self._capability.counts_apart:
            window = self._window(group)
            window.held_until = max(window.held_until, now + seconds)
        else:
            self.blocked_until = max(self.blocked_until, now + seconds)

    def interval_s(self, now: float) -> float:
        """Return the present pause between two calls for growing text."""
        base = self._capability.interval_s
        if self._interval_s <= base:
            return base
        steps = int((now - self._clean_since) / _FORGET_S)
        return max(base, self._interval_s * float(_FORGET**steps))

    def _window(self, group: CallGroup) -> "_Window":
        key: CallGroup = group if self._capability.counts_apart else "other"
        if key not in self._windows:
            self._windows[key] = _Window(self._capability.slots)
        return self._windows[key]


class _Window:
    """The last calls that a platform counts together."""

    __slots__ = ("held_until", "spent")

    def __init__(self, slots: int) -> None:
        self.held_until = 0.0
        """No call of this group before this time."""
        self.spent: deque[float] = deque(maxlen=slots)
        """When the last calls were made, oldest first."""


class Budgets:
    """The budgets of one channel, by scope."""

    def __init__(self, capability: Capability) -> None:
        self._capability = capability
        self._budgets: OrderedDict[str, Budget] = OrderedDict()

    def __len__(self) -> int:
        return len(self._budgets)

    def of(self, scope: str) -> Budget:
        """Return the budget of a scope. Deliveries keep theirs, even if it is forgotten here."""
        budget = self._budgets.get(scope)
        if budget is None:
            budget = self._budgets[scope] = Budget(self._capability)
            if len(self._budgets) > _MAX_SCOPES:
                self._budgets.popitem(last=False)
        self._budgets.move_to_end(scope)
        return budget
