"""The example of a chat agent."""

import json
from collections.abc import Iterator

import httpx2
import pytest

from tests.examples.running import copy, events_of, serve_app
from tests.waiting import WAIT_S


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A client of the example, in a process of its own."""
    with (
        serve_app(copy("chat_agent", tmp_path_factory.mktemp("example"))) as url,
        httpx2.Client(base_url=url, timeout=WAIT_S) as client,
    ):
        yield client


def send(chat: httpx2.Client) -> str:
    """Send a message as the page does; return the run's id."""
    answer = chat.post(
        "/runcast/invoke/chat",
        json={"inputs": {"message": "Please refund order 17"}},
        headers={"Prefer": "respond-async"},
    )
    return str(answer.json()["run_id"])


def until_asked(chat: httpx2.Client, run_id: str) -> dict[str, object]:
    """Watch until the agent asks; return the question."""
    *_, asked = events_of(chat, f"/runcast/runs/{run_id}/events", until="interrupt_request")
    return dict(asked["data"])


def answer(chat: httpx2.Client, run_id: str, question: object, said: object) -> None:
    path = f"/runcast/runs/{run_id}/interrupts/{question}"
    assert chat.post(path, json=said).status_code == 200


def types_and_text(chat: httpx2.Client, run_id: str) -> tuple[list[str], str]:
    events = events_of(chat, f"/runcast/runs/{run_id}/events")
    text = "".join(event["data"]["text"] for event in events if event["type"] == "content")
    return [event["type"] for event in events], text


def test_the_page_is_there(chat: httpx2.Client) -> None:
    assert "EventSource" in chat.get("/").text


def test_tools_are_called_after_a_person_approved_also_with_other_arguments(
    chat: httpx2.Client,
) -> None:
    run_id = send(chat)
    question = until_asked(chat, run_id)
    assert question["args"] == {"order": "17", "amount": 30}
    less = {"type": "edit", "args": {"order": "17", "amount": 20}}
    answer(chat, run_id, question["interrupt_id"], less)

    types, text = types_and_text(chat, run_id)

    assert text.strip() == "I found your teapot. Done: 20 paid back for order 17."
    assert types.count("tool_call") == types.count("tool_result") == 2
    assert (types[1], types[-1]) == ("thinking", "done")


def test_what_is_refused_is_not_done(chat: httpx2.Client) -> None:
    run_id = send(chat)
    answer(chat, run_id, until_asked(chat, run_id)["interrupt_id"], {"type": "reject"})

    types, text = types_and_text(chat, run_id)

    assert text.strip().endswith("I may not pay it back.")
    assert types.count("tool_call") == 1


def test_a_refresh_sees_everything_again_and_a_cut_resumes_behind_the_last_event(
    chat: httpx2.Client,
) -> None:
    run_id = send(chat)
    question = until_asked(chat, run_id)["interrupt_id"]
    path, seen = f"/runcast/runs/{run_id}/events", []
    with chat.stream("GET", path, headers={"Accept": "text/event-stream"}) as stream:
        position = ""
        for line in stream.iter_lines():  # the refresh: from the beginning, to the question
            position = line.removeprefix("id: ") if line.startswith("id: ") else position
            if line.startswith("data: "):
                seen.append(json.loads(line[6:])["type"])
                if seen[-1] == "interrupt_request":
                    break
    answer(chat, run_id, question, {"type": "accept"})

    headers = {"Accept": "text/event-stream", "Last-Event-ID": position}
    rest = [
        json.loads(line[6:])["type"]
        for line in chat.get(path, headers=headers).text.splitlines()
        if line.startswith("data: ")
    ]

    assert seen + rest == types_and_text(chat, run_id)[0]
    assert rest[0] == "interrupt_response"


def test_stop_ends_the_agent(chat: httpx2.Client) -> None:
    run_id = send(chat)
    until_asked(chat, run_id)

    chat.post(f"/runcast/runs/{run_id}/cancel", json={"reason": "stopped by the user"})

    types, _ = types_and_text(chat, run_id)
    assert types[-1] == "cancelled"
