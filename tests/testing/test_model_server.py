"""The server that stands in for a model, called by the real clients."""

import asyncio
import json
import threading
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from runcast.errors import InvalidValue
from runcast.testing import ModelCall, ModelServer, ModelTurn
from tests.waiting import WAIT_S

SUNNY = ModelTurn(
    text="It is sunny.",
    thinking="Let me think.",
    tools=[("look", {"city": "Paris", "days": 2})],
    input_tokens=9,
    output_tokens=7,
    cached_tokens=4,
)
ARGS = {"city": "Paris", "days": 2}
ASK: Any = [{"role": "user", "content": "How is the weather?"}]


def of_openai(server: ModelServer, retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.openai_url, api_key="test", max_retries=retries)


def of_anthropic(server: ModelServer, retries: int = 0) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key="test", max_retries=retries)


def text_of(server: ModelServer, api: str, retries: int = 0) -> str:
    """Return the streamed text of a call through one of the three APIs."""
    if api == "messages":
        with (
            of_anthropic(server, retries) as client,
            client.messages.stream(model="test", messages=ASK, max_tokens=99) as messages,
        ):
            return "".join(messages.text_stream)
    with of_openai(server, retries) as caller:
        if api == "responses":
            events = caller.responses.create(model="test", input=ASK, stream=True)
            return "".join(it.delta for it in events if it.type == "response.output_text.delta")
        chunks = caller.chat.completions.create(model="test", messages=ASK, stream=True)
        return "".join(it.choices[0].delta.content or "" for it in chunks)


each_api = pytest.mark.parametrize("api", ["chat", "responses", "messages"])


def test_a_chat_completion_is_answered_whole_and_streamed() -> None:
    with ModelServer([SUNNY, SUNNY]) as server, of_openai(server) as client:
        answer = client.chat.completions.create(model="test", messages=ASK)
        with client.chat.completions.stream(
            model="test", messages=ASK, stream_options={"include_usage": True}
        ) as stream:
            streamed = stream.get_final_completion()

    for one in (answer, streamed):
        message = one.choices[0].message
        assert one.choices[0].finish_reason == "tool_calls"
        assert message.content == "It is sunny."
        assert message.tool_calls is not None
        [call] = message.tool_calls
        assert call.type == "function"
        assert call.function.name == "look"
        assert json.loads(call.function.arguments) == ARGS
        assert one.usage is not None
        assert (one.usage.prompt_tokens, one.usage.completion_tokens) == (9, 7)
        assert one.usage.prompt_tokens_details is not None
        assert one.usage.prompt_tokens_details.cached_tokens == 4
        assert one.model == "test"
        assert message.model_extra is not None
        assert message.model_extra["reasoning_content"] == "Let me think."


def test_a_response_is_answered_whole_and_streamed() -> None:
    with ModelServer([SUNNY, SUNNY]) as server, of_openai(server) as client:
        answer = client.responses.create(model="test", input=ASK)
        with client.responses.stream(model="test", input=ASK) as stream:
            streamed = stream.get_final_response()

    for one in (answer, streamed):
        thought, message, call = one.output
        assert thought.type == "reasoning"
        assert thought.summary[0].text == "Let me think."
        assert message.type == "message"
        assert one.output_text == "It is sunny."
        assert call.type == "function_call"
        assert (call.name, json.loads(call.arguments)) == ("look", ARGS)
        assert one.usage is not None
        assert (one.usage.input_tokens, one.usage.output_tokens) == (9, 7)
        assert one.usage.input_tokens_details.cached_tokens == 4
        assert one.usage.output_tokens_details.reasoning_tokens == 3


def test_a_message_is_answered_whole_and_streamed() -> None:
    with ModelServer([SUNNY, SUNNY]) as server, of_anthropic(server) as client:
        answer = client.messages.create(model="test", messages=ASK, max_tokens=99)
        with client.messages.stream(model="test", messages=ASK, max_tokens=99) as stream:
            streamed = stream.get_final_message()

    for one in (answer, streamed):
        thought, text, call = one.content
        assert thought.type == "thinking"
        assert thought.thinking == "Let me think."
        assert text.type == "text"
        assert text.text == "It is sunny."
        assert call.type == "tool_use"
        assert (call.name, call.input) == ("look", ARGS)
        assert one.stop_reason == "tool_use"
        assert (one.usage.input_tokens, one.usage.output_tokens) == (5, 7)
        assert one.usage.cache_read_input_tokens == 4


@each_api
def test_without_turns_it_echoes_the_users_last_message(api: str) -> None:
    with ModelServer() as server:
        assert text_of(server, api) == "How is the weather?"

    [call] = server.calls
    assert (call.api, call.model, call.is_streamed, call.sent) == (api, "test", True, 4)
    assert call.ending == "complete"


def test_a_function_chooses_the_turn_of_each_call() -> None:
    def choose(call: ModelCall) -> ModelTurn:
        return ModelTurn(text=[f"{call.number}", ": ", call.prompt])

    with ModelServer(choose) as server:
        assert text_of(server, "chat") == "1: How is the weather?"
        assert text_of(server, "messages") == "2: How is the weather?"


@each_api
def test_a_refusal_is_tried_again_by_clients_that_do(api: str) -> None:
    with ModelServer([ModelTurn(status=429), ModelTurn(status=500), SUNNY]) as server:
        assert text_of(server, api, retries=2) == "It is sunny."

    assert [call.ending for call in server.calls] == ["refused", "refused", "complete"]


