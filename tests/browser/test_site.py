"""The built documentation, as a reader's browser shows it."""

import functools
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser.chromium import Page
from tests.documents import ROOT

pytestmark = [pytest.mark.heavy, pytest.mark.tree, pytest.mark.timeout(180)]

SITE = ROOT / ".site"


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    if not (SITE / "index.html").is_file():
        pytest.skip("the documentation is not built (python3 dev.py docs)")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("dark", 420)])
def test_every_page_is_shown_and_asks_no_other_host(
    page: Page, site: str, scheme: str, width: int
) -> None:
    page.look(scheme=scheme, width=width)
    wide = []
    for document in sorted((ROOT / "docs").rglob("*.md")):
        name = Path(document.relative_to(ROOT / "docs"))
        name = name.with_stem("index") if name.stem == "README" else name
        page.go(f"{site}/{name.with_suffix('.html').as_posix()}")
        page.until(f"document.body.dataset.mdColorScheme === {json.dumps(SCHEMES[scheme])}")
        assert page.get("document.querySelector('h1').innerText")
        if not page.get("document.documentElement.scrollWidth <= innerWidth"):
            wide.append(name)

    assert wide == []
    assert {u.split("/")[2] for u in page.requested if u.startswith("http")} == {site[7:]}


SCHEMES = {"light": "default", "dark": "slate"}


def test_what_is_searched_for_is_found(page: Page, site: str) -> None:
    page.go(f"{site}/index.html")
    page.click(".md-search__input")
    page.type("keep_runs_s")
    page.sees("Retention", ".md-search-result")
