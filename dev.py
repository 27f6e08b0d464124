#!/usr/bin/env python3
"""Sets up, runs, checks and tests runcast from nothing but Python 3.11 and pip.

Everything it makes lies beside it, in .tools, .venv, .venv-3.12 and the like, .venv-bench,
.venv-crewai, .venv-docs, .venv-lowest, .venv-newest, .venv-notebook, .venv-servers, .venv-types,
.site, .runcast and web/node_modules: remove those and it starts again. It needs neither root nor
the venv module, and leaves the system's Python alone.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

if sys.version_info < (3, 11):  # noqa: UP036 - older ones do get here, and deserve a clear word
    sys.exit("runcast needs Python 3.11 or newer; this is Python " + sys.version.split()[0])

ROOT = Path(__file__).resolve().parent
TOOLS = ROOT / ".tools"
VENV = ROOT / ".venv"


def _extras(names: str) -> list[str]:
    return [word for name in names.split() for word in ("--extra", name)]


LOCKS = {
    "requirements-tools.lock": ["--group", "tools"],
    "requirements.lock": [
        "pyproject.toml",
        *_extras("feishu notebook"),
        *_extras("anthropic apprise celery discord dramatiq fast langchain langgraph openai"),
        *_extras("openai-agents pydantic-ai redis reload rich rq s3 tqdm webpush"),
        *("--group", "frameworks", "--group", "chats", "--group", "buckets"),
        *("--group", "deploy", "--group", "dev"),
    ],
    "requirements-crewai.lock": [
        "pyproject.toml",
        *_extras("anthropic crewai"),
        "--group",
        "dev",
        "--group",
        "aiogram",
    ],
    "requirements-bench.lock": ["pyproject.toml", "--extra", "fast", "--group", "bench"],
    "requirements-docs.lock": ["pyproject.toml", "--group", "docs"],
    "requirements-notebook.lock": [
        *("pyproject.toml", "--extra", "notebook", "--group", "notebook"),
    ],
    "requirements-servers.lock": ["--group", "servers"],
    "requirements-types.lock": ["pyproject.toml", "--group", "types"],
}


def say(text: str) -> None:
    print(f"dev.py: {text}", flush=True)


def code_of(*command: object, cwd: Path = ROOT) -> int:
    """Run a command to its end and return its exit code."""
    return subprocess.call([str(part) for part in command], cwd=cwd)


def must(*command: object, cwd: Path = ROOT) -> None:
    """Run a command; if it fails, end with its exit code."""
    code = code_of(*command, cwd=cwd)
    if code:
        sys.exit(code)


def become(*command: object) -> NoReturn:
    """Turn into the command, so that signals and the exit code are its own."""
    os.chdir(ROOT)
    os.execv(str(command[0]), [str(part) for part in command])


def uv(*arguments: object) -> None:
    must(TOOLS / "bin" / "uv", "--quiet", *_certs(), *arguments)


def _certs() -> list[str]:
    """Return the option by which uv trusts whom the machine trusts, as pip does: a proxy, say.

    Where the machine names nobody, uv's own list is used.
    """
    return ["--system-certs"] if ssl.get_default_verify_paths().cafile else []


# --- setting up -----------------------------------------------------------------------------------


def fingerprint(python: object, *files: str) -> str:
    """Return one hash over what was set up from: a change of it means setting up again.

    The place counts because scripts in an environment name their interpreter by its full path.
    """
    asked = r"import sys; print(sys.version, sys.base_prefix, sep='\0', end='')"
    parts = [subprocess.check_output([str(python), "-c", asked], text=True), str(ROOT)]
    parts += [(ROOT / file).read_text("utf-8") for file in files]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def fetch_uv() -> None:
    """Have pip put uv into .tools: it makes environments where Python's venv module is missing."""
    wanted, installed = ROOT / "requirements-tools.lock", TOOLS / "installed.lock"
    if installed.is_file() and installed.read_bytes() == wanted.read_bytes():
        return
    if importlib.util.find_spec("pip") is None:
        sys.exit(f"dev.py needs pip, and {sys.executable} has none (Debian: python3-pip)")
    say("fetching uv into .tools")
    shutil.rmtree(TOOLS, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--root-user-action=ignore"]
    must(*pip, "--target", TOOLS, "--require-hashes", "-r", wanted)
    shutil.copy(wanted, installed)


def fill(venv: Path, lock: str, *package: object, base: object = sys.executable) -> None:
    """Make an environment that holds what a lock file names, and the package if one is given."""
    python = venv / "bin" / "python"
    uv("venv", "--clear", "--no-project", "--python", base, venv)
    uv("pip", "sync", "--python", python, "--require-hashes", ROOT / lock)
    if package:
        uv("pip", "install", "--python", python, "--no-deps", "--no-build-isolation", *package)


def set_up(
    venv: Path = VENV,
    lock: str = "requirements.lock",
    package: tuple[object, ...] = ("--editable", ROOT),
    base: object = sys.executable,
) -> None:
    """Make an environment unless it is there; by default its runcast is this source tree."""
    stamp, wanted = venv / ".stamp", fingerprint(base, "pyproject.toml", lock)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    fetch_uv()
    say(f"installing {lock} into {venv.name}")
    fill(venv, lock, *package, base=base)
    stamp.write_text(wanted)


# --- commands -------------------------------------------------------------------------------------


def setup(arguments: list[str]) -> None:
    """install; afterwards .venv/bin/runcast works"""
    set_up()
    say("ready: .venv/bin/runcast")


def run(arguments: list[str]) -> None:
    """serve the demo functions on 127.0.0.1:8000 [options of `runcast serve`]"""
    set_up()
    (ROOT / ".runcast").mkdir(exist_ok=True)
    store = f"sqlite:///{ROOT}/.runcast/runs.db"
    become(VENV / "bin" / "runcast", "serve", "--store", store, *arguments)


def check(arguments: list[str]) -> None:
    """lint, formatting and types"""
    set_up()
    say("checking: ruff, mypy")
    tools = VENV / "bin"
    codes = [
        code_of(tools / "ruff", "check", "--quiet"),
        code_of(tools / "ruff", "format", "--check", "--quiet"),
        code_of(tools / "mypy", "--no-error-summary"),
    ]
    if any(codes):
        sys.exit("dev.py: the checks failed (.venv/bin/ruff check --fix and ruff format may help)")


def test(arguments: list[str]) -> NoReturn:
    """check, then run the tests [--crewai | --all: also slow ones, wheel, …] [of pytest]"""
    check([])
    pytest, options = VENV / "bin" / "pytest", [it for it in arguments if it != "--all"]
    if "--all" in arguments:
        fetch_programs()
        set_up(ROOT / ".venv-servers", "requirements-servers.lock", ())
        set_up(ROOT / ".venv-notebook", "requirements-notebook.lock")
        docs([])
        web([])
        wheel([])
        say("testing what only the source tree has")
        must(pytest, *_QUICKLY, "-m", "tree and not heavy", *files_with("mark.tree"), *options)
        test_versions("lowest", options)
        test_versions("newest", options)
        test_elsewhere(options)
        test_crewai(options)
        test_heavy(options)
    if "--crewai" in options:
        test_crewai([it for it in options if it != "--crewai"])
        sys.exit(0)
    say("testing; what needs CrewAI is tested by: python3 dev.py test --crewai")
    become(pytest, *(options or _QUICKLY))


_CORES = os.cpu_count() or 1

_ON_ALL_CORES = ("-n", str(min(_CORES, 8)), "--dist", "worksteal")
"""A worker without tests takes over those that wait for another."""

_QUICKLY = ("-n", str(min(2 * _CORES, 8)), "--dist", "worksteal")
"""Quick tests wait more than they compute, for processes and sockets."""

_ALONE = ("tests/browser", "tests/crash", "tests/deploy")
"""Heavy tests that want all cores: browsers, servers under a flood, and several nodes at once."""


def test_heavy(options: list[str]) -> NoReturn:
    """Run the heavy tests side by side, and then one by one those that want all cores."""
    pytest, files = VENV / "bin" / "pytest", files_with("mark.heavy")
    alone = [file for file in files if any(file.is_relative_to(folder) for folder in _ALONE)]
    others = [file for file in files if file not in alone]
    say("testing what is heavy")
    searching = ("env", "TEST_PROFILE=heavy", pytest, "-m", "hypothesis and not heavy")
    must(*searching, *_ON_ALL_CORES, *files_with("from hypothesis import"), *options)
    must(pytest, "-m", "heavy", *_ON_ALL_CORES, *others, *options)
    become(pytest, "-m", "heavy", *alone, *options)


def files_with(text: str) -> list[Path]:
    """Return the files of tests that hold a text. To import all others takes half a minute."""
    return sorted(
        path.relative_to(ROOT)
        for path in ROOT.joinpath("tests").rglob("test_*.py")
        if text in path.read_text("utf-8")
    )


OLDEST_FASTAPI = "0.115.10"
"""The oldest FastAPI that takes the lowest Starlette of pyproject.toml; see docs/support.md."""

_WITH_VERSIONS = (
    *("tests/http", "tests/runs/test_inputs.py", "tests/runs/test_input_types.py"),
    *("tests/sources/test_tqdm.py", "tests/sources/test_rich.py"),
    *("tests/stores/test_redis.py", "tests/stores/test_redis_plain.py"),
)
"""The tests that the versions of dependencies can change."""

_OLD_WARNINGS = ("-W", "ignore::DeprecationWarning", "-W", "ignore::PendingDeprecationWarning")
"""Old packages use what newer ones have deprecated since."""


def test_versions(which: str, options: list[str]) -> None:
    """Run tests of HTTP, inputs, bars and Redis with the lowest or the newest versions."""
    venv = ROOT / f".venv-{which}"
    python, wanted = venv / "bin" / "python", direct_dependencies(which)
    set_up(venv)
    say(f"testing with {', '.join(wanted)}")
    how = ["--upgrade"] if which == "newest" else []
    uv("pip", "install", "--python", python, *how, *wanted)
    quiet = _OLD_WARNINGS if which == "lowest" else ()
    quick = ("-m", "not heavy and not tree")
    parser = ("env", "TEST_PARSER=h11") if which == "lowest" else ()
    pytest = venv / "bin" / "pytest"
    must(*parser, pytest, *_QUICKLY, *quick, *quiet, *_WITH_VERSIONS, *options)


def direct_dependencies(which: str) -> list[str]:
    """Return the dependencies of the package, tqdm, rich, redis and FastAPI: each in its lowest
    version, or free."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *extras["tqdm"], *extras["rich"], *extras["redis"]]
    if which == "newest":
        return [*named, "fastapi"]
    lowest = [re.sub(r">=([0-9.]+).*", r"==\1", each) for each in named]
    return [*lowest, f"fastapi=={OLDEST_FASTAPI}", "httpx"]  # which its test client needs


_WITH_INTERPRETERS = (
    *("tests/crash", "tests/hub", "tests/runs", "tests/scripts", "tests/sources"),
    *("tests/testing", "tests/typing"),
)
"""What the interpreter can change: threads, signals, coroutines, processes, types, frameworks.

Not the meaning of events, on the wire and in a snapshot: that is arithmetic on plain data.
"""


def test_elsewhere(options: list[str]) -> None:
    """Run what the interpreter can change on the others that are there; list those that are not."""
    others = other_interpreters()
    for version, python in others.items():
        if python is not None:
            venv = ROOT / f".venv-{version}"
            set_up(venv, base=python)
            say(f"testing {' '.join(_WITH_INTERPRETERS)} on {python}")
            quick = ("-m", "not heavy and not tree")
            must(venv / "bin" / "pytest", *_QUICKLY, *quick, *_WITH_INTERPRETERS, *options)
    if missing := [version for version, python in others.items() if python is None]:
        say(f"not tested, since this machine lacks them: Python {', '.join(missing)}")


_WITH_CREWAI = ("tests/crewai", "tests/sources/test_llm.py")
"""The tests of CrewAI, those of the clients in the versions that CrewAI asks for, and those of
aiogram, which shares the environment."""


def test_crewai(options: list[str]) -> None:
    """Run the tests that need CrewAI, in an environment of their own."""
    venv = ROOT / ".venv-crewai"
    set_up(venv, "requirements-crewai.lock")
    say("testing with CrewAI")
    # Tests that are named in the options are run instead of all.
    chosen = () if any((ROOT / it.partition("::")[0]).exists() for it in options) else _WITH_CREWAI
    must(venv / "bin" / "pytest", *(options or _QUICKLY), *chosen)


def other_interpreters() -> dict[str, Path | None]:
    """Return the Pythons that the package names besides this one; None where one is missing."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        classifiers = tomllib.load(file)["project"]["classifiers"]
    form = re.compile(r"Programming Language :: Python :: (3\.\d+)")
    versions = [found[1] for each in classifiers if (found := form.fullmatch(each))]
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {version: find_interpreter(version) for version in versions if version != own}


def find_interpreter(version: str) -> Path | None:
    """Return a CPython of a version, from the path or, the newest, from pyenv; or None."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    kept = {
        int(path.name.removeprefix(f"{version}.")): path / "bin" / name
        for path in pyenv.glob(f"{version}.*")
        if path.name.removeprefix(f"{version}.").isdecimal()
    }
    found = [kept[each] for each in sorted(kept, reverse=True)]
    # pyenv's own programs on the path stand for nothing while their version is not chosen.
    if on_path := shutil.which(name):
        found.insert(0, Path(on_path))
    for python in found:
        asked = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
        try:
            told = subprocess.run([python, "-c", asked], capture_output=True, text=True)
        except OSError:
            continue
        if told.returncode == 0 and told.stdout.strip() == f"cpython {version}":
            return python
    return None


_PROGRAMS = {
    "caddy": "caddy",
    "chromium": "chromium",
    "curl": "curl",
    "default-jdk-headless": "javac",
    "faketime": "faketime",
    "nginx": "nginx",
    "redis-server": "redis-server",
}
"""What tests use, by the package of Debian that brings it."""

_FONTS = {"fonts-wqy-microhei": Path("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc")}
"""With them a browser shows Chinese, and pictures have no boxes in its place."""


def fetch_programs() -> None:
    """Have Debian's packages bring what tests need, where that can be done; they tell where not."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin"
    missing = [package for package, it in _PROGRAMS.items() if not shutil.which(it, path=path)]
    missing += [package for package, file in _FONTS.items() if not file.exists()]
    if not missing or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    say(f"installing {', '.join(missing)}")
    must("apt-get", "-qq", "update")
    # At run level 1 none of them is started as a service.
    quietly = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
    install = ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *missing]
    must(*quietly, *install)


