"""How exactly an answer comes to a chat: a delivery, beside a timer that edits.

    python -m benchmarks.deliveries
    python -m benchmarks.deliveries --runs 20 --homeserver 3

The same streams go to Telegram, Slack and Discord for tests, which keep the limits of the real
ones. Calls are refused, get no answer, or find their message deleted, at random and equally for
both. Time is virtual, so a hundred runs take seconds. `--homeserver N` adds N runs of each on a
real Synapse with its default limits, in real time.
"""

import argparse
import asyncio
import dataclasses
import json
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it can be run as a file

import runcast
from benchmarks.peers.timer_edits import FLUSH_S, TimerEdits
from runcast.channels import CallOutcome, Capability, Edit, Receipt, Send
from runcast.channels.actions import Action, Delete, Find, Typing
from runcast.channels.budget import Budget
from runcast.channels.calls import Answer
from runcast.channels.document import Document
from runcast.channels.engine import Engine
from runcast.channels.platforms.discord import DiscordChannel
from runcast.channels.platforms.matrix import Matrix
from runcast.channels.platforms.slack import SlackChannel
from runcast.channels.platforms.telegram import TelegramChannel
from runcast.events.model import Event
from runcast.testing import ChatFault, FakeClock, FakeDiscord, FakeSlack, FakeTelegram
from runcast.testing.chats.server import ChatReply, ChatServer, Request
from tests.channels.homeserver import Room, start_homeserver

ROUND_TRIP_S: Final = 0.05
TOKENS: Final = 250
RATE: Final = 10.0  # tokens in a second
END: Final = "THE-END."
MOST_S: Final = 3600.0  # of one run


class Weather(NamedTuple):
    """What goes wrong with calls, and how often."""

    name: str
    faults: tuple[ChatFault, ...] = ()
    chance: float = 0.0


WEATHERS: Final = (
    Weather("quiet"),
    Weather("refusals", tuple(ChatFault(kind="limited", retry_after_s=s) for s in (2, 8, 30)), 0.2),
    Weather("no answers", (ChatFault(kind="lost"), ChatFault(kind="late")), 0.15),
    Weather("deletions", (ChatFault(kind="deleted"),), 0.08),
    Weather(
        "all of it",
        (
            *(ChatFault(kind="limited", retry_after_s=8), ChatFault(kind="lost")),
            *(ChatFault(kind="late"), ChatFault(kind="deleted"), ChatFault(kind="error")),
        ),
        0.3,
    ),
)


@dataclasses.dataclass
class Seen:
    """What became of one run, and what it cost."""

    ends: int
    """How often the end is visible."""
    is_clean: bool
    """Whether the whole text is visible once, and nothing else is."""
    lag_s: float | None
    """From the end of the run until the end is visible, without the time the server refused."""
    first_s: float | None
    refused: int
    windows: int
    blocked: int
    calls: int
    said: str = ""


class Wire:
    """Calls a platform in the same process, in its own time, and takes notes."""

    def __init__(self, platform: Any, weather: Weather, rng: random.Random) -> None:
        self.platform: ChatServer = platform
        self.clock: FakeClock = platform.clock
        self.penalties: list[tuple[float, float]] = []
        self.first_at: float | None = None
        self.end_at: float | None = None
        self._weather, self._rng = weather, rng

    def under(self, channel: Any) -> None:
        """Take the place of a channel's HTTP client."""
        channel._clock = self.clock
        caller = channel._caller

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
        if isinstance(reply, ChatReply) and not is_typing and (wait_s := _told(reply)):
            self.penalties.append((now, now + wait_s + ROUND_TRIP_S))
        shown = "".join(each.text for each in platform.messages if not each.is_deleted)
        self.first_at = now if self.first_at is None and shown else self.first_at
        if END not in shown:
            self.end_at = None
        elif self.end_at is None:
            self.end_at = now + ROUND_TRIP_S
        self.clock.advance(ROUND_TRIP_S)
        if isinstance(reply, ChatFault):
            return CallOutcome("uncertain", reason="the connection broke")
        headers = {name.lower(): value for name, value in reply.headers.items()}
        return Answer(reply.status, headers, reply.body)

    def seen(self, begun: float, ended: float, text: str, said: str) -> Seen:
        """Return what is visible at the end."""
        calls = [each for each in self.platform.calls if "yping" not in each.method]
        shown = [each.text for each in self.platform.messages if not each.is_deleted]
        refused = [each for each in calls if each.status == 429]
        lag = None
        if self.end_at is not None:
            waits = [(max(a, ended), min(b, self.end_at)) for a, b in self.penalties]
            lag = self.end_at - max(ended, begun) - _union(waits)
        return Seen(
            ends=sum(END in each for each in shown),
            is_clean="".join("".join(shown).split()) == "".join(text.split()),
            lag_s=None if lag is None else max(lag, 0.0),
            first_s=None if self.first_at is None else self.first_at - begun,
            refused=len(refused),
            windows=len([each for each in refused if not each.was_blocked]),
            blocked=len([each for each in calls if each.was_blocked]),
            calls=len(calls),
            said=said,
        )


