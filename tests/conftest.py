"""What every test gets: asyncio, a watch for blocking calls, and no skip without a word."""

import faulthandler
import importlib.util
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Final, TextIO

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

import runcast

pytest_plugins = ["pytester"]

if importlib.util.find_spec("crewai") is None:
    collect_ignore = ["crewai"]  # `dev.py test --crewai` runs them, where it is installed

# Processes that tests start take half as long to begin if Python may keep its bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Loaded on demand, which blocks: no test is to be the first that does so in a coroutine.
for _name in ("AsyncClient", "OpenHub"):
    getattr(runcast, _name, None)

# In memory, where that has room: on a disk SQLite's commits take most of the time of many tests.
_MEMORY: Final = "/dev/shm"
_ROOM_BYTES: Final = 4 << 30
if (
    os.path.isdir(_MEMORY)
    and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES
    and not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC  # as in many containers
):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _MEMORY)

_IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

# No deadline: a busy machine must not fail a test. In CI the same examples come every time.
settings.register_profile(
    "quick", deadline=None, derandomize=_IN_CI, print_blob=True, max_examples=50
)
settings.register_profile("heavy", settings.get_profile("quick"), max_examples=250)
settings.load_profile(os.environ.get("TEST_PROFILE", "quick"))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Fails a test in which runcast's own code blocks the event loop (file, socket, lock, sleep).

    Tests themselves may block: they read files and wait for child processes.
    """
    with blockbuster_ctx(runcast) as detector:
        # What /proc tells is in memory: reading it waits for nothing.
        for name in ("io.TextIOWrapper.read", "os.readlink"):
            detector.functions[name].can_block_in("runcast/stores/machine.py", {"this_process"})
        # Where a relative path leads is asked once, when a hub is made or opened.
        absolute = detector.functions["os.path.abspath"]
        absolute.can_block_in("runcast/_settings.py", {"with_absolute_paths"})
        absolute.can_block_in("runcast/stores/sqlite/store.py", {"__init__"})
        absolute.can_block_in("runcast/_workers/processes/surroundings.py", {"note"})
        # A coroutine gets its folder at once: a few operations on a local disk, once in a run.
        for name in ("os.mkdir", "os.stat", "os.rename", "io.BufferedWriter.write"):
            detector.functions[name].can_block_in("runcast/_files/run_files.py", {"workspace"})
        # A command has its loop for itself: it writes and saves for one person.
        for function in detector.functions.values():
            function.can_block_in("runcast/_cli/watch.py", {"watch"})
            function.can_block_in("runcast/_cli/invoke.py", {"invoking"})
        # What installed packages offer is read once in a process, in milliseconds, and kept.
        for function in detector.functions.values():
            function.can_block_in("runcast/_plugins.py", {"_offered"})
        yield detector


WATCHDOG_S: Final = 90
"""Seconds after which the process of a test ends, with the stacks of all threads.

pytest-timeout ends a test after 60 s, but it needs the interpreter for that. This watchdog is a
thread in C. It also ends a test in which one thread holds the interpreter and waits for ever."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    mark = item.get_closest_marker("timeout")
    patience = float(mark.args[0]) * 1.5 if mark is not None and mark.args else WATCHDOG_S
    file = item.config.stash[_STDERR]
    faulthandler.dump_traceback_later(patience, exit=True, file=file)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


_STDERR: Final = pytest.StashKey[TextIO]()
"""Standard error as it was before pytest captured it."""


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_STDERR].close()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_STDERR] = os.fdopen(os.dup(2), "w")
    # What a shell starts in the background ignores SIGINT, and so would all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    return f"runcast: {', '.join(runcast.__path__)}"


# --- skips ----------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_in_ci(report)
    return report


def _fail_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure: CI has what the tests need, or is to be given it."""
    if _IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI may not: {_reason_of(report)}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what this machine lacks, for nobody asks a bare count of skips what it hides."""
    skipped = terminalreporter.getreports("skipped")
    if skipped:
        terminalreporter.section("not tested on this machine")
    for reason, count in sorted(Counter(map(_reason_of, skipped)).items()):
        terminalreporter.line(f"{count:4}  {reason}")


def _reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    # pytest keeps (file, line, "Skipped: reason") where a failure has its traceback.
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")
