"""The state machine of one delivery: one run, one target. Pure: clock and calls are outside.

    next(now) ──► an action: do it, then settle(outcome, now)
        │
        ├──────► a time: ask again then, or when the document has changed
        └──────► None: ask again when the document has changed

The engine never queues edits. It compares what each message shows with what the message shall show,
at the moment when a call may be made. So text that grew while the server refused costs one call.

These things hold (the tests call them by these numbers):

1. One action is in flight at a time.
2. Messages are sent in the order of their pages.
3. What a message shows changes only with a confirmed call.
4. Once the receipt is there, nothing is called.
5. In the end every page is shown by exactly one message, or the receipt says `uncertain` or
   `failed`.
6. Nothing is called before a penalty is over.
7. Each text fits into a message, and its code fences are balanced.

The engine decides which call comes next. Each other subject has a module that keeps its own state:

- `openings`: when a new message is worth sending
- `flight`: the calls for pages
- `reactions`: what the outcome of a call changes, and `pauses`: how long to wait after failures
- `lost_sends`: sends without an answer
- `replacement`: the end as a new message
- `typing_sign`: the sign of writing
- `verdict`: the receipt

Source: ours.
"""

from typing import Any, Final

from runcast.channels.actions import Action, Delete, Send, Typing
from runcast.channels.budget import Budget
from runcast.channels.capability import Capability
from runcast.channels.document import Document
from runcast.channels.flight import Flight, Flights, Sent
from runcast.channels.layout import Layout, Page, Wanted
from runcast.channels.lost_sends import LostSends
from runcast.channels.openings import Openings
from runcast.channels.outcome import CallOutcome, Receipt
from runcast.channels.pages import Room
from runcast.channels.reactions import Reactions
from runcast.channels.replacement import Finish, Replacement
from runcast.channels.typing_sign import TypingSign
from runcast.channels.verdict import Verdict, may_be_shown

__all__ = ("Engine", "Finish", "Receipt", "may_be_shown")

_LEAST_PENALTY_S: Final = 0.5
"""Penalty if the server names a shorter one, or none."""

_GIVE_UP_S: Final = 24 * 3600.0
"""How long the end is tried for."""

_MARGIN: Final = 0.9
"""Part of a message's lifetime after which the next message begins."""


