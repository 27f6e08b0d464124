"""A browser for all tests of a module, and a page for each."""

import re
from collections.abc import Iterator

import pytest

from tests.browser.chromium import Browser, Page, find_browser, open_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = find_browser()
    if executable is None:
        pytest.skip("there is no Chromium (Debian: chromium)")
    with open_browser(executable, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page; whatever the console complains of fails the test, unless it was expected."""
    page = browser.open_page()
    page.look()
    yield page
    assert [c for c in page.complaints if not re.search(page.expected or "$^", c)] == []
    page.close()
