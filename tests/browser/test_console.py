"""The console in a real browser, before a real server: its forms, its lists, its frame."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.browser.chromium import Browser, Page
from tests.cli.served import Served, serve
from tests.http.serving import serving_in_thread

pytestmark = pytest.mark.heavy

TARGET: Final = str(Path(__file__).with_name("functions.py"))

RESTART_S: Final = 15.0
"""A server's start on a busy machine, and the longest wait of a page before it tries again."""

REFUSED: Final = (
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


def field(name: str, function: str = "write_report") -> str:
    """Return the selector of a form's control."""
    return f"[id='{function}.{name}']"


def open_form(page: Page, server: Served, function: str) -> None:
    page.go(f"{server.url}/#/functions/{function}")
    page.until("document.querySelector('form.form')")


def press_run(page: Page) -> None:
    page.click("form button[type=submit]")


def started(page: Page, server: Served, function: str) -> dict[str, Any]:
    """Return the run that the form has started, once the page shows it and it has ended."""
    page.until("location.hash.startsWith('#/runs/')")
    run_id = page.get("decodeURIComponent(location.hash.slice('#/runs/'.length))")
    page.sees("Done", "main")
    run: dict[str, Any] = server.ask("GET", f"/runs/{run_id}").json
    assert run["function"] == function
    return run


def statuses(page: Page) -> list[str]:
    """Return the statuses that the list of runs shows, from its top."""
    found: list[str] = page.get(
        "[...document.querySelectorAll('.runs:not(.brief) .badge')].map(it => it.innerText)"
    )
    return found


# --- forms ----------------------------------------------------------------------------------------


def test_a_run_is_started_by_its_form(server: Served, page: Page) -> None:
    page.go(server.url + "/")
    page.click("nav a", "write_report")
    page.sees("Everything that the page can show is in it.", "main")
    assert page.get(f"document.querySelector({json.dumps(field('chapters'))}).value") == "2"
    page.fill(field("title"), "Tides")
    page.fill(field("sources.0"), "sea")
    page.click("main button", "Add an item")
    page.fill(field("sources.1"), "moon")
    page.choose(field("tone"), "1")
    page.click(field("draft"))
    press_run(page)
    page.until("location.hash.startsWith('#/runs/')")
    server.start("open_gate", "gate", gate="report")

    result = started(page, server, "write_report")["state"]["result"]
    sent = {"title": "Tides", "chapters": 2, "tone": "warm", "sources": ["sea", "moon"]}
    assert {name: result[name] for name in sent} == sent
    assert (result["draft"], result["editor"]) == (True, None)


def test_a_form_has_a_control_for_every_kind_of_input(server: Served, page: Page) -> None:
    open_form(page, server, "pack")
    page.click("main button[aria-label='Add an item: boxes']")
    page.sees("in centimetres", "form")
    page.sees("whole number ≥ 1, ≤ 200", "form")
    page.fill(field("boxes.0.width", "pack"), "20")
    page.click("main button[aria-label='Add an item: things']")
    page.fill(field("boxes.0.things.0", "pack"), "cup")
    page.click("main button[aria-label='Add an item: prices']")
    page.fill(field("prices.0.name", "pack"), "cup")
    page.fill(field("prices.0", "pack"), "9.50")
    page.choose(field("gift", "pack"), "true")
    page.click(field("marks.0", "pack"))
    page.choose(field("to.kind", "pack"), "0")
    page.fill(field("to.name", "pack"), "Grace")
    page.fill(field("pin", "pack"), "1234")
    page.fill(field("more", "pack"), '{"any": [1, null]}')
    press_run(page)

    run = started(page, server, "pack")
    assert run["state"]["result"] == {
        "boxes": [{"width": 20, "things": ["cup"]}],
        "prices": {"cup": 9.5},
        "weight": None,
        "gift": True,
        "marks": ["fragile", "top"],
        "to": {"name": "Grace"},
        "pin": 4,
        "more": {"any": [1, None]},
    }


def test_inputs_of_classes_are_in_the_form(server: Served, page: Page) -> None:
    open_form(page, server, "plan")
    page.sees("the last day", "form")
    choices = f"[...document.querySelector({json.dumps(field('kind', 'plan'))}).options]"
    assert page.get(f"{choices}.map(it => it.textContent)") == ["weekly", "daily"]
    page.fill(field("owner.name", "plan"), "Ada")
    page.choose(field("due", "plan"), "2025-02-28")
    press_run(page)

    assert started(page, server, "plan")["state"]["result"] == [
        ["_Owner", {"name": "Ada"}],
        ["_Kind", "weekly"],
        ["date", "2025-02-28"],
        ["PosixPath", "reports"],
    ]


def test_what_is_wrong_is_told_beside_the_input(server: Served, page: Page) -> None:
    page.expected = "status of 422"
    open_form(page, server, "write_report")
    page.fill(field("title"), "Tides")
    page.fill(field("chapters"), "many")
    press_run(page)
    page.sees("expected a whole number", field("chapters-problem"))
    page.until(f"document.activeElement.matches({json.dumps(field('chapters'))})")
    assert not any("/invoke/" in url for url in page.requested)

    page.fill(field("chapters"), "2")
    page.click("form button", "JSON")
    page.fill(field("json"), '{"title": "Tides", "chapters": 1.5, "sources": ["x", 1]}')
    press_run(page)
    page.sees("chapters: Expected `int`", "form")
    page.click("form button", "Form")
    assert page.get(f"document.querySelector({json.dumps(field('chapters'))}).value") == "1.5"
    assert server.ask("GET", "/runs").json["runs"] == []


def test_the_problems_of_the_server_are_shown_at_their_fields(server: Served, page: Page) -> None:
    page.expected = "status of 422"
    open_form(page, server, "plan")
    page.fill(field("owner.name", "plan"), "Ada")
    # The server checks what no form can: this date does not exist.
    page.get(f"document.querySelector({json.dumps(field('due', 'plan'))}).type = 'text'")
    page.fill(field("due", "plan"), "2025-02-30")
    press_run(page)

    page.sees("date", field("due-problem", "plan"))
    due = f"document.querySelector({json.dumps(field('due', 'plan'))})"
    page.until(f"document.activeElement === {due} && {due}.ariaInvalid === 'true'")
    page.sees("1 field needs a look.", "form")


def test_inputs_can_be_written_as_json(server: Served, page: Page) -> None:
    open_form(page, server, "echo")
    page.fill(field("text", "echo"), "from the form")
    page.click("form button", "JSON")
    text = f"document.querySelector({json.dumps(field('json', 'echo'))}).value"
    assert json.loads(page.get(text)) == {"text": "from the form"}
    page.fill(field("json", "echo"), '{"text": ')
    page.click("form button", "Form")
    page.sees("expected JSON", field("json-problem", "echo"))
    page.fill(field("json", "echo"), '{"text": "from JSON"}')
    press_run(page)

    result = started(page, server, "echo")["state"]["result"]
    assert result["from JSON"] == "from JSON"


def test_a_whole_number_keeps_all_its_digits(server: Served, page: Page) -> None:
    open_form(page, server, "log_much")
    page.fill(field("lines", "log_much"), "-123456789012345678")
    press_run(page)
    page.until("location.hash.startsWith('#/runs/')")
    assert '{"inputs":{"lines":-123456789012345678}}' in [
        body.replace(',"secrets":{}', "").replace(',"_secrets":{}', "") for body in page.bodies
    ]

    run_id = page.get("location.hash.slice('#/runs/'.length)")
    page.go(f"{server.url}/#/functions/log_much?from={run_id}")
    page.until(
        f"document.querySelector({json.dumps(field('lines', 'log_much'))})?.value"
        " === '-123456789012345678'"
    )


def test_what_is_typed_survives_a_reload_and_another_view(server: Served, page: Page) -> None:
    open_form(page, server, "pack")
    page.fill(field("pin", "pack"), "hush")
    page.click("main button[aria-label='Add an item: boxes']")
    page.fill(field("boxes.0.width", "pack"), "much")
    page.click("header a", "Runs")
    page.sees("No runs yet", "main")
    page.click("nav a", "pack")
    value = f"document.querySelector({json.dumps(field('boxes.0.width', 'pack'))})?.value"
    pin = f"document.querySelector({json.dumps(field('pin', 'pack'))})?.value"
    page.until(f"{value} === 'much' && {pin} === 'hush'")

    page.call("Page.reload")

    page.until(f"{value} === 'much' && {pin} === ''")
    assert "hush" not in page.get("JSON.stringify([{...sessionStorage}, {...localStorage}])")
    page.click("form button", "Start over")
    page.until(f"{value} === undefined")
    page.click(".notice button", "Undo")
    page.until(f"{value} === 'much'")


def test_a_run_is_repeated_with_its_inputs_or_with_others(server: Served, page: Page) -> None:
    body = {"run_id": "a", "inputs": {"text": "first"}, "labels": {"thread": "t"}}
    server.ask("POST", "/invoke/echo", body, {"Prefer": "respond-async"})
    open_form(page, server, "echo")
    page.fill(field("text", "echo"), "half typed")
    page.go(f"{server.url}/#/functions/echo?from=a")
    page.sees("The form has the inputs of the run a.", "main")
    text = f"document.querySelector({json.dumps(field('text', 'echo'))})?.value"
    page.until(f"{text} === 'first'")
    press_run(page)
    run = started(page, server, "echo")
    assert (run["labels"], "first" in run["state"]["result"]) == ({"thread": "t"}, True)

    page.go(f"{server.url}/#/functions/echo?from=a")
    page.until(f"{text} === 'first'")
    page.fill(field("text", "echo"), "second")
    press_run(page)
    assert "second" in started(page, server, "echo")["state"]["result"]


def test_a_form_that_is_filled_again_gives_back_what_was_typed(server: Served, page: Page) -> None:
    server.start("echo", "a", text="first")
    open_form(page, server, "echo")
    page.fill(field("text", "echo"), "half typed")
    page.get("location.hash = '#/functions/echo?from=a'")
    text = f"document.querySelector({json.dumps(field('text', 'echo'))})?.value"
    page.until(f"{text} === 'first'")

    page.click("main button", "Bring back what I typed")

    page.until(f"{text} === 'half typed'")


def drop(names: dict[str, str], selector: str) -> str:
    """Return the script that drops files on an element."""
    return (
        f"(files => {{ for (const [name, text] of Object.entries({json.dumps(names)}))"
        " files.items.add(new File([text], name));"
        f" document.querySelector({json.dumps(selector)}).dispatchEvent(new DragEvent('drop',"
        " {bubbles: true, cancelable: true, dataTransfer: files})); })(new DataTransfer())"
    )


def test_files_are_dropped_and_given_to_a_run(server: Served, page: Page) -> None:
    open_form(page, server, "join_texts")
    press_run(page)
    page.sees("expected at least 1 file", field("files.texts-problem", "join_texts"))
    page.get(drop({"ä 1.txt": "sea", "b.txt": "moon", "c.txt": "sun"}, ".drop"))
    page.until("document.querySelectorAll('.file-list .icon-file').length === 3")
    page.click("button[aria-label='Remove c.txt']")
    page.call("Page.reload")  # they are uploaded already
    page.sees("b.txt", "form")
    press_run(page)

    result = started(page, server, "join_texts")["state"]["result"]
    assert sorted(result.split()) == ["moon", "sea"]


def test_the_form_can_be_used_with_the_keyboard_alone(server: Served, page: Page) -> None:
    page.go(server.url + "/")
    page.sees("No runs yet", "main")
    page.press("g", ord("G"))
    page.press("f", ord("F"))
    page.until("document.activeElement.textContent === 'Functions'")
    page.press("/", 191)
    page.type("ech")
    page.until("document.querySelectorAll('.card').length === 1")
    page.press("Tab", 9)
    page.press("Enter", 13)
    page.until(
        "document.activeElement.matches('h1') && document.activeElement.textContent === 'echo'"
    )
    for _ in range(3):
        page.press("Tab", 9)
    for key in "ok":
        page.press(key, ord(key.upper()))
    for _ in range(2):
        page.press("Tab", 9)
    page.press("Enter", 13)

    assert "ok" in started(page, server, "echo")["state"]["result"]
    page.until("document.activeElement.matches('h1')")


def test_a_function_is_shown_by_its_text_alone(page: Page, tmp_path: Path) -> None:
    target = tmp_path / "hostile.py"
    target.write_text(
        "import runcast\n"
        "def call(a: str = '<b>\"&'): ...\n"
        "FUNCTIONS = [runcast.Function(call, name='f', description='<img src=x>\\n\\n<b>x</b>')]\n"
    )
    with serve(f"{target.stem}:FUNCTIONS", cwd=tmp_path) as server:
        open_form(page, server, "f")
        page.sees("<img src=x>", "main")
        page.sees("<b>x</b>", "main")
        assert page.get(f"document.querySelector({json.dumps(field('a', 'f'))}).value") == '<b>"&'
        press_run(page)
        started(page, server, "f")


# --- lists ----------------------------------------------------------------------------------------


def test_the_list_shows_runs_as_they_change(server: Served, page: Page) -> None:
    server.start("stay", "s")
    page.go(server.url + "/")
    page.until("document.querySelectorAll('.listed').length === 1")
    assert statuses(page) == ["Running"]
    server.start("echo", "e", text="x")
    page.until("document.querySelectorAll('.listed').length === 2")
    page.until("document.querySelector('.listed .badge').innerText === 'Done'")
    server.ask("POST", "/runs/s/cancel")
    page.until("document.querySelectorAll('.listed .badge')[1].innerText === 'Cancelled'")
    server.ask("DELETE", "/runs/e")
    page.until("document.querySelectorAll('.listed').length === 1")
    page.sees("Live", "header")
    assert not page.streams  # the windows of a browser share one


def test_filters_are_in_the_address_and_hold_for_changes(server: Served, page: Page) -> None:
    server.start("stay", "s")
    server.start("echo", "e", text="x")
    page.go(server.url + "/")
    page.until("document.querySelectorAll('.listed').length === 2")
    page.choose("select[aria-label=Status]", "running")
    page.until("document.querySelectorAll('.listed').length === 1")
    assert page.get("location.hash") == "#/?status=running"
    server.start("stay", "t")
    page.until("document.querySelectorAll('.listed').length === 2")
    server.ask("POST", "/runs/s/cancel")
    page.until("document.querySelectorAll('.listed').length === 1")
    page.choose("select[aria-label=Function]", "echo")
    page.sees("No run matches the filters", "main")
    page.call("Page.reload")
    page.sees("No run matches the filters", "main")
    assert page.get("document.querySelector('select[aria-label=Status]').value") == "running"
    page.click("main button", "Clear filters")
    page.until("document.querySelectorAll('.listed').length === 3")

    page.choose("select[aria-label=Time]", "hour")
    page.sees("3 runs; older ones are outside the time filter", "main")


def test_older_runs_come_as_the_list_is_scrolled_and_few_rows_are_drawn(
    server: Served, page: Page
) -> None:
    for number in range(170):
        server.start("echo", f"e{number:03}", text="x")
    page.go(server.url + "/")
    page.sees("older ones follow as you scroll", "main")
    rows = "document.querySelectorAll('.listed').length"
    assert 0 < page.get(rows) < 60
    to_end = "scrollTo(0, document.documentElement.scrollHeight)"
    page.until(f"({to_end}, document.body.innerText.includes('e000'))")
    page.sees("170 runs", "main")
    assert page.get(rows) < 60
    assert page.get("document.querySelector('.listed').ariaSetSize") == "170"


def test_the_runs_of_a_thread_have_a_page(server: Served, page: Page) -> None:
    def begin(run_id: str, thread: str) -> None:
        body = {"run_id": run_id, "inputs": {"text": "x"}, "labels": {"thread": thread}}
        server.ask("POST", "/invoke/echo", body, {"Prefer": "respond-async"})

    odd = "a/b ü?#&=%"
    begin("one", odd)
    begin("other", "elsewhere")
    page.go(server.url + "/")
    page.click(".listed a.tag", odd)
    page.sees(f"Thread {odd}", "h1")
    page.until("document.querySelectorAll('.listed').length === 1")
    begin("two", odd)
    begin("three", "elsewhere")
    page.until("document.querySelectorAll('.listed').length === 2")
    page.call("Page.reload")
    page.until("document.querySelectorAll('.listed').length === 2")
    page.sees(f"Thread {odd}", "h1")


# --- the connection -------------------------------------------------------------------------------


def test_the_list_resumes_after_the_server_was_killed(serving: Serve, page: Page) -> None:
    page.expected = REFUSED
    server = serving()
    server.start("stay", "s")
    page.go(server.url + "/")
    page.sees("Live", "header")
    server.end(signal.SIGKILL)
    page.sees("Reconnecting", "header")
    page.sees("stay", "main")

    server = serving(port=server.port)

    page.until("/Live|Resumed/.test(document.querySelector('header').innerText)", RESTART_S)
    page.until("document.querySelector('.listed .badge').innerText === 'Failed'", RESTART_S)
    server.start("echo", "e", text="x")
    page.until("document.querySelectorAll('.listed').length === 2")


def test_a_page_that_nobody_sees_holds_no_connection(server: Served, page: Page) -> None:
    page.expected = "ERR_ABORTED"
    page.go(server.url + "/")
    page.sees("Live", "header")
    page.hide()
    page.until("document.querySelector('header').innerText.includes('Paused')", RESTART_S)
    assert page.streams == set()
    server.start("echo", "e", text="x")

    page.hide(False)

    page.sees("Live", "header")
    page.until("document.querySelectorAll('.listed').length === 1")


def test_eight_tabs_watch_eight_runs(server: Served, page: Page, browser: Browser) -> None:
    """A browser opens six connections to a server, over all tabs: of eight tabs one is seen."""
    page.expected = "ERR_ABORTED"
    for number in range(8):
        server.start("stay", f"s{number}")
    tabs = [page, *(browser.open_page(beside=page) for _ in range(7))]
    for number, tab in enumerate(tabs):
        tab.call("Page.bringToFront")
        tab.go(f"{server.url}/#/runs/s{number}")
        tab.sees("still here", "main")
        tab.sees("Live", "header")
    for number, tab in enumerate(tabs):
        server.ask("POST", f"/runs/s{number}/cancel")
        tab.call("Page.bringToFront")
        tab.sees("Cancelled", "main")


# --- who may come in ------------------------------------------------------------------------------


def sign_in(page: Page, url: str, token: str) -> None:
    """Open the console of a server and sign in, which it must ask for."""
    page.go(url)
    page.sees("Sign in", "main")
    page.fill("#token", token)
    page.click("main button", "Sign in")
    page.until("document.querySelector('.rail a')")


def test_the_access_token_is_asked_for(serving: Serve, page: Page) -> None:
    page.expected = "status of 401"
    server = serving("--token", "open-sesame-0123456789")
    page.go(server.url + "/#/functions/echo")
    page.sees("Sign in", "main")
    page.until("document.activeElement.id === 'token'")
    page.type("wrong")
    page.press("Enter", 13)
    page.sees("not the access token", "#token-problem")

    page.fill("#token", "open-sesame-0123456789")
    page.click("main button", "Sign in")

    page.fill(field("text", "echo"), "inside")
    press_run(page)
    page.sees("Done", "main")


def test_a_browser_stays_signed_in_at_each_server_of_a_host(serving: Serve, page: Page) -> None:
    """It has one jar of cookies for all ports and paths of `127.0.0.1`."""
    page.expected = "status of 401"
    tokens = [f"token-{number}-0123456789" for number in range(3)]
    one, two = serving("--token", tokens[0]), serving("--token", tokens[1])
    headers = {"Authorization": f"Bearer {tokens[0]}", "Prefer": "respond-async"}
    assert one.ask("POST", "/invoke/stay", {"run_id": "stay"}, headers).status == 202
    with serving_in_thread("mounted-starlette", token=tokens[2]) as three:
        mounted = f"http://127.0.0.1:{three.port}{three.prefix}"
        page.go(f"{mounted}/")
        page.fill("#token", tokens[2])
        page.click("main button", "Sign in")
        page.sees("Live", "header")
        sign_in(page, f"{one.url}/", tokens[0])
        sign_in(page, f"{two.url}/", tokens[1])

        for url in (mounted, two.url, one.url):
            page.go(f"{url}/")
            page.sees("Live", "header")
        page.go(f"{one.url}/#/runs/stay")
        page.sees("still here", "main")


def test_the_address_of_a_run_leads_nowhere_else(server: Served, page: Page) -> None:
    for name in ("..", ".", ".a", "-", "a/../b", "%2e%2e"):
        page.go(f"{server.url}/#/runs/{name}")
        page.sees("There is no such page", "main")

    assert not any("/runs/" in url for url in page.requested if "#" not in url)


# --- how it looks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_view_fits_a_phone_in_both_languages(
    server: Served, page: Page, language: str
) -> None:
    server.start("echo", "a" * 120, text="x" * 300)
    page.look(width=360, height=740)
    page.go(server.url + "/")
    page.get(f"localStorage.setItem('runcast.language', '{language}')")
    for address in ("#/", "#/functions", "#/functions/pack", f"#/runs/{'a' * 120}", "#/threads/x"):
        page.go(f"{server.url}/{address}")
        page.until("document.querySelector('h1')")
        assert page.get("document.documentElement.scrollWidth") == 360, address
        assert page.get("document.documentElement.lang") == language


