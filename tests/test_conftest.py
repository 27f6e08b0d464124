"""What `conftest.py` promises to every test, tried on small projects of their own."""

from pathlib import Path
from textwrap import dedent

import pytest

CONFTEST = Path(__file__).with_name("conftest.py").read_text("utf-8")

SKIPPING = """
    import pytest

    def test_that_needs_a_browser():
        pytest.skip("Chromium is missing")

    @pytest.mark.skip(reason="nginx is missing")
    def test_that_needs_a_proxy(): ...

    @pytest.mark.xfail
    def test_that_fails_as_expected():
        assert False
"""
MISSING = "import pytest\npytest.importorskip('no_such_thing')\n"

BLOCKING = """
    import time

    def block():
        time.sleep(0.001)
"""
BLOCKED = """
    import time

    import pytest
    import runcast

    pytestmark = pytest.mark.anyio

    async def test_that_calls_what_blocks():
        runcast.block()

    async def test_that_blocks_itself():
        time.sleep(0.001)

    async def test_that_is_allowed_to_block(blockbuster):
        blockbuster.deactivate()
        runcast.block()

    def test_that_has_no_loop():
        runcast.block()
"""


@pytest.fixture(autouse=True)
def few_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load only the plugins that a test names: all those that are installed take seconds."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


WORKERS = [(), ("-p", "xdist", "-n", "2")]
"""Options: the tests in the one process, or in two workers."""


@pytest.fixture
def skipping(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(SKIPPING, test_missing=MISSING)
    return pytester


@pytest.mark.parametrize("options", WORKERS, ids=["alone", "workers"])
def test_a_skip_is_listed_with_its_reason(
    skipping: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.delenv("CI", raising=False)

    result = skipping.runpytest_subprocess(*options)

    result.assert_outcomes(skipped=3, xfailed=1)
    result.stdout.fnmatch_lines_random(
        [
            "*not tested on this machine*",
            "   1  Chromium is missing",
            "   1  could not import 'no_such_thing'*",
            "   1  nginx is missing",
        ]
    )


@pytest.mark.parametrize("options", WORKERS, ids=["alone", "workers"])
def test_a_skip_in_ci_is_a_failure(
    skipping: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CI", "true")

    result = skipping.runpytest_subprocess("--continue-on-collection-errors", *options)

    result.assert_outcomes(failed=1, errors=2, xfailed=1)
    result.stdout.fnmatch_lines(["*skipped, which CI may not: Chromium is missing*"])


def test_without_skips_nothing_is_said(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile("def test_that_passes(): ...")

    result = pytester.runpytest_subprocess()

    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*not tested*")


def test_runcast_may_not_block_the_loop_but_tests_may(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST)
    (pytester.mkpydir("runcast") / "__init__.py").write_text(dedent(BLOCKING), "utf-8")
    pytester.makepyfile(BLOCKED)

    result = pytester.runpytest_subprocess("-p", "anyio")

    result.assert_outcomes(failed=1, passed=3)
    result.stdout.fnmatch_lines(
        ["E *BlockingError: Blocking call to time.sleep", "FAILED*calls_what_blocks*"]
    )


STUCK = """
    import ctypes

    def test_that_waits_with_the_interpreter_in_its_hands():
        ctypes.PyDLL(None).pause()  # a PyDLL keeps the interpreter's lock
"""


def test_a_test_that_holds_the_interpreter_is_ended_with_its_stacks(
    pytester: pytest.Pytester,
) -> None:
    impatient = CONFTEST.replace("WATCHDOG_S: Final = 90", "WATCHDOG_S: Final = 1")
    assert impatient != CONFTEST
    pytester.makeconftest(impatient)
    pytester.makepyfile(STUCK)

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    assert result.ret != 0
    result.stderr.fnmatch_lines(["Timeout*", "*in test_that_waits_with_the_interpreter*"])


def test_processes_that_tests_start_keep_their_bytecode(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        """
        import subprocess, sys

        def test_that_starts_a_process():
            code = "import sys; sys.exit(sys.dont_write_bytecode)"
            assert subprocess.call([sys.executable, "-c", code]) == 0
        """
    )

    pytester.runpytest_subprocess().assert_outcomes(passed=1)
