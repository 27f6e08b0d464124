"""The demo functions, on real files and through a hub, as `runcast serve` runs them."""

import os
import pydoc_data.topics
import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runcast
from runcast import demo
from runcast._app import AnyFunction
from runcast.demo import pace
from runcast.demo.pace import Reports
from runcast.demo.words import MOST_LETTERS, Tally, WordCount
from runcast.events.model import Event
from runcast.testing.clock import FakeClock

LICENSE = Path(__file__).resolve().parents[2] / "LICENSE"
TOPICS = Path(pydoc_data.topics.__file__)  # 700 kB of English, on every machine that has Python
TEXTS = {path: path.read_bytes() for path in (LICENSE, TOPICS)}

anyio = pytest.mark.anyio


async def run(function: AnyFunction, **inputs: Any) -> list[Event]:
    """Run a function to its end and return its events."""
    async with runcast.open_hub() as hub:
        started = await hub.start(function, inputs)
        return [event async for event in hub.watch(started.run_id)]


def plain_count(text: str) -> Counter[str]:
    """Count words in the obvious way, all at once."""
    runs = re.findall(r"[^\W_]+", text.replace("'", "").replace("’", ""))
    words = (run.lower() for run in runs if run.isalpha())
    return Counter(word for word in words if len(word) <= MOST_LETTERS)


def counted(pieces: list[bytes]) -> tuple[int, int, dict[str, int]]:
    tally = Tally()
    for piece in pieces:
        tally.feed(piece)
    tally.finish()
    return tally.lines, tally.words, dict(tally.top(1000))


# --- count_words ----------------------------------------------------------------------------------


@anyio
@pytest.mark.parametrize("path", [LICENSE, TOPICS], ids=["licence", "topics"])
async def test_the_words_of_a_real_text_are_counted(path: Path) -> None:
    expected = plain_count(TEXTS[path].decode())

    events = await run(demo.count_words, path=str(path), top=3)

    result = events[-1].data["result"]
    assert events[-1].type == "done"
    assert result["bytes"] == len(TEXTS[path])
    assert result["lines"] == TEXTS[path].count(b"\n")
    assert result["words"] == expected.total()
    assert result["distinct"] == len(expected)
    assert result["top"] == [{"word": w, "times": n} for w, n in expected.most_common(3)]


@anyio
async def test_counting_tells_how_far_it_is_and_what_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "_EVERY_S", 0.0)

    events = await run(demo.count_words, path=str(TOPICS), top=2)

    size = len(TEXTS[TOPICS])
    progress = [event.data for event in events if event.type == "progress"]
    partial = [event.data["value"] for event in events if event.type == "result"]
    assert len(partial) == -(-size // (256 * 1024)) > 1
    assert [data["current"] for data in progress] == sorted(data["current"] for data in progress)
    assert progress[-1]["current"] == progress[-1]["total"] == size
    assert progress[-1]["percent"] == 100
    assert all(data["mb_per_s"] >= 0 and data["lines_per_s"] >= 0 for data in progress)
    assert [data["words"] for data in partial] == sorted(data["words"] for data in partial)
    assert all(len(data["top"]) == 2 for data in partial)


@anyio
async def test_binary_junk_is_counted_like_any_file() -> None:
    events = await run(demo.count_words, path=sys.executable)

    assert events[-1].type == "done"
    assert events[-1].data["result"]["bytes"] == os.stat(sys.executable).st_size


@anyio
async def test_a_file_of_one_huge_line_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "line"
    path.write_bytes(b"word " * 400_000 + b"x" * 1_000_000 + b" end")

    events = await run(demo.count_words, path=str(path))

    result = events[-1].data["result"]
    assert result["top"] == [{"word": "word", "times": 400_000}, {"word": "end", "times": 1}]
    assert result["lines"] == 0


@anyio
async def test_an_empty_file_has_no_words(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()

    events = await run(demo.count_words, path=str(path))

    assert [event.type for event in events] == ["started", "progress", "done"]
    assert events[1].data["percent"] == 100
    assert events[2].data["result"]["words"] == 0


@anyio
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing", "file_not_found"),
        (".", "not_a_file"),
        ("pipe", "not_a_file"),
        ("nul\0", "file_unreadable"),
        ("x" * 300, "file_unreadable"),
    ],
    ids=["missing", "folder", "pipe", "nul", "long"],
)
async def test_what_cannot_be_counted_is_a_clear_failure(
    tmp_path: Path, name: str, code: str
) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever

    events = await run(demo.count_words, path=f"{tmp_path}/{name}")

    assert [event.type for event in events] == ["started", "failed"]
    assert events[-1].data["code"] == code
    assert str(tmp_path) in events[-1].data["message"]


@anyio
@pytest.mark.parametrize("top", [0, -1, 1001])
async def test_a_top_out_of_range_is_refused(top: int) -> None:
    events = await run(demo.count_words, path=str(LICENSE), top=top)

    assert events[-1].data["code"] == "invalid_inputs"


_LETTERS = st.text(st.sampled_from("aB'’ \n.-_1ßΣσςéЖ本İ\U0001f600\u0301"), max_size=60)


@given(_LETTERS, st.lists(st.integers(0, 200)))
def test_words_are_the_same_wherever_the_text_is_cut(text: str, cuts: list[int]) -> None:
    data = text.encode()
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})

    pieces = [data[a:b] for a, b in pairwise(places)]

    assert counted(pieces) == counted([data])
    assert counted([data])[2] == dict(plain_count(text).most_common(1000))


