"""Services that Apprise knows, called by the real Apprise."""

import asyncio
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its services import `imghdr`, which Python 3.13 does not have
    import apprise

    apprise.Apprise().add("json://localhost")

import runcast
from runcast.channels import Send
from runcast.channels.platforms.apprise import AppriseChannel
from runcast.channels.targets import ChannelsFile
from runcast.errors import InvalidValue
from runcast.testing import FakeNtfy
from tests.channels.driving import listening
from tests.waiting import WAIT_S


class Json(ThreadingHTTPServer):
    """Takes what `json://` sends."""

    status = 200

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"json://me:T0PSECRET@127.0.0.1:{self.server_address[1]}/hook/T0PSECRET"


class Handler(BaseHTTPRequestHandler):
    server: Json

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Print nothing."""


@pytest.fixture
def service() -> Iterator[Json]:
    made = Json()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


async def test_a_run_is_delivered_by_apprise_and_no_address_leaks(
    service: Json, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "channels.toml"
    file.write_text('[apprise.ops]\nto_env = "APPRISE_OPS"\n')
    monkeypatch.setenv("APPRISE_OPS", service.address)
    settings = runcast.Settings(channels_file=str(file))
    with listening() as records:
        async with runcast.open_hub(settings=settings) as hub:
            async with hub.run("import") as run:
                runcast.content("Imported **all**.")
            for target in ("apprise:ops", f"apprise://{service.address}"):
                delivery = await hub.deliver(run.run_id, target)
                assert "SECRET" not in delivery.target
                async with asyncio.timeout(WAIT_S):
                    receipt = await delivery.wait()
                assert receipt is not None
                assert receipt.status == "delivered"
    assert [path for path, _ in service.taken] == ["/hook/T0PSECRET"] * 2
    assert service.taken[0][1]["message"] == "Imported all."
    assert not any("SECRET" in record for record in records)


async def test_a_refused_message_is_uncertain(service: Json) -> None:
    service.status = 500
    channel = AppriseChannel(service.address)
    with listening() as records:
        outcome = await channel.send(Send(1, "k", "x"))
    await channel.close()
    assert outcome.kind == "uncertain"
    assert "SECRET" not in outcome.reason
    assert not any("SECRET" in record for record in records)


async def test_a_notice_has_a_title_and_other_programs_keep_their_records() -> None:
    async with FakeNtfy(["runs"]) as server:
        place = server.url.removeprefix("http://")
        channel = AppriseChannel(f"ntfy://{server.TOKEN}@{place}/runs")
        outcome = await channel.send(Send(1, "k", "✗ **import failed**\n\nNo more room."))
        await channel.close()
    assert outcome.kind == "ok"
    (said,) = server.published
    assert (said["title"], said["message"]) == ("import failed", "No more room.")
    with listening() as records:
        logging.getLogger("apprise").warning("of another thread")
    assert any("of another thread" in record for record in records)


async def test_what_is_not_an_address_of_apprise_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with listening() as records:
        for url in ("", "T0PSECRET", "json://"):
            with pytest.raises(InvalidValue, match="address of Apprise") as refused:
                AppriseChannel(url)
            assert "SECRET" not in str(refused.value)
        unknown = AppriseChannel("nothing://T0PSECRET")
        outcome = await unknown.send(Send(1, "k", "x"))
        await unknown.close()
        assert outcome.kind == "forbidden"
        assert "SECRET" not in outcome.reason
    assert not any("SECRET" in record for record in records)
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(InvalidValue, match=r"pip install 'runcast\[apprise\]'"):
        AppriseChannel("json://localhost")


def test_an_address_of_apprise_keeps_its_query() -> None:
    found = ChannelsFile().find("apprise://json://host/path?+X-Token=abc")
    assert found.address == "json://host/path?+X-Token=abc"
    assert "abc" not in found.shown
