"""Matrix, end to end: deliveries of real runs to a real Synapse with its default limits."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

import runcast
from runcast.channels import CallOutcome, Edit, Send
from runcast.channels.engine import Finish
from runcast.channels.platforms.matrix import Matrix
from tests.channels.homeserver import Homeserver, Room, start_homeserver

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]

WORDS = [f"word{number}" for number in range(600)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Homeserver]:
    with start_homeserver(tmp_path_factory.mktemp("synapse")) as started:
        yield started


@pytest.fixture
def room(server: Homeserver) -> Room:
    return server.make_room()


def channel_to(room: Room, token: str = "") -> Matrix:
    return Matrix(room.room_id, homeserver=room.server.url, token=token or room.bot_token)


async def pause(seconds: float) -> None:
    """Wait as a model does between two words: the server counts calls in real time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()


async def talk() -> None:
    """Say 600 words in 15 seconds."""
    for number, word in enumerate(WORDS):
        runcast.content(f"{word} ")
        if number == 300:
            runcast.tool_call("find", {"q": "x"}, call_id="1")
            runcast.tool_result("find", "found", call_id="1")
        await pause(0.025)


async def test_the_answer_is_there_once_although_the_server_refuses_calls(room: Room) -> None:
    for number in range(9):  # the server takes ten at once, and then one in five seconds
        path = f"/rooms/{room.room_id}/send/m.room.message/before{number}"
        await asyncio.to_thread(
            room.server.ask, "PUT", path, {"msgtype": "m.text", "body": "x"}, token=room.bot_token
        )
    before = set(room.messages())
    outcomes: list[str] = []
    channel = channel_to(room)
    put = channel._put

    async def noted(transaction: str, content: dict[str, object]) -> CallOutcome:
        outcome = await put(transaction, content)
        outcomes.append(outcome.kind)
        return outcome

    channel._put = noted  # type: ignore[method-assign]
    async with runcast.open_hub() as hub:
        run = await hub.start(talk)
        delivery = await hub.deliver(run.run_id, channel, finish="in_place")
        await run.wait()
        async with asyncio.timeout(30):
            receipt = await delivery.wait()
    assert receipt is not None
    assert receipt.status == "delivered"
    messages = {key: said for key, said in room.messages().items() if key not in before}
    assert list(messages) == list(receipt.message_ids)
    said = " ".join(content["body"] for content in messages.values())
    assert [word for word in said.split() if word.startswith("word")] == WORDS
    assert "✓ `find(q=x)`" in said
    assert "limited" in outcomes  # else the test proves nothing
    assert outcomes.count("limited") <= 4


@pytest.mark.parametrize("finish", ["in_place", "fresh"])
async def test_the_end_replaces_or_changes_the_message(room: Room, finish: Finish) -> None:
    async def say() -> None:
        runcast.content("The beginning of a **long** text.")
        await pause(2)
        runcast.content(" And its end.")

    async with runcast.open_hub() as hub:
        run = await hub.start(say)
        delivery = await hub.deliver(run.run_id, channel_to(room), finish=finish)
        async with asyncio.timeout(30):
            receipt = await delivery.wait()
    assert receipt is not None
    assert receipt.status == "delivered"
    assert len(room.messages()) == 1
    content = room.messages()[receipt.message_ids[0]]
    assert content["body"] == "The beginning of a **long** text. And its end."
    assert content["formatted_body"] == (
        "The beginning of a <strong>long</strong> text. And its end."
    )


async def test_a_repeated_send_makes_one_message(room: Room) -> None:
    channel = channel_to(room)
    first = await channel.send(Send(1, "key", "Hello"))
    again = await channel.send(Send(1, "key", "Hello"))
    await channel.close()
    assert first.kind == "ok"
    assert first == again
    assert len(room.messages()) == 1


async def test_a_long_page_in_any_script_fits_into_an_event(room: Room) -> None:
    channel = channel_to(room)
    for text in ("漢" * 2_666, "<" * 8_000, "\\" * 8_000, "\u0001" * 4_000):
        sent = await channel.send(Send(1, str(hash(text)), "x"))
        assert sent.kind == "ok"
        edited = await channel.edit(Edit(1, sent.message_id, text))
        assert edited.kind in ("ok", "too_long"), edited
    await channel.close()


