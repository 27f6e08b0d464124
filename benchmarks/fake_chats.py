"""Answers in chats for tests, in virtual time: a hundred runs take seconds."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from benchmarks.answers import END, HEAD, RATE, Seen, Waits, line, tokens
from benchmarks.peers.timer_edits import FLUSH_S, TimerEdits
from runcast.channels import CallOutcome, Edit, Send
from runcast.channels.actions import Action, Delete, Find, Typing
from runcast.channels.budget import Budget
from runcast.channels.calls import Answer
from runcast.channels.document import Document
from runcast.channels.engine import Engine
from runcast.channels.platforms.discord import DiscordChannel
from runcast.channels.platforms.slack import SlackChannel
from runcast.channels.platforms.telegram import TelegramChannel
from runcast.events.model import Event
from runcast.testing import ChatFault, FakeClock, FakeDiscord, FakeSlack, FakeTelegram
from runcast.testing.chats.server import ChatReply, ChatServer, Request

__all__ = ("on_fakes",)

_ROUND_TRIP_S: Final = 0.05
_TOKENS: Final = 250
_MOST_S: Final = 3600.0  # of one run


class Weather(NamedTuple):
    """What goes wrong with calls, and how often."""

    name: str
    faults: tuple[ChatFault, ...] = ()
    chance: float = 0.0


_BROKEN: Final = (ChatFault(kind="lost"), ChatFault(kind="late"))
_SILENT: Final = tuple(ChatFault(kind=each.kind, is_cut=False) for each in _BROKEN)
_GONE: Final = ChatFault(kind="deleted")

WEATHERS: Final = (
    Weather("quiet"),
    Weather("refusals", tuple(ChatFault(kind="limited", retry_after_s=s) for s in (2, 8, 30)), 0.2),
    Weather("broken connections", _BROKEN, 0.15),
    Weather("time-outs", _SILENT, 0.15),
    Weather("deletions", (_GONE,), 0.08),
    Weather(
        "all of it",
        (
            *(ChatFault(kind="limited", retry_after_s=8), ChatFault(kind="error"), _GONE),
            *(*_BROKEN, *_SILENT),
        ),
        0.3,
    ),
)


class Wire:
    """Calls a platform in the same process, in its own time, and takes notes."""

    def __init__(self, platform: Any, weather: Weather, rng: random.Random) -> None:
        self.platform: ChatServer = platform
        self.clock: FakeClock = platform.clock
        self.waits = Waits()
        self.first_at: float | None = None
        self.end_at: float | None = None
        self._weather, self._rng = weather, rng
        self._time_out_s = 0.0

    def under(self, channel: Any) -> None:
        """Take the place of a channel's HTTP client."""
        channel._clock = self.clock
        caller = channel._caller
        self._time_out_s = caller._timeout_s

        async def request(
            verb: str, path: str, content: bytes | None = None, *, headers: Any = None
        ) -> Answer | CallOutcome:
            parts = urlsplit(caller._url + caller._secret_path + path)
            values: dict[str, Any] = dict(parse_qsl(parts.query))
            if content:
                values |= json.loads(content)
            kept = {**caller._headers, **(headers or {})}
            return self._call(Request(verb, unquote(parts.path), kept, values, content or b""))

        caller.request = request

    def _call(self, request: Request) -> Answer | CallOutcome:
        platform, now = self.platform, self.clock.monotonic()
        is_typing = "yping" in request.path or "ChatAction" in request.path
        if not is_typing and self._rng.random() < self._weather.chance:
            platform.fail(self._rng.choice(self._weather.faults))
        reply = platform.answer(request)
        self._look(now + _ROUND_TRIP_S)
        if isinstance(reply, ChatFault):
            if reply.is_cut:
                self.clock.advance(_ROUND_TRIP_S)
                return CallOutcome("uncertain", reason="the connection broke")
            self.clock.advance(self._time_out_s)
            self.waits.add(now, self.clock.monotonic())
            return CallOutcome("uncertain", reason="the server does not answer in time")
        if not is_typing and (wait_s := _named_wait_s(reply)):
            self.waits.add(now, now + wait_s + _ROUND_TRIP_S)
        self.clock.advance(_ROUND_TRIP_S)
        headers = {name.lower(): value for name, value in reply.headers.items()}
        return Answer(reply.status, headers, reply.body)

    def _look(self, at: float) -> None:
        """Note when people see the first text, and the end."""
        shown = "".join(each.text for each in self.platform.messages if not each.is_deleted)
        self.first_at = at if self.first_at is None and shown else self.first_at
        if END not in shown:
            self.end_at = None
        elif self.end_at is None:
            self.end_at = at

    def seen(self, begun: float, ended: float, text: str, said: str) -> Seen:
        """Return what is visible at the end."""
        calls = [each for each in self.platform.calls if "yping" not in each.method]
        shown = [each.text for each in self.platform.messages if not each.is_deleted]
        refused = [each for each in calls if each.status == 429]
        first_s = lag_s = None
        imposed_s = 0.0
        if self.first_at is not None:
            first_s = self.first_at - begun - self.waits.between(begun, self.first_at)
        if self.end_at is not None:
            imposed_s = self.waits.between(ended, self.end_at)
            lag_s = max(0.0, self.end_at - ended - imposed_s)
        return Seen(
            ends=sum(END in each for each in shown),
            is_clean="".join("".join(shown).split()) == "".join(text.split()),
            lag_s=lag_s,
            imposed_s=imposed_s,
            first_s=first_s,
            refused=len(refused),
            windows=len([each for each in refused if not each.was_blocked]),
            blocked=len([each for each in calls if each.was_blocked]),
            calls=len(calls),
            said=said,
        )


