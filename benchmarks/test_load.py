"""The load generator must notice every kind of loss, or a benchmark with loss would look fine."""

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.histogram import Histogram
from benchmarks.load import LoadOptions, watch
from benchmarks.response import BadResponse, ResponseReader
from benchmarks.sequence import MOST_MISSING, Digits, SequenceCheck

ROOT = Path(__file__).resolve().parents[1]
EVENTS = 400
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
Report = dict[str, object]


def frame(number: int, ending: str = "\n") -> bytes:
    body = json.dumps({"seq": number, "ts": 5_000_000 + number, "pad": "x" * 50})
    return f"id: e-{number}{ending}data: {body}{ending}{ending}".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def report_on(
    writes: list[bytes], *, expect: int = EVENTS, first: int | None = 0, later: bool = False
) -> Report:
    """Serve the writes to one watcher, each in a turn of its own, and return its report."""
    return report_on_all([writes], expect=expect, first=first, later=later)


def report_on_all(
    writes_of_each: list[list[bytes]],
    *,
    expect: int = EVENTS,
    first: int | None = 0,
    later: bool = False,
) -> Report:
    """Serve each list of writes to a watcher of its own and return their report."""
    left = list(writes_of_each)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for data in left.pop():
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    async def scenario() -> Report:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            options = LoadOptions(
                urls=[f"http://127.0.0.1:{port}/sse/s0"],
                connections=len(writes_of_each),
                expect=expect,
                first=first,
                seconds=5,
                warm_s=0,
                open_s=5,
                check_later=later,
            )
            return await watch(options)

    return asyncio.run(scenario())


def one_write_each(numbers: list[int]) -> list[bytes]:
    return [HEAD, *(chunk(frame(number)) for number in numbers), b"0\r\n\r\n"]


def all_in_one_write(numbers: list[int]) -> list[bytes]:
    return [HEAD + chunk(b"".join(map(frame, numbers))) + b"0\r\n\r\n"]


FAULTS = ("gaps", "duplicates", "disorder", "short", "surplus", "bad")


def faults(report: Report) -> dict[str, object]:
    return {fault: report[fault] for fault in FAULTS if report[fault]}


def numbers() -> list[int]:
    return list(range(EVENTS))


def test_a_faultless_stream_has_no_faults() -> None:
    for writes in (one_write_each(numbers()), all_in_one_write(numbers())):
        report = report_on(writes)

        assert faults(report) == {}
        assert report["ok"] is True
        assert report["messages"] == EVENTS


def test_a_dropped_event_is_a_gap() -> None:
    for at in (0, 1, 200, EVENTS - 2):
        left = [number for number in numbers() if number != at]
        for writes in (one_write_each(left), all_in_one_write(left)):
            assert faults(report_on(writes)) == {"gaps": 1}


def test_a_repeated_event_is_a_duplicate() -> None:
    for at in (0, 200, EVENTS - 1):
        more = [*numbers()[: at + 1], at, *numbers()[at + 1 :]]
        for writes in (one_write_each(more), all_in_one_write(more)):
            assert faults(report_on(writes)) == {"duplicates": 1}


def test_bytes_put_aside_are_checked_at_the_end() -> None:
    wrong = [*numbers()[:200], 199, *numbers()[202:]]
    for writes in (one_write_each(wrong), all_in_one_write(wrong)):
        assert faults(report_on(writes, later=True)) == {"gaps": 2, "duplicates": 1}


def test_a_fault_is_seen_among_watchers_that_get_the_right_bytes() -> None:
    right = [
        HEAD,
        *(chunk(b"".join(map(frame, range(at, at + 40)))) for at in range(0, EVENTS, 40)),
    ]
    wrong = [*right[:3], right[4], right[3].replace(b"100,", b"101,"), *right[5:]]

    report = report_on_all([right, right, wrong, right])

    assert faults(report) == {"gaps": 1, "disorder": 39, "duplicates": 1}
    assert report["messages"] == 4 * EVENTS


def test_a_drop_made_good_by_a_repeat_is_still_seen() -> None:
    wrong = [*numbers()[:200], 199, *numbers()[201:]]
    for writes in (one_write_each(wrong), all_in_one_write(wrong)):
        assert faults(report_on(writes)) == {"gaps": 1, "duplicates": 1}


def test_two_swapped_events_are_disorder() -> None:
    swapped = numbers()
    swapped[200], swapped[201] = 201, 200
    for writes in (one_write_each(swapped), all_in_one_write(swapped)):
        assert faults(report_on(writes)) == {"disorder": 1}


