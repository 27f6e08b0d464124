"""Answers in rooms of a real Synapse with its default limits, in real time.

Every run has a room, a bot and a reader of its own, because Synapse counts for each user. The runs
begin one after the other, so that Synapse has to do its work for a few of them at once, as it would
have. Both ways take turns, so that they meet the same server.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

import runcast
from benchmarks.answers import END, HEAD, RATE, Seen, Waits, line, tokens
from benchmarks.peers.timer_edits import FLUSH_S, TimerEdits
from runcast.channels import CallOutcome, Edit, Send
from runcast.channels.platforms.matrix import Matrix
from tests.channels.homeserver import Homeserver, Room, start_homeserver

__all__ = ("on_homeserver",)

_TOKENS: Final = 400
"""So many that both ways meet the limit of ten messages at once, then one in five seconds."""

_REST_S: Final = 8.0
"""From the making of a room to the run in it: making it counts against the bot's limit."""

_CALL_S: Final = 30.0
"""A call that takes so long got no answer."""


class Noted:
    """What the calls to one room came to."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.channel = Matrix(room.room_id, homeserver=room.server.url, token=room.bot_token)
        self.began = time.monotonic()
        self.first_at: float | None = None
        self.end_at: float | None = None
        self.ended = 0.0
        self.waits = Waits()
        self.refused = self.windows = self.blocked = 0
        self.took: list[float] = []
        """How long each call took, seconds."""
        put = self.channel._put

        async def noted(transaction: str, content: dict[str, Any]) -> CallOutcome:
            started = time.monotonic()
            is_blocked = started < self.waits.until
            outcome = await put(transaction, content)
            self._note(outcome, content, started, is_blocked=is_blocked)
            return outcome

        self.channel._put = noted  # type: ignore[method-assign]

    def _note(
        self, outcome: CallOutcome, content: dict[str, Any], started: float, *, is_blocked: bool
    ) -> None:
        now = time.monotonic()
        self.took.append(now - started)
        self.blocked += is_blocked
        if outcome.kind == "limited":
            self.refused += 1
            self.windows += not is_blocked
            self.waits.add(now, now + outcome.retry_after_s)
        elif outcome.kind == "uncertain" and now - started >= _CALL_S:
            self.waits.add(started, now)
        elif outcome.kind == "ok":
            self.first_at = self.first_at or now
            shown = content.get("m.new_content", content)["body"]
            self.end_at = now if END in shown and not self.end_at else self.end_at

    async def seen(self, text: str, said: str) -> Seen:
        """Return what a reader of the room sees."""
        messages = await asyncio.to_thread(self.room.messages)
        shown = [str(content["body"]) for content in messages.values()]
        first_s = lag_s = None
        imposed_s = 0.0
        if self.first_at is not None:
            waited_s = self.waits.between(self.began, self.first_at)
            first_s = self.first_at - self.began - waited_s
        if self.end_at is not None:
            imposed_s = self.waits.between(self.ended, self.end_at)
            lag_s = max(0.0, self.end_at - self.ended - imposed_s)
        return Seen(
            ends=sum(END in each for each in shown),
            is_clean="".join("".join(shown).split()) == "".join(text.split()),
            lag_s=lag_s,
            imposed_s=imposed_s,
            first_s=first_s,
            refused=self.refused,
            windows=self.windows,
            blocked=self.blocked,
            calls=len(self.took),
            said=said,
            call_s=median(self.took),
            slowest_s=max(self.took),
        )


async def _deliver(hub: runcast.OpenHub, room: Room) -> Seen:
    """Deliver a run to a room with runcast."""
    noted = Noted(room)

    async def talk() -> None:
        noted.began = time.monotonic()
        for text in tokens(_TOKENS):
            runcast.content(text)
            await asyncio.sleep(1 / RATE)
        noted.ended = time.monotonic()

    run = await hub.start(talk)
    delivery = await hub.deliver(run.run_id, noted.channel, finish="in_place")
    receipt = await delivery.wait()
    said = "" if receipt is None else receipt.status
    return await noted.seen("".join(tokens(_TOKENS)), said)


async def _edit_on_a_timer(hub: runcast.OpenHub, room: Room) -> Seen:
    """Deliver a run to a room with the timer."""
    noted = Noted(room)

    async def send(text: str) -> str:
        outcome = await noted.channel.send(Send(1, str(time.monotonic()), text))
        return outcome.message_id if outcome.kind == "ok" else ""

    async def edit(message_id: str, text: str) -> bool:
        return (await noted.channel.edit(Edit(1, message_id, text))).kind in ("ok", "same")

    timer = TimerEdits(send, edit)

    async def flush() -> None:
        while timer.is_growing:
            await asyncio.sleep(FLUSH_S)
            await timer.flush()

    flushing = asyncio.create_task(flush())
    for text in tokens(_TOKENS):
        timer.text += text
        await asyncio.sleep(1 / RATE)
    noted.ended = time.monotonic()
    flushing.cancel()
    await timer.end()
    await noted.channel.close()
    return await noted.seen(timer.text, "")


_WAYS: Final = (("runcast", _deliver), ("timer", _edit_on_a_timer))


async def on_homeserver(runs: int, apart_s: float) -> None:
    """Print the table of a real Synapse: so many runs of each way.

    Args:
        apart_s: from the beginning of one run to that of the next one.
    """
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        start_homeserver(Path(folder)) as server,
    ):
        async with runcast.open_hub() as hub:
            seen = await asyncio.gather(
                *(_run(hub, server, number, apart_s) for number in range(runs * len(_WAYS)))
            )
    print(
        f"\nSynapse with its default limits, {runs} runs each, {_TOKENS} tokens in "
        f"{_TOKENS / RATE:.0f} s, in {time.monotonic() - begun:.0f} s\n\n{HEAD}"
    )
    for at, (way, _) in enumerate(_WAYS):
        print(line("real Synapse, its own limits", way, seen[at :: len(_WAYS)]), flush=True)
    typical_s, slowest_s = median(it.call_s for it in seen), max(it.slowest_s for it in seen)
    print(f"\nSynapse answered a call in {typical_s:.2f} s (median), {slowest_s:.2f} s at most")


async def _run(hub: runcast.OpenHub, server: Homeserver, number: int, apart_s: float) -> Seen:
    await asyncio.sleep(number * apart_s)
    room = await asyncio.to_thread(server.make_room)
    await asyncio.sleep(_REST_S)
    return await _WAYS[number % len(_WAYS)][1](hub, room)
