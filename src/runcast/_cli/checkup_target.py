"""Checks of a target: what its functions declare, compared with their code."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from runcast._app import OpenHub, open_hub
from runcast._cli.checkup import Finding, fail, ok, warn
from runcast._cli.probe import Probed, Request
from runcast._cli.target import load_target
from runcast._files.model import FileReference
from runcast._functions.file_groups import FileGroup
from runcast._functions.function import Function, Source
from runcast._functions.manifest import InvalidManifest
from runcast._functions.secrets import Secret, find_secrets
from runcast._settings import Settings
from runcast._workers.processes.forkable import is_supported
from runcast.errors import InvalidInputs, InvalidValue, MissingSecret, RuncastError
from runcast.events.model import Event
from runcast.testing.event_checks import EventsBroken, check_events

__all__ = ("check_functions", "dry_run", "load")

_PROBE_S: Final = 60.0
"""How long the import of a module may take."""

_READ_BYTES: Final = 256 * 1024

_AnyFunction = Function[..., Any]


def load(target: str, findings: list[Finding]) -> list[_AnyFunction]:
    """Return the functions of a target; add its errors to the findings."""
    try:
        functions = load_target(target)
        OpenHub("memory://", functions=functions, settings=Settings())
    except InvalidManifest as error:
        todo = "make the manifest and the code agree there"
        problems = error.problems or (error.message,)
        findings.extend(fail("target", problem, todo) for problem in problems)
        return []
    except RuncastError as error:
        findings.append(fail("target", error.message, "see `runcast serve --help` for the targets"))
        return []
    count = "1 function" if len(functions) == 1 else f"{len(functions)} functions"
    findings.append(ok("target", f"{target}: {count}"))
    return functions


def check_functions(functions: Sequence[_AnyFunction], settings: Settings) -> Iterator[Finding]:
    """Check what functions declare, and whether their processes can import them."""
    probed = _probe(functions)
    for source, found in probed.items():
        if found.error:
            text = f"{source.file} fails:\n{found.error.rstrip()}"
            yield fail("import", text, "install what is missing, or mend the module")
        else:
            yield ok("import", f"{source.file} can be imported by its own process")
    for function in functions:
        check = f"function {function.name}"
        takes = ", ".join(parameter.name for parameter in function.parameters) or "nothing"
        kind = "streams" if function.is_streaming else "gives a result"
        yield ok(check, f"{kind}; takes {takes}")
        if not function.description:
            text = "has no description to show to others"
            yield warn(check, text, "give it a docstring, or a description in the manifest")
        loose = [each.name for each in function.parameters if not _says_something(each.schema)]
        if loose:
            text = f"any value is accepted for {', '.join(loose)}"
            yield warn(check, text, "annotate them with types that JSON has")
        if function.source is not None:
            yield from _compare(function, probed[function.source], check)
            yield ok(check, _begins(function, probed[function.source], settings))
        yield from _files(function.files.values(), check)
        yield from _secrets(function.secrets, settings, check)


def _begins(function: _AnyFunction, probed: Probed, settings: Settings) -> str:
    """Return how the function's processes begin."""
    if not function.preload:
        why = "preload=False"
    elif not settings.warm_processes:
        why = "warm_processes=0"
    elif not is_supported():
        why = "this system has no fork servers"
    elif function.secrets:
        return "each run is forked, and then imports the module, which may read secrets"
    elif probed.error:
        why = "its module cannot be imported"
    elif probed.unforkable:
        why = f"after the import of its module a process must not be forked: {probed.unforkable}"
    else:
        return "each run is forked from a process that has imported the module"
    return f"each run starts a new interpreter: {why}"


def _says_something(schema: Mapping[str, Any]) -> bool:
    return bool(set(schema) - {"default", "description"})


def _files(groups: Iterable[FileGroup], check: str) -> Iterator[Finding]:
    for group in groups:
        verb = "is given" if group.kind == "input" else "makes"
        most = "any number of" if group.most is None else f"at most {group.most}"
        files = "file" if group.most == 1 else "files"
        must = f", at least {group.fewest}" if group.fewest else ""
        yield ok(check, f"{verb} {most} {files} called {group.key!r}{must}")


def _secrets(secrets: Iterable[Secret], settings: Settings, check: str) -> Iterator[Finding]:
    for secret in secrets:
        wanted = Secret(secret.name, secret.description, required=True)
        try:
            asyncio.run(find_secrets([wanted], {}, settings.secrets_file))
        except MissingSecret:
            kind = "secret" if secret.required else "optional secret"
            yield warn(
                check,
                f"the {kind} {secret.name} is missing here",
                "set it in the server's environment or its secrets_file, or give it with each "
                "invocation in _secrets",
            )
        except InvalidValue as error:
            yield fail(check, error.message, "correct the setting secrets_file, or the file")
        else:
            yield ok(check, f"the secret {secret.name} is present")


