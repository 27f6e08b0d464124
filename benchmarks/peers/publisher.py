"""The publisher inside each Python peer, started over HTTP.

GET /start?streams=500&rate=50&n=200&mode=thread   publish n events on each of s0, s1, ...;
                                                   mode=threads: each stream from its own thread
GET /fill?n=100000                                 make s0 a closed stream of n events
"""

import asyncio
import threading
import time
from collections.abc import Callable
from json import JSONEncoder
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.pace import Pace

PAD = "x" * 170  # makes a frame of about 230 bytes, as long as the one runcast sends

Event = dict[str, object]
Publish = Callable[[str, Event], None]
encode_json = JSONEncoder(separators=(",", ":")).encode


def make_event(seq: int) -> Event:
    """Return an event that is being published now."""
    return {"seq": seq, "ts": time.monotonic_ns(), "pad": PAD}


class WithPublisher:
    """An ASGI application with `/start` and `/fill` in front of it.

    `publish` is called on the loop's thread. `publish_from_thread` is called from another one; left
    out, it is `publish` by way of `loop.call_soon_threadsafe`.
    """

    def __init__(
        self,
        app: ASGIApp,
        publish: Publish,
        *,
        publish_from_thread: Publish | None = None,
        fill: Callable[[str, list[Event]], None] | None = None,
    ) -> None:
        self._app = app
        self._publish = publish
        self._publish_from_thread = publish_from_thread
        self._fill = fill
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in ("/start", "/fill"):
            await self._app(scope, receive, send)
            return
        query = dict(parse_qsl(scope["query_string"].decode()))
        count = int(query["n"])
        if scope["path"] == "/fill":
            assert self._fill is not None
            self._fill("s0", [make_event(seq) for seq in range(count)])
        else:
            self._start(int(query["streams"]), float(query["rate"]), count, query["mode"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    def _start(self, streams: int, rate: float, count: int, mode: str) -> None:
        names = [f"s{index}" for index in range(streams)]
        if mode == "threads":
            for name in names:
                self._start_thread([name], count, Pace(count, rate))
            return
        pace = Pace(streams * count, rate * streams)
        if mode == "loop":
            task = asyncio.create_task(publish_on_loop(self._publish, names, count, pace))
            self._tasks.add(task)
        else:
            self._start_thread(names, count, pace)

    def _start_thread(self, names: list[str], count: int, pace: Pace) -> None:
        loop = asyncio.get_running_loop()

        def through_the_loop(stream: str, event: Event) -> None:
            loop.call_soon_threadsafe(self._publish, stream, event)

        publish = self._publish_from_thread or through_the_loop
        work = (publish, names, count, pace)
        threading.Thread(target=publish_on_thread, args=work, daemon=True).start()


async def publish_on_loop(publish: Publish, names: list[str], count: int, pace: Pace) -> None:
    """Publish `count` events on each stream, in turn, from the loop's own thread."""
    done, streams = 0, len(names)
    while done < streams * count:
        for index in range(done, pace.due()):
            publish(names[index % streams], make_event(index // streams))
            done += 1
        await asyncio.sleep(pace.wait_s(done))


def publish_on_thread(publish: Publish, names: list[str], count: int, pace: Pace) -> None:
    """Publish `count` events on each stream, in turn, from the calling thread."""
    done, streams = 0, len(names)
    while done < streams * count:
        for index in range(done, pace.due()):
            publish(names[index % streams], make_event(index // streams))
            done += 1
        time.sleep(pace.wait_s(done))
