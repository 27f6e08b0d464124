"""The source keeps to its layers (`tests/layers.py`), and the check finds what it looks for."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.layers import CORE, LAYERS, check_source

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "runcast"

pytestmark = pytest.mark.tree


def test_the_source_keeps_to_its_layers() -> None:
    assert check_source(SOURCE) == []


def test_every_layer_may_import_only_what_can_exist() -> None:
    known = {*LAYERS, "*"}

    unknown = {
        entry
        for layer in LAYERS.values()
        for entry in layer.runcast
        if entry.partition(".")[0] not in known
    }

    assert unknown == set()


PROVIDERS = {
    name: {provider.lower() for provider in providers}
    for name, providers in packages_distributions().items()
    if not name.startswith("_")
}


def test_the_core_is_what_the_project_depends_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    depended_on = {re.split(r"[^\w-]", line)[0].lower() for line in project["dependencies"]}

    provided = {name for name, providers in PROVIDERS.items() if providers & depended_on}
    assert provided - {"multipart"} == CORE  # what python_multipart was called before


@pytest.fixture(scope="module")
def loaded() -> frozenset[str]:
    """The modules of a process that has imported runcast."""
    program = f"import sys; sys.path = {[str(SOURCE.parent), *sys.path]!r}; import runcast; "
    program += "print(*sys.modules)"

    # Without site: what tools load from .pth files is none of runcast's doing.
    printed = subprocess.check_output([sys.executable, "-I", "-S", "-c", program], text=True)
    return frozenset(printed.split())


def test_importing_runcast_loads_no_optional_package(loaded: frozenset[str]) -> None:
    theirs = {"anyio", "click", "h11", "idna", "typing_extensions"}  # what CORE itself imports

    installed = {name.partition(".")[0] for name in loaded} & PROVIDERS.keys()
    assert installed - CORE - theirs - {"runcast"} == set()


def test_importing_runcast_loads_nothing_that_only_a_hub_needs(loaded: frozenset[str]) -> None:
    heavy = ("_app", "_files.files", "_http", "_hub.hub", "_runs", "channels", "client")
    stores = ("stores.memory", "stores.sqlite", "stores.redis")
    slow = {"importlib.metadata", "starlette", "yaml"}

    ours = {name.removeprefix("runcast.") for name in loaded}
    assert {name for name in ours if name.startswith((*heavy, *stores))} | loaded & slow == set()


# --- proof that the check finds what it looks for -------------------------------------------------

CLEAN = {
    "__init__.py": "from runcast.errors import Oops\nfrom runcast._runs.runner import Runner\n",
    "__main__.py": "from runcast._cli import main\nmain()\n",
    "errors.py": "class Oops(Exception):\n    pass\n",
    "_addresses.py": "import ipaddress\n",
    "_plugins.py": "from importlib.metadata import entry_points\n",
    "_clock.py": "import time\nfrom runcast.errors import Oops\nNOW = time.time\n",
    "_logs.py": "import logging\nfrom runcast.events.position import Position\n",
    "_settings.py": "import os\nTABLE = {}\n",
    "events/__init__.py": "",
    "events/position.py": "import re\nimport msgspec\nfrom pathlib import PurePath\n",
    "_wire/sse.py": "import msgspec\nfrom runcast.events.position import Position\n",
    "stores/base.py": "from runcast.events.position import Position\nfrom runcast import _clock\n",
    "stores/sqlite/store.py": "import sqlite3\nfrom .. import base\nfrom . import file\n",
    "stores/sqlite/file.py": "",
    "stores/redis.py": "def connect() -> None:\n    import redis.asyncio\n",
    "_hub/hub.py": "from ..stores.base import Store\nfrom runcast._wire import sse\n",
    "_runs/runner.py": "import threading\nfrom runcast._hub.hub import Hub\n",
    "_functions/function.py": "import yaml\nfrom runcast.events import position\n",
    "_files/files.py": "from runcast._hub.hub import Hub\n",
    "_workers/threads.py": "from runcast._functions import function\n",
    "_runs/protocols.py": "from typing import Protocol\n",
    "views/__init__.py": "import yaml\nfrom runcast.events import position\n",
    "_producing/writer.py": "from runcast._hub import hub\n",
    "sources/crewai.py": "import crewai\nfrom runcast._producing.writer import Writer\n",
    "_remote/run.py": "import runcast.client\nfrom runcast._producing.writer import Writer\n",
    "_scripts/owner.py": "from runcast._producing.writer import Writer\nimport runcast.sources\n",
    "_http/asgi.py": "import starlette.routing\nfrom runcast._runs.protocols import Runner\n",
    "_http/server.py": "import uvicorn, uvloop, httptools\nfrom runcast.stores import base\n",
    "channels/engine.py": "from runcast._hub.hub import Hub\nfrom runcast._settings import TABLE\n",
    "client/client.py": "import httpx2\nfrom runcast._wire.sse import Decoder\n",
    "testing/clock.py": "from runcast._clock import Clock\nfrom runcast._hub.hub import Hub\n",
    "compat/queue.py": "registry = {}\nimport runcast\nfrom runcast._app import App\n",
    "demo/demo.py": "import runcast\nfrom runcast.sources.crewai import watch\n",
    "_app.py": "from runcast._http.asgi import build\nfrom runcast.stores import sqlite\n",
    "_cli/__init__.py": "import rich\nfrom runcast._app import App\ndef main() -> None: ...\n",
}

_GUARDED = (
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from runcast._hub.hub import Hub\n"
)
_LAZY = "def go() -> None:\n    from runcast._app import App\n"

BROKEN = [
    # the layers
    ("errors.py", "from runcast._settings.x import X", "errors may not import _settings"),
    ("errors.py", "import msgspec", "errors may not import the package msgspec"),
    ("_clock.py", "from runcast._settings import TABLE", "_clock may not import _settings"),
    ("_settings.py", "import runcast.events.position", "_settings may not import events"),
    ("events/new.py", "from runcast._wire import sse", "events may not import _wire.sse"),
    ("events/new.py", "from runcast._clock import Clock", "events may not import _clock"),
    ("events/new.py", "import starlette", "events may not import the package starlette"),
    ("_wire/new.py", "from runcast.stores.base import Store", "_wire may not import stores.base"),
    ("_wire/deep/new.py", "import yaml", "_wire may not import the package yaml"),
    ("stores/new.py", "from runcast.events.model import Event", "stores may not import events"),
    ("stores/new.py", "from runcast._hub.hub import Hub", "stores may not import _hub.hub"),
    (
        "_hub/new.py",
        "from runcast.stores.sqlite.store import X",
        "_hub may not import stores.sqlite",
    ),
    ("_hub/new.py", "from runcast.stores import memory", "_hub may not import stores"),
    ("_hub/new.py", "from runcast.stores import Any", "_hub may not import stores"),
    ("_hub/new.py", "import runcast._runs.runner as r", "_hub may not import _runs.runner"),
    ("_runs/new.py", "from runcast._http.asgi import build", "_runs may not import _http.asgi"),
    ("_runs/new.py", "from runcast.stores.redis import X", "_runs may not import stores.redis"),
    ("sources/new.py", "from runcast._hub.hub import Hub", "sources may not import _hub.hub"),
    ("sources/new.py", "from runcast._runs.runner import X", "sources may not import _runs.runner"),
    ("_http/new.py", "from runcast.sources.crewai import X", "_http may not import sources.crewai"),
    ("_http/new.py", "from runcast.channels import engine", "_http may not import channels.engine"),
    ("_http/new.py", "from runcast._runs.runner import X", "_http may not import _runs.runner"),
    ("_http/new.py", "import fastapi", "_http may not import the package fastapi"),
    ("channels/new.py", "from runcast._http import asgi", "channels may not import _http.asgi"),
    ("channels/new.py", "import starlette", "channels may not import the package starlette"),
    ("client/new.py", "from runcast._hub.hub import Hub", "client may not import _hub.hub"),
    ("client/new.py", "from runcast import _settings", "client may not import _settings"),
    ("testing/new.py", "import pytest", "testing may not import the package pytest"),
    ("testing/new.py", "from runcast.stores import X", "testing may not import stores"),
    ("compat/new.py", "from runcast._http.asgi import X", "compat may not import _http.asgi"),
    ("demo/new.py", "from runcast.stores.base import X", "demo may not import stores.base"),
    ("demo/new.py", "from runcast._cli import main", "demo may not import _cli"),
    ("__init__.py", "from runcast._cli import main", "runcast itself may not import _cli"),
    ("__init__.py", "import yaml", "runcast itself may not import the package yaml"),
    ("_hub/new.py", "import runcast", "_hub may not import runcast itself"),
    ("_hub/new.py", "from runcast._app import a, b", "_hub may not import _app"),
    ("utils.py", "", "no layer is called utils"),
    ("helpers/new.py", "import os", "no layer is called helpers"),
    # where an import can hide
    ("_wire/new.py", _GUARDED, "_wire may not import _hub.hub"),
    ("_hub/new.py", _LAZY, "_hub may not import _app"),
    ("_wire/new.py", "from .._hub.hub import Hub", "_wire may not import _hub.hub"),
    ("_wire/new.py", "from .. import _clock", "_wire may not import _clock"),
    ("_wire/__init__.py", "from .._clock import Clock", "_wire may not import _clock"),
    ("_wire/deep/new.py", "from ..._hub import hub", "_wire may not import _hub.hub"),
    ("_hub/new.py", 'import importlib\nimportlib.import_module("runcast._app")', "import _app"),
    ("_hub/new.py", '__import__("runcast._app")', "_hub may not import _app"),
    # optional packages
    ("_http/new.py", "import uvloop", "uvloop is optional, so one module imports it, not 2"),
    ("stores/new.py", "from redis import Redis", "redis is optional, so one module imports it"),
    # purity
    ("events/new.py", "import logging", "events is pure and may not import logging"),
    ("events/new.py", "from pathlib import Path", "events is pure and may not import pathlib.Path"),
    ("_wire/new.py", "import asyncio", "_wire is pure and may not import asyncio"),
    ("_wire/new.py", "def f():\n    from time import sleep", "pure and may not import time.sleep"),
    ("_wire/new.py", "TEXT = open('x').read()", "_wire is pure and may not call open"),
    # the clock
    ("_hub/new.py", "import time\nx = time.time()", "only clock reads the time, not time.time"),
    ("_hub/new.py", "import time as t\nx = t.monotonic", "only clock reads the time"),
    ("_hub/new.py", "from time import perf_counter_ns", "only clock reads the time"),
    ("testing/clock.py", "import time\nx = time.time_ns()", "only clock reads the time"),
    ("_app.py", "from datetime import datetime as d\nx = d.now()", "not datetime.datetime.now"),
    ("_app.py", "from datetime import datetime\nx = datetime.now()", "not datetime.datetime.now"),
    ("_app.py", "import datetime\nx = datetime.datetime.utcnow()", "not datetime.datetime.utcnow"),
    ("_app.py", "import datetime as dt\nx = dt.date.today()", "not datetime.date.today"),
    # state
    ("_hub/new.py", "hubs = {}", "module state: hubs can be changed"),
    ("_hub/new.py", "hubs: list[int] = []", "module state: hubs can be changed"),
    (
        "_hub/new.py",
        "import collections\nx = collections.deque()",
        "module state: x can be changed",
    ),
    ("_hub/new.py", "def f():\n    global x\n    x = 1", "module state: global x"),
    # size
    ("_hub/new.py", "pass\n" * 401, "more than 400 lines"),
    ("_hub/new.py", "pass\n" * 401 + "# Long because it comes too late", "more than 400 lines"),
    ("_hub/new.py", "# Long because it is one table.\n" + "pass\n" * 600, "more than 600 lines"),
    # seams
    ("_hub/new.py", "def f():\n    raise NotImplementedError", "NotImplementedError"),
    ("_hub/new.py", "def f():\n    raise NotImplementedError('no')", "NotImplementedError"),
    # stores
    (
        "_hub/new.py",
        "def f(x):\n    return isinstance(x, SharedStore)",
        "isinstance(…, SharedStore)",
    ),
    (
        "_app/new.py",
        "def f(x):\n    return isinstance(x, str | base.Store)",
        "isinstance(…, Store)",
    ),
    ("stores/new.py", "def f():\n    raise Gone('see GET /runs')", "speaks of HTTP: 'GET /'"),
    ("stores/new.py", "def f():\n    return Gone('over HTTP only')", "speaks of HTTP: 'HTTP'"),
]


def _plant(folder: Path, files: dict[str, str]) -> Path:
    for place, text in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, "utf-8")
    return folder


def test_a_tree_that_keeps_every_rule_passes(tmp_path: Path) -> None:
    assert {place.partition("/")[0].removesuffix(".py") for place in CLEAN} == {
        "__init__",
        *LAYERS.keys() - {""},
    }
    sizes = {
        "_hub/edge.py": "pass\n" * 400,
        "_hub/long.py": "# Long because it is one table.\n" + "pass\n" * 599,
        "_hub/told.py": '"""One table.\n\nLong because it is whole.\n"""\n' + "pass\n" * 400,
    }

    assert check_source(_plant(tmp_path, CLEAN | sizes)) == []


def test_modules_that_import_each_other_in_a_circle_are_reported(tmp_path: Path) -> None:
    circle = {
        "_hub/one.py": "from runcast._hub import two\n",
        "_hub/two.py": "def go() -> None:\n    from runcast._hub.three import x\n",
        "_hub/three.py": _GUARDED.replace("_hub.hub import Hub", "_hub import one"),
    }

    found = check_source(_plant(tmp_path, CLEAN | circle))

    assert found == [
        "modules import each other in a circle: _hub.one -> _hub.two -> _hub.three -> _hub.one"
    ]


def test_a_tree_without_most_layers_passes(tmp_path: Path) -> None:
    assert check_source(_plant(tmp_path, {"errors.py": CLEAN["errors.py"]})) == []


@pytest.mark.parametrize(("place", "text", "expected"), BROKEN)
def test_a_broken_rule_is_reported_once(
    tmp_path: Path, place: str, text: str, expected: str
) -> None:
    found = check_source(_plant(tmp_path, CLEAN | {place: text}))

    assert len(found) == 1, found
    assert expected in found[0]
    assert place in found[0]
