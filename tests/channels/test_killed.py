"""Processes that deliver a run and are killed at every call, by SIGKILL, and others that go on.

The platform decides when: it has a call in its hands, has done it or not, and has not answered. So
the process that is killed does not know, and neither does the one that goes on. The run is written
by the test, a piece for each call, so that messages grow.
"""

import asyncio
import json
import re
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

import pytest

from runcast._hub.hub import Hub
from runcast.events.model import encode_record
from runcast.stores.sqlite.store import SQLiteStore
from runcast.testing import ChatFault, FakeDiscord, FakeSlack, FakeTelegram
from runcast.testing.chats.server import ChatReply, ChatServer, Request
from tests.channels.homeserver import Homeserver, Room, start_homeserver

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]

Moment = Literal["before", "after"]

ROOT = Path(__file__).parents[2]
WORDS = [f"w{number:03}" for number in range(84)]
FINAL = WORDS[-12:]
MOST_CALLS = 40
AT_ONCE = 3
_MOMENTS: Final[tuple[Moment, ...]] = ("before", "after")


def pieces() -> list[bytes]:
    """Return the events of a run: text of several messages, a question, and the end."""
    events: list[tuple[str, dict[str, Any]]] = [("started", {})]
    for at in range(0, 72, 12):
        if at == 48:
            question = {"interrupt_id": "q", "message": "Really?"}
            events.append(("interrupt_request", question))
            events.append(("interrupt_resolved", {"interrupt_id": "q", "outcome": "accept"}))
        text = " ".join(WORDS[at : at + 12]) + " "
        events.append(("content", {"text": text, "message_id": "a"}))
    events.append(("content", {"text": " ".join(FINAL), "message_id": "a"}))
    events.append(("done", {"result": None}))
    return [encode_record(kind, data, 1.0 + n) for n, (kind, data) in enumerate(events)]


class Hastened:
    """A clock that is so fast that no limit of a platform is met."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic() * 1000


class Relay(ChatServer):
    """Stands between a process and a real homeserver."""

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room

    def method_of(self, request: Request) -> str:
        return "typing" if "/typing/" in request.path else f"{request.verb} {request.path}"

    def scope_of(self, method: str, request: Request) -> str:
        return ""

    def do(self, method: str, request: Request, now: float) -> ChatReply:
        token = {name.lower(): value for name, value in request.headers.items()}["authorization"]
        asked = urllib.request.Request(
            self.room.server.url + quote(request.path),
            request.body or None,
            {"Authorization": token},
            method=request.verb,
        )
        try:
            with urllib.request.urlopen(asked, timeout=20) as response:
                return ChatReply(response.status, json.load(response))
        except urllib.error.HTTPError as refused:
            return ChatReply(refused.code, json.load(refused))


@dataclass
class Case:
    """A platform, how a process reaches it, and what people see there."""

    platform: ChatServer
    options: dict[str, str]
    shown: Callable[[], dict[str, str]]
    """The visible messages by id, oldest first."""
    is_exact: bool
    """Whether the platform can tell what became of a send."""


def on_fake(platform: ChatServer, to: str, token: str, url: str, *, is_exact: bool) -> Case:
    def shown() -> dict[str, str]:
        return {each.message_id: each.text for each in platform.messages if not each.is_deleted}

    options = {"to": to, "token": token, "url": url, "allow": "127.0.0.0/8"}
    return Case(platform, options, shown, is_exact)


@asynccontextmanager
async def on_telegram() -> AsyncIterator[Case]:
    async with FakeTelegram(clock=Hastened()) as fake:
        yield on_fake(fake, "42", fake.TOKEN, fake.url, is_exact=False)


@asynccontextmanager
async def on_slack() -> AsyncIterator[Case]:
    async with FakeSlack(clock=Hastened()) as fake:
        yield on_fake(fake, "C1", fake.TOKEN, fake.api_url, is_exact=True)


@asynccontextmanager
async def on_discord() -> AsyncIterator[Case]:
    async with FakeDiscord(rate=1000) as fake:
        yield on_fake(fake, "7", fake.TOKEN, fake.api_url, is_exact=True)


class Killer:
    """Stops the platform's answers at one call."""

    def __init__(self, platform: ChatServer, number: int, moment: Moment) -> None:
        self.is_there = asyncio.Event()
        self.called = asyncio.Event()
        self.calls = 0
        self._answer, self._lock = platform.answer, threading.Lock()
        self._number, self._moment = number, moment
        self._loop = asyncio.get_running_loop()
        platform.answer = self.answer  # type: ignore[method-assign]

    def answer(self, request: Request) -> ChatReply | ChatFault:
        if re.search("typing|ChatAction|whoami", request.path):
            return self._answer(request)
        with self._lock:
            self.calls += 1
            is_it = self.calls == self._number
        silent = ChatFault(kind="lost", is_cut=False)
        if is_it and self._moment == "before":
            self._tell(self.is_there)
            return silent
        reply = self._answer(request)
        if is_it:
            self._tell(self.is_there)
            return silent
        self._tell(self.called)
        return reply

    def _tell(self, event: asyncio.Event) -> None:
        self._loop.call_soon_threadsafe(event.set)


