"""`runcast deliver`: by the server, or from a store."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import runcast
from runcast._cli.deliver import _FINISHES, _SHOWS
from runcast.channels.delivery_options import FINISHES
from runcast.channels.document import SHOWS
from runcast.testing import FakeTelegram
from tests.cli.inside import run
from tests.cli.served import serve


@pytest.fixture
def telegram() -> Iterator[FakeTelegram]:
    with FakeTelegram(chats=[42]) as platform:
        yield platform


@pytest.fixture
def channels(telegram: FakeTelegram, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "channels.toml").write_text(
        f'[telegram]\nurl = "{telegram.url}"\ntoken = "{telegram.TOKEN}"\nallow = "127.0.0.0/8"\n'
        '[telegram.ops]\nto = "42"\n[telegram.nobody]\nto = "77"\n'
    )

    async def work() -> None:
        store = f"sqlite:///{tmp_path}/runs.db"
        async with runcast.open_hub(store) as hub, hub.run("import", run_id="r"):
            runcast.content("All is **imported**.")

    asyncio.run(work())
    return {"RUNCAST_CHANNELS_FILE": "channels.toml"}


def test_a_run_of_a_store_is_delivered_and_the_receipt_is_printed(
    channels: dict[str, str], telegram: FakeTelegram, tmp_path: Path
) -> None:
    done = run("deliver", "r", "telegram:ops", "--store", "runs.db", cwd=tmp_path, env=channels)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "delivered: 1 message to telegram:ops\n"
    assert telegram.shown(42) == ["All is imported."]
    again = run("deliver", "r", "telegram:ops", "--store", "runs.db", cwd=tmp_path, env=channels)
    assert again.returncode == 2
    assert "was delivered to telegram:ops already" in again.stderr


def test_a_target_that_refuses_us_is_a_failure(
    channels: dict[str, str], telegram: FakeTelegram, tmp_path: Path
) -> None:
    where = ("--store", "runs.db", "--json")
    done = run("deliver", "r", "telegram:nobody", *where, cwd=tmp_path, env=channels)
    assert done.returncode == 1
    receipt = json.loads(done.stdout)
    assert (receipt["status"], receipt["message_ids"]) == ("failed", [])
    assert "chat not found" in receipt["reason"]
    assert not receipt["may_be_shown"]


def test_a_run_is_delivered_again_once_the_token_is_mended(
    channels: dict[str, str], telegram: FakeTelegram, tmp_path: Path
) -> None:
    file, command = tmp_path / "channels.toml", ("deliver", "r", "telegram:ops")
    right = file.read_text()
    file.write_text(right.replace(telegram.TOKEN, "123456:WRONG-token-of-another-telegram"))
    for _ in range(2):
        wrong = run(*command, "--store", "runs.db", cwd=tmp_path, env=channels)
        assert wrong.returncode == 1
        assert wrong.stdout.startswith(
            "failed: 0 messages to telegram:ops; Telegram does not know "
        )
        assert wrong.stdout.endswith(
            "; nothing of it is in the chat, so the same command delivers it again\n"
        )
    file.write_text(right)
    done = run(*command, "--store", "runs.db", cwd=tmp_path, env=channels)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "delivered: 1 message to telegram:ops\n"
    assert telegram.shown(42) == ["All is imported."]
    again = run(*command, "--store", "runs.db", cwd=tmp_path, env=channels)
    assert "was delivered to telegram:ops already" in again.stderr


def test_a_server_delivers_a_run_again_once_the_bot_is_in_the_chat(
    channels: dict[str, str], telegram: FakeTelegram, tmp_path: Path
) -> None:
    with serve("--store", "sqlite:///runs.db", cwd=tmp_path, env=channels) as server:
        command = ("deliver", "r", "telegram:nobody", "--url", server.url)
        failed = run(*command, cwd=tmp_path, env=channels)
        assert failed.returncode == 1
        assert "nothing of it is in the chat" in failed.stdout
        telegram.chats.add(77)
        done = run(*command, cwd=tmp_path, env=channels)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "delivered: 1 message to telegram:nobody\n"
    assert telegram.shown(77) == ["All is imported."]


def test_an_address_is_delivered_to_and_its_token_is_not_printed(
    channels: dict[str, str], telegram: FakeTelegram, tmp_path: Path
) -> None:
    address = f"telegram://42?token={telegram.TOKEN}&url={telegram.url}"
    where = ("--store", "runs.db")
    unknown = run("deliver", "none", address, *where, cwd=tmp_path, env=channels)
    assert unknown.returncode == 2
    done = run("deliver", "r", address, *where, cwd=tmp_path, env=channels)
    assert done.stdout == "delivered: 1 message to telegram://42\n"
    assert telegram.TOKEN not in done.stdout + done.stderr + unknown.stderr


def test_an_address_in_a_private_network_is_refused(
    channels: dict[str, str], telegram: FakeTelegram, tmp_path: Path
) -> None:
    address = f"telegram://42?token={telegram.TOKEN}&url={telegram.url}"
    done = run("deliver", "r", address, "--store", "runs.db", cwd=tmp_path)
    assert done.returncode == 1
    assert "public network" in done.stdout
    assert not telegram.calls


def test_a_server_delivers_and_the_command_waits_for_the_receipt(
    channels: dict[str, str], telegram: FakeTelegram, tmp_path: Path
) -> None:
    with serve("--store", "sqlite:///runs.db", cwd=tmp_path, env=channels) as server:
        where = ("--url", server.url)
        done = run("deliver", "r", "telegram:ops", *where, cwd=tmp_path, env=channels)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "delivered: 1 message to telegram:ops\n"
        failed = run(
            "deliver", "r", "telegram:nobody", *where, "--json", cwd=tmp_path, env=channels
        )
        assert failed.returncode == 1
        assert json.loads(failed.stdout)["status"] == "failed"
    assert telegram.shown(42) == ["All is imported."]


def test_what_is_shown_is_an_option(
    channels: dict[str, str], telegram: FakeTelegram, tmp_path: Path
) -> None:
    ways = ("--shows", "notice", "--finish", "fresh")
    where = ("--store", "runs.db")
    done = run("deliver", "r", "telegram:ops", *ways, *where, cwd=tmp_path, env=channels)
    assert done.returncode == 0
    assert telegram.shown(42) == ["✓ import is done\n\nAll is imported."]
    assert _SHOWS == SHOWS
    assert _FINISHES == FINISHES
    wrong = run("deliver", "r", "telegram:ops", "--shows", "all", cwd=tmp_path, env=channels)
    assert wrong.returncode == 2
    assert "(choose from" in wrong.stderr


def test_a_server_is_told_what_is_shown(
    channels: dict[str, str], telegram: FakeTelegram, tmp_path: Path
) -> None:
    with serve("--store", "sqlite:///runs.db", cwd=tmp_path, env=channels) as server:
        ways = ("--shows", "notice", "--url", server.url)
        done = run("deliver", "r", "telegram:ops", *ways, cwd=tmp_path, env=channels)
        assert (done.returncode, done.stderr) == (0, "")
    assert telegram.shown(42) == ["✓ import is done\n\nAll is imported."]
