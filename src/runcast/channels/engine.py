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

Long because the decisions of one state machine are read together.

Source: ours.
"""

from typing import Any, Final, Literal

import msgspec

from runcast.channels.actions import Action, Delete, Edit, Find, Send, Typing
from runcast.channels.budget import Budget
from runcast.channels.capability import Capability
from runcast.channels.document import Document
from runcast.channels.layout import Layout, Page, Wanted
from runcast.channels.outcome import CallOutcome
from runcast.channels.pages import Room

__all__ = ("Engine", "Finish", "Receipt", "ReceiptStatus")

ReceiptStatus = Literal["delivered", "uncertain", "failed"]
Finish = Literal["auto", "in_place", "fresh"]

_FIRST_CHARS: Final = 30
_FIRST_WAIT_S: Final = 1.0
"""A new message waits for so much text or so long: its notification should carry words."""

_AGAIN_CHARS: Final = 120
"""Length of a text that is sent once more while it grows, because nobody knows what became of its
first message. Four times as much for each further one."""

_BURST_CHARS: Final = 200
_BURST_IDLE_S: Final = 1.0
"""Without edits a message is sent behind a tool's line if there is so much text, or no more text
comes for so long. Otherwise many short calls of tools would be many messages."""

_STRIKES: Final = 3
"""Refusals of one message in a row before the engine changes its way."""

_LEAST_PENALTY_S: Final = 0.5
"""Penalty if the server names a shorter one, or none."""

_BACKOFF_S: Final = 0.25
_MAX_BACKOFF_S: Final = 60.0
"""Pause after a call that failed, doubled each time, and its longest."""

_LOOKS: Final = 5
"""How often a send that got no answer is looked for. With the pauses between them the server has
four seconds to finish a call whose connection broke; then the message is not there."""

_LONG_S: Final = 15.0
"""A penalty for looking that is longer ends the search: the text must not wait for the next one."""

_FRESH_AFTER_S: Final = 30.0
"""Age of a message from which on the answer is worth a new notification."""

_DWELL_S: Final = 4.0
"""How long the new message is there before the old one goes: clients must have loaded it."""

_GIVE_UP_S: Final = 24 * 3600.0
"""How long the end is tried for."""

_MARGIN: Final = 0.9
"""Part of a message's lifetime after which the next message begins, and of the time for which a
platform knows a key after which that key is not used again."""


class Receipt(msgspec.Struct, frozen=True):
    """What became of a delivery.

    `delivered`: all of the text is there, each part once. `uncertain`: a message may be missing or
    there twice, and the platform cannot say. `failed`: some of the text is not there.
    """

    status: ReceiptStatus
    message_ids: tuple[str, ...] = ()
    """The messages that show the text, in order."""
    reason: str = ""
    """Why it is not `delivered`."""
    strays: int = 0
    """Messages that may remain although others have replaced them."""


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
        self._key = key
        self._finish: Finish = finish
        self._layout = Layout(
            document,
            Room(capability.limit, capability.unit),
            closes=capability.closes_messages,
        )
        self._target: Page | None = None
        self._sent_end = 0
        self._sent_at = 0.0
        self._resume_at = 0.0
        self._failures = 0
        self._ended_at: float | None = None
        self._doubts = ""
        self._typed_at: float | None = None
        self._is_refreshed = False
        self._grown_at: dict[int, tuple[int, float]] = {}
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
        if self._ended_at is not None and now > self._ended_at + _GIVE_UP_S:
            self._fail("the platform did not take the text in time")
            return None
        blocked = max(self._resume_at, self.budget.blocked_until)
        if now < blocked:
            return blocked
        found = self._find(now)
        if isinstance(found, float) or found is None:
            found = self._type(now, found)
        if not isinstance(found, float) and found is not None:
            self.flight, self._sent_at = found, now
            if not isinstance(found, Typing):
                self.budget.spend(now)
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
            if page.state == "uncertain":
                if self.capability.can_find and page.looks < _LOOKS:
                    return self._look(page, now)
                if page.attempted == wanted.digest and self._layout.is_complete(page):
                    continue  # it is there or it is not: nobody knows
                if not self._is_worth_a_message(page, wanted, now):
                    return self._when_worth(page, now)
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
            if not self._is_flushed(page, now):
                return self._when_flushed(page, now)
            wanted = self._layout.wanted(page)  # perhaps without the text behind a tool's line
            if page.attempted not in ("", wanted.digest):
                self._layout.give_up(page)  # a repeated send would show the old text
            if not wanted.text:
                return self._find(now)
        if not self._is_worth_a_message(page, wanted, now):
            self.is_opening = True
            return self._when_worth(page, now)
        due = self.budget.earliest(now, is_important=self._is_important(page))
        if due > now:
            return due
        self._target, self._sent_end = page, self._layout.shown_end(page)
        return Send(
            page.number,
            self._key_of(page),
            wanted.text,
            wanted.buttons,
            page.is_plain,
            self._layout.is_complete(page),
            self._layout.segment(page).question_id,
        )

    def _look(self, page: Page, now: float) -> Action | float:
        """Return the search for a send that got no answer, or when it is due."""
        due = self.budget.earliest(now, is_important=True)
        if due > now:
            return due
        self._target = page
        return Find(self._key_of(page), max(0.0, now - page.attempted_at))

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
        due = self.budget.earliest(now, is_important=self._is_important(page))
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

    def _is_worth_a_message(self, page: Page, wanted: Wanted, now: float) -> bool:
        if self._layout.is_complete(page):
            return page.state == "new" or page.attempted != wanted.digest
        if page.state == "uncertain" or page.generation:
            # Part of the text may be there already, and each new message may be another such part.
            return len(wanted.text) >= _AGAIN_CHARS << 2 * page.generation
        has_waited = page.first_seen is not None and now >= page.first_seen + _FIRST_WAIT_S
        return has_waited or len(wanted.text) >= _FIRST_CHARS

    def _when_worth(self, page: Page, now: float) -> float | None:
        if page.state == "uncertain" or page.generation:
            return None  # only more text helps
        return (now if page.first_seen is None else page.first_seen) + _FIRST_WAIT_S

    def _is_flushed(self, page: Page, now: float) -> bool:
        """Whether a page's text is sent by a channel that cannot edit."""
        is_complete = self._layout.is_complete(page)
        if self.capability.is_quiet:
            segment = self._layout.segment(page)
            later = self.document.segments[page.segment + 1 :]
            has_followed = bool(segment.question_id) or any(each.question_id for each in later)
            return self.document.has_ended or has_followed
        if is_complete:
            return True
        due = self._when_flushed(page, now)
        if due is None or due > now:
            return False
        self._layout.finish(page, self._layout.segment(page).boundary)
        return True

    def _when_flushed(self, page: Page, now: float) -> float | None:
        segment = self._layout.segment(page)
        if self.capability.is_quiet or segment.boundary <= page.start:
            return None
        size, at = self._grown_at.get(page.segment, (-1, now))
        if size != len(segment.text):
            at = now
            self._grown_at[page.segment] = len(segment.text), now
        return now if segment.boundary - page.start >= _BURST_CHARS else at + _BURST_IDLE_S

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
        self.receipt = Receipt("failed", ids, reason, self._layout.strays)

    # What became of it.

    def settle(self, outcome: CallOutcome, now: float) -> None:
        """Take the outcome of the action in flight."""
        action, page = self.flight, self._target
        self.flight = self._target = None
        if action is None:
            return
        if outcome.kind == "limited":
            self.budget.penalise(now, max(outcome.retry_after_s, _LEAST_PENALTY_S))
        elif outcome.retry_after_s > 0:
            self.budget.hold(now, outcome.retry_after_s)
        if outcome.kind == "limited":
            if isinstance(action, Find) and page is not None:
                is_long = outcome.retry_after_s > _LONG_S
                page.looks = _LOOKS if is_long else page.looks + 1
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
        page.message_id, page.sent_at, page.state = outcome.message_id, now, "live"
        if page.attempted:
            page.shown, page.attempted = "", ""  # the first try may have said something else
        if page.old_message_id:
            self._layout.surplus.append(page.old_message_id)
            page.old_message_id, self._delete_at = "", now + _DWELL_S
        if not outcome.message_id or not self.capability.can_edit:
            page.shown = self._layout.said_by(action).state
            self._layout.seal(page)

    def _settle_send(self, page: Page, sent: str, outcome: CallOutcome, now: float) -> None:
        if outcome.kind in ("uncertain", "not_started"):
            if outcome.kind == "uncertain":
                page.attempted_at = page.attempted_at if page.attempted else self._sent_at
                page.attempted, page.shown_end = sent, self._sent_end
                if not self.capability.is_idempotent:
                    self._lose(page, now)
            self._back_off(now)
        elif page.old_message_id and outcome.kind != "forbidden":
            page.message_id, page.old_message_id, page.state = page.old_message_id, "", "live"
        else:
            self._refused(page, outcome, now)

    def _settle_find(self, page: Page, outcome: CallOutcome, now: float) -> None:
        if outcome.kind == "ok" and outcome.message_id:
            page.message_id, page.sent_at, page.state = outcome.message_id, now, "live"
            page.shown, page.attempted, page.looks, self._failures = page.attempted, "", 0, 0
            if not self.capability.can_edit:
                self._layout.seal(page)
            return
        page.looks += 1
        if outcome.kind not in ("gone", "uncertain", "not_started"):
            page.looks = _LOOKS
        elif outcome.kind == "gone" and page.looks >= _LOOKS:
            page.state, page.attempted, page.looks = "new", "", 0
        else:
            self._failures = page.looks
            self._back_off(now)

    def _is_forgotten(self, page: Page, now: float) -> bool:
        """Whether the platform may not know the key of a send without an answer any more."""
        known_s = self.capability.idempotent_s
        is_open = bool(known_s and page.attempted) and page.state == "new"
        return is_open and now >= page.attempted_at + known_s * _MARGIN

    def _lose(self, page: Page, now: float) -> None:
        """Take note that nobody will know what became of a send."""
        if page.old_message_id:
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
            self._back_off(now)
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

    def _back_off(self, now: float) -> None:
        pause = min(_BACKOFF_S * 2 ** min(self._failures - 1, 10), _MAX_BACKOFF_S)
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
            "blocked_until": self.budget.blocked_until,
            "ended_at": self._ended_at,
            "doubts": self._doubts,
            "is_refreshed": self._is_refreshed,
            "delete_at": self._delete_at,
            "flight": flight,
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
        self._is_refreshed = bool(saved["is_refreshed"])
        self._delete_at = float(saved["delete_at"]) + shift
        if saved["flight"] is not None:
            number, sent, sent_at, *ends = saved["flight"]
            self._sent_end = int(ends[0]) if ends else 0
            self._sent_at = float(sent_at) + shift
            page = next(page for page in self._layout if page.number == number)
            self._settle_send(page, sent, CallOutcome("uncertain"), now)
            self._resume_at = now  # a restart was pause enough