# --- what they are --------------------------------------------------------------------------------


def _probe(functions: Iterable[_AnyFunction]) -> dict[Source, Probed]:
    """Have processes import the modules of functions that run in processes."""
    names: dict[Source, list[str]] = {}
    for function in functions:
        if function.source is not None:
            names.setdefault(function.source, []).append(function.attribute)
    return {source: _ask(Request(source, found)) for source, found in names.items()}


def _ask(request: Request) -> Probed:
    with tempfile.TemporaryDirectory(prefix="runcast-doctor-") as folder:
        try:
            ended = subprocess.run(
                [sys.executable, "-m", "runcast._cli.probe"],
                input=msgspec.json.encode(request),
                capture_output=True,
                cwd=folder,
                timeout=_PROBE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Probed(error=f"the import takes longer than {_PROBE_S:g} s")
    try:
        return msgspec.json.decode(ended.stdout, type=Probed)
    except msgspec.DecodeError:
        said = ended.stderr.decode("utf-8", "replace").strip()[-2000:]
        return Probed(error=f"its process ended with {ended.returncode}\n{said}".strip())


def _compare(function: _AnyFunction, probed: Probed, check: str) -> Iterator[Finding]:
    known = probed.functions.get(function.attribute)
    if known is None:
        return  # its module fails to import
    if known.problem:
        yield fail(check, known.problem, "define it, or take it out of the manifest")
        return
    if not function.takes_plain_inputs:
        return  # a decorated function describes itself
    declared = {parameter.name for parameter in function.parameters}
    unknown = declared - set(known.takes)
    if unknown and not known.takes_more:
        text = f"declares {', '.join(sorted(unknown))}, which the code does not take"
        yield fail(check, text, "take it out of the manifest, or into the code")
    if missing := set(known.needs) - declared:
        text = f"the code requires {', '.join(sorted(missing))}, which is not declared"
        yield fail(check, text, "declare it in the manifest, or give it a default in the code")
    if known.is_streaming and not function.is_streaming:
        yield fail(check, "yields, but streaming is not declared", 'say "streaming": true')
    if function.is_streaming and not known.is_streaming:
        text = "declares streaming, but does not yield itself; it must return a generator"
        yield warn(check, text, "try it with --run, or yield in it")


# --- trying them ----------------------------------------------------------------------------------


def dry_run(
    functions: Sequence[_AnyFunction],
    name: str,
    inputs: dict[str, Any],
    files: Sequence[tuple[str, Path]],
    settings: Settings,
) -> Iterator[Finding]:
    """Run a function, with a store in memory, and check the order of its events."""
    check = f"run of {name}"
    try:
        events = asyncio.run(_events_of(functions, name, inputs, files, settings))
        check_events(events)
    except EventsBroken as error:
        for problem in error.problems:
            yield fail(check, problem, "mend the order of what it yields or emits")
    except InvalidInputs as error:
        for problem in error.problems or (error.message,):
            yield fail(check, f"inputs: {problem}", "give --input NAME=VALUE, --file KEY=PATH")
    except MissingSecret as error:
        yield fail(check, error.message, "set it in the environment of this command")
    except RuncastError as error:
        yield fail(check, error.message, "name one of the target's functions, with its inputs")
    else:
        last, text = events[-1], f"{len(events)} events in order; the last is {events[-1].type}"
        if last.type == "done":
            yield ok(check, text)
        else:
            why = last.data.get("message", last.data.get("reason", ""))
            yield fail(check, f"{text}: {why}", "see the log above, or the function's own code")


async def _events_of(
    functions: Sequence[_AnyFunction],
    name: str,
    inputs: dict[str, Any],
    files: Sequence[tuple[str, Path]],
    settings: Settings,
) -> list[Event]:
    async with open_hub("memory://", functions=functions, settings=settings) as hub:
        given: dict[str, list[FileReference]] = {}
        for key, path in files:
            upload = await hub.files.receive(path.name, "", _pieces(path))
            given.setdefault(key, []).append(FileReference(upload_id=upload.upload_id))
        run = await hub.start(name, inputs, files=given)
        return [event async for event in hub.watch(run.run_id)]


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _READ_BYTES):
            yield piece
