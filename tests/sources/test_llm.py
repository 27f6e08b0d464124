"""The source for models, with the real clients of OpenAI and Anthropic."""

import asyncio
import importlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from blockbuster import BlockBuster

import runcast
from runcast.errors import InvalidValue
from runcast.events.model import Event
from runcast.sources import llm
from runcast.sources._recorded_calls import calls_recorded
from runcast.testing import ModelCall, ModelServer, ModelTurn
from tests.sources.watching import data_of, let_functions_block, run_of
from tests.waiting import WAIT_S

APIS = ["chat", "responses", "messages"]
SUNNY = ModelTurn(
    text=["It is ", "sunny."],
    thinking=["Let me ", "think."],
    tools=[("look", {"city": "Paris", "days": 2})],
    input_tokens=9,
    output_tokens=7,
    cached_tokens=4,
    reasoning_tokens=2,
)
ASK: Any = [{"role": "user", "content": "How is the weather?"}]
ARGS = {"city": "Paris", "days": 2}

each_api = pytest.mark.parametrize("api", APIS)
each_way = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@pytest.fixture(autouse=True)
def installed(blockbuster: BlockBuster) -> Iterator[None]:
    let_functions_block(blockbuster)
    llm.install()
    try:
        yield
    finally:
        llm.uninstall()


# Calls. Items are returned as plain data: a failed assertion must not show clients or streams.


@contextmanager
def opened(server: ModelServer, api: str) -> Iterator[Any]:
    """Open the streamed answer of a call, with a client of its own."""
    with ExitStack() as stack:
        if api == "messages":
            caller = stack.enter_context(
                anthropic.Anthropic(base_url=server.url, api_key="test", max_retries=0)
            )
            yield stack.enter_context(
                caller.messages.create(model="m", messages=ASK, max_tokens=99, stream=True)
            )
            return
        client = stack.enter_context(
            openai.OpenAI(base_url=server.openai_url, api_key="test", max_retries=0)
        )
        if api == "chat":
            options: Any = {"include_usage": True}
            yield stack.enter_context(
                client.chat.completions.create(
                    model="m", messages=ASK, stream=True, stream_options=options
                )
            )
        else:
            yield stack.enter_context(client.responses.create(model="m", input=ASK, stream=True))


async def pieces(server: ModelServer, api: str) -> AsyncIterator[Any]:
    """Yield the items of a streamed answer of an async client."""
    stream: Any
    if api == "messages":
        async with anthropic.AsyncAnthropic(
            base_url=server.url, api_key="test", max_retries=0
        ) as caller:
            stream = await caller.messages.create(
                model="m", messages=ASK, max_tokens=99, stream=True
            )
            async with stream:
                async for item in stream:
                    yield item
        return
    async with openai.AsyncOpenAI(
        base_url=server.openai_url, api_key="test", max_retries=0
    ) as client:
        if api == "chat":
            options: Any = {"include_usage": True}
            stream = await client.chat.completions.create(
                model="m", messages=ASK, stream=True, stream_options=options
            )
        else:
            stream = await client.responses.create(model="m", input=ASK, stream=True)
        async with stream:
            async for item in stream:
                yield item


def whole(server: ModelServer, api: str) -> Any:
    """Return an answer that is not streamed, as plain data."""
    if api == "messages":
        with anthropic.Anthropic(base_url=server.url, api_key="test", max_retries=0) as caller:
            return caller.messages.create(model="m", messages=ASK, max_tokens=99).model_dump()
    with openai.OpenAI(base_url=server.openai_url, api_key="test", max_retries=0) as client:
        if api == "chat":
            return client.chat.completions.create(model="m", messages=ASK).model_dump()
        return client.responses.create(model="m", input=ASK).model_dump()


async def whole_async(server: ModelServer, api: str) -> Any:
    if api == "messages":
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="test") as caller:
            answer = await caller.messages.create(model="m", messages=ASK, max_tokens=99)
            return answer.model_dump()
    async with openai.AsyncOpenAI(base_url=server.openai_url, api_key="test") as client:
        if api == "chat":
            return (await client.chat.completions.create(model="m", messages=ASK)).model_dump()
        return (await client.responses.create(model="m", input=ASK)).model_dump()


