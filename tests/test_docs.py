"""The documents: their code runs, their tables are complete, what they point at is there.

| block | what is done with it |
|---|---|
| `python` | run in a process of its own; a `text` block right behind it is what it prints |
| `console` | each `$ command` is run beside a real server; what follows it is what it prints |
| `bash` | each command is known, with the options it is given |
| `toml` | read as settings |
| `yaml` | read as a view |
| `ini` | a systemd unit; its command is one, with its options |
| `nginx`, `caddy` | a real one is run with it: see `http/test_proxies.py` |
| `text` | a picture |

The server is the one that the last `bash` block above starts by `runcast serve FILE`, of a file
that stands in the document under its name (`` `hello.py`: ``); or else that of the demo functions.
If there was one before it has been killed. In what is printed, … stands for anything on one line.
"""

import ast
import configparser
import contextlib
import importlib.util
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import runcast
from docs.generate import PAGES
from runcast import compat, errors, testing
from runcast._cli import make_parser
from runcast._files import fetching
from runcast._http.api import bodies, requests, responses, waiting
from runcast._http.api.idempotency import MAX_KEY_CHARS
from runcast._http.server import server
from runcast._http.streaming import waits
from runcast._hub.links import MAX_LINKS
from runcast._hub.thread_place import MAX_ENDED, MAX_OPEN
from runcast._producing import batches, messages
from runcast._producing.labels import MAX_GIVEN_LABELS
from runcast._runs import remote
from runcast._settings import Settings
from runcast._wire.dialects import DIALECTS
from runcast.channels import Capability
from runcast.client.reconnect import ReconnectOptions
from runcast.compat import stream_manager, stream_writer_util, streaming_handler, writer
from runcast.events import data, outcome
from runcast.events.snapshot import MAX_INBOX, MAX_INBOX_BYTES
from runcast.events.view import ViewSpec
from runcast.events.vocabulary import KNOWN
from runcast.stores.base import MAX_LABEL_CHARS, MAX_LIST
from runcast.views import parse_view
from tests.cli.served import Served, serve
from tests.documents import DOCUMENTS, ROOT, Block, blocks_of
from tests.environment import environment
from tests.programs import Programs
from tests.waiting import START_S

PROTOCOL = ROOT / "docs" / "protocol.md"
PUBLIC = (
    *(runcast, compat, stream_manager, stream_writer_util, streaming_handler, writer),
    testing,
    data,
)
BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]


def blocks_in(language: str) -> list[object]:
    """Return the blocks of a language, except those that `dev.py test --crewai` tries."""
    return [
        pytest.param(each, id=each.place)
        for each in BLOCKS
        if each.language == language and "from crewai import" not in each.text
    ]


def is_printed(expected: str, printed: str) -> bool:
    """Tell whether a program printed what a document says it does."""
    pattern = "[^\n]*".join(map(re.escape, expected.rstrip("\n").split("…")))
    return re.fullmatch(pattern, printed.rstrip("\n")) is not None


# --- code -----------------------------------------------------------------------------------------


def test_every_block_is_of_a_kind_that_is_tried() -> None:
    known = {"python", "console", "bash", "toml", "yaml", "ini", "nginx", "caddy", "text"}
    known |= {"ts", "tsx"}  # by web/client/test/package.test.ts
    known |= {"html"}  # by tests/browser/test_element.py

    assert [block.place for block in BLOCKS if block.language not in known] == []
    assert {block.language for block in BLOCKS} == known


_SLOW = ("langchain.agents", "langchain_openai", "openai")
"""What several blocks import, and takes seconds."""


@pytest.fixture(scope="module")
def programs() -> Iterator[Callable[[str], Programs]]:
    """Returns what runs programs that import the same slow packages as a text."""
    with contextlib.ExitStack() as stack:

        @cache
        def importing(*names: str) -> Programs:
            return stack.enter_context(Programs(*names))

        def of(text: str) -> Programs:
            imported = re.findall(r"^(?:from|import) (\S+)", text, re.MULTILINE)
            return importing(*(name for name in _SLOW if name in imported))

        yield of