def build(arguments: list[str]) -> None:
    """build the wheel and the source package into dist"""
    set_up()
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    isolation = ["--no-build-isolation", "--python", VENV / "bin" / "python"]
    uv("build", *isolation, "--out-dir", ROOT / "dist", ROOT)
    say(f"built: {', '.join(sorted(path.name for path in (ROOT / 'dist').glob('runcast-*')))}")


def wheel(arguments: list[str]) -> None:
    """run the quick tests against a wheel, the one named or a new one [FILE.whl]"""
    set_up()
    if arguments:
        test_wheel(Path(arguments[0]).resolve())
        return
    with tempfile.TemporaryDirectory(prefix="runcast-dist-") as dist:
        isolation = ["--no-build-isolation", "--python", VENV / "bin" / "python"]
        uv("build", "--wheel", *isolation, "--out-dir", dist, ROOT)
        test_wheel(next(Path(dist).glob("*.whl")))


def test_wheel(built: Path) -> None:
    """Run the quick tests against a wheel, in a copy of the tree that has no src."""
    with tempfile.TemporaryDirectory(prefix="runcast-wheel-") as name:
        venv, tree = Path(name, "venv"), Path(name, "tree")
        say(f"testing {built.name} with src out of the way")
        must(TOOLS / "bin" / "uvx", "--quiet", *_certs(), "--from", built, "runcast", "--version")
        fill(venv, "requirements.lock", built)
        tree.mkdir()
        for entry in ROOT.iterdir():
            if entry.is_file():
                shutil.copy2(entry, tree)
            elif entry.name != "src" and not entry.name.startswith("."):
                shutil.copytree(entry, tree / entry.name, ignore=_LEFT_OUT)
        check_usage(venv, tree)
        must(venv / "bin" / "pytest", *_QUICKLY, "-m", "not heavy and not tree", cwd=tree)


