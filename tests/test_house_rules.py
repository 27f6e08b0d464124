"""Rules that hold for every file, each with proof that its check finds what it looks for."""

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import prose

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.tree

# Made by tools, so never committed; of what is hidden at the top, only these folders are.
NOT_OURS = {".git", "node_modules", "__pycache__", "dist"}  # .git: a file in a linked worktree
HIDDEN_BUT_OURS = {".ci", ".github"}

# One letter of each stands in brackets, so that no pattern matches its own line.
FORBIDDEN = {
    "a path of somebody's machine": r"/(?:wor[k]|roo[t]|home/[a-z]+|User[s]/[a-z]+)/",
    "a registry's host": r"\b(?:pyp[i]|python[h]osted|npm[j]s|deb[i]an)\.(?:org|com)\b",
    "an index or a place to look for packages": r"\b(?:index|find)-(?:ur[l]|link[s])\b",
    "a package's address": r"https?://\S+\.(?:wh[l]|tg[z]|tar\.g[z])\b",
    "an issue's number": r"(?i)\bissu[e]s?:? ?#?\d|\(#[\d]+\)|\bGH-[\d]+",
    "how it was made": r"(?i)\bsub-?agen[t]s?\b|\bAI (?:assistan[t]|agen[t] wrot[e])|\bclaud[e]\b",
}


