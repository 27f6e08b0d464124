"""Rules of docs/protocol.md, held against a real server. Each test cites those it is about."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from runcast.errors import RuncastError
from tests.cli.served import Served, frames, serve

LICENSE = Path(__file__).resolve().parents[2] / "LICENSE"
SSE = {"Accept": "text/event-stream"}
ASYNC = {"Prefer": "respond-async"}
POSITION = re.compile(r"[0-9a-hjkmnp-tv-z]{10}-[0-9]+")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    settings = {"RUNCAST_LONG_POLL_S": "0.1", "RUNCAST_HEARTBEAT_S": "0.05"}
    with serve("--store", "memory://", cwd=tmp_path_factory.mktemp("served"), env=settings) as one:
        one.start("chat", "talk", prompt="To be or not to be", pause_s=0)
        with one.open("GET", "/runs/talk/events") as response:
            response.read()
        yield one


def events(served: Served, path: str, **headers: str) -> list[Any]:
    with served.open("GET", path, headers=headers) as response:
        return [json.loads(frame["data"]) for frame in frames(response)]


def ids(served: Served, path: str, **headers: str) -> list[str]:
    with served.open("GET", path, headers=headers) as response:
        return [frame.get("id", "") for frame in frames(response)]


@pytest.fixture(scope="module")
def positions(served: Served) -> list[str]:
    """The positions of all events of the run `talk`."""
    return ids(served, "/runs/talk/events")


def test_a_log_is_dense_and_ends_with_one_terminal_event(served: Served) -> None:
    """R-1.1, R-1.4, R-1.9."""
    log = events(served, "/runs/talk/events")

    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
    assert all(list(event)[:4] == ["seq", "time", "type", "data"] for event in log)
    assert [event["type"] for event in log if event["type"] in ("done", "failed", "cancelled")] == [
        "done"
    ]
    assert log[-1]["type"] == "done"


def test_a_stream_looks_as_it_is_said_to(served: Served) -> None:
    """R-3.1, R-3.2, R-3.3, R-3.4, R-3.9."""
    with served.open("GET", "/runs/talk/events") as response:
        headers, body = response.headers, response.read()

    epoch = headers["runcast-epoch"]
    head, *rest = body.decode().split("\n\n")
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert head == "retry: 2000\n: runcast"
    assert rest.pop() == ""
    assert b"\r" not in body
    for seq, frame in enumerate(rest, 1):
        assert frame.startswith(f'id: {epoch}-{seq}\ndata: {{"seq":{seq},"time":')
        assert frame.count("\n") == 1


def test_positions_are_opaque_tokens_of_one_form(served: Served, positions: list[str]) -> None:
    """R-2.1, R-2.2, R-2.4."""
    epoch = positions[0].partition("-")[0]
    before_all = f"{epoch}-0"

    assert all(POSITION.fullmatch(position) for position in positions)
    assert ids(served, f"/runs/talk/events?after={before_all}") == positions
    for wrong in ("x", "7", f"{epoch}", f"{epoch}-", f"{epoch}--1", f"{epoch}-01", f"{epoch}-1 "):
        answer = served.ask("GET", "/runs/talk/events", headers={"Last-Event-ID": f"{wrong}!"})
        assert (answer.status, answer.json["code"]) == (400, "invalid_value")


def test_resuming_gives_exactly_what_follows(served: Served, positions: list[str]) -> None:
    """R-4.1, R-4.3."""
    path = "/runs/talk/events"
    for seen, position in enumerate(positions[:-1], 1):
        assert ids(served, path, **{"Last-Event-ID": position}) == positions[seen:]
        assert ids(served, f"{path}?after={position}") == positions[seen:]


def test_a_browser_that_reconnects_to_an_address_with_a_position_gets_nothing_twice(
    served: Served, positions: list[str]
) -> None:
    """R-4.2, R-7.3."""
    first, last = positions[1], {"Last-Event-ID": positions[9]}
    many = {"Last-Event-ID": f"talk={positions[9]}"}

    assert ids(served, f"/runs/talk/events?after={first}", **last) == positions[10:]
    again = ids(served, f"/events?run=talk&after=talk={first}", **many)
    assert again == [f"talk={position}" for position in positions[10:]]


def test_who_has_it_all_is_told_not_to_come_back(served: Served, positions: list[str]) -> None:
    """R-4.4, R-7.5."""
    last = positions[-1]

    assert served.ask("GET", "/runs/talk/events", headers={"Last-Event-ID": last}).status == 204
    assert served.ask("GET", f"/runs/talk/events?after={last}").status == 204
    assert served.ask("GET", f"/events?run=talk&after=talk={last}").status == 204
    assert served.ask("GET", f"/runs/talk/events?live=false&after={last}").status == 204


@pytest.mark.parametrize("live", ["", "&live=false"])
def test_a_position_beyond_the_end_is_told_of(
    served: Served, positions: list[str], live: str
) -> None:
    """R-5.1 to R-5.4: rewound, live or not."""
    epoch, _, head = positions[-1].partition("-")
    path = f"/runs/talk/events?after={epoch}-{int(head) + 5}{live}"

    told, *rest = events(served, path)

    assert told == {
        "type": "gap",
        "data": {
            "reason": "rewound",
            "before": f"{epoch}-{int(head) + 5}",
            "after": f"{epoch}-0",
        },
    }
    assert [event["seq"] for event in rest] == list(range(1, len(positions) + 1))
    assert ids(served, path) == ["", *positions]


def test_a_run_begun_anew_is_told_of(served: Served) -> None:
    """R-2.1, R-5.3, R-13.8."""
    served.start("chat", "anew", prompt="first", pause_s=0)
    old = ids(served, "/runs/anew/events")
    body = {"inputs": {"prompt": "second", "pause_s": 0}, "run_id": "anew"}
    refused = served.ask("POST", "/invoke/chat", body, ASYNC)
    begun = served.ask("POST", "/invoke/chat", {**body, "replace": True}, ASYNC)

    told, *rest = events(served, f"/runs/anew/events?after={old[3]}")
    new = ids(served, "/runs/anew/events")

    assert (refused.status, refused.json["code"], begun.status) == (409, "conflict", 202)
    assert (told["type"], told["data"]["reason"]) == ("gap", "replaced")
    assert told["data"]["before"] == old[3]
    assert [event["seq"] for event in rest] == list(range(1, len(new) + 1))
    assert new[0] > old[0]


def test_silence_is_filled_with_comments(served: Served) -> None:
    """R-6.1, R-6.2."""
    served.start("emit_events", "silent", n=2, rate=0.001)
    with served.open("GET", "/runs/silent/events") as response:
        lines: list[bytes] = []
        while lines.count(b": hb\n") < 2:
            lines.append(next(response))
    served.ask("POST", "/runs/silent/cancel")

    silence = lines[lines.index(b": hb\n") :]
    assert set(silence) == {b": hb\n"}


def test_many_runs_share_a_connection(served: Served, positions: list[str]) -> None:
    """R-7.1 to R-7.5."""
    served.start("chat", "other", prompt="other", pause_s=0)
    other = ids(served, "/runs/other/events")
    path = "/events?run=talk&run=other"

    told = events(served, path)
    vectors = ids(served, path)
    again = ids(served, path, **{"Last-Event-ID": vectors[20]})

    for run_id, count in (("talk", len(positions)), ("other", len(other))):
        seqs = [each["event"]["seq"] for each in told if each["run"] == run_id]
        assert seqs == list(range(1, count + 1))
    assert len(again) == len(vectors) - 21
    assert vectors[-1] == f"talk={positions[-1]},other={other[-1]}"
    assert served.ask("GET", "/events").status == 400
    assert served.ask("GET", "/events?" + "&".join(f"run=r{i}" for i in range(33))).status == 400
    assert served.ask("GET", "/events?run=talk&run=nope").status == 404


def test_ndjson_is_the_canonical_form_on_lines(served: Served, positions: list[str]) -> None:
    """R-8.1, R-8.3."""
    headers = {"Accept": "application/x-ndjson"}
    answer = served.ask("GET", f"/runs/talk/events?after={positions[4]}", headers=headers)

    lines = answer.body.decode().split("\n")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert lines.pop() == ""
    assert [json.loads(line) for line in lines] == events(served, "/runs/talk/events")[5:]
    assert positions[4].startswith(answer.headers["runcast-epoch"])


def test_pages_say_where_to_go_on(served: Served, positions: list[str]) -> None:
    """R-9.1 to R-9.4."""
    page = served.ask("GET", f"/runs/talk/events?live=long-poll&after={positions[2]}").json
    end = served.ask("GET", f"/runs/talk/events?live=long-poll&after={positions[-1]}").json
    epoch = positions[0].partition("-")[0]
    lost = served.ask("GET", f"/runs/talk/events?live=long-poll&after={epoch}-9999").json
    seqs: list[int] = []
    history: dict[str, Any] = {"position": f"{epoch}-0", "closed": False}
    while not history["closed"]:
        path = f"/runs/talk/events?live=false&after={history['position']}"
        history = served.ask("GET", path, headers={"Accept": "application/json"}).json
        seqs += [event["seq"] for event in history["events"]]

    assert [event["seq"] for event in page["events"]] == list(range(4, len(positions) + 1))
    assert page["position"] == positions[-1]
    assert page["closed"] is True
    assert end == {"events": [], "position": positions[-1], "closed": True}
    assert lost["events"] == []
    assert lost["gap"]["reason"] == "rewound"
    assert seqs == list(range(1, len(positions) + 1))


def test_a_long_poll_ends_without_events_too(served: Served) -> None:
    """R-9.1."""
    served.start("emit_events", "slow", n=2, rate=0.001)
    with served.open("GET", "/runs/slow/events") as response:
        *_, last = islice(frames(response), 2)

    page = served.ask("GET", f"/runs/slow/events?live=long-poll&after={last['id']}").json

    assert page == {"events": [], "position": last["id"], "closed": False}
    assert served.ask("POST", "/runs/slow/cancel?reason=enough").status == 200


@pytest.mark.parametrize(
    ("dialect", "shown"),
    [
        ("runcast", '"type":"tool_call"'),
        ("named", '"tool":"measure_text"'),
        ("task", '"event_type":"action"'),
        ("prefab", '"type":"tool_call","data":{'),
        ("flat", '"message_type":"tool_call"'),
    ],
)
def test_a_run_can_be_watched_and_resumed_in_every_dialect(
    served: Served, positions: list[str], dialect: str, shown: str
) -> None:
    """R-11.1, R-11.6."""
    path = f"/runs/talk/events?dialect={dialect}"
    with served.open("GET", path) as response:
        body = response.read().decode()

    whole = [one for one in ids(served, path) if one]
    assert shown in body
    assert whole[-1] == positions[-1]
    assert [one for one in ids(served, f"{path}&after={positions[9]}") if one] == positions[10:]


def test_a_dialect_that_cannot_be_had_is_refused(served: Served) -> None:
    """R-11.1, R-11.5."""
    lines = {"Accept": "application/x-ndjson"}
    unknown = served.ask("GET", "/runs/talk/events?dialect=x")
    no_stream = served.ask("GET", "/runs/talk/events?dialect=flat", headers=lines)

    for answer in (unknown, no_stream):
        assert (answer.status, answer.json["code"]) == (400, "invalid_value")


def test_a_view_leaves_out_but_never_the_end(served: Served, positions: list[str]) -> None:
    """R-12.1, R-12.2, R-12.5."""
    shown = events(served, "/runs/talk/events?types=thinking")

    assert [event["type"] for event in shown] == ["thinking", "thinking", "done"]
    assert shown[-1]["seq"] == len(positions)


def test_functions_are_listed_with_a_schema(served: Served) -> None:
    """R-13.1."""
    functions = served.ask("GET", "/functions").json["functions"]

    assert {"name", "description", "streaming", "inputs"} <= set(functions[0])
    assert {each["name"]: each["streaming"] for each in functions} == {
        "chat": True,
        "count_primes": False,
        "count_words": True,
        "emit_events": False,
        "research": False,
    }
    assert all(each["inputs"]["type"] == "object" for each in functions)


def test_invoking_answers_in_the_form_that_is_asked_for(served: Served) -> None:
    """R-13.2, R-13.4 to R-13.7."""
    primes = {"inputs": {"limit": 100}, "_whatever": 1}
    plain = served.ask("POST", "/invoke/count_primes", primes)
    streamed = served.ask("POST", "/invoke/count_primes", primes, SSE)
    begun = served.ask("POST", "/invoke/count_primes", primes, ASYNC)
    failed = served.ask("POST", "/invoke/count_primes", {"inputs": {"limit": -1}})

    run_id = plain.headers["runcast-run-id"]
    assert plain.headers["location"] == f"/runs/{run_id}"
    assert plain.json == {
        "result": {"limit": 100, "primes": 25, "largest": 97},
        "run_id": run_id,
    }
    assert streamed.headers["content-type"] == "text/event-stream"
    assert b'"type":"done"' in streamed.body
    assert begun.status == 202
    assert begun.json["events"] == f"/runs/{begun.json['run_id']}/events"
    assert (failed.status, failed.json["code"]) == (500, "invalid_inputs")
    assert failed.json["run_id"] == failed.headers["runcast-run-id"]
    assert served.ask("GET", failed.headers["location"]).json["status"] == "failed"


def test_wrong_inputs_are_all_named(served: Served) -> None:
    """R-13.3."""
    answer = served.ask("POST", "/invoke/chat", {"inputs": {"pause_s": "x", "other": 1}})

    assert (answer.status, answer.json["code"]) == (422, "invalid_inputs")
    assert [problem.partition(":")[0] for problem in answer.json["problems"]] == [
        "other",
        "pause_s",
        "prompt",
    ]


def test_who_leaves_can_have_the_run_cancelled(served: Served) -> None:
    """R-3.10, R-13.7."""
    for run_id, on_disconnect in (("goes", "continue"), ("stays", "cancel")):
        body = {
            "inputs": {"n": 10, "rate": 0.001},
            "run_id": run_id,
            "on_disconnect": on_disconnect,
        }
        with served.open("POST", "/invoke/emit_events", body, SSE) as response:
            next(frames(response))

    assert events(served, "/runs/stays/events")[-1]["type"] == "cancelled"
    assert served.ask("GET", "/runs/goes").json["status"] == "running"
    served.ask("POST", "/runs/goes/cancel")


def test_runs_are_listed_newest_first_page_by_page(served: Served) -> None:
    """R-13.9, R-14.1, R-14.2, R-14.3."""
    for number in range(3):
        body = {"inputs": {"limit": 1}, "run_id": f"page-{number}", "labels": {"of": "pages"}}
        assert served.ask("POST", "/invoke/count_primes", body).status == 200
    query = "/runs?label=of=pages&limit=2"

    first = served.ask("GET", query).json
    second = served.ask("GET", f"{query}&before={first['before']}").json
    refused = served.ask("POST", "/invoke/count_primes", {"labels": {"status": "x"}})

    assert [run["run_id"] for run in first["runs"]] == ["page-2", "page-1"]
    assert [run["run_id"] for run in second["runs"]] == ["page-0"]
    assert second["before"] is None
    assert first["runs"][0]["labels"] == {"of": "pages"}
    assert first["runs"][0]["status"] == "done"
    assert refused.status in (400, 422)
    assert served.ask("GET", "/runs?limit=0").status == 400


def test_a_run_shows_what_its_events_come_to(served: Served, positions: list[str]) -> None:
    """R-14.4."""
    run = served.ask("GET", "/runs/talk").json

    assert run["position"] == positions[-1]
    assert run["state"]["texts"][-1]["text"].startswith("Your prompt has 6 words")
    assert run["state"]["tools"][0]["tool"] == "measure_text"


def test_cancelling_is_idempotent_and_deleting_is_final(served: Served) -> None:
    """R-14.5, R-14.6."""
    served.start("count_primes", "long", limit=10**12)
    first = served.ask("POST", "/runs/long/cancel?reason=enough")
    second = served.ask("POST", "/runs/long/cancel?reason=other")
    last = events(served, "/runs/long/events")[-1]
    deleted = served.ask("DELETE", "/runs/long")

    assert (first.status, second.status, deleted.status) == (200, 200, 204)
    assert last["data"] == {"reason": "enough"}
    assert served.ask("GET", "/runs/long").status == 404
    assert served.ask("POST", f"/runs/talk/cancel?reason={'x' * 501}").status == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/runs/nope", 404, "not_found"),
        ("GET", "/runs/nope/events", 404, "not_found"),
        ("POST", "/runs/nope/cancel", 404, "not_found"),
        ("DELETE", "/runs/nope", 404, "not_found"),
        ("POST", "/invoke/nope", 404, "not_found"),
        ("GET", "/nope", 404, "not_found"),
        ("GET", "/invoke/chat", 405, "method_not_allowed"),
        ("PUT", "/runs", 405, "method_not_allowed"),
        ("GET", "/runs/talk/events?live=x", 400, "invalid_value"),
    ],
)
def test_errors_are_problems_with_a_code(
    served: Served, method: str, path: str, status: int, code: str
) -> None:
    """R-3.10, R-10.1, R-10.4, R-16.1, R-16.2."""
    answer = served.ask(method, path)

    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json) == {"type", "title", "status", "code", "detail", "retryable"}
    assert RuncastError.code != code


def test_what_a_page_may_send_to_anywhere_is_refused(served: Served) -> None:
    """R-10.2, R-17.1, R-17.2."""
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        answer = served.ask("POST", "/invoke/chat", {}, {"Content-Type": kind})
        assert answer.status in (400, 415)
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        answer = served.ask("GET", "/runs", headers=headers)
        assert (answer.status, answer.json["code"]) == (403, "forbidden")
        assert "access-control-allow-origin" not in {name.lower() for name in answer.headers}


def test_a_head_gets_no_body(served: Served) -> None:
    """R-3.7."""
    answer = served.ask("HEAD", "/runs/talk/events")

    assert (answer.status, answer.body) == (200, b"")


def test_answers_are_not_to_be_kept(served: Served) -> None:
    """R-10.3, R-10.5."""
    for path in ("/runs", "/functions", "/runs/talk", "/healthz", "/readyz", "/nope"):
        headers = served.ask("GET", path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