def test_a_refusal_is_the_clients_own_error() -> None:
    with ModelServer([ModelTurn(status=429), ModelTurn(status=500)] * 2) as server:
        for client, text in ((openai, "chat"), (anthropic, "messages")):
            with pytest.raises(client.RateLimitError, match="rate limit"):
                text_of(server, text)
            with pytest.raises(client.InternalServerError, match="The model failed"):
                text_of(server, text)


def test_a_script_that_is_over_and_a_function_that_fails_are_explained_to_the_client() -> None:
    def fail(call: ModelCall) -> ModelTurn:
        raise LookupError("no idea")

    with ModelServer([]) as server, pytest.raises(openai.APIError, match="no turn left"):
        text_of(server, "chat", retries=2)
    assert len(server.calls) == 1
    with ModelServer(fail) as server, pytest.raises(anthropic.APIError, match="no idea"):
        text_of(server, "messages")


@each_api
def test_a_cut_connection_raises_in_the_client_after_the_pieces(api: str) -> None:
    got = []
    with ModelServer([ModelTurn(text="one two three", fault="cut", after=2)]) as server:
        with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
            got.append(text_of(server, api))
        assert server.calls[0].wait() == "cut"

    assert server.calls[0].sent == 2
    assert got == []


@pytest.mark.parametrize(("api", "client"), [("chat", openai), ("messages", anthropic)])
def test_an_error_in_the_middle_is_raised_by_the_client(api: str, client: Any) -> None:
    with (
        ModelServer([ModelTurn(text="one two three", fault="error", after=2)]) as server,
        pytest.raises(client.APIError, match=r"(?i)overloaded"),
    ):
        text_of(server, api)

    assert (server.calls[0].sent, server.calls[0].ending) == (2, "error")


@pytest.mark.parametrize(("fault", "last"), [("error", "error"), ("failed", "response.failed")])
def test_an_error_of_responses_ends_the_stream_without_an_exception(fault: Any, last: str) -> None:
    turn = ModelTurn(text="one two three", fault=fault, after=2)
    with ModelServer([turn]) as server, of_openai(server) as client:
        events = list(client.responses.create(model="test", input="x", stream=True))

    assert [it.type for it in events].count("response.output_text.delta") == 2
    assert events[-1].type == last


@each_api
def test_a_stalled_answer_continues_when_it_is_released(api: str) -> None:
    got: list[str] = []
    with ModelServer([ModelTurn(text="one two", fault="stall", after=1)]) as server:
        thread = threading.Thread(target=lambda: got.append(text_of(server, api)))
        thread.start()
        server.release()
        thread.join(WAIT_S)

    assert got == ["one two"]


def test_a_client_that_leaves_is_noticed() -> None:
    turn = ModelTurn(text="one two", fault="stall", after=1)
    with ModelServer([turn]) as server, of_openai(server) as client:
        chat = client.chat.completions
        with chat.create(model="test", messages=ASK, stream=True) as stream:
            assert next(stream).choices[0].delta.role == "assistant"
        assert server.calls[0].wait() == "left"


def test_the_server_ends_while_an_answer_stalls() -> None:
    with ModelServer([ModelTurn(text="one two", fault="stall", after=1)]) as server:
        client = of_openai(server)
        stream = client.chat.completions.create(model="test", messages=ASK, stream=True)
        next(stream)
    with client, pytest.raises(openai.APIConnectionError):
        list(stream)

    names = [thread.name for thread in threading.enumerate()]
    assert "runcast-model" not in names
    with pytest.raises(InvalidValue, match="expected an open server"):
        server.url  # noqa: B018 - reading it is the test
    server.close()


@pytest.mark.anyio
@pytest.mark.parametrize("delay_s", [0, 0.001])
async def test_many_coroutines_stream_at_once(delay_s: float) -> None:
    async def ask(client: openai.AsyncOpenAI, text: str) -> str:
        chunks = await client.chat.completions.create(
            model="test", messages=[{"role": "user", "content": text}], stream=True
        )
        return "".join([it.choices[0].delta.content or "" async for it in chunks])

    async with (
        ModelServer(delay_s=delay_s) as server,
        openai.AsyncOpenAI(base_url=server.openai_url, api_key="test") as client,
    ):
        texts = [f"this is number {number}" for number in range(10)]
        assert await asyncio.gather(*(ask(client, text) for text in texts)) == texts


def test_requests_that_are_no_calls_get_an_error() -> None:
    with ModelServer() as server, httpx2.Client(base_url=server.url) as client:
        assert client.get("/v1/models").json()["data"][0]["id"] == "test"
        assert client.get("/other").status_code == 404
        assert client.post("/v1/embeddings", json={}).status_code == 404
        assert client.post("/v1/messages", content=b"no JSON").status_code == 400
        assert client.post("/v1/messages", json=[]).json()["type"] == "error"
        assert server.calls == []


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ({"status": 302}, "expected a status of 200 or 400 to 599, got 302"),
        ({"fault": "fire"}, "expected a fault of cut, error, failed, stall, got 'fire'"),
        ({"after": -1}, "expected after to be a whole number from 0, got -1"),
        ({"tools": ["look"]}, "expected tools as"),
    ],
)
def test_malformed_turns_are_refused(turn: Any, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        ModelTurn(**turn)


def test_malformed_servers_are_refused() -> None:
    with pytest.raises(InvalidValue, match="expected turns to be ModelTurn, got 'hello'"):
        ModelServer(["hello"])  # type: ignore[list-item]
    with pytest.raises(InvalidValue, match="expected delay_s"):
        ModelServer(delay_s=-1)
