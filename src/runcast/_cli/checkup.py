"""Checks of what `runcast serve` needs: packages, settings, a store, a folder, a port."""

import asyncio
import json
import os
import platform
import resource
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

from runcast._cli.reaching import path_of, without_password
from runcast._cli.texts import readable_bytes
from runcast._clock import SystemClock
from runcast._files.bucket import Bucket
from runcast._files.data_dir import DataDir
from runcast._settings import Settings
from runcast.errors import RuncastError, StoreReadOnly
from runcast.stores import open_url
from runcast.stores.base import Append, Store, find_dangers
from runcast.stores.sqlite.schema import SCHEMA_VERSION

__all__ = (
    "FAST",
    "NEEDED",
    "Finding",
    "check_data_dir",
    "check_files",
    "check_installation",
    "check_open_files",
    "check_port",
    "check_store",
    "fail",
    "ok",
    "warn",
)

_WAIT_S: Final = 2.0
"""How long another server may take to identify itself."""

NEEDED: Final = (
    "httpx2",
    "msgspec",
    "python-multipart",
    "pyyaml",
    "shtab",
    "starlette",
    "uvicorn",
)
"""The packages that every installation needs, as in pyproject.toml."""
FAST: Final = ("httptools", "uvloop")
"""The packages that make it faster: the extra of that name."""

_SPARE_FILES: Final = 100
"""Files that a server keeps open besides its connections."""

_LITTLE_BYTES: Final = 1024**3


class Finding(NamedTuple):
    """The result of one check. `fail`: something cannot work; `warn`: maybe. `todo` repairs it."""

    level: Literal["ok", "warn", "fail"]
    check: str
    told: str
    todo: str = ""