def _told(reply: ChatReply) -> float:
    """Return how long a platform says that it takes no calls: perhaps in whole seconds."""
    if reply.status == 429:
        body = reply.body or {}
        said = body.get("parameters", body).get("retry_after") or reply.headers.get("Retry-After")
        return float(said or 0.0)
    is_last = reply.headers.get("X-RateLimit-Remaining") == "0"
    return float(reply.headers["X-RateLimit-Reset-After"]) if is_last else 0.0


def _union(spans: Sequence[tuple[float, float]]) -> float:
    """Return how long at least one of the spans lasts."""
    total, at = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, at))
        at = max(at, end)
    return total


def telegram(clock: FakeClock) -> tuple[Any, Any, str]:
    fake = FakeTelegram(clock=clock)
    return fake, TelegramChannel("42", fake.TOKEN, url="http://127.0.0.1:1"), "42"


def slack(clock: FakeClock) -> tuple[Any, Any, str]:
    fake = FakeSlack(clock=clock)
    return fake, SlackChannel("C1", fake.TOKEN, url="http://127.0.0.1:1/api"), "C1"


def discord(clock: FakeClock) -> tuple[Any, Any, str]:
    fake = FakeDiscord(clock=clock)
    return fake, DiscordChannel("7", fake.TOKEN, url="http://127.0.0.1:1/api/v10"), "7"


def tokens() -> list[str]:
    return [*(f"w{number} " for number in range(TOKENS - 1)), END]


async def call(channel: Any, action: Action) -> CallOutcome:
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


async def deliver(channel: Any, wire: Wire) -> Seen:
    """Deliver a run with the engine."""
    clock, document = wire.clock, Document(channel.capability)
    engine = Engine("bench", channel.capability, document, Budget(channel.capability))
    begun = clock.monotonic()
    script = [
        (begun + n / RATE, Event(seq=n + 1, type="content", data={"text": text, "message_id": "a"}))
        for n, text in enumerate(tokens())
    ]
    ended = begun + TOKENS / RATE
    script.append((ended, Event(seq=TOKENS + 1, type="done", data={"result": None})))
    while engine.receipt is None and clock.monotonic() < begun + MOST_S:
        while script and script[0][0] <= clock.monotonic():
            document.feed(script.pop(0)[1])
        found = engine.next(clock.monotonic())
        if isinstance(found, Action):
            engine.settle(await call(channel, found), clock.monotonic())
        elif engine.receipt is None:
            times = [each for each in (found, script[0][0] if script else None) if each is not None]
            clock.advance(max(0.001, min(times) - clock.monotonic()))
    said = "" if engine.receipt is None else engine.receipt.status
    return wire.seen(begun, ended, "".join(tokens()), said)


async def edit_on_a_timer(channel: Any, wire: Wire) -> Seen:
    """Deliver a run with the timer."""
    clock = wire.clock
    begun = clock.monotonic()
    ended = begun + TOKENS / RATE

    async def send(text: str) -> str:
        outcome: CallOutcome = await channel.send(Send(1, str(clock.monotonic()), text))
        return outcome.message_id if outcome.kind == "ok" else ""

    async def edit(message_id: str, text: str) -> bool:
        return (await channel.edit(Edit(1, message_id, text))).kind in ("ok", "same")

    timer, left, due = TimerEdits(send, edit), tokens(), begun + FLUSH_S
    while clock.monotonic() < ended:
        clock.advance(max(0.0, min(due, ended) - clock.monotonic()))
        count = min(len(left), int((clock.monotonic() - begun) * RATE) + 1 - TOKENS + len(left))
        timer.text += "".join(left[: max(count, 0)])
        del left[: max(count, 0)]
        if clock.monotonic() >= due and timer.is_growing:
            await timer.flush()
        due = clock.monotonic() + FLUSH_S
    timer.text += "".join(left)
    await timer.end()
    return wire.seen(begun, ended, timer.text, "")


Way = Callable[[Any, Wire], Awaitable[Seen]]
WAYS: Final[tuple[tuple[str, Way], ...]] = (("runcast", deliver), ("timer", edit_on_a_timer))
CHATS: Final = (("Telegram", telegram), ("Slack", slack), ("Discord", discord))

