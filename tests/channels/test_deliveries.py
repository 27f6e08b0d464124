"""Deliveries of real runs: a hub, a store in a file, and processes that die."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import runcast
from runcast.channels import CallOutcome, Capability, Receipt
from runcast.channels.deliveries import DELIVERY
from runcast.channels.targets import ChannelsFile, Target
from runcast.errors import Conflict, InvalidValue, NotFound
from tests.channels.chats import CAPABILITY, Chat, ChatChannel, Moment
from tests.waiting import WAIT_S

WORDS = " ".join(f"word{number}" for number in range(40))


def talk_to(chat: Chat) -> Callable[[], Awaitable[None]]:
    """Return a function that says 40 words, the second half once the chat was called."""

    async def talk() -> None:
        words = WORDS.split()
        for word in words[:20]:
            runcast.content(f"{word} ")
        await chat.called.wait()
        for word in words[20:]:
            runcast.content(f"{word} ")

    return talk


class Killed(BaseException):
    """The process dies here."""


def open_hub(
    store: Path, chat: Chat, capability: Capability = CAPABILITY, targets: str = "chat"
) -> runcast.HubOpener:
    settings = runcast.Settings(lease_s=5.0)
    opener = runcast.open_hub(f"sqlite:///{store}", settings=settings, functions=[talk_to(chat)])
    make = opener._make

    def with_chat() -> runcast.OpenHub:
        hub = make()
        hub.deliveries.channels = ChannelsFile({targets: {"ops": {"to": "1"}}})
        hub.deliveries._make = lambda target: ChatChannel(chat, capability)
        return hub

    opener._make = with_chat
    return opener


def bytes_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())


async def receipt_of(hub: runcast.OpenHub, run_id: str) -> dict[str, object]:
    """Wait for the end of the delivery's log and return its result."""
    (found,) = await hub.hub.store.list(kind=DELIVERY, labels={"run": run_id}, limit=5)
    async with asyncio.timeout(5):
        async for _ in hub.watch(found.log_id):
            pass
    info, snapshot = await hub.hub.present(found.log_id)
    return {"status": info.status, "result": snapshot.result}


async def test_a_run_becomes_one_message_that_grows(tmp_path: Path) -> None:
    chat = Chat()
    async with open_hub(tmp_path / "a.db", chat) as hub:
        run = await hub.start("talk")
        delivery = await hub.deliver(run.run_id, "chat:ops")
        async with asyncio.timeout(5):
            receipt = await delivery.wait()
        assert receipt == Receipt("delivered", ("m1",))
        assert list(chat.messages.values()) == [WORDS]
        assert chat.calls[0] == "send"
        assert "edit" in chat.calls
        assert (await receipt_of(hub, run.run_id))["status"] == "done"
    assert chat.closed == 1


async def test_the_first_text_does_not_wait_for_the_next_sign_of_writing() -> None:
    chat, typed = Chat(), asyncio.Event()

    class Typing(ChatChannel):
        async def show_typing(self, is_on: bool) -> CallOutcome:
            typed.set()
            return CallOutcome("ok")

    capability = dataclasses.replace(CAPABILITY, can_type=True, typing_s=600.0)
    async with runcast.open_hub() as hub, asyncio.timeout(WAIT_S), hub.run("talk") as run:
        delivery = await hub.deliver(run.run_id, Typing(chat, capability))
        await typed.wait()
        runcast.content("A text that is long enough to be sent at once.")
        await chat.called.wait()
        assert len(chat.messages) == 1
    await delivery.wait()


async def test_a_run_that_has_ended_is_delivered(tmp_path: Path) -> None:
    chat = Chat()
    async with open_hub(tmp_path / "a.db", chat) as hub:
        chat.called.set()
        run = await hub.start("talk")
        await run.wait()
        delivery = await hub.deliver(run.run_id, "chat:ops")
        async with asyncio.timeout(5):
            await delivery.wait()
    assert list(chat.messages.values()) == [WORDS]
    assert chat.calls == ["send"]