@pytest.mark.parametrize("block", blocks_in("python"))
def test_python_prints_what_the_document_says(
    block: Block, programs: Callable[[str], Programs], tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(block.text, "utf-8")
    after = next((b for b in BLOCKS if b.document == block.document and b.line > block.line), None)

    ended = programs(block.text).run(program)

    assert (ended.returncode, ended.stderr) == (0, "")
    if after is not None and after.language == "text" and not after.gap:
        assert ended.stdout == after.text


@pytest.mark.parametrize(
    "document",
    sorted({b.document for b in BLOCKS if b.language == "console"}),
    ids=lambda p: p.name,
)
def test_commands_print_what_the_document_says(document: Path, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is missing")
    with contextlib.ExitStack() as stack:
        served = None
        for block in (block for block in BLOCKS if block.document == document):
            if named := re.search(r"`([\w.-]+)`[:：]$", block.gap):
                (tmp_path / named[1]).write_text(block.text, "utf-8")
            if arguments := started_by(block, tmp_path):
                stack.close()  # which kills the one before
                served = stack.enter_context(serve(*arguments, cwd=tmp_path))
            for command, expected in commands_of(block):
                served = served or stack.enter_context(serve("--store", "memory://", cwd=ROOT))
                printed = run(command, served, tmp_path)
                assert is_printed(expected, printed), f"{block.place}: {command}\n{printed}"


def started_by(block: Block, folder: Path) -> list[str]:
    """Return the options of the server that a block starts, of a file in the folder."""
    found = re.search(r"^runcast serve (\S+.*)$", block.text, re.MULTILINE)
    arguments = shlex.split(found[1]) if found and block.language == "bash" else [""]
    return arguments if (folder / arguments[0]).is_file() else []


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    for part in block.text.split("$ ")[1:] if block.language == "console" else ():
        command, _, expected = part.partition("\n")
        yield command, expected


def run(command: str, served: Served, folder: Path) -> str:
    """Return what a command prints, as a user of the served address would run it."""
    where = {"RUNCAST_URL": served.url, "USER": "ann"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-c", command.replace("http://127.0.0.1:8000", served.url)],
        cwd=folder,
        env=environment({**where, "PATH": path}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=START_S,
        check=False,
    )
    return ended.stdout


@pytest.mark.parametrize("block", blocks_in("bash"))
def test_commands_are_there_with_the_options_they_are_given(block: Block) -> None:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    dev = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dev)

    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        while "=" in words[0]:  # a setting for this command alone
            name, _, value = words.pop(0).partition("=")
            assert Settings.load(environ={name: value}) != Settings(), line
        match words:
            case ["runcast", *arguments]:
                make_parser().parse_args(arguments)
            case ["python3", "dev.py", command]:
                assert command in dev.COMMANDS, line
            case _:
                assert words == ["pip", "install", "."]


@pytest.mark.parametrize("block", blocks_in("toml"))
def test_settings_in_documents_are_settings(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "runcast.toml"
    file.write_text(block.text, "utf-8")

    assert Settings.load(file=file, environ={}) != Settings()
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", blocks_in("yaml"))
def test_views_in_documents_are_views(block: Block) -> None:
    assert parse_view(block.text) != ViewSpec()


@pytest.mark.parametrize("block", blocks_in("ini"))
def test_units_start_the_server_and_give_it_time_to_end(block: Block) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block.text)
    service = unit["Service"]
    command, *arguments = shlex.split(service["ExecStart"])
    settings = Settings()
    ending_s = settings.shutdown_grace_s + settings.cancel_grace_s + settings.terminate_grace_s

    assert Path(command).name == "runcast"
    assert make_parser().parse_args(arguments).store.startswith("sqlite:////var/lib/")
    assert float(service["TimeoutStopSec"]) > 2 * ending_s
    assert int(service["LimitNOFILE"]) > 2 * settings.max_watchers


def test_what_is_printed_is_compared_but_for_the_dots() -> None:
    assert is_printed("id: …-1\n\nend\n", "id: abc-1\n\nend\n\n")
    assert not is_printed("id: …-1\n", "id: abc-2\n")
    assert not is_printed("a … b\n", "a\nb\n")
    assert not is_printed("a\n", "a\nb\n")


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_generated_pages_are_in_step(path: Path) -> None:
    assert path.read_text("utf-8") == PAGES[path](), "run .venv/bin/python docs/generate.py"


def test_every_error_is_documented_as_it_is() -> None:
    rows = re.findall(r"^ *\| `(\w+)` \| (\d+) \| (yes|no) \|", PROTOCOL.read_text("utf-8"), re.M)
    documented = {code: (int(status), retryable == "yes") for code, status, retryable in rows}
    raised = {
        error.code: (error.status, error.retryable)
        for error in vars(errors).values()
        if inspect.isclass(error) and issubclass(error, errors.RuncastError)
    }

    assert {code: documented.get(code) for code in raised} == raised
    assert documented.keys() - raised.keys() == {"method_not_allowed", "function_error"}


def test_every_type_of_event_and_its_fields_are_documented() -> None:
    text = PROTOCOL.read_text("utf-8")
    documented = {
        name: {field.rstrip("?") for field in fields.split(",")}
        for name, fields in re.findall(r"`(\w+)\{([\w,?]+)\}`", rule_text(text, "R-1.8"))
    }

    assert documented.keys() == KNOWN.keys()
    assert [n for n in KNOWN if not set(KNOWN[n]) - {"labels", "message"} <= documented[n]] == []


def test_the_reference_of_events_has_every_type_and_its_fields() -> None:
    text = (ROOT / "docs" / "events.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", text, re.M)
    documented = {name: tuple(re.findall(r"`(\w+)`", fields)) for name, fields in rows}

    assert documented == KNOWN


def test_every_dialect_is_documented() -> None:
    rows = re.findall(r"^  \| `(\w+)` \|", rule_text(PROTOCOL.read_text("utf-8"), "R-11.2"), re.M)

    assert rows == list(DIALECTS)


def test_the_readmes_count_the_dialects_besides_the_default() -> None:
    assert len(DIALECTS) - 1 == 5
    for name, said in (
        ("README.md", "five dialects for clients"),
        ("README.zh.md", "另有五种方言"),
    ):
        assert said in " ".join((ROOT / name).read_text("utf-8").split())


def test_the_limits_that_are_no_settings_are_documented_as_they_are() -> None:
    rule = rule_text(PROTOCOL.read_text("utf-8"), "R-18.4")
    numbers = re.findall(r"^  \| .+? \| (\d+) \|$", rule, re.MULTILINE)

    assert [int(each) for each in numbers] == [
        requests.MAX_RUNS_PER_STREAM,
        MAX_OPEN,
        MAX_OPEN + MAX_ENDED,
        bodies.MAX_BODY_DEPTH,
        requests._MAX_NAMES,
        MAX_GIVEN_LABELS,
        MAX_LABEL_CHARS,
        MAX_KEY_CHARS,
        MAX_LIST,
        requests.MAX_REASON_CHARS,
        MAX_INBOX,
        MAX_INBOX_BYTES,
        messages._MAX_ID_CHARS,
        messages._MAX_SENDER_CHARS,
        batches.MAX_BATCH_EVENTS,
        int(remote.MOST_LEASE_S),
        int(waiting.MAX_WAIT_S),
        MAX_LINKS,
        outcome.MAX_MESSAGE_CHARS,
        outcome.MAX_CODE_CHARS,
        responses.MAX_DETAIL_CHARS,
        errors._MAX_PROBLEMS,
        errors._MAX_PROBLEM_CHARS,
        fetching._MAX_REDIRECTIONS,
        server._KEEP_ALIVE_S,
        1024 // waits._LEAST_BYTES_PER_S,
    ]


def test_settings_that_are_named_exist() -> None:
    names = set(Settings.__dataclass_fields__)
    # Of the demo's functions, of `ask`, of the decorator, of remote writers, and of links.
    fields = {"pause_s", "mb_per_s", "lines_per_s", "timeout_s", "max_tokens", "max_cost", "ttl_s"}
    fields |= {"max_attempts", "expires_s"}
    fields.update(Capability.__dataclass_fields__)
    fields.update(ReconnectOptions.__struct_fields__)
    found = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"`((?:max_|pending_)\w+|\w+_s)`", document.read_text("utf-8"))
    }

    assert found - names - fields == set()
    assert "heartbeat_s" in found


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module: ModuleType) -> None:
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    names = {f"{module.__name__}.{name}" for name in module.__all__} - {"runcast.__version__"}
    documented = re.findall(rf"^::: ({re.escape(module.__name__)}\.\w+)$", text, re.MULTILINE)

    assert sorted(documented) == sorted(names)