def check_usage(venv: Path, tree: Path) -> None:
    """Have the type checkers of users read code as they write it, against an installed runcast."""
    types = ROOT / ".venv-types"
    set_up(types, "requirements-types.lock", package=())
    say("checking code as users write it: mypy, pyright")
    usage, python = tree / "tests" / "typing" / "usage.py", venv / "bin" / "python"
    # Without our settings, which users do not have.
    mypy = [types / "bin" / "mypy", "--strict", "--config-file=", "--python-executable", python]
    must(*mypy, "--cache-dir", os.devnull, "--no-error-summary", usage, cwd=usage.parent)
    # Without the variable it asks a registry for a newer version of itself.
    quiet = ["env", "PYRIGHT_PYTHON_IGNORE_WARNINGS=1"]
    must(*quiet, types / "bin" / "pyright", "--pythonpath", python, usage, cwd=usage.parent)


_LEFT_OUT = shutil.ignore_patterns("node_modules", "__pycache__")


WEB = ROOT / "web"
ASSETS = ROOT / "src" / "runcast" / "_http" / "console" / "built"
"""The console as it is built; committed, so that a machine without Node has it."""

ELEMENTS = {
    "embed.js": ASSETS.parent / "embed.js",
    "notebook.js": ROOT / "src" / "runcast" / "client" / "notebook.js",
}
"""The element for other pages and for notebooks, as it is built; committed likewise."""


