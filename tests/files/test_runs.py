"""Files of runs at work: in threads, on the loop and in processes; begun anew, resumed, killed."""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast._app import OpenHub, open_hub
from runcast._files.fair_threads import Steps
from runcast._files.model import FileReference
from runcast._functions.function import Function
from runcast._runs.retention import Retention
from runcast._settings import Settings
from runcast.errors import InvalidValue, RunClosed, Stale
from runcast.events.model import Event, encode_record
from runcast.events.outcome import Outcome
from runcast.stores.base import Store
from runcast.testing import FakeClock
from tests.files import guided
from tests.files.test_uploads import pieces_of
from tests.opening import events_of, eventually, soon, store, wait_for

__all__ = ("store",)

LONG_S = 20.0
"""Longest wait for a process, which takes its time to start on a busy machine."""


def url_of(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


def told(events: list[Event]) -> list[str]:
    """Return the paths that a `files` event tells of."""
    return [
        file["path"] for event in events if event.type == "files" for file in event.data["files"]
    ]


def folders(tmp_path: Path) -> list[str]:
    try:
        return os.listdir(tmp_path / "runs.db.data" / "workspaces")
    except FileNotFoundError:
        return []


# --- where ----------------------------------------------------------------------------------------


async def test_a_process_works_in_its_workspace(tmp_path: Path) -> None:
    function = Function(
        guided.upper,
        isolation="process",
        files={
            "video": {"type": "array", "items": {"type": "InputFile"}, "minItems": 1},
            "output": {"type": "array", "items": {"type": "OutputFile"}},
        },
    )
    async with open_hub(url_of(tmp_path)) as hub, asyncio.timeout(LONG_S):
        upload = await hub.files.receive("a.txt", "", pieces_of(b"hello"))
        files = {"video": [FileReference(upload_id=upload.upload_id)]}
        run = await hub.start(function, {"group": "video"}, files=files)
        await run.wait()
        events = await events_of(hub, run.run_id)
        download = await hub.files.download(run.run_id, "a.txt")
        content = download.content.read(100, 0)
        download.content.close()

    assert [event.type for event in events][-2:] == ["files", "done"]
    assert told(events) == ["a.txt"]
    assert events[-2].data["files"][0]["key"] == "output"
    assert content == b"HELLO"


async def test_two_processes_have_folders_of_their_own(tmp_path: Path) -> None:
    function = Function(guided.where, isolation="process")
    async with open_hub(url_of(tmp_path)) as hub, asyncio.timeout(LONG_S):
        runs = [await hub.start(function) for _ in range(2)]
        (cwd, workspace), (other, _) = [await run.result() for run in runs]

    assert cwd == workspace
    assert cwd != other


def test_outside_a_run_the_workspace_is_the_working_directory() -> None:
    assert runcast.workspace() == Path.cwd()


async def test_who_does_not_run_the_function_has_no_workspace() -> None:
    async with open_hub() as hub:
        writer = hub.writer("run")
        with runcast.using(writer), pytest.raises(InvalidValue, match="its function"):
            runcast.workspace()


async def test_a_run_that_needs_no_files_makes_no_folder(tmp_path: Path) -> None:
    async with open_hub(url_of(tmp_path)) as hub:
        run = await hub.start(guided.nothing)
        await run.wait()
        await hub.files.sweep()

    assert os.listdir(tmp_path) == ["runs.db"]


async def test_data_dir_is_where_files_are_kept(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path / "elsewhere"))
    async with open_hub(url_of(tmp_path), settings=settings) as hub:
        await (await hub.start(guided.leave)).wait()

    assert len(os.listdir(tmp_path / "elsewhere" / "workspaces")) == 1
    assert folders(tmp_path) == []


async def test_a_folder_of_another_store_is_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path / "data"))
    for name, ending in (("a.db", "done"), ("b.db", "failed")):
        async with open_hub(f"sqlite:///{tmp_path}/{name}", settings=settings) as hub:
            run = await hub.start(guided.leave)
            assert (await run.wait()).type == ending


# --- the end --------------------------------------------------------------------------------------


async def test_a_thread_that_is_given_up_gets_no_workspace_after_the_end(tmp_path: Path) -> None:
    begun, goes_on, has_ended = threading.Event(), threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def stubborn() -> None:
        begun.set()
        wait_for(goes_on)
        try:
            runcast.workspace()
        except RunClosed as error:
            raised.append(error)
        has_ended.set()

    async with open_hub(url_of(tmp_path), settings=Settings(cancel_grace_s=0)) as hub:
        run = await hub.start(stubborn)
        await asyncio.to_thread(wait_for, begun)
        await hub.cancel(run.run_id)
        goes_on.set()
        await asyncio.to_thread(wait_for, has_ended)

    assert len(raised) == 1
    assert folders(tmp_path) == []