def streamed(server: ModelServer, api: str, *, is_async: bool = False) -> list[Any]:
    """Return all items of a streamed answer as plain data, and the exception that ended it."""
    items: list[Any] = []

    async def gather() -> None:
        async for item in pieces(server, api):
            items.append(item.model_dump())  # noqa: PERF401 - what came before an error counts

    try:
        if is_async:
            asyncio.run(gather())
        else:
            with opened(server, api) as stream:
                items.extend(item.model_dump() for item in stream)
    except Exception as error:  # noqa: BLE001 - that is what is compared
        items.append(f"{type(error).__name__}: {error}")
    return items


def recorded(call: Callable[[], object]) -> list[Event]:
    """Return the events of a run that makes a call."""

    def work() -> None:
        call()

    return run_of(work)


def seen(events: list[Event]) -> list[tuple[str, Any]]:
    return [(it.type, it.data) for it in events if it.type not in ("started", "done")]


def written(events: list[Event]) -> list[tuple[str, object]]:
    """Return what the answer of `SUNNY` must become, without ids."""
    short: dict[str, Callable[[Any], object]] = {
        "content": lambda data: data["text"],
        "thinking": lambda data: data["text"],
        "tool_call_delta": lambda data: (data["tool"], data["text"]),
        "tool_call": lambda data: (data["tool"], data["args"]),
        "usage": lambda data: (data["model"], data["input_tokens"], data["output_tokens"]),
        "error": lambda data: (data["message"], data["code"]),
    }
    return [(kind, short[kind](data)) for kind, data in seen(events)]


# What is recorded.


@each_way
@each_api
def test_a_streamed_answer_is_written_piece_by_piece_in_order(api: str, is_async: bool) -> None:
    with ModelServer([SUNNY]) as server:
        events = recorded(lambda: streamed(server, api, is_async=is_async))

    texts = [it for it in written(events) if it[0] != "tool_call_delta"]
    args = [data for kind, data in seen(events) if kind == "tool_call_delta"]
    [call] = data_of(events, "tool_call")
    assert texts == [
        ("thinking", "Let me "),
        ("thinking", "think."),
        ("content", "It is "),
        ("content", "sunny."),
        ("tool_call", ("look", ARGS)),
        ("usage", ("m", 9, 7)),
    ]
    assert json.loads("".join(it["text"] for it in args)) == ARGS
    assert {it["call_id"] for it in args} == {call["call_id"]} != {""}
    assert data_of(events, "usage")[0]["cached_tokens"] == 4
    assert all(it["message_id"] for it in data_of(events, "content"))


@each_way
@each_api
def test_an_answer_that_is_not_streamed_is_written_as_one_piece(api: str, is_async: bool) -> None:
    def work() -> None:
        if is_async:
            asyncio.run(whole_async(server, api))
        else:
            whole(server, api)

    with ModelServer([SUNNY]) as server:
        events = run_of(work)

    assert written(events) == [
        ("thinking", "Let me think."),
        ("content", "It is sunny."),
        ("tool_call", ("look", ARGS)),
        ("usage", ("m", 9, 7)),
    ]


@each_way
@each_api
def test_the_program_gets_the_same_with_and_without_the_source(api: str, is_async: bool) -> None:
    turns: list[ModelTurn] = [
        SUNNY,
        ModelTurn(text="one two three", fault="error", after=2),
        ModelTurn(text="one two three", fault="failed", after=2),
        ModelTurn(text="one two three", fault="cut", after=2),
        ModelTurn(status=429),
    ]
    found: list[Any] = []

    def work() -> None:
        with ModelServer(turns) as server:
            found.append([streamed(server, api, is_async=is_async) for _ in turns])

    run_of(work)
    llm.uninstall()
    work()

    with_source, without = found
    assert with_source == without