def test_every_option_of_the_command_line_is_documented() -> None:
    text = (ROOT / "docs" / "commands.md").read_text("utf-8")
    sections = dict(re.findall(r"^## runcast (\w+)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    (commands,) = (a.choices for a in make_parser()._actions if isinstance(a.choices, dict))

    missing = [
        f"{name} {action.option_strings or action.dest}"
        for name, parser in commands.items()
        for action in parser._actions
        if not any(f"`{option}" in sections[name] for option in action.option_strings)
        and (action.option_strings or (action.metavar or action.dest.upper()) not in sections[name])
        and "--help" not in action.option_strings
    ]
    assert sections.keys() == commands.keys()
    assert missing == []


@pytest.mark.tree
def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    shown = re.findall(r"([\w/-]+\.md)$", nav, re.MULTILINE)
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}

    assert {page for page in shown if not page.startswith("source/")} == pages
    assert len(shown) == len(set(shown))


# --- rules of the protocol ------------------------------------------------------------------------


def rule_text(text: str, rule: str) -> str:
    """Return a rule, up to the next rule or section."""
    found = re.search(rf"\*\*{re.escape(rule)}\*\*.*?(?=\n- \*\*R-|\n## |\Z)", text, re.DOTALL)
    assert found is not None, rule
    return found[0]


def rules() -> list[tuple[int, int]]:
    found = re.findall(r"^- \*\*R-(\d+)\.(\d+)\*\*", PROTOCOL.read_text("utf-8"), re.MULTILINE)
    return [(int(section), int(number)) for section, number in found]


def test_rules_are_numbered_in_order_under_their_sections() -> None:
    sections = re.findall(r"^## (\d+)\.", PROTOCOL.read_text("utf-8"), re.MULTILINE)
    numbers = rules()

    assert [int(section) for section in sections] == sorted({section for section, _ in numbers})
    assert numbers == sorted(set(numbers))


def test_rules_that_are_cited_exist() -> None:
    known = {f"R-{section}.{number}" for section, number in rules()}
    known |= {f"R-{section}" for section, _ in rules()}
    folders = (ROOT / "tests", ROOT / "src", ROOT / "docs")
    files = [*ROOT.glob("*.md"), *(p for f in folders for p in f.rglob("*") if _is_text(p))]

    cited = {
        (rule, path.name)
        for path in files
        for rule in re.findall(r"\bR-\d+(?:\.\d+)?\b", path.read_text("utf-8"))
    }

    assert {each for each in cited if each[0] not in known} == set()
    assert ("R-4.2", "test_protocol.py") in cited


def _is_text(path: Path) -> bool:
    return path.suffix in (".md", ".py", ".html", ".ts")


# --- translations ---------------------------------------------------------------------------------

README, README_ZH = ROOT / "README.md", ROOT / "README.zh.md"


def skeleton(text: str) -> list[object]:
    """Return what a translation keeps of a document, in order: all but its words.

    These are the blocks, unchanged, and of the text under a heading or behind a block the level of
    the heading, the number of entries in lists and of rows in tables, and the `code`, links and
    pictures, which another language may put in another order. A link from one README to the other
    is left out.
    """
    found: list[object] = []
    for number, part in enumerate(re.split(r"^(```.*?^```)$", text, flags=re.M | re.S)):
        if number % 2:
            found.append(part)
            continue
        for prose in re.split(r"^(?=#+ )", part, flags=re.M):
            level = len(prose) - len(prose.lstrip("#"))
            entries = len(re.findall(r"^ *(?:- |\|)", prose, re.M))
            code = set(re.findall(r"`([^`]+)`", prose))
            links = set(re.findall(r"\]\(([^)]+)\)", prose)) - {README.name, README_ZH.name}
            found.append((level, entries, code, links))
    return found


@pytest.mark.tree
def test_the_readmes_are_in_step() -> None:
    english, chinese = (ROOT / "README.md").read_text("utf-8"), README_ZH.read_text("utf-8")

    assert len(skeleton(english)) > 5
    assert skeleton(chinese) == skeleton(english)
    assert f"]({README_ZH.name})" in english
    assert f"]({README.name})" in chinese


@pytest.mark.parametrize(
    "other",
    [
        "## 题\n\n`a` [链](b)\n\n- 一\n\n```bash\n# c\n```\n",
        "# 题\n\n`x` [链](b)\n\n- 一\n\n```bash\n# c\n```\n",
        "# 题\n\n`a` [链](x)\n\n- 一\n\n```bash\n# c\n```\n",
        "# 题\n\n`a` [链](b)\n\n| 一 |\n- 一\n\n```bash\n# c\n```\n",
        "# 题\n\n`a` [链](b)\n\n- 一\n- 二\n\n```bash\n# c\n```\n",
        "# 题\n\n`a` [链](b)\n\n- 一\n\n```bash\n# x\n```\n",
        "# 题\n\n`a` [链](b)\n\n- 一\n\n```text\n# c\n```\n",
        "# 题\n\n`a` [链](b)\n\n- 一\n",
        "# 题\n\n`a` [链](b)\n\n- 一\n\n```bash\n# c\n```\n\n# 又\n",
    ],
)
def test_readmes_out_of_step_are_found(other: str) -> None:
    text = "# Title\n\n[link](b) `a`\n\n- one\n\n```bash\n# c\n```\n"
    same = "# 题\n\n`a` [链](b)\n\n- 一\n\n```bash\n# c\n```\n"

    assert skeleton(same) == skeleton(text)
    assert skeleton(other) != skeleton(text)


# --- what they point at ---------------------------------------------------------------------------


@pytest.mark.tree
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8"))

    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.tree
def test_the_code_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    named = re.findall(r"`([\w.]+)` \(`([\w/]+\.py)`\)", text)

    missing = [
        f"{name} in {file}"
        for file, names in ((file, _defined_in(file)) for _, file in named)
        for name, other in named
        if other == file and name not in names
    ]

    assert len(named) > 12
    assert missing == []


def _defined_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / "src" / "runcast" / file).read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = {node.name for node in tree.body if isinstance(node, kinds)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, kinds)}
    return names


@pytest.mark.tree
def test_every_route_is_in_the_protocol() -> None:
    source = (ROOT / "src" / "runcast" / "_http" / "api" / "routes.py").read_text("utf-8")
    routes = [path.replace(":path}", "}") for path in re.findall(r'Route\(\s*"([^"]+)"', source)]
    text = PROTOCOL.read_text("utf-8")

    assert len(routes) > 10
    assert [route for route in routes if f"{route}`" not in text and f"{route}?" not in text] == []


@pytest.mark.tree
def test_every_layer_is_in_the_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    layers = {path.stem for path in (ROOT / "src" / "runcast").iterdir()} - {"py", "__pycache__"}

    missing = {name for name in layers if not re.search(rf"\b{name}\b", text)}
    assert missing - {"__init__", "__main__", "testing"} == set()
