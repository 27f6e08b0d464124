"""The hub without a loop is the hub: the same methods and parameters, and the same outcomes."""

import inspect
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast._app import OpenHub, OpenHubInThread, RunInThread
from runcast._runs.run import Run
from runcast.errors import Conflict, InvalidValue, NotFound
from tests.environment import environment
from tests.waiting import WAIT_S

ON_THE_LOOP = {"hub", "runner", "files", "writers", "deliveries", "replies", "pollers"}
"""What an `OpenHub` consists of, which belongs to its loop alone."""


def public(owner: type) -> dict[str, Any]:
    return {name: value for name, value in vars(owner).items() if not name.startswith("_")}


def parameters(method: Callable[..., Any]) -> list[tuple[object, ...]]:
    """Return what callers see of a method: what it is given, not what it gives."""
    return [
        (each.name, each.kind, each.default, each.annotation)
        for each in inspect.signature(method).parameters.values()
    ]


@pytest.mark.parametrize(("ours", "theirs"), [(OpenHubInThread, OpenHub), (RunInThread, Run)])
def test_a_facade_in_a_thread_has_every_method_with_the_same_parameters(
    ours: type, theirs: type
) -> None:
    methods = {name: it for name, it in public(theirs).items() if callable(it)}

    assert {n: parameters(public(ours)[n]) for n in methods if n in public(ours)} == {
        name: parameters(it) for name, it in methods.items()
    }
    assert [name for name, it in public(ours).items() if inspect.iscoroutinefunction(it)] == []


async def test_a_facade_in_a_thread_has_every_attribute() -> None:
    async with runcast.open_hub() as hub:
        run = await hub.start(nothing)
        of_hub = {name for name in vars(hub) if not name.startswith("_")} - ON_THE_LOOP
        of_run = {name for name in vars(Run("r", "e", "f")) if not name.startswith("_")}
        await run.wait()

    assert of_hub <= set(public(OpenHubInThread))
    assert of_run - {"cancel_asked", "display"} <= set(public(RunInThread))


def nothing() -> None:
    pass


def double(n: int) -> int:
    runcast.progress(n, n)
    return 2 * n


def asks() -> str:
    return str(runcast.ask("go on?", interrupt_id="q").type)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[OpenHubInThread]:
    with runcast.open_hub(f"sqlite:///{tmp_path}/runs.db", functions=[double]) as hub:
        yield hub


def test_a_thread_can_do_with_a_hub_what_a_coroutine_can(
    hub: OpenHubInThread, tmp_path: Path
) -> None:
    assert hub.add(asks).name == "asks"
    assert sorted(hub.functions) == ["asks", "double"]
    assert hub.function("asks") is hub.functions["asks"]
    with pytest.raises(NotFound):
        hub.function("another")
    run = hub.start("double", {"n": 2}, run_id="d", digest="7", secrets={}, files={}, workspace="")
    assert (run.run_id, run.result(), run.status, run.has_ended) == ("d", 4, "done", True)
    assert run.wait().type == "done"
    info, snapshot = hub.present("d")
    assert (info.epoch, snapshot.status) == (run.epoch, "done")
    assert hub.queue_position("d") == 0
    with pytest.raises(Conflict):
        hub.start("double", {"n": 2}, run_id="d")
    assert hub.start("double", {"n": 3}, run_id="d", replace=True).result() == 6
    assert (hub.settings.threads, hub.clock.time() > 0) == (64, True)


def test_a_run_is_cancelled_from_a_thread_by_itself_and_by_the_hub(hub: OpenHubInThread) -> None:
    one, other = hub.start(asks), hub.start(asks)

    one.cancel("enough")
    hub.cancel(other.run_id, "enough")

    assert one.wait() == other.wait() == ("cancelled", {"reason": "enough"})


def test_an_opened_hub_can_be_closed_without_a_block() -> None:
    hub = OpenHubInThread(OpenHub(functions=[double]))

    assert hub.open() is hub.open()
    assert hub.start("double", {"n": 1}).result() == 2
    hub.close()
    hub.close()

    with pytest.raises(InvalidValue, match="closed"):
        hub.start("double", {"n": 1})


@pytest.mark.parametrize("what", ["start", "close"])
def test_a_run_on_the_hubs_own_loop_is_refused_what_would_wait_for_itself(what: str) -> None:
    async def inside() -> str:
        with pytest.raises(InvalidValue) as refused:
            opened.close() if what == "close" else opened.start(nothing)
        return refused.value.message

    with runcast.open_hub() as opened:
        assert "asyncio.to_thread" in opened.start(inside).result()
        assert opened.start(nothing).result() is None


def test_a_hub_opened_by_with_works_in_a_cell_whose_loop_is_running(tmp_path: Path) -> None:
    program = tmp_path / "cell.py"
    program.write_text(
        textwrap.dedent(
            """
            import asyncio
            import runcast

            def count(n: int):
                for number in range(n):
                    yield f"{number} "

            async def cell() -> None:
                with runcast.open_hub() as hub:
                    run = hub.start(count, {"n": 2})
                    print([event.type for event in hub.watch(run.run_id)], run.result())

            asyncio.run(cell())
            """
        )
    )

    ended = subprocess.run(
        [sys.executable, "-W", "error", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=WAIT_S * 2,
        check=False,
    )

    assert (ended.stderr, ended.stdout) == (
        "",
        "['started', 'content', 'content', 'done'] None\n",
    )