def web(arguments: list[str]) -> None:
    """check, test and build the TypeScript client and the console [--write: keep what was built]"""
    if shutil.which("npm") is None:
        if os.environ.get("CI"):
            sys.exit("dev.py: Node is missing, and the TypeScript client and the console need it")
        say("not tested, since this machine lacks Node: the TypeScript client and the console")
        return
    set_up()  # the types are made from Python, and the tests start a server
    set_up_web()
    say("checking the TypeScript client and the console")
    must(
        VENV / "bin" / "python",
        WEB / "generate.py",
        *([] if "--write" in arguments else ["--check"]),
    )
    must("npm", "run", "--silent", "check", cwd=WEB)
    must("npm", "run", "--silent", "test", cwd=WEB)
    with tempfile.TemporaryDirectory(prefix="runcast-web-") as built:
        must("env", f"RUNCAST_CONSOLE_OUT={built}", "npm", "run", "--silent", "build", cwd=WEB)
        dist = WEB / "client" / "dist"
        elements = {file: (dist / name).read_bytes() for name, file in ELEMENTS.items()}
        is_fresh = all(file.read_bytes() == made for file, made in elements.items())
        if "--write" in arguments:
            shutil.rmtree(ASSETS, ignore_errors=True)
            shutil.copytree(built, ASSETS)
            for file, element in elements.items():
                file.write_bytes(element)
        elif contents(Path(built)) != contents(ASSETS) or not is_fresh:
            sys.exit("dev.py: the built console is stale; build it: python3 dev.py web --write")