async def test_many_threads_of_a_run_share_its_workspace(tmp_path: Path) -> None:
    def share() -> int:
        found: set[Path] = set()
        look = runcast.bind(lambda: found.add(runcast.workspace()))
        threads = [threading.Thread(target=look) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(found)

    async with open_hub(url_of(tmp_path)) as hub:
        assert await (await hub.start(share)).result() == 1
        assert len(folders(tmp_path)) == 1


async def test_files_that_do_not_fit_into_an_event_are_counted(tmp_path: Path) -> None:
    def many() -> None:
        for number in range(100):
            (runcast.workspace() / "data" / "outputs" / f"{number:03}").touch()

    async with open_hub(url_of(tmp_path), settings=Settings(max_event_bytes=4096)) as hub:
        run = await hub.start(many, run_id="r")
        assert (await run.wait()).type == "done"
        (event,) = [e for e in await events_of(hub, "r") if e.type == "files"]
        listed = await hub.files.of("r")

    assert 0 < len(event.data["files"]) < 20
    assert (event.data["total"], event.data["all"]) == (100, "/runs/r/files")
    assert len(listed.files) == 100


async def test_outputs_that_cannot_be_collected_do_not_keep_a_run_from_ending(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def spoil() -> None:
        folder = runcast.workspace()
        (folder.parent / "outputs").mkdir()
        (folder.parent / "files.json").mkdir()

    async with open_hub(url_of(tmp_path)) as hub:
        run = await hub.start(spoil)
        ending = await soon(run.wait())

    assert (ending.type, ending.data["code"]) == ("failed", "invalid_outputs")
    assert caplog.record_tuples[-1][1] == logging.ERROR


async def test_files_that_are_deleted_while_they_are_collected_are_no_error_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def delete() -> None:
        shutil.rmtree(runcast.workspace().parent)

    async with open_hub(url_of(tmp_path)) as hub:
        run = await hub.start(delete)
        await soon(run.wait())

    assert caplog.messages == []


async def test_a_run_that_is_cancelled_in_the_queue_leaves_nothing_of_its_inputs(
    tmp_path: Path,
) -> None:
    ends = asyncio.Event()
    async with open_hub(url_of(tmp_path), settings=Settings(max_runs=1)) as hub:
        await hub.start(Function(ends.wait, name="wait"))
        upload = await hub.files.receive("a.txt", "", pieces_of(b"hello"))
        files = {"k": [FileReference(upload_id=upload.upload_id)]}
        run = await hub.start(guided.nothing, files=files)
        await hub.cancel(run.run_id)
        ends.set()
        (folder,) = folders(tmp_path)

    left = set(os.listdir(tmp_path / "runs.db.data" / "workspaces" / folder))
    assert left == {"run.json", "files.json", "outputs"}


async def test_a_run_that_is_refused_leaves_nothing_of_its_inputs(tmp_path: Path) -> None:
    async with open_hub(url_of(tmp_path)) as hub:
        upload = await hub.files.receive("a.txt", "", pieces_of(b"hello"))
        files = {"k": [FileReference(upload_id=upload.upload_id)]}
        run = await hub.start(guided.nothing, run_id="r", files=files)
        await run.wait()
        with pytest.raises(runcast.RuncastError, match="exists"):
            await hub.start(guided.nothing, run_id="r", files=files)

        assert len(folders(tmp_path)) == 1


# --- the process ends -----------------------------------------------------------------------------


async def test_what_a_run_has_written_is_there_when_it_is_resumed(tmp_path: Path) -> None:
    def go_on(interrupt_id: str, answer: Any) -> str:
        return (runcast.workspace() / "data" / "outputs" / "left.txt").read_text("utf-8")

    function = Function(guided.leave, resume=go_on)
    async with open_hub(url_of(tmp_path), functions=[function]) as hub:
        run = await hub.start("leave", {"wait": True}, run_id="r")
        await eventually(lambda: hub.runner.runs[run.run_id].writer.is_waiting)
    async with open_hub(url_of(tmp_path), functions=[function]) as hub:
        await hub.files.sweep()
        (question,) = (await hub.present("r"))[1].interrupts
        await hub.answer("r", question.interrupt_id, {"type": "accept"})
        events = await events_of(hub, "r")

    assert events[-1].data == {"result": "left"}
    assert told(events) == ["left.txt"]


KILLED = """
import os, sys
from runcast import open_hub
from tests.files import guided

def leave():
    guided.leave()
    os._exit(0)

with open_hub(sys.argv[1]) as hub:
    hub.start(leave, run_id="r")
    hub.watch("r").__next__()
    for event in hub.watch("r"): pass
"""


def kill_at_work(tmp_path: Path) -> None:
    """Run a function in a process that dies while it is at work."""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", KILLED, url_of(tmp_path)], cwd=root, check=True)


async def test_a_killed_run_tells_of_no_files_and_its_folder_is_swept(tmp_path: Path) -> None:
    await asyncio.to_thread(kill_at_work, tmp_path)
    assert len(folders(tmp_path)) == 1

    async with open_hub(url_of(tmp_path)) as hub:
        events = await events_of(hub, "r")
        assert (events[-1].type, events[-1].data["code"]) == ("failed", "lost")
        assert told(events) == []
        await hub.files.sweep()
        assert folders(tmp_path) == []
        assert (await hub.files.of("r")).files == []


async def test_two_sweeps_never_remove_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or one would return while the other still removes what it found."""
    both = threading.Barrier(2)
    met = []

    async with open_hub(url_of(tmp_path)) as hub:

        def sweep(life_of: object, time: float) -> Steps[int]:
            with contextlib.suppress(threading.BrokenBarrierError):
                met.append(both.wait(0.2))
            yield 1
            return 0

        await hub.files.sweep()  # the one at the start is over
        monkeypatch.setattr(hub.files.workspaces, "sweeping", sweep)
        await asyncio.gather(hub.files.sweep(), hub.files.sweep())

    assert met == []


@pytest.mark.parametrize("max_event_bytes", [256, 4096, 4 * 1024 * 1024])
async def test_no_run_is_without_an_ending_for_the_files_that_it_leaves(
    tmp_path: Path, max_event_bytes: int
) -> None:
    def leave_many() -> None:
        folder = runcast.workspace() / "data" / "outputs"
        for _ in range(4):
            folder /= "x" * 180
        folder.mkdir(parents=True)
        for number in range(700):
            (folder / f"{number:0180}").touch()
            (folder / f"{number:0180}-link").symlink_to("nowhere")

    settings = Settings(max_event_bytes=max_event_bytes, max_files=5000)
    async with open_hub(url_of(tmp_path), settings=settings) as hub:
        run = await hub.start(leave_many)
        events = await events_of(hub, run.run_id)
        assert events[-1].type == "done"
        (files,) = [event.data for event in events if event.type == "files"]
        assert files.get("total", len(files["files"])) == 700
        assert files["skipped_count"] == 700
        assert len((await hub.files.of(run.run_id)).files) == 700


async def test_no_lock_stays_held_by_a_run_that_is_cancelled_while_its_workspace_is_made(
    tmp_path: Path,
) -> None:
    async with open_hub(url_of(tmp_path)) as hub:
        files = hub.files.for_run("r", "0123456789", {})
        with files._lock:  # as a thread does that makes the workspace
            collecting = asyncio.ensure_future(files.collect(Outcome("done", {})))
            await asyncio.sleep(0)
            collecting.cancel()
            await asyncio.wait([collecting])

        assert await asyncio.to_thread(files._lock.acquire, timeout=5)
        files._lock.release()
        await eventually(lambda: files._is_over)


async def test_files_are_swept_by_themselves(tmp_path: Path) -> None:
    await asyncio.to_thread(kill_at_work, tmp_path)

    async with open_hub(url_of(tmp_path)):
        await eventually(lambda: not folders(tmp_path))


async def test_files_go_when_their_run_grows_too_old(tmp_path: Path) -> None:
    settings = Settings(keep_runs_s=0.001, retention_every_s=0.01)
    async with open_hub(url_of(tmp_path), settings=settings) as hub:
        run = await hub.start(guided.leave)
        await run.wait()
        await eventually(lambda: not folders(tmp_path))


async def test_the_folders_of_other_runs_are_not_looked_through_when_a_run_is_deleted(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[Path] = []
    settings = Settings(retention_every_s=3600.0)
    async with open_hub(url_of(tmp_path), settings=settings, clock=clock) as hub:
        for run in [await hub.start(guided.leave) for _ in range(20)]:
            await soon(run.wait())
        await hub.files.sweep()  # the one at the start is over
        iterdir = Path.iterdir

        def listing(folder: Path) -> Iterator[Path]:
            listed.append(folder)
            return iterdir(folder)

        monkeypatch.setattr(Path, "iterdir", listing)
        clock.advance(settings.keep_runs_s + 1)
        await soon(Retention(hub.hub, list).expire())

        assert not folders(tmp_path)
        assert tmp_path / "runs.db.data" / "workspaces" not in listed


async def test_the_files_of_a_run_that_is_replaced_go_and_its_successors_stay(
    tmp_path: Path,
) -> None:
    async with open_hub(url_of(tmp_path)) as hub:
        await soon((await hub.start(guided.leave, run_id="r")).wait())
        await soon((await hub.start(guided.leave, run_id="r", replace=True)).wait())

        await eventually(lambda: len(folders(tmp_path)) == 1)
        assert len((await hub.files.of("r")).files) == 1


async def test_a_run_begun_under_the_id_of_one_that_expires_is_kept(
    store: Store, clock: FakeClock
) -> None:
    """Another process deletes the old run and begins the new one while this one looks."""
    settings = Settings(retention_every_s=3600.0)
    async with open_hub(store, settings=settings, clock=clock) as hub:
        await soon((await hub.start(guided.nothing, run_id="r")).wait())
        clock.advance(settings.keep_runs_s + 1)
        expired = await store.expired()
        await store.delete("r")
        clock.advance(1)
        await soon((await hub.start(guided.nothing, run_id="r")).wait())

        retention = Retention(hub.hub, list)
        for run_id in expired:
            await soon(retention._delete(run_id, clock.time()))

        assert (await hub.hub.info("r")).closed


async def test_only_the_epoch_that_is_meant_is_deleted(store: Store, clock: FakeClock) -> None:
    async with open_hub(store, clock=clock) as hub:
        old = await hub.start(guided.leave, run_id="r")
        await soon(old.wait())
        clock.advance(1)
        await soon((await hub.start(guided.leave, run_id="r", replace=True)).wait())

        with pytest.raises(Stale):
            await hub.hub.delete("r", old.epoch)

        assert len((await hub.files.of("r")).files) == 1


async def test_the_files_of_an_older_version_go_with_their_own_epoch(
    tmp_path: Path, clock: FakeClock
) -> None:
    """A folder as versions before this one have written it."""
    epochs: dict[str, str] = {}
    async with open_hub(url_of(tmp_path), clock=clock) as hub:
        for run_id in ("r", "s"):
            inlet = await hub.hub.create(run_id)
            end = encode_record("done", {"result": None}, clock.time())
            await inlet.append([end], close=True)
            epochs[run_id] = inlet.epoch
    # While no hub is open: it would remove half a folder as a leftover.
    for run_id, text in (("r", "one"), ("s", "two")):
        name = f"{sha256(run_id.encode()).hexdigest()[:40]}-{epochs[run_id]}"
        folder = tmp_path / "runs.db.data" / "workspaces" / name
        (folder / "outputs").mkdir(parents=True)
        (folder / "outputs" / "a.txt").write_text(text, "utf-8")
        (folder / "run.json").write_text(
            json.dumps({"run_id": run_id, "epoch": epochs[run_id]}), "utf-8"
        )
        known = {
            "path": "a.txt",
            "name": "a.txt",
            "size": 3,
            "sha256": sha256(text.encode()).hexdigest(),
            "type": "text/plain",
        }
        about = {"files": [known], "skipped": [], "skipped_count": 0, "problems": []}
        (folder / "files.json").write_text(json.dumps(about), "utf-8")
    async with open_hub(url_of(tmp_path), clock=clock) as hub:
        await hub.files.sweep()
        await hub.hub.delete("r")
        download = await hub.files.download("s", "a.txt")
        content = download.content.read(100, 0)
        download.content.close()

        assert content == b"two"
        assert len(folders(tmp_path)) == 1


@pytest.fixture
def two(tmp_path: Path) -> tuple[OpenHub, OpenHub]:
    return OpenHub(url_of(tmp_path)), OpenHub(url_of(tmp_path))


async def test_one_server_does_not_sweep_what_another_works_with(
    two: tuple[OpenHub, OpenHub],
) -> None:
    is_ready, ends = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        (runcast.workspace() / "data" / "outputs" / "a").touch()
        is_ready.set()
        await ends.wait()

    async with two[0] as one, two[1] as other:
        run = await one.start(work)
        await is_ready.wait()
        await other.files.sweep()
        ends.set()
        assert (await run.wait()).type == "done"
        assert len((await other.files.of(run.run_id)).files) == 1
