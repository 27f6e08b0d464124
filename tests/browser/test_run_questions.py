"""Questions of runs, answered in a real browser: nothing that a person typed is lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.browser.chromium import Browser, Page
from tests.browser.runs import Serve, serving_on, start
from tests.cli.served import Served

pytestmark = pytest.mark.heavy

STATUS: Final = ".run-status"
ARGS: Final = ".question textarea.mono"
SAID: Final = ".question textarea:not(.mono)"
BUTTONS: Final = (
    "[...document.querySelectorAll('.question-foot button')].map(it => it.innerText.trim())"
)


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serve]:
    with serving_on(tmp_path) as serve:
        yield serve


@pytest.fixture
def server(serving: Serve) -> Served:
    return serving()


def ask(page: Page, server: Served, run_id: str = "a", **inputs: object) -> None:
    """Show a run that waits for an answer."""
    page.go(start(server, "ask_first", run_id, **(inputs or {"path": "/old"})))
    page.sees("May this be removed?", ".question")
    page.sees("Waiting", STATUS)


def sent(page: Page) -> list[dict[str, Any]]:
    """Return the answers that the page has sent."""
    return [json.loads(body) for body in page.bodies if body.startswith('{"type"')]


def test_a_question_is_accepted_as_it_is(server: Served, page: Page) -> None:
    ask(page, server)
    assert json.loads(page.get(f"document.querySelector('{ARGS}').value")) == {"path": "/old"}
    page.fill(".question-by input", "ann")

    page.click(".question-foot button", "Approve")

    page.sees("Done", STATUS)
    page.until("!document.querySelector('.question')")
    page.sees("Approved", ".asked")
    page.sees("by ann", ".asked")
    assert sent(page) == [{"type": "accept", "by": "ann"}]
    page.go(f"{server.url}/#/runs/a")  # and after it was loaded again
    page.sees("by ann", ".asked")


def test_accepting_changed_arguments_accepts_the_changes(server: Served, page: Page) -> None:
    ask(page, server)
    page.fill(ARGS, '{"path": 12345678901234567890')
    assert page.get(BUTTONS)[0] == "Approve with changes"
    page.click(".question-foot button", "Approve")
    page.sees("This is not JSON yet.", ".question")
    assert sent(page) == []
    page.fill(ARGS, '{"path": 12345678901234567890}')

    page.click(".question-foot button", "Approve with changes")

    page.sees("Done", STATUS)
    page.sees("Approved with changes", ".asked")
    page.sees("12345678901234567890", ".asked")
    assert '{"type":"edit","args":{"path":12345678901234567890}}' in page.bodies
    assert server.ask("GET", "/runs/a").json["state"]["answered"][0]["answer"] == "edit"


def test_what_a_rejection_does_not_send_is_named_first(server: Served, page: Page) -> None:
    ask(page, server)
    page.fill(ARGS, '{"path": "/new"}')
    page.click(".question-foot button", "Reject")
    page.sees("You changed the arguments, which this answer does not send.", ".question")
    page.fill(SAID, "not today")
    page.click(".question-foot button", "Respond")
    page.sees("You changed the arguments", ".question")
    assert (sent(page), server.ask("GET", "/runs/a").json["status"]) == ([], "waiting")
    page.click(".question button", "Undo the changes")

    page.click(".question-foot button", "Reject with this reason")

    page.sees("Rejected", ".asked")
    page.sees("not today", ".asked")
    assert sent(page) == [{"type": "reject", "args": "not today"}]


def test_a_typed_response_is_not_dropped_by_approving(server: Served, page: Page) -> None:
    ask(page, server)
    page.fill(SAID, "but slowly")
    page.click(".question-foot button", "Approve")
    page.sees("You typed a response, which approving does not send.", ".question")
    assert sent(page) == []

    page.click(".question-foot button", "Respond")

    page.sees("Responded", ".asked")
    page.sees("but slowly", ".asked")


def test_what_is_typed_survives_a_reload(server: Served, page: Page) -> None:
    ask(page, server)
    page.fill(ARGS, '{"path": "/new"')
    page.fill(SAID, "half a thou")

    page.go(f"{server.url}/#/runs/a")

    page.until(f"document.querySelector('{ARGS}')?.value === '{{\"path\": \"/new\"'")
    assert page.get(f"document.querySelector('{SAID}').value") == "half a thou"


def test_an_answer_given_elsewhere_is_shown_with_what_was_typed_here(
    server: Served, page: Page, browser: Browser
) -> None:
    ask(page, server)
    page.fill(SAID, "my thoughts")
    other = browser.open_page()
    other.look()
    other.go(f"{server.url}/#/runs/a")
    other.fill(".question-by input", "bob")
    other.click(".question-foot button", "Approve")

    page.sees("by bob", ".asked")
    page.until("!document.querySelector('.question')")
    page.sees("was answered elsewhere. You had typed: my thoughts", ".run-notices")
    other.close()


def test_all_digits_of_proposed_numbers_are_shown(server: Served, page: Page) -> None:
    path = [2**53 + 1, -(10**30), 1.5, "12345678901234567890", 7]
    ask(page, server, path=path)

    assert json.loads(page.get(f"document.querySelector('{ARGS}').value")) == {"path": path}


def test_a_question_offers_the_answers_that_it_allows(server: Served, page: Page) -> None:
    page.go(start(server, "ask_for_words", "a"))
    page.sees("How shall it be called?", ".question")
    assert page.get(BUTTONS) == ["Respond", "Reject"]
    page.click(".question summary")
    page.sees("maxLength: 9", ".question")

    page.fill(SAID, 'The "Tides"')
    page.click(".question-foot button", "Respond")

    page.sees("Done", STATUS)
    assert server.ask("GET", "/runs/a").json["state"]["result"] == 'The "Tides"'


def test_a_choice_is_one_press(server: Served, page: Page) -> None:
    page.go(start(server, "ask_to_choose", "a"))
    page.click(".question-choices button", "blue")

    page.sees("Done", STATUS)
    assert server.ask("GET", "/runs/a").json["state"]["result"] == "blue"