async def test_a_run_is_delivered_to_a_target_once(tmp_path: Path) -> None:
    chat = Chat()
    async with open_hub(tmp_path / "a.db", chat) as hub:
        run = await hub.start("talk")
        first = await hub.deliver(run.run_id, "chat:ops")
        assert await hub.deliver(run.run_id, "chat:ops") is first
        await first.wait()
        with pytest.raises(Conflict, match="its deliveries have the receipt"):
            await hub.deliver(run.run_id, "chat:ops")
    assert list(chat.messages.values()) == [WORDS]


async def test_what_cannot_be_delivered_is_refused(tmp_path: Path) -> None:
    chat = Chat()
    chat.called.set()
    async with open_hub(tmp_path / "a.db", chat) as hub:
        run = await hub.start("talk")
        with pytest.raises(NotFound):
            await hub.deliver("nothing", "chat:ops")
        with pytest.raises(InvalidValue, match="chat:ops"):
            await hub.deliver(run.run_id, "chat:unknown")
        with pytest.raises(InvalidValue, match="answer, tools, steps"):
            await hub.deliver(run.run_id, "chat:ops", shows="all")  # type: ignore[arg-type]


async def test_tokens_are_not_stored(tmp_path: Path) -> None:
    async with open_hub(tmp_path / "a.db", Chat()) as hub:
        run = await hub.start("talk")
        delivery = await hub.deliver(run.run_id, "chat://7?token=T0PSECRET")
        await delivery.wait()
        assert delivery.target == "chat://7"
        await run.wait()
    stored = bytes_of(tmp_path)
    assert b"chat://7" in stored
    assert b"T0PSECRET" not in stored


async def deliver_and_die(
    store: Path, chat: Chat, moment: Moment, number: int, capability: Capability
) -> bool:
    """Run and deliver until the call with this number; return whether it came to that."""
    died = asyncio.Event()

    def die(now: Moment, call: int) -> None:
        if (now, call) == (moment, number):
            died.set()
            raise Killed

    chat.hook = die
    async with open_hub(store, chat, capability) as hub:
        run = await hub.start("talk", run_id="r")
        delivery = await hub.deliver(run.run_id, "chat:ops")
        await run.wait()
        try:
            async with asyncio.timeout(5):
                await delivery.wait()
        except Killed:
            pass
    chat.hook = lambda now, call: None
    return died.is_set()


async def check_resumed(store: Path, chat: Chat, capability: Capability) -> None:
    async with open_hub(store, chat, capability) as hub:
        ended = await receipt_of(hub, "r")
    shown = [text for text in chat.messages.values() if text == WORDS]
    assert ended["status"] == "done"
    result = ended["result"]
    assert isinstance(result, dict)
    if result["status"] == "delivered":
        assert len(shown) == 1
        assert len(chat.messages) - 1 <= result["strays"]
    else:
        assert result["status"] == "uncertain"
        assert not capability.is_idempotent
        assert len(shown) <= 1


@pytest.mark.parametrize("is_idempotent", [True, False])
@pytest.mark.parametrize(("moment", "number"), [("before", 1), ("after", 1), ("after", 2)])
async def test_another_process_goes_on_with_a_delivery(
    tmp_path: Path, moment: Moment, number: int, is_idempotent: bool
) -> None:
    chat = Chat()
    capability = Capability(limit=500, interval_s=0.01, slots=1000, is_idempotent=is_idempotent)
    assert await deliver_and_die(tmp_path / "a.db", chat, moment, number, capability)
    await check_resumed(tmp_path / "a.db", chat, capability)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_notice_is_there_once_whenever_the_process_dies(
    tmp_path: Path, moment: Moment
) -> None:
    chat, store = Chat(), tmp_path / "a.db"
    chat.called.set()
    capability = Capability(limit=500, interval_s=0.0, is_idempotent=True, is_notice=True)
    assert await deliver_and_die(store, chat, moment, 1, capability)
    async with open_hub(store, chat, capability) as hub:
        ended = await receipt_of(hub, "r")
    assert ended["status"] == "done"
    (text,) = chat.messages.values()
    assert text.startswith("✓ **talk is done**\n\nword0 word1")


