"""The start page in a real browser, before a real server."""

import asyncio
import json
import math
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runcast.events.fold import apply, fold
from runcast.events.model import Event
from runcast.events.snapshot import Snapshot, Step
from tests.browser.chromium import Page
from tests.browser.functions import claim_files
from tests.cli.served import Served, serve
from tests.http.serving import serving_in_thread

pytestmark = pytest.mark.heavy

TARGET = str(Path(__file__).with_name("functions.py"))

RESTART_S = 15.0
"""A server's start on a busy machine, and the longest wait of a page before it tries again."""

REFUSED = (
    r"net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING)"
)


Serve = Callable[..., Served]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers on one store."""
    with ExitStack() as stack:

        def start(*arguments: str, port: int = 0) -> Served:
            store = f"sqlite:///{tmp_path}/runs.db"
            command = (TARGET, "--store", store, *arguments)
            return stack.enter_context(serve(*command, cwd=tmp_path, port=port, wait_s=RESTART_S))

        yield start


@pytest.fixture
def server(serving: Serve) -> Served:
    return serving()


def start(server: Served, function: str, run_id: str, **inputs: object) -> str:
    """Begin a run and return the address at which the page shows it."""
    server.start(function, run_id, **inputs)
    return f"{server.url}/#/runs/{run_id}"


def field(name: str, function: str = "write_report") -> str:
    """Return the selector of a form's input."""
    return f"[id='{function}.{name}']"


# --- the form -------------------------------------------------------------------------------------


def test_a_run_is_started_by_the_form_and_watched_to_its_end(server: Served, page: Page) -> None:
    page.go(server.url + "/")
    page.click("nav a", "write_report")
    page.sees("Everything that the page can show is in it.", "main")
    page.fill(field("title"), "Tides")
    page.fill(field("sources"), '["sea", "moon"]')
    page.click(field("draft"))
    page.click("main button", "Run")

    page.sees("running", "#status")
    page.sees("first half", "#message")
    page.sees("50 %", "#percent")
    page.sees("draft › writer · looking around", "#steps")
    page.sees("review · checking facts · two of three · 66 %", "#steps")
    page.sees("Where do I begin?", "#texts")
    page.sees("It was a dark", "#texts")
    page.sees("half way", "#log")
    page.sees("the index was slow", "#log")
    page.sees('{"query":"Tides"}', "#log")
    page.sees("live", "#link")
    page.sees("50 %", "#listed")
    assert page.get("document.querySelector('#bar').value") == 50
    assert "stormy" not in page.text()

    server.start("open_gate", "gate", gate="report")

    page.sees("done", "#status")
    page.sees("It was a dark and stormy night.", "#texts")
    page.sees("100 %", "#percent")
    page.sees("ended", "#link")
    page.sees("sea, moon", "#result")
    page.sees("Tides", "#inputs")
    page.until("document.querySelector('#result table').rows.length === 2")
    page.until("document.querySelector('#cancel').hidden")
    page.sees("done", "#listed li:nth-child(2)")
    (run,) = server.ask("GET", "/runs?function=write_report").json["runs"]
    result = server.ask("GET", f"/runs/{run['run_id']}").json["state"]["result"]
    assert page.get("location.hash") == f"#/runs/{run['run_id']}"
    assert {name: result[name] for name in ("title", "chapters", "tone", "draft", "editor")} == {
        "title": "Tides",
        "chapters": 2,
        "tone": "plain",
        "draft": True,
        "editor": None,
    }


def test_inputs_of_classes_are_in_the_form(server: Served, page: Page) -> None:
    page.expected = "status of 422"
    page.go(f"{server.url}/#/functions/plan")
    page.sees("the last day", "form")
    page.sees("date: 2025-01-31", "form")
    page.fill(field("owner", "plan"), "{}")
    choices = f"[...document.querySelector({json.dumps(field('kind', 'plan'))}).options]"
    assert page.get(f"{choices}.map(it => it.textContent)") == ["weekly", "daily"]
    page.click("main button", "Run")
    page.sees("Object missing required field `name`", field("owner.problem", "plan"))

    page.fill(field("owner", "plan"), '{"name": "Ada"}')
    page.fill(field("due", "plan"), "2025-02-28")
    page.click("main button", "Run")
    page.sees("done", "#status")

    (run,) = server.ask("GET", "/runs?function=plan").json["runs"]
    assert server.ask("GET", f"/runs/{run['run_id']}").json["state"]["result"] == [
        ["_Owner", {"name": "Ada"}],
        ["_Kind", "weekly"],
        ["date", "2025-02-28"],
        ["PosixPath", "reports"],
    ]


