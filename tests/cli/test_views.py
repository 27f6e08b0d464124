"""`runcast serve --view`: views from files, as the clients of a real server see them."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.inside import run
from tests.cli.served import Served, frames, serve
from tests.waiting import WAIT_S

WRITES: Final = """
import runcast

@runcast.function
async def writes(stays: bool = False):
    research = runcast.StreamWriter(node="research", agent="scout")
    writing = runcast.StreamWriter(node="writing", agent="writer")
    research.step_start("looking around")
    research.thinking("hm")
    research.reasoning("because")
    writing.step_start("drafting")
    for chunk in ("深度", " ", "研究"):
        writing.content_streaming(chunk)
        research.content_streaming(chunk.upper())
    research.reasoning("because")
    await runcast.flush()
    if stays:
        await runcast.ask("Go on?", interrupt_id="q")
    writing.step_complete("drafted", duration=1.5)
    return "all"
"""

QUIET: Final = """
messages:
  include: []          # all
  exclude: [thinking]
agents:
  include:
  exclude: []
streaming:
  nodes:
    research: true
    writing: false
"""

BATCHED: Final = """
messages: {include: [content_streaming, final_result]}
streaming: {enabled: false, batch_size: 2}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("views")
    for name, text in (("writes.py", WRITES), ("quiet.yaml", QUIET), ("batched.yaml", BATCHED)):
        (path / name).write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    views = ("--view", "quiet.yaml", "--view", "batched=batched.yaml")
    with serve("writes.py", "--store", "memory://", *views, cwd=folder) as server:
        server.start("writes", "w")
        yield server


def shown(served: Served, query: str = "", run_id: str = "w", after: str = "") -> list[Any]:
    """Return the events a watcher gets, up to the end."""
    fields = {"Last-Event-ID": after} if after else None
    with served.open("GET", f"/runs/{run_id}/events{query}", headers=fields) as response:
        return [json.loads(frame["data"]) for frame in frames(response)]


def brief(events: list[Any]) -> list[str]:
    """Return events as `seq type node text`."""
    told = []
    for event in events:
        data = event["data"] if isinstance(event["data"], dict) else {}
        text = data.get("text", data.get("message", ""))
        told.append(f"{event['seq']} {event['type']} {event.get('node', '')} {text}".rstrip())
    return told


def test_a_view_without_a_name_is_what_everybody_gets(served: Served) -> None:
    events = shown(served)

    assert brief(events) == [
        "1 started",
        "2 step_start research looking around",
        "4 reasoning research because",
        *("7 content research 深度", "9 content research", "11 content research 研究"),
        "13 node_complete writing 深度 研究",
        "14 done",
    ]
    aggregated = events[-2]
    assert aggregated["data"] == {"message": "深度 研究", "aggregated": True, "of": [5, 10]}
    assert (aggregated["agent"], aggregated["duration"]) == ("writer", 1.5)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?view=none&types=thinking", ["3 thinking research hm", "14 done"]),
        ("?types=thinking", ["14 done"]),  # the view excludes it, which wins
        ("?types=thinking,reasoning", ["4 reasoning research because", "14 done"]),
        ("?types=", None),
        ("?nodes=writing", ["1 started", "13 node_complete writing 深度 研究", "14 done"]),
        ("?agents=nobody&view=none", ["1 started", "14 done"]),
        (
            "?view=batched",
            [
                *("8 content writing 深度", "9 content research 深度"),
                *("13 content writing 研究", "14 content research 研究", "14 done"),
            ],
        ),
        ("?view=batched&nodes=writing", ["8 content writing 深度", "13 content writing 研究"]),
    ],
)
def test_a_request_says_what_it_wants_of_it(
    served: Served, query: str, expected: list[str] | None
) -> None:
    found = brief(shown(served, query))

    if expected is None:
        assert found == brief(shown(served))
    elif expected[-1] == "14 done":
        assert found == expected
    else:
        assert found == [*expected, "14 done"]


def test_a_view_that_is_not_there_is_refused_with_those_that_are(served: Served) -> None:
    refused = served.ask("GET", "/runs/w/events?view=loud")

    assert (refused.status, refused.json["code"]) == (400, "invalid_value")
    assert "batched, default, none" in refused.json["detail"]


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("v.yaml", "messages:\n  inclde: [a]\n", "v.yaml, line 2: expected one of include, excl"),
        ("v.yaml", "streaming:\n  nodes:\n    a: maybe\n", "v.yaml, line 3: nodes"),
        ("n=v.yaml", "messages: [\n", "v.yaml, line 2: "),
        ("v.yaml", "messages: {}\nx: \x00", "v.yaml, line 2: "),
        ("none.yaml", "", "the view none.yaml cannot be read: No such file or directory"),
        (".", "", "the view . cannot be read: Is a directory"),
        ("none=v.yaml", "", "none"),
    ],
)
def test_a_bad_file_is_told_with_its_line(
    tmp_path: Path, option: str, text: str, message: str
) -> None:
    (tmp_path / "v.yaml").write_text(text, "utf-8")

    ended = run("serve", "--port", "0", "--view", option, cwd=tmp_path)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_who_resumes_in_a_node_that_is_told_as_one_gets_all_of_it_after_a_kill(
    folder: Path,
) -> None:
    options = ("writes.py", "--view", "quiet.yaml")
    with serve(*options, cwd=folder) as served:
        served.start("writes", "w", stays=True)
        seen = []
        with served.open("GET", "/runs/w/events") as response:
            for frame in frames(response):
                seen.append(frame)
                if '"interrupt_request"' in frame["data"]:
                    break
        served.process.send_signal(signal.SIGKILL)
        served.process.wait(WAIT_S)
    with serve(*options, cwd=folder) as served:
        rest = shown(served, after=seen[-1]["id"])
        whole = shown(served)

    # It is lost with its process; what its node had said is not.
    assert [event["type"] for event in rest] == ["node_complete", "failed"]
    assert rest[0]["data"] == {"message": "深度 研究", "aggregated": True, "of": [5, 10]}
    assert [json.loads(frame["data"]) for frame in seen] + rest == whole
