"""A Matrix homeserver: Synapse on a port of this machine, with its default limits of messages."""

import contextlib
import hashlib
import hmac
import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

__all__ = ("Homeserver", "Room", "start_homeserver")

_PYTHON: Final = Path(__file__).parents[2] / ".venv-servers" / "bin" / "python"
_SECRET: Final = "for-tests-only"
_START_S: Final = 180.0

_CONFIG: Final = """
server_name: "runcast.test"
pid_file: {folder}/homeserver.pid
listeners:
  - {{port: {port}, type: http, tls: false, bind_addresses: ["127.0.0.1"],
     resources: [{{names: [client]}}]}}
database: {{name: sqlite3, args: {{database: {folder}/homeserver.db}}}}
media_store_path: {folder}/media
signing_key_path: {folder}/signing.key
registration_shared_secret: "for-tests-only"
macaroon_secret_key: "for-tests-only"
form_secret: "for-tests-only"
report_stats: false
trusted_key_servers: []
federation_domain_whitelist: []
presence: {{enabled: false}}
bcrypt_rounds: 4
rc_login:
  address: {{per_second: 1000, burst_count: 1000}}
  account: {{per_second: 1000, burst_count: 1000}}
rc_registration: {{per_second: 1000, burst_count: 1000}}
"""


@dataclass
class Room:
    """A room, with the bot that writes into it and a person who reads it."""

    server: "Homeserver"
    room_id: str
    bot_token: str
    reader_token: str

    def messages(self) -> dict[str, dict[str, Any]]:
        """Return the content that a reader sees, by event id: edits replace, redactions empty."""
        path = f"/rooms/{self.room_id}/messages?dir=f&limit=1000"
        found: dict[str, dict[str, Any]] = {}
        for event in self.server.ask("GET", path, token=self.reader_token)["chunk"]:
            content = event["content"]
            if event["type"] != "m.room.message" or "body" not in content:
                continue
            relation = content.get("m.relates_to", {})
            if relation.get("rel_type") == "m.replace":
                if relation["event_id"] in found:
                    found[relation["event_id"]] = content["m.new_content"]
            else:
                found[event["event_id"]] = content
        return found


class Homeserver:
    """Asks the server; blocking."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._users = 0

    def ask(self, method: str, path: str, body: object = None, *, token: str = "") -> Any:
        request = urllib.request.Request(
            f"{self.url}/_matrix/client/v3{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}"} if token else {},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)

    def make_room(self) -> Room:
        """Make a room with a new bot and a new reader."""
        bot, reader = self._register(), self._register()
        made = self.ask("POST", "/createRoom", {"invite": [reader[0]]}, token=bot[1])
        self.ask("POST", f"/join/{made['room_id']}", {}, token=reader[1])
        return Room(self, made["room_id"], bot[1], reader[1])

    def _register(self) -> tuple[str, str]:
        self._users += 1
        name = f"user{self._users}"
        url = f"{self.url}/_synapse/admin/v1/register"
        with urllib.request.urlopen(url, timeout=20) as response:
            nonce = json.load(response)["nonce"]
        said = "\0".join([nonce, name, "secret", "notadmin"])
        mac = hmac.new(_SECRET.encode(), said.encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": name, "password": "secret", "admin": False, "mac": mac}
        request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=20) as response:
            answer = json.load(response)
        return answer["user_id"], answer["access_token"]


@contextlib.contextmanager
def start_homeserver(folder: Path) -> Iterator[Homeserver]:
    """Start Synapse, wait until it answers, and end it afterwards."""
    if not _PYTHON.exists():
        pytest.skip("there is no Synapse (python3 dev.py test --all brings it)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "homeserver.yaml"
    config.write_text(_CONFIG.format(folder=folder, port=port))
    command = [str(_PYTHON), "-m", "synapse.app.homeserver", "--config-path", str(config)]
    subprocess.run([*command, "--generate-keys"], cwd=folder, check=True, capture_output=True)
    output = (folder / "output").open("wb")
    process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    try:
        _wait_for(f"http://127.0.0.1:{port}/_matrix/client/versions", process)
        yield Homeserver(f"http://127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        output.close()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_S
    while True:
        assert process.poll() is None, "Synapse ended"
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, "Synapse does not answer"
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
