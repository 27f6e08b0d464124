"""The example of a FastAPI application with a login."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.examples.running import EXAMPLES, copy, events_of, serve_app
from tests.waiting import WAIT_S

ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve_app(copy("fastapi_login", tmp_path_factory.mktemp("example"))) as url:
        yield url


@contextmanager
def logged_in(url: str, name: str, password: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, timeout=WAIT_S) as client:
        answer = client.post("/login", data={"name": name, "password": password})
        assert answer.status_code == 200, answer.text
        yield client


def begin(client: httpx2.Client, topic: str) -> str:
    """Begin a run and wait until it asks; return its id."""
    answer = client.post("/runcast/invoke/report", json={"inputs": {"topic": topic}}, headers=ASYNC)
    assert answer.status_code == 202, answer.text
    run_id = str(answer.json()["run_id"])
    events_of(client, f"/runcast/runs/{run_id}/events", until="interrupt_request")
    return run_id


def test_a_user_runs_watches_and_answers(url: str) -> None:
    with logged_in(url, "ada", "lovelace") as ada:
        run_id = begin(ada, "tea")
        ada.post(f"/runcast/runs/{run_id}/interrupts/write", json={"type": "accept"})

        events = events_of(ada, f"/runcast/runs/{run_id}/events")

    texts = [event["data"]["text"] for event in events if event["type"] == "content"]
    assert "".join(texts) == "All about tea."
    assert events[-1]["type"] == "done"


_BODIES: dict[str, dict[str, object]] = {
    "messages": {"data": 1},
    "cancel": {"reason": "mine"},
    "deliveries": {"target": "telegram:ops"},
    "links": {},
}


def test_for_another_user_nothing_of_it_exists_on_any_route(url: str) -> None:
    with logged_in(url, "ada", "lovelace") as ada, logged_in(url, "bob", "ross") as bob:
        run_id = begin(ada, "secrets")
        paths = ada.get("/runcast/openapi.json").json()["paths"]
        of_runs = {
            (method.upper(), path)
            for path, methods in paths.items()
            for method in methods
            if "{run_id}" in path and method in ("get", "post", "put", "patch", "delete")
        }
        assert len(of_runs) >= 6

        for method, path in sorted(of_runs):
            for known, status in ((run_id, 404), ("unknown", 404)):
                filled = path.replace("{run_id}", known).replace("{interrupt_id}", "write")
                filled = filled.replace("{file_id}", "f").replace("{path}", "f")
                wanted = _BODIES.get(path.rpartition("/")[2], {"type": "accept"})
                body = wanted if method == "POST" else None
                answer = bob.request(method, f"/runcast{filled}", json=body)
                assert answer.status_code == status, (method, filled, answer.text)

        assert bob.get("/runcast/runs").json()["runs"] == []
        assert bob.get("/runcast/events", params={"run": run_id}).status_code == 404
        taken = bob.post(
            "/runcast/invoke/report",
            json={"inputs": {"topic": "x"}, "run_id": run_id, "replace": True},
        )
        assert taken.status_code == 409
        # It is there, and untouched.
        state = ada.get(f"/runcast/runs/{run_id}").json()
        assert state["status"] == "waiting"
        assert ada.post(f"/runcast/runs/{run_id}/cancel", json={}).status_code < 300


def test_a_stranger_gets_401_and_a_wrong_password_too(url: str) -> None:
    with httpx2.Client(base_url=url, timeout=WAIT_S) as stranger:
        assert stranger.get("/runcast/runs").status_code == 401
        wrong = stranger.post("/login", data={"name": "ada", "password": "x"})
        assert wrong.status_code == 401


def test_what_is_new_is_less_than_30_lines(tmp_path: Path) -> None:
    lines = (EXAMPLES / "fastapi_login" / "app.py").read_text("utf-8").splitlines()

    assert len([line for line in lines if line.strip()]) < 30