def our_files() -> list[Path]:
    """Return all files that are, or could be, committed."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in ROOT.iterdir():
        if folder.is_dir() and (folder.name in HIDDEN_BUT_OURS or not folder.name.startswith(".")):
            found += [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path for path in found if not NOT_OURS & set(path.relative_to(ROOT).parts))


def python_files(*folders: str) -> list[Path]:
    return [p for p in our_files() if p.suffix == ".py" and p.relative_to(ROOT).parts[0] in folders]


# --- words ----------------------------------------------------------------------------------------


def forbidden_words(text: str) -> list[str]:
    return [
        f"{number}: {what}: {match.group()}"
        for number, line in enumerate(text.split("\n"), start=1)
        for what, pattern in FORBIDDEN.items()
        if (match := re.search(pattern, line))
    ]


def test_no_file_says_where_or_how_it_was_made() -> None:
    found = []
    for path in our_files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # a picture or the like
        found += [f"{path.relative_to(ROOT)}:{word}" for word in forbidden_words(text)]

    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "see /{}/main/README.md".format("work"),
        "HOME=/{}/".format("root"),
        "/home/{}/runcast".format("me"),
        "from https://{}.org/simple".format("pypi"),
        "registry.{}.org".format("npmjs"),
        "--{}-url x".format("index"),
        "https://example.org/runcast.{}".format("whl"),
        "fixes {} #12".format("issue"),
        "Issue{} 12".format(":"),
        f"End slow watchers (#{7})",
        "written by a {}agent".format("sub"),
    ],
)
def test_a_forbidden_word_is_found(line: str) -> None:
    assert len(forbidden_words(f"first\n{line}\n")) == 1


@pytest.mark.parametrize("line", ["/workspace/x", "an issue", "agent", "# 12 issues", "index"])
def test_an_ordinary_word_is_not_forbidden(line: str) -> None:
    assert forbidden_words(line) == []


# --- plain English --------------------------------------------------------------------------------

MOST_HABITS_PER_1000_LINES = {"docs": 6, "source": 4}


@pytest.mark.parametrize("half", prose.HALVES)
def test_habits_that_make_a_text_hard_to_read_are_rare(half: str) -> None:
    counted = prose.count(half)

    assert counted.lines > 3000
    assert counted.per_1000_lines <= MOST_HABITS_PER_1000_LINES[half], "python -m tests.prose"


@pytest.mark.parametrize(
    ("text", "habit"),
    [
        ("Who opens it closes it.", "who without a noun"),
        ("First one. Who\nhas left comes back.", "who without a noun"),
        ("- Who asks", "who without a noun"),
        ("numbered by who\nmakes them", "who without a noun"),
        ("whoever asks", "whoever"),
        ("begun\nanew", "anew"),
        ("all but for one", "but for"),
        ("the same, save that it waits", "save that"),
        ("cannot be had", "be had"),
        ("where there is\n    none", "is none"),
        ("they are told", "told"),
        ("Tell whether it ends", "tell"),
        ("it tells\nof that", "tell"),
        ("a part of it", "of it"),
        ("those\nthat wait", "those who"),
        ("all who watch", "those who"),
    ],
)
def test_a_habit_is_found_at_its_line(text: str, habit: str) -> None:
    found = prose.habits_of(f"first\n\n{text}\n")

    assert [(each.name, each.line) for each in found] == [(habit, 3 + text.count("\n"))]


@pytest.mark.parametrize(
    "text",
    [
        "A user who asks is answered.",
        "The user,\nwho asks, is answered.",
        "Who is it? Who answers?",
        "`None` is None",
        "its size, none of these",
        "a part of its text",
        "tell me",
    ],
)
def test_plain_english_is_no_habit(text: str) -> None:
    assert prose.habits_of(f"first\n\n{text}\n") == []


def test_habits_are_looked_for_in_prose_alone(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("told\n\n```python\ntold\n```\n", "utf-8")
    (tmp_path / "a.py").write_text(
        'if tolder is None:  # told\n    x = f"""told\n{y}\nwho is"""\n_told_at = 1\n', "utf-8"
    )

    found = [
        [(each.line, each.name) for each in prose.habits_of(prose.prose_of(tmp_path / name))]
        for name in ("a.md", "a.py")
    ]

    assert found == [[(1, "told")], [(1, "told"), (2, "told"), (5, "told")]]


# --- lock files -----------------------------------------------------------------------------------

LOCK_LINE = re.compile(
    r" *#.*"  # a comment
    r"|    --hash=sha256:[0-9a-f]{64}( \\)?"
    r"|[a-z0-9-]+==[a-z0-9.]+( ; [A-Za-z_0-9 .<>=!'()]+)? \\"
)


def strange_lock_lines(text: str) -> list[str]:
    """Return what is neither a pinned name, a hash nor a comment without an address."""
    return [line for line in text.splitlines() if not LOCK_LINE.fullmatch(line) or "://" in line]


def test_lock_files_hold_names_versions_and_hashes_only() -> None:
    locks = sorted(ROOT.glob("*.lock"))

    strange = [line for path in locks for line in strange_lock_lines(path.read_text("utf-8"))]

    assert len(locks) == 8
    assert strange == []


@pytest.mark.parametrize(
    "line",
    [
        "starlette==1.0",
        "starlette>=1.0 \\",
        "    # see https://example.org",
        "-i example.org",
        "x @ y",
    ],
)
def test_a_strange_lock_line_is_found(line: str) -> None:
    assert strange_lock_lines(f"uvicorn==0.54.0 \\\n{line}\n") == [line]


# --- tests that wait ------------------------------------------------------------------------------


def sleeps(text: str) -> list[int]:
    """Return the lines that call some `sleep` with anything but 0."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and "sleep" in (getattr(node.func, "attr", ""), getattr(node.func, "id", ""))
        and [ast.unparse(argument) for argument in node.args] != ["0"]
    ]


def test_no_test_sleeps() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in python_files("tests")
        if path.name != "waiting.py"  # which has the pause between two looks
        for line in sleeps(path.read_text("utf-8"))
    ]

    assert found == []


def test_a_sleep_is_found() -> None:
    assert sleeps("sleep(0)\ntime.sleep(1)\nasyncio.sleep(0)\nsleep(n)\nanyio.sleep(0.1)") == [
        2,
        4,
        5,
    ]


# --- ignores --------------------------------------------------------------------------------------

# Split, so that the tools do not take these lines for the comments they look for.
BLANKET = re.compile("type: " + r"ignore(?!\[[a-z, -]+\])|no" + r"qa(?!: ?[A-Z]+[0-9]+)")


def blanket_ignores(text: str) -> list[int]:
    comments = (
        token
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    )
    return [token.start[0] for token in comments if BLANKET.search(token.string)]


