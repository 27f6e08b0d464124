"""`runcast doctor`: says what would keep a server or its functions from working."""

import argparse
import asyncio
import json
import os
import platform
import socket
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.error import URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import urlopen

from runcast.app import open_hub
from runcast.cli.invoke import add_inputs, parse_inputs
from runcast.cli.serve import DEFAULT_STORE, load_settings
from runcast.cli.target import load_target
from runcast.clock import SystemClock
from runcast.errors import InvalidInputs, NotFound, RuncastError
from runcast.runs.function import Function
from runcast.runs.manifest import InvalidManifest
from runcast.settings import Settings
from runcast.stores.base import Append
from runcast.stores.url import open_url
from runcast.testing.event_checks import EventsBroken, check_events

__all__ = ("Finding", "add_to", "run")

_WAIT_S: Final = 2.0
"""How long another server may take to say what it is."""

_NEEDED: Final = ("msgspec", "pyyaml", "starlette", "uvicorn")
_FAST: Final = ("httptools", "uvloop")


class Finding(NamedTuple):
    """What one check found. `fail` keeps something from working, `warn` may."""

    level: Literal["ok", "warn", "fail"]
    check: str
    told: str


def add_to(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser(
        "doctor",
        help="check the installation, the store and the functions",
        description="Checks what `runcast serve` needs, and what a target's functions say of "
        "themselves. The exit code is 1 if something fails, else 0.",
    )
    parser.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help="what is to be served, as `runcast serve` has it",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", default=8000, type=int, help="port to listen on (%(default)s)")
    parser.add_argument(
        "--store", metavar="URL", default=DEFAULT_STORE, help="where runs are kept (%(default)s)"
    )
    parser.add_argument("--settings", metavar="FILE", help="a TOML file with settings")
    parser.add_argument(
        "--run",
        metavar="FUNCTION",
        dest="dry_run",
        help="run this function, with a store in memory, and check the order of its events",
    )
    add_inputs(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make all checks and print what they find; return 1 if one fails."""
    findings: list[Finding] = []
    for finding in _checks(arguments):
        findings.append(finding)
        if arguments.json:
            print(json.dumps(finding._asdict(), ensure_ascii=False), flush=True)
        else:
            print(f"{finding.level:<4}  {finding.check:<12}  {finding.told}", flush=True)
    return 1 if any(finding.level == "fail" for finding in findings) else 0


def _checks(arguments: argparse.Namespace) -> Iterator[Finding]:
    yield from _installation()
    try:
        settings = load_settings(arguments.settings)
        yield Finding("ok", "settings", arguments.settings or "defaults and the environment")
    except RuncastError as error:
        settings = Settings()
        yield Finding("fail", "settings", error.message)
    yield from _store(arguments.store, settings)
    yield _port(arguments.host, arguments.port)
    if arguments.target is None:
        return
    try:
        functions = load_target(arguments.target)
    except InvalidManifest as error:
        for problem in error.problems or (error.message,):
            yield Finding("fail", "target", problem)
        return
    except RuncastError as error:
        yield Finding("fail", "target", error.message)
        return
    yield Finding("ok", "target", f"{arguments.target}: {len(functions)} functions")
    for function in functions:
        yield from _function(function)
    if arguments.dry_run is not None:
        inputs = parse_inputs(arguments.input, arguments.inputs)
        yield from _dry_run(functions, arguments.dry_run, inputs, settings)


def _installation() -> Iterator[Finding]:
    python = f"Python {platform.python_version()} on {platform.system()}"
    level: Literal["ok", "fail"] = "ok" if sys.version_info >= (3, 11) else "fail"
    yield Finding(level, "python", python if level == "ok" else f"{python}; expected 3.11 or newer")
    found, missing = _versions(("runcast", *_NEEDED))
    if missing:
        yield Finding("fail", "packages", f"missing: {', '.join(missing)}; pip install runcast")
    yield Finding("ok", "packages", ", ".join(found))
    found, missing = _versions(_FAST)
    if missing:
        told = f"without {' and '.join(missing)} streams cost more; pip install 'runcast[fast]'"
        yield Finding("warn", "fast", told)
    else:
        yield Finding("ok", "fast", ", ".join(found))


def _versions(names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    return found, missing


# --- the store and the port -----------------------------------------------------------------------


def _store(url: str, settings: Settings) -> Iterator[Finding]:
    parts = urlsplit(url)
    path = Path(unquote(parts.path[1:])) if parts.scheme == "sqlite" else None
    try:
        if path is None or path.exists():
            asyncio.run(_try_store(url, settings))
        else:
            # Nothing is to be left where there was nothing: what is tried is the folder.
            folder = next(each for each in path.absolute().parents if each.exists())
            with tempfile.TemporaryDirectory(prefix=".runcast-doctor-", dir=folder) as made:
                asyncio.run(_try_store(f"sqlite:///{quote(made)}/runs.db", settings))
    except RuncastError as error:
        yield Finding("fail", "store", f"{url}: {error.message}")
    except OSError as error:
        yield Finding("fail", "store", f"{url}: {error.strerror}: {error.filename}")
    else:
        yield Finding("ok", "store", f"{url} opens and can be written")
        if path is None:
            yield Finding("warn", "store", "runs are in memory: they are gone when the server ends")


async def _try_store(url: str, settings: Settings) -> None:
    async with open_url(url, settings, SystemClock()) as store:
        log_id = f"doctor-{os.getpid()}"
        info = await store.create(log_id, replace=True)
        try:
            (outcome,) = await store.commit([Append(log_id, [b"{}"], info.epoch)])
            if isinstance(outcome, RuncastError):
                raise outcome
            await store.read(log_id, info.position)
        finally:
            await store.delete(log_id)


def _port(host: str, port: int) -> Finding:
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
    except (OSError, OverflowError) as error:
        if _answers(where):
            return Finding("warn", "port", f"a server of runcast answers at {where} already")
        return Finding("fail", "port", f"{where}: {getattr(error, 'strerror', None) or error}")
    return Finding("ok", "port", f"{where} is free")


def _answers(where: str) -> bool:
    try:
        with urlopen(f"http://{where}/healthz", timeout=_WAIT_S) as answer:
            return bool(json.load(answer) == {"status": "ok"})
    except (OSError, URLError, ValueError):
        return False


# --- functions ------------------------------------------------------------------------------------


def _function(function: Function[..., Any]) -> Iterator[Finding]:
    check = f"function {function.name}"
    takes = ", ".join(parameter.name for parameter in function.parameters) or "nothing"
    kind = "streams" if function.is_streaming else "gives a result"
    yield Finding("ok", check, f"{kind}; takes {takes}")
    if not function.description:
        yield Finding("warn", check, "has no docstring, which is what others are shown of it")
    loose = [each.name for each in function.parameters if not _says_something(each.schema)]
    if loose and function.isolation != "process":
        told = f"anything is taken for {', '.join(loose)}; annotate them with types of JSON"
        yield Finding("warn", check, told)


def _says_something(schema: Any) -> bool:
    return bool(set(schema) - {"default", "description"})


def _dry_run(
    functions: list[Function[..., Any]], name: str, inputs: dict[str, Any], settings: Settings
) -> Iterator[Finding]:
    check = f"run of {name}"

    async def events() -> list[Any]:
        async with open_hub("memory://", functions=functions, settings=settings) as hub:
            started = await hub.start(name, inputs)
            return [event async for event in hub.watch(started.run_id)]

    try:
        found = asyncio.run(events())
        check_events(found)
    except EventsBroken as error:
        for problem in error.problems:
            yield Finding("fail", check, problem)
    except InvalidInputs as error:
        for problem in error.problems:
            yield Finding("fail", check, f"inputs: {problem}")
    except (NotFound, RuncastError) as error:
        yield Finding("fail", check, error.message)
    else:
        last = found[-1]
        level: Literal["ok", "fail"] = "ok" if last.type == "done" else "fail"
        told = f"{len(found)} events in order; the last is {last.type}"
        if level == "fail":
            told += f": {last.data.get('message', last.data.get('reason', ''))}"
        yield Finding(level, check, told)
