"""A recording that is played again: the same bytes, positions and pace, without the functions."""

import asyncio
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast._app.replaying import replay
from runcast._wire.dialects import DIALECTS
from runcast.errors import Forbidden, InvalidValue
from runcast.events.model import encode_event
from runcast.events.position import epoch_parts, make_epoch
from runcast.events.recordings import read_recording
from runcast.testing import FakeClock
from tests.cli.inside import run
from tests.http.serving import serving_in_thread
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio


def speaks() -> Iterator[Any]:
    runcast.step_start("begin")
    for number in range(3):
        runcast.content(f"word {number} ")
        yield number
    runcast.progress(1, 2)
    runcast.step_complete("begin")


def read(url: str, path: str, **headers: str) -> tuple[int, bytes]:
    """Return the answer of a server, whole."""
    address = url.partition("//")[2]
    with closing(http.client.HTTPConnection(address, timeout=WAIT_S)) as connection:
        connection.request(
            "GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A recording, and what its own server sent in each dialect."""
    folder = tmp_path_factory.mktemp("recorded")
    store = f"sqlite:///{folder}/runs.db"
    with runcast.open_hub(store, functions=[speaks]) as hub:
        hub.start(speaks, run_id="r", labels={"thread": "t"}).wait()
    arguments = ("export", "r", "-o", "run.ndjson", "--store", "runs.db", "--labels")
    assert run(*arguments, cwd=folder).returncode == 0
    with serving_in_thread("direct-h11-asyncio", store=store) as server:
        url = f"http://127.0.0.1:{server.port}"
        sent = {name: read(url, f"/runs/r/events?dialect={name}")[1] for name in DIALECTS}
        sent["ndjson"] = read(url, "/runs/r/events", Accept="application/x-ndjson")[1]
    return folder / "run.ndjson", sent


def test_every_dialect_has_the_bytes_that_the_runs_own_server_sent(
    recorded: tuple[Path, dict[str, bytes]],
) -> None:
    path, sent = recorded
    with runcast.testing.replay(path, speed=0) as server:
        with runcast.Client(server.url) as client:
            assert list(client.watch(server.run_id))[-1].type == "done"
        for name in DIALECTS:
            assert read(server.url, f"/runs/r/events?dialect={name}")[1] == sent[name], name
        lines = read(server.url, "/runs/r/events", Accept="application/x-ndjson")[1]
        assert lines == sent["ndjson"]


def test_a_client_resumes_and_goes_on_with_another_server(
    recorded: tuple[Path, dict[str, bytes]],
) -> None:
    path, _ = recorded
    events = read_recording(path.read_bytes().splitlines()).events
    epoch = read_recording(path.read_bytes().splitlines()).head.epoch
    for seq in range(len(events)):
        with runcast.testing.replay(path, speed=0) as server, runcast.Client(server.url) as client:
            rest = list(client.watch("r", f"{epoch}-{seq}"))
        gap = [event for event in rest if event.type == "gap"]
        assert (rest, gap) == (events[seq:], [])
        if seq > 1:
            break


async def test_a_recording_is_played_in_its_own_pace(tmp_path: Path) -> None:
    path = tmp_path / "run.ndjson"
    path.write_bytes(recording_of(0.0, 10.0, 30.0))
    clock = FakeClock()
    async with replay(path, speed=2, clock=clock) as played:
        hub = played._hub
        async for event in hub.watch("r"):
            assert event.time == 1_700_000_000.0 + (0.0, 10.0, 30.0)[event.seq - 1]
            assert clock.monotonic() - 1000.0 == (0.0, 5.0, 15.0)[event.seq - 1]
            if event.seq < 3:
                assert (await hub.info("r")).head == event.seq  # nothing comes before its time
                clock.advance((5.0, 10.0)[event.seq - 1])
        assert (await hub.info("r")).status == "done"


async def test_a_loop_begins_again_in_another_epoch(tmp_path: Path) -> None:
    path = tmp_path / "run.ndjson"
    path.write_bytes(recording_of(0.0, 0.0))
    clock = FakeClock()
    async with replay(path, loop=True, clock=clock) as played:
        first = await whole(played._hub)
        async with asyncio.timeout(WAIT_S):
            while (await played._hub.info("r")).epoch == EPOCH:
                clock.advance(2.0)  # the pause begins some time after the end
                await asyncio.sleep(0)
        second = await whole(played._hub)
        assert second == first
        assert (await played._hub.info("r")).epoch > EPOCH


async def whole(hub: runcast.OpenHub) -> list[runcast.Event]:
    return [event async for event in hub.watch("r")]


EPOCH = "01hq3v5k2m"


def recording_of(*times: float) -> bytes:
    kinds = ["started", *["log"] * (len(times) - 2), "done"]
    lines = [json.dumps({"runcast": "recording", "version": 1, "run_id": "r", "epoch": EPOCH})]
    for number, (kind, at) in enumerate(zip(kinds, times, strict=True), 1):
        event = runcast.Event(seq=number, time=1_700_000_000.0 + at, type=kind, data={"n": number})
        lines.append(encode_event(event).decode())
    return "\n".join(lines).encode() + b"\n"


def test_nothing_can_change_what_happened(recorded: tuple[Path, dict[str, bytes]]) -> None:
    path, _ = recorded
    with runcast.testing.replay(path, speed=0) as server, runcast.Client(server.url) as client:
        list(client.watch("r"))
        for change in (
            lambda: client.cancel("r"),
            lambda: client.send("r", "x"),
            lambda: client.delete("r"),
        ):
            with pytest.raises(Forbidden):
                change()
        assert [each.labels for each in client.runs(labels={"thread": "t"})] == [{"thread": "t"}]


def test_a_recording_whose_beginning_is_gone_is_numbered_from_1(tmp_path: Path) -> None:
    lines = recording_of(0.0, 1.0, 2.0).splitlines()
    gap = b'{"time":1.0,"type":"gap","data":{"reason":"trimmed"}}'
    path = tmp_path / "run.ndjson"
    path.write_bytes(b"\n".join([lines[0], gap, *lines[2:]]))
    with runcast.testing.replay(path, speed=0) as server, runcast.Client(server.url) as client:
        assert [event.seq for event in client.watch("r")] == [1, 2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "head of a recording"),
        (b"{}", "head of a recording"),
        (b'{"runcast":"other","run_id":"r","epoch":"e"}', "head of a recording"),
        (b"\xff\xfe", "head of a recording"),
        (recording_of(0.0, 1.0).replace(b'"version": 1', b'"version": 2'), "version 2"),
        (recording_of(0.0, 1.0) + b'{"type":"log"}', "line 4"),
        (recording_of(0.0, 1.0) + b"nonsense", "line 4"),
        (recording_of(0.0, 1.0).replace(b'"seq":2', b'"seq":1'), "line 3"),
        (recording_of(0.0, 1.0).replace(EPOCH.encode(), b"nonsense"), "position"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "run.ndjson"
    path.write_bytes(content)
    with pytest.raises(InvalidValue, match=said):
        replay(path)


def test_arguments_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "run.ndjson"
    path.write_bytes(recording_of(0.0, 1.0))
    for speed in (-1, 1e9, float("nan"), "fast"):
        with pytest.raises(InvalidValue, match="speed"):
            replay(path, speed=speed)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="cannot read"):
        replay(tmp_path / "missing")
    with pytest.raises(InvalidValue, match="open server"):
        _ = replay(path).url


def test_an_epoch_is_made_again_from_its_parts() -> None:
    for epoch in (EPOCH, "35kht0chs0", make_epoch(1_796_046_268.878, 511)):
        assert make_epoch(*epoch_parts(epoch)) == epoch


@pytest.mark.heavy
def test_the_command_serves_a_recording(tmp_path: Path) -> None:
    (tmp_path / "run.ndjson").write_bytes(recording_of(0.0, 1.0))
    command = [
        sys.executable,
        "-m",
        "runcast",
        "replay",
        "run.ndjson",
        "--speed",
        "0",
        "--port",
        "0",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            status, body = read(url, "/runs/r/events")
            assert (status, body.count(b"data: ")) == (200, 2)
        finally:
            process.terminate()
    assert process.returncode in (0, -signal.SIGTERM)