class Engine:
    """One delivery.

    Args:
        key: begins the keys of sends: unique for the delivery, equal after a restart.
        budget: of the target's scope.
        finish: whether the end changes the last message (`in_place`) or sends a new one before
            deleting the old one (`fresh`), which notifies people. `auto` sends a new one if the
            message is old and a repeated send cannot make two messages.
    """

    def __init__(
        self,
        key: str,
        capability: Capability,
        document: Document,
        budget: Budget,
        *,
        finish: Finish = "auto",
    ) -> None:
        self.capability = capability
        self.document = document
        self.budget = budget
        self.is_opening = False
        """Whether a new message waits for more text, or for a moment. Then ask sooner."""
        self.is_idle = False
        """Whether all is shown: a sign of writing may be due, but new text must not wait for it."""
        self._flight: Flight | None = None
        self._ended_at: float | None = None
        room = Room(capability.limit, capability.unit)
        self._layout = layout = Layout(document, room, closes=capability.closes_messages)
        self._verdict = verdict = Verdict(layout)
        self._replacement = replacement = Replacement(capability, document, layout, finish)
        self._lost = LostSends(capability, layout, budget, replacement, verdict)
        self._searches = self._lost.searches
        self._flights = Flights(key, layout)
        self._openings = Openings(capability, document, layout, self._searches)
        self._reactions = Reactions(capability, layout, self._lost, replacement, verdict)
        self._pauses = self._reactions.pauses
        self._typing = TypingSign(capability, document)

    @property
    def receipt(self) -> Receipt | None:
        """How the delivery ended; None before that."""
        return self._verdict.receipt

    @property
    def flight(self) -> Action | None:
        """The action whose outcome is awaited."""
        return None if self._flight is None else self._flight.action

    def next(self, now: float) -> Action | float | None:
        """Return what to do now, or when to ask again, or None if only new text changes anything.

        After an action, call `settle` with its outcome before the next call.
        """
        if self._verdict.receipt or self._flight or self.document.is_replaying:
            return None
        self._layout.update()
        if self.document.has_ended and self._ended_at is None:
            self._ended_at = now
            self._pauses.end(now)
        if self._ended_at is not None and now > self._ended_at + _GIVE_UP_S:
            self._verdict.fail("the platform did not take the text in time")
            return None
        blocked = max(self._pauses.resume_at, self.budget.blocked_until)
        if now < blocked:
            return blocked
        found = self._find(now)
        self.is_idle = found is None
        if not isinstance(found, Flight):
            found = _sooner(found, self._lost.look_late(now))
        if not isinstance(found, Flight):
            sign = self._typing.next(now)
            found = _sooner(found, Flight(sign, now) if isinstance(sign, Typing) else sign)
        if not isinstance(found, Flight):
            return found
        self._flight = found
        if not isinstance(found.action, Typing):
            self.budget.spend(now, found.group)
        return found.action

    def settle(self, outcome: CallOutcome, now: float) -> None:
        """Take the outcome of the action in flight."""
        flight, self._flight = self._flight, None
        if flight is None:
            return
        if isinstance(flight.action, Send):
            self._verdict.note_send(outcome)
        if outcome.kind == "limited":
            self.budget.penalise(now, max(outcome.retry_after_s, _LEAST_PENALTY_S))
        elif outcome.retry_after_s > 0:
            self.budget.hold(now, outcome.retry_after_s, flight.group)
        if not isinstance(flight.action, Typing):
            self._reactions.settle(flight, outcome, now)
        elif outcome.kind != "limited":
            self._typing.settle(flight.action, now)

    def adopt(self, question_id: str, message_id: str) -> bool:
        """Take note that the message of a question is there whose send got no answer: somebody
        pressed its button. Return False if the question has a message that is known."""
        return self._lost.adopt(question_id, message_id)

    def unshown(self) -> str:
        """Return the text that no message shows for certain, as Markdown."""
        self._layout.update()
        return self._verdict.unshown()

    # What is to be done.

    def _find(self, now: float) -> Flight | float | None:
        self._replacement.begin(now)
        self.is_opening = False
        for page in self._layout:
            wanted = self._layout.wanted(page)
            if not wanted.text:
                self._layout.withdraw(page)
                continue
            if page.state == "sealed" or page.shown == wanted.state:
                continue
            if self._lost.is_forgotten(page, now):
                self._lost.lose(page, now)
            if page.state == "uncertain" and self._searches.wants_look(page):
                return self._look(page, now)
            if page.state == "uncertain" and page.old_message_id:
                self._lost.lose(page, now)
            if page.state == "uncertain":
                if page.attempted == wanted.digest and self._layout.is_complete(page):
                    continue  # it is there or it is not: nobody knows
                if not self._openings.is_worth(page, wanted, now):
                    return self._openings.when_worth(page, wanted, now)
                self._layout.give_up(page)
            if page.state == "new":
                return self._open(page, wanted, now)
            return self._change(page, wanted, now)
        return self._settle_up(now) if self.document.has_ended else None

    def _open(self, page: Page, wanted: Wanted, now: float) -> Flight | float | None:
        """Return the send of a new message, or when it is due."""
        if page.first_seen is None:
            page.first_seen = now
        if not self.capability.can_edit:
            if not self._openings.is_flushed(page, now):
                return self._openings.when_flushed(page, now)
            wanted = self._layout.wanted(page)  # perhaps without the text behind a tool's line
            if page.attempted not in ("", wanted.digest):
                self._layout.give_up(page)  # a repeated send would show the old text
            if not wanted.text:
                return self._find(now)
        if not self._openings.is_worth(page, wanted, now):
            self.is_opening = True
            return self._openings.when_worth(page, wanted, now)
        # Nothing is shown yet: neither text of other deliveries nor a try that was refused counts.
        is_first = page.lost_at > 0 or not any(each.may_exist for each in self._layout)
        is_important = is_first or self._is_important(page)
        due = self.budget.earliest(now, is_important=is_important, group="send")
        if due > now:
            return due
        return self._flights.send(page, self._openings.first(page, wanted), now)

    def _look(self, page: Page, now: float) -> Flight | float:
        """Return the search for a send that got no answer, or when it is due."""
        due = self.budget.earliest(now, is_important=True)
        if due > now:
            return due
        return self._flights.find(page, now)

    def _change(self, page: Page, wanted: Wanted, now: float) -> Flight | float | None:
        """Return the edit of a message, or when it is due; None if the end has to come first."""
        capability, is_complete = self.capability, self._layout.is_complete(page)
        if capability.max_edits and page.edits >= capability.max_edits:
            self._layout.seal(page)
            return self._find(now)
        life_s = capability.lifetime_s
        is_old = bool(life_s) and now >= page.sent_at + life_s * _MARGIN
        is_used = bool(capability.max_edits) and page.edits >= capability.max_edits - 1
        if (is_old or is_used) and not is_complete:
            self._layout.finish(page)  # the last edit shows a good end
            return self._find(now)
        if self._reactions.is_refused(page) and not is_complete:
            return None  # quiet: the end tries again
        due = self.budget.earliest(now, is_important=self._is_important(page), group="edit")
        return due if due > now else self._flights.edit(page, wanted, now)

    def _is_important(self, page: Page) -> bool:
        return self.document.has_ended or bool(self._layout.segment(page).question_id)

    def _settle_up(self, now: float) -> Flight | float | None:
        """All pages show what they shall: remove what is too much, then write the receipt."""
        layout, capability = self._layout, self.capability
        if layout.surplus and capability.can_delete:
            if now < self._replacement.delete_at:
                return self._replacement.delete_at
            due = self.budget.earliest(now, is_important=True)
            return due if due > now else Flight(Delete(layout.surplus[0]), now)
        if (late := self._lost.late_at(now)) is not None:
            return late
        layout.strays += len(layout.surplus)
        layout.surplus.clear()
        if (sign := self._typing.take_back()) is not None:
            return Flight(sign, now)
        self._verdict.conclude()
        return None

    # Across restarts.

    def save(self, offset: float) -> dict[str, Any]:
        """Return what another process needs to go on, as JSON: never the text, never a token.

        Args:
            offset: wall clock minus `now`, because monotonic clocks differ between machines.
        """
        flight = self._flight
        page = None if flight is None else flight.page
        sent = None if flight is None else flight.sent(self._layout)
        return {
            **self._layout.save(page),
            "seq": self.document.seq,
            "offset": offset,
            "blocked_until": self.budget.held_until,
            "ended_at": self._ended_at,
            **self._verdict.save(),
            **self._replacement.save(),
            "flight": None if page is None or sent is None else sent.save(page),
            "late": self._searches.save(),
        }

    def load(self, saved: dict[str, Any], offset: float, now: float) -> None:
        """Go on from what `save` returned; feed the run's log from its first event afterwards.

        A send without an outcome counts as uncertain.
        """
        shift = float(saved["offset"]) - offset
        self._layout.load(saved, shift)
        self.document.replay_to(int(saved["seq"]))
        self.budget.blocked_until = max(
            self.budget.blocked_until, float(saved["blocked_until"]) + shift
        )
        ended_at = saved["ended_at"]
        self._ended_at = None if ended_at is None else float(ended_at) + shift
        self._verdict.load(saved)
        self._replacement.load(saved, shift)
        self._searches.load(saved.get("late", []), shift)
        if saved["flight"] is not None:
            number, sent = Sent.load(saved["flight"], shift)
            page = next(page for page in self._layout if page.number == number)
            self._lost.add(page, sent, now)
            self._pauses.resume_at = now  # a restart was pause enough


def _sooner(due: float | None, other: Flight | float | None) -> Flight | float | None:
    """Return what comes first: an action now, or the earlier of two times."""
    if due is None or isinstance(other, Flight):
        return other
    return due if other is None else min(due, other)
