"""A chat platform in virtual time, with limits and faults, and a delivery driven against it."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from runcast.channels.actions import Action, Delete, Edit, Find, Send, Typing
from runcast.channels.budget import Budget
from runcast.channels.capability import Capability, measure
from runcast.channels.document import Document
from runcast.channels.engine import Engine, Finish
from runcast.channels.outcome import CallOutcome, Receipt
from runcast.events.model import Event

_FENCE = re.compile(r"^ {0,3}(```+|~~~+)(.*)$", re.MULTILINE)
OFFSET = 1_700_000_000.0
LATER_S = 1.0
"""How long a server goes on with a call whose connection broke: shorter than any key is known."""


@dataclass
class Platform:
    """Messages of one chat. `faults` are taken one by one, "" is none; then all goes well."""

    capability: Capability
    faults: Iterable[str] = ()
    burst: float = 1e9
    rate: float = 1e9
    messages: dict[str, str] = field(default_factory=dict)
    deleted: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[float, str]] = field(default_factory=list)
    limited: int = 0
    blocked_until: float = 0.0
    called_while_blocked: int = 0
    most_edits: int = 0
    first_text: str = ""

    def __post_init__(self) -> None:
        self._faults = iter(self.faults)
        self._keys: dict[str, tuple[str, float]] = {}
        self._later: list[tuple[float, Send]] = []
        self._edits: Counter[str] = Counter()
        self._tokens, self._filled_at = self.burst, 0.0

    def call(self, action: Action, now: float) -> CallOutcome:
        while self._later and self._later[0][0] <= now:
            done_at, late = self._later.pop(0)
            self._do(late, done_at)
        self.calls.append((now, type(action).__name__))
        if now < self.blocked_until:
            self.called_while_blocked += 1
        if isinstance(action, Typing):
            return CallOutcome("ok")
        self._tokens = min(self.burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self._tokens < 1:
            return self._limit(now, (1 - self._tokens) / self.rate)
        self._tokens -= 1
        if isinstance(action, Send | Edit):
            check_text(action.text, self.capability)
        fault = next(self._faults, "")
        if fault.startswith("limited"):
            return self._limit(now, float(fault.partition(" ")[2]))
        if fault in (
            "not_started",
            "rejected",
            "unparsable",
            "too_long",
            "frozen",
            "gone",
            "forbidden",
        ):
            if fault == "gone" and isinstance(action, Edit):
                self._delete(action.message_id)
            if fault in ("frozen", "gone") and not isinstance(action, Edit):
                return CallOutcome("rejected")
            return CallOutcome(fault)  # type: ignore[arg-type]
        if fault == "later" and isinstance(action, Send):
            self._later.append((now + LATER_S, action))
        if fault in ("lost", "later"):
            return CallOutcome("uncertain")
        outcome = self._do(action, now)
        return CallOutcome("uncertain") if fault == "late" else outcome

    def _limit(self, now: float, retry_after_s: float) -> CallOutcome:
        self.limited += 1
        self.blocked_until = now + max(retry_after_s, 0.5)
        return CallOutcome("limited", retry_after_s=retry_after_s)

    def _do(self, action: Action, now: float) -> CallOutcome:
        if isinstance(action, Send):
            known = self._keys.get(action.key) if self.capability.is_idempotent else None
            known_s = self.capability.idempotent_s
            if known is not None and (not known_s or now < known[1] + known_s):
                return CallOutcome("ok", known[0])
            message_id = f"m{len(self.messages) + len(self.deleted) + 1}"
            self.messages[message_id] = action.text
            self._keys[action.key] = message_id, now
            self.first_text = self.first_text or action.text
            return CallOutcome("ok", message_id)
        if isinstance(action, Edit):
            assert self.capability.can_edit
            if action.message_id not in self.messages:
                return CallOutcome("gone")
            if self.messages[action.message_id] == action.text:
                return CallOutcome("same")
            self.messages[action.message_id] = action.text
            self._edits[action.message_id] += 1
            self.most_edits = max(self._edits.values())
            return CallOutcome("ok")
        if isinstance(action, Find):
            known = self._keys.get(action.key)
            is_there = known is not None and known[0] in self.messages
            return CallOutcome("ok", known[0]) if known and is_there else CallOutcome("gone")
        assert isinstance(action, Delete)
        if action.message_id not in self.messages:
            return CallOutcome("gone")
        self._delete(action.message_id)
        return CallOutcome("ok")

    def _delete(self, message_id: str) -> None:
        if message_id in self.messages:
            self.deleted[message_id] = self.messages.pop(message_id)


def check_text(text: str, capability: Capability) -> None:
    """Invariant 7."""
    assert text.strip()
    assert measure(text, capability.unit) <= capability.limit, text
    text.encode()  # no half surrogate
    fence = ""
    for match in _FENCE.finditer(text):
        if not fence:
            if not ("`" in match[2] and match[1][0] == "`"):
                fence = match[1]
        elif match[1].startswith(fence) and not match[2].strip():
            fence = ""
    assert not fence, text


def essence(text: str) -> str:
    """What is left of a text when page breaks cannot be seen: no spaces, no lines of fences, and
    no difference between the marks of tools, which messages that take no edits do not change."""
    return re.sub(r"\s+", "", re.sub("[✓✗]", "⚙", _FENCE.sub("", text)))


@dataclass
class Simulation:
    """One delivery in virtual time: `script` is (time, event), `latency` the time of each call."""

    capability: Capability
    script: Sequence[tuple[float, Event]]
    platform: Platform
    latency: Callable[[], float] = lambda: 0.05
    finish: Finish = "auto"
    crashes: Iterable[bool] = ()
    """Whether the process dies before or after each step."""
    outage_s: float = 1.0
    """How long a process that died is missing."""

    def run(self, most_steps: int = 3000) -> Receipt:
        self.now, self.restarts, self.first_text_at, self.end_at = 0.0, 0, -1.0, -1.0
        self._crashes = iter(self.crashes)
        self._saved: dict[str, Any] | None = None
        self._fed = 0
        self._begin()
        steps = 0
        while self.engine.receipt is None:
            steps += 1
            assert steps < most_steps, "the delivery never ends"
            self._feed()
            found = self.engine.next(self.now)
            if isinstance(found, Action):
                self._do(found)
                continue
            following = self.script[self._fed][0] if self._fed < len(self.script) else None
            times = [time for time in (found, following) if time is not None]
            if self.engine.receipt is None:
                assert times, "the engine waits for nothing"
                assert min(times) > self.now or following == self.now
                self.now = max(self.now, min(times))
        assert self.engine.next(self.now) is None  # invariant 4
        self.receipt = self.engine.receipt
        return self.receipt

    def _begin(self) -> None:
        self.document = Document(self.capability)
        self.engine = Engine(
            "d", self.capability, self.document, Budget(self.capability), finish=self.finish
        )
        if self._saved is not None:
            self.engine.load(self._saved, OFFSET, self.now)
        self._fed = 0

    def _feed(self) -> None:
        while self._fed < len(self.script) and self.script[self._fed][0] <= self.now:
            self.document.feed(self.script[self._fed][1])
            self._fed += 1

    def _do(self, action: Action) -> None:
        if isinstance(action, Send):
            self._saved = self.engine.save(OFFSET)
        if self._dies():
            return
        outcome = self.platform.call(action, self.now)
        if self.first_text_at < 0 and self.platform.messages:
            self.first_text_at = self.now
        if isinstance(action, Send | Edit) and outcome.kind == "ok":
            self.end_at = self.now
        if self._dies():
            return
        self.now += self.latency()
        self._feed()
        assert self.engine.next(self.now) is None  # invariant 1
        self.engine.settle(outcome, self.now)
        if isinstance(action, Send | Delete | Find) or outcome.kind == "limited":
            self._saved = self.engine.save(OFFSET)
        self._dies()

    def _dies(self) -> bool:
        if not next(self._crashes, False):
            return False
        self.restarts += 1
        self.now += self.outage_s
        self._begin()
        self._feed()
        return True


def expected_text(capability: Capability, script: Sequence[tuple[float, Event]]) -> str:
    document = Document(capability)
    for _, event in script:
        document.feed(event)
    return "\n\n".join(segment.text for segment in document.segments)


def check_end(simulation: Simulation, receipt: Receipt) -> None:
    """Invariant 5, as the platform sees it."""
    platform = simulation.platform
    shown = "\n".join(platform.messages.get(each, "") for each in receipt.message_ids)
    whole = essence(expected_text(simulation.capability, simulation.script))
    if receipt.status == "delivered":
        assert essence(shown) == whole
        assert len(set(receipt.message_ids)) == len(receipt.message_ids)
        others = set(platform.messages) - set(receipt.message_ids)
        assert len(others) <= receipt.strays
        for each in others:  # a message that was given up never shows the whole text
            assert essence(platform.messages[each]) != whole or not whole
    elif receipt.status == "uncertain":
        assert receipt.reason
        assert all(
            platform.messages[each] for each in receipt.message_ids if each in platform.messages
        )
    if not receipt.may_be_shown:  # else the same delivery could be begun again
        assert receipt.status == "failed"
        assert not platform.messages
        assert not platform.deleted
    if not simulation.restarts:  # a process that died may not have known
        assert platform.called_while_blocked == 0  # invariant 6
