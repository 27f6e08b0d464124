"""An exported page in a real browser: the run, without a server, and nothing else runs in it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runcast
from tests.browser.chromium import find_browser, open_browser
from tests.cli.inside import run

pytestmark = pytest.mark.heavy

HOSTILE = "</script><script>document.title='owned'</script><!--<img src=x onerror=alert(1)>"


def hostile() -> Iterator[Any]:
    runcast.content(HOSTILE)
    yield {"count": 3}


def test_an_exported_page_shows_the_run_and_asks_nobody(tmp_path: Path) -> None:
    executable = find_browser()
    if executable is None:
        pytest.skip("there is no Chromium")
    with runcast.open_hub(f"sqlite:///{tmp_path}/runs.db", functions=[hostile]) as hub:
        hub.start(hostile, run_id="h").wait()
    assert run("export", "h", "-o", "h.html", "--store", "runs.db", cwd=tmp_path).returncode == 0
    with open_browser(executable, tmp_path / "profile") as browser:
        page = browser.open_page()
        address = f"file://{tmp_path}/h.html"
        page.go(address)
        page.sees(HOSTILE)
        page.sees("Done")
        assert "hostile" in page.get("document.title")
        assert page.get("document.querySelectorAll('img').length") == 0
        assert page.requested[-1:] == [address]
        assert page.complaints == []
