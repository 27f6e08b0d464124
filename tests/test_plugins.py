"""Stores, dialects and sources of other packages, which are installed for real: on `sys.path`."""

import subprocess
import sys
from pathlib import Path

import pytest

from runcast import NotFound, sources
from runcast._hub.lens import find_dialect
from runcast.errors import InvalidValue
from tests.environment import environment
from tests.waiting import START_S

PACKAGE = """
from runcast._wire.dialects.base import Encoder, Dialect, Stateless
from runcast.stores.memory import MemoryStore


def open_store(url, settings, clock):
    print("opened", url)
    return MemoryStore(clock)


class Loud(Stateless):
    name = "loud"

    def encode(self, log, event):
        return b"data: %b!\\n\\n" % event.type.upper().encode()

    def gap(self, log, gap):
        return b""


def not_a_store(url, settings, clock):
    return object()
"""

ENTRIES = """
[runcast.stores]
shelf = plugin:open_store
wrong = plugin:not_a_store
broken = plugin:nothing

[runcast.dialects]
loud = plugin:Loud
quiet = plugin:Loud

[runcast.sources]
plugin = plugin
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    (tmp_path / "plugin.py").write_text(PACKAGE)
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    return tmp_path


def run(folder: Path, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**environment(), "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_store_is_chosen_by_the_scheme_of_its_url(installed: Path) -> None:
    program = "import runcast\nwith runcast.open_hub('shelf://a/b') as hub: print(hub.runs())"

    assert run(installed, program) == "opened shelf://a/b\n[]\n"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nowhere://x", "redis://host:6379/0, broken://…, shelf://…, wrong://…"),
        ("wrong://x", "expected wrong:// to give a Store"),
        ("broken://x", "cannot be imported (plugin:nothing)"),
    ],
)
def test_a_store_that_cannot_be_had_is_refused_with_what_there_is(
    installed: Path, url: str, said: str
) -> None:
    assert said in run(installed, f"import runcast\nruncast.OpenHub({url!r})")


def test_a_dialect_is_chosen_by_its_name(installed: Path) -> None:
    program = (
        "from runcast._hub.lens import find_dialect as find\n"
        "from runcast.events.model import Event\n"
        "from runcast._wire.dialects import LogRef\n"
        "print(find('loud').start(LogRef('r', 'e')).group([Event(type='a', seq=1)]))\n"
        "try: find('quiet')\n"
        "except ValueError as error: print(error)\n"
    )

    shown = run(installed, program)

    assert "data: A!" in shown
    assert "expected the package to offer a Dialect 'quiet'" in shown


def test_a_source_is_a_module_of_a_package(installed: Path) -> None:
    program = "from runcast import sources\nprint(sources.load('plugin').Loud.name)"

    assert run(installed, program) == "loud\n"


def test_what_no_package_offers_is_said() -> None:
    with pytest.raises(NotFound, match="no source 'nothing'"):
        sources.load("nothing")
    with pytest.raises(InvalidValue, match="expected a dialect, one of runcast"):
        find_dialect("nothing")