HEAD: Final = (
    "| chat, faults | way | end once | nothing else | said so | lag p50, max (s) "
    "| 429 per penalty | while blocked | first text max (s) | calls |\n" + "|---" * 10 + "|"
)


def line(name: str, way: str, all_seen: Sequence[Seen]) -> str:
    """Return a line of the table."""
    count = len(all_seen)
    lags = [each.lag_s for each in all_seen if each.lag_s is not None]
    firsts = [each.first_s for each in all_seen if each.first_s is not None]
    windows = sum(each.windows for each in all_seen)
    refused = sum(each.refused for each in all_seen)
    wrong = [each for each in all_seen if each.ends != 1 or not each.is_clean]
    said = sum(each.said in ("uncertain", "failed") for each in wrong if each.ends != 1)
    missing = sum(each.ends != 1 for each in all_seen)
    return (
        f"| {name} | {way} | {sum(each.ends == 1 for each in all_seen)} of {count} "
        f"| {sum(each.ends == 1 and each.is_clean for each in all_seen)} "
        f"| {f'{said} of {missing}' if missing else '-'} "
        f"| {f'{median(lags):.2f}, {max(lags):.2f}' if lags else '-'} "
        f"| {f'{refused / windows:.2f}' if windows else '-'} "
        f"| {sum(each.blocked for each in all_seen)} "
        f"| {max(firsts, default=0.0):.2f} | {sum(each.calls for each in all_seen) / count:.0f} |"
    )


def on_fakes(runs: int) -> None:
    """Print the table of the chats for tests."""
    print(f"{runs} runs each, {TOKENS} tokens in {TOKENS / RATE:.0f} s, virtual time\n\n{HEAD}")
    for name, make in CHATS:
        for weather in WEATHERS:
            for way, do in WAYS:
                all_seen = []
                for number in range(runs):
                    platform, channel, _ = make(FakeClock())
                    wire = Wire(platform, weather, random.Random(f"{name}{weather.name}{number}"))
                    wire.under(channel)
                    all_seen.append(asyncio.run(do(channel, wire)))
                print(line(f"{name}, {weather.name}", way, all_seen), flush=True)


def cpu_of_a_tick(limit: int) -> float:
    """Return the milliseconds of CPU of one tick when a text has 30 KB: the median of the last."""
    capability = Capability(limit=limit, interval_s=1.0, slots=10_000)
    document = Document(capability)
    engine = Engine("bench", capability, document, Budget(capability))
    took, size, now = [], 0, 0.0
    while size < 30_000:
        now += 1.0
        for number in range(40):
            text = f"word{number} " if number else "A **new** line.\n\n"
            size += len(text)
            document.feed(Event(type="content", data={"text": text, "message_id": "a"}))
        before = time.process_time()
        for _ in range(4):
            found = engine.next(now)
            if not isinstance(found, Action):
                break
            message_id = str(size) if isinstance(found, Send) else ""
            engine.settle(CallOutcome("ok", message_id), now)
        took.append((time.process_time() - before) * 1000)
    return median(took[-20:])


class Memory:
    """A chat in memory that takes everything."""

    capability = Capability(limit=4096, interval_s=1.0)

    def __init__(self, number: int) -> None:
        self.scope = f"memory:{number}"
        self.end_at = 0.0
        self.calls = 0

    async def send(self, message: Send) -> CallOutcome:
        return self._take(message.text)

    async def edit(self, message: Edit) -> CallOutcome:
        return self._take(message.text)

    async def delete(self, message_id: str) -> CallOutcome:
        return CallOutcome("ok")

    async def close(self) -> None:
        pass

    def _take(self, text: str) -> CallOutcome:
        self.calls += 1
        if END in text:
            self.end_at = time.perf_counter()
        return CallOutcome("ok", "m")


async def on_one_loop(count: int, seconds: float = 10.0, rate: float = 4.0) -> str:
    """Deliver so many runs at once; return what it cost."""
    ended: list[float] = [0.0] * count

    async def talk(number: int) -> None:
        for word in range(int(seconds * rate)):
            runcast.content(f"w{word} ")
            await asyncio.sleep(1 / rate)
        runcast.content(END)
        ended[number] = time.perf_counter()

    talking = runcast.function(talk)
    channels = [Memory(number) for number in range(count)]
    before, began = time.process_time(), time.perf_counter()
    async with runcast.open_hub() as hub:
        runs = [await hub.start(talking, {"number": number}) for number in range(count)]
        pairs = zip(runs, channels, strict=True)
        waits = [await hub.deliver(run.run_id, channel) for run, channel in pairs]
        receipts = [await each.wait() for each in waits]
    cpu, took = time.process_time() - before, time.perf_counter() - began
    fine = sum(isinstance(each, Receipt) and each.status == "delivered" for each in receipts)
    lags = [channel.end_at - end for channel, end in zip(channels, ended, strict=True)]
    calls = sum(channel.calls for channel in channels)
    return (
        f"{fine} of {count} delivered, {calls} calls, lag of the end p50 {median(lags):.2f} s, "
        f"max {max(lags):.2f} s, {cpu / took:.0%} of one core in {took:.0f} s"
    )


