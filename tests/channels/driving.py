"""A delivery through a real channel to a platform for tests, in the platform's own time."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from runcast.channels import CallOutcome, Channel
from runcast.channels.actions import Action, Delete, Edit, Find, Send
from runcast.channels.budget import Budget
from runcast.channels.document import Document
from runcast.channels.engine import Engine
from runcast.channels.outcome import Receipt
from runcast.events.model import Event
from runcast.testing import FakeClock


async def call(channel: Any, action: Action) -> CallOutcome:
    outcome: CallOutcome
    if isinstance(action, Send):
        outcome = await channel.send(action)
    elif isinstance(action, Edit):
        outcome = await channel.edit(action)
    elif isinstance(action, Delete):
        outcome = await channel.delete(action.message_id)
    elif isinstance(action, Find):
        outcome = await channel.find(action)
    else:
        outcome = await channel.show_typing(action.is_on)
    return outcome


async def deliver(
    channel: Channel, script: Sequence[tuple[float, Event]], clock: FakeClock
) -> Receipt:
    """Deliver events at their times, which begin now."""
    document = Document(channel.capability)
    engine = Engine("test", channel.capability, document, Budget(channel.capability))
    begun, waiting = clock.monotonic(), list(script)
    for _ in range(3000):
        while waiting and begun + waiting[0][0] <= clock.monotonic():
            document.feed(waiting.pop(0)[1])
        found = engine.next(clock.monotonic())
        if isinstance(found, Action):
            outcome = await call(channel, found)
            clock.advance(0.05)
            engine.settle(outcome, clock.monotonic())
        elif engine.receipt is not None:
            return engine.receipt
        else:
            times = [begun + waiting[0][0]] if waiting else []
            times += [] if found is None else [found]
            clock.advance(max(0.001, min(times) - clock.monotonic()))
    raise AssertionError("the delivery never ends")


def talk(*pieces: str, pause_s: float = 0.5) -> list[tuple[float, Event]]:
    """Return the events of a run that says pieces of text, and ends."""
    events = [("content", {"text": piece, "message_id": "a"}) for piece in pieces]
    return [
        (seq * pause_s, Event(seq=seq, time=seq * pause_s, type=kind, data=data))
        for seq, (kind, data) in enumerate([*events, ("done", {"result": None})], 1)
    ]


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(level=0)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.getMessage()} {record.args!r} {record.exc_info!r}")


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect the log records of all loggers, at every level."""
    records, root = _Records(), logging.getLogger()
    level = root.level
    root.addHandler(records)
    root.setLevel(1)
    try:
        yield records.texts
    finally:
        root.setLevel(level)
        root.removeHandler(records)
