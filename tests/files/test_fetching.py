"""Fetching from URLs: only from where it is allowed, and never for ever."""

import gc
import http.client
import io
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from runcast._clock import SystemClock
from runcast._files.fetching import Fetcher
from runcast._files.network import Stop
from runcast.errors import FileTooLarge, Forbidden, InvalidValue, PeerError
from tests.opening import WAIT_S


class Handler(BaseHTTPRequestHandler):
    """Answers by what the path says."""

    protocol_version = "HTTP/1.1"
    asked: list[str]
    is_over: threading.Event

    def do_GET(self) -> None:
        self.asked.append(self.path)
        kind, _, rest = self.path.partition("?")[0].removeprefix("/in/").partition("/")
        if kind == "to":
            self.answer(302, b"", Location=rest.replace("~", "://").replace("!", "/"))
        elif kind == "status":
            self.answer(int(rest), b"secret of the server", Connection="close")
        elif kind == "endless":
            self.send_response(200)
            self.end_headers()
            while not self.is_over.is_set():
                self.wfile.write(b"x" * 1000)
        elif kind == "drip":
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            while not self.is_over.wait(0.01):
                self.wfile.write(b"x")
        elif kind == "drip-head":
            while not self.is_over.wait(0.01):
                self.wfile.write(b"H")
                self.wfile.flush()
        elif kind == "short":
            self.answer(200, b"abc", **{"Content-Length": "10"})
            self.close_connection = True
        elif kind == "nonsense":
            self.wfile.write(b"nonsense\r\n\r\n")
            self.close_connection = True
        else:
            self.answer(200, b"content")

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # the fetcher hangs up on purpose


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def url(asked: list[str]) -> Iterator[str]:
    """The address of a server on this machine."""
    handler = type("Handler", (Handler,), {"asked": asked, "is_over": threading.Event()})
    with Quiet(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            handler.is_over.set()  # type: ignore[attr-defined]
            server.shutdown()
            thread.join(WAIT_S)


def fetch(url: str, *allowed: str, most: int = 1000, wait_s: float = WAIT_S) -> bytes:
    clock = SystemClock()
    file = io.BytesIO()
    Fetcher(allowed, clock).fetch(url, file, most, clock.monotonic() + wait_s)
    return file.getvalue()


def test_a_file_is_fetched(url: str) -> None:
    assert fetch(f"{url}/in/a?x=1", f"{url}/in/") == b"content"


@pytest.mark.parametrize("allowed", ["/in/a", "/in", "/in/", "/", ""])
def test_a_beginning_allows_what_is_below(url: str, allowed: str) -> None:
    assert fetch(f"{url}/in/a", url + allowed) == b"content"


@pytest.mark.parametrize(
    "path",
    ["/inner/a", "/in", "/in/../out", "/in/%2e%2e/out", "/in/%252e%252e/out", "/IN/a", "//in/a"],
)
def test_what_only_looks_like_below_is_refused(url: str, asked: list[str], path: str) -> None:
    with pytest.raises((Forbidden, InvalidValue)):
        fetch(f"{url}{path}", f"{url}/in/x/" if path == "/in" else f"{url}/in/")

    assert asked == []


@pytest.mark.parametrize(
    "other",
    [
        "http://127.0.0.1:1/in/a",
        "https://127.0.0.1/in/a",
        "http://localhost/in/a",
        "http://files.example.org@127.0.0.1/in/a",
        "http://files.example.org.evil.example/in/a",
        "http://files.example.org:80@evil.example/in/a",
        "http://files.example.org\\@evil.example/in/a",
        "http://files.example.org#@evil.example/in/a",
        "http:files.example.org/in/a",
        "//files.example.org/in/a",
        "file:///etc/passwd",
        "ftp://files.example.org/in/a",
        "gopher://files.example.org/in/a",
        "http://files.example.org/in/a\r\nHost: x",
        "http://files.example.org/in/a b",
        "http://files.example.org:99999/in/a",
        "http://[::1/in/a",
        "http://files.ｅxample.org/in/a",
        "http://",
        "",
        "http://files.example.org/in/" + "a" * 9000,
    ],
)
def test_other_urls_are_refused(other: str) -> None:
    with pytest.raises((Forbidden, InvalidValue)):
        Fetcher(["http://files.example.org/in/"], SystemClock()).check(other)


def test_nothing_is_allowed_by_default() -> None:
    with pytest.raises(Forbidden, match="url_allow is empty"):
        fetch("http://files.example.org/a")


@pytest.mark.parametrize(
    "entry", ["files.example.org", "ftp://x/", "http://u@x/", "http://x/?a", "http://x/../"]
)
def test_what_is_allowed_must_be_a_beginning_or_a_network(entry: str) -> None:
    with pytest.raises(InvalidValue, match="url_allow"):
        Fetcher([entry], SystemClock())


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "64:ff9b:1:808:8:800::",
        "2002:7f00:1::",
        "2001:0:808:808::f7f7:f7f7",
        "2606:4700::5efe:a00:1",
        "::10.0.0.1",
        "::8.8.8.8",
        "::ffff:0:8.8.8.8",
        "fec0::1",
        "3fff::1",
        "5f00::1",
        "100::1",
    ],
)
def test_a_name_does_not_lead_to_a_private_address(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    names_are(monkeypatch, address)

    with pytest.raises(Forbidden, match="not in the public network"):
        fetch("http://files.example.org/a", "http://files.example.org/")


def test_a_private_address_may_be_allowed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names_are(monkeypatch, "127.0.0.1")
    named = url.replace("127.0.0.1", "files.example.org")

    assert fetch(f"{named}/in/a", f"{named}/", "127.0.0.0/8") == b"content"
    with pytest.raises(Forbidden):
        fetch(f"{named}/in/a", f"{named}/", "10.0.0.0/8")


def test_a_name_is_looked_up_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    count = names_are(monkeypatch, "127.0.0.1")
    named = url.replace("127.0.0.1", "files.example.org")

    fetch(f"{named}/in/a", f"{named}/", "127.0.0.0/8")

    assert count == ["files.example.org"]


def names_are(monkeypatch: pytest.MonkeyPatch, address: str) -> list[str]:
    """Let all names stand for an address; return those that are asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *args: Any, **more: Any) -> Any:
        if not host.endswith(".example.org"):
            return real(host, port, *args, **more)
        asked.append(host)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


# --- redirections ---------------------------------------------------------------------------------


def test_a_redirection_is_followed_within_what_is_allowed(url: str, asked: list[str]) -> None:
    assert fetch(f"{url}/in/to/..!a", f"{url}/in/") == b"content"
    assert asked == ["/in/to/..!a", "/in/a"]


@pytest.mark.parametrize(
    "target", ["!etc", "http~127.0.0.1:1!in!a", "file~!etc!passwd", "..!..!out"]
)
def test_a_redirection_does_not_lead_elsewhere(url: str, asked: list[str], target: str) -> None:
    with pytest.raises(Forbidden) as refused:
        fetch(f"{url}/in/to/{target}", f"{url}/in/")

    assert len(asked) == 1
    assert refused.value.message == (
        f"{url}/in/to/{target} redirects to a URL that is not allowed (url_allow)"
    )


def test_nothing_is_repeated_of_where_a_redirection_leads(url: str, asked: list[str]) -> None:
    with pytest.raises(PeerError) as failed:
        fetch(f"{url}/in/to/..!status!404", f"{url}/in/")

    assert asked[-1] == "/in/status/404"
    assert failed.value.message == f"{url}/in/to/..!status!404 answered 404"


def test_redirections_come_to_an_end(url: str, asked: list[str]) -> None:
    with pytest.raises(PeerError, match="redirects more than"):
        fetch(f"{url}/in/to/same", f"{url}/in/")

    assert asked == ["/in/to/same"] * 4


# --- limits and failures --------------------------------------------------------------------------


def test_a_file_that_is_too_large_is_refused(url: str) -> None:
    with pytest.raises(FileTooLarge):
        fetch(f"{url}/in/a", f"{url}/", most=6)
    with pytest.raises(FileTooLarge):
        fetch(f"{url}/in/endless", f"{url}/")


@pytest.mark.parametrize("kind", ["drip", "drip-head"])
def test_a_server_that_drips_is_left_at_the_deadline(url: str, kind: str) -> None:
    with pytest.raises(PeerError):
        fetch(f"{url}/in/{kind}", f"{url}/", most=10**7, wait_s=0.2)


@pytest.mark.parametrize("kind", ["status/404", "status/500", "status/204", "short", "nonsense"])
def test_a_failure_is_told_without_what_the_server_says(url: str, kind: str) -> None:
    with pytest.raises(PeerError) as raised:
        fetch(f"{url}/in/{kind}?token=abc", f"{url}/")

    assert "secret" not in raised.value.message
    assert "abc" not in raised.value.message


def test_a_failure_leaves_no_connection_open(url: str) -> None:
    with pytest.raises(PeerError) as failed:
        fetch(f"{url}/in/status/404", f"{url}/")

    # The error still holds the frames in which it was raised, and so whatever they hold.
    answers = [each for each in gc.get_objects() if isinstance(each, http.client.HTTPResponse)]
    assert failed.value.message.endswith("answered 404")
    assert all(answer.isclosed() for answer in answers)


def test_what_is_being_fetched_is_broken_off(url: str, asked: list[str]) -> None:
    clock, stop = SystemClock(), Stop()
    fetcher = Fetcher([f"{url}/"], clock)
    fetching = Raising(
        fetcher.fetch, f"{url}/in/drip", io.BytesIO(), 10**9, clock.monotonic() + 1000, stop
    )
    while not asked:
        fetching.thread.join(0.001)
    stop.set()

    assert isinstance(fetching.raised(), PeerError)
    with pytest.raises(PeerError):
        fetcher.fetch(f"{url}/in/a", io.BytesIO(), 1000, clock.monotonic() + WAIT_S, stop)


class Raising:
    """A call in a thread, of which an error is expected."""

    def __init__(self, call: Callable[..., object], *args: object) -> None:
        self._errors: list[BaseException] = []

        def live() -> None:
            try:
                call(*args)
            except BaseException as error:  # noqa: BLE001 - given to the test
                self._errors.append(error)

        self.thread = threading.Thread(target=live)
        self.thread.start()

    def raised(self) -> BaseException:
        """Return what it raised."""
        self.thread.join(WAIT_S)
        (error,) = self._errors
        return error


# --- names that nobody answers for ----------------------------------------------------------------


class Resolver:
    """Answers for names as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()
        real = socket.getaddrinfo

        def look_up(host: str, port: int, *args: Any, **more: Any) -> Any:
            if host.endswith(".example.org"):
                self.asked.append(host)
                if host.startswith("silent"):
                    self.answers.wait(2 * WAIT_S)
                host = "127.0.0.1"
            return real(host, port, *args, **more)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver(monkeypatch)
    yield resolver
    resolver.answers.set()


def test_a_name_that_nobody_answers_for_is_left_at_the_deadline(resolver: Resolver) -> None:
    with pytest.raises(PeerError, match="fetch_wait_s"):
        fetch("http://silent.example.org/a", "http://silent.example.org/", wait_s=0.05)

    assert resolver.asked == ["silent.example.org"]


def test_a_lookup_is_broken_off(resolver: Resolver) -> None:
    clock, stop = SystemClock(), Stop()
    fetcher = Fetcher(["http://silent.example.org/"], clock)
    deadline = clock.monotonic() + 1000
    url = "http://silent.example.org/a"
    fetching = Raising(fetcher.fetch, url, io.BytesIO(), 1, deadline, stop)
    while not resolver.asked:
        fetching.thread.join(0.001)
    stop.set()

    assert isinstance(fetching.raised(), PeerError)


def test_a_name_that_nobody_answers_for_takes_one_thread(resolver: Resolver, url: str) -> None:
    port = url.rpartition(":")[2]
    allowed = [f"http://{name}.example.org:{port}/" for name in ("silent", "quick")]
    fetcher = Fetcher([*allowed, "127.0.0.0/8"], SystemClock())
    before = threading.active_count()
    for _ in range(5):
        with pytest.raises(PeerError, match="fetch_wait_s"):
            fetcher.fetch(f"{allowed[0]}a", io.BytesIO(), 1000, fetcher._clock.monotonic() + 0.01)
    assert threading.active_count() <= before + 1

    file, deadline = io.BytesIO(), fetcher._clock.monotonic() + WAIT_S
    fetcher.fetch(f"{allowed[1]}in/a", file, 1000, deadline)
    assert file.getvalue() == b"content"

    resolver.answers.set()
    fetcher.fetch(f"{allowed[0]}in/a", io.BytesIO(), 1000, deadline)
    assert resolver.asked[0] == "silent.example.org"
    assert resolver.asked.count("quick.example.org") == 1


def test_a_name_that_is_not_known_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(PeerError, match="its name is not known"):
        fetch("http://files.example.org/a", "http://files.example.org/")


def test_a_server_that_is_not_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    with pytest.raises(PeerError, match="ConnectionRefusedError"):
        fetch(f"http://127.0.0.1:{port}/a", f"http://127.0.0.1:{port}/")


def test_a_certificate_must_be_right(url: str) -> None:
    secure = url.replace("http:", "https:")

    with pytest.raises(PeerError, match="not secure"):
        fetch(f"{secure}/in/a", f"{secure}/")
