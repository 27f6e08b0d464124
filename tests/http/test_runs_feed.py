"""A list of runs as a stream: the list first, then every run that changes."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from runcast._producing.writer import Writer
from runcast.stores import changes as recent_changes
from tests.http.client import Watching
from tests.http.serving import Log, Server

pytestmark = pytest.mark.anyio

Name = Callable[[], str]

SSE = {"Accept": "text/event-stream"}


async def labelled(server: Server, run_id: str, thread: str) -> Log:
    """Begin a run of a thread."""
    inlet = await server.call(lambda: server.hub.hub.create(run_id, labels={"thread": thread}))
    writer = Writer(inlet, server.hub.clock, server.hub.settings.max_event_bytes)
    return Log(server, run_id, writer, inlet.epoch)


async def told(stream: Watching) -> tuple[str, str]:
    """Return the next run and its status."""
    shown = await stream.json()
    if "deleted" in shown:
        return shown["deleted"], "deleted"
    return shown["run"]["run_id"], shown["run"]["status"]


async def until(stream: Watching, expected: tuple[str, str]) -> None:
    """Read until a run has come with a status; its earlier ones may come before."""
    while (found := await told(stream)) != expected:
        assert found[0] == expected[0]


def after(stream: Watching) -> dict[str, str]:
    return {**SSE, "Last-Event-ID": stream.last_event_id}


async def test_a_list_comes_first_and_then_each_run_that_changes(
    server: Server, name: Name
) -> None:
    thread, a, b, c = name(), name(), name(), name()
    first = await labelled(server, a, thread)
    await labelled(server, b, thread)
    async with server.watch(f"/runs?label=thread={thread}", SSE) as stream:
        assert stream.head.headers["content-type"] == "text/event-stream"
        assert [await told(stream) for _ in range(2)] == [(a, "queued"), (b, "queued")]
        await first.emit(1)
        await until(stream, (a, "running"))
        await labelled(server, c, thread)
        await until(stream, (c, "queued"))
        await first.end()
        await until(stream, (a, "done"))
        assert (await server.fetch("DELETE", f"/runs/{a}")).status == 204
        await until(stream, (a, "deleted"))


async def test_a_run_in_a_frame_is_the_one_in_the_list(server: Server, name: Name) -> None:
    thread = name()
    log = await labelled(server, name(), thread)
    await log.emit(1)
    target = f"/runs?label=thread={thread}"
    listed = (await server.fetch("GET", target)).json()["runs"]
    async with server.watch(target, SSE) as stream:
        assert await stream.json() == {"run": listed[0]}


async def test_who_comes_back_gets_every_run_that_changed_since(server: Server, name: Name) -> None:
    thread, a, b, c = name(), name(), name(), name()
    logs = {each: await labelled(server, each, thread) for each in (a, b, c)}
    target = f"/runs?label=thread={thread}"
    async with server.watch(target, SSE) as stream:
        for _ in range(3):
            await stream.event()
        position = after(stream)
    await logs[b].emit(1)
    await logs[c].end()
    await server.fetch("DELETE", f"/runs/{c}")
    await labelled(server, c, name())  # in another thread now
    await logs[a].end()

    async with server.watch(target, position) as stream:
        assert [await told(stream) for _ in range(2)] == [(b, "running"), (a, "done")]
    async with server.watch(target, after(stream)) as again:
        await logs[b].end()
        assert await told(again) == (b, "done")


async def test_half_a_list_comes_again(server: Server, name: Name) -> None:
    thread = name()
    for _ in range(3):
        await labelled(server, name(), thread)
    async with server.watch(f"/runs?label=thread={thread}", SSE) as stream:
        ids = [(await stream.event()).id for _ in range(3)]
    assert ids[:2] == ["", ""]
    assert ids[2]


async def test_an_empty_list_has_a_position(server: Server, name: Name) -> None:
    thread, run_id = name(), name()
    async with server.watch(f"/runs?label=thread={thread}", SSE) as stream:
        await stream.read_until(b"id: ")
        await stream.read_until(b"\n\n")
        log = await labelled(server, run_id, thread)
        await until(stream, (run_id, "queued"))
        await log.end()
        await until(stream, (run_id, "done"))


async def test_a_status_selects_the_list_and_runs_that_change_come_with_any(
    server: Server, name: Name
) -> None:
    thread, a, b = name(), name(), name()
    running, ended = await labelled(server, a, thread), await labelled(server, b, thread)
    await running.emit(1)
    await ended.end()
    async with server.watch(f"/runs?label=thread={thread}&status=running", SSE) as stream:
        assert await told(stream) == (a, "running")
        await running.end()
        await until(stream, (a, "done"))


async def test_after_too_many_changes_the_list_comes_again_behind_a_gap(
    server: Server, name: Name, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread, a = name(), name()
    log = await labelled(server, a, thread)
    target = f"/runs?label=thread={thread}"
    async with server.watch(target, SSE) as stream:
        await stream.event()
        position = after(stream)
    monkeypatch.setattr(recent_changes, "MAX_CHANGES", 2)
    await log.end()
    for _ in range(3):
        await labelled(server, name(), name())
    async with server.watch(target, position) as stream:
        assert await stream.json() == {"gap": {"reason": "trimmed"}}
        assert await told(stream) == (a, "done")


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/runs?after=nonsense", {}),
        ("/runs?before=1.0_x", {}),
        ("/runs?status=lost", {}),
        ("/runs?limit=0", {}),
        ("/runs", {"Last-Event-ID": "01hq3v5k2m-7"}),
    ],
)
async def test_what_a_stream_of_runs_cannot_do_is_refused(
    server: Server, target: str, headers: dict[str, Any]
) -> None:
    answer = await server.fetch("GET", target, {**SSE, **headers})

    assert answer.problem() == (400, "invalid_value")


async def test_a_list_stays_json_for_others(server: Server) -> None:
    for accept in ("*/*", "application/json", "text/html", "application/json, text/event-stream"):
        answer = await server.fetch("GET", "/runs", {"Accept": accept})
        assert list(json.loads(answer.body)) == ["runs", "before"]