def test_every_ignore_names_what_it_ignores() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in our_files()
        if path.suffix == ".py"
        for line in blanket_ignores(path.read_text("utf-8"))
    ]

    assert found == []


def test_a_blanket_ignore_is_found() -> None:
    bare, coded = "x = 1  # type: " + "ignore", "x = 1  # type: " + "ignore[misc]"
    noqa, noqa_coded = "x = 1  # no" + "qa", "x = 1  # no" + "qa: BLE001 - a peer's code"

    assert blanket_ignores("\n".join([bare, coded, noqa, noqa_coded, f"'{bare}'"])) == [1, 3]


def test_every_ignored_lint_rule_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    rules = [*lint["ignore"], *lint["per-file-ignores"]]

    bare = [
        rule
        for rule in rules
        if not re.search(rf'^ *"{re.escape(rule)}".*# \w', text, re.MULTILINE)
    ]

    assert bare == []


# --- __all__ --------------------------------------------------------------------------------------


# What these decorators take is reached through a registry, not by its name.
REGISTERED_BY = {"store_check"}


def order(name: str) -> tuple[int, str]:
    """CONSTANTS, then Classes, then functions, each by the alphabet: the order ruff keeps."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)


def faults_of_all(text: str) -> list[str]:
    """Return what is wrong with a public module's `__all__`."""
    tree = ast.parse(text)
    listed, public = None, set(_public_names(tree))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            if not isinstance(node.value, ast.Tuple | ast.List):
                return ["__all__ is neither a tuple nor a list"]
            listed = [str(ast.literal_eval(name)) for name in node.value.elts]
    if listed is None:
        return [f"no __all__ for {sorted(public)}"] if public else []
    faults = [f"{name} is missing" for name in sorted(public - set(listed))]
    faults += [f"{name} does not exist" for name in listed if name not in _bound_names(tree)]
    return faults if listed == sorted(listed, key=order) else [*faults, "not sorted"]


def _public_names(tree: ast.Module) -> Iterator[str]:
    return (name for name in _defined_names(tree.body) if not name.startswith("_"))


def _defined_names(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                decorators = {ast.unparse(each).partition("(")[0] for each in node.decorator_list}
                if not REGISTERED_BY & decorators:
                    yield name
            case ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar" | "ParamSpec"))):
                pass  # a letter of this module's own signatures
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.If(body=body) | ast.Try(body=body):
                yield from _defined_names(body)


def _bound_names(tree: ast.Module) -> set[str]:
    guarded = [node for each in tree.body if isinstance(each, ast.If) for node in each.body]
    imported = {
        alias.asname or alias.name
        for node in [*tree.body, *guarded]
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    return imported | set(_defined_names(tree.body))


def test_every_public_module_lists_its_public_names() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {fault}"
        for path in python_files("src")
        if not re.match(r"_[^_]|__main__", path.name)
        for fault in faults_of_all(path.read_text("utf-8"))
    ]

    assert found == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("__all__ = ('a', 'b')\na = 1\n", "b does not exist"),
        ("__all__ = ('a',)\na = 1\ndef b(): ...\n", "b is missing"),
        ("__all__ = ['a']\na = 1\nclass B: ...\n", "B is missing"),
        ("__all__ = ('a',)\na = 1\nb: int = 2\n", "b is missing"),
        ("__all__ = ('a', 'B')\na = B = 1\n", "not sorted"),
        ("__all__ = {'a'}\na = 1\n", "__all__ is neither a tuple nor a list"),
        ("try:\n    a = 1\nexcept E:\n    a = 2\n", "no __all__ for ['a']"),
        ("async def a(): ...\n", "no __all__ for ['a']"),
    ],
)
def test_a_fault_of_all_is_found(text: str, fault: str) -> None:
    assert faults_of_all(text) == [fault]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "_a = 1\n",
        "@store_check\ndef a(): ...\n@store_check()\nasync def b(): ...\n",
        "T = TypeVar('T')\n",
        "from x import y\n__all__ = ('MAX', 'Case', 'y')\nMAX = 1\nclass Case: ...\n",
    ],
)
def test_a_good_all_has_no_fault(text: str) -> None:
    assert faults_of_all(text) == []
