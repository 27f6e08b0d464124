"""How exactly an answer comes to a chat: a delivery, beside a timer that edits.

    python -m benchmarks.deliveries
    python -m benchmarks.deliveries --runs 20 --homeserver 3

The same streams go to Telegram, Slack and Discord for tests, which keep the limits of the real
ones. Calls are refused, get no answer, or find their message deleted, at random and equally for
both. Time is virtual, so a hundred runs take seconds. `--homeserver N` adds N runs of each on a
real Synapse with its default limits, in real time. `answers` says what is counted.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it can be run as a file

import runcast
from benchmarks.answers import END
from benchmarks.fake_chats import on_fakes
from benchmarks.homeserver import on_homeserver
from runcast.channels import CallOutcome, Capability, Edit, Receipt, Send
from runcast.channels.actions import Action
from runcast.channels.budget import Budget
from runcast.channels.document import Document
from runcast.channels.engine import Engine
from runcast.events.model import Event


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100, help="of each kind (%(default)s)")
    parser.add_argument("--homeserver", type=int, default=0, help="runs on a real Synapse")
    parser.add_argument(
        "--apart", type=float, default=1.75, help="seconds between their beginnings (%(default)s)"
    )
    parser.add_argument("--at-once", type=int, default=1000, help="deliveries on one loop")
    options = parser.parse_args()
    if options.runs:
        on_fakes(options.runs)
        for limit in (4096, 30_000):
            print(f"\nCPU of a tick at 30 KB, pages of {limit}: {cpu_of_a_tick(limit):.2f} ms")
    if options.at_once:
        said = asyncio.run(on_one_loop(options.at_once))
        print(f"\n{options.at_once} deliveries on one loop: {said}")
    if options.homeserver:
        asyncio.run(on_homeserver(options.homeserver, options.apart))


if __name__ == "__main__":
    main()