def set_up_web() -> None:
    """Install what web/package-lock.json names, unless it is there."""
    stamp, wanted = WEB / "node_modules" / ".stamp", (WEB / "package-lock.json").read_text("utf-8")
    if not stamp.is_file() or stamp.read_text("utf-8") != wanted:
        say("installing web/package-lock.json into web/node_modules")
        must("npm", "ci", "--silent", cwd=WEB)
        stamp.write_text(wanted, "utf-8")


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder, by their paths."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def cover(arguments: list[str]) -> None:
    """run the tests and say which branches of src no test takes [options of pytest]"""
    set_up()
    coverage = VENV / "bin" / "coverage"
    must(coverage, "erase")
    code = code_of(coverage, "run", "-m", "pytest", *arguments)
    must(coverage, "combine", "--quiet")
    sys.exit(code or code_of(coverage, "report"))


def bench(arguments: list[str]) -> NoReturn:
    """run the benchmarks [options of `python -m benchmarks`]"""
    venv = ROOT / ".venv-bench"
    set_up(venv, "requirements-bench.lock")
    become(venv / "bin" / "python", "-m", "benchmarks", *arguments)


def soak(arguments: list[str]) -> NoReturn:
    """load a real server with all that clients do, and look for leaks [--minutes N: 10]"""
    set_up()
    become(VENV / "bin" / "python", "-m", "tests.soak", *arguments)


def docs(arguments: list[str]) -> None:
    """build the documentation into .site [--serve: show it on 127.0.0.1:8001, as it changes]"""
    venv = ROOT / ".venv-docs"
    set_up(venv, "requirements-docs.lock")
    mkdocs = venv / "bin" / "mkdocs"
    if "--serve" in arguments:
        become(mkdocs, "serve", "--dev-addr", "127.0.0.1:8001")
    must("env", "NO_MKDOCS_2_WARNING=1", mkdocs, "build", "--strict")
    say("built: .site/index.html")


def lock(arguments: list[str]) -> None:
    """remake the lock files from pyproject.toml [--upgrade: to the newest versions]"""
    fetch_uv()
    shared = ["--universal", "--python-version", "3.11", "--generate-hashes"]
    command = ["--custom-compile-command", "python3 dev.py lock"]
    for name, sources in LOCKS.items():
        say(f"locking {name}")
        uv("pip", "compile", *shared, *command, *arguments, *sources, "--output-file", name)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    command.__name__: command
    for command in (setup, run, check, test, web, cover, bench, soak, docs, build, wheel, lock)
}


def main() -> None:
    name, *arguments = sys.argv[1:] or ["help"]
    if name not in COMMANDS:
        lines = [f"  {name:<7}{command.__doc__}" for name, command in COMMANDS.items()]
        print("usage: python3 dev.py COMMAND\n", *lines, sep="\n")
        sys.exit(0 if name in ("help", "-h", "--help") else 2)
    try:
        COMMANDS[name]([argument for argument in arguments if argument != "--"])
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
