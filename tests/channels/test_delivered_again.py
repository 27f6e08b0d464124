"""A delivery that failed before anything could be in the chat is begun again, and no other one."""

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

import runcast
from runcast.channels import (
    CallOutcome,
    Capability,
    Channel,
    Delivery,
    Receipt,
    Send,
    deliveries,
)
from runcast.channels.deliveries import DELIVERY, _name_of
from runcast.channels.platforms import make_channel
from runcast.channels.receipts import DeliveryState
from runcast.channels.targets import Target
from runcast.errors import Conflict
from runcast.events.outcome import failed
from runcast.testing import ChatFault, FakeDingTalk, FakeNtfy, FakeTelegram, FakeWebPush
from tests.channels.chats import Chat, ChatChannel
from tests.channels.test_killed import started
from tests.channels.test_webhook import serving
from tests.waiting import START_S, WAIT_S, until

TEXT = "All is imported."
WRONG_TOKEN = "123456:WRONG-token-of-another-telegram"


@pytest.fixture
def telegram(tmp_path: Path) -> Iterator[FakeTelegram]:
    """A group, where a delivery shows no sign of writing: its first call is a send."""
    with FakeTelegram(chats=[-42]) as platform:
        write_file(tmp_path, platform, platform.TOKEN)
        yield platform


def store_in(folder: Path, lease_s: float = 5.0) -> runcast.HubOpener:
    """Return a hub on a store and a channels file in a folder."""
    settings = runcast.Settings(channels_file=str(folder / "channels.toml"), lease_s=lease_s)
    return runcast.open_hub(f"sqlite:///{folder}/runs.db", settings=settings)


def write_file(folder: Path, telegram: FakeTelegram, token: str) -> None:
    """Write the channels file with a token."""
    (folder / "channels.toml").write_text(
        f'[telegram]\nurl = "{telegram.url}"\ntoken = "{token}"\nallow = "127.0.0.0/8"\n'
        '[telegram.ops]\nto = "-42"\n'
    )


def address_of(telegram: FakeTelegram, token: str) -> str:
    return f"telegram://-42?token={token}&url={telegram.url}"


async def imported(hub: runcast.OpenHub) -> None:
    """Record the run `r`."""
    async with hub.run("import", run_id="r"):
        runcast.content(TEXT)


async def delivered(hub: runcast.OpenHub, target: str | Channel) -> Receipt:
    async with asyncio.timeout(WAIT_S):
        receipt = await (await hub.deliver("r", target)).wait()
    assert receipt is not None
    return receipt


async def state_of(hub: runcast.OpenHub) -> DeliveryState:
    """Return what became of the run's delivery, once it has ended."""
    run = await hub.hub.info("r")
    async with asyncio.timeout(WAIT_S):
        await hub.deliveries.wait(run)
    [state] = await hub.deliveries.states(run)
    return state


async def test_a_run_is_delivered_once_the_token_in_the_file_is_mended(
    tmp_path: Path, telegram: FakeTelegram
) -> None:
    write_file(tmp_path, telegram, WRONG_TOKEN)
    async with store_in(tmp_path) as hub:
        await imported(hub)
        for _ in range(2):
            assert not (await delivered(hub, "telegram:ops")).may_be_shown
    write_file(tmp_path, telegram, telegram.TOKEN)
    async with store_in(tmp_path) as hub:
        assert not (await state_of(hub)).may_be_shown
        assert (await delivered(hub, "telegram:ops")).status == "delivered"
        with pytest.raises(Conflict, match="was delivered to telegram:ops already"):
            await hub.deliver("r", "telegram:ops")
    assert telegram.shown(-42) == [TEXT]


async def test_a_run_is_delivered_to_an_address_whose_token_is_mended(
    tmp_path: Path, telegram: FakeTelegram
) -> None:
    async with store_in(tmp_path) as hub:
        await imported(hub)
        first = await delivered(hub, address_of(telegram, WRONG_TOKEN))
        assert (first.status, first.may_be_shown) == ("failed", False)
        receipt = await delivered(hub, address_of(telegram, telegram.TOKEN))
        assert receipt.status == "delivered"
    assert telegram.shown(-42) == [TEXT]