def test_the_helpers_of_the_clients_that_repeat_pieces_are_recorded_once() -> None:
    def work() -> None:
        with (
            anthropic.Anthropic(base_url=server.url, api_key="test") as caller,
            caller.messages.stream(model="m", messages=ASK, max_tokens=99) as messages,
        ):
            assert messages.get_final_text() == "It is sunny."
        with (
            openai.OpenAI(base_url=server.openai_url, api_key="test") as client,
            client.chat.completions.stream(model="m", messages=ASK) as chat,
        ):
            chat.until_done()
        with (
            openai.OpenAI(base_url=server.openai_url, api_key="test") as client,
            client.responses.stream(model="m", input=ASK) as responses,
        ):
            responses.until_done()

    with ModelServer([SUNNY] * 3) as server:
        events = run_of(work)

    assert [it["text"] for it in data_of(events, "content")] == ["It is ", "sunny."] * 3
    assert len(data_of(events, "tool_call")) == 3


def test_raw_answers_are_recorded_as_well() -> None:
    def work() -> None:
        with openai.OpenAI(base_url=server.openai_url, api_key="test") as client:
            raw: Any = client.chat.completions.with_raw_response
            assert raw.create(model="m", messages=ASK).parse().choices[0].message.content
            for _ in raw.create(model="m", messages=ASK, stream=True).parse():
                pass

    with ModelServer([SUNNY] * 2) as server:
        events = run_of(work)

    texts = [it["text"] for it in data_of(events, "content")]
    assert texts == ["It is sunny.", "It is ", "sunny."]


def test_texts_of_two_calls_stay_apart_even_if_the_server_repeats_its_ids() -> None:
    def work() -> None:
        for _ in range(2):
            with ModelServer([SUNNY]) as server:
                streamed(server, "chat")

    texts = data_of(run_of(work), "content")

    assert [it["message_id"] for it in texts] == ["chatcmpl-1"] * 2 + ["chatcmpl-1.2"] * 2
    assert [it["index"] for it in texts] == [0, 1, 0, 1]


def test_two_runs_at_once_get_their_own_answers() -> None:
    meeting = threading.Barrier(2, timeout=WAIT_S)

    def turn(call: ModelCall) -> ModelTurn:
        return ModelTurn(text=[f"{call.body['input']} ", "over"])

    @runcast.function
    def work(name: str) -> None:
        with (
            openai.OpenAI(base_url=server.openai_url, api_key="test") as client,
            client.responses.create(model="m", input=name, stream=True) as stream,
        ):
            for item in stream:
                if item.type == "response.output_text.delta":
                    meeting.wait()

    with ModelServer(turn) as server, runcast.open_hub() as hub:
        runs = [hub.start(work, {"name": name}) for name in ("a", "b")]
        texts = [
            [it.data["text"] for it in hub.watch(run.run_id) if it.type == "content"]
            for run in runs
        ]

    assert texts == [["a ", "over"], ["b ", "over"]]


# What is not recorded.


def test_nothing_is_written_for_calls_that_an_adapter_records() -> None:
    def work() -> None:
        with calls_recorded():
            for api in APIS:
                streamed(server, api)
                whole(server, api)
                streamed(server, api, is_async=True)
        with opened(server, "chat") as stream, calls_recorded():
            for _ in stream:
                pass

    with ModelServer(lambda call: SUNNY) as server:
        events = run_of(work)

    assert seen(events) == []


def test_outside_a_run_nothing_happens() -> None:
    with ModelServer([SUNNY] * 2) as server:
        assert streamed(server, "chat")
        assert whole(server, "chat")


def test_the_source_can_be_installed_twice_and_taken_back() -> None:
    originals = [vars(it)["__stream__"] for it in (openai.Stream, anthropic.AsyncStream)]
    llm.install("openai")
    llm.uninstall()
    llm.uninstall()

    with ModelServer([SUNNY] * 2) as server:
        events = recorded(lambda: streamed(server, "chat"))

    assert seen(events) == []
    assert vars(openai.Stream)["__stream__"] is not originals[0]
    assert vars(anthropic.AsyncStream)["__stream__"] is not originals[1]


