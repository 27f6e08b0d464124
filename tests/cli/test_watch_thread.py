"""`runcast watch --thread`: the lines of several runs, and what the command refuses."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from runcast._cli.watch_thread import ThreadLines, as_json
from runcast.events.model import Event
from runcast.events.thread import ThreadEvent
from tests.cli.inside import run


def of(run_id: str, kind: str, data: Any = None, **more: Any) -> ThreadEvent:
    return ThreadEvent(run_id=run_id, event=Event(seq=1, time=1.0, type=kind, data=data, **more))


def shown(*events: ThreadEvent, option: str = "") -> list[str]:
    out = io.StringIO()
    lines = ThreadLines(out, option)
    for event in events:
        lines.show(event)
    lines.close()
    return out.getvalue().splitlines()


def test_texts_of_several_runs_do_not_mix() -> None:
    assert shown(
        of("a", "content", {"text": "one "}),
        of("b", "content", {"text": "three\nfo"}),
        of("a", "content", {"text": "two"}),
        of("b", "content", {"text": "ur"}),
        of("a", "done", {"result": 1}),
    ) == ["b | three", "a | one two", "a | done: 1", "b | four"]


def test_a_question_says_how_it_is_answered() -> None:
    question = {"interrupt_id": "q", "message": "go?"}

    [line] = shown(of("a", "interrupt_request", question), option=" --url http://x")

    assert line == "a | asks: go? (answer with: runcast answer --url http://x a q)"


def test_notices_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(
        of("a", "content", {"text": "unfinished"}),
        ThreadEvent(run_id="a", notice="deleted"),
        ThreadEvent(run_id="b", notice="left"),
        ThreadEvent(run_id="c", notice="left_out"),
        ThreadEvent(notice="earlier"),
        ThreadEvent(notice="gap", reason="trim\x1b[2Jmed"),
        of("b", "gap", {"reason": "trimmed"}),
    )

    assert lines == [
        "a | unfinished",
        "a | deleted",
        "b | does not belong to the thread any more",
        "c | not shown, because too many runs are open",
        "b | some events are missing here (trimmed)",
    ]
    said = capsys.readouterr().err
    assert "older runs" in said
    assert "all follow again" in said
    assert "\x1b" not in said


def test_json_has_the_form_of_the_protocol() -> None:
    event = of("a", "log", None)

    assert json.dumps(as_json(event)) == (
        '{"run": "a", "event": {"seq": 1, "time": 1.0, "type": "log", "data": null}}'
    )
    assert as_json(ThreadEvent(run_id="a", notice="left")) == {"left": "a"}
    assert as_json(ThreadEvent(notice="gap", reason="trimmed")) == {"gap": {"reason": "trimmed"}}
    assert as_json(ThreadEvent(notice="earlier")) == {"earlier": True}


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("r1", "--thread", "t"),
        ("r1", "--label", "user=ada"),
        ("--thread", "t", "--out", "there"),
        ("--thread", "t", "--after", "0123456789-1"),
        ("--thread", "t", "--label", "user"),
        ("--thread", "t", "--label", "thread=u"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    ended = run("watch", *arguments, cwd=tmp_path)

    assert ended.returncode == 2
    assert "expected" in ended.stderr


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    ended = run("watch", "--thread", "t", "--url", "http://127.0.0.1:9", cwd=tmp_path)

    assert ended.returncode == 4
    assert "http://127.0.0.1:9" in ended.stderr