async def test_a_delivery_that_was_begun_again_goes_on_and_has_its_first_text(
    tmp_path: Path, telegram: FakeTelegram
) -> None:
    """It begins with the run's first event, also while the run goes on."""
    telegram.chats.remove(-42)
    async with store_in(tmp_path) as hub:
        async with hub.run("import", run_id="r"):
            runcast.content("The first words of a longer text. ")
            assert (await delivered(hub, address_of(telegram, telegram.TOKEN))).status == "failed"
            telegram.chats.add(-42)
            delivery = await hub.deliver("r", address_of(telegram, telegram.TOKEN))
            assert await hub.deliver("r", address_of(telegram, telegram.TOKEN)) is delivery
            await asyncio.to_thread(telegram.wait_for, 1)
            runcast.content("The last words.")
        async with asyncio.timeout(WAIT_S):
            await delivery.wait()
    assert telegram.shown(-42) == ["The first words of a longer text. The last words."]


# What keeps the conflict.


async def test_a_send_without_an_answer_keeps_the_conflict(
    tmp_path: Path, telegram: FakeTelegram
) -> None:
    """Its message may be there, although the delivery failed with the next one."""
    telegram.fail(ChatFault(kind="late", method="sendMessage"))
    async with store_in(tmp_path) as hub:
        async with hub.run("import", run_id="r"):
            runcast.content("The first words of a longer text. ")
            delivery = await hub.deliver("r", address_of(telegram, telegram.TOKEN))
            await asyncio.to_thread(telegram.wait_for, 1)
            telegram.chats.clear()
            runcast.content("The last words. " * 20)
        async with asyncio.timeout(WAIT_S):
            receipt = await delivery.wait()
        assert receipt is not None
        assert (receipt.status, receipt.message_ids, receipt.may_be_shown) == ("failed", (), True)
        assert (await state_of(hub)).may_be_shown
        telegram.chats.add(-42)
        with pytest.raises(Conflict, match="a part may be in the chat"):
            await hub.deliver("r", address_of(telegram, telegram.TOKEN))
    assert len(telegram.shown(-42)) == 1


async def test_an_uncertain_delivery_keeps_the_conflict(
    tmp_path: Path, telegram: FakeTelegram
) -> None:
    telegram.fail(ChatFault(kind="lost", method="sendMessage"))
    async with store_in(tmp_path) as hub:
        await imported(hub)
        receipt = await delivered(hub, address_of(telegram, telegram.TOKEN))
        assert receipt.status == "uncertain"
        with pytest.raises(Conflict, match="perhaps not completely"):
            await hub.deliver("r", address_of(telegram, telegram.TOKEN))


class Scripted(ChatChannel):
    """A channel whose sends end in these ways, and then well; it names no message."""

    capability: Capability

    def __init__(self, *outcomes: str, capability: Capability | None = None) -> None:
        quiet = Capability(limit=80, can_edit=False, can_delete=False, interval_s=0.0)
        super().__init__(Chat(), capability or quiet)
        self._outcomes = list(outcomes)
        self.texts: list[str] = []
        self.keys: list[str] = []

    async def send(self, message: Send) -> CallOutcome:
        self.keys.append(message.key)
        kind = self._outcomes.pop(0) if self._outcomes else "ok"
        if kind == "ok":
            self.texts.append(message.text)
        return CallOutcome(kind, reason=f"it is {kind}")  # type: ignore[arg-type]


@pytest.mark.parametrize("outcomes", [("ok", "forbidden"), ("uncertain", "forbidden")])
async def test_a_channel_without_ids_that_took_a_message_keeps_the_conflict(
    outcomes: tuple[str, ...],
) -> None:
    capability = Capability(
        limit=80, can_edit=False, can_delete=False, interval_s=0.0, is_idempotent=True
    )
    channel = Scripted(*outcomes, capability=capability)
    async with runcast.open_hub() as hub:
        async with hub.run("import", run_id="r"):
            runcast.content("Many words of a text. " * 10)
        receipt = await delivered(hub, channel)
        assert (receipt.status, receipt.may_be_shown) == ("failed", True)
        with pytest.raises(Conflict, match="a part may be in the chat"):
            await hub.deliver("r", channel)


