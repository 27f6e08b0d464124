"""`runcast export`: a run as a file, without its inputs, and redacted if one asks."""

import base64
import hashlib
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.events.recordings import read_recording
from tests.cli.inside import run

REDACT = """
import msgspec

def hide(event):
    if event.type == "inputs":
        return msgspec.structs.replace(event, data={"values": "hidden"})
    if event.type == "content":
        return msgspec.structs.replace(event, data={"text": "***"})
    return None if event.type == "log" else event

def fail(event):
    if event.type == "content":
        raise ValueError("secret words")
    return event

def odd(event):
    return {"seq": event.seq}

def end_early(event):
    return msgspec.structs.replace(event, type="done")

def unwritable(event):
    return msgspec.structs.replace(event, data=object())

NUMBER = 5
"""


def speaks(secret: str) -> Iterator[Any]:
    runcast.log("begun", level="info")
    runcast.content(f"the {secret}")
    yield 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    (folder / "hooks.py").write_text(REDACT, "utf-8")
    with runcast.open_hub(f"sqlite:///{folder}/runs.db", functions=[speaks]) as hub:
        hub.start(speaks, {"secret": "word"}, run_id="r", labels={"user": "ada"}).wait()
        hub.start(speaks, {"secret": "word"}, run_id="w").wait()
    return folder


def export(folder: Path, *arguments: str, to: str = "run.ndjson") -> list[dict[str, Any]]:
    done = run("export", "r", "-o", to, "--store", "runs.db", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / to).read_text("utf-8").splitlines()]


def test_a_recording_is_a_head_and_the_events_as_they_are_stored(folder: Path) -> None:
    head, *events = export(folder)
    watched = run("watch", "r", "--json", "--store", "runs.db", cwd=folder).stdout.splitlines()

    assert events == [json.loads(line) for line in watched]
    assert head["runcast"] == "recording"
    assert (head["version"], head["run_id"], head["function"]) == (1, "r", "speaks")
    assert (head["status"], head["events"]) == ("done", len(events))
    assert (head["inputs"], head["labels"]) == (None, None)
    assert "ada" not in (folder / "run.ndjson").read_text("utf-8")
    recording = read_recording((folder / "run.ndjson").read_bytes().splitlines())
    assert recording.has_ended
    assert [event.seq for event in recording.events] == list(range(1, len(events) + 1))


def test_inputs_and_labels_are_written_if_one_asks(folder: Path) -> None:
    head = export(folder, "--inputs", "--labels")[0]

    assert head["inputs"]["values"] == {"secret": "word"}
    assert head["labels"] == {"user": "ada"}


def test_each_event_is_redacted_before_it_is_written(folder: Path) -> None:
    head, *events = export(folder, "--redact", "hooks:hide", "--inputs", to="hidden.ndjson")

    assert head["inputs"] == {"values": "hidden"}
    assert next(e["data"] for e in events if e["type"] == "content") == {"text": "***"}
    assert [e["data"] for e in events if e["type"] == "log"] == [None]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert "word" not in (folder / "hidden.ndjson").read_text("utf-8")


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("hooks:fail", "redacting event 3 failed: ValueError"),
        ("hooks:odd", "to be an Event or None"),
        ("hooks:end_early", "to stay of the type 'started'"),
        ("hooks:unwritable", "to be JSON"),
        ("hooks:NUMBER", "to be a function"),
        ("hooks:none", "has no attribute 'none'"),
        ("nowhere:f", "there is no module 'nowhere'"),
        ("hooks", "expected module:function"),
    ],
)
@pytest.mark.parametrize("to", ["failed.ndjson", "-"])
def test_a_hook_that_fails_leaves_no_file_and_no_output(
    folder: Path, hook: str, said: str, to: str
) -> None:
    arguments = ("export", "r", "-o", to, "--store", "runs.db", "--redact", hook)
    done = run(*arguments, cwd=folder)

    assert done.returncode == 2
    assert said in done.stderr
    assert "secret words" not in done.stderr
    assert done.stdout == ""
    assert not list(folder.glob("*failed*")) + list(folder.glob(".*"))


def test_a_run_that_goes_on_is_written_as_it_is_now(folder: Path) -> None:
    to = "open.ndjson"
    with runcast.open_hub(f"sqlite:///{folder}/runs.db") as hub, hub.run("job", run_id="open"):
        runcast.emit("step", {"n": 1})
        runcast.flush()
        done = run("export", "open", "-o", to, "--store", "runs.db", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = (folder / to).read_text("utf-8").splitlines()
    assert [json.loads(line).get("type") for line in lines[1:]] == ["started", "step"]
    assert not read_recording(lines).has_ended


def test_an_existing_file_stays_until_the_new_one_is_whole(folder: Path) -> None:
    (folder / "kept.ndjson").write_text("before")
    run(
        *("export", "r", "-o", "kept.ndjson", "--store", "runs.db", "--redact", "hooks:fail"),
        cwd=folder,
    )
    assert (folder / "kept.ndjson").read_text() == "before"
    assert export(folder, to="kept.ndjson")[0]["run_id"] == "r"


def test_what_cannot_be_written_is_said(folder: Path) -> None:
    for to, said in (("no/such/run.ndjson", "cannot write"), ("run.txt", "run.ndjson")):
        done = run("export", "r", "-o", to, "--store", "runs.db", cwd=folder)
        assert (done.returncode, said in done.stderr) == (2, True)
    missing = run("export", "none", "-o", "x.ndjson", "--store", "runs.db", cwd=folder)
    assert missing.returncode == 2
    assert not (folder / "x.ndjson").exists()


HOSTILE = "</script><script>alert(1)</script><!--<script>\u2028\u2029&lt;'\"`${x}"


def hostile() -> Iterator[Any]:
    runcast.content(HOSTILE)
    runcast.emit("odd", {HOSTILE: [HOSTILE]})
    yield HOSTILE


def test_a_page_holds_the_run_as_data_and_lets_only_its_own_script_run(folder: Path) -> None:
    with runcast.open_hub(f"sqlite:///{folder}/runs.db", functions=[hostile]) as hub:
        hub.start(hostile, run_id="h").wait()
    done = run("export", "h", "-o", "h.html", "--store", "runs.db", cwd=folder)
    assert done.returncode == 0, done.stderr
    text = (folder / "h.html").read_text("utf-8")
    page = Page(text)

    assert [kind for kind, _ in page.scripts] == ["application/json", "module"]
    recording = json.loads(page.scripts[0][1])
    assert recording["run"]["run_id"] == "h"
    assert recording["events"][1]["data"]["text"] == HOSTILE
    assert recording["events"][2]["data"] == {HOSTILE: [HOSTILE]}
    digest = base64.b64encode(hashlib.sha256(page.scripts[1][1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in page.policy
    assert page.policy.startswith("default-src 'none'; ")
    assert "unsafe" not in page.policy
    assert page.links == []


class Page(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[str, str]] = []
        self.policy = ""
        self.links: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "script":
            self.scripts.append((given.get("type") or "", ""))
            self._in_script = True
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)
