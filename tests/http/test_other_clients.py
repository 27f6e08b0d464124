"""Other people's clients of event streams, on a run's events: live, after a cut, and at the end.

The run is written from outside, so that it goes on while its server is killed and started again.
"""

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx
import httpx_sse
import pytest

from tests.browser.chromium import find_browser, open_browser
from tests.cli.served import Served, serve
from tests.documents import ROOT
from tests.waiting import WAIT_S

pytestmark = pytest.mark.heavy

LEASE: Final = {"Runcast-Lease": "a secret of the writer"}
END: Final = {"type": "end"}

OTHERS: Final = ROOT / "web" / "others" / "watch.js"


class Heard:
    """What a client has got, event by event."""

    def __init__(self) -> None:
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()

    def put(self, text: str) -> None:
        self._events.put(END if text == "end" else json.loads(text))

    def next(self) -> dict[str, Any]:
        return self._events.get(timeout=6 * WAIT_S)  # a browser waits for some seconds

    def until(self, kind: str) -> list[dict[str, Any]]:
        found = [self.next()]
        while found[-1]["type"] != kind:
            found.append(self.next())
        return found


@contextmanager
def running(command: list[str], heard: Heard, folder: Path) -> Iterator[None]:
    """Pass on what a process prints; end it and its children."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=folder, start_new_session=True
    )

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            heard.put(line.strip())

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        thread.join(WAIT_S)
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def node(client: str, url: str, heard: Heard, folder: Path) -> Iterator[None]:
    """A client of npm, in Node."""
    package = {"fetch-event-source": "@microsoft/fetch-event-source"}.get(client, client)
    program = shutil.which("node")
    places = (ROOT / "web" / folder / "node_modules" / package for folder in ("", "others"))
    if program is None or not any(place.exists() for place in places):
        pytest.skip(f"{package} is not there: python3 dev.py web")
    with running([program, str(OTHERS), client, url], heard, folder):
        yield


@contextmanager
def browser(client: str, url: str, heard: Heard, folder: Path) -> Iterator[None]:
    """The EventSource of a browser, in a page of the server."""
    executable = find_browser()
    if executable is None:
        pytest.skip("there is no Chromium")
    base, _, path = url.partition("/runs/")
    with open_browser(executable, folder / "profile") as opened:
        page = opened.open_page()
        page.go(f"{base}/docs")
        page.get(
            f"window.seen = []; window.source = new EventSource('{base}/runs/{path}');"
            "source.onmessage = event => seen.push(event.data);"
            "source.onerror = () => source.readyState === 2 && seen.push('end'); 0"
        )
        leaving = threading.Event()

        def look() -> None:
            while not leaving.is_set():
                for text in page.get("seen.splice(0)"):
                    heard.put(text)

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            leaving.set()
            thread.join()


@contextmanager
def python(client: str, url: str, heard: Heard, folder: Path) -> Iterator[None]:
    """httpx-sse, and the loop that its users write around it."""
    leaving = threading.Event()

    def watch() -> None:
        last_id, has_ended = "", False
        with httpx.Client(timeout=1.0) as session:
            while not (has_ended or leaving.is_set()):
                headers = {"Last-Event-ID": last_id} if last_id else {}
                connect = httpx_sse.connect_sse(session, "GET", url, headers=headers)
                with suppress(httpx.TransportError, httpx_sse.SSEError), connect as source:
                    has_ended = source.response.status_code == 204
                    for event in () if has_ended else source.iter_sse():
                        last_id = event.id
                        if event.data:
                            heard.put(event.data)
                        if leaving.is_set():
                            return
        heard.put("end")

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        leaving.set()
        thread.join(2 * WAIT_S)


@contextmanager
def curl(client: str, url: str, heard: Heard, folder: Path) -> Iterator[None]:
    """curl, and the loop that its users write around it, in a shell."""
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    script = """
    last=
    while :; do
      curl -sN ${last:+-H "Last-Event-ID: $last"} "$0" -D head | {
        while IFS= read -r line; do
          case "$line" in
            "id: "*) echo "${line#id: }" > last ;;
            "data: "*) echo "${line#data: }" ;;
          esac
        done
      }
      last=$(cat last 2>/dev/null)
      grep -q " 204" head 2>/dev/null && break
    done
    echo end
    """
    with running(["sh", "-c", script, url], heard, folder):
        yield


CLIENTS: Final[dict[str, Callable[..., Any]]] = {
    "EventSource": browser,
    "curl": curl,
    "httpx-sse": python,
    "eventsource": node,
    "fetch-event-source": node,
}


def write(served: Served, sequence: int, *kinds: str) -> None:
    target = f"/runs/r/events?producer=p&sequence={sequence}"
    sent = served.ask("POST", target, [{"type": kind} for kind in kinds], LEASE)
    assert sent.status == 200, sent.body


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    (tmp_path / "s.toml").write_text("retry_s = 0.1")
    (tmp_path / "f.py").write_text(
        "import runcast\n\n@runcast.function\nasync def asks():\n    await runcast.ask('?')\n"
    )
    return ["f.py", "--store", f"sqlite:///{tmp_path}/runs.db", "--settings", "s.toml"]


@pytest.mark.parametrize("client", CLIENTS)
def test_each_event_comes_once_and_at_once_also_after_the_server_was_killed(
    client: str, options: list[str], tmp_path: Path
) -> None:
    heard = Heard()
    body = {"name": "job", "run_id": "r", "lease_id": LEASE["Runcast-Lease"], "lease_s": 600}
    with ExitStack() as watching:
        with serve(*options, cwd=tmp_path) as first:
            assert first.ask("POST", "/runs", body).status == 201
            open_client = CLIENTS[client]
            watching.enter_context(
                open_client(client, f"{first.url}/runs/r/events", heard, tmp_path)
            )
            seen = heard.until("started")
            write(first, 1, "a", "b")
            seen += heard.until("b")  # the run goes on: what is held back would never come
            first.end(signal.SIGKILL)
        with serve(*options, cwd=tmp_path, port=first.port) as second:
            write(second, 2, "c", "d", "done")
            seen += heard.until("done")
            assert [event["seq"] for event in seen] == [1, 2, 3, 4, 5, 6]
            assert heard.next() is END  # it stops by itself, after 204 at the latest


@pytest.mark.parametrize("client", CLIENTS)
def test_leaving_changes_nothing_and_cancelling_comes_as_the_end(
    client: str, options: list[str], tmp_path: Path
) -> None:
    with serve(*options, cwd=tmp_path) as served:
        served.start("asks", "r")
        for turn in range(2):
            heard = Heard()
            folder = tmp_path / str(turn)
            folder.mkdir()
            with CLIENTS[client](client, f"{served.url}/runs/r/events", heard, folder):
                heard.until("interrupt_request")
                if turn:
                    assert served.ask("POST", "/runs/r/cancel").status == 200
                    assert heard.until("cancelled")[-1]["type"] == "cancelled"
                    assert heard.next() is END
            status = served.ask("GET", "/runs/r").json["status"]
            assert status == ("cancelled" if turn else "waiting")