@pytest.mark.parametrize(
    "outcomes",
    [
        ("forbidden",),
        ("rejected", "rejected", "rejected"),
        ("not_started", "forbidden"),
        ("unparsable", "too_long", "forbidden"),
    ],
)
async def test_a_channel_that_took_nothing_is_delivered_to_again(
    outcomes: tuple[str, ...],
) -> None:
    channel = Scripted(*outcomes)
    async with runcast.open_hub() as hub:
        await imported(hub)
        first = await delivered(hub, channel)
        assert (first.status, first.may_be_shown) == ("failed", False)
        assert not channel.texts
        assert (await delivered(hub, channel)).status == "delivered"
    assert channel.texts == [TEXT]
    # A platform may remember what became of the first key.
    assert channel.keys[-1] not in channel.keys[:-1]


# Several at once.


async def test_one_of_two_processes_delivers_a_run_again(
    tmp_path: Path, telegram: FakeTelegram
) -> None:
    telegram.chats.remove(-42)
    address = address_of(telegram, telegram.TOKEN)
    async with store_in(tmp_path) as one, store_in(tmp_path) as other:
        for number in range(5):
            run_id = f"r{number}"
            async with one.run("import", run_id=run_id):
                runcast.content(f"{TEXT} {number}")
            telegram.chats.discard(-42)
            await (await one.deliver(run_id, address)).wait()
            telegram.chats.add(-42)
            begun = await asyncio.gather(
                *(hub.deliver(run_id, address) for hub in (one, other, one, other)),
                return_exceptions=True,
            )
            winners = {each for each in begun if isinstance(each, Delivery)}
            conflicts = [each for each in begun if isinstance(each, Conflict)]
            assert len(winners) == 1
            assert len(conflicts) == 2
            known = f"run {run_id} (is being|was) delivered to telegram://-42 already"
            assert all(re.match(known, str(each)) for each in conflicts), conflicts
            async with asyncio.timeout(WAIT_S):
                await winners.pop().wait()
    assert telegram.shown(-42) == [f"{TEXT} {number}" for number in range(5)]


class Closing(Scripted):
    """A channel that takes its time to close."""

    def __init__(self, *outcomes: str) -> None:
        super().__init__(*outcomes)
        self.is_closing, self.may_close = asyncio.Event(), asyncio.Event()

    async def close(self) -> None:
        self.is_closing.set()
        await self.may_close.wait()


async def test_a_delivery_whose_failure_is_known_is_not_returned_as_one_that_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliveries, "_GRACE_S", 0.01)
    channel = Closing("forbidden")
    async with runcast.open_hub() as hub, asyncio.timeout(WAIT_S):
        await imported(hub)
        first = await hub.deliver("r", channel)
        await channel.is_closing.wait()
        again = await hub.deliver("r", channel)
        assert again is not first
        channel.may_close.set()
        assert await hub.deliver("r", channel) is again
        receipt = await again.wait()
    assert receipt is not None
    assert receipt.status == "delivered"
    assert channel.texts == [TEXT]


# Processes that die.


async def refusal_is_stored(hub: runcast.OpenHub) -> None:
    """Wait until the delivery has stored that its send was refused."""
    [log] = await hub.hub.store.list(kind=DELIVERY, labels={"run": "r"}, limit=2)
    async for event in hub.watch(log.log_id):
        if event.data["state"]["blocked_until"]:
            return


@pytest.mark.parametrize("kind", ["limited", "late"])
async def test_a_delivery_of_a_killed_process_is_begun_again_if_its_send_was_refused(
    tmp_path: Path, telegram: FakeTelegram, kind: Literal["limited", "late"]
) -> None:
    """The token was inline, so no process can go on. Telegram has refused the send, or has sent the
    message and not answered."""
    telegram.fail(ChatFault(kind=kind, retry_after_s=600.0, is_cut=False))
    address = address_of(telegram, telegram.TOKEN)
    async with store_in(tmp_path, lease_s=1.0) as hub:
        await imported(hub)
        async with started("begin", tmp_path, address) as process, asyncio.timeout(START_S):
            await until(lambda: bool(telegram.calls))
            if kind == "limited":
                await refusal_is_stored(hub)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        telegram._blocked.clear()
        state = await state_of(hub)
        assert (state.status, state.may_be_shown) == ("failed", kind == "late")
        assert "was given inline" in state.reason
        if kind == "limited":
            assert (await delivered(hub, address)).status == "delivered"
        else:
            with pytest.raises(Conflict, match="a part may be in the chat"):
                await hub.deliver("r", address)
    assert telegram.shown(-42) == [TEXT]


