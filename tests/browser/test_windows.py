"""Many windows of one browser: they share connections, and each still sees all of its run."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.browser.chromium import Browser, Page
from tests.browser.runs import REFUSED, RESTART_S, Serve, serving_on, show_tab, start
from tests.cli.served import Served
from tests.waiting import WAIT_S

pytestmark = pytest.mark.heavy

STATUS: Final = ".run-status"
WINDOWS: Final = 8
"""More than the six connections that a browser opens to a server over HTTP/1.1."""


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serve]:
    with serving_on(tmp_path) as serve:
        yield serve


@pytest.fixture
def server(serving: Serve) -> Served:
    return serving()


def open_windows(browser: Browser, page: Page, count: int = WINDOWS) -> list[Page]:
    """Return a page and further windows of its user. All of them are seen."""
    windows = [page, *(browser.open_page(beside=page, is_window=True) for _ in range(count - 1))]
    for each in windows:
        each.until("document.visibilityState === 'visible'")
    return windows


def ends_streams(page: Page) -> None:
    """Wait until a window has read what is stored: it holds no stream of its own then."""
    deadline = time.monotonic() + WAIT_S
    while page.streams:
        assert time.monotonic() < deadline, page.streams
        page.get("0")  # which also reads what the browser reports


def test_an_answer_in_one_of_eight_windows_is_seen_in_all(
    server: Served, page: Page, browser: Browser
) -> None:
    windows = open_windows(browser, page)
    address = start(server, "ask_first", "a", path="/old")
    for each in windows:
        each.go(address)
        each.sees("May this be removed?", ".question")
        each.sees("Live", "header")
        ends_streams(each)

    windows[-1].click(".question-foot button", "Approve")

    for each in windows:
        each.sees("Approved", ".asked")
        each.sees("Done", STATUS)


def test_windows_with_different_runs_and_lists_see_their_own(
    server: Served, page: Page, browser: Browser
) -> None:
    *runs, everything, one_function = windows = open_windows(browser, page)
    everything.go(server.url + "/")
    one_function.go(f"{server.url}/#/?function=stay")
    for number, each in enumerate(runs):
        each.go(start(server, "stay", f"r{number}", text=f"this is {number}"))
        each.sees(f"this is {number}", "main")
        each.sees("Live", "header")
    for each in (everything, one_function):
        each.until(f"document.querySelectorAll('.listed').length === {len(runs)}")

    for number in range(len(runs)):
        server.ask("POST", f"/runs/r{number}/cancel")
        runs[number].sees("Cancelled", STATUS)
        assert all("Cancelled" not in each.text(STATUS) for each in runs[number + 1 :])
        assert f"this is {number}" in runs[number].text()
        assert not any(
            f"this is {number}" in each.text() for each in windows if each != runs[number]
        )
    server.start("echo", "e", text="x")

    everything.until(f"document.querySelectorAll('.listed').length === {len(runs) + 1}")
    badges = "[...document.querySelectorAll('.listed .badge')].map(it => it.innerText.trim())"
    one_function.until(f"{badges}.join() === '{','.join(['Cancelled'] * len(runs))}'")


def test_windows_resume_after_the_server_was_killed(
    serving: Serve, page: Page, browser: Browser
) -> None:
    server = serving()
    windows = open_windows(browser, page)
    for number, each in enumerate(windows):
        each.expected = REFUSED
        each.go(start(server, "stay", f"r{number}", text="before"))
        each.sees("Live", "header")
    server.end(signal.SIGKILL)
    for each in windows:
        each.sees("Reconnecting", "header")

    server = serving(port=server.port)
    for each in windows:
        each.sees("Failed", STATUS, within_s=RESTART_S)
        assert "before" in each.text("main")
    body = {"inputs": {"text": "after"}, "run_id": "r0", "replace": True}
    server.ask("POST", "/invoke/stay", body, {"Prefer": "respond-async"})

    windows[0].sees("after", "main", within_s=RESTART_S)
    windows[0].sees("Live", "header", within_s=RESTART_S)


def test_a_run_that_is_deleted_ends_in_its_window_and_no_other(
    server: Served, page: Page, browser: Browser
) -> None:
    windows = open_windows(browser, page, 3)
    for number, each in enumerate(windows):
        each.expected = "404"
        each.go(start(server, "stay", f"r{number}", text="here"))
        each.sees("Live", "header")

    server.ask("DELETE", "/runs/r1")

    # It says the one if it was sent the run's end, and the other if it asked when the run was gone.
    shown = "document.querySelector('main').innerText"
    windows[1].until(f"/Cancelled: deleted|run was deleted/.test({shown})", within_s=RESTART_S)
    for number in (0, 2):
        server.ask("POST", f"/runs/r{number}/cancel")
        windows[number].sees("Cancelled", STATUS)


@pytest.mark.timeout(150)  # it is hidden for a minute
def test_a_tab_that_was_hidden_and_stopped_for_a_minute_resumes_at_once(
    server: Served, page: Page, browser: Browser
) -> None:
    page.expected = "ERR_ABORTED"
    page.go(start(server, "write_report", "a", title="Tides"))
    page.sees("It was a dark", "main")
    page.get(
        "(() => { window.stopped = 0; let last = performance.now(); setInterval(() => {"
        " const now = performance.now(); stopped = Math.max(stopped, now - last); last = now;"
        " }, 100) })()"
    )
    other = browser.open_page(beside=page)  # a tab in the same window: it covers the first one
    page.until("document.visibilityState === 'hidden'")
    page.sees("Paused", "header", within_s=RESTART_S)
    page.call("Page.setWebLifecycleState", state="frozen")

    other.go(server.url + "/")
    server.start("open_gate", "gate", gate="report")
    other.until(
        "[...document.querySelectorAll('.listed .badge')].every(it => it.innerText === 'Done')"
    )
    for _ in range(3):
        other.get("new Promise(end => setTimeout(end, 18_000))")
    page.call("Page.setWebLifecycleState", state="active")
    page.call("Page.bringToFront")

    page.sees("Done", STATUS)
    page.sees("It was a dark and stormy night.", "main")
    assert page.get("window.stopped") > 50_000
    show_tab(page, "Events")
    count = server.ask("GET", "/runs/a").json["events"]
    page.sees(f"{count} of {count} events", ".run-filters")


def test_windows_of_links_share_connections_and_end_when_they_are_revoked(
    server: Served, page: Page, browser: Browser
) -> None:
    windows = open_windows(browser, page)
    server.start("stay", "a", text="a secret of two")
    server.start("stay", "b", text="another one")
    links = [server.ask("POST", "/runs/a/links", {}).json for _ in range(3)]
    addresses = [server.url + each["url"] for each in links] * 2
    addresses += [f"{server.url}/#/runs/{run}" for run in "ab"]
    for each, address in zip(windows, addresses, strict=True):
        each.expected = "401"
        each.go(address)
        each.sees("another one" if address.endswith("b") else "a secret of two", "main")
        ends_streams(each)

    revoked = links[0]
    server.ask("DELETE", f"/runs/a/links/{revoked['link_id']}")

    for each in (windows[0], windows[3]):
        each.sees("connection is lost", ".run-notices", within_s=RESTART_S)
    server.ask("POST", "/runs/a/cancel")
    for number in (1, 2, 4, 5, 6):
        windows[number].sees("Cancelled", STATUS, within_s=RESTART_S)
    for number in (0, 3, 7):
        assert "Running" in windows[number].text(STATUS)


def test_no_window_goes_on_after_a_sign_out_in_one_of_them(
    serving: Serve, page: Page, browser: Browser
) -> None:
    """An application signs a person out by removing the cookie. The next window notices it."""
    token = "open-sesame-0123456789"
    server = serving("--token", token)
    headers = {"Authorization": f"Bearer {token}", "Prefer": "respond-async"}
    body = {"inputs": {"text": "a secret"}, "run_id": "a"}
    server.ask("POST", "/invoke/stay", body, headers)
    one, two, a_list = windows = open_windows(browser, page, 3)
    for each in windows:
        each.expected = "status of 401"
    one.go(f"{server.url}/#/runs/a")
    one.sees("Sign in", "main")
    one.fill("#token", token)
    one.click("main button", "Sign in")
    two.go(f"{server.url}/#/runs/a")
    a_list.go(f"{server.url}/")
    for each in (one, two):
        each.sees("a secret", "main")
        each.sees("Live", "header")
        ends_streams(each)
    a_list.until("document.querySelectorAll('.listed').length === 1")

    one.call("Network.clearBrowserCookies")
    last = browser.open_page(beside=page, is_window=True)
    last.expected = "status of 401"
    last.go(f"{server.url}/")

    for each in (last, *windows):
        each.sees("Sign in", "main")
        assert "a secret" not in each.text()
