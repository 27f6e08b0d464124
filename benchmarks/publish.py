"""Publish to a server over HTTP, at a steady rate, on one keep-alive connection.

    python -m benchmarks.publish --streams 500 --rate 50 --events 200 http://127.0.0.1:8000/pub/s{}

For servers that are fed from outside. Requests are pipelined: the publisher does not wait for an
answer before the next event is due, so that a slow server is not given less to do.
"""

import argparse
import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it can be run as a file

from benchmarks.load import run_on_best_loop
from benchmarks.pace import Pace
from benchmarks.peers.publisher import encode_json, make_event

MOST_IN_FLIGHT = 4096  # requests not yet answered; beyond, the publisher waits and says so

LONGEST_CUT = 9  # bytes of a status line that may have come without its first digit

match_answers = re.compile(rb"HTTP/1\.1 (\d)").finditer


class Publisher(asyncio.Protocol):
    """Sends requests, counts answers."""

    def __init__(self) -> None:
        self.answered = 0
        self.refused = 0
        self.closed = False
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        data = self._tail + data
        end = 0
        for answer in match_answers(data):
            self.answered += 1
            self.refused += answer[1] != b"2"
            end = answer.end()
        self._tail = data[end:][-LONGEST_CUT:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True


async def publish(url: str, streams: int, rate: float, events: int) -> dict[str, Any]:
    """Publish `events` on each of `streams`, in turn, and return how that went."""
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    transport, publisher = await loop.create_connection(
        Publisher, parts.hostname or "127.0.0.1", parts.port or 80
    )
    heads = [
        f"POST {parts.path.format(f's{index}')} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
        for index in range(streams)
    ]
    total, sent, held_back = streams * events, 0, 0
    pace = Pace(total, rate * streams)
    while sent < total and not publisher.closed:
        room = MOST_IN_FLIGHT - (sent - publisher.answered)
        due = pace.due()
        held_back += due - sent > room
        requests = []
        for index in range(sent, min(due, sent + max(0, room))):
            body = encode_json(make_event(index // streams))
            requests.append(f"{heads[index % streams]}{len(body)}\r\n\r\n{body}")
        sent += len(requests)
        if requests:
            transport.write("".join(requests).encode())
        await asyncio.sleep(pace.wait_s(sent))
    for _ in range(500):  # at most 5 s for the last answers
        if publisher.answered >= sent or publisher.closed:
            break
        await asyncio.sleep(0.01)
    transport.close()
    return {
        "sent": sent,
        "answered": publisher.answered,
        "refused": publisher.refused,
        "held_back": held_back,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="where to POST; {} becomes s0, s1, ...")
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--rate", type=float, default=50.0, help="events a second and stream")
    parser.add_argument("--events", type=int, default=100, help="for each stream")
    found = parser.parse_args()
    result = run_on_best_loop(publish(found.url, found.streams, found.rate, found.events))
    print(json.dumps(result), flush=True)
    return 0 if result["answered"] == result["sent"] and not result["refused"] else 1


if __name__ == "__main__":
    sys.exit(main())
