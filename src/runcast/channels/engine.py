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

When a new message is worth sending is decided in `openings`, and what became of a send without an
answer is found out by `searches`. Long because the decisions of one state machine are read
together.

Source: ours.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from runcast.channels.actions import Action, Delete, Edit, Find, Send, Typing
from runcast.channels.budget import Budget, CallGroup
from runcast.channels.capability import Capability
from runcast.channels.document import Document
from runcast.channels.layout import Layout, Page, Wanted
from runcast.channels.openings import Openings
from runcast.channels.outcome import CallOutcome, Receipt, ReceiptStatus
from runcast.channels.pages import Room
from runcast.channels.searches import Searches

__all__ = ("Engine", "Finish", "Receipt", "may_be_shown")

Finish = Literal["auto", "in_place", "fresh"]

_STRIKES: Final = 3
"""Refusals of one message in a row before the engine changes its way."""

_LEAST_PENALTY_S: Final = 0.5
"""Penalty if the server names a shorter one, or none."""

_BACKOFF_S: Final = 0.08
_REFUSED_S: Final = 0.25
_MAX_BACKOFF_S: Final = 60.0
_GROWTH: Final = 1.5
"""Pause after a call without an answer, pause after a refusal, their longest, and how they grow.
Four connections that break one after the other cost less than a second."""

_FRESH_AFTER_S: Final = 30.0
"""Age of a message from which on the answer is worth a new notification."""

_DWELL_S: Final = 4.0
"""How long the new message is there before the old one goes: clients must have loaded it."""

_GIVE_UP_S: Final = 24 * 3600.0
"""How long the end is tried for."""

