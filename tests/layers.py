"""The layers of src/runcast as a table, and the check that holds the source to it.

`LAYERS` is the law. Every import counts: inside functions, under `TYPE_CHECKING`, relative, and by
`import_module("…")`. Moving code mends a broken rule nearly always; changing the law is a decision
about the whole house.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeGuard

# What `pip install runcast` brings.
CORE = {"httpx2", "msgspec", "python_multipart", "shtab", "starlette", "uvicorn", "yaml"}
EVERYTHING = ("*",)

STDLIB = sys.stdlib_module_names | {"annotationlib"}  # which Python 3.14 has, and newer ones


@dataclass(frozen=True)
class Layer:
    """What one folder (or one module) directly under runcast may import, in addition to itself."""

    runcast: tuple[str, ...] = ()
    """Layers, or single modules of them ("stores.base"); "" is the package runcast itself."""
    packages: tuple[str, ...] = ()
    """Third-party packages."""
    is_pure: bool = False
    """True: no I/O, clock, thread or logging."""


_HUB = (
    "errors",
    "_logs",
    "_plugins",
    "_clock",
    "_settings",
    "events",
    "_wire",
    "stores.base",
    "stores.focus",
)
_INSIDE = (*_HUB, "_hub", "_producing", "_functions", "_files", "_workers")
_INSIDE_SEEN = (
    *("_producing.answers", "_producing.batches", "_producing.labels"),
    "_files.model",
)
_EDGE = (*_HUB, "_hub", *_INSIDE_SEEN, "_runs.counts", "_runs.protocols")
_FACE = (
    *("", "_producing", "_functions", "_runs", "_hub", "events", "_wire", "views"),
    *("channels", "sources", "_app"),
)
_BELOW_APP = (
    *_INSIDE,
    "stores",
    "_runs",
    "sources",
    "channels",
    "_http",
    "client",
    "_remote",
    "testing",
)

LAYERS = {
    "errors": Layer(),
    "_plugins": Layer(("errors",)),
    "_addresses": Layer(),
    "_clock": Layer(("errors", "_logs")),
    "_logs": Layer(("events",)),
    "_settings": Layer(("errors",)),
    "events": Layer(("errors",), ("msgspec",), is_pure=True),
    "_wire": Layer(("errors", "events"), ("msgspec",), is_pure=True),
    "stores": Layer(
        (
            *("errors", "_logs", "_plugins", "_clock", "_settings"),
            *("events.position", "events.lifecycle"),
        ),
        ("msgspec", "redis"),
    ),
    "_hub": Layer(_HUB, ("msgspec",)),
    # Inside a run, from what code writes to what runs it.
    "_producing": Layer((*_HUB, "_hub"), ("msgspec",)),
    "_functions": Layer(("errors", "_settings", "events"), ("msgspec", "pydantic", "yaml")),
    "_files": Layer((*_HUB, "_addresses", "_hub", "_functions.file_groups"), ("msgspec", "s3fs")),
    "_workers": Layer((*_HUB, "_hub", "_producing", "_functions"), ("msgspec",)),
    # typing_extensions for type checkers only: they bring it themselves.
    "_runs": Layer(_INSIDE, ("msgspec", "typing_extensions")),
    # Runs that are written into another process's server.
    "_remote": Layer((*_HUB, "_hub", "_producing", "_files", "_runs", "client"), ("msgspec",)),
    "_scripts": Layer(("", *_HUB, "_hub", "_producing", "_workers", "sources"), ("msgspec",)),
    # Edges: what the world outside meets.
    "views": Layer(("errors", "events"), ("msgspec", "yaml")),
    "sources": Layer(("_producing", "events", "_wire", "errors", "_plugins"), EVERYTHING),
    "channels": Layer(
        (*_EDGE, "_addresses"),
        ("msgspec", "httpx2", "cryptography", "discord", "http_ece", "py_vapid", "apprise"),
    ),
    "_http": Layer(
        _EDGE, ("msgspec", "python_multipart", "starlette", "uvicorn", "httptools", "uvloop")
    ),
    "client": Layer(
        ("errors", "_logs", "_clock", "events", "_wire", "_hub.bridge"),
        ("anywidget", "httpx2", "msgspec", "traitlets"),
    ),
    # `replay` is a whole server, which it loads on demand.
    "testing": Layer(
        ("errors", "_clock", "events", "_wire", "stores.base", "_hub", "_app.replaying"),
        ("cryptography",),
    ),
    "compat": Layer((*_FACE, "errors", "_logs", "_clock")),
    "demo": Layer((*_FACE, "_clock", "errors", "testing"), ("langchain_openai",)),
    "_app": Layer(EVERYTHING, EVERYTHING),
    "_cli": Layer(EVERYTHING, EVERYTHING),
    "__main__": Layer(("_cli",)),
    "": Layer((*_BELOW_APP, "_app")),  # runcast/__init__.py: `open_hub` is a name of the package
}

# Optional packages with two uses that share nothing: rich's bars are read, and it draws Markdown.
IN_TWO_MODULES = {
    "rich": {"sources/rich.py", "_cli/markdown.py"},
    # The fake browser must not decrypt by what encrypts.
    "cryptography": {"channels/keys.py", "testing/chats/web_push.py"},
}

# Modules that are pure in a layer that is not.
PURE_MODULES = {
    "client.reconnect",
    *(f"channels.{name}" for name in ("actions", "budget", "capability", "document", "engine")),
    *(f"channels.{name}" for name in ("callbacks", "html", "inbound", "receiver")),
    *(f"channels.{name}" for name in ("layout", "markdown", "notices", "outcome", "pages")),
    *(f"channels.{name}" for name in ("flight", "lost_sends", "openings", "pauses", "reactions")),
    *(f"channels.{name}" for name in ("replacement", "searches", "typing_sign", "verdict")),
}

# What a pure module may use of the standard library: nothing that reaches outside the process.
# fmt: off
PURE_STDLIB = {
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "copy", "dataclasses",
    "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "html", "itertools", "json",
    "math", "numbers", "operator", "re", "string", "struct", "textwrap", "types", "typing",
    "unicodedata", "zlib",
}
# fmt: on
PURE_NAMES = {
    *("pathlib.PurePath", "pathlib.PurePosixPath", "uuid.UUID"),
    *(f"datetime.{name}" for name in ("UTC", "date", "datetime", "time", "timedelta")),
}
PURE_BANNED_CALLS = {"open", "print", "input", "breakpoint"}

CLOCK_READS = {
    *(
        f"time.{name}{unit}"
        for name in ("time", "monotonic", "perf_counter")
        for unit in ("", "_ns")
    ),
    *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    "datetime.date.today",
}
MUTABLE_MAKERS = {"list", "dict", "set", "defaultdict", "deque", "OrderedDict", "Counter"}

LONG_LINES, MOST_LINES = 400, 600
LONG_MARK = "Long because "


# --- the check ------------------------------------------------------------------------------------


class Import(NamedTuple):
    """One imported name: `import a.b as c` and `from a import b as c` both give `a.b` and `c`."""

    line: int
    dotted: str
    bound: str
    """The name that the importing module gets."""
    meaning: str
    """What `bound` stands for: `dotted`, save that `import a.b` binds `a`."""


class Module:
    """One parsed file: its name under runcast ("hub.tail"; "" for the package), its imports."""

    def __init__(self, file: Path, source: Path, names: set[str]) -> None:
        self.place = file.relative_to(source).as_posix()
        self.name = _name_of(file, source)
        self.layer = self.name.partition(".")[0]
        self.text = file.read_text("utf-8")
        self.tree = ast.parse(self.text)
        self._package = self.name if file.stem == "__init__" else self.name.rpartition(".")[0]
        self._names = names
        self.nodes = list(ast.walk(self.tree))
        """All of the tree. Each rule looks at all of it, and to walk it takes longer than that."""
        self.imports = [found for node in self.nodes for found in self._imports_of(node)]

    def _imports_of(self, node: ast.AST) -> Iterator[Import]:
        match node:
            case ast.Import():
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    meaning = alias.name if alias.asname else top
                    yield Import(node.lineno, alias.name, alias.asname or top, meaning)
            case ast.ImportFrom():
                for alias in node.names:
                    dotted = f"{self._origin(node)}.{alias.name}"
                    yield Import(node.lineno, dotted, alias.asname or alias.name, dotted)
            case ast.Call(func=func, args=[ast.Constant(value=str(dotted)), *_]):
                if _last_name(func) in ("import_module", "__import__"):
                    yield Import(node.lineno, dotted, "", dotted)

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = ["runcast", *self._package.split(".")] if self._package else ["runcast"]
        parts = parts[: len(parts) - node.level + 1]
        return ".".join([*parts, node.module] if node.module else parts)

    def own_imports(self) -> Iterator[tuple[int, str]]:
        """Yield line and module name under runcast of each import from this project."""
        for line, dotted, *_ in self.imports:
            top, _, rest = dotted.partition(".")
            if top == "runcast":
                while rest and rest not in self._names and rest not in LAYERS:
                    rest = rest.rpartition(".")[0]  # cut off what is no module but a name in one
                yield line, rest

    def foreign_imports(self) -> Iterator[tuple[int, str]]:
        """Yield line and top-level package of each third-party import."""
        for line, dotted, *_ in self.imports:
            top = dotted.partition(".")[0]
            if top != "runcast" and top not in STDLIB:
                yield line, top

    def stdlib_imports(self) -> Iterator[tuple[int, str]]:
        """Yield line and full dotted name of each import from the standard library."""
        for line, dotted, *_ in self.imports:
            if dotted.partition(".")[0] in STDLIB:
                yield line, dotted


def _name_of(file: Path, source: Path) -> str:
    parts = file.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _last_name(node: ast.expr) -> str:
    return getattr(node, "attr", "") or getattr(node, "id", "")


def _is_within(target: str, allowed: tuple[str, ...]) -> bool:
    if "*" in allowed or target in allowed:
        return True
    return any(entry and target.startswith(f"{entry}.") for entry in allowed)


def check_source(source: Path) -> list[str]:
    """Return one line for each rule that the tree under `source` breaks."""
    files = sorted(source.rglob("*.py"))
    names = {_name_of(file, source) for file in files}
    modules = [Module(file, source, names) for file in files]
    found = [*check_optional_packages(modules), *check_cycles(modules)]
    for module in modules:
        if module.layer not in LAYERS:
            found.append(f"{module.place}: no layer is called {module.layer}")
            continue
        for rule in RULES:
            found += [f"{module.place}:{line}: {text}" for line, text in rule(module)]
    return list(dict.fromkeys(found))  # one import of several names is one fault


def check_layer(module: Module) -> Iterator[tuple[int, str]]:
    layer, name = LAYERS[module.layer], module.layer or "runcast itself"
    for line, target in module.own_imports():
        is_own = target == module.layer or target.startswith(f"{module.layer or '-'}.")
        if not is_own and not _is_within(target, layer.runcast):
            yield line, f"{name} may not import {target or 'runcast itself'}"
    for line, package in module.foreign_imports():
        if not _is_within(package, layer.packages):
            yield line, f"{name} may not import the package {package}"


def check_optional_packages(modules: list[Module]) -> list[str]:
    users: defaultdict[str, set[str]] = defaultdict(set)
    for module in modules:
        for _, package in module.foreign_imports():
            users[package].add(module.place)
    return [
        f"{package} is optional, so one module imports it, not {len(places)}: {sorted(places)}"
        for package, places in users.items()
        if package not in CORE
        and len(places - IN_TWO_MODULES.get(package, set()))
        + bool(places & IN_TWO_MODULES.get(package, set()))
        > 1
    ]


def check_cycles(modules: list[Module]) -> list[str]:
    """Modules that import each other in a circle can only be understood together: merge or cut."""
    ahead = {module.name: {target for _, target in module.own_imports()} for module in modules}
    for name, targets in ahead.items():
        targets -= {name, name.rpartition(".")[0]}
    found: list[str] = []
    finished: set[str] = set()
    for start in ahead:
        _walk(start, ahead, [], finished, found)
    return found


def _walk(
    name: str, ahead: dict[str, set[str]], path: list[str], finished: set[str], found: list[str]
) -> None:
    if name in path:
        circle = [*path[path.index(name) :], name]
        found.append(f"modules import each other in a circle: {' -> '.join(circle)}")
    elif name in ahead and name not in finished:
        for target in sorted(ahead[name]):
            _walk(target, ahead, [*path, name], finished, found)
        finished.add(name)


def check_purity(module: Module) -> Iterator[tuple[int, str]]:
    if not LAYERS[module.layer].is_pure and module.name not in PURE_MODULES:
        return
    for line, dotted in module.stdlib_imports():
        if dotted.partition(".")[0] not in PURE_STDLIB and dotted not in PURE_NAMES:
            yield line, f"{module.layer} is pure and may not import {dotted}"
    for node in module.nodes:
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in PURE_BANNED_CALLS:
            yield node.lineno, f"{module.layer} is pure and may not call {_last_name(node.func)}"


def check_clock(module: Module) -> Iterator[tuple[int, str]]:
    if module.name == "_clock":
        return
    meanings = {found.bound: found.meaning for found in module.imports}
    for line, dotted, *_ in module.imports:
        if dotted in CLOCK_READS:
            yield line, f"only clock reads the time, not {dotted}"
    for node in module.nodes:
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            if (dotted := f"{meanings.get(first, first)}.{rest}") in CLOCK_READS:
                yield node.lineno, f"only clock reads the time, not {dotted}"


def check_state(module: Module) -> Iterator[tuple[int, str]]:
    """Two runs meet in anything a module holds and changes; constants are Final or IN CAPITALS."""
    if module.layer == "compat":
        return  # the globals that the packages it stands in for have documented
    for node in module.nodes:
        if isinstance(node, ast.Global):
            yield node.lineno, f"module state: global {', '.join(node.names)}"
    for statement in module.tree.body:
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [] if "Final" in ast.unparse(statement.annotation) else [statement.target]
        else:
            continue
        for name in filter(None, map(_last_name, targets)):
            is_constant = name == name.upper() or name == "__all__"
            if not is_constant and _is_mutable(statement.value):
                yield statement.lineno, f"module state: {name} can be changed"


def _is_mutable(value: ast.expr | None) -> bool:
    displays = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    makes_one = isinstance(value, ast.Call) and _last_name(value.func) in MUTABLE_MAKERS
    return makes_one or isinstance(value, displays)


def check_size(module: Module) -> Iterator[tuple[int, str]]:
    count = len(module.text.splitlines())
    if count > MOST_LINES:
        yield count, f"more than {MOST_LINES} lines: split it"
    elif count > LONG_LINES and LONG_MARK not in _top_of(module):
        yield count, f"more than {LONG_LINES} lines: the top must say '{LONG_MARK}…'"


def _top_of(module: Module) -> str:
    """Return what stands before the first statement: comments and the docstring."""
    body = module.tree.body[1 if ast.get_docstring(module.tree) else 0 :]
    lines = module.text.splitlines()
    return "\n".join(lines[: body[0].lineno - 1] if body else lines)


# What a store must not speak of: it is used without HTTP, too.
_ROUTES = re.compile(
    r"\b(?:GET|HEAD|POST|PUT|PATCH|DELETE) /|(?<!/)/(?:runs|events|functions)\b(?!\.)"
    r"|\b(?:HTTP|Last-Event-ID|Idempotency-Key)\b"
)


_SERVERS = ("testing.chats", "testing.models")  # servers, not stores


def check_stores(module: Module) -> Iterator[tuple[int, str]]:
    """Only stores ask which store they have, and no text of theirs speaks of HTTP."""
    is_store = module.layer in ("stores", "testing") and not module.name.startswith(_SERVERS)
    prose = {id(node.value) for node in module.nodes if isinstance(node, ast.Expr)}
    for node in module.nodes:
        if is_store and isinstance(node, ast.Constant) and id(node) not in prose:
            if found := _ROUTES.search(str(node.value)):
                yield node.lineno, f"a store speaks of HTTP: {found[0]!r}"
        elif not is_store and isinstance(node, ast.Call) and _last_name(node.func) == "isinstance":
            for each in filter(_is_expression, ast.walk(node.args[-1])):
                kind = _last_name(each)
                if kind.endswith("Store") and ast.unparse(each) != "ast.Store":
                    yield node.lineno, f"only stores ask isinstance(…, {kind})"


def _is_expression(node: ast.AST) -> TypeGuard[ast.expr]:
    return isinstance(node, ast.expr)


def check_seams(module: Module) -> Iterator[tuple[int, str]]:
    for node in module.nodes:
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if _last_name(raised) == "NotImplementedError":
                yield (
                    node.lineno,
                    "NotImplementedError: an ability that lacks is a Protocol not met",
                )


RULES = (
    *(check_layer, check_purity, check_clock, check_state, check_size),
    *(check_stores, check_seams),
)
