"""The source for tqdm."""

import asyncio
import io
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tqdm import tqdm as plain_tqdm
from tqdm.asyncio import tqdm as async_tqdm

import runcast
from runcast.sources import tqdm as source
from tests.sources.watching import data_of, run_of
from tests.waiting import WAIT_S


def told(function: Callable[[], Any]) -> list[Any]:
    """Return the progress of a run, with the source on."""

    def work() -> Any:
        with source.stream():
            return function()

    return data_of(run_of(work), "progress")


def test_a_bar_becomes_progress_with_its_name_and_its_last_value() -> None:
    def work() -> None:
        for _ in plain_tqdm(range(1000), desc="pages", file=io.StringIO()):
            pass

    first, *_, last = told(work)

    assert first == {
        **{"current": 0, "total": 1000, "percent": 0.0},
        **{"message": "pages", "task": "pages"},
    }
    assert last == {**first, "current": 1000, "percent": 100.0}


def test_the_last_value_is_sent_of_a_bar_that_stops_early_and_of_one_without_a_total() -> None:
    def work() -> None:
        for n in plain_tqdm(range(1000), desc="early", file=io.StringIO()):
            if n == 10:
                break
        with plain_tqdm(desc="endless", file=io.StringIO(), leave=False) as bar:
            bar.update(5)
            bar.update(2)

    progress = told(work)

    early = [it for it in progress if it["task"] == "early"][-1]
    endless = [it for it in progress if it["task"] == "endless"][-1]
    assert early["current"] == 10
    assert endless == {"current": 7, "message": "endless", "task": "endless"}


def test_a_bar_that_rests_unclosed_is_reported_all_the_same() -> None:
    def work() -> None:
        bar = plain_tqdm(total=3, desc="resting", file=io.StringIO())
        bar.update(1)  # within tqdm's own interval: not drawn
        assert seen.wait(WAIT_S)
        bar.close()

    seen = threading.Event()

    @runcast.function
    def run() -> None:
        with source.stream():
            work()

    with runcast.open_hub() as hub:
        started = hub.start(run)
        for event in hub.watch(started.run_id):
            if event.type == "progress" and event.data["current"] == 1:
                seen.set()

    assert seen.is_set()


def test_several_bars_at_once_keep_their_names_apart() -> None:
    def work() -> None:
        bars = [plain_tqdm(total=2, desc="same", file=io.StringIO()) for _ in range(2)]
        bars.append(plain_tqdm(total=2, file=io.StringIO()))
        for bar in bars:
            bar.update(2)
        for bar in bars:
            bar.set_description("another")
            bar.close()

    last = {it["task"]: (it["current"], it.get("message")) for it in told(work)}

    assert last == {"same": (2, "another"), "same 2": (2, "another"), "bar": (2, "another")}


def test_a_fast_bar_is_reported_at_most_ten_times_a_second() -> None:
    def work() -> None:
        with plain_tqdm(total=100_000, mininterval=0, miniters=1, file=io.StringIO()) as bar:
            for _ in range(20_000):
                bar.update(5)

    @runcast.function
    def run() -> None:
        with source.stream():
            work()

    with runcast.open_hub() as hub:
        events = [it for it in hub.watch(hub.start(run).run_id) if it.type == "progress"]

    seconds = events[-1].time - events[0].time
    assert len(events) <= 10 * seconds + 3
    assert events[-1].data["current"] == 100_000


def test_other_threads_move_a_bar_of_the_run_it_was_made_in() -> None:
    def work() -> None:
        with plain_tqdm(total=8, desc="shared", file=io.StringIO()) as bar:
            threads = [threading.Thread(target=bar.update, args=(2,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(WAIT_S)

    assert told(work)[-1]["current"] == 8


def test_runs_at_once_never_mix() -> None:
    both = threading.Barrier(2, timeout=WAIT_S)

    @runcast.function
    def work(name: str) -> None:
        with source.stream():
            both.wait()
            for _ in plain_tqdm(range(100), desc=name, file=io.StringIO()):
                pass
            both.wait()

    with runcast.open_hub() as hub:
        runs = [hub.start(work, {"name": name}) for name in ("a", "b")]
        tasks = [
            {it.data["task"] for it in hub.watch(run.run_id) if it.type == "progress"}
            for run in runs
        ]

    assert tasks == [{"a"}, {"b"}]


def test_coroutines_report_too() -> None:
    async def work() -> None:
        async def one() -> int:
            return 1

        with source.stream():
            await async_tqdm.gather(*(one() for _ in range(5)), desc="tasks", file=io.StringIO())

    assert data_of(run_of(work), "progress")[-1]["current"] == 5


def test_disabled_bars_and_bars_outside_of_runs_report_nothing() -> None:
    assert told(lambda: list(plain_tqdm(range(3), disable=True)) and None) == []
    with source.stream():
        assert list(plain_tqdm(range(3), file=io.StringIO())) == [0, 1, 2]


@pytest.mark.parametrize("make", [source.tqdm, plain_tqdm])
def test_the_drop_in_is_tqdm_and_reports_by_itself(make: Any) -> None:
    def work() -> list[int]:
        return list(make(range(3), desc="dropped in", file=io.StringIO()))

    events = run_of(work)

    assert events[-1].data == {"result": [0, 1, 2]}
    assert bool(data_of(events, "progress")) == (make is source.tqdm)
    assert issubclass(source.tqdm, plain_tqdm)
    assert list(source.trange(2, file=io.StringIO())) == [0, 1]


def test_what_is_printed_is_the_same_with_and_without() -> None:
    def program() -> str:
        out = io.StringIO()
        for number in plain_tqdm(range(3), desc="x", file=out, bar_format="{desc}{n}"):
            plain_tqdm.write(f"at {number}", file=out)
        return out.getvalue()

    def with_source() -> str:
        with source.stream():
            return program()

    assert run_of(with_source)[-1].data["result"] == program()


def test_a_cancelled_run_ends_at_its_bars_next_move() -> None:
    @runcast.function
    def work() -> None:
        with source.stream():
            for _ in plain_tqdm(iter(int, 1), file=io.StringIO()):
                pass

    with runcast.open_hub() as hub:
        run = hub.start(work)
        events = hub.watch(run.run_id)
        while next(events).type != "progress":
            pass
        run.cancel("enough")

        assert run.wait().type == "cancelled"


def test_a_missing_package_is_named_with_what_installs_it() -> None:
    program = (
        "import sys; sys.modules['tqdm'] = None\n"
        "import importlib.metadata as m; find = m.version\n"
        "def version(name):\n"
        "    if name == 'tqdm': raise m.PackageNotFoundError(name)\n"
        "    return find(name)\n"
        "m.version = version\n"
        "import runcast.sources.tqdm"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert "ImportError: runcast.sources.tqdm needs tqdm 4.62 or newer" in ended.stderr
    assert "pip install 'tqdm>=" in ended.stderr


def test_an_async_function_gets_its_values_from_an_async_bar() -> None:
    async def numbers() -> Any:
        for number in range(3):
            yield number
            await asyncio.sleep(0)

    async def work() -> list[int]:
        with source.stream():
            return [it async for it in async_tqdm(numbers(), desc="them", file=io.StringIO())]

    events = run_of(work)

    assert events[-1].data == {"result": [0, 1, 2]}
    assert data_of(events, "progress")[-1]["current"] == 3