@given(st.binary(max_size=60), st.integers(0, 60))
def test_junk_is_the_same_wherever_it_is_cut(data: bytes, cut: int) -> None:
    assert counted([data[:cut], data[cut:]]) == counted([data])


@pytest.mark.parametrize("size", [MOST_LETTERS - 1, MOST_LETTERS, MOST_LETTERS + 1, 300])
def test_a_run_longer_than_a_word_is_none_however_it_is_cut(size: int) -> None:
    data = b"w" * size
    results = [counted([data[:cut], data[cut:]]) for cut in range(size + 1)]

    assert results == [counted([data])] * (size + 1)
    assert counted([data])[1] == (1 if size <= MOST_LETTERS else 0)


def test_rare_words_are_forgotten_and_counted_as_such() -> None:
    tally = Tally(most_words=10)
    letters = "abcdefghijklmnop"
    for first in letters:
        tally.feed("".join(f"often {first}{second}\n" for second in letters).encode())
    tally.finish()

    top = tally.top(1000)

    assert top[0] == WordCount("often", 256)
    assert tally.distinct <= 10
    assert sum(word.times for word in top) + tally.forgotten == tally.words == 512


# --- the others -----------------------------------------------------------------------------------


@anyio
@pytest.mark.parametrize(
    ("limit", "primes", "largest"),
    [
        (0, 0, 0),
        (1, 0, 0),
        (2, 1, 2),
        (3, 2, 3),
        (10, 4, 7),
        (121, 30, 113),
        (1_000_000, 78_498, 999_983),
        (5_000_000, 348_513, 4_999_999),
    ],
)
async def test_primes_are_counted(limit: int, primes: int, largest: int) -> None:
    events = await run(demo.count_primes, limit=limit)

    result = {"limit": limit, "primes": primes, "largest": largest}
    assert events[-1].data == {"result": result}


@anyio
async def test_counting_primes_can_be_cancelled_at_any_time() -> None:
    async with runcast.open_hub() as hub:
        started = await hub.start(demo.count_primes, {"limit": 10**12})
        events: list[Event] = []
        async for event in hub.watch(started.run_id):
            events.append(event)
            if event.type == "result":
                await hub.cancel(started.run_id, "enough")

    assert events[-1].type == "cancelled"
    assert events[-1].data == {"reason": "enough"}
    partial = next(event.data["value"] for event in events if event.type == "result")
    assert partial["primes"] > 0


@anyio
@pytest.mark.parametrize("limit", [-1, 10**12 + 1])
async def test_a_limit_out_of_range_is_refused(limit: int) -> None:
    events = await run(demo.count_primes, limit=limit)

    assert events[-1].data["code"] == "invalid_inputs"


@anyio
@pytest.mark.parametrize(("n", "rate", "size"), [(0, 10, 0), (7, 0, 90), (4, 500, 5000)])
async def test_as_many_events_are_emitted_as_were_asked_for(n: int, rate: float, size: int) -> None:
    events = await run(demo.emit_events, n=n, rate=rate, size=size)

    ticks = [event.data for event in events if event.type == "tick"]
    assert [tick["n"] for tick in ticks] == list(range(1, n + 1))
    assert all(abs(len(str(tick)) - size) < 20 for tick in ticks)
    assert events[-1].data["result"]["events"] == n


@anyio
async def test_large_events_never_pile_up() -> None:
    settings = runcast.Settings(pending_bytes_per_run=300_000)
    async with runcast.open_hub(settings=settings) as hub:
        started = await hub.start(demo.emit_events, {"n": 60, "rate": 0, "size": 100_000})
        result = await started.result()

    assert result["events"] == 60


@anyio
@pytest.mark.parametrize("inputs", [{"n": -1}, {"n": 1, "rate": -1}, {"n": 1, "size": 100_001}])
async def test_senseless_events_are_refused(inputs: dict[str, int]) -> None:
    events = await run(demo.emit_events, **inputs)

    assert events[-1].data["code"] == "invalid_inputs"


@anyio
async def test_a_chat_thinks_calls_a_tool_and_answers_word_by_word() -> None:
    prompt = "To be, or not to be: that is the question"

    events = await run(demo.chat, prompt=prompt, pause_s=0)

    types = [event.type for event in events]
    call = next(event.data for event in events if event.type == "tool_call")
    result = next(event.data for event in events if event.type == "tool_result")
    answer = "".join(event.data["text"] for event in events if event.type == "content")
    assert list(dict.fromkeys(types)) == [
        *("started", "thinking", "tool_call", "tool_result", "content", "content_complete", "done")
    ]
    assert call["call_id"] == result["call_id"]
    assert result["result"]["words"] == 10
    assert result["result"]["longest"] == "question"
    assert answer == events[-1].data["summary"]
    assert answer.startswith("Your prompt has 10 words, 8 different.")


@anyio
async def test_a_prompt_without_words_gets_an_answer_too() -> None:
    events = await run(demo.chat, prompt="?!", pause_s=0)

    assert events[-1].data["summary"].startswith("There is no word")


def test_reports_are_due_at_once_and_then_five_times_a_second() -> None:
    clock = FakeClock()
    reports = Reports(clock)
    due = []
    for _ in range(100):
        due.append(reports.is_due())
        clock.advance(0.02)

    assert due[0]
    assert 9 <= sum(due) <= 11
    assert reports.elapsed_s == pytest.approx(2.0)
    assert Reports(clock).elapsed_s > 0


def test_every_demo_function_says_what_it_does() -> None:
    assert len({function.name for function in demo.FUNCTIONS}) == 5
    assert all(function.description for function in demo.FUNCTIONS)
