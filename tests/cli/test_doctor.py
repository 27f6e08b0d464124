"""`runcast doctor`: what it finds, and how it tells."""

import json
import re
import socket
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runcast._cli import checkup, main
from runcast.channels.targets import ChannelsFile
from runcast.errors import InvalidValue
from runcast.testing import FakeTelegram
from tests.cli.served import run, serve
from tests.documents import ROOT
from tests.environment import environment
from tests.stores.servers import StoreServer
from tests.waiting import WAIT_S

GOOD = '''
import runcast

@runcast.function
def count(n: int = 2):
    """Count to n."""
    for number in range(1, n + 1):
        yield {"type": "progress", "data": {"percent": 100 * number // n}}

@runcast.function
def backwards():
    """Tell a percentage that falls."""
    yield {"type": "progress", "data": {"percent": 90}}
    yield {"type": "progress", "data": {"percent": 10}}

@runcast.function
def silent(thing):
    return thing

@runcast.function
def fail():
    """Fail."""
    raise runcast.RunFailed("the disk is on fire", "fire")
'''


Find = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Find]:
    """Runs the command here and returns its exit code and what it found."""
    (tmp_path / "work.py").write_text(GOOD, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def find(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
        code = main(["doctor", "--json", "--port", "0", *arguments])
        printed = capsys.readouterr()
        assert printed.err == ""
        return code, [json.loads(line) for line in printed.out.splitlines()]

    yield find
    sys.modules.pop("work", None)  # other tests have modules of that name


def told(found: list[dict[str, Any]], check: str, level: str) -> str:
    return "\n".join(
        each["told"] for each in found if (each["check"], each["level"]) == (check, level)
    )


def test_all_is_well(findings: Find, tmp_path: Path) -> None:
    code, found = findings("work.py", "--run", "count", "--input", "n=3")

    assert code == 0
    assert [each for each in found if each["level"] == "fail"] == []
    assert told(found, "store", "ok").startswith("sqlite:///.runcast/runs.db opens and can be")
    assert told(found, "function count", "ok") == "streams; takes n"
    assert "the last is done" in told(found, "run of count", "ok")
    assert "no description" in told(found, "function silent", "warn")
    assert "any value is accepted for thing" in told(found, "function silent", "warn")
    assert all(each["todo"] for each in found if each["level"] != "ok")
    assert {each.name for each in tmp_path.iterdir()} == {"work.py"}


_PROCESSES = """
import runcast

@runcast.function(isolation="process")
def forked():
    "May be a fork."

@runcast.function(isolation="process", preload=False)
def not_wanted():
    "Must not be a fork."
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has fork servers")
def test_it_says_which_functions_are_not_forked_and_why(findings: Find, tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(_PROCESSES, "utf-8")
    _, found = findings("work.py")
    assert "each run is forked from a process" in told(found, "function forked", "ok")
    new = "each run starts a new interpreter: "
    assert f"{new}preload=False" in told(found, "function not_wanted", "ok")

    (tmp_path / "work.py").write_text(f"import tempfile\ntempfile.mkdtemp()\n{_PROCESSES}", "utf-8")
    _, found = findings("work.py")
    why = "after the import of its module a process must not be forked: it has made temporary files"
    assert f"{new}{why}" in told(found, "function forked", "ok")


def test_it_is_told_in_lines_for_people(tmp_path: Path) -> None:
    ended = run("doctor", "--port", "0", "--store", "memory://", cwd=tmp_path)

    assert ended.returncode == 0
    levels = {line[:4].strip() for line in ended.stdout.splitlines() if line[0] != " "}
    assert levels <= {"ok", "warn"}
    assert "      → keep them with --store sqlite:///PATH\n" in ended.stdout


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("backwards", "10"),
        ("fail", "the disk is on fire"),
        ("silent", "inputs: thing: required, not given"),
        ("nothing", "there is no function 'nothing'"),
    ],
)
def test_a_dry_run_tells_what_is_wrong(findings: Find, function: str, problem: str) -> None:
    code, found = findings("work.py", "--run", function)

    assert code == 1
    assert problem in told(found, f"run of {function}", "fail")


@pytest.mark.parametrize("target", ["nowhere.py", "broken.py", "os:sep"])
def test_a_target_that_cannot_be_served_is_a_finding(
    findings: Find, tmp_path: Path, target: str
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0", "utf-8")

    code, found = findings(target)

    assert code == 1
    assert told(found, "target", "fail")
    assert told(found, "store", "ok")


def test_every_problem_of_a_manifest_is_a_finding(findings: Find, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("def greet(name):\n    yield {}\n", "utf-8")
    (tmp_path / "prefab-manifest.json").write_text(
        json.dumps(
            {
                "schema_version": "1.0",
                "id": "greeter",
                "version": "1.0.0",
                "name": "Greeter",
                "entry_point": "main.py",
                "functions": [
                    {"name": "greet", "description": "x", "parameters": [], "streaming": False},
                    {"name": "other", "description": "x", "parameters": []},
                ],
            }
        ),
        "utf-8",
    )

    code, found = findings("prefab-manifest.json")

    assert code == 1
    problems = told(found, "target", "fail").splitlines()
    assert any("streaming" in problem for problem in problems), problems
    assert any("other" in problem for problem in problems), problems


def test_each_chat_of_the_channels_file_is_checked(findings: Find, tmp_path: Path) -> None:
    file = tmp_path / "channels.toml"
    file.write_text(
        '[telegram]\ntoken = "1:x"\n[telegram.ops]\nto = "42"\npoeple = [5]\n'
        '[telegram.team]\nto = "-100"\n[slack]\ntoken_env = "NOT_SET"\n[slack.ops]\nto = "C1"\n'
        '[matrix]\nhomserver = "x"\n'
    )
    code, found = findings("--channels", "channels.toml")
    assert code == 1
    assert "no option 'poeple'" in told(found, "telegram:ops", "fail")
    assert told(found, "telegram:team", "ok") == "its options are complete"
    assert "needs the environment variable NOT_SET" in told(found, "slack:ops", "fail")
    assert "no option 'homserver'" in told(found, "matrix", "fail")
    assert told(found, "channels", "ok") == "channels.toml: 3 targets"

    (tmp_path / "settings.toml").write_text(f'channels_file = "{file}"\n')
    file.write_text("[telegram")
    code, found = findings("--settings", "settings.toml")
    assert code == 1
    assert f"{file} cannot be read" in told(found, "channels", "fail")


@pytest.mark.parametrize(
    "text",
    [
        'token = "T0PSECRET"\n[telegram.ops]\nto = "42"',
        '[telegram]\ntoken_env = "1:T0PSECRET"\n[telegram.ops]\nto = "42"',
        '[slack.ops]\nto = "C1"\ntoken_env = "T0PSECRET"',
    ],
)
def test_a_token_that_stands_in_the_wrong_place_is_not_shown(
    findings: Find, tmp_path: Path, text: str
) -> None:
    (tmp_path / "channels.toml").write_text(text)
    code, found = findings("--channels", "channels.toml")
    assert code == 1
    assert "channels_file: " in str(found)
    assert "T0PSECRET" not in str(found)
    with pytest.raises(InvalidValue) as refused:
        ChannelsFile.read("channels.toml")
    assert "T0PSECRET" not in str(refused.value)


def test_a_platform_is_asked_for_a_token_only_if_calls_are_allowed(
    findings: Find, tmp_path: Path
) -> None:
    with FakeTelegram() as telegram:
        (tmp_path / "channels.toml").write_text(
            f'[telegram]\nurl = "{telegram.url}"\nallow = "127.0.0.0/8"\n'
            f'[telegram.ops]\nto = "42"\ntoken = "{telegram.TOKEN}"\n'
            '[telegram.old]\nto = "42"\ntoken = "1:T0PSECRET"\n[ntfy.bell]\nto = "bell"\n'
        )
        code, found = findings("--channels", "channels.toml")
        assert (code, telegram.calls) == (0, [])
        code, found = findings("--channels", "channels.toml", "--online")
        assert [call.method for call in telegram.calls] == ["getMe", "getMe"]
    assert code == 1
    assert "the token is of @test_bot" in told(found, "telegram:ops", "ok")
    assert "the platform refuses the token" in told(found, "telegram:old", "fail")
    [refused] = [each for each in found if each["check"] == "telegram:old"]
    assert "the token, or url" in refused["todo"]
    assert "cannot be asked" in told(found, "ntfy:bell", "ok")
    assert "T0PSECRET" not in str(found)
    _, found = findings("--channels", "channels.toml", "--online")  # it has gone
    assert "did not say" in told(found, "telegram:ops", "warn")


def test_a_store_that_cannot_be_used_is_a_finding(findings: Find, tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_bytes(b"this is no database" * 100)

    for store in ("sqlite:///runs.db", "postgres://x", "sqlite:////proc/none/runs.db"):
        code, found = findings("--store", store)
        assert code == 1
        assert store in told(found, "store", "fail")


def test_a_store_in_use_is_tried_and_left_as_it_is(findings: Find, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"
    with serve("--store", store, cwd=tmp_path) as server:
        server.start("count_primes", "a", limit=10)
        code, found = findings("--store", store)

        assert (code, told(found, "store", "ok") != "") == (0, True)
        runs = server.ask("GET", "/runs").json["runs"]
        assert [each["run_id"] for each in runs] == ["a"]


def test_a_port_that_is_taken_is_a_finding(findings: Find, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, found = findings("--port", str(other.getsockname()[1]))
        assert code == 1
        assert told(found, "port", "fail")
    with serve("--store", "memory://", cwd=tmp_path) as server:
        code, found = findings("--port", str(server.port))
        assert code == 0
        assert "answers at" in told(found, "port", "warn")


def test_settings_that_are_wrong_are_a_finding(
    findings: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNCAST_THREADS", "many")

    code, found = findings()

    assert code == 1
    assert "RUNCAST_THREADS" in told(found, "settings", "fail")


# --- manifests ------------------------------------------------------------------------------------

CODE = """
import os

def convert(text):
    os.makedirs("data/outputs", exist_ok=True)
    with open("data/inputs/a.txt") as given, open("data/outputs/b.txt", "w") as made:
        made.write(given.read() + text)

def decorated(call):
    return call

@decorated
def stream(n=2):
    yield {"type": "start"}
    yield {"type": "progress", "data": {"percentage": 100}}
    yield {"type": "done", "data": {}}

short = lambda text: text.upper()
"""

FUNCTIONS: list[dict[str, Any]] = [
    {
        "name": "convert",
        "description": "Convert.",
        "parameters": [{"name": "text", "type": "string"}],
        "files": {
            "input": {"type": "array", "items": {"type": "InputFile"}},
            "output": {"type": "array", "items": {"type": "OutputFile"}},
        },
        "secrets": [{"name": "A_KEY"}, {"name": "B_KEY", "required": False}],
    },
    {"name": "stream", "description": "Stream.", "streaming": True},
    {
        "name": "short",
        "description": "Shout.",
        "parameters": [{"name": "text", "type": "string"}],
    },
]


def write_manifest(folder: Path, code: str = CODE, **changes: dict[str, Any]) -> None:
    """Write a manifest, with changes to functions by name, and its code."""
    functions = [{**each, **changes.get(each["name"], {})} for each in FUNCTIONS]
    manifest = {"entry_point": "main.py", "functions": functions}
    (folder / "prefab-manifest.json").write_text(json.dumps(manifest), "utf-8")
    (folder / "main.py").write_text(code, "utf-8")


def test_files_and_secrets_are_told(
    findings: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path)
    monkeypatch.setenv("B_KEY", "the secret itself")
    code, found = findings(".")

    assert code == 0
    convert = told(found, "function convert", "ok")
    assert "is given any number of files called 'input', at least 1" in convert
    assert "makes any number of files called 'output'" in convert
    assert "the secret B_KEY is present" in convert
    assert "the secret A_KEY is missing" in told(found, "function convert", "warn")
    assert "the secret itself" not in json.dumps(found)


def test_a_secrets_file_that_cannot_be_read_is_a_finding(
    findings: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path)
    monkeypatch.setenv("RUNCAST_SECRETS_FILE", "nowhere.toml")
    code, found = findings(".")

    assert code == 1
    assert "the secrets file cannot be read" in told(found, "function convert", "fail")


def test_a_function_with_files_and_secrets_is_tried(
    findings: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path)
    (tmp_path / "a.txt").write_text("text ", "utf-8")
    run_it = (".", "--run", "convert", "--json", '{"text": "x"}')

    assert "A_KEY" in told(findings(*run_it)[1], "run of convert", "fail")
    monkeypatch.setenv("A_KEY", "sesame")
    assert "expected 1 or more files" in told(findings(*run_it)[1], "run of convert", "fail")
    code, found = findings(*run_it, "--file", "input=a.txt")
    assert (code, told(found, "run of convert", "ok")) == (0, "3 events in order; the last is done")


@pytest.mark.parametrize("name", ["stream", "short"])
def test_what_is_only_known_once_it_is_imported_is_tried_too(
    findings: Find, tmp_path: Path, name: str
) -> None:
    write_manifest(tmp_path)
    given = ["--input", "text=a"] if name == "short" else []
    code, found = findings(".", "--run", name, *given)

    assert (code, "the last is done" in told(found, f"run of {name}", "ok")) == (0, True)


@pytest.mark.parametrize(
    ("changes", "code", "check", "problem"),
    [
        ({"stream": {"streaming": False}}, CODE, "function stream", "streaming is not declared"),
        ({"short": {"parameters": []}}, CODE, "function short", "requires text"),
        (
            {"stream": {"parameters": [{"name": "m", "type": "integer"}]}},
            CODE,
            "function stream",
            "declares m, which",
        ),
        ({}, CODE + "import no_such_module", "import", "No module named 'no_such_module'"),
        ({}, CODE + "raise SystemExit(3)", "import", "SystemExit: 3"),
        ({}, CODE + "os._exit(4)", "import", "its process ended with 4"),
        ({}, CODE + "short = 7", "function short", "there is no function 'short'"),
    ],
)
def test_what_a_manifest_says_is_compared_with_what_functions_are(
    findings: Find,
    tmp_path: Path,
    changes: dict[str, dict[str, Any]],
    code: str,
    check: str,
    problem: str,
) -> None:
    write_manifest(tmp_path, code, **changes)
    exit_code, found = findings(".")

    assert exit_code == 1
    assert problem in told(found, check, "fail")


def test_a_module_may_print_while_it_is_imported(findings: Find, tmp_path: Path) -> None:
    write_manifest(tmp_path, 'print(\'{"error": "no"}\')\n' + CODE)

    assert findings(".")[0] == 0


# --- the rest -------------------------------------------------------------------------------------


def test_inputs_are_for_the_only_function_or_for_the_one_that_is_named(
    findings: Find, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.py").write_text(
        "import runcast\n@runcast.function\ndef one(n: int):\n    return n\n", "utf-8"
    )

    assert "the last is done" in told(findings("one.py", "--input", "n=1")[1], "run of one", "ok")
    assert "one of several" in told(findings("work.py", "--input", "n=1")[1], "run", "fail")
    assert main(["doctor", "--input", "n=1"]) == 2
    assert "expected a TARGET" in capsys.readouterr().err
    sys.modules.pop("one", None)


def test_two_functions_of_one_name_are_a_finding(findings: Find, tmp_path: Path) -> None:
    (tmp_path / "twice.py").write_text(
        "import runcast\n@runcast.function(name='f')\ndef one(): pass\n"
        "@runcast.function(name='f')\ndef two(): pass\n",
        "utf-8",
    )
    code, found = findings("twice.py")
    sys.modules.pop("twice", None)

    assert code == 1
    assert "two functions are called 'f'" in told(found, "target", "fail")


def test_the_store_tells_its_schema(findings: Find, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"
    assert "will be created, with schema 3" in told(findings("--store", store)[1], "store", "ok")
    with serve("--store", store, cwd=tmp_path):
        pass
    assert "; schema 3, " in told(findings("--store", store)[1], "store", "ok")
    with closing(sqlite3.connect(tmp_path / "runs.db")) as database:
        database.execute("PRAGMA user_version = 99")
    code, found = findings("--store", store)
    assert code == 1
    assert "newer runcast (schema 99" in told(found, "store", "fail")


def test_a_data_folder_that_cannot_be_used_is_a_finding(
    findings: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("RUNCAST_DATA_DIR", str(tmp_path / "file" / "data"))
    assert told(findings()[1], "data dir", "fail")
    other = tmp_path / "data"
    other.mkdir()
    (other / "store").write_text("/another/store.db", "utf-8")
    monkeypatch.setenv("RUNCAST_DATA_DIR", str(other))
    code, found = findings()
    assert code == 1
    assert "of the store /another/store.db" in told(found, "data dir", "fail")


def test_few_open_files_are_a_finding(tmp_path: Path) -> None:
    few = "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)); "
    few += "from runcast._cli import main; sys.exit(main(['doctor', '--port', '0']))"
    ended = subprocess.run(
        [sys.executable, "-c", few],
        cwd=tmp_path,
        env=environment(None),
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )

    assert ended.returncode == 0, ended
    assert "at most 256, so at most about 156 watchers at once" in ended.stdout


def test_words_of_others_are_harmless(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("raise ValueError('\x1b[2J\x9b1m')", "utf-8")
    ended = run("doctor", "evil.py", "--port", "0", cwd=tmp_path)

    assert ended.returncode == 1
    assert "\x1b" not in ended.stdout
    assert "\x9b" not in ended.stdout


def test_all_that_an_installation_needs_is_looked_at() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = {re.split(r"[<>=~!; ]", each)[0] for each in project["dependencies"]}
    fast = {re.split(r"[<>=~!; ]", each)[0] for each in project["optional-dependencies"]["fast"]}

    assert set(checkup.NEEDED) == named
    assert set(checkup.FAST) == fast


def test_the_advice_for_a_missing_package_is_to_install_that_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkup, "FAST", ("a-fast-loop", "a-fast-parser"))
    monkeypatch.setattr(checkup, "NEEDED", ("a-needed-one", "starlette"))

    todo = {each.check: each.todo for each in checkup.check_installation() if each.todo}

    assert todo == {
        "packages": "pip install a-needed-one",
        "fast": "pip install a-fast-loop a-fast-parser",
    }


@pytest.mark.heavy
def test_what_a_redis_server_may_lose_is_said(findings: Find, tmp_path: Path) -> None:
    options = ("--appendonly", "no", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with StoreServer(tmp_path, *options) as server:
        code, found = findings("--store", f"{server.url}?namespace=doctor")
        told = [each for each in found if each["check"] == "store"]

    assert code == 0
    assert [each["level"] for each in told] == ["ok", "warn", "warn"]
    assert "events of runs would vanish" in told[1]["told"]
    assert told[2]["todo"] == "set appendonly yes"


def test_a_redis_server_that_is_not_there_is_a_failure_that_hides_the_password(
    findings: Find,
) -> None:
    code, found = findings("--store", "redis://ada:secret@127.0.0.1:1/0")
    told = next(each for each in found if each["check"] == "store")

    assert code == 1
    assert told["level"] == "fail"
    assert "redis://127.0.0.1:1/0 cannot be reached" in told["told"]
    assert told["todo"] == "start its server, or correct its address"
    assert "secret" not in json.dumps(found)
