"""`<runcast-run>` in a page of another origin, in a real browser."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser.chromium import Page
from tests.cli.served import Served, serve
from tests.documents import ROOT as PROJECT
from tests.documents import blocks_of

pytestmark = pytest.mark.heavy

FUNCTIONS = str(Path(__file__).parent / "functions.py")
DOCUMENT = PROJECT / "docs" / "typescript.md"
ROOT = "document.querySelector('runcast-run').shadowRoot"


@contextmanager
def foreign_page() -> Iterator[tuple[str, dict[str, str]]]:
    """Serve a page of an origin of its own, with a strict policy; its body is set later."""
    given = {"body": "", "server": ""}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f'<!doctype html><html lang="en"><title>x</title>{given["body"]}'.encode()
            self.send_response(200 if self.path == "/" else 204)
            server = given["server"]
            policy = f"default-src 'none'; script-src {server}; connect-src {server}"
            self.send_header("content-security-policy", policy)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            if self.path == "/":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    foreign = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=foreign.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{foreign.server_address[1]}", given
    finally:
        foreign.shutdown()
        foreign.server_close()
        thread.join()


@contextmanager
def embedding(run_id: str, tmp_path: Path) -> Iterator[tuple[str, Served]]:
    """Serve functions, and a page of another origin that embeds one of their runs."""
    with foreign_page() as (origin, given):
        store = f"sqlite:///{tmp_path / 'runs.db'}"
        with serve(FUNCTIONS, "--store", store, "--allow-origin", origin, cwd=tmp_path) as server:
            given["server"] = server.url
            (lines,) = [each.text for each in blocks_of(DOCUMENT) if each.language == "html"]
            lines = lines.replace("my-run", run_id).replace("http://127.0.0.1:8000", server.url)
            assert lines.count(server.url) == 2
            given["body"] = lines
            yield origin + "/", server


def shows(page: Page, selector: str, text: str) -> None:
    try:
        page.until(f"{ROOT}?.querySelector({selector!r})?.textContent.includes({json.dumps(text)})")
    except AssertionError as error:
        shown = page.get(f"{ROOT}?.querySelector('section')?.innerText")
        raise AssertionError(f"expected {text!r} in {selector}, got {shown}") from error


def click(page: Page, label: str) -> None:
    find = f"[...{ROOT}.querySelectorAll('button')].find(it => it.textContent === {label!r})"
    page.until(f"{find} !== undefined")
    page.get(f"{find}.click()")


def test_a_run_is_shown_in_a_page_of_another_origin(page: Page, tmp_path: Path) -> None:
    with embedding("r", tmp_path) as (url, server):
        server.start("write_report", "r", title="Tides")
        page.go(url)
        shows(page, ".status", "running")
        shows(page, "[part=text]", "It was a dark ")
        shows(page, "[part=tool] summary", "search")
        server.start("open_gate", "g", gate="report")
        shows(page, ".status", "done")
        shows(page, "[part=text]", "It was a dark and stormy night.")
        shows(page, "[part=result]", '"title": "Tides"')
        assert page.get("getComputedStyle(document.querySelector('runcast-run')).display") == (
            "block"
        )


def test_an_answer_with_an_edit_arrives(page: Page, tmp_path: Path) -> None:
    with embedding("r", tmp_path) as (url, server):
        server.start("ask_first", "r", path="a.txt")
        page.go(url)
        shows(page, "legend", "May this be removed?")
        edit = json.dumps('{"path": "b.txt"}')
        page.get(
            f"(it => {{ it.value = {edit}; it.dispatchEvent(new Event('input')) }})"
            f"({ROOT}.querySelector('textarea.code'))"
        )
        click(page, "Approve the changed arguments")
        shows(page, ".status", "done")
        shows(page, "[part=answered]", "b.txt")


HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def test_what_a_run_says_is_never_markup(page: Page, tmp_path: Path) -> None:
    with embedding("r", tmp_path) as (url, server):
        server.start("echo", "r", text=HOSTILE)
        page.go(url)
        shows(page, ".status", "done")
        shows(page, "[part=text]", HOSTILE)

        assert page.get(f"{ROOT}.querySelectorAll('img, script').length") == 0
        assert page.get("document.title") == "x"


def test_the_page_goes_on_when_the_server_was_started_again(page: Page, tmp_path: Path) -> None:
    page.expected = "ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION_RESET"
    with embedding("r", tmp_path) as (url, server):
        server.start("stay", "r")
        page.go(url)
        shows(page, "[part=text]", "still here")
        server.process.kill()
        server.process.wait()
        shows(page, ".connection", "reconnecting")
        origin, store = url.removesuffix("/"), f"sqlite:///{tmp_path / 'runs.db'}"
        options = ("--store", store, "--allow-origin", origin)
        with serve(FUNCTIONS, *options, cwd=tmp_path, port=server.port):
            page.until(f"{ROOT}.querySelector('.status').dataset.status === 'failed'", within_s=20)
            shows(page, "[part=error]", "the process that ran it ended")


AXE = PROJECT / "web" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_run_in_a_page_has_no_barrier(page: Page, tmp_path: Path, scheme: str) -> None:
    """Checked by axe-core: names of controls, contrast, roles, order."""
    if not AXE.is_file():
        pytest.skip("axe-core is not there (python3 dev.py web)")
    page.look(scheme=scheme)
    with embedding("asks", tmp_path) as (url, server):
        server.start("ask_first", "asks", path="/old")
        page.go(url)
        page.get("document.querySelector('runcast-run').setAttribute('messages', '')")
        shows(page, "[part~=question]", "May this be removed?")
        shows(page, "[part=message] button", "Send")

        page.get(AXE.read_text("utf-8") + "; 0")
        problems = page.get(
            "axe.run('runcast-run', {resultTypes: ['violations']}).then(found =>"
            " found.violations.map(({id, nodes}) => id + ' ' + nodes.map(({html}) => html)))"
        )

        assert problems == []
