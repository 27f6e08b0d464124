"""Notifications by ntfy: when a run asks, when it is answered, and when it ends."""

import asyncio

import pytest

import runcast
from runcast.channels import Delivery, Edit, Receipt, Send
from runcast.channels.platforms.ntfy import Ntfy, make_channel
from runcast.channels.targets import ChannelsFile
from runcast.errors import InvalidValue
from runcast.testing import ChatFault, FakeClock, FakeNtfy
from runcast.testing.chats.server import ChatReply, Request
from tests.channels.chats import Chat, ChatChannel
from tests.channels.driving import listening
from tests.waiting import WAIT_S


class Ringing(FakeNtfy):
    """Sets an event of the loop at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.rang = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def do(self, method: str, request: Request, now: float) -> ChatReply:
        reply = super().do(method, request, now)
        self._loop.call_soon_threadsafe(self.rang.set)
        return reply


LINK = "https://runs.example.org/console/?run={run_id}"


def topic(server: FakeNtfy, **options: str) -> Ntfy:
    allowed = {"url": server.url, "token": server.TOKEN, "allow": "127.0.0.0/8", "link": LINK}
    return make_channel("runs", {**allowed, **options})


async def receipt_of(delivery: Delivery) -> Receipt:
    async with asyncio.timeout(WAIT_S):
        receipt = await delivery.wait()
    assert receipt is not None
    return receipt


async def test_people_are_notified_when_a_run_asks_and_when_it_is_done() -> None:
    async def report() -> str:
        runcast.content("First I look for it. " * 100)
        await runcast.ask("Delete the old ones?", interrupt_id="q1")
        return "All **312** files are imported."

    async with Ringing() as server, runcast.open_hub(functions=[report]) as hub:
        run = await hub.start(report)
        delivery = await hub.deliver(run.run_id, topic(server))
        async with asyncio.timeout(WAIT_S):
            await server.rang.wait()
        asked = server.published[0]
        assert asked["title"] == "report asks"
        assert asked["message"] == "Delete the old ones?"
        assert (asked["priority"], asked["tags"]) == (4, ["question"])
        assert asked["click"] == f"https://runs.example.org/console/?run={run.run_id}"
        await hub.answer(run.run_id, "q1", {"type": "accept"})
        receipt = await receipt_of(delivery)
    assert receipt.status == "delivered"
    answered, done = server.published[1:]
    assert (answered["title"], answered["priority"]) == ("report: answered", 2)
    assert answered["sequence_id"] == asked["sequence_id"]
    assert (done["title"], done["message"]) == ("report is done", "All 312 files are imported.")
    assert server.shown("runs") == ["Delete the old ones?", "All 312 files are imported."]
    assert receipt.message_ids == (asked["sequence_id"], done["sequence_id"])


async def test_people_are_notified_that_a_run_has_failed() -> None:
    async with FakeNtfy() as server, runcast.open_hub() as hub:
        with pytest.raises(ValueError, match="oh"):
            async with hub.run("import") as run:
                raise ValueError("oh no")
        await receipt_of(await hub.deliver(run.run_id, topic(server), shows="steps"))
    (failed,) = server.published
    assert failed["title"] == "import failed"
    assert failed["priority"] == 4


async def test_any_chat_can_have_notices_alone() -> None:
    chat = Chat()
    async with runcast.open_hub() as hub:
        async with hub.run("import") as run:
            runcast.content("a word. " * 300)
        await receipt_of(await hub.deliver(run.run_id, ChatChannel(chat), shows="notice"))
    (text,) = chat.messages.values()
    assert text.startswith("✓ **import is done**\n\na word.")
    assert text.endswith("…")


async def test_a_repeated_send_is_one_notification() -> None:
    async with FakeNtfy() as server:
        channel = topic(server)
        server.fail(ChatFault(kind="late"))
        message = Send(1, "key", "✓ **it is done**", run_id="r")
        assert (await channel.send(message)).kind == "uncertain"
        sent = await channel.send(message)
        assert sent.kind == "ok"
        assert server.shown("runs") == ["it is done"]
        assert (await channel.edit(Edit(1, sent.message_id, "→ **so**"))).kind == "ok"
        assert server.shown("runs") == ["so"]
        assert (await channel.delete(sent.message_id)).kind == "ok"
        assert server.shown("runs") == []
        await channel.close()


async def test_a_server_without_sequences_takes_no_changes() -> None:
    async with FakeNtfy(is_old=True) as server:
        channel = topic(server)
        sent = await channel.send(Send(1, "key", "✓ **it is done**"))
        await channel.close()
    assert (sent.kind, sent.message_id) == ("ok", "")


async def test_refusals_are_classified_and_show_no_secret() -> None:
    clock = FakeClock()
    with listening() as records:
        async with FakeNtfy(["runs"], clock=clock) as server:
            wrong = make_channel(
                "runs", {"url": server.url, "token": "tk_SECRET", "allow": "127.0.0.0/8"}
            )
            assert (await wrong.send(Send(1, "k", "x"))).kind == "forbidden"
            await wrong.close()
            other = topic(server)
            other._topic = "private"
            assert (await other.send(Send(1, "k", "x"))).kind == "forbidden"
            await other.close()
            channel = topic(server)
            for _ in range(58):
                assert (await channel.send(Send(1, "k", "x"))).kind == "ok"
            limited = await channel.send(Send(1, "k", "x"))
            assert (limited.kind, limited.retry_after_s) == ("limited", 10.0)
            clock.advance(300)
            server.fail(ChatFault(kind="error"))
            assert (await channel.send(Send(1, "k", "x"))).kind == "uncertain"
            await channel.close()
            closed = topic(server, allow="")
            assert (await closed.send(Send(1, "k", "x"))).kind == "forbidden"  # it is private
            await closed.close()
    assert not any("SECRET" in record or server.TOKEN in record for record in records)


def test_what_is_not_a_topic_is_refused() -> None:
    for address in ("", "ntfy.sh/", "ntfy.sh/a b", "ntfy.sh/" + "x" * 65):
        with pytest.raises(InvalidValue, match="topic of ntfy"):
            make_channel(address, {})
    with pytest.raises(InvalidValue) as refused:
        make_channel("ntfy.sh/runs", {"token": "a b"})
    assert "a b" not in str(refused.value)


def test_a_token_of_the_file_goes_to_no_other_server_and_a_topic_is_not_shown() -> None:
    file = ChannelsFile({"ntfy": {"token": "tk_1", "mine": {"to": "ntfy.sh/runs"}}})
    assert file.find("ntfy:mine").options["token"] == "tk_1"
    assert file.find("ntfy://runs").options["token"] == "tk_1"
    assert "token" not in file.find("ntfy://evil.example/runs").options
    shown = file.find("ntfy://ntfy.sh/T0PSECRET").shown
    assert shown.startswith("ntfy://ntfy.sh#")
    assert "SECRET" not in shown
    hook = file.find("https://example.org/hook?key=T0PSECRET").shown
    assert hook.startswith("webhook://example.org#")
    assert "SECRET" not in hook