def test_what_is_wrong_is_told_beside_the_input(server: Served, page: Page) -> None:
    page.expected = "status of 422"
    page.go(f"{server.url}/#/functions/write_report")
    page.fill(field("title"), "Tides")
    page.fill(field("chapters"), "many")
    page.click("main button", "Run")
    page.sees("expected integer", field("chapters.problem"))
    page.until(f"document.activeElement.matches({json.dumps(field('chapters'))})")

    page.fill(field("chapters"), "1.5")
    page.fill(field("sources"), "[1]")
    page.click("main button", "Run")

    page.sees("Expected `int`", field("chapters.problem"))
    page.sees("Expected `str`, got `int`", field("sources.problem"))
    assert page.text(field("title.problem")) == ""
    assert page.get(f"document.querySelector({json.dumps(field('sources'))}).ariaInvalid") == "true"
    assert server.ask("GET", "/runs").json["runs"] == []


def test_the_page_can_be_used_with_the_keyboard_alone(server: Served, page: Page) -> None:
    page.go(f"{server.url}/#/functions/echo")
    page.until("document.querySelector('form')")
    page.get("document.querySelector('h1').focus()")
    page.press("Tab", 9)
    for key in "ok":
        page.press(key, ord(key.upper()))
    page.press("Tab", 9)
    page.press("Enter", 13)

    page.sees("ok", "#texts")
    page.sees("done", "#status")
    assert page.get("document.activeElement.id") == "name"


def test_a_whole_number_keeps_all_its_digits(server: Served, page: Page) -> None:
    page.go(f"{server.url}/#/functions/log_much")
    page.fill(field("lines", "log_much"), "-123456789012345678")
    page.click("main button", "Run")
    page.sees("running", "#status")
    page.click("summary", "")

    sent = page.get("performance.getEntriesByType('resource').length")

    assert sent > 0
    assert '{"inputs":{"lines":-123456789012345678}}' in page.bodies


# --- watching -------------------------------------------------------------------------------------


def test_a_run_is_cancelled_by_its_button(server: Served, page: Page) -> None:
    page.go(start(server, "stay", "a"))
    page.sees("still here", "#texts")

    page.click("#cancel")

    page.sees("cancelled", "#status")
    page.sees("Cancelled", "#notices")
    page.sees("ended", "#link")
    assert server.ask("GET", "/runs/a").json["status"] == "cancelled"


def test_who_comes_late_sees_what_was_and_what_comes(server: Served, page: Page) -> None:
    page.go(start(server, "write_report", "a", title="Tides"))
    page.sees("It was a dark", "#texts")
    page.click("summary", "Raw")
    page.sees("#1 ", "#raw")
    page.sees("#8 ", "#raw")
    server.start("open_gate", "gate", gate="report")
    page.sees("#12 ", "#raw")
    page.click("#raw summary", "tool_result")
    page.sees('"hits": 3', "#raw")

    page.go(f"{server.url}/#/runs/a")

    page.sees("done", "#status")
    page.sees("It was a dark and stormy night.", "#texts")
    assert page.streams == set()