def ok(check: str, text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding("ok", check, text)


def warn(check: str, text: str, todo: str) -> Finding:
    """Return a finding that something may be wrong, and what to do."""
    return Finding("warn", check, text, todo)


def fail(check: str, text: str, todo: str) -> Finding:
    """Return a finding that something is wrong, and what to do."""
    return Finding("fail", check, text, todo)


def check_installation() -> Iterator[Finding]:
    """Check Python and the packages."""
    yield ok("python", f"Python {platform.python_version()} on {platform.system()}")
    found, missing = _versions(("runcast", *NEEDED))
    if missing:
        yield fail("packages", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    yield ok("packages", ", ".join(found))
    found, missing = _versions(FAST)
    if missing:
        text = f"without {' and '.join(missing)} streams cost more"
        yield warn("fast", text, f"pip install {' '.join(missing)}")
    else:
        yield ok("fast", ", ".join(found))


def _versions(names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    return found, missing


def check_open_files(settings: Settings) -> Finding:
    """Check how many connections this process may have."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most >= settings.max_watchers + _SPARE_FILES:
        return ok("open files", f"at most {most}, enough for {settings.max_watchers} watchers")
    text = f"at most {most}, so at most about {max(0, most - _SPARE_FILES)} watchers at once"
    wanted = settings.max_watchers + _SPARE_FILES
    return warn("open files", text, f"`ulimit -n {wanted}`, or a lower max_watchers")


# --- the store and its folder ---------------------------------------------------------------------


def check_store(url: str, settings: Settings) -> Iterator[Finding]:
    """Open the store and write to it, leaving nothing behind; say what its settings may lose."""
    path = Path(path_of(url)) if path_of(url) else None
    shown = without_password(url)
    tried = _Tried(False, ())
    try:
        if path is None or path.exists():
            tried = asyncio.run(_try_store(open_url(url, settings, SystemClock())))
        else:
            # Do not create a missing store: only try the folder.
            with tempfile.TemporaryDirectory(
                prefix=".runcast-doctor-", dir=_existing(path)
            ) as made:
                trial = f"sqlite:///{quote(made)}/runs.db"
                asyncio.run(_try_store(open_url(trial, settings, SystemClock())))
    except StoreReadOnly as error:
        text = f"{shown}: {error.message}: runs can be watched, not begun"
        yield warn("store", text, "let this user write to the file and its folder")
    except RuncastError as error:
        todo = "name another with --store" if path else "start its server, or correct its address"
        yield fail("store", f"{shown}: {error.message}", todo)
    except OSError as error:
        text = f"{shown}: {error.strerror}: {error.filename}"
        yield fail("store", text, "name another with --store, or let this user write there")
    else:
        yield _opened(shown, path, tried)
        for text, todo in tried.dangers:
            yield warn("store", text, todo)


class _Tried(NamedTuple):
    """What was learnt from a store that could be written."""

    is_lasting: bool
    dangers: Sequence[tuple[str, str]]


def _opened(shown: str, path: Path | None, tried: _Tried) -> Finding:
    text = f"{shown} opens and can be written"
    if path is None:
        if tried.is_lasting:
            return ok("store", text)
        text = f"{shown} can be written; runs are gone when the server ends"
        return warn("store", text, "keep them with --store sqlite:///PATH")
    if not path.exists():
        return ok("store", f"{text}; it will be created, with schema {SCHEMA_VERSION}")
    size = readable_bytes(path.stat().st_size)
    return ok("store", f"{text}; schema {_schema_of(path)}, {size}")


async def _try_store(store: Store) -> _Tried:
    async with store:
        log_id = f"doctor-{os.getpid()}"
        info = await store.create(log_id, replace=True)
        try:
            (outcome,) = await store.commit([Append(log_id, [b"{}"], info.epoch)])
            if isinstance(outcome, RuncastError):
                raise outcome
            await store.read(log_id, info.position)
        finally:
            await store.delete(log_id)
        return _Tried(store.is_lasting, await find_dangers(store))


def _schema_of(path: Path) -> int:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def check_files(url: str, settings: Settings) -> Iterator[Finding]:
    """Check whether files of runs can be kept, and whether other nodes have them."""
    yield check_data_dir(url, settings)
    if settings.files:
        try:
            bucket = Bucket(settings.files)
            bucket.load("store")
        except RuncastError as error:
            todo = "check the URL, the credentials and the network"
            yield fail("files", error.message, todo)
        else:
            yield ok("files", f"{bucket.shown} answers")
    elif not settings.data_dir and not path_of(url) and not url.startswith("memory:"):
        text = "files of runs stay on the node that made them, and go away with its server"
        yield warn("files", text, "set files to a bucket, or data_dir to a folder of all nodes")


def check_data_dir(url: str, settings: Settings) -> Finding:
    """Check whether files of runs can be kept on this machine's disk."""
    store = path_of(url)
    path = Path(settings.data_dir or (f"{store}.data" if store else tempfile.gettempdir()))
    todo = "set data_dir to a folder that this user can write to"
    try:
        if settings.data_dir and store and (path / "store").is_file():
            DataDir(path, store=str(Path(store).absolute())).ready()
        folder = _existing(path / "x")
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            return fail("data dir", f"files of runs cannot be kept in {path}", todo)
        free = shutil.disk_usage(folder).free
    except RuncastError as error:
        return fail("data dir", error.message, todo)
    except OSError as error:
        return fail("data dir", f"{path}: {error.strerror}", todo)
    text = f"files of runs are kept in {path}; {readable_bytes(free)} are free"
    if free < _LITTLE_BYTES:
        return warn("data dir", text, "free some, or set data_dir to a larger disk")
    return ok("data dir", text)


def _existing(path: Path) -> Path:
    """Return the nearest existing folder above a path."""
    return next(each for each in path.absolute().parents if each.exists())


# --- the port -------------------------------------------------------------------------------------


def check_port(host: str, port: int) -> Finding:
    """Check whether the server can listen on the address."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
    except (OSError, OverflowError, UnicodeError) as error:
        if _answers(where):
            text = f"a server of runcast answers at {where} already"
            return warn("port", text, "stop it before you start another, or choose another --port")
        reason = getattr(error, "strerror", None) or error
        return fail("port", f"{where}: {reason}", "choose another --port, or 0 for a free one")
    return ok("port", f"{where} is free" if port else f"{host}: a free port will be taken")


def _answers(where: str) -> bool:
    try:
        with urlopen(f"http://{where}/healthz", timeout=_WAIT_S) as answer:
            return bool(json.load(answer) == {"status": "ok"})
    except (OSError, URLError, ValueError):
        return False
