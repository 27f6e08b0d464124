"""A script: a function changes something of the whole process, then others' runs are tried.

Its argument names the change. What it prints is what came of the others' runs, as JSON.
"""

import asyncio
import json
import locale
import logging
import os
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import runcast
from runcast._files.model import FileReference
from runcast._functions.secrets import Secret
from runcast._settings import Settings

SETTINGS = Settings(warm_processes=0, data_dir="files", secrets_file="secrets.toml")


def change_nothing() -> None:
    pass


def move() -> None:
    os.chdir(tempfile.mkdtemp())


def move_to_what_is_removed() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def mask() -> None:
    os.umask(0o777)


def clear_environment() -> None:
    os.environ.clear()


def name_other_folders() -> None:
    for name in ("TMPDIR", "HOME", "PYTHONPATH", "PYTHONHOME"):
        os.environ[name] = "/nowhere"
    tempfile.tempdir = "/nowhere"


def clear_search_path() -> None:
    sys.path.clear()


def set_default_timeout() -> None:
    socket.setdefaulttimeout(0.001)


def close_output() -> None:
    sys.stdout.close()
    sys.stderr.close()


def replace_output() -> None:
    sys.stdout = sys.stderr = None


def choose_locale() -> None:
    for name in ("tr_TR.UTF-8", "de_DE.UTF-8", "C"):
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        return


def raise_warnings() -> None:
    warnings.simplefilter("error")


def close_standard_files() -> None:
    os.closerange(0, 3)


async def ignore_children() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


CHANGES: dict[str, Callable[[], Any]] = {
    change.__name__: change
    for change in (
        change_nothing,
        move,
        move_to_what_is_removed,
        mask,
        clear_environment,
        name_other_folders,
        clear_search_path,
        set_default_timeout,
        close_output,
        replace_output,
        choose_locale,
        raise_warnings,
        close_standard_files,
        ignore_children,
    )
}


def in_thread() -> str:
    """Leave a file."""
    (runcast.workspace() / "data/outputs/made.txt").write_text("made")
    return "thread"


def failing() -> None:
    """Fail, which the server's log is told."""
    raise LookupError("as it should")


async def in_task() -> str:
    return "task"


@runcast.function(isolation="process")
def in_process() -> str:
    """Emit more than a socket holds, and leave a file."""
    for _ in range(500):
        runcast.emit("step", "x" * 10_000)
    (runcast.workspace() / "data/outputs/made.txt").write_text("made")
    return os.environ.get("OF_THE_START", "")


@runcast.function(isolation="process")
def with_secrets() -> str:
    return os.environ["OF_THE_FILE"] + os.environ["SECRET_OF_THE_START"]


with_secrets.secrets = (Secret("OF_THE_FILE"), Secret("SECRET_OF_THE_START"))


def given(path: str) -> str:
    return (runcast.workspace() / path).read_text()


async def pieces() -> AsyncIterator[bytes]:
    yield b"sent ahead"


async def try_all(hub: runcast.OpenHub) -> dict[str, object]:
    found: dict[str, object] = {}
    for function in (in_thread, in_task, failing, in_process, with_secrets):
        run = await hub.start(function)
        try:
            said = str(await run.result())
        except runcast.RuncastError as error:
            said = str(error)
        left = await hub.files.of(run.run_id)
        found[function.__name__] = said + "".join(f", {file.path}" for file in left.files)
    upload = await hub.files.receive("a.txt", "", pieces())
    files = {"input": [FileReference(upload_id=upload.upload_id)]}
    run = await hub.start(given, {"path": "data/inputs/input/a.txt"}, files=files)
    found["given"] = await run.result()
    return found


async def main(change: str) -> None:
    logging.basicConfig()
    out = os.fdopen(os.dup(1), "w")
    home = Path.cwd()
    (home / "secrets.toml").write_text('OF_THE_FILE = "kept"')
    async with runcast.open_hub("sqlite:///runs.db", settings=SETTINGS) as hub:
        run = await hub.start(CHANGES[change])
        await run.wait()
        found = await try_all(hub)
        await hub.hub.check()
    modes = {oct(path.stat().st_mode & 0o700) for path in home.rglob("*") if not path.is_dir()}
    folders = {oct(path.stat().st_mode & 0o700) for path in home.rglob("*") if path.is_dir()}
    out.write(json.dumps({**found, "files": sorted(modes), "folders": sorted(folders)}))
    out.close()
    sys.stdout = sys.stderr = None  # or Python would flush them


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
