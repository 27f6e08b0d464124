"""Polls for what people do in chats: by one process, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import runcast
from runcast.errors import InvalidValue
from runcast.testing import ChatFault, FakeTelegram
from tests.waiting import WAIT_S


def go_on(interrupt_id: str, answer: runcast.Answer) -> str:
    return f"{answer.type} by {answer.by}"


@runcast.function(resume=go_on)
async def deploy() -> str:
    return go_on("", await runcast.ask("Deploy?", interrupt_id="deploy"))


@runcast.function
async def listen() -> object:
    runcast.content("I listen to you, so write something to me.")
    return (await anext(runcast.inbox())).data


def channels(telegram: FakeTelegram, path: Path) -> Path:
    file = path / "channels.toml"
    file.write_text(
        f'[telegram]\nurl = "{telegram.url}"\ntoken = "{telegram.TOKEN}"\n'
        'allow = "127.0.0.0/8"\npoll = true\n[telegram.ops]\nto = "42"\n'
    )
    return file


@asynccontextmanager
async def polling(file: Path, store: str = "memory://") -> AsyncIterator[runcast.OpenHub]:
    settings = runcast.Settings.load(channels_file=str(file), shutdown_grace_s=0, lease_s=1.5)
    async with runcast.OpenHub(store, functions=[deploy, listen], settings=settings) as hub:
        yield hub


async def result_of(hub: runcast.OpenHub, run_id: str) -> object:
    async with asyncio.timeout(WAIT_S):
        async for event in hub.watch(run_id):
            if event.type == "done":
                return event.data["result"]
    return None


async def first_of(telegram: FakeTelegram) -> str:
    return (await asyncio.to_thread(telegram.wait_for, 1, WAIT_S))[0].message_id


async def test_a_press_is_polled_answers_and_is_confirmed(tmp_path: Path) -> None:
    async with FakeTelegram() as telegram, polling(channels(telegram, tmp_path)) as hub:
        await hub.start(deploy, run_id="r")
        await hub.deliver("r", "telegram:ops")
        query = telegram.press(await first_of(telegram), "Approve", 5)
        assert await result_of(hub, "r") == "accept by Ada (telegram:5)"
        async with asyncio.timeout(WAIT_S):
            for delivery in hub.deliveries.of("r"):
                await delivery.wait()
        assert "→ approved by Ada (telegram:5)" in telegram.shown(42)[0]
    assert telegram.notices == {query: "Approved."}


async def test_what_was_said_while_nobody_polled_is_read_later(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"
    async with FakeTelegram() as telegram:
        file = channels(telegram, tmp_path)
        async with polling(file, store) as hub:
            await hub.start(deploy, run_id="r")
            await hub.deliver("r", "telegram:ops")
            asked = await first_of(telegram)
        telegram.press(asked, "Reject", 5)
        telegram.fail(ChatFault(kind="error", method="getUpdates"))
        async with polling(file, store) as hub:
            assert await result_of(hub, "r") == "reject by Ada (telegram:5)"


async def test_two_processes_poll_one_after_the_other(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/runs.db"
    async with FakeTelegram() as telegram:
        file = channels(telegram, tmp_path)
        async with polling(file, store) as first:
            await first.start(deploy, run_id="r")
            await first.deliver("r", "telegram:ops")
            asked = await first_of(telegram)
            async with polling(file, store) as second:
                owners = [
                    info.owner_id for info in await second.hub.store.list(kind="poll", limit=10)
                ]
                assert owners == [first.hub.lease.owner_id]
                await first.close()
                telegram.press(asked, "Approve", 5)
                assert await result_of(second, "r") == "accept by Ada (telegram:5)"
                [info] = await second.hub.store.list(kind="poll", limit=10)
                assert info.owner_id == second.hub.lease.owner_id


async def test_a_reply_is_polled_into_the_inbox(tmp_path: Path) -> None:
    async with FakeTelegram() as telegram, polling(channels(telegram, tmp_path)) as hub:
        await hub.start(listen, run_id="r")
        await hub.deliver("r", "telegram:ops")
        telegram.say("look at page 3", reply_to=await first_of(telegram))
        assert await result_of(hub, "r") == "look at page 3"


async def test_a_platform_that_cannot_be_asked_is_refused_at_the_beginning(tmp_path: Path) -> None:
    file = tmp_path / "channels.toml"
    file.write_text('[slack]\ntoken = "xoxb-1"\npoll = true\n[slack.ops]\nto = "C1"\n')
    with pytest.raises(InvalidValue, match="expected poll only with matrix, telegram"):
        async with polling(file):
            pass
