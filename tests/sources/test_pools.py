"""The pool of threads that carries the run of its callers."""

import concurrent.futures
import decimal
import threading

import pytest

import runcast
from tests.sources.watching import data_of, run_of
from tests.waiting import WAIT_S


def test_calls_write_to_the_run_that_submitted_them() -> None:
    def work() -> list[int]:
        with runcast.ThreadPoolExecutor(2) as pool:
            pool.submit(runcast.log, "submitted").result(WAIT_S)
            return list(pool.map(lambda x: runcast.log(f"mapped {x}") or x, [1, 2]))  # type: ignore[func-returns-value]

    events = run_of(work)

    messages = [log["message"] for log in data_of(events, "log")]
    assert messages[0] == "submitted"
    assert sorted(messages[1:]) == ["mapped 1", "mapped 2"]
    assert events[-1].data == {"result": [1, 2]}


def test_several_runs_share_a_pool_and_never_mix() -> None:
    runs, calls = 4, 200
    pool = runcast.ThreadPoolExecutor(4)
    all_there = threading.Barrier(runs, timeout=WAIT_S)

    def work(name: str) -> None:
        all_there.wait()
        for future in [pool.submit(runcast.log, f"{name}{n}") for n in range(calls)]:
            future.result(WAIT_S)

    with pool, runcast.open_hub(functions=[runcast.function(work)]) as hub:
        started = {name: hub.start("work", {"name": name}) for name in "abcd"}
        logs = {name: data_of(list(hub.watch(run.run_id)), "log") for name, run in started.items()}

    for name, told in logs.items():
        assert sorted(log["message"] for log in told) == sorted(f"{name}{n}" for n in range(calls))


def test_outside_a_run_it_is_the_standard_librarys() -> None:
    with runcast.ThreadPoolExecutor(max_workers=1, thread_name_prefix="mine") as pool:
        assert isinstance(pool, concurrent.futures.ThreadPoolExecutor)
        assert pool.submit(lambda: threading.current_thread().name).result(WAIT_S) == "mine_0"
        with pytest.raises(ZeroDivisionError):
            pool.submit(lambda: 1 / 0).result(WAIT_S)


def test_only_the_run_goes_along() -> None:
    def precision_in_a_thread(pool_class: type[concurrent.futures.ThreadPoolExecutor]) -> int:
        with decimal.localcontext() as context, pool_class() as pool:
            context.prec = 3
            return pool.submit(lambda: decimal.getcontext().prec).result(WAIT_S)

    def work() -> list[int]:
        kinds = (runcast.ThreadPoolExecutor, concurrent.futures.ThreadPoolExecutor)
        return [precision_in_a_thread(kind) for kind in kinds]

    ours, theirs = run_of(work)[-1].data["result"]

    assert ours == theirs


def test_a_cancelled_run_cancels_its_calls() -> None:
    begun = threading.Event()

    def call() -> None:
        while True:
            runcast.log("on")
            begun.set()

    def work() -> None:
        with runcast.ThreadPoolExecutor() as pool:
            pool.submit(call).result(WAIT_S)

    with runcast.open_hub() as hub:
        run = hub.start(runcast.function(work))
        assert begun.wait(WAIT_S)
        run.cancel("enough")

        assert run.wait().type == "cancelled"