def test_a_block_records_its_own_run_alone_and_install_inside_a_run_all_runs() -> None:
    llm.uninstall()

    def within() -> None:
        with runcast.sources.stream("llm"):
            streamed(server, "chat")
        streamed(server, "chat")

    def install() -> None:
        llm.install()

    with ModelServer([SUNNY] * 3) as server:
        inside = run_of(within)
        run_of(install)
        later = recorded(lambda: streamed(server, "chat"))

    assert len(data_of(inside, "usage")) == 1
    assert len(data_of(later, "usage")) == 1


def test_an_unknown_client_is_refused() -> None:
    with pytest.raises(InvalidValue, match="expected clients of openai, anthropic, got 'gemini'"):
        llm.install("gemini")


# What goes wrong.


@each_way
@each_api
def test_an_error_in_an_answer_is_written_and_the_partial_text_stays(
    api: str, is_async: bool
) -> None:
    turn = ModelTurn(text="one two three", fault="error", after=2)
    with ModelServer([turn]) as server:
        events = recorded(lambda: streamed(server, api, is_async=is_async))

    message = "Overloaded" if api == "messages" else "The model is overloaded"
    code = "overloaded_error" if api == "messages" else "server_error"
    assert [it for it in written(events) if it[0] != "usage"] == [
        ("content", "one "),
        ("content", "two "),
        ("error", (message, code)),
    ]


def test_a_response_that_fails_without_an_exception_is_an_error() -> None:
    with ModelServer([ModelTurn(text="one two", fault="failed", after=1)]) as server:
        events = recorded(lambda: streamed(server, "responses"))

    assert written(events)[:2] == [
        ("content", "one "),
        ("error", ("The model is overloaded", "server_error")),
    ]


@each_way
@each_api
def test_a_connection_that_is_cut_is_an_error(api: str, is_async: bool) -> None:
    with ModelServer([ModelTurn(text="one two", fault="cut", after=1)]) as server:
        events = recorded(lambda: streamed(server, api, is_async=is_async))

    found = [it for it in written(events) if it[0] != "usage"]
    assert found[0] == ("content", "one ")
    [(_, error)] = [it for it in found if it[0] == "error"]
    assert error in [("RemoteProtocolError", "connection"), ("APIConnectionError", "connection")]


@each_way
@each_api
def test_a_refused_call_is_an_error_and_fails_the_run_as_without_the_source(
    api: str, is_async: bool
) -> None:
    def work() -> None:
        if is_async:
            asyncio.run(anext(pieces(server, api)))  # type: ignore[arg-type]
        else:
            whole(server, api)

    with ModelServer([ModelTurn(status=429)]) as server:
        events = run_of(work)

    code = "rate_limit_error" if api == "messages" else "rate_limit_exceeded"
    assert data_of(events, "error") == [{"message": "RateLimitError (429)", "code": code}]
    assert events[-1].type == "failed"


@each_api
def test_a_stream_that_nobody_reads_to_its_end_is_no_error(api: str) -> None:
    def work() -> None:
        with opened(server, api) as stream:
            for item in stream:
                if "'one '" in str(item.model_dump()):
                    break

    with ModelServer([ModelTurn(text="one two three", fault="stall", after=1)]) as server:
        events = run_of(work)
        assert server.calls[0].wait() == "left"

    assert data_of(events, "error") == []
    assert [it["text"] for it in data_of(events, "content")] == ["one "]


def test_usage_counts_for_the_budget_of_the_run() -> None:
    @runcast.function(max_tokens=20)
    def work() -> None:
        for _ in range(9):
            streamed(server, "messages")

    with ModelServer([SUNNY] * 9) as server, runcast.open_hub() as hub:
        events = list(hub.watch(hub.start(work).run_id))

    assert events[-1].type == "failed"
    assert events[-1].data["code"] == "budget_exceeded"
    assert len(data_of(events, "usage")) == 2


