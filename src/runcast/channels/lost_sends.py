"""What a delivery does about sends that got no answer. Pure.

The platform has taken such a send, or has not. Where it knows the send's key, the send is repeated.
Where it lets us look, `Searches` says when the message is looked for. Else the page is `uncertain`,
and the receipt says so if nothing is sent after it.

Source: ours.
"""

from typing import Final

from runcast.channels.actions import Find
from runcast.channels.budget import Budget
from runcast.channels.capability import Capability
from runcast.channels.flight import Flight, Sent
from runcast.channels.layout import Layout, Page
from runcast.channels.outcome import CallOutcome
from runcast.channels.pauses import Pauses
from runcast.channels.replacement import Replacement
from runcast.channels.searches import Searches
from runcast.channels.verdict import Verdict

__all__ = ("LostSends",)

_MARGIN: Final = 0.9
"""Part of the time for which a platform knows a key after which that key is not used again."""


class LostSends:
    """The sends of one delivery that got no answer.

    Args:
        replacement: of the last message; a lost send may be its new message.
        verdict: takes the doubts.
    """

    def __init__(
        self,
        capability: Capability,
        layout: Layout,
        budget: Budget,
        replacement: Replacement,
        verdict: Verdict,
    ) -> None:
        self.searches = Searches(capability)
        self._capability = capability
        self._layout = layout
        self._budget = budget
        self._replacement = replacement
        self._verdict = verdict

    def add(self, page: Page, sent: Sent, now: float) -> None:
        """Note that the send of a page's message got no answer."""
        page.attempted_at = page.attempted_at if page.attempted else sent.at
        page.is_mixed = page.is_mixed or page.attempted not in ("", sent.digest)
        page.attempted, page.shown_end, page.lost_at = sent.digest, sent.shown_end, now
        if not self._capability.is_idempotent:
            self.lose(page, now)

    def lose(self, page: Page, now: float) -> None:
        """Note that a send is not repeated with its key: its message is looked for, if that is
        possible, or else nobody will know what became of it."""
        if page.old_message_id and not self.searches.wants_look(page):
            self._verdict.doubt("the end may be there twice")
            self._replacement.cancel(page)
            page.attempted = ""
        else:
            page.state, page.first_seen = "uncertain", now

    def is_forgotten(self, page: Page, now: float) -> bool:
        """Return whether the platform may not know the key of a page's lost send any more."""
        known_s = self._capability.idempotent_s
        is_open = bool(known_s and page.attempted) and page.state == "new"
        return is_open and now >= page.attempted_at + known_s * _MARGIN

    def adopt(self, question_id: str, message_id: str) -> bool:
        """Take note that the message of a question is there: somebody pressed its button. Return
        False if the send of the question is not lost."""
        for page in self._layout:
            is_lost = page.state == "uncertain" and not page.message_id
            if is_lost and self._layout.segment(page).question_id == question_id:
                page.message_id, page.state = message_id, "live"
                page.shown, page.attempted = page.attempted, ""
                return True
        return False

    # Searches.

    def late_at(self, now: float) -> float | None:
        """Return when a message that may have come late can be searched for; None if there is no
        such message."""
        due = self.searches.due
        return None if due is None else max(due, self._budget.earliest(now, is_important=True))

    def look_late(self, now: float) -> Flight | float | None:
        """Return the search for a message that may have come late, or when it is due."""
        due = self.late_at(now)
        return due if due is None or due > now else Flight(self.searches.late_look(now), now)

    def settle(
        self, page: Page, action: Find, outcome: CallOutcome, pauses: Pauses, now: float
    ) -> None:
        """Take the outcome of the search for a page's message."""
        if outcome.kind == "limited":
            self.searches.refuse(page, outcome.retry_after_s)
        elif page.state != "uncertain":
            return  # somebody pressed its button meanwhile
        elif outcome.kind == "ok" and outcome.message_id:
            page.message_id, page.sent_at, page.state = outcome.message_id, now, "live"
            self._replacement.complete(page, now)
            page.shown, page.attempted, page.looks, pauses.failures = page.attempted, "", 0, 0
            if not self._capability.can_edit:
                self._layout.seal(page)
        elif outcome.kind in ("uncertain", "not_started"):
            page.looks += 1
            pauses.failures += 1
            pauses.back_off(now)
        elif outcome.kind != "gone":
            self.searches.give_up(page)
        elif (again_at := self.searches.again_at(page)) > now:
            pauses.resume_at = again_at
        else:
            if not self.searches.look_later(action.key, page.attempted_at, now):
                self._layout.strays += 1
            page.renew()

    def settle_late(self, outcome: CallOutcome, now: float) -> None:
        """Take the outcome of the search for a message that may have come late."""
        is_known = self.searches.settle_late(outcome, now)
        if outcome.kind == "ok" and outcome.message_id and self._capability.can_delete:
            self._layout.surplus.append(outcome.message_id)
        elif outcome.kind == "ok" or not is_known:
            self._layout.strays += 1
            self._verdict.doubt("some text may be there twice")
