"""The example of a script with tqdm, logging and a pool."""

import difflib
from pathlib import Path

import runcast
from tests.examples.running import EXAMPLES, copy, run_script


def test_it_prints_the_same_as_a_run_and_everything_is_in_the_runs_log(tmp_path: Path) -> None:
    folder = copy("script", tmp_path)
    store = {"RUNCAST_STORE": "sqlite:///runs.db"}

    plain = run_script("plain.py", "12", cwd=folder)
    watched = run_script("watched.py", "12", cwd=folder, env=store)

    assert (plain.returncode, watched.returncode) == (0, 0), watched.stderr
    assert watched.stdout == plain.stdout
    assert watched.stdout.endswith("words: 630\n")
    with runcast.open_hub(f"sqlite:///{folder}/runs.db") as hub:
        (run,) = hub.runs()
        events = list(hub.watch(run.log_id))
    assert [event.data for event in events if event.type == "log"] == [
        {"level": "info", "message": "counting 12 pages", "logger": "count"},
        {"level": "warning", "message": "page 5 is empty", "logger": "count"},
        {"level": "warning", "message": "page 10 is empty", "logger": "count"},
    ]
    last = [event.data for event in events if event.type == "progress"][-1]
    assert (last["task"], last["current"], last["percent"]) == ("pages", 12, 100.0)
    assert events[-1].type == "done"


def test_three_lines_make_the_difference() -> None:
    plain, watched = (
        (EXAMPLES / "script" / name).read_text("utf-8").splitlines()
        for name in ("plain.py", "watched.py")
    )

    more = [line[2:].strip() for line in difflib.ndiff(plain, watched) if line.startswith("+ ")]
    fewer = {line[2:].strip() for line in difflib.ndiff(plain, watched) if line.startswith("- ")}

    assert len([line for line in more if line and line not in fewer]) <= 3
