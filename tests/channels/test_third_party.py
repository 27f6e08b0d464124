"""A channel of another package: built as a wheel from what the documentation shows, installed from
it, and used by a server in both directions."""

import hashlib
import hmac
import json
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from runcast import _plugins
from runcast.channels.platforms import make_channel, make_poller, make_receiver
from runcast.channels.platforms.ntfy import Ntfy
from runcast.channels.targets import Target
from runcast.errors import InvalidValue
from runcast.testing import ChatMessage
from runcast.testing.chats.server import ChatReply, ChatServer, Request
from tests.cli.served import Answer, Served, serve
from tests.waiting import WAIT_S

PAGE = Path(__file__).parents[2] / "docs" / "channels" / "your-own.md"
SECRET = "a-secret-of-the-pager"

FUNCTIONS = """
import runcast

@runcast.function
async def deploy() -> str:
    answer = await runcast.ask("Deploy?", interrupt_id="deploy")
    heard = await anext(runcast.inbox())
    return f"{answer.type} by {answer.by}; {heard.sender} said {heard.data}"
"""


class FakePager(ChatServer):
    """The platform of the page, and what people do there."""

    TOKEN: Final = "T0PSECRET"

    def method_of(self, request: Request) -> str:
        return {"POST": "send", "PUT": "edit"}[request.verb]

    def scope_of(self, method: str, request: Request) -> str:
        return "pager"

    def do(self, method: str, request: Request, now: float) -> ChatReply:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if headers.get("authorization") != f"Bearer {self.TOKEN}":
            return ChatReply(401)
        values = request.values
        number = len(self.messages) + 1 if method == "send" else int(request.path.split("/")[-1])
        buttons = tuple((each["label"], each["value"]) for each in values["buttons"])
        message = ChatMessage(str(values.get("to")), str(number), values["text"], buttons)
        if method == "send":
            self.messages.append(message)
        else:
            before = self.messages[number - 1]
            edits = before.edits + 1
            self.messages[number - 1] = replace(message, chat=before.chat, edits=edits)
        return ChatReply(200, {"id": number})

    def wait_until(self, holds: Callable[[list[ChatMessage]], bool]) -> list[ChatMessage]:
        with self._answered:
            assert self._answered.wait_for(lambda: holds(self.messages), WAIT_S), self.messages
            return list(self.messages)


def done_by_a_person(served: Served, secret: str = SECRET, **said: object) -> Answer:
    """Send the server what the pager's webhook sends."""
    about = {"to": "bell", "person": "7", "sent_at": time.time(), "id": 1}
    body: Mapping[str, object] = {**about, **said}
    signature = hmac.new(secret.encode(), json.dumps(body).encode(), hashlib.sha256).hexdigest()
    return served.ask("POST", "/channels/pager", body, {"Pager-Signature": signature})


def installed(path: Path) -> Path:
    """Build the page's package, install its wheel, and return where it is."""
    blocks = re.findall(
        r"^```(?:python|toml|text)\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S
    )
    source, target = path / "source", path / "installed"
    source.mkdir()
    project = next(block for block in blocks if "[project.entry-points" in block)
    (source / "pyproject.toml").write_text(project)
    module = next(block for block in blocks if "def make_channel" in block)
    (source / "runcast_pager.py").write_text(module)
    build = "from hatchling.build import build_wheel; print(build_wheel('dist'))"
    built = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=True
    )
    wheel = source / "dist" / built.stdout.split()[-1]
    zipfile.ZipFile(wheel).extractall(target)  # as installers do with a wheel of Python alone
    return target


@pytest.mark.tree
def test_a_package_of_one_file_sends_edits_and_takes_answers(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    with FakePager() as pager:
        (tmp_path / "channels.toml").write_text(
            f'[pager]\nurl = "{pager.url}"\ntoken = "{pager.TOKEN}"\nsecret = "{SECRET}"\n'
            '[pager.bell]\nto = "bell"\npeople = ["7"]\n'
        )
        env = {
            "PYTHONPATH": str(installed(tmp_path)),
            "RUNCAST_CHANNELS_FILE": str(tmp_path / "channels.toml"),
        }
        with serve("functions.py", cwd=tmp_path, env=env) as served:
            served.start("deploy", "r")
            begun = served.ask("POST", "/runs/r/deliveries", {"target": "pager:bell"})
            assert begun.status == 201, begun
            [asked] = pager.wait_until(bool)
            assert (asked.chat, [label for label, _ in asked.buttons]) == (
                "bell",
                ["Approve", "Reject"],
            )
            press: dict[str, Any] = {
                "kind": "button",
                "value": dict(asked.buttons)["Approve"],
                "message_id": asked.message_id,
            }
            assert done_by_a_person(served, "another-secret", **press).status == 401
            assert done_by_a_person(served, sent_at=0.0, **press).status == 401
            stranger = done_by_a_person(served, person="8", **press)
            assert stranger.json == {"notice": "You may not answer here."}

            assert done_by_a_person(served, **press).json == {"notice": "Approved."}
            [decided] = pager.wait_until(lambda messages: not messages[0].buttons)
            assert "approved" in decided.text
            reply = {"kind": "text", "value": "well done", "message_id": asked.message_id}
            for _ in range(2):  # platforms repeat what they got no answer to
                assert done_by_a_person(served, id=2, **reply).status == 200

            pager.wait_until(lambda messages: "well done" in messages[-1].text)
            [delivered] = served.ask("GET", "/runs/r/deliveries?wait_s=5").json["deliveries"]
            assert (delivered["status"], delivered["target"]) == ("delivered", "pager:bell")
            assert "accept by pager:7; pager:7 said well done" in pager.messages[-1].text
            code, _, logged = served.end()
            assert (code, pager.TOKEN in logged, SECRET in logged) == (0, False, False)


# What a package offers.


def offering(monkeypatch: pytest.MonkeyPatch, offered: object) -> None:
    monkeypatch.setattr(_plugins, "find", lambda group, name: offered if name == "pager" else None)


def test_an_entry_point_of_a_function_has_a_channel_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Ntfy("ntfy.sh/bell")
    offering(monkeypatch, lambda address, options: channel)
    assert make_channel(Target("pager", "bell")) is channel
    with pytest.raises(InvalidValue, match="expected a platform that sends callbacks, got 'pager'"):
        make_receiver("pager", {})
    with pytest.raises(InvalidValue, match="that has make_poller; got it with 'pager'"):
        make_poller("pager", {})


def test_what_is_not_a_channel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("runcast_pager")
    for offered, shown in ((module, "runcast_pager"), ("text", "an object of str")):
        offering(monkeypatch, offered)
        with pytest.raises(
            InvalidValue, match=rf"make_channel\(address, options\), .* got {shown}"
        ):
            make_channel(Target("pager", "bell"))
    offering(monkeypatch, module)
    vars(module).update(
        make_channel=lambda address, options: 1,
        make_receiver=lambda options: 2,
        make_poller=lambda options: 3,
    )
    with pytest.raises(InvalidValue, match="expected a channel for 'pager', got 1"):
        make_channel(Target("pager", "bell"))
    with pytest.raises(InvalidValue, match="expected a receiver for 'pager', got 2"):
        make_receiver("pager", {})
    with pytest.raises(InvalidValue, match="expected a poller for 'pager', got 3"):
        make_poller("pager", {})