def test_the_language_and_the_colours_are_remembered(server: Served, page: Page) -> None:
    page.go(server.url + "/")
    page.sees("No runs yet", "main")
    page.choose("header select", "zh")
    page.sees("还没有运行", "main")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.get(ground)
    page.get("document.querySelector('main').focus()")
    page.press("t", ord("T"))
    page.press("t", ord("T"))
    page.until(f"{ground} !== {json.dumps(light)}")

    page.call("Page.reload")

    page.sees("还没有运行", "main")
    assert page.get(ground) != light


def test_a_run_is_opened_from_the_list_by_keys(server: Served, page: Page) -> None:
    for name in "abc":
        server.start("echo", name, text="x")
    page.go(server.url + "/")
    page.until("document.querySelectorAll('.listed').length === 3")
    for key in "jjjk":
        page.press(key, ord(key.upper()))
    page.until("document.activeElement.matches('.listed-link')")
    page.press("Enter", 13)
    page.until("location.hash === '#/runs/b'")
    page.until("document.activeElement.matches('h1')")


def test_the_shortcuts_are_listed(server: Served, page: Page) -> None:
    page.go(server.url + "/")
    page.sees("No runs yet", "main")
    page.press("?", 191)
    page.sees("Keyboard shortcuts", "dialog")
    page.sees("Show the functions", "dialog")
    page.press("Escape", 27)
    page.until("!document.querySelector('dialog')")


