"""The search for messages whose sends got no answer, where the platform lets us look. Pure.

A message that is not there soon after its connection broke is sent again, under another key,
because the end of a run shall not wait. The first one is looked for once more, some seconds
later. If it has come after all, it is deleted.

Source: ours.
"""

from typing import Any, Final

import msgspec

from runcast.channels.actions import Find
from runcast.channels.capability import Capability
from runcast.channels.layout import Page
from runcast.channels.outcome import CallOutcome

__all__ = ("LateLook", "Searches")

_SETTLED_S: Final = 0.3
"""How long a server may work on a call whose connection broke before its message counts as not
there. Most calls take less altogether."""

_KEPT_S: Final = 4.0
"""The same where a message that comes later could not be deleted."""

_LATE_S: Final = 5.0
"""How long after that a message is looked for once more."""

_TRIES: Final = 8
"""How often the server may not answer a search, with growing pauses, before it is given up."""

_LATE_TRIES: Final = 3
_MAX_LATE: Final = 50
"""Most messages that are looked for once more."""

_LONG_S: Final = 15.0
"""A penalty for looking that is longer ends the search: the text must not wait for the next one."""


class LateLook(msgspec.Struct):
    """A message that was not there, and may come all the same."""

    key: str
    sent_at: float
    """When the first send with this key began."""
    due: float
    tries: int = 0


class Searches:
    """What is known of the sends of one delivery that got no answer."""

    def __init__(self, capability: Capability) -> None:
        self._capability = capability
        self.is_refused = False
        """Whether the platform refused to let us look."""
        self._late: list[LateLook] = []

    @property
    def settles(self) -> bool:
        """Whether it becomes known in the end what became of every send."""
        capability = self._capability
        return capability.is_idempotent or (capability.can_find and not self.is_refused)

    def wants_look(self, page: Page) -> bool:
        """Return whether the message of a page without an answer is looked for."""
        return self._capability.can_find and page.looks < _TRIES

    def give_up(self, page: Page) -> None:
        """End the search for a page's message, because the platform lets nobody look."""
        page.looks, self.is_refused = _TRIES, True

    def refuse(self, page: Page, retry_after_s: float) -> None:
        """Note that a search was refused for its rate."""
        page.looks += 1
        if retry_after_s > _LONG_S:
            self.give_up(page)

    def again_at(self, page: Page) -> float:
        """Return when a message that was not found counts as not there, and is looked for again
        before that."""
        return page.lost_at + (_SETTLED_S if self._capability.can_delete else _KEPT_S)

    # Messages that may come late.

    def look_later(self, key: str, sent_at: float, now: float) -> bool:
        """Have a message looked for once more; return False if there are too many of them."""
        if len(self._late) >= _MAX_LATE:
            return False
        self._late.append(LateLook(key, sent_at, now + _LATE_S))
        return True

    @property
    def due(self) -> float | None:
        """When to look for the first of these messages; None if there are none."""
        return self._late[0].due if self._late else None

    def late_look(self, now: float) -> Find:
        """Return the search for the first of these messages."""
        return Find(self._late[0].key, max(0.0, now - self._late[0].sent_at))

    def settle_late(self, outcome: CallOutcome, now: float) -> bool:
        """Take the outcome of `late_look`; return False if nobody knows whether the message is
        there, and it is not looked for any more."""
        late = self._late.pop(0)
        if outcome.kind in ("ok", "gone"):
            return True
        late.tries += 1
        late.due = now + _LATE_S
        if outcome.kind == "rejected" or late.tries >= _LATE_TRIES:
            return False
        self._late.append(late)
        return True

    # Across restarts.

    def save(self) -> list[Any]:
        """Return the messages that may come late, as JSON."""
        return [msgspec.to_builtins(late) for late in self._late]

    def load(self, saved: list[Any], shift: float) -> None:
        """Take over what `save` returned; times are moved by `shift`."""
        for late in msgspec.convert(saved, list[LateLook]):
            late.sent_at += shift
            late.due += shift
            self._late.append(late)
