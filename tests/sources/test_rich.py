"""The source for rich."""

import io
import threading
from collections.abc import Callable
from typing import Any

import pytest
import rich.progress as theirs
from rich.console import Console
from rich.progress import Progress

import runcast
from runcast.sources import rich as source
from tests.sources.watching import data_of, run_of
from tests.waiting import WAIT_S


def told(function: Callable[[], Any]) -> list[Any]:
    """Return the progress of a run, with the source on."""

    def work() -> Any:
        with source.stream():
            return function()

    return data_of(run_of(work), "progress")


def quiet() -> Console:
    """Return a console that prints nowhere."""
    return Console(file=io.StringIO())


def test_tasks_become_progress_with_their_names_and_last_values() -> None:
    def work() -> None:
        with Progress(console=quiet()) as progress:
            pages = progress.add_task("[red]pages[/red]", total=10)
            words = progress.add_task("words", total=None)
            for _ in range(10):
                progress.advance(pages)
                progress.update(words, advance=5, description="many words")

    progress = told(work)

    last = {it["task"]: it for it in progress}
    assert progress[0]["current"] == 0
    assert last == {
        "pages": {
            **{"task": "pages", "message": "pages"},
            **{"current": 10, "total": 10, "percent": 100.0},
        },
        "words": {"task": "words", "message": "many words", "current": 50},
    }


@pytest.mark.parametrize("track", [source.track, theirs.track])
def test_track_is_a_drop_in(track: Any) -> None:
    def work() -> list[int]:
        return list(track([1, 2, 3], "numbers", console=quiet(), update_period=0.01))

    events = run_of(work)

    assert events[-1].data == {"result": [1, 2, 3]}
    progress = data_of(events, "progress")
    if track is source.track:
        assert progress[-1] == {
            **{"task": "numbers", "message": "numbers"},
            **{"current": 3, "total": 3, "percent": 100.0},
        }
    else:
        assert progress == []
    assert work() == [1, 2, 3]  # outside a run


def test_bars_that_exist_are_followed_by_track_and_in_other_threads() -> None:
    def work() -> None:
        with Progress(console=quiet()) as progress:
            for _ in progress.track(range(4), description="tracked"):
                pass
            task = progress.add_task("threads", total=4)
            threads = [threading.Thread(target=progress.advance, args=(task,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(WAIT_S)

    last = {it["task"]: it["current"] for it in told(work)}

    assert last == {"tracked": 4, "threads": 4}


def test_a_display_that_was_stopped_for_a_while_goes_on() -> None:
    def work() -> None:
        progress = Progress(console=quiet())
        task = progress.add_task("pages", total=3)
        progress.start()
        progress.advance(task)
        progress.stop()
        progress.start()
        progress.advance(task)
        progress.stop()

    progress = told(work)
    assert progress[-1]["current"] == 2
    assert {it["task"] for it in progress} == {"pages"}


def test_a_task_that_is_removed_is_reported_before() -> None:
    def work() -> None:
        with Progress(console=quiet()) as progress:
            task = progress.add_task("pages", total=3)
            progress.advance(task, 2)
            progress.remove_task(task)

    assert [it["current"] for it in told(work)] == [0, 2]


def test_one_name_serves_one_bar_after_another() -> None:
    def work() -> None:
        for _ in range(2):
            for _ in theirs.track(range(2), "again", console=quiet()):
                pass

    assert {it["task"] for it in told(work)} == {"again"}


def test_disabled_displays_and_those_outside_of_runs_report_nothing() -> None:
    def work() -> None:
        with Progress(disable=True) as progress:
            progress.advance(progress.add_task("x"))

    assert told(work) == []
    with source.stream(), Progress(console=quiet()) as progress:
        progress.advance(progress.add_task("x"))


def test_what_is_printed_is_the_same_with_and_without() -> None:
    def program() -> str:
        console = Console(file=io.StringIO(), width=60)
        columns = (theirs.TextColumn("{task.description} {task.completed}"),)
        with Progress(*columns, console=console) as progress:
            progress.advance(progress.add_task("pages", total=3), 2)
            progress.console.print("between")
        file = console.file
        assert isinstance(file, io.StringIO)
        return file.getvalue()

    def with_source() -> str:
        with source.stream():
            return program()

    assert run_of(with_source)[-1].data["result"] == program()


def test_a_cancelled_run_ends_at_its_next_item() -> None:
    def endless() -> Any:
        while True:
            yield 1

    @runcast.function
    def work() -> None:
        for _ in source.track(endless(), "on", total=10, console=quiet()):
            pass

    with runcast.open_hub() as hub:
        run = hub.start(work)
        events = hub.watch(run.run_id)
        while next(events).type != "progress":
            pass
        run.cancel("enough")

        assert run.wait().type == "cancelled"