async def on_homeserver(runs: int) -> None:
    """Print the table of a real Synapse, in real time: all runs at once, each with its own bot."""
    print(f"\nSynapse with its default limits, {runs} runs each, real time\n\n{HEAD}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        start_homeserver(Path(folder)) as server,
    ):
        for way, do in (("runcast", deliver_to), ("timer", edit_on_a_timer_in)):
            rooms = [await asyncio.to_thread(server.make_room) for _ in range(runs)]
            all_seen = await asyncio.gather(*(do(room) for room in rooms))
            print(line("Matrix", way, all_seen), flush=True)


class Noted:
    """What the calls to one room came to."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.channel = Matrix(room.room_id, homeserver=room.server.url, token=room.bot_token)
        self.began = time.monotonic()
        self.first_at: float | None = None
        self.end_at: float | None = None
        self.ended = 0.0
        self.penalties: list[tuple[float, float]] = []
        self.refused = self.windows = self.blocked = self.calls = 0
        put = self.channel._put

        async def noted(transaction: str, content: dict[str, Any]) -> CallOutcome:
            until = max((end for _, end in self.penalties), default=0.0)
            is_blocked = time.monotonic() < until
            outcome = await put(transaction, content)
            now = time.monotonic()
            self.calls += 1
            self.blocked += is_blocked
            if outcome.kind == "limited":
                self.refused += 1
                self.windows += not is_blocked
                self.penalties.append((now, now + outcome.retry_after_s))
            elif outcome.kind == "ok":
                self.first_at = self.first_at or now
                shown = content.get("m.new_content", content)["body"]
                self.end_at = now if END in shown and not self.end_at else self.end_at
            return outcome

        self.channel._put = noted  # type: ignore[method-assign]

    async def seen(self, text: str, said: str) -> Seen:
        """Return what a reader of the room sees."""
        messages = await asyncio.to_thread(self.room.messages)
        shown = [str(content["body"]) for content in messages.values()]
        lag = None
        if self.end_at is not None:
            waits = [(max(a, self.ended), min(b, self.end_at)) for a, b in self.penalties]
            lag = max(0.0, self.end_at - self.ended - _union(waits))
        return Seen(
            ends=sum(END in each for each in shown),
            is_clean="".join("".join(shown).split()) == "".join(text.split()),
            lag_s=lag,
            first_s=None if self.first_at is None else self.first_at - self.began,
            refused=self.refused,
            windows=self.windows,
            blocked=self.blocked,
            calls=self.calls,
            said=said,
        )


async def deliver_to(room: Room) -> Seen:
    """Deliver a run to a room with runcast."""
    noted = Noted(room)

    async def talk() -> None:
        noted.began = time.monotonic()
        for text in tokens():
            runcast.content(text)
            await asyncio.sleep(1 / RATE)
        noted.ended = time.monotonic()

    async with runcast.open_hub() as hub:
        run = await hub.start(talk)
        delivery = await hub.deliver(run.run_id, noted.channel, finish="in_place")
        receipt = await delivery.wait()
    said = "" if receipt is None else receipt.status
    return await noted.seen("".join(tokens()), said)


async def edit_on_a_timer_in(room: Room) -> Seen:
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
    for text in tokens():
        timer.text += text
        await asyncio.sleep(1 / RATE)
    noted.ended = time.monotonic()
    flushing.cancel()
    await timer.end()
    await noted.channel.close()
    return await noted.seen(timer.text, "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100, help="of each kind (%(default)s)")
    parser.add_argument("--homeserver", type=int, default=0, help="runs on a real Synapse")
    parser.add_argument("--at-once", type=int, default=1000, help="deliveries on one loop")
    options = parser.parse_args()
    on_fakes(options.runs)
    for limit in (4096, 30_000):
        print(f"\nCPU of a tick at 30 KB, pages of {limit}: {cpu_of_a_tick(limit):.2f} ms")
    print(
        f"\n{options.at_once} deliveries on one loop: {asyncio.run(on_one_loop(options.at_once))}"
    )
    if options.homeserver:
        asyncio.run(on_homeserver(options.homeserver))


if __name__ == "__main__":
    main()