# Cancelling.

STALLED = ModelTurn(text="one two", fault="stall", after=1)


def cancelled_while_stalled(
    work: Callable[[ModelServer], Any], turn: ModelTurn = STALLED
) -> tuple[list[Event], str]:
    """Cancel a run at its first text; return its events, and how the server's call ended."""

    def function() -> None:
        work(server)

    with ModelServer([turn]) as server, runcast.open_hub() as hub:
        run = hub.start(runcast.function(function))
        events = []
        for event in hub.watch(run.run_id):
            events.append(event)
            if event.type == "content":
                hub.cancel(run.run_id)
        return events, server.calls[0].wait()


@each_api
def test_cancelling_a_run_closes_the_connection_of_a_thread(api: str) -> None:
    def work(server: ModelServer) -> None:
        with opened(server, api) as stream:
            for _ in stream:
                pass

    events, ending = cancelled_while_stalled(work)

    assert ending == "left"
    assert [it.type for it in events] == ["started", "content", "cancelled"]


@each_api
def test_cancelling_a_run_closes_the_connection_of_a_loop_in_its_thread(api: str) -> None:
    async def read(server: ModelServer) -> None:
        async for _ in pieces(server, api):
            pass

    events, ending = cancelled_while_stalled(lambda server: asyncio.run(read(server)))

    assert ending == "left"
    assert [it.type for it in events] == ["started", "content", "cancelled"]


@each_api
def test_cancelling_a_run_closes_the_connection_of_a_coroutine(api: str) -> None:
    cleaned: list[bool] = []

    async def work(server: ModelServer) -> None:
        try:
            async for _ in pieces(server, api):
                pass
        finally:
            await asyncio.sleep(0)  # cancelled only once, so that it can clean up
            cleaned.append(True)

    with ModelServer([STALLED]) as server, runcast.open_hub() as hub:

        async def function() -> None:
            await work(server)

        run = hub.start(runcast.function(function))
        events = []
        for event in hub.watch(run.run_id):
            events.append(event)
            if event.type == "content":
                hub.cancel(run.run_id)
        ending = server.calls[0].wait()

    assert ending == "left"
    assert cleaned == [True]
    assert [it.type for it in events] == ["started", "content", "cancelled"]


def test_cancelling_a_run_closes_the_connection_of_a_thread_that_the_run_started() -> None:
    def work(server: ModelServer) -> None:
        def read() -> None:
            with opened(server, "chat") as stream:
                for _ in stream:
                    pass

        def read_until_cancelled() -> None:
            try:
                read()
            except runcast.Cancelled:
                ended.set()

        thread = threading.Thread(target=runcast.bind(read_until_cancelled))
        thread.start()
        thread.join(WAIT_S)

    ended = threading.Event()
    events, ending = cancelled_while_stalled(work)

    assert ending == "left"
    assert ended.wait(WAIT_S)
    assert "error" not in [it.type for it in events]


def test_a_call_in_the_clean_up_of_a_cancelled_run_is_left_alone() -> None:
    answers: list[str] = []

    def turn(call: ModelCall) -> ModelTurn:
        return STALLED if call.number == 1 else ModelTurn(text="in short: nothing")

    @runcast.function
    def work() -> None:
        try:
            streamed(server, "chat")
        finally:
            items = streamed(server, "messages")
            answers.append("".join((it.get("delta") or {}).get("text", "") for it in items))

    with ModelServer(turn) as server, runcast.open_hub() as hub:
        run = hub.start(work)
        events = []
        for event in hub.watch(run.run_id):
            events.append(event)
            if event.type == "content" and event.data["text"] == "one ":
                hub.cancel(run.run_id)

    assert answers == ["in short: nothing"]
    assert events[-1].type == "cancelled"


# Sequences that were captured from other servers.

SEQUENCES = Path(__file__).parent / "sequences"