async def test_what_the_server_refuses_is_classified(room: Room, server: Homeserver) -> None:
    stranger = server.make_room()
    for token in ("nonsense", stranger.bot_token):
        channel = channel_to(room, token)
        assert (await channel.send(Send(1, "key", "Hello"))).kind == "forbidden"
        await channel.close()
    nowhere = Matrix(room.room_id, homeserver="http://127.0.0.1:9", token="x")
    assert (await nowhere.send(Send(1, "key", "Hello"))).kind == "not_started"
    await nowhere.close()


async def test_typing_is_shown_and_taken_back(room: Room) -> None:
    channel = channel_to(room)
    assert (await channel.show_typing(True)).kind == "ok"
    assert (await channel.show_typing(False)).kind == "ok"
    await channel.close()


async def test_a_target_names_room_server_and_token(room: Room, tmp_path: Path) -> None:
    file = tmp_path / "channels.toml"
    file.write_text(
        f'[matrix]\nhomeserver = "{room.server.url}"\ntoken = "{room.bot_token}"\n'
        'allow = "127.0.0.0/8"\n'
        f'[matrix.ops]\nto = "{room.room_id}"\n'
    )
    settings = runcast.Settings(channels_file=str(file))
    async with runcast.open_hub(settings=settings) as hub:
        async with hub.run("import") as run:
            runcast.content("Imported.")
        for target in (
            "matrix:ops",
            f"matrix://{quote(room.room_id)}?homeserver={room.server.url}&token={room.bot_token}",
        ):
            async with asyncio.timeout(20):
                delivery = await hub.deliver(run.run_id, target)
                receipt = await delivery.wait()
            assert receipt is not None
            assert receipt.status == "delivered"
    assert [content["body"] for content in room.messages().values()] == ["Imported."] * 2


@runcast.function
async def ask() -> str:
    answer = await runcast.ask("Deploy?", interrupt_id="deploy")
    said = await anext(runcast.inbox())
    return f"{answer.type} by {answer.by}; {said.data}"


async def test_replies_in_the_room_answer_and_are_messages(room: Room, tmp_path: Path) -> None:
    file = tmp_path / "channels.toml"
    file.write_text(
        f'[matrix]\nhomeserver = "{room.server.url}"\ntoken = "{room.bot_token}"\n'
        f'allow = "127.0.0.0/8"\npoll = true\n[matrix.ops]\nto = "{room.room_id}"\n'
    )

    def reply(number: int, to: str, text: str) -> None:
        content = {
            "msgtype": "m.text",
            "body": f"> <@bot:runcast.test> quoted\n\n{text}",
            "m.relates_to": {"m.in_reply_to": {"event_id": to}},
        }
        path = f"/rooms/{room.room_id}/send/m.room.message/reply{number}"
        room.server.ask("PUT", path, content, token=room.reader_token)

    async def message_with(text: str) -> str:
        async with asyncio.timeout(60):
            while True:
                for event_id, content in (await asyncio.to_thread(room.messages)).items():
                    if text in content["body"]:
                        return event_id
                await pause(0.2)

    settings = runcast.Settings.load(channels_file=str(file))
    async with runcast.OpenHub(functions=[ask], settings=settings) as hub:
        await hub.start(ask, run_id="r")
        await hub.deliver("r", "matrix:ops")
        asked = await message_with("Reply to this message with 1 (approve) or 2 (reject).")
        async with asyncio.timeout(60):
            while not (await hub.hub.store.list(kind="poll", limit=1))[0].head:
                await pause(0.2)  # the first sync has read what was there before
        await asyncio.to_thread(reply, 1, asked, "2")
        await message_with("→ **rejected**")
        await asyncio.to_thread(reply, 2, asked, "look at page 3")
        async with asyncio.timeout(60):
            async for event in hub.watch("r"):
                if event.type == "done":
                    result = event.data["result"]
    assert result.startswith("reject by matrix:@user")
    assert result.endswith("; look at page 3")