AXE: Final = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
def test_nothing_bars_anybody(server: Served, page: Page, scheme: str, width: int) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not there (python3 dev.py web)")
    page.expected = "status of 422"
    server.start("stay", "s")
    server.start("ask_first", "q", path="/old")
    body = {"run_id": "e", "inputs": {"text": "x"}, "labels": {"thread": "t", "a": "b"}}
    server.ask("POST", "/invoke/echo", body, {"Prefer": "respond-async"})
    server.start("fail", "f", key="k")
    page.look(width=width, scheme=scheme)
    addresses = ["#/", "#/?status=failed&label=a=b", "#/functions", "#/threads/t", "#/nowhere"]
    addresses += ["#/functions/pack", "#/functions/join_texts"]
    addresses += [f"#/runs/{run}" for run in "sqef"]
    found: dict[str, list[Any]] = {}
    for address in addresses:
        page.go(f"{server.url}/{address}")
        page.until("document.querySelector('h1, .empty')")
        if "pack" in address:
            page.click("form button", "Add an item")
            press_run(page)
            page.sees("needs a look", "form")
        page.get(AXE.read_text("utf-8") + "; 0")
        found[address] = page.get(
            "axe.run({resultTypes: ['violations']}).then(found => found.violations.map("
            "rule => [rule.id, rule.help, ...rule.nodes.map(node => node.html.slice(0, 200))]))"
        )
    assert {address: rules for address, rules in found.items() if rules} == {}
