"""What the outcome of a call changes: in the pages, in the pauses, and in the doubts. Pure.

Source: ours.
"""

from typing import Final

from runcast.channels.actions import Delete, Edit, Find, Send
from runcast.channels.capability import Capability
from runcast.channels.flight import Flight
from runcast.channels.layout import Layout, Page
from runcast.channels.lost_sends import LostSends
from runcast.channels.outcome import CallOutcome
from runcast.channels.pauses import Pauses
from runcast.channels.replacement import Replacement
from runcast.channels.verdict import Verdict

__all__ = ("Reactions",)

_STRIKES: Final = 3
"""Refusals of one message in a row before the delivery changes its way."""


class Reactions:
    """Takes the outcomes of the calls of one delivery, except those for the sign of writing."""

    def __init__(
        self,
        capability: Capability,
        layout: Layout,
        lost: LostSends,
        replacement: Replacement,
        verdict: Verdict,
    ) -> None:
        self.pauses = Pauses()
        self._capability = capability
        self._layout = layout
        self._lost = lost
        self._replacement = replacement
        self._verdict = verdict

    def is_refused(self, page: Page) -> bool:
        """Return whether a message was refused so often that only the end is tried again."""
        return page.strikes >= _STRIKES

    def settle(self, flight: Flight, outcome: CallOutcome, now: float) -> None:
        """Take the outcome of a call."""
        action, page = flight.action, flight.page
        if isinstance(action, Find):
            if page is None:
                self._lost.settle_late(outcome, now)
            else:
                self._lost.settle(page, action, outcome, self.pauses, now)
        elif outcome.kind == "limited":
            return  # the budget knows when the call may be tried again
        elif isinstance(action, Delete):
            self._settle_delete(outcome, now)
        elif page is not None and isinstance(action, Send | Edit):
            is_fine = outcome.kind in ("ok", "same")
            self.pauses.failures = 0 if is_fine else self.pauses.failures + 1
            if is_fine:
                page.shown_end = flight.shown_end
                self._settle_success(page, action, outcome, now)
            elif isinstance(action, Send):
                self._settle_send(page, flight, outcome, now)
            else:
                self._settle_edit(page, outcome, now)

    def _settle_success(
        self, page: Page, action: Send | Edit, outcome: CallOutcome, now: float
    ) -> None:
        said = self._layout.said_by(action)
        page.shown = said.state
        page.strikes, page.is_stale = 0, False
        if isinstance(action, Edit):
            page.edits += 1
            return
        page.message_id, page.sent_at, page.state = outcome.message_id, now, "live"
        self._replacement.complete(page, now)
        if page.attempted:  # the first try may have been taken, which may have said something else
            is_same = page.attempted == said.digest and not page.is_mixed
            page.shown, page.attempted, page.is_mixed = said.digest if is_same else "", "", False
        if not outcome.message_id or not self._capability.can_edit:
            page.shown = said.state
            self._layout.seal(page)

    def _settle_send(self, page: Page, flight: Flight, outcome: CallOutcome, now: float) -> None:
        if outcome.kind in ("uncertain", "not_started"):
            sent = flight.sent(self._layout)
            if outcome.kind == "uncertain" and sent is not None:
                self._lost.add(page, sent, now)
            self.pauses.back_off(now)
        elif page.old_message_id and outcome.kind != "forbidden":
            self._replacement.cancel(page)
        else:
            self._refuse(page, outcome, now)

    def _settle_edit(self, page: Page, outcome: CallOutcome, now: float) -> None:
        if outcome.kind in ("uncertain", "not_started"):
            page.shown = ""
            self.pauses.back_off(now)
        elif outcome.kind == "gone":
            page.renew()
            page.strikes += 1
            if page.strikes > _STRIKES:
                self._verdict.fail(f"its messages are deleted: {outcome.reason}")
        elif outcome.kind == "frozen":
            self._doubt_edit(page)
            self._layout.seal(page)
        else:
            self._refuse(page, outcome, now)

    def _refuse(self, page: Page, outcome: CallOutcome, now: float) -> None:
        """Have the message of a page in another way, or later, because it was refused."""
        if outcome.kind == "forbidden":
            self._verdict.fail(outcome.reason or "the target refuses messages")
        elif outcome.kind == "unparsable" and not page.is_plain:
            page.is_plain = True
        elif outcome.kind == "too_long" and self._layout.shorten(page):
            return
        else:
            page.strikes += 1
            self.pauses.back_off(now, is_refused=True)
            if page.strikes >= _STRIKES * 2 or (page.state == "new" and page.strikes >= _STRIKES):
                if page.state == "new":
                    self._verdict.fail(outcome.reason or "the platform refuses the message")
                else:  # perhaps a new message is taken
                    self._doubt_edit(page)
                    self._layout.give_up(page)
                    page.strikes = 0

    def _doubt_edit(self, page: Page) -> None:
        """Another message shows what an edit without an answer may have shown in this one."""
        if not page.shown:
            self._verdict.doubt("some text may be there twice")

    def _settle_delete(self, outcome: CallOutcome, now: float) -> None:
        self.pauses.failures += 1
        if outcome.kind in ("uncertain", "not_started") and self.pauses.failures < _STRIKES:
            self.pauses.back_off(now)
            return
        self.pauses.failures = 0
        self._layout.surplus.pop(0)
        if outcome.kind not in ("ok", "same", "gone"):
            self._layout.strays += 1
            reason = outcome.reason or outcome.kind
            self._verdict.doubt(f"a message could not be deleted: {reason}")
