"""Code as users write it, to be read by their type checkers; nobody runs it.

`python3 dev.py test --all` has mypy and pyright, both strict, check it against the installed wheel.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, assert_type

import runcast
from runcast.events.data import ContentData

# --- functions keep their signatures --------------------------------------------------------------


@runcast.function
def count_words(path: str, top: int = 10) -> Iterator[str]:
    for number in runcast.track(range(top), message="counting"):
        assert_type(number, int)
        yield f"{path}:{number}"


@runcast.function(name="shout", max_runs=2, isolation="process")
def shout(text: str, *, times: int = 1) -> str:
    return text.upper() * times


@runcast.function
async def write(topic: str) -> AsyncIterator[str]:
    async for word in runcast.track(words_about(topic)):
        assert_type(word, str)
        yield word


@runcast.function(description="Fetches a page")
async def fetch(url: str) -> bytes:
    await runcast.drain()
    return url.encode()


async def words_about(topic: str) -> AsyncIterator[str]:
    yield topic


async def count() -> int:
    first, second = await asyncio.gather(runcast.ask("One?"), runcast.ask("Two?"))
    assert_type(first, runcast.Answer)
    assert_type(await runcast.ask("Three?"), runcast.Answer)
    return first.approved + second.approved


def tally() -> dict[str, int]:
    return {}


def report() -> "Report":
    return Report(1)


class Shop:
    @runcast.function
    def sell(self, article: str) -> int:
        return len(article)


async def call_them() -> None:
    assert_type(shout("hello", times=2), str)
    assert_type(list(count_words("a.txt")), list[str])
    assert_type(await fetch("about:blank"), bytes)
    assert_type([word async for word in write("tea")], list[str])
    assert_type(shout.name, str)
    assert_type(Shop().sell("tea"), int)
    Shop().sell(3)  # type: ignore[arg-type]
    shout(3)  # type: ignore[arg-type]
    shout("a", loud=True)  # type: ignore[call-arg]


# --- inside a run ---------------------------------------------------------------------------------


@dataclass
class Report:
    pages: int


def work() -> None:
    runcast.emit("report.made", Report(pages=3), node="press", agent="ada", duration=1.5)
    runcast.emit("progress", {"current": 1, "total": 3})
    runcast.progress(1, 3, "one of three")
    runcast.log("made", level="warning", logger="press")
    runcast.content("a piece", message_id="m1")
    answer: runcast.Answer = runcast.ask("Print it?", action="print", timeout_s=60)
    assert_type(answer.approved, bool)
    assert_type(runcast.ask("Print it?").approved, bool)
    runcast.ask("Print it?", choices=["yes"])  # type: ignore[call-arg]
    assert_type(runcast.bind(shout.call)("hello"), str)
    step = runcast.StreamWriter(node="press", agent="ada")
    step.step_start("Printing", pages=3)
    writer = runcast.current_writer()
    if writer is not None:
        writer.emit("report.sent", None)
        with runcast.using(writer):
            work()


# --- a hub, with a loop and without ---------------------------------------------------------------


async def with_a_loop() -> None:
    settings = runcast.Settings.load(threads=16)
    async with runcast.open_hub("sqlite:///runs.db", functions=[shout], settings=settings) as hub:
        run = await hub.start(shout, {"text": "hello"}, run_id="s1", labels={"user": "ada"})
        assert_type(run.run_id, str)
        async for event in hub.watch(run.run_id, after="0123456789-3"):
            assert_type(event, runcast.Event)
        position = await hub.flush("s1")
        assert_type(position, runcast.Position)
        assert_type(await run.result(), str)
        assert_type(await (await hub.start(count)).result(), int)
        assert_type(await (await hub.start(fetch)).result(), Any)
        assert_type(await (await hub.start("shout")).result(), Any)
        await hub.cancel("s1", "enough")


# --- what a watcher reads -------------------------------------------------------------------------


def read_events(client: runcast.Client, run_id: str) -> float:
    cost = 0.0
    for event in client.watch(run_id):
        if (question := event.data_of("interrupt_request")) is not None:
            client.answer(run_id, question.get("interrupt_id", ""), {"type": "accept"})
        elif (piece := event.data_of("content")) is not None:
            assert_type(piece, ContentData)
            assert_type(piece.get("text", ""), str)
            piece["txt"]  # type: ignore[typeddict-item]
        elif (used := event.data_of("usage")) is not None:
            cost += used.get("cost", 0.0)
        elif (end := event.data_of("failed")) is not None:
            assert_type(end["retryable"], bool)
            end["reason"]  # type: ignore[typeddict-item]
        elif (made := event.data_of("report.made", Report)) is not None:
            assert_type(made, Report)
            cost += made.pages
        elif (sent := event.data_of("report.sent")) is not None:
            assert_type(sent, Mapping[str, Any])
        elif (lost := event.data_of("gap")) is not None:
            assert_type(lost["reason"], str)
        assert_type(event.data, Any)
    return cost


def without_a_loop() -> None:
    with runcast.open_hub(functions=[shout, fetch, count_words, write]) as hub:
        assert_type(hub.start(tally).result(), dict[str, int])
        assert_type(hub.start(shout, replace=True).result(), str)
        assert_type(hub.start(report).result(), Any)  # JSON makes a dict of it
        run = hub.start("shout", {"text": "hello"})
        for event in hub.watch(run.run_id):
            assert_type(event, runcast.Event)
        decision, was_repeated = hub.answer(run.run_id, "q1", {"type": "accept"})
        assert_type(decision, dict[str, Any])
        assert_type(was_repeated, bool)
        hub.writer(run.run_id).log("from outside")


def errors() -> str:
    try:
        with runcast.open_hub() as hub:
            hub.start(shout)
    except runcast.RunFailed as error:
        return f"{error.code}: {error.message}"
    except runcast.RuncastError as error:
        return f"{error.code} {error.status} {error.retryable}"
    except runcast.Cancelled:
        raise
    return ""


def present(hub: runcast.OpenHubInThread, run: runcast.RunInThread) -> runcast.Outcome | None:
    position: runcast.Position = runcast.Position.parse("0123456789-3")
    try:
        info, snapshot = hub.present(run.run_id)
    except (runcast.Overloaded, runcast.StoreUnavailable):
        return None
    except runcast.InvalidValue as error:
        raise runcast.RunFailed(error.message, "mine") from error
    assert_type(info, runcast.LogInfo)
    assert_type(snapshot, runcast.Snapshot)
    assert_type(hub.flush(run.run_id), runcast.Position)
    return run.wait() if info.position < position else None


def around_code(rows: list[str]) -> None:
    with runcast.run("import", run_id="i1", labels={"user": "ada"}, store="sqlite:///r.db") as run:
        assert_type(run, runcast.OwnedRun)
        for row in runcast.track(rows):
            run.log(row)
        run.set_result({"rows": len(rows)})
        assert_type(run.flush().seq, int)


async def around_code_on_a_loop(hub: runcast.OpenHub) -> None:
    async with runcast.run("import", replace=True) as run, hub.run("part") as part:
        assert_type((run.run_id, part), tuple[str, runcast.OwnedRun])
        await run.flush()


def around_code_in_a_hub(hub: runcast.OpenHubInThread) -> None:
    with hub.run("import", run_id="i2", replace=True) as run:
        assert_type(run, runcast.OwnedRun)


def attached() -> None:
    with runcast.attach("i3", store="sqlite:///r.db", name="import", max_attempts=2) as run:
        assert_type(run, runcast.AttachedRun)
        if run.attempt < 2:
            run.leave_open()


async def reserved(hub: runcast.OpenHub, launcher: runcast.Launcher) -> None:
    run = await hub.reserve("import", run_id="i4", labels={"user": "ada"})
    assert_type(await run.wait(), runcast.Outcome)
    async with runcast.attach("i4") as attached, runcast.open_hub(launcher=launcher):
        assert_type(attached.attempt, int)


def emitting() -> None:
    runcast.emit("progress", current=1)  # type: ignore[call-arg]
    runcast.emit("progress", {"current": 1}, duration="long")  # type: ignore[arg-type]
    runcast.drain()
    position = runcast.flush()
    assert_type(position.seq, int)


async def emitting_on_a_loop() -> None:
    await runcast.drain()
    assert_type(await runcast.flush(), runcast.Position | None)


application: runcast.HttpApp = runcast.asgi(
    runcast.OpenHub(functions=[shout]), token="secret", hosts=["example.org"]
)


if __name__ == "__main__":
    asyncio.run(with_a_loop())