def test_a_stream_that_ends_early_is_short() -> None:
    for writes in (one_write_each(numbers()[:-3]), all_in_one_write(numbers()[:-3])):
        assert faults(report_on(writes)) == {"short": 3}


def test_an_event_without_its_blank_line_does_not_count() -> None:
    cut = b"".join(map(frame, numbers()))[:-1]

    assert faults(report_on([HEAD, chunk(cut), b"0\r\n\r\n"])) == {"short": 1}


def test_events_beyond_the_expected_are_surplus() -> None:
    writes = all_in_one_write([*numbers(), EVENTS, EVENTS + 1])

    assert faults(report_on(writes)) == {"surplus": 2}


def test_another_first_number_than_expected_is_a_fault() -> None:
    writes = all_in_one_write([number + 1 for number in numbers()])

    assert faults(report_on(writes)) == {"gaps": 1}
    assert faults(report_on(writes, first=None)) == {}


def test_a_number_beyond_all_reason_does_not_exhaust_memory() -> None:
    check = SequenceCheck(Digits(), 0)

    check.add([b"0", b"1000000000000"])
    check.add([b"1000000000001"])

    assert check.gaps == MOST_MISSING


def test_frames_cut_anywhere_are_put_together_again() -> None:
    cutter = random.Random(7)
    for ending in ("\n", "\r\n"):
        body = b": hello" + 2 * ending.encode()
        body += b"".join(frame(number, ending) for number in numbers())
        data = HEAD
        while body:  # chunks that do not respect events
            size = cutter.randint(1, 700)
            data += chunk(body[:size])
            body = body[size:]
        data += b"0\r\n\r\n"
        writes = []
        while data:  # writes that do not respect chunks
            size = cutter.randint(1, 300)
            writes.append(data[:size])
            data = data[size:]

        report = report_on(writes)

        assert faults(report) == {}
        assert report["messages"] == EVENTS


def test_a_body_without_chunks_is_read_until_the_connection_ends() -> None:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

    assert faults(report_on([head, *map(frame, numbers())])) == {}


def test_another_status_than_200_is_bad() -> None:
    report = report_on([b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"])

    assert faults(report) == {"bad": 1, "short": EVENTS}
    assert report["problems"]


def test_the_response_reader_gives_the_same_body_at_every_cut() -> None:
    data = HEAD + chunk(b"a\r\n\r\nb") + b"5;x=y\r\nhello\r\n" + chunk(b"\r\n") + b"0\r\n\r\n"
    for first in range(len(data)):
        for second in range(first, len(data), 7):
            reader = ResponseReader()
            parts = data[:first], data[first:second], data[second:]

            body = b"".join(map(reader.feed, parts))

            assert body == b"a\r\n\r\nbhello\r\n"
            assert reader.ended


def test_the_response_reader_refuses_what_is_not_http() -> None:
    for data in (b"SSH-2.0\r\n\r\n", HEAD + b"zz\r\n", HEAD + b"1" * 300):
        with pytest.raises(BadResponse):
            ResponseReader().feed(data)


def test_the_sequence_check_agrees_with_a_plain_count_on_random_faults() -> None:
    source = random.Random(11)
    for _ in range(200):
        wire = [n for n in range(60) if source.random() > 0.1]
        wire += source.choices(range(60), k=source.randint(0, 6))
        if source.random() < 0.5:
            at = source.randrange(len(wire) - 1)
            wire[at], wire[at + 1] = wire[at + 1], wire[at]
        check = SequenceCheck(Digits(), 0)
        at = 0
        while at < len(wire):
            step = source.randint(1, 9)
            check.add([b"%d" % n for n in wire[at : at + step]])
            at += step

        assert check.messages == len(wire)
        assert check.duplicates == len(wire) - len(set(wire))
        assert check.gaps == max(wire) + 1 - len(set(wire))


def test_percentiles_are_within_two_percent() -> None:
    histogram = Histogram()
    for value in range(1, 100_001):
        histogram.add(value * 1000)

    for percent in (1, 50, 90, 99, 99.9):
        assert histogram.percentile(percent) == pytest.approx(percent * 1_000_000, rel=0.02)
    assert histogram.largest == 100_000_000


def test_a_late_batch_weighs_as_much_as_its_events() -> None:
    histogram = Histogram()
    for _ in range(100):
        histogram.add(1_000_000)
    histogram.add_range(500_000_000, 400_000_000, 1000)

    assert histogram.percentile(50) > 400_000_000
    assert histogram.total == pytest.approx(1100)


def test_the_command_prints_json_and_fails_on_loss() -> None:
    command = [sys.executable, "-m", "benchmarks.load", "--open-s", "2", "http://127.0.0.1:9/sse"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)

    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["bad"] == 1
