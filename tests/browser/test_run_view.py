"""The view of a run in a real browser, before a real server."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

import runcast
from runcast.events.fold import fold
from runcast.events.model import Event
from tests.browser.chromium import Browser, Page
from tests.browser.functions import claim_files
from tests.browser.runs import REFUSED, RESTART_S, Serve, serving_on, show_tab, start
from tests.cli.served import Served
from tests.http.serving import serving_in_thread

pytestmark = pytest.mark.heavy

ACTIVITY: Final = ".activity"
STATUS: Final = ".run-status"


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serve]:
    with serving_on(tmp_path) as serve:
        yield serve


@pytest.fixture
def server(serving: Serve) -> Served:
    return serving()


def events_of(server: Served, run_id: str) -> list[Event]:
    """Return all events of a run that has ended."""
    body = server.ask(
        "GET", f"/runs/{run_id}/events", None, {"Accept": "application/x-ndjson"}
    ).body
    return [msgspec.json.decode(line, type=Event) for line in body.splitlines() if line]


# --- watching -------------------------------------------------------------------------------------


def test_a_run_is_watched_to_its_end(server: Served, page: Page) -> None:
    page.go(start(server, "write_report", "a", title="Tides"))
    page.sees("Running", STATUS)
    page.sees("first half", ".run-bars")
    page.sees("50%", ".run-bars")
    page.sees("looking around", ".waterfall")
    page.sees("two of three · 66%", ".waterfall")
    page.sees("Where do I begin?", ACTIVITY)
    page.sees("It was a dark", ACTIVITY)
    page.sees("the index was slow", ACTIVITY)
    page.sees('{"query":"Tides"}', ACTIVITY)
    page.sees("Live", ".header")
    assert "stormy" not in page.text()

    server.start("open_gate", "gate", gate="report")

    page.sees("Done", STATUS)
    page.sees("It was a dark and stormy night.", ACTIVITY)
    page.sees("Up to date", ".header")
    page.until("!document.querySelector('.run-actions .danger')")
    show_tab(page, "Log")
    page.sees("half way", ".log")
    show_tab(page, "Inputs")
    page.sees("Tides", ".inputs")
    assert page.get("document.title").startswith("Done · write_report")


def test_who_reloads_in_the_middle_sees_what_was_and_what_comes(server: Served, page: Page) -> None:
    address = start(server, "write_report", "a", title="Tides")
    page.go(address)
    page.sees("It was a dark", ACTIVITY)

    page.go(address)
    page.sees("It was a dark", ACTIVITY)
    page.sees("looking around", ".waterfall")
    show_tab(page, "Events")
    page.sees("started", ".raw")
    server.start("open_gate", "gate", gate="report")

    page.sees("done", ".raw")
    page.sees("Done", STATUS)
    count = server.ask("GET", "/runs/a").json["events"]
    page.sees(f"{count} of {count} events", ".run-filters")
    page.click(".event-head", "tool_result")
    page.sees("hits: 3", ".event-open")


def test_a_run_is_cancelled_once_that_is_confirmed(server: Served, page: Page) -> None:
    page.go(start(server, "stay", "a"))
    page.sees("still here", ACTIVITY)
    page.click(".run-actions button", "Cancel")
    page.click("dialog button", "Let it run")
    page.until("!document.querySelector('dialog')")
    assert server.ask("GET", "/runs/a").json["status"] == "running"

    page.click(".run-actions button", "Cancel")
    page.click("dialog button", "Cancel")

    page.sees("Cancelled: cancelled in the console", ".run-notices")
    assert server.ask("GET", "/runs/a").json["status"] == "cancelled"


def test_a_run_is_started_again_with_its_inputs(server: Served, page: Page) -> None:
    page.go(start(server, "echo", "a", text="once more"))
    page.sees("Done", STATUS)

    page.click(".run-actions button", "Run again")

    page.until("location.hash.startsWith('#/runs/') && location.hash !== '#/runs/a'")
    page.sees("once more", ACTIVITY)


def test_a_message_is_sent_into_a_run_and_read(server: Served, page: Page) -> None:
    page.go(start(server, "read_message", "a"))
    page.sees("waiting for a message", ".run-bars")
    page.click(".run-actions button", "Message")
    page.fill(".composer textarea", "shorter, please")
    page.go(f"{server.url}/#/runs/a")
    page.until("document.querySelector('.composer textarea')?.value === 'shorter, please'")

    page.click(".composer textarea")
    page.press("Enter", 13)

    page.sees("Done", STATUS)
    page.sees("shorter, please", ".said")
    page.sees("read at", ".said")
    assert len(server.ask("GET", "/runs?function=read_message").json["runs"]) == 1


# --- going back -----------------------------------------------------------------------------------


def test_each_moment_is_the_state_that_its_events_add_up_to(server: Served, page: Page) -> None:
    server.start("open_gate", "gate", gate="report")
    page.go(start(server, "write_report", "a", title="Tides"))
    page.sees("stormy night.", ACTIVITY)
    events = events_of(server, "a")
    page.get("document.querySelector('.scrubber-track').focus()")

    page.press("Home", 36)
    for seq in range(1, len(events)):
        state = fold(events[:seq])
        page.sees(f"{seq} event", ".run-facts")
        shown = page.get("document.querySelector('.run-status').innerText.trim().toLowerCase()")
        assert shown == state.status
        text = page.text(ACTIVITY) if page.get("!!document.querySelector('.activity')") else ""
        assert [each.text.strip() in text for each in state.texts] == [True] * len(state.texts)
        percent = state.progress and state.progress.percent
        bars = page.get("document.querySelector('.run-bars progress')?.value ?? null")
        assert bars == percent
        page.press("ArrowRight", 39)
    page.sees("Done", STATUS)
    assert not page.get("!!document.querySelector('.run-past')")


def test_a_run_is_played_again(server: Served, page: Page) -> None:
    server.start("open_gate", "gate", gate="report")
    page.go(start(server, "write_report", "a", title="Tides"))
    page.sees("stormy night.", ACTIVITY)
    page.get(
        "(box => { window.seen = []; new MutationObserver(() => seen.push(box.innerText))"
        ".observe(box, {subtree: true, characterData: true, childList: true}); })"
        "(document.querySelector('.run-facts'))"
    )
    page.get("document.querySelector('.scrubber-track').focus()")
    page.press("Home", 36)
    page.sees("In the past", ".run-title")

    page.press(" ", 32)

    page.until("!document.querySelector('.run-past')", RESTART_S)
    page.sees("Done", STATUS)
    assert page.get("new Set(window.seen).size") > 1


def test_a_click_on_a_bar_leads_to_what_happened_there(server: Served, page: Page) -> None:
    server.start("open_gate", "gate", gate="much")
    page.go(start(server, "log_much", "a", lines=3000))
    page.sees("Done", STATUS, within_s=RESTART_S)
    page.click(".waterfall-name", "step 2000")

    page.sees("text 2000", ACTIVITY)
    page.until("document.querySelector('.story-item.is-marked')?.innerText.includes('step 2000')")


# --- much, and lost -------------------------------------------------------------------------------


def test_a_hundred_thousand_events_stay_smooth(server: Served, page: Page) -> None:
    lines = 50_000
    page.go(start(server, "log_much", "a", lines=lines))
    page.get(
        "(() => { window.painted = 0; window.most = 0; const look = () => { painted += 1;"
        " most = Math.max(most, document.querySelectorAll('*').length);"
        " requestAnimationFrame(look) }; look() })()"
    )
    show_tab(page, "Log")
    last = f"document.querySelector('.log')?.innerText.includes('line {lines - 1}')"
    page.until(f"{last} || scrollTo(0, 1e9)", 120)
    page.sees(f"{lines:,} of {lines:,} lines", ".run-filters", within_s=120)
    while_it_came = page.get("window.painted")
    assert page.get("window.most") < 4000
    # Frames that were painted while events arrived: the page was not blocked until all were there.
    assert while_it_came > 30

    page.fill(".run-filters input", "line 4321")
    page.until("document.querySelector('.log').innerText.includes('line 43210')")
    page.sees(f"11 of {lines:,} lines", ".run-filters")
    show_tab(page, "Events")
    page.get("scrollTo(0, document.documentElement.scrollHeight / 2)")
    page.until("Number(document.querySelector('.event-seq').innerText) > 40000")
    page.get("document.querySelector('.scrubber-track').focus()")
    before = page.get("performance.now()")
    page.press("PageDown", 34)
    page.sees("In the past", ".run-title")
    assert page.get("document.querySelectorAll('*').length") < 4000
    assert page.get("performance.now()") > before


def test_what_is_not_loaded_is_stated_and_loaded_on_request(server: Served, page: Page) -> None:
    server.start("open_gate", "gate", gate="much")
    address = start(server, "log_much", "a", lines=12_000)
    assert server.ask(
        "GET", "/runs/a/events?live=true", None, {"Accept": "application/x-ndjson"}
    ).body
    page.go(address)
    show_tab(page, "Log")
    page.sees("events are not loaded.", ".missing", within_s=RESTART_S)
    page.sees("of 12,000 lines", ".run-filters")
    assert "line 0\n" not in page.text(".log")

    page.click(".missing button", "Load all")

    page.sees("12,000 of 12,000 lines", ".run-filters", within_s=60)
    page.until("!document.querySelector('.missing')")
    page.get("scrollTo(0, 0)")
    page.sees("line 0", ".log")


def test_the_view_resumes_after_the_server_was_killed(serving: Serve, page: Page) -> None:
    page.expected = REFUSED
    server = serving()
    page.go(start(server, "stay", "a"))
    page.sees("still here", ACTIVITY)

    server.end(signal.SIGKILL)

    page.sees("Reconnecting", ".header")
    page.sees("The connection is lost", ".run-notices")
    page.sees("still here", ACTIVITY)
    page.sees("Running", STATUS)

    serving(port=server.port)

    page.sees("Failed", STATUS, within_s=RESTART_S)
    page.sees("lost", ".run-notices")
    page.sees("still here", ACTIVITY)


def test_a_run_that_is_gone_when_the_server_comes_back_is_said_to_be_deleted(
    serving: Serve, page: Page, tmp_path: Path
) -> None:
    page.expected = REFUSED
    server = serving()
    page.go(start(server, "stay", "a"))
    page.sees("still here", ACTIVITY)
    server.end(signal.SIGKILL)
    page.sees("Reconnecting", ".header")
    for file in tmp_path.glob("*.db*"):
        file.unlink()

    serving(port=server.port)

    page.expected = f"{REFUSED}|404"
    page.sees("The run was deleted.", ".run-notices", within_s=RESTART_S)
    page.sees("still here", ACTIVITY)
    page.until("!/Cancel|Running/.test(document.querySelector('main').innerText)")
    page.until("!document.querySelector('header').innerText.includes('Reconnecting')")


def test_the_view_goes_on_after_the_network_was_cut(server: Served, page: Page) -> None:
    page.expected = REFUSED
    page.go(start(server, "write_report", "a", title="Tides"))
    page.sees("It was a dark", ACTIVITY)
    limits = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.call("Network.emulateNetworkConditions", offline=True, **limits)
    page.get("dispatchEvent(new Event('offline'))")
    server.start("open_gate", "gate", gate="report")

    page.call("Network.emulateNetworkConditions", offline=False, **limits)
    page.get("dispatchEvent(new Event('online'))")

    page.sees("Done", STATUS, within_s=60)
    page.sees("It was a dark and stormy night.", ACTIVITY)
    show_tab(page, "Events")
    count = server.ask("GET", "/runs/a").json["events"]
    page.sees(f"{count} of {count} events", ".run-filters")


def test_a_view_that_nobody_sees_is_complete_when_somebody_looks(
    server: Served, page: Page
) -> None:
    page.go(start(server, "write_report", "a", title="Tides"))
    page.sees("It was a dark", ACTIVITY)
    hide = (
        "for (const [name, value] of Object.entries({hidden: %s, visibilityState: '%s'}))"
        " Object.defineProperty(document, name, {configurable: true, value});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.get(hide % ("true", "hidden"))
    server.start("open_gate", "gate", gate="report")
    events_of(server, "a")

    page.get(hide % ("false", "visible"))

    page.sees("Done", STATUS)
    page.sees("It was a dark and stormy night.", ACTIVITY)


def test_a_run_that_begins_again_is_shown_from_its_beginning(server: Served, page: Page) -> None:
    page.go(start(server, "stay", "a", text="the first"))
    page.sees("the first", ACTIVITY)

    body = {"inputs": {"text": "the second"}, "run_id": "a", "replace": True}
    server.ask("POST", "/invoke/stay", body, {"Prefer": "respond-async"})

    page.sees("the second", ACTIVITY, within_s=RESTART_S)
    page.sees("started again", ".run-notices")
    assert "the first" not in page.text(ACTIVITY)


def test_a_run_that_does_not_exist_is_named(server: Served, page: Page) -> None:
    page.expected = "status of 404"
    page.go(f"{server.url}/#/runs/nothing")

    page.sees("There is no run “nothing”", "main")


# --- content is data ------------------------------------------------------------------------------


HOSTILE: Final = [
    "<script>document.title = 'broken'</script>",
    "<img src=x onerror=\"document.title='broken'\">",
    "'\"`${1}\\ \u2028\u2029\r\n\t</textarea></script><!--",
    "javascript:alert(1)",
    "[a](javascript:document.title='broken') ![b](data:text/html,x)",
    "\u202eltr\u0000 \U0001f600",
    "__proto__",
    "\x1b[31mred\x1b]0;owned\x07",
    "hidden card message",
    "x" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_only_text(server: Served, page: Page, text: str) -> None:
    page.look(width=360, height=740)
    page.go(start(server, "echo", "a", text=text))

    page.sees("Done", STATUS)
    for tab in ("Activity", "Log", "Files", "Inputs", "Events"):
        show_tab(page, tab)
        page.until("document.querySelector('[role=tabpanel]').innerText.length > 0")
        bad = ":is(script, iframe, object, embed, img, form:not(.composer), [onerror], [src])"
        assert page.get(f"document.querySelectorAll('.run-view {bad}').length") == 0
        assert (
            page.get(
                "[...document.querySelectorAll('.run-view a')].map(a => a.protocol)"
                ".filter(it => !['http:', 'https:', 'mailto:'].includes(it)).length"
            )
            == 0
        )
        assert page.get("document.documentElement.scrollWidth") == 360
    assert "broken" not in page.get("document.title")


LINKS: Final = "[...document.querySelectorAll('.file-head a')].map(a => a.href)"

ELSEWHERE: Final = [
    "/runs/r/files/../../../logout",
    "/runs/r/files/..",
    "/runs/r/files/a/../../../b",
    "/runs/r/files/%2e%2e/%2E%2e/%2e./logout",
    "/runs/r/files/.%2e/cancel",
    "/runs/r/files/.",
    "/runs/r/files/",
    "/runs/r/files//evil.example",
    "/runs/r/files/..\\..\\logout",
    "/runs/r/files/..%2f..%2flogout",
    "/runs/r/files/..%5c..%5clogout",
    "/runs/r/files/.\t./.\n./logout",
    "/runs/r/files/%09../a",
    "/runs/r/files/a%00b",
    "/runs/r/files/%ff",
    "/runs/../files/a",
    "/runs/%2e%2e/files/a",
    "/runs/%2F%2Fevil.example/files/a",
    "//evil.example/runs/r/files/a",
    "\\\\evil.example/runs/r/files/a",
    "/\\evil.example/runs/r/files/a",
    "https://evil.example/runs/r/files/a",
    "javascript:alert(1)//runs/r/files/a",
    " javascript:alert(1)",
    "data:text/html,/runs/r/files/a",
    " /runs/r/files/a",
    "runs/r/files/a",
    "?/runs/r/files/a",
    "",
]


@pytest.mark.parametrize("flavour", ["plain-uvicorn", "mounted-starlette"])
def test_a_file_is_linked_only_within_the_files_of_runs(page: Page, flavour: str) -> None:
    """A function may call any URL a file of its own."""
    inside = ["/runs/b/files/a b%3F%23.txt", "/runs/c%3A1/files/x/%252e%252e", "/runs/d/files/a?b#"]
    body = json.dumps({"run_id": "r", "inputs": {"urls": [*ELSEWHERE, *inside]}}).encode()
    with serving_in_thread(flavour, functions=[claim_files]) as server:
        assert asyncio.run(server.post("/invoke/claim_files", body)).status == 200
        base = f"http://127.0.0.1:{server.port}{server.prefix}"
        page.go(f"{base}/#/runs/r")
        page.sees("Done", STATUS)
        show_tab(page, "Files")
        page.until(f"document.querySelectorAll('.file').length === {len(ELSEWHERE) + 3}")

        assert page.get(LINKS) == [
            f"{base}/runs/b/files/a%20b%3F%23.txt",
            f"{base}/runs/c%3A1/files/x/%252e%252e",
            f"{base}/runs/d/files/a%3Fb%23",
        ]


def test_files_are_downloaded_from_their_links_and_previewed(server: Served, page: Page) -> None:
    names = ["ä b?#%.txt", "%2e%2e", "in/..a", "javascript:x", "x" * 200, "<b>.md"]
    page.go(start(server, "leave_files", "b:1", names=names))
    page.sees("Done", STATUS)
    show_tab(page, "Files")
    page.until(f"{LINKS}.length === {len(names)}")
    fetched = f"Promise.all({LINKS}.map(url => fetch(url).then(answer => answer.text())))"
    assert sorted(page.get(fetched)) == sorted(names)

    page.get("[...document.querySelectorAll('.file button')].forEach(it => it.click())")

    page.sees("<b>.md", ".file-text .md")
    page.until("document.querySelectorAll('.file-text').length === 2")


def test_a_failure_says_where_its_traceback_is(server: Served, page: Page) -> None:
    page.go(start(server, "fail", "a", key="<b>the key</b>"))
    page.sees("the function raised KeyError", ".run-notices")
    page.sees("The server’s log has the traceback, under the run id a.", ".run-notices")
    assert not page.get("!!document.querySelector('.traceback')")
    show_tab(page, "Inputs")
    page.sees("<b>the key</b>", ".inputs")


def test_in_debug_mode_the_view_shows_the_traceback(serving: Serve, page: Page) -> None:
    server = serving("--debug")
    page.go(f"{server.url}/#/functions/fail")
    page.until("document.querySelector('form.form')")
    page.fill("[id='fail.key']", "<b>the key</b>")
    page.click("form button[type=submit]")  # it fails while the page watches
    page.click(".traceback summary")
    page.sees("KeyError: '<b>the key</b>'", ".traceback")
    assert "log has the traceback" not in page.text(".run-notices")


# --- for everybody --------------------------------------------------------------------------------


AXE: Final = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("dark", 360)])
def test_nothing_bars_anybody(serving: Serve, page: Page, scheme: str, width: int) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not there (python3 dev.py web)")
    server = serving()
    page.look(width=width, height=900, scheme=scheme)
    server.start("write_report", "a", title="Tides")
    server.start("ask_first", "b", path="/old")
    server.start("log_in_color", "c")
    server.start("leave_files", "d", names=["a.md"])
    problems: list[Any] = []
    for run_id, tabs in {
        "a": ["Activity", "Log", "Inputs", "Events"],
        "b": ["Activity"],
        "c": ["Log"],
        "d": ["Files"],
    }.items():
        page.go(f"{server.url}/#/runs/{run_id}")
        page.until("document.querySelector('.run-tabs')")
        page.call("Runtime.evaluate", expression=AXE.read_text("utf-8"))
        for tab in tabs:
            show_tab(page, tab)
            problems += page.get(
                "axe.run({resultTypes: ['violations']}).then(found => found.violations.map("
                "each => each.id + ': ' + each.nodes.map(it => it.html).slice(0, 3).join(' ')))"
            )
    assert problems == [], "\n".join(problems)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_view_fits_a_phone_in_both_languages(server: Served, page: Page, language: str) -> None:
    page.look(width=360, height=740)
    page.go(server.url + "/")
    page.get(f"localStorage.setItem('runcast.language', '{language}')")
    page.go(start(server, "write_report", "a", title="Tides" * 50))
    page.until("document.querySelector('.activity')?.innerText.includes('It was a dark')")
    widths = []
    for number in range(page.get("document.querySelectorAll('[role=tab]').length")):
        page.get(f"document.querySelectorAll('[role=tab]')[{number}].click()")
        widths.append(page.get("document.documentElement.scrollWidth"))
    page.go(start(server, "ask_first", "b", path="/old" * 100))
    page.until("document.querySelector('.question')")
    widths.append(page.get("document.documentElement.scrollWidth"))

    assert set(widths) == {360}
    if language == "zh":
        page.sees("运行在提问", ".question")


# --- for others -----------------------------------------------------------------------------------


def test_a_link_shows_the_run_and_nothing_else(
    serving: Serve, page: Page, browser: Browser
) -> None:
    token = "open-sesame-0123456789"
    server = serving("--token", token)
    headers = {"Authorization": f"Bearer {token}", "Prefer": "respond-async"}
    body = {"run_id": "a", "inputs": {"title": "Tides"}}
    assert server.ask("POST", "/invoke/write_report", body, headers).status == 202
    page.expected = "status of 401"
    page.go(f"{server.url}/#/runs/a")
    page.fill("#token", token)
    page.click("main button", "Sign in")
    page.click(".run-actions button", "Share")
    page.click("dialog button", "Make a link")
    page.sees("This address is shown only now.", "dialog")
    address = page.get("document.querySelector('dialog input.mono').value")

    other = browser.open_page()
    other.look()
    other.go(address)
    other.sees("It was a dark", ACTIVITY)
    assert not other.get("!!document.querySelector('.run-actions')")
    assert "Inputs" not in other.text(".run-tabs")
    assert not any("#" not in url and address.rpartition("/")[2] in url for url in other.requested)
    body = {"run_id": "gate", "inputs": {"gate": "report"}}
    assert server.ask("POST", "/invoke/open_gate", body, headers).status == 202
    other.sees("Done", STATUS)

    page.click("dialog button", "Revoke")
    page.until("!document.querySelector('.share-links')")
    other.expected = "status of 401"
    other.go(address)
    other.sees("The server does not answer", "main")
    other.close()


def test_an_exported_run_needs_no_server(page: Page, server: Served, tmp_path: Path) -> None:
    """The page is what `runcast export` writes: see `export.tsx`."""
    server.start("open_gate", "gate", gate="report")
    page.go(start(server, "write_report", "a", title="</script><b>Tides"))
    page.sees("stormy night.", ACTIVITY)
    events = [json.loads(msgspec.json.encode(event)) for event in events_of(server, "a")]
    recording = json.dumps({"run": {"run_id": "a"}, "events": events}).replace("<", "\\u003c")
    built = Path(runcast.__file__).parent / "_http" / "console" / "built" / "assets"
    script, style = ((built / f"export.{kind}").read_text("utf-8") for kind in ("js", "css"))
    file = tmp_path / "run.html"
    file.write_text(
        f'<!doctype html><meta charset="utf-8"><title>a</title><style>{style}</style><body>'
        f'<script type="application/json" id="runcast-recording">{recording}</script>'
        f'<script type="module">{script}</script>',
        "utf-8",
    )
    page.requested.clear()

    page.go(file.as_uri())

    page.sees("Recording of a run", "body")
    page.sees("stormy night.", ACTIVITY)
    page.sees("</script><b>Tides", ACTIVITY)
    page.get("document.querySelector('.scrubber-track').focus()")
    page.press("Home", 36)
    page.sees("In the past", ".run-title")
    assert not page.get("!!document.querySelector('.run-actions')")
    assert [url for url in page.requested if url.startswith("http")] == []
