"""A client polls behind a network that holds streams back, and tries a stream again later."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

import runcast
from runcast._settings import Settings
from runcast.client.polling import poll_feed
from runcast.client.reconnect import Cut, Poll, Received, ReconnectOptions, Silence, State, react
from runcast.client.transport import Transport
from runcast.client.watching import watch
from runcast.errors import InvalidValue, NotFound, PeerError, RuncastError
from runcast.testing import FakeClock
from tests.client.spoiling import SpoilingProxy, spoiling
from tests.http.serving import serving_in_thread
from tests.remote.test_remote_run import FLAVOUR
from tests.waiting import WAIT_S

HELD = [{"fault": "hold", "always": True}]
WAITS = ReconnectOptions(first_s=0.0, buffered_s=0.05)


async def counts(n: int) -> None:
    for number in range(1, n + 1):
        runcast.progress(number, n)
        await runcast.ask(f"{number}?", interrupt_id=f"q{number}")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    settings = Settings(retry_s=0, long_poll_s=0.2)
    with serving_in_thread(FLAVOUR, functions=[counts], settings=settings) as server:
        yield server.port


@asynccontextmanager
async def held(port: int, faults: Sequence[dict[str, Any]] = HELD) -> AsyncIterator[SpoilingProxy]:
    async with asyncio.timeout(WAIT_S), spoiling(port, faults) as proxy:
        yield proxy


async def test_events_come_as_they_happen_each_once_though_streams_are_held_back(port: int) -> None:
    cuts: list[RuncastError] = []
    async with held(port) as proxy, runcast.AsyncClient(proxy.url, reconnect=WAITS) as client:
        run_id = await client.invoke("counts", {"n": 3})
        seqs, positions = [], []
        pages = client.watch_pages(run_id, on_cut=lambda error, *_: cuts.append(error))
        async for page in pages:
            for received in page:
                seqs.append(received.event.seq)
                positions.append(received.position)
                if received.event.type == "interrupt_request":
                    question = received.event.data["interrupt_id"]
                    await client.answer(run_id, question, {"type": "accept"})
        rest = [event.seq async for event in client.watch(run_id, positions[4])]

        assert seqs == list(range(1, len(seqs) + 1))
        assert rest == seqs[5:]
        assert proxy.streams == 1  # the second watch knows the network
        assert cuts == []


async def test_a_stream_is_tried_again_after_a_while(port: int) -> None:
    clock = FakeClock()
    async with held(port, [{"fault": "hold"}]) as proxy, Transport(proxy.url) as transport:
        async with runcast.AsyncClient(proxy.url) as client:
            run_id = await client.invoke("counts", {"n": 1})
            seqs = []
            path = f"/runs/{run_id}/events"
            async for page in watch(transport, path, "", WAITS, clock=clock):
                seqs += [received.event.seq for received in page]
                if proxy.streams == 1:
                    clock.advance(WAITS.poll_s)
                if page[-1].event.type != "done" and proxy.streams == 1:
                    asked = asyncio.create_task(client.answer(run_id, "q1", {"type": "accept"}))
        await asked
        assert seqs == list(range(1, len(seqs) + 1))
        assert proxy.streams == 2


async def test_types_are_selected_and_a_lost_part_is_reported_while_polling(port: int) -> None:
    async with held(port) as proxy, runcast.AsyncClient(proxy.url, reconnect=WAITS) as client:
        run_id = await client.invoke("counts", {"n": 1})
        async with aclosing(client.watch_pages(run_id)) as pages:
            before = (await anext(pages))[-1].position
        await client.invoke("counts", {"n": 0}, run_id=run_id, replace=True)
        events = [event async for event in client.watch(run_id, before, types=("done",))]

        assert [event.type for event in events] == ["gap", "done"]
        assert events[0].data["reason"] == "replaced"
        assert proxy.streams == 1
        with pytest.raises(NotFound):
            async with aclosing(client.watch("nobody")) as nothing:
                await anext(nothing)


async def test_a_list_of_runs_is_polled_and_each_change_comes(port: int) -> None:
    labels = {"list": "polled"}
    async with held(port) as proxy, runcast.AsyncClient(proxy.url, reconnect=WAITS) as client:
        first = await client.invoke("counts", {"n": 1}, labels=labels)
        seen: list[tuple[str, str]] = []
        async with aclosing(client.feed(labels=labels)) as changes:
            second = ""
            async for change in changes:
                run_id = change.run.run_id if change.run is not None else ""
                seen.append((run_id, change.run.status if change.run is not None else "deleted"))
                if not second and run_id == first:
                    second = await client.invoke("counts", {"n": 0}, labels=labels)
                elif seen[-1] == (second, "done"):
                    await client.delete(second)
                elif change.deleted == second:
                    break

        assert seen[0][0] == first
        assert proxy.streams == 1
        assert proxy.polls > 1


async def test_a_thread_is_polled_and_each_event_comes_once(port: int) -> None:
    labels = {"thread": "polled"}
    async with held(port) as proxy, runcast.AsyncClient(proxy.url, reconnect=WAITS) as client:
        first = await client.invoke("counts", {"n": 1}, labels=labels)
        events: dict[str, list[str]] = {}
        async with aclosing(client.watch_thread("polled")) as thread:
            position = ""
            async for each in thread:
                position = each.position
                if each.event is not None:
                    events.setdefault(each.run_id, []).append(each.event.type)
                    if each.event.type == "interrupt_request":
                        second = await client.invoke("counts", {"n": 0}, labels=labels)
                        await client.answer(first, "q1", {"type": "accept"})
                if sum(kinds[-1] == "done" for kinds in events.values()) == 2:
                    break
        snapshots = [await client.snapshot(run_id) for run_id in (first, second)]

        assert [len(events[run.run_id]) for run in snapshots] == [run.events for run in snapshots]
        assert position
        assert proxy.streams == 1


async def test_an_open_list_polls_no_more_than_its_answers_come(port: int) -> None:
    async with Transport(f"http://127.0.0.1:{port}") as transport:
        poll = poll_feed(transport, "/runs?label=list=nobody")
        first = await poll("")
        second = await poll(first.position)

        assert (first.frames, second.frames) == ([], [])
        assert first.position == second.position != ""
        with pytest.raises(InvalidValue, match="expected live to be true or long-poll"):
            await transport.read("/runs?live=false", accept="text/event-stream")


async def test_a_page_of_something_else_ends_the_watch() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"long-poll" in head:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n<h1>")
            await writer.drain()
            writer.close()
        else:
            await reader.read()
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with asyncio.timeout(WAIT_S), server, runcast.AsyncClient(url, reconnect=WAITS) as client:
        with pytest.raises(PeerError):
            await anext(client.watch("r1"))


def test_silence_at_the_beginning_or_twice_in_a_row_makes_a_client_poll() -> None:
    state, action = react(State(position="01hq3v5k2m-1"), Silence(is_beginning=True))
    assert (state.position, action) == ("01hq3v5k2m-1", Poll())

    once, first = react(State(), Silence(lasted_s=20.0))
    assert (once.failures, first) == (1, react(State(), Cut(20.0))[1])
    assert react(once, Silence(lasted_s=20.0))[1] == Poll()
    between, _ = react(once, Received("01hq3v5k2m-2", "log"))
    assert react(between, Silence(lasted_s=20.0))[1] == first