async def test_a_delivery_that_was_cancelled_before_anything_was_stored_is_begun_again(
    tmp_path: Path, telegram: FakeTelegram
) -> None:
    """So it is when the store does not answer whether it has begun the log."""
    async with store_in(tmp_path) as hub:
        await imported(hub)
        run = await hub.hub.info("r")
        labels = {"run": "r", "epoch": run.epoch, "to": "telegram://-42"}
        name = _name_of("r", run.epoch, "telegram://-42")
        log = await hub.hub.begin(name, kind=DELIVERY, labels=labels)
        with pytest.raises(Conflict, match="is being delivered"):
            await hub.deliver("r", address_of(telegram, telegram.TOKEN))
        await log.cancel("its beginning was cancelled")
        receipt = await delivered(hub, address_of(telegram, telegram.TOKEN))
        assert receipt.status == "delivered"
    assert telegram.shown(-42) == [TEXT]


async def test_a_failure_that_an_older_version_recorded_keeps_the_conflict() -> None:
    channel = Scripted()
    async with runcast.open_hub() as hub:
        await imported(hub)
        run = await hub.hub.info("r")
        labels = {"run": "r", "epoch": run.epoch, "to": "channel://chat:1"}
        name = _name_of("r", run.epoch, "channel://chat:1")
        log = await hub.hub.begin(name, kind=DELIVERY, labels=labels)
        inlet = hub.hub.inlet(log.log_id, log.epoch)
        await inlet.append([json.dumps({"type": "delivery_state", "data": {}}).encode()[1:-1]])
        await log.end(failed("not delivered: why", "not_delivered"))
        with pytest.raises(Conflict, match="a part may be in the chat"):
            await hub.deliver("r", channel)
    assert not channel.texts


# Other platforms.


async def test_a_topic_of_ntfy_gets_a_notice_once_its_token_is_mended() -> None:
    async with FakeNtfy() as server, runcast.open_hub() as hub:
        await imported(hub)
        for token in ("tk_wrongwrongwrongwrongwrongwrong", server.TOKEN):
            options = {"url": server.url, "token": token, "allow": "127.0.0.0/8"}
            receipt = await delivered(hub, make_channel(Target("ntfy", "runs", options)))
        assert receipt.status == "delivered"
        assert len(server.published) == 1


async def test_a_browser_is_notified_once_the_key_is_mended() -> None:
    async with FakeWebPush() as push, FakeWebPush() as other, runcast.open_hub() as hub:
        await imported(hub)
        for key in (other.private_key, push.private_key):
            options = {"private_key": key, "contact": "mailto:a@b.c", "allow": "127.0.0.0/8"}
            receipt = await delivered(
                hub, make_channel(Target("webpush", push.subscription, options))
            )
        assert receipt.status == "delivered"
        assert len(push.notifications) == 1


async def test_a_webhook_gets_a_run_once_its_receiver_takes_it() -> None:
    async with serving(b"401 Unauthorized\r\n") as server, runcast.open_hub() as hub:
        await imported(hub)
        url = f"http://127.0.0.1:{server.port}/hook"
        for status in ("failed", "delivered"):
            channel = make_channel(Target("webhook", url, {"allow": "127.0.0.0/8"}))
            assert (await delivered(hub, channel)).status == status
        [_, (_, _, accepted)] = server.requests
        assert json.loads(accepted)["text"] == TEXT


async def test_a_group_of_dingtalk_gets_a_card_once_the_robot_is_in_it() -> None:
    """The card of the first delivery was made, and was not delivered."""
    async with FakeDingTalk(["cid2"]) as dingtalk, runcast.open_hub() as hub:
        await imported(hub)
        options = {"app_key": dingtalk.APP_KEY, "app_secret": dingtalk.APP_SECRET}
        reach = {"url": dingtalk.url, "allow": "127.0.0.0/8"}
        for status in ("failed", "delivered"):
            channel = make_channel(Target("dingtalk", "cid1", {**options, **reach}))
            assert (await delivered(hub, channel)).status == status
            dingtalk.spaces.add("cid1")
        assert dingtalk.shown("cid1") == [TEXT]