_MARGIN: Final = 0.9
"""Part of a message's lifetime after which the next message begins, and of the time for which a
platform knows a key after which that key is not used again."""


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
        self.receipt: Receipt | None = None
        self.flight: Action | None = None
        """The action whose outcome is awaited."""
        self.is_opening = False
        """Whether a new message waits for more text, or for a moment. Then ask sooner."""
        self.is_idle = False
        """Whether all is shown: a sign of writing may be due, but new text must not wait for it."""
        self._key = key
        self._finish: Finish = finish
        self._layout = Layout(
            document,
            Room(capability.limit, capability.unit),
            closes=capability.closes_messages,
        )
        self._openings = Openings(capability, document, self._layout)
        self._searches = Searches(capability)
        self._target: Page | None = None
        self._sent_end = 0
        self._sent_at = 0.0
        self._resume_at = 0.0
        self._failures = 0
        self._ended_at: float | None = None
        self._doubts = ""
        self._may_be_shown = False
        self._typed_at: float | None = None
        self._is_refreshed = False
        self._delete_at = 0.0

    def next(self, now: float) -> Action | float | None:
        """Return what to do now, or when to ask again, or None if only new text changes anything.

        After an action, call `settle` with its outcome before the next call.
        """
        if self.receipt or self.flight or self.document.is_replaying:
            return None
        self._layout.update()
        if self.document.has_ended and self._ended_at is None:
            self._ended_at = now
            self._failures, self._resume_at = 0, min(self._resume_at, now)  # the end tries at once
        if self._ended_at is not None and now > self._ended_at + _GIVE_UP_S:
            self._fail("the platform did not take the text in time")
            return None
        blocked = max(self._resume_at, self.budget.blocked_until)
        if now < blocked:
            return blocked
        found = self._find(now)
        self.is_idle = found is None
        if isinstance(found, float) or found is None:
            found = self._look_late(now, found)
        if isinstance(found, float) or found is None:
            found = self._type(now, found)
        if not isinstance(found, float) and found is not None:
            self.flight, self._sent_at = found, now
            if not isinstance(found, Typing):
                self.budget.spend(now, _group_of(found))
        return found

    def unshown(self) -> str:
        """Return the text that no message shows for certain, as Markdown."""
        self._layout.update()
        missing = []
        for page in self._layout:
            wanted = self._layout.wanted(page)
            if page.state != "sealed" and page.shown != wanted.state:
                text = self._layout.segment(page).text
                start = page.shown_end if page.state == "live" else page.start
                missing.append(text[start : page.end])
        return "".join(missing)

    # What is to be done.

    def _find(self, now: float) -> Action | float | None:
        self._refresh(now)
        self.is_opening = False
        for page in self._layout:
            wanted = self._layout.wanted(page)
            if not wanted.text:
                self._layout.withdraw(page)
                continue
            if page.state == "sealed" or page.shown == wanted.state:
                continue
            if self._is_forgotten(page, now):
                self._lose(page, now)
            if page.state == "uncertain" and self._searches.wants_look(page):
                return self._look(page, now)
            if page.state == "uncertain" and page.old_message_id:
                self._lose(page, now)
            if page.state == "uncertain":
                if page.attempted == wanted.digest and self._layout.is_complete(page):
                    continue  # it is there or it is not: nobody knows
                if not self._is_worth(page, wanted, now):
                    return self._when_worth(page, wanted, now)
                self._layout.give_up(page)
            if page.state == "new":
                return self._open(page, wanted, now)
            return self._change(page, wanted, now)
        return self._settle_up(now) if self.document.has_ended else None

    def _open(self, page: Page, wanted: Wanted, now: float) -> Action | float | None:
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
        if not self._is_worth(page, wanted, now):
            self.is_opening = True
            return self._when_worth(page, wanted, now)
        # Nothing is shown yet: neither text of other deliveries nor a try that was refused counts.
        is_first = page.lost_at > 0 or not any(each.may_exist for each in self._layout)
        is_important = is_first or self._is_important(page)
        due = self.budget.earliest(now, is_important=is_important, group="send")
        if due > now:
            return due
        opening = self._openings.first(page, wanted, settles=self._searches.settles)
        self._target, self._sent_end = page, opening.shown_end
        return Send(
            page.number,
            self._key_of(page),
            opening.wanted.text,
            opening.wanted.buttons,
            page.is_plain,
            opening.is_final,
            self._layout.segment(page).question_id,
        )

    def _look(self, page: Page, now: float) -> Action | float:
        """Return the search for a send that got no answer, or when it is due."""
        due = self.budget.earliest(now, is_important=True)
        if due > now:
            return due
        self._target = page
        return Find(self._key_of(page), max(0.0, now - page.attempted_at))

    def _look_late(self, now: float, otherwise: float | None) -> Action | float | None:
        """Return the search for a message that may have come late, if it is due; else the earlier
        of both times."""
        due = self._late_at(now)
        if due is None:
            return otherwise
        if due <= now:
            return self._searches.late_look(now)
        return due if otherwise is None else min(due, otherwise)

    def _late_at(self, now: float) -> float | None:
        """Return when a message that may have come late can be searched for."""
        due = self._searches.due
        return None if due is None else max(due, self.budget.earliest(now, is_important=True))

    def _key_of(self, page: Page) -> str:
        return f"{self._key}.{page.number}.{page.generation}"

    def _change(self, page: Page, wanted: Wanted, now: float) -> Action | float | None:
        """Return the edit of a message, or when it is due; None if the end has to come first."""
        capability, is_complete = self.capability, self._layout.is_complete(page)
        if capability.max_edits and page.edits >= capability.max_edits:
            self._layout.seal(page)
            return self._find(now)
        is_old = bool(capability.lifetime_s) and (
            now >= page.sent_at + capability.lifetime_s * _MARGIN
        )
        is_used = bool(capability.max_edits) and page.edits >= capability.max_edits - 1
        if (is_old or is_used) and not is_complete:
            self._layout.finish(page)  # the last edit shows a good end
            return self._find(now)
        if page.strikes >= _STRIKES and not is_complete:
            return None  # quiet: the end tries again
        due = self.budget.earliest(now, is_important=self._is_important(page), group="edit")
        if due > now:
            return due
        self._target, self._sent_end = page, self._layout.shown_end(page)
        return Edit(
            page.number,
            page.message_id,
            wanted.text,
            wanted.buttons,
            page.is_plain,
            is_complete,
            self._layout.segment(page).question_id,
        )

    def _is_important(self, page: Page) -> bool:
        return self.document.has_ended or bool(self._layout.segment(page).question_id)

    def _is_worth(self, page: Page, wanted: Wanted, now: float) -> bool:
        return self._openings.is_worth(page, wanted, now, settles=self._searches.settles)

    def _when_worth(self, page: Page, wanted: Wanted, now: float) -> float | None:
        return self._openings.when_worth(page, wanted, now, settles=self._searches.settles)

    def _type(self, now: float, otherwise: float | None) -> Action | float | None:
        """Return the sign that somebody writes, if it is due; else the earlier of both times."""
        capability, document = self.capability, self.document
        if not capability.can_type or document.has_ended or document.is_waiting:
            return otherwise
        due = now if self._typed_at is None else self._typed_at + capability.typing_s
        if due <= now:
            self._typed_at = now
            return Typing(True)
        return due if otherwise is None else min(due, otherwise)

    # The end.

    def _refresh(self, now: float) -> None:
        """Send the end as a new message, if that is wanted: once, when the run has ended."""
        if self._is_refreshed or not self.document.has_ended:
            return
        self._is_refreshed = True
        pages = [page for page in self._layout if self._layout.wanted(page).text]
        page = pages[-1] if pages else None
        capability = self.capability
        can = capability.can_edit and capability.can_delete and self._finish != "in_place"
        if page is None or not can or page.state != "live" or self._is_only_question(page):
            return
        is_old = now >= page.sent_at + _FRESH_AFTER_S
        if self._finish == "fresh" or (capability.is_idempotent and is_old):
            page.old_message_id = page.message_id
            page.renew()

    def _is_only_question(self, page: Page) -> bool:
        return bool(self._layout.segment(page).question_id)

    def _settle_up(self, now: float) -> Action | float | None:
        """All pages show what they shall: remove what is too much, then write the receipt."""
        layout, capability = self._layout, self.capability
        if layout.surplus and capability.can_delete:
            if now < self._delete_at:
                return self._delete_at
            due = self.budget.earliest(now, is_important=True)
            return due if due > now else Delete(layout.surplus[0])
        if (late := self._late_at(now)) is not None:
            return late
        self._layout.strays += len(layout.surplus)
        layout.surplus.clear()
        if capability.stops_typing and self._typed_at is not None:
            self._typed_at = None
            return Typing(False)
        shown = [page for page in layout if layout.wanted(page).text]
        unknown = [page for page in shown if page.state == "uncertain"]
        if unknown and not self._doubts:
            self._doubts = "the platform did not say whether it has taken a message"
        ids = tuple(page.message_id for page in shown if page.message_id)
        status: ReceiptStatus = "uncertain" if self._doubts else "delivered"
        self.receipt = Receipt(status, ids, self._doubts, self._layout.strays)
        return None

    def _fail(self, reason: str) -> None:
        ids = tuple(page.message_id for page in self._layout if page.message_id)
        self.receipt = Receipt("failed", ids, reason, self._layout.strays, self._may_be_shown)

    # What became of it.

    def settle(self, outcome: CallOutcome, now: float) -> None:
        """Take the outcome of the action in flight."""
        action, page = self.flight, self._target
        self.flight = self._target = None
        if action is None:
            return
        if isinstance(action, Send) and outcome.kind in ("ok", "same", "uncertain"):
            self._may_be_shown = True  # for good: people may have read it
        if outcome.kind == "limited":
            self.budget.penalise(now, max(outcome.retry_after_s, _LEAST_PENALTY_S))
        elif outcome.retry_after_s > 0:
            self.budget.hold(now, outcome.retry_after_s, _group_of(action))
        if isinstance(action, Find) and page is None:
            self._settle_late(outcome, now)
        elif outcome.kind == "limited":
            if isinstance(action, Find) and page is not None:
                self._searches.refuse(page, outcome.retry_after_s)
        elif isinstance(action, Typing):
            self._typed_at = now if action.is_on else None  # not worth another try
        elif isinstance(action, Delete):
            self._settle_delete(outcome, now)
        elif isinstance(action, Find):
            if page is not None:
                self._settle_find(page, outcome, now)
        elif page is not None:
            is_fine = outcome.kind in ("ok", "same")
            self._failures = 0 if is_fine else self._failures + 1
            if is_fine:
                self._settle_success(page, action, outcome, now)
            elif isinstance(action, Send):
                self._settle_send(page, self._layout.said_by(action).digest, outcome, now)
            else:
                self._settle_edit(page, outcome, now)

    def _settle_success(
        self, page: Page, action: Send | Edit, outcome: CallOutcome, now: float
    ) -> None:
        page.shown = self._layout.said_by(action).state
        page.shown_end = self._sent_end
        page.strikes, page.is_stale = 0, False
        if isinstance(action, Edit):
            page.edits += 1
            return
        self._begin(page, outcome.message_id, now)
        if page.attempted:  # the first try may have been taken, which may have said something else
            said = self._layout.said_by(action).digest
            is_same = page.attempted == said and not page.is_mixed
            page.shown, page.attempted, page.is_mixed = said if is_same else "", "", False
        if not outcome.message_id or not self.capability.can_edit:
            page.shown = self._layout.said_by(action).state
            self._layout.seal(page)

    def _begin(self, page: Page, message_id: str, now: float) -> None:
        """Take note of a page's message, which is there; the one before goes in a moment."""
        page.message_id, page.sent_at, page.state = message_id, now, "live"
        if page.old_message_id:
            self._layout.surplus.append(page.old_message_id)
            page.old_message_id, self._delete_at = "", now + _DWELL_S

    def _settle_send(self, page: Page, sent: str, outcome: CallOutcome, now: float) -> None:
        if outcome.kind in ("uncertain", "not_started"):
            if outcome.kind == "uncertain":
                page.attempted_at = page.attempted_at if page.attempted else self._sent_at
                page.is_mixed = page.is_mixed or page.attempted not in ("", sent)
                page.attempted, page.shown_end, page.lost_at = sent, self._sent_end, now
                if not self.capability.is_idempotent:
                    self._lose(page, now)
            self._back_off(now)
        elif page.old_message_id and outcome.kind != "forbidden":
            page.message_id, page.old_message_id, page.state = page.old_message_id, "", "live"
        else:
            self._refused(page, outcome, now)

    def _settle_find(self, page: Page, outcome: CallOutcome, now: float) -> None:
        if page.state != "uncertain":
            return  # somebody pressed its button meanwhile
        if outcome.kind == "ok" and outcome.message_id:
            self._begin(page, outcome.message_id, now)
            page.shown, page.attempted, page.looks, self._failures = page.attempted, "", 0, 0
            if not self.capability.can_edit:
                self._layout.seal(page)
        elif outcome.kind in ("uncertain", "not_started"):
            page.looks += 1
            self._failures += 1
            self._back_off(now)
        elif outcome.kind != "gone":
            self._searches.give_up(page)
        elif (again_at := self._searches.again_at(page)) > now:
            self._resume_at = again_at
        else:
            if not self._searches.look_later(self._key_of(page), page.attempted_at, now):
                self._layout.strays += 1
            page.renew()

    def _settle_late(self, outcome: CallOutcome, now: float) -> None:
        """Take the outcome of the search for a message that may have come late."""
        is_known = self._searches.settle_late(outcome, now)
        if outcome.kind == "ok" and outcome.message_id and self.capability.can_delete:
            self._layout.surplus.append(outcome.message_id)
        elif outcome.kind == "ok" or not is_known:
            self._layout.strays += 1
            self._doubts = "some text may be there twice"

    def adopt(self, question_id: str, message_id: str) -> bool:
        """Take note that the message of a question is there whose send got no answer: somebody
        pressed its button. Return False if the question has a message that is known."""
        for page in self._layout:
            is_lost = page.state == "uncertain" and not page.message_id
            if is_lost and self._layout.segment(page).question_id == question_id:
                page.message_id, page.state = message_id, "live"
                page.shown, page.attempted = page.attempted, ""
                return True
        return False

    def _is_forgotten(self, page: Page, now: float) -> bool:
        """Whether the platform may not know the key of a send without an answer any more."""
        known_s = self.capability.idempotent_s
        is_open = bool(known_s and page.attempted) and page.state == "new"
        return is_open and now >= page.attempted_at + known_s * _MARGIN

    def _lose(self, page: Page, now: float) -> None:
        """Take note that a send got no answer: its message is looked for, if that is possible, or
        else nobody will know what became of it."""
        if page.old_message_id and not self._searches.wants_look(page):
            self._doubts = "the end may be there twice"
            page.message_id, page.old_message_id = page.old_message_id, ""
            page.state, page.attempted = "live", ""
        else:
            page.state, page.first_seen = "uncertain", now

    def _settle_edit(self, page: Page, outcome: CallOutcome, now: float) -> None:
        if outcome.kind in ("uncertain", "not_started"):
            page.shown = ""
            self._back_off(now)
        elif outcome.kind == "gone":
            page.renew()
            page.strikes += 1
            if page.strikes > _STRIKES:
                self._fail(f"its messages are deleted: {outcome.reason}")
        elif outcome.kind == "frozen":
            self._doubt_edit(page)
            self._layout.seal(page)
        else:
            self._refused(page, outcome, now)

    def _refused(self, page: Page, outcome: CallOutcome, now: float) -> None:
        if outcome.kind == "forbidden":
            self._fail(outcome.reason or "the target refuses messages")
        elif outcome.kind == "unparsable" and not page.is_plain:
            page.is_plain = True
        elif outcome.kind == "too_long" and self._layout.shorten(page):
            return
        else:
            page.strikes += 1
            self._back_off(now, _REFUSED_S)
            if page.strikes >= _STRIKES * 2 or (page.state == "new" and page.strikes >= _STRIKES):
                if page.state == "new":
                    self._fail(outcome.reason or "the platform refuses the message")
                else:  # perhaps a new message is taken
                    self._doubt_edit(page)
                    self._layout.give_up(page)
                    page.strikes = 0

    def _doubt_edit(self, page: Page) -> None:
        """Another message shows what an edit without an answer may have shown in this one."""
        if not page.shown:
            self._doubts = "some text may be there twice"

    def _settle_delete(self, outcome: CallOutcome, now: float) -> None:
        self._failures += 1
        if outcome.kind in ("uncertain", "not_started") and self._failures < _STRIKES:
            self._back_off(now)
            return
        self._failures = 0
        self._layout.surplus.pop(0)
        if outcome.kind not in ("ok", "same", "gone"):
            self._layout.strays += 1
            self._doubts = f"a message could not be deleted: {outcome.reason or outcome.kind}"

    def _back_off(self, now: float, first_s: float = _BACKOFF_S) -> None:
        pause = min(first_s * _GROWTH ** min(self._failures - 1, 30), _MAX_BACKOFF_S)
        self._resume_at = now + pause

    # Across restarts.

    def save(self, offset: float) -> dict[str, Any]:
        """Return what another process needs to go on, as JSON: never the text, never a token.

        Args:
            offset: wall clock minus `now`, because monotonic clocks differ between machines.
        """
        action, page = self.flight, self._target
        flight = None
        if isinstance(action, Send) and page is not None:
            digest = self._layout.said_by(action).digest
            flight = [page.number, digest, self._sent_at, self._sent_end]
        return {
            **self._layout.save(page),
            "seq": self.document.seq,
            "offset": offset,
            "blocked_until": self.budget.held_until,
            "ended_at": self._ended_at,
            "doubts": self._doubts,
            "may_be_shown": self._may_be_shown,
            "is_refreshed": self._is_refreshed,
            "delete_at": self._delete_at,
            "flight": flight,
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
        self._doubts = str(saved["doubts"])
        self._may_be_shown = may_be_shown(saved)
        self._is_refreshed = bool(saved["is_refreshed"])
        self._delete_at = float(saved["delete_at"]) + shift
        self._searches.load(saved.get("late", []), shift)
        if saved["flight"] is not None:
            number, sent, sent_at, *ends = saved["flight"]
            self._sent_end = int(ends[0]) if ends else 0
            self._sent_at = float(sent_at) + shift
            page = next(page for page in self._layout if page.number == number)
            self._settle_send(page, sent, CallOutcome("uncertain"), now)
            self._resume_at = now  # a restart was pause enough


def may_be_shown(saved: Mapping[str, Any]) -> bool:
    """Return whether a message may be in the chat, from what `Engine.save` returned."""
    return saved["flight"] is not None or bool(saved.get("may_be_shown", True))


def _group_of(action: Action) -> CallGroup:
    """Return what a platform that counts calls apart counts an action with."""
    if isinstance(action, Send):
        return "send"
    return "edit" if isinstance(action, Edit) else "other"