HOSTILE = [
    "<script>document.title = 'broken'</script>",
    "<img src=x onerror=\"document.title='broken'\">",
    "'\"`${1}\\ \u2028\u2029\r\n\t</textarea></script><!--",
    "javascript:alert(1)",
    "\u202eltr\u0000 \U0001f600",
    "__proto__",
    "hidden card message",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text(server: Served, page: Page, text: str) -> None:
    page.go(start(server, "echo", "a", text=text))

    page.sees("done", "#status")
    for part in ("texts", "log", "result", "files", "message"):
        page.until(f"document.querySelector('#{part}').textContent.includes({json.dumps(text)})")
    page.click("summary", "Raw")
    page.sees("made_up", "#raw")
    assert page.get("document.querySelectorAll('main :is(script, img, textarea)').length") == 0
    assert "broken" not in page.get("document.title")


def test_a_function_is_shown_by_its_text_alone(serving: Serve, page: Page, tmp_path: Path) -> None:
    target = tmp_path / "hostile.py"
    target.write_text(
        "import runcast\n"
        "def call(a: str = '<b>\"&'): ...\n"
        "FUNCTIONS = [runcast.Function(call, name='f', description='<img src=x>\\n\\n<b>x</b>')]\n"
    )
    with serve(f"{target.stem}:FUNCTIONS", cwd=tmp_path) as server:
        page.go(f"{server.url}/#/functions/f")
        page.sees("<img src=x>", "main")
        page.sees("<b>x</b>", "main")
        assert page.get(f"document.querySelector({json.dumps(field('a', 'f'))}).value") == '<b>"&'
        page.click("main button", "Run")
        page.sees("done", "#status")


def test_what_is_shown_of_a_long_run_is_bounded(server: Served, page: Page) -> None:
    page.go(start(server, "log_much", "a", lines=5000))
    page.sees("line 4999", "#log", within_s=RESTART_S)
    page.sees("text 4999", "#texts")
    page.click("summary", "Raw")
    page.sees("#10001 ", "#raw")

    assert page.get("document.querySelectorAll('#raw details').length") == 200
    assert page.get("document.querySelectorAll('#log .entry').length") <= 200
    assert page.get("document.querySelectorAll('#texts .card').length") <= 64
    assert page.get("document.querySelectorAll('*').length") < 5000


def test_all_runs_in_sight_share_one_connection(server: Served, page: Page) -> None:
    for name in "abcdefgh":
        server.start("stay", name)
    page.go(f"{server.url}/#/runs/c")
    page.sees("still here", "#texts")
    page.until("document.querySelectorAll('#listed .running').length === 8")
    page.sees("live", "#link")
    server.start("stay", "new")
    page.until("document.querySelectorAll('#listed .running').length === 9")
    page.until(
        "[...document.querySelectorAll('#listed li')].every(li => li.innerText.includes('30 %'))"
    )
    page.click("#listed a[href='#/runs/e']")
    page.sees("still here", "#texts")

    page.sees("live", "#link")
    assert len(page.streams) == 1


def test_the_list_is_filtered_and_paged(server: Served, page: Page) -> None:
    for number in range(25):
        server.start("echo", f"e{number}", text="x")
    server.start("stay", "s")
    page.go(server.url + "/")
    page.until("document.querySelectorAll('#listed li').length === 20")
    page.click("#older")
    page.until("document.querySelectorAll('#listed li').length === 6")
    page.until("document.querySelector('#older').hidden")
    page.click("#newest")
    page.until("document.querySelectorAll('#listed li').length === 20")

    page.get("filter.value = 'running', filter.dispatchEvent(new Event('change'))")

    page.until("document.querySelectorAll('#listed li').length === 1")
    page.sees("stay", "#listed")


def test_files_are_given_to_a_run(server: Served, page: Page) -> None:
    page.expected = "422"
    page.go(server.url + "/#/functions/join_texts")
    page.sees("files, optional", "main")
    page.click("main button", "Run")
    page.sees("expected 1 or more files", "main .field:has([id='join_texts.files.texts']) .problem")
    page.get(
        "(files => { for (const [name, text] of [['ä 1.txt', 'sea'], ['b.txt', 'moon']])"
        " files.items.add(new File([text], name)); document.getElementById("
        "'join_texts.files.texts').files = files.files; })(new DataTransfer())"
    )

    page.click("main button", "Run")

    page.sees("done", "#status")
    assert {"moon", "sea"} == set(page.text("#result .card").split())


LINKS = "[...document.querySelectorAll('#files a')].map(a => a.href)"

ELSEWHERE = [
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
    inside = [
        "/runs/b/files/a b%3F%23.txt",
        "/runs/c%3A1/files/x/%252e%252e",
        "/runs/d/files/a?b#",
    ]
    body = json.dumps({"run_id": "r", "inputs": {"urls": [*ELSEWHERE, *inside]}}).encode()
    with serving_in_thread(flavour, functions=[claim_files]) as server:
        assert asyncio.run(server.post("/invoke/claim_files", body)).status == 200
        base = f"http://127.0.0.1:{server.port}{server.prefix}"
        page.go(f"{base}/#/runs/r")
        page.sees("done", "#status")
        page.until(f"document.querySelectorAll('#files .card > *').length === {len(ELSEWHERE) + 3}")

        assert page.get(LINKS) == [
            f"{base}/runs/b/files/a%20b%3F%23.txt",
            f"{base}/runs/c:1/files/x/%252e%252e",
            f"{base}/runs/d/files/a%3Fb%23",
        ]


def test_the_files_of_a_run_are_downloaded_from_their_links(server: Served, page: Page) -> None:
    names = ["ä b?#%.txt", "%2e%2e", "in/..a", "javascript:x", "x" * 200]
    page.go(start(server, "leave_files", "b:1", names=names))
    page.sees("done", "#status")
    page.until(f"document.querySelectorAll('#files a').length === {len(names)}")
    fetched = f"Promise.all({LINKS}.map(url => fetch(url).then(answer => answer.text())))"

    assert sorted(page.get(fetched)) == sorted(names)


def test_the_address_of_a_run_leads_nowhere_else(server: Served, page: Page) -> None:
    for name in ("..", ".", ".a", "-"):
        page.go(f"{server.url}/#/runs/{name}")
        page.sees("write_report", "nav")

    assert not any("/runs/" in url for url in page.requested if "#" not in url)


def test_a_question_is_answered(server: Served, page: Page) -> None:
    page.go(start(server, "ask_first", "a", path="/old"))
    page.sees("waiting", "#status")
    page.sees("May this be removed?", "#interrupts")
    assert json.loads(page.get("document.querySelector('#interrupts textarea').value")) == {
        "path": "/old"
    }

    page.click("#interrupts button", "accept")

    page.sees("done", "#status")
    page.until("document.querySelector('#interrupts').hidden")


def test_a_message_is_sent_into_a_run(server: Served, page: Page) -> None:
    page.go(start(server, "read_message", "a"))
    page.sees("waiting for a message", "#work")
    ids = page.get("[...document.querySelectorAll('[id]')].map(node => node.id)")
    assert sorted(ids) == sorted(set(ids))

    page.fill("#inbox input", "shorter, please")
    page.click("#inbox button", "Send")

    page.sees("done", "#status")
    page.sees("shorter, please", "#result")


def test_what_was_answered_and_done_is_kept(server: Served, page: Page) -> None:
    page.go(start(server, "ask_first", "a", path="/old"))
    page.sees("May this be removed?", "#interrupts")
    page.click("#interrupts button", "accept")  # while the page watches
    answered = "remove · May this be removed? · accept"
    page.sees(answered, "#answered")
    page.sees("done", "#status")
    server.start("open_gate", "gate", gate="report")
    server.start("write_report", "b", title="Tides")

    page.go(f"{server.url}/#/runs/b")
    page.sees("review · checking facts · checked", "#completed")
    page.go(f"{server.url}/#/runs/a")
    page.sees(answered, "#answered")  # and after it was loaded again


def test_a_question_shows_all_digits_of_its_numbers(server: Served, page: Page) -> None:
    path = [2**53 + 1, -(10**30), 1.5, "12345678901234567890", 7]
    page.go(start(server, "ask_first", "a", path=path))
    page.sees("May this be removed?", "#interrupts")

    shown = page.get("document.querySelector('#interrupts textarea').value")

    assert json.loads(shown) == {"path": path}


def test_what_a_question_asks_to_do_can_be_changed(server: Served, page: Page) -> None:
    page.go(start(server, "ask_first", "a", path="/old"))
    page.fill("#interrupts textarea", '{"path": 12345678901234567890')
    page.click("#interrupts button", "edit")
    page.sees("expected args to be JSON", "#notices")
    page.fill("#interrupts textarea", '{"path": 12345678901234567890}')

    page.click("#interrupts button", "edit")

    page.sees("done", "#status")
    assert '{"type":"edit","args":{"path": 12345678901234567890}}' in page.bodies


def test_nothing_that_was_typed_is_dropped(server: Served, page: Page) -> None:
    page.go(start(server, "ask_first", "a", path="/old"))
    page.sees("May this be removed?", "#interrupts")
    page.fill("#interrupts textarea", '{"path": "/new"}')
    page.click("#interrupts button", "accept")
    page.sees("You changed the arguments, which “accept” does not send.", "#notices")
    page.click("#interrupts button", "reject")
    page.sees("You changed the arguments, which “reject” does not send.", "#notices")
    page.fill("#interrupts input", "not today")
    page.click("#interrupts button", "edit")
    page.sees("You typed a response, which “edit” does not send.", "#notices")
    assert server.ask("GET", "/runs/a").json["status"] == "waiting"
    typed = "document.querySelector('#interrupts textarea').value"
    assert page.get(typed) == '{"path": "/new"}'

    page.fill("#interrupts input", "")
    page.click("#interrupts button", "edit")

    page.sees("done", "#status")
    assert '{"type":"edit","args":{"path": "/new"}}' in page.bodies


def test_what_a_reload_leaves_out_is_said(server: Served, page: Page) -> None:
    page.go(start(server, "log_much", "a", lines=300))
    page.until("Object.values([...runs.values()][0]?.state?.counts ?? {}).length > 0")
    server.start("open_gate", "gate", gate="much")
    page.sees("done", "#status")

    page.go(f"{server.url}/")
    page.go(f"{server.url}/#/runs/a")
    page.sees("250 earlier log lines are not shown here.", "#log")
    page.sees("line 299", "#log")
    page.click("#raw summary")
    page.sees("events are not shown here.", "#raw")
    shown = page.get("[...document.querySelectorAll('#raw .entry')].length")
    first = page.get("Number(document.querySelector('#raw-left').textContent.match(/[0-9]+/)[0])")
    assert first + shown == server.ask("GET", "/runs/a").json["events"]
    link = page.get("document.querySelector('#log-left a').href")
    path = link.removeprefix(server.url)
    assert b'"line 0"' in server.ask("GET", path).body


def test_colors_of_log_lines_are_no_text(server: Served, page: Page) -> None:
    page.go(start(server, "log_in_color", "a"))
    page.sees("red and plain", "#log")
    page.sees("50%", "#log")
    assert "[31m" not in page.text("#log")
    assert "owned" not in page.text("#log")
    state = server.ask("GET", "/runs/a").json["state"]
    assert "\x1b[31mred" in state["logs"][0]["message"]  # it is kept as it came


def test_a_question_shows_the_answers_that_it_allows(server: Served, page: Page) -> None:
    page.go(start(server, "ask_for_words", "a"))
    page.sees("How shall it be called?", "#interrupts")
    buttons = "[...document.querySelectorAll('#interrupts button')].map(node => node.textContent)"
    assert page.get(buttons) == ["reject", "response"]
    page.click("#interrupts summary")
    page.sees('"maxLength": 9', "#interrupts")

    page.fill("#interrupts input", 'The "Tides"')
    page.click("#interrupts button", "response")

    page.sees('The "Tides"', "#result")


# --- a function that fails ------------------------------------------------------------------------


def test_a_failure_says_where_its_traceback_is(server: Served, page: Page) -> None:
    page.go(start(server, "fail", "a", key="<b>the key</b>"))
    page.sees("the function raised KeyError · function_error", "#notices")
    page.sees("The server's log has the traceback, under the run id a.", "#notices")
    assert page.get("document.querySelector('#trace').hidden") is True
    page.sees("<b>the key</b>", "#inputs")
    assert page.text("#main").count("the key") == 1  # among the inputs alone


def test_in_debug_mode_the_page_shows_the_traceback(serving: Serve, page: Page) -> None:
    server = serving("--debug")
    page.go(f"{server.url}/#/functions/fail")
    page.fill(field("key", "fail"), "<b>the key</b>")
    page.click("main button", "Run")  # it fails while the page watches
    page.until("document.querySelector('#trace')?.hidden === false")
    page.click("#trace summary")
    page.sees("KeyError: '<b>the key</b>'", "#trace")
    page.sees("raise KeyError(key)", "#trace")

    page.go(f"{server.url}/")
    page.go(start(server, "fail", "before", key="another"))  # and before it looks
    page.sees("function_error", "#notices")
    page.click("#trace summary")
    page.sees("KeyError: 'another'", "#trace")
    assert "log has the traceback" not in page.text("#notices")


# --- what goes wrong ------------------------------------------------------------------------------


def test_the_page_resumes_after_the_server_was_killed(serving: Serve, page: Page) -> None:
    page.expected = REFUSED
    server = serving()
    page.go(start(server, "stay", "a"))
    page.sees("still here", "#texts")
    page.sees("live", "#link")

    server.end(signal.SIGKILL)

    page.sees("reconnecting", "#link")
    page.sees("still here", "#texts")
    page.sees("running", "#status")

    server = serving(port=server.port)

    page.sees("failed", "#status", within_s=RESTART_S)
    page.sees("lost", "#notices")
    page.sees("still here", "#texts")
    page.sees("ended", "#link")
    page.click("nav a", "stay")
    page.click("main button", "Run")
    page.sees("running", "#status")
    page.sees("live", "#link")


def test_the_page_comes_back_after_an_orderly_restart(serving: Serve, page: Page) -> None:
    page.expected = REFUSED
    server = serving()
    page.go(start(server, "stay", "a"))
    page.sees("live", "#link")

    server.end(signal.SIGTERM)
    page.sees("reconnecting", "#link")
    serving(port=server.port)

    page.until(
        "/^(cancelled|failed)$/.test(document.querySelector('#status').innerText)", RESTART_S
    )
    page.sees("ended", "#link")


def test_a_run_that_begins_anew_is_told(server: Served, page: Page) -> None:
    page.go(start(server, "stay", "a", text="the first"))
    page.sees("the first", "#texts")

    body = {"inputs": {"text": "the second"}, "run_id": "a", "replace": True}
    server.ask("POST", "/invoke/stay", body, {"Prefer": "respond-async"})

    page.sees("the second", "#texts")
    page.sees("begun again", "#notices")
    page.sees("live", "#link")
    assert "the first" not in page.text("#texts")


def test_a_run_that_is_no_more_is_told(serving: Serve, page: Page) -> None:
    page.expected = f"status of 404|{REFUSED}"
    server = serving("--store", "memory://")
    page.go(start(server, "stay", "a"))
    page.sees("live", "#link")

    server.end(signal.SIGKILL)
    serving("--store", "memory://", port=server.port)

    page.sees("There is no run “a”", "main", within_s=RESTART_S)
    page.sees("idle", "#link")
    page.until("document.querySelectorAll('#listed li').length === 0")


def test_the_access_token_is_asked_for(serving: Serve, page: Page) -> None:
    page.expected = "status of 401"
    server = serving("--token", "open-sesame-0123456789")
    page.go(server.url + "/#/functions/echo")
    page.sees("Sign in", "main")
    page.type("wrong")
    page.press("Enter", 13)
    page.sees("not the access token", "#refusal")

    page.fill("#token", "open-sesame-0123456789")
    page.click("main button", "Sign in")

    page.fill(field("text", "echo"), "inside")
    page.click("main button", "Run")
    page.sees("done", "#status")
    page.sees("inside", "#texts")


def sign_in(page: Page, url: str, token: str) -> None:
    """Open the page of a server and sign in, which it must ask for."""
    page.go(url)
    page.sees("Sign in", "main")
    page.fill("#token", token)
    page.click("main button", "Sign in")
    page.until("document.querySelector('nav').checkVisibility()")


def test_a_browser_stays_signed_in_at_each_server_of_a_host(serving: Serve, page: Page) -> None:
    """It has one jar of cookies for all ports and paths of `127.0.0.1`."""
    page.expected = "status of 401"
    tokens = [f"token-{number}-0123456789" for number in range(3)]
    one, two = serving("--token", tokens[0]), serving("--token", tokens[1])
    headers = {"Authorization": f"Bearer {tokens[0]}", "Prefer": "respond-async"}
    for function, inputs in (("stay", {}), ("leave_files", {"names": ["a.txt"]})):
        body = {"run_id": function, "inputs": inputs}
        assert one.ask("POST", f"/invoke/{function}", body, headers).status == 202
    with serving_in_thread("mounted-starlette", token=tokens[2]) as three:
        mounted = f"http://127.0.0.1:{three.port}{three.prefix}"
        sign_in(page, f"{mounted}/", tokens[2])
        sign_in(page, f"{one.url}/", tokens[0])
        sign_in(page, f"{two.url}/", tokens[1])

        for url in (mounted, two.url, one.url):
            page.go(f"{url}/")
            page.until("document.querySelector('nav').checkVisibility()")
        page.go(f"{one.url}/#/runs/stay")
        page.sees("still here", "#texts")
        page.sees("live", "#link")
        page.go(f"{one.url}/#/runs/leave_files")
        page.until(f"{LINKS}.length === 1")
        assert page.get(f"fetch({LINKS}[0]).then(answer => answer.text())") == "a.txt"


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(server: Served, page: Page, scheme: str) -> None:
    page.look(width=360, height=740, scheme=scheme)
    page.go(start(server, "write_report", "a", title="Tides" * 50))
    page.sees("It was a dark", "#texts")
    widths: list[Any] = [page.get("document.documentElement.scrollWidth")]
    page.click(".back")
    page.until("document.querySelector('nav').checkVisibility()")
    widths.append(page.get("document.documentElement.scrollWidth"))
    page.click("nav a", "write_report")
    page.until("document.querySelector('form')?.checkVisibility()")
    widths.append(page.get("document.documentElement.scrollWidth"))

    assert widths == [360, 360, 360]


def test_the_page_is_one_small_file(server: Served, page: Page) -> None:
    page.go(server.url + "/")
    page.sees("write_report", "nav")

    assert len(server.ask("GET", "/").body) < 48_000
    assert {url.split("?")[0] for url in page.requested} <= {
        f"{server.url}/{path}" for path in ("", "healthz", "runs", "functions")
    } | {"about:blank"}


# --- its fold -------------------------------------------------------------------------------------


def test_the_page_folds_steps_as_the_server_does(server: Served, page: Page) -> None:
    places = [("x", ""), ("", "x"), ("x › y", ""), ("x", "y"), ("", ""), ("__proto__", "")]
    places += [(f"node-{number}", "") for number in range(70)]
    types = ["step_start", "step_progress", "step_complete", "node_complete"]
    datas: list[Any] = [
        "told",
        None,
        {"message": "told"},
        {"percent": 40},
        {"current": 1, "total": 3},
        [1],
    ]
    datas += [{"message": "told", "step_id": "a"}, {"percent": 50, "step_id": "b"}]
    chosen = random.Random(0)
    events = [
        Event(
            seq=seq,
            time=float(seq),
            type=chosen.choices(types, (9, 6, 1, 1))[0],
            data=chosen.choice(datas),
            node=place[0],
            agent=place[1],
        )
        for seq, place in enumerate(chosen.choices(places, k=600), 1)
    ]
    page.go(server.url + "/")
    told: list[str] = []
    wanted: list[str] = []
    snapshot = Snapshot()
    page.get("window.folded = {steps: [], completed_steps: []}; 0")
    for start in range(0, len(events), 20):
        for event in events[start : start + 20]:
            apply(snapshot, event)
        some = msgspec.json.encode(events[start : start + 20]).decode()
        page.get(f"for (const event of {some}) apply(folded, event); 0")
        steps = page.get(
            "folded.steps.map(s => join(s.node, '|', s.agent, s.message, s.note,"
            " percentText(s.percent)))"
        )
        told.append("\n".join(steps))
        wanted.append("\n".join(map(_line, snapshot.steps)))
    assert told == wanted
    assert snapshot.dropped.steps > 0
    completed = page.get("folded.completed_steps.map(s => [s.seq, s.message, s.note, s.duration])")
    assert [[seq, *(each or "" for each in said), took] for seq, *said, took in completed] == [
        [step.seq, step.message, step.note, step.duration] for step in snapshot.completed_steps
    ]
    assert snapshot.dropped.completed_steps > 0


def test_the_page_folds_named_bars_as_the_server_does(server: Served, page: Page) -> None:
    chosen = random.Random(1)
    events = [
        Event(
            seq=seq,
            time=float(seq),
            type="progress",
            data={"task": f"bar {chosen.randrange(40)}", "percent": chosen.choice((0, 50, 100))},
            node=chosen.choice(("", "n")),
        )
        for seq in range(1, 301)
    ]
    snapshot = Snapshot()
    for event in events:
        apply(snapshot, event)
    page.go(server.url + "/")
    page.get("window.folded = {bars: []}; 0")
    some = msgspec.json.encode(events).decode()
    page.get(f"for (const event of {some}) apply(folded, event); 0")

    told = page.get("folded.bars.map(bar => [bar.task, bar.node ?? '', bar.percent, bar.seq])")
    assert told == [[bar.task, bar.node, bar.percent, bar.seq] for bar in snapshot.bars]
    assert snapshot.dropped.bars > 0


def test_the_page_folds_results_of_unnamed_calls_as_the_server_does(
    server: Served, page: Page
) -> None:
    told: list[dict[str, Any]] = [
        {"type": "tool_call", "data": {"tool": "t"}, "node": "a"},
        {"type": "tool_call", "data": {"tool": "t"}, "node": "b"},
        {"type": "tool_call", "data": {"tool": "t", "call_id": "c"}, "node": "a"},
        {"type": "tool_result", "data": {"tool": "t", "result": 1}, "node": "a"},
        {"type": "tool_result", "data": {"call_id": "c", "result": 2}},
        {"type": "tool_result", "data": {"tool": "t", "result": 3}, "agent": "b"},
    ]
    events = [Event(seq=seq, time=float(seq), **each) for seq, each in enumerate(told, 1)]
    page.go(server.url + "/")
    some = msgspec.json.encode(events).decode()
    page.get(f"window.folded = {{tools: []}}; for (const e of {some}) apply(folded, e); 0")

    results = page.get("folded.tools.map(tool => tool.result ?? null)")

    assert results == [tool.result for tool in fold(events).tools] == [1, None, 2, 3]


def test_the_page_folds_what_is_tried_again_as_the_server_does(server: Served, page: Page) -> None:
    kinds = ["content", "thinking", "tool_call", "tool_call_delta", "tool_result", "started"]
    chosen = random.Random(0)
    events = [
        Event(
            seq=seq,
            time=float(seq),
            type=chosen.choice(kinds),
            data={
                "text": chosen.choice("abc"),
                "message_id": chosen.choice(["m", "n"]),
                "call_id": chosen.choice(["c", "d", ""]),
                "attempt": chosen.choice([1, 1, 1, 2, 3, "2", 0]),
                "recovered": chosen.choice([True, False]),
                "tool": "t",
                "args": seq,
                "result": seq,
            },
        )
        for seq in range(1, 60)
    ]
    page.go(server.url + "/")
    page.get("window.folded = {texts: [], tools: [], steps: [], labels: {}, attempt: 1}; 0")
    snapshot = Snapshot()
    for event in events:
        apply(snapshot, event)
        page.get(f"apply(folded, {msgspec.json.encode(event).decode()}); 0")
        texts = page.get("folded.texts.map(t => [t.kind, t.message_id, t.text, t.attempt])")
        tools = page.get(
            "folded.tools.map(t => [t.call_id, t.args ?? null, t.args_text ?? '',"
            " t.result ?? null, t.attempt ?? 1])"
        )

        assert texts == [[t.kind, t.message_id, t.text, t.attempt] for t in snapshot.texts]
        assert tools == [
            [t.call_id, t.args, t.args_text, t.result, t.attempt] for t in snapshot.tools
        ]


def _line(step: Step) -> str:
    percent = "" if step.percent is None else f"{math.floor(step.percent)} %"
    parts = (step.node, "|", step.agent, step.message, step.note, percent)
    return " · ".join(filter(None, parts))