@pytest.mark.heavy
@pytest.mark.timeout(300)
@pytest.mark.parametrize("limit", [64, 500])
@pytest.mark.parametrize("is_idempotent", [True, False])
async def test_a_delivery_survives_death_at_every_step(
    tmp_path: Path, is_idempotent: bool, limit: int
) -> None:
    capability = Capability(limit=limit, interval_s=0.01, slots=1000, is_idempotent=is_idempotent)
    for number in range(1, 12):
        for moment in ("before", "after"):
            chat, store = Chat(), tmp_path / f"{moment}{number}.db"
            if await deliver_and_die(store, chat, moment, number, capability):
                if limit == 500:
                    await check_resumed(store, chat, capability)
                else:
                    async with open_hub(store, chat, capability) as hub:
                        ended = await receipt_of(hub, "r")
                    assert ended["status"] == "done"
                    result = ended["result"]
                    assert isinstance(result, dict)
                    said = " ".join(chat.messages.values()).split()
                    if result["status"] == "delivered":
                        assert set(said) == set(WORDS.split())
                    else:  # a full page whose send has no answer: it is there or it is not
                        assert not is_idempotent


async def test_a_delivery_with_an_inline_token_cannot_be_continued_and_says_so(
    tmp_path: Path,
) -> None:
    chat = Chat()
    chat.hook = lambda now, call: (_ for _ in ()).throw(Killed())
    async with open_hub(tmp_path / "a.db", chat) as hub:
        run = await hub.start("talk", run_id="r")
        delivery = await hub.deliver(run.run_id, "chat://7?token=x")
        await run.wait()
        with pytest.raises(Killed):
            await delivery.wait()
    async with open_hub(tmp_path / "a.db", chat) as hub:
        assert (await receipt_of(hub, "r"))["status"] == "failed"


async def test_a_hub_that_closes_leaves_a_delivery_to_the_next_one(tmp_path: Path) -> None:
    chat = Chat()
    gate = asyncio.Event()

    async def wait() -> None:
        runcast.content("This is the beginning of a long text. ")
        await gate.wait()

    async with open_hub(tmp_path / "a.db", chat) as hub:
        run = await hub.start(wait, run_id="r")
        await hub.deliver(run.run_id, "chat:ops")
        async with asyncio.timeout(5):
            await chat.called.wait()
    # The end of the run, which the hub cancels, is delivered before the hub is gone.
    assert "Cancelled" in chat.messages["m1"]
    assert len(chat.messages) == 1


def test_targets_show_no_options() -> None:
    file = ChannelsFile({"telegram": {"token": "T0PSECRET", "ops": {"to": "-1"}}})
    named = file.find("telegram:ops")
    assert named == Target("telegram", "-1", {"token": "T0PSECRET"}, "ops")
    assert named.shown == "telegram:ops"
    inline = file.find("telegram://-5?token=OTHER")
    assert inline.options["token"] == "OTHER"
    assert inline.shown == "telegram://-5"
    assert "SECRET" not in repr(named)
    with pytest.raises(InvalidValue, match="telegram:ops") as refused:
        file.find("telegram:dev?token=T0PSECRET")
    assert "T0PSECRET" not in str(refused.value)


async def test_two_channels_of_one_scope_are_two_targets() -> None:
    """A workspace counts all of its channels together, and a mail server all of its mailboxes."""

    class Placed(ChatChannel):
        scope = "workspace"

        def __init__(self, chat: Chat, place: str) -> None:
            super().__init__(chat)
            self.place = place

    one, two = Chat(), Chat()
    async with runcast.open_hub() as hub:
        async with hub.run("import") as run:
            runcast.content("All is imported.")
        begun = [
            await hub.deliver(run.run_id, channel)
            for channel in (Placed(one, "a"), Placed(two, "b"), Placed(two, "b"))
        ]
        for delivery in begun:
            async with asyncio.timeout(5):
                await delivery.wait()
    assert begun[1] is begun[2]
    assert list(one.messages.values()) == list(two.messages.values()) == ["All is imported."]
    assert [each.target for each in begun] == ["channel://a", "channel://b", "channel://b"]
