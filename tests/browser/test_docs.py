"""The page that shows the description of the API, in a real browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Browser, Page, find_browser, open_browser
from tests.cli.served import serve

pytestmark = pytest.mark.heavy

TARGET = str(Path(__file__).parent.parent / "http" / "described.py")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = find_browser()
    if executable is None:
        pytest.skip("there is no Chromium (Debian: chromium)")
    with open_browser(executable, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.open_page()
    page.look()
    yield page
    assert [each for each in page.complaints if not re.search(page.expected or "$^", each)] == []
    page.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("dark", 420)])
def test_everything_described_is_shown(page: Page, tmp_path: Path, scheme: str, width: int) -> None:
    with serve(TARGET, "--store", "memory://", cwd=tmp_path) as server:
        api = server.ask("GET", "/openapi.json").json
        page.look(scheme=scheme, width=width)
        page.go(server.url + "/docs")
        page.sees("Write a book.", "main")

        shown = page.text("main")
        for path, methods in api["paths"].items():
            assert path in shown
            for operation in methods.values():
                assert operation["summary"] in shown
        for name in api["components"]["schemas"]:
            assert name in shown
        assert page.get("document.documentElement.scrollWidth <= innerWidth")
        assert "undefined" not in shown
        assert "[object" not in shown
        assert {url.split("/")[2] for url in page.requested if "//" in url} == {
            server.url.removeprefix("http://")
        }


def test_a_function_is_shown_with_its_inputs_and_a_command_that_works(
    page: Page, tmp_path: Path
) -> None:
    with serve(TARGET, "--store", "memory://", cwd=tmp_path) as server:
        page.go(server.url + "/docs")
        card = "[id='post-_invoke_count']"
        page.sees("Count to n.", card)
        page.sees("n * integer, ≥ 0, ≤ 5", card)
        page.sees('"en" | "fr"', card)
        command = page.text(f"{card} pre")

        found = re.fullmatch(rf"curl -N {server.url}(/\S+) -H '.*' -d '(.*)'", command)
        assert found is not None, command
        answer = server.ask("POST", found[1], json.loads(found[2]))
        assert answer.status == 200

        page.click("nav a", "count.inputs")
        page.until("location.hash === '#schema-count.inputs'")


def test_who_has_to_sign_in_can_do_so_here(page: Page, tmp_path: Path) -> None:
    page.expected = "401"
    env = {"RUNCAST_TOKEN": "the-token"}
    with serve(TARGET, "--store", "memory://", cwd=tmp_path, env=env) as server:
        page.go(server.url + "/docs")
        page.sees("access token", "main")
        assert "write_book" not in page.text()
        page.fill("#token", "another")
        page.click("main button")
        page.sees("This is not the access token.", "#refusal")
        page.fill("#token", "the-token")
        page.click("main button")
        page.sees("write_book", "main")