def captured(file: str) -> list[Any]:
    """Return (api, scenario, events, the name of the exception at the end) of each sequence."""
    found: list[Any] = []
    events: list[Any] = []
    for line in (SEQUENCES / file).read_text("utf-8").splitlines():
        record = json.loads(line)
        if "data" in record:
            events.append(record["data"])
        else:
            case = (record["api"], record["scenario"], events, record["end"])
            found.append(pytest.param(*case, id=f"{file}, {record['api']}, {record['scenario']}"))
            events = []
    return found


def replaying(client: Any, api: str, events: list[Any], end: str) -> Any:
    """Return the options of a client whose transport replays events."""
    http = importlib.import_module(client.__mro__[1].__module__.partition(".")[0])

    class Body(http.SyncByteStream):  # type: ignore[name-defined,misc]
        def __iter__(self) -> Iterator[bytes]:
            for event in events:
                kind = f"event: {event['type']}\n" if "type" in event else ""
                yield f"{kind}data: {json.dumps(event)}\n\n".encode()
            if end == "APIStatusError":
                error = {"type": "overloaded_error", "message": "Overloaded"}
                yield b"event: error\ndata: " + json.dumps({"error": error}).encode() + b"\n\n"
            elif end == "APIError":
                error = {"message": "The model is overloaded", "code": "overloaded"}
                yield b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
            elif end:
                raise http.RemoteProtocolError("peer closed connection")
            elif api == "chat":
                yield b"data: [DONE]\n\n"

    def answer(request: Any) -> Any:
        return http.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())

    return {
        "http_client": http.Client(transport=http.MockTransport(answer)),
        "api_key": "test",
        "max_retries": 0,
    }


@pytest.mark.parametrize(
    ("api", "scenario", "events", "end"),
    [
        *captured("openai-2.54.0.jsonl"),
        *captured("openai-3.57.0.jsonl"),
        *captured("anthropic-2.14.0.jsonl"),
    ],
)
def test_a_captured_sequence_is_recorded(
    api: str, scenario: str, events: list[Any], end: str
) -> None:
    def work() -> None:
        if api == "messages":
            options = replaying(anthropic.DefaultHttpxClient, api, events, end)
            with anthropic.Anthropic(**options) as caller:
                for _ in caller.messages.create(model="m", messages=ASK, max_tokens=9, stream=True):
                    pass
            return
        options = replaying(openai.DefaultHttpxClient, api, events, end)
        with openai.OpenAI(**options) as client:
            stream: Any
            if api == "chat":
                stream = client.chat.completions.create(model="m", messages=ASK, stream=True)
            else:
                stream = client.responses.create(model="m", input=ASK, stream=True)
            for _ in stream:
                pass

    found = run_of(work)

    text = "".join(it["text"] for it in data_of(found, "content"))
    calls = [(it["tool"], it["args"]["city"]) for it in data_of(found, "tool_call")]
    assert data_of(found, "log") == []
    assert ("failed" in [it.type for it in found]) == bool(end)
    is_error = any(it in scenario for it in ("error", "cut"))
    assert len(data_of(found, "error")) == is_error
    assert text.startswith("It is sunny") or "tool" in scenario
    assert bool(data_of(found, "thinking")) == (scenario in ("reasoning", "thinking"))
    if "tool" in scenario:
        assert calls[0] == ("weather", "Paris")


def test_a_usage_that_is_no_number_does_not_change_what_the_program_gets() -> None:
    """Counts are added up only when the stream ends, here before its last event."""
    used = {"input_tokens": "many", "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "content": [], "usage": used}
    begun = {"type": "message_start", "message": message}

    def work() -> int:
        options = replaying(anthropic.DefaultHttpxClient, "messages", [begun], "")
        with anthropic.Anthropic(**options) as caller:
            items = caller.messages.create(model="m", messages=ASK, max_tokens=9, stream=True)
            return len(list(items))

    found = run_of(work)

    assert (found[-1].type, found[-1].data) == ("done", {"result": 1})
    [log] = data_of(found, "log")
    assert "cannot read the rest of this answer: TypeError" in log["message"]