def _named_wait_s(reply: ChatReply) -> float:
    """Return how long a platform says that it takes no calls: perhaps in whole seconds."""
    if reply.status == 429:
        body = reply.body or {}
        said = body.get("parameters", body).get("retry_after") or reply.headers.get("Retry-After")
        return float(said or 0.0)
    is_last = reply.headers.get("X-RateLimit-Remaining") == "0"
    return float(reply.headers["X-RateLimit-Reset-After"]) if is_last else 0.0


def _telegram(clock: FakeClock) -> tuple[Any, Any]:
    fake = FakeTelegram(clock=clock)
    return fake, TelegramChannel("42", fake.TOKEN, url="http://127.0.0.1:1")


def _slack(clock: FakeClock) -> tuple[Any, Any]:
    fake = FakeSlack(clock=clock)
    return fake, SlackChannel("C1", fake.TOKEN, url="http://127.0.0.1:1/api")


def _discord(clock: FakeClock) -> tuple[Any, Any]:
    fake = FakeDiscord(clock=clock)
    return fake, DiscordChannel("7", fake.TOKEN, url="http://127.0.0.1:1/api/v10")


async def _call(channel: Any, action: Action) -> CallOutcome:
    outcome: CallOutcome
    match action:
        case Send():
            outcome = await channel.send(action)
        case Edit():
            outcome = await channel.edit(action)
        case Delete():
            outcome = await channel.delete(action.message_id)
        case Find():
            outcome = await channel.find(action)
        case Typing():
            outcome = await channel.show_typing(action.is_on)
    return outcome


async def _deliver(channel: Any, wire: Wire) -> Seen:
    """Deliver a run with the engine."""
    clock, document = wire.clock, Document(channel.capability)
    engine = Engine("bench", channel.capability, document, Budget(channel.capability))
    begun = clock.monotonic()
    script = [
        (begun + n / RATE, Event(seq=n + 1, type="content", data={"text": text, "message_id": "a"}))
        for n, text in enumerate(tokens(_TOKENS))
    ]
    ended = begun + _TOKENS / RATE
    script.append((ended, Event(seq=_TOKENS + 1, type="done", data={"result": None})))
    while engine.receipt is None and clock.monotonic() < begun + _MOST_S:
        while script and script[0][0] <= clock.monotonic():
            document.feed(script.pop(0)[1])
        found = engine.next(clock.monotonic())
        if isinstance(found, Action):
            engine.settle(await _call(channel, found), clock.monotonic())
        elif engine.receipt is None:
            times = [each for each in (found, script[0][0] if script else None) if each is not None]
            clock.advance(max(0.001, min(times) - clock.monotonic()))
    said = "" if engine.receipt is None else engine.receipt.status
    return wire.seen(begun, ended, "".join(tokens(_TOKENS)), said)


async def _edit_on_a_timer(channel: Any, wire: Wire) -> Seen:
    """Deliver a run with the timer."""
    clock = wire.clock
    begun = clock.monotonic()
    ended = begun + _TOKENS / RATE

    async def send(text: str) -> str:
        outcome: CallOutcome = await channel.send(Send(1, str(clock.monotonic()), text))
        return outcome.message_id if outcome.kind == "ok" else ""

    async def edit(message_id: str, text: str) -> bool:
        return (await channel.edit(Edit(1, message_id, text))).kind in ("ok", "same")

    timer, left, due = TimerEdits(send, edit), tokens(_TOKENS), begun + FLUSH_S
    while clock.monotonic() < ended:
        clock.advance(max(0.0, min(due, ended) - clock.monotonic()))
        count = min(len(left), int((clock.monotonic() - begun) * RATE) + 1 - _TOKENS + len(left))
        timer.text += "".join(left[: max(count, 0)])
        del left[: max(count, 0)]
        if clock.monotonic() >= due and timer.is_growing:
            await timer.flush()
        due = clock.monotonic() + FLUSH_S
    timer.text += "".join(left)
    await timer.end()
    return wire.seen(begun, ended, timer.text, "")


Way = Callable[[Any, Wire], Awaitable[Seen]]
WAYS: Final[tuple[tuple[str, Way], ...]] = (("runcast", _deliver), ("timer", _edit_on_a_timer))
CHATS: Final = (("Telegram", _telegram), ("Slack", _slack), ("Discord", _discord))


def on_fakes(runs: int) -> None:
    """Print the table of the chats for tests."""
    print(f"{runs} runs each, {_TOKENS} tokens in {_TOKENS / RATE:.0f} s, virtual time\n\n{HEAD}")
    for name, make in CHATS:
        for weather in WEATHERS:
            for way, do in WAYS:
                all_seen = []
                for number in range(runs):
                    platform, channel = make(FakeClock())
                    wire = Wire(platform, weather, random.Random(f"{name}{weather.name}{number}"))
                    wire.under(channel)
                    all_seen.append(asyncio.run(do(channel, wire)))
                print(line(f"{name}, {weather.name}", way, all_seen), flush=True)