@asynccontextmanager
async def started(
    what: str, folder: Path, target: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    command = [what, str(folder / "runs.db"), str(folder / "channels.toml"), "r", target]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.channels.deliverer", *command),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def write_target(folder: Path, scheme: str, options: dict[str, str]) -> None:
    folder.mkdir()
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    (folder / "channels.toml").write_text("\n".join([f"[{scheme}.ops]", *lines, ""]))


async def write(hub: Hub, killer: Killer) -> None:
    """Write the run: a piece for each call, and all once the process is dead."""
    inlet, waiting = hub.inlet("r"), pieces()
    await inlet.append(waiting[:2])
    del waiting[:2]
    while waiting:
        called = asyncio.ensure_future(killer.called.wait())
        dead = asyncio.ensure_future(killer.is_there.wait())
        await asyncio.wait((called, dead), return_when=asyncio.FIRST_COMPLETED, timeout=5)
        called.cancel()
        dead.cancel()
        killer.called.clear()
        count = 1 if not killer.is_there.is_set() else len(waiting)
        await inlet.append(waiting[:count])
        del waiting[:count]


async def deliver(case: Case, scheme: str, folder: Path, number: int, moment: Moment) -> Any:
    """Deliver a run, kill the process at a call, and let another one go on.

    Returns the receipt, or None if there are fewer calls.
    """
    write_target(folder, scheme, case.options)
    killer = Killer(case.platform, number, moment)
    target = f"{scheme}:ops"
    async with Hub(SQLiteStore(str(folder / "runs.db"))) as hub:
        await hub.create("r")
        async with started("begin", folder, target) as first:
            writing = asyncio.create_task(write(hub, killer))
            ended = asyncio.create_task(first.communicate())
            there = asyncio.create_task(killer.is_there.wait())
            async with asyncio.timeout(60):
                await asyncio.wait((ended, there), return_when=asyncio.FIRST_COMPLETED)
            if not there.done():
                there.cancel()
                await writing
                return None
            first.send_signal(signal.SIGKILL)
            await ended
            await writing
        async with started("resume", folder, target) as second, asyncio.timeout(60):
            output, _ = await second.communicate()
        assert second.returncode == 0
    return json.loads(output)


def check(case: Case, receipt: Any, what: str) -> str:
    """Check what people see against the receipt; return its status."""
    assert receipt["status"] == "done", (what, receipt)
    outcome, shown = receipt["outcome"], case.shown()
    ids = [each.rpartition("C1/")[2] for each in outcome["message_ids"]]
    counted = Counter(re.findall(r"w\d{3}", "\n".join(shown.get(each, "") for each in ids)))
    others = [text for each, text in shown.items() if each not in ids]
    seen = (what, outcome, shown)
    assert max(counted.values()) == 1, seen  # no page is there twice
    assert len(set(shown.values())) == len(shown), seen
    whole = Counter(re.findall(r"w\d{3}", "\n".join(shown.values())))
    assert all(whole[word] <= 1 for word in FINAL), seen
    if outcome["status"] == "delivered":
        assert set(counted) == set(WORDS), seen
        assert "\n".join(shown[each] for each in ids).count("Really?") == 1, seen
        assert len(others) <= outcome["strays"], seen
    else:
        assert outcome["status"] == "uncertain", seen
        assert outcome["reason"], seen
    if case.is_exact:
        assert (outcome["status"], outcome["strays"], others) == ("delivered", 0, []), seen
    return str(outcome["status"])


async def kill_at_every_call(
    open_case: Callable[[], AbstractAsyncContextManager[Case]], scheme: str, folder: Path
) -> Counter[str]:
    """Kill at every call, before and after it is done; return how often which status was there."""
    found: Counter[str] = Counter()
    places = asyncio.Semaphore(AT_ONCE)

    async def kill(number: int, moment: Moment) -> bool:
        async with places, open_case() as case:
            receipt = await deliver(case, scheme, folder / f"{number}{moment}", number, moment)
            if receipt is None:
                return False
            found[check(case, receipt, f"killed {moment} call {number} is done")] += 1
            return True

    for first in range(1, MOST_CALLS, AT_ONCE):
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(kill(number, moment))
                for number in range(first, first + AT_ONCE)
                for moment in _MOMENTS
            ]
        if not all(task.result() for task in tasks):
            assert found.total() > 2 * AT_ONCE  # a delivery of this run has more calls than that
            return found
    raise AssertionError(f"expected fewer than {MOST_CALLS} calls")


@pytest.mark.parametrize(
    ("scheme", "open_case"),
    [("telegram", on_telegram), ("slack", on_slack), ("discord", on_discord)],
)
async def test_the_end_is_there_once_wherever_a_process_is_killed(
    tmp_path: Path, scheme: str, open_case: Callable[[], AbstractAsyncContextManager[Case]]
) -> None:
    found = await kill_at_every_call(open_case, scheme, tmp_path)
    assert found["delivered"] > 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Homeserver]:
    with start_homeserver(tmp_path_factory.mktemp("synapse")) as started:
        yield started


async def test_the_same_on_a_real_homeserver(tmp_path: Path, server: Homeserver) -> None:
    @asynccontextmanager
    async def on_matrix() -> AsyncIterator[Case]:
        room = server.make_room()

        def shown() -> dict[str, str]:
            return {each: str(content["body"]) for each, content in room.messages().items()}

        async with Relay(room) as relay:
            options = {"to": room.room_id, "token": room.bot_token, "homeserver": relay.url}
            yield Case(relay, {**options, "allow": "127.0.0.0/8"}, shown, True)

    found = await kill_at_every_call(on_matrix, "matrix", tmp_path)
    assert set(found) == {"delivered"}
