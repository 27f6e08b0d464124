"""Who may ask: what a stranger, or a page of somebody else's, cannot do."""

import asyncio
import hmac
import json
import re
import socket
from collections.abc import AsyncIterator
from time import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runcast
from runcast._app import OpenHub
from runcast._http.api.openapi import OPERATIONS
from runcast._http.app import HttpApp
from runcast._http.guard import security
from runcast._http.guard.security import Guard
from runcast._http.guard.token import is_session, is_token, make_session
from runcast._http.server.server import is_loopback, serve
from runcast._settings import Settings
from runcast.errors import Forbidden, InvalidValue, Unauthorized
from runcast.testing import FakeClock
from tests.documents import ROOT
from tests.http.client import Answer
from tests.http.serving import PROTOCOLS, Server, serving_here, serving_in_thread

pytestmark = pytest.mark.anyio

TOKEN = "s3cret-token"
SESSION = make_session(TOKEN, 9e9)
OTHERS = make_session("another server's token", 9e9)
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ORIGIN = "https://app.example"


@pytest.fixture(params=PROTOCOLS)
async def closed(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A server with a token that knows one more host and one foreign origin."""
    async with serving_here(
        request.param, token=TOKEN, hosts=["Box.local"], origins=[ORIGIN + "/"]
    ) as server:
        yield server


# --- the token ------------------------------------------------------------------------------------

CLOSED_ROUTES = [
    ("GET", "/functions"),
    ("POST", "/invoke/add"),
    ("GET", "/runs"),
    ("GET", "/runs/run"),
    ("DELETE", "/runs/run"),
    ("POST", "/runs/run/cancel"),
    ("POST", "/runs/run/interrupts/x"),
    ("GET", "/runs/run/events"),
    ("GET", "/events?run=run"),
    ("GET", "/nowhere"),
    ("GET", "/healthz/"),
    ("GET", "/healthz%0A"),
    ("GET", "//"),
    ("GET", "/%2e%2e/healthz"),
]


@pytest.mark.parametrize(("method", "path"), CLOSED_ROUTES)
async def test_nothing_of_a_run_is_told_without_the_token(
    closed: Server, method: str, path: str
) -> None:
    await closed.log("run")
    for headers in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer \x80\xff"},
        {"Cookie": "runcast_session="},
        {"Cookie": f"runcast_session={TOKEN}"},
        {"Cookie": f"runcast_session={make_session('other', time() + 60)}"},
        {"Cookie": f"runcast_session={make_session(TOKEN, time() - 60)}"},
        {"Cookie": f"runcast_session={make_session(TOKEN, time() + 60)}0"},
        {"Authorization": f"Bearer {make_session(TOKEN, time() + 60)}"},
        {"Cookie": f"other={TOKEN}"},
    ):
        answer = await closed.fetch(method, path, headers)
        assert answer.problem() == (401, "unauthorized"), headers
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN.encode() not in answer.body

    assert len((await closed.fetch("GET", "/runs", BEARER)).json()["runs"]) == 1


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
async def test_what_tells_nothing_of_runs_needs_no_token(closed: Server, path: str) -> None:
    assert (await closed.fetch("GET", path)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        BEARER,
        {"Authorization": f"bearer {TOKEN}"},
        {"Authorization": f"BEARER   {TOKEN}  "},
        {"Cookie": f"runcast_session={SESSION}"},
        {"Cookie": f'runcast_session="{SESSION}"'},
        {"Cookie": f"a=1;runcast_session={SESSION};b=2"},
        {"Cookie": f'state={{"a": "b, c"}}; x=y z; @=1; runcast_session={SESSION}'},
        {"Authorization": "Basic dTpw", "Cookie": f"runcast_session={SESSION}"},
        {"Cookie": f"runcast_session={OTHERS}; runcast_session={SESSION}"},
        {"Cookie": f"runcast_session={SESSION}; runcast_session={OTHERS}"},
        {"Cookie": f"runcast_session={OTHERS}; runcast_session_0123456789abcdef={SESSION}"},
    ],
)
async def test_the_token_lets_in(closed: Server, headers: dict[str, str]) -> None:
    assert (await closed.fetch("GET", "/runs", headers)).status == 200


async def test_a_stream_needs_the_token_too(closed: Server) -> None:
    log = await closed.log("run")
    async with closed.watch("/runs/run/events", {"Cookie": f"runcast_session={SESSION}"}) as stream:
        await log.emit(1)
        assert (await stream.json())["seq"] == 1


async def sign_in(server: Server, token: bytes, **headers: str) -> Answer:
    return await server.fetch("POST", "/session", headers, token)


async def test_signing_in_gives_a_cookie_that_scripts_and_other_sites_cannot_use(
    closed: Server,
) -> None:
    answer = await sign_in(closed, TOKEN.encode())

    assert (answer.status, answer.body) == (204, b"")
    pair, *attributes = answer.headers["set-cookie"].split("; ")
    assert sorted(each.lower() for each in attributes) == ["httponly", "path=/", "samesite=strict"]
    assert (await closed.fetch("GET", "/runs", {"Cookie": pair})).status == 200


async def test_the_cookie_ends_by_itself_and_does_not_tell_the_token() -> None:
    """Cookies know no ports: other servers of the same host get it too."""
    clock, settings = FakeClock(), Settings(session_s=60)
    async with serving_here(token=TOKEN, clock=clock, settings=settings) as server:
        answer = await sign_in(server, TOKEN.encode())
        cookie = answer.headers["set-cookie"].partition(";")[0]
        clock.advance(59)
        before = await server.fetch("GET", "/runs", {"Cookie": cookie})
        clock.advance(1)
        after = await server.fetch("GET", "/runs", {"Cookie": cookie})

    assert TOKEN not in cookie
    assert (before.status, after.status) == (200, 401)


async def test_a_session_is_good_at_every_server_that_has_the_token(closed: Server) -> None:
    async with serving_here(token=TOKEN) as other:
        answer = await sign_in(other, TOKEN.encode())
    cookie = answer.headers["set-cookie"].partition(";")[0]

    assert (await closed.fetch("GET", "/runs", {"Cookie": cookie})).status == 200


def name_of(answer: Answer) -> str:
    """Return the name of the cookie that an answer sets."""
    return answer.headers["set-cookie"].partition("=")[0]


async def test_each_server_has_a_cookie_of_its_own(closed: Server) -> None:
    """A browser keeps one cookie of a name for all ports of a host."""
    names = [name_of(await sign_in(closed, TOKEN.encode()))]
    async with serving_here(token=TOKEN) as same, serving_here(token="other") as other:
        names.append(name_of(await sign_in(same, TOKEN.encode())))
        names.append(name_of(await sign_in(other, b"other")))
        # As two servers behind one proxy are reached, which hides their ports.
        names.append(name_of(await sign_in(same, TOKEN.encode(), Host="localhost")))
        names.append(name_of(await sign_in(other, b"other", Host="localhost")))

    assert len(set(names)) == 5
    assert all(re.fullmatch("runcast_session_[0-9a-f]{16}", name) for name in names)


async def test_signing_in_again_replaces_the_cookie(closed: Server) -> None:
    first, second = [name_of(await sign_in(closed, TOKEN.encode())) for _ in range(2)]

    assert first == second


def test_an_application_has_another_cookie_for_each_path_that_it_is_mounted_at() -> None:
    guard = Guard(TOKEN)

    assert len({guard.cookie_name("localhost:8000", mount) for mount in ("", "/a", "/b")}) == 3


async def test_cookies_of_other_servers_do_not_hide_ours(closed: Server) -> None:
    answer = await sign_in(closed, TOKEN.encode())
    own = answer.headers["set-cookie"].partition(";")[0]
    others = [f"runcast_session_{number:016x}={OTHERS}" for number in range(100)]

    for pairs in ([*others, own], [own, *others], [f"{name_of(answer)}={OTHERS}", own]):
        assert (await closed.fetch("GET", "/runs", {"Cookie": "; ".join(pairs)})).status == 200


async def test_a_request_makes_the_server_check_few_sessions(
    closed: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []

    def checking(session: str, token: str, now: float) -> bool:
        checked.append(session)
        return is_session(session, token, now)

    monkeypatch.setattr(security, "is_session", checking)
    cookie = "; ".join(f"runcast_session={OTHERS}" for _ in range(500))
    assert (await closed.fetch("GET", "/runs", {"Cookie": cookie})).status == 401

    assert len(checked) == 16


@pytest.mark.parametrize("given", [b"", b"wrong", b"\xff", TOKEN[:-1].encode(), b"x" * 100_000])
async def test_signing_in_with_anything_else_gives_nothing(closed: Server, given: bytes) -> None:
    answer = await sign_in(closed, given)

    assert answer.problem() == (401, "unauthorized")
    assert "set-cookie" not in answer.headers


async def test_where_there_is_no_token_there_is_no_cookie() -> None:
    async with serving_here() as server:
        answer = await sign_in(server, b"anything; Path=/\r\nX: y")

    assert answer.status == 204
    assert "set-cookie" not in answer.headers


def test_the_cookie_of_a_mounted_application_is_for_it_alone() -> None:
    with serving_in_thread("mounted-fastapi-lifespan", token=TOKEN) as server:
        answer = asyncio.run(sign_in(server, TOKEN.encode()))

    assert f"path={server.prefix}" in answer.headers["set-cookie"].lower()


def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, token: bytes) -> bool:
        compared.append((given, token))
        return given == token

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert is_token(TOKEN, TOKEN)
    assert not is_token("x", TOKEN)
    assert is_session(SESSION, TOKEN, 0)
    token, session = TOKEN.encode(), SESSION.encode()
    assert compared == [(token, token), (b"x", token), (session, session)]


async def test_a_token_is_in_no_log(closed: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)

    await closed.fetch("GET", "/runs", BEARER)
    await closed.fetch("GET", "/runs", {"Authorization": f"Bearer {TOKEN}x"})
    await sign_in(closed, TOKEN.encode())

    assert TOKEN not in caplog.text


def test_an_empty_token_is_never_right() -> None:
    assert not is_token("", "")
    assert not is_session(make_session("", 9e9), "", 0)


@pytest.mark.parametrize("token", ["geheim ", "a b", "密码", "tab\t", "\x7f", b"bytes"])
def test_a_token_that_no_header_can_hold_is_refused(token: Any) -> None:
    with pytest.raises(InvalidValue, match="ASCII characters without spaces"):
        runcast.asgi(OpenHub(), token=token)


@pytest.mark.parametrize("token", ["", None])
def test_no_token_is_no_protection(token: Any) -> None:
    """A variable that is not set, say, must not open an application to everybody."""
    with pytest.raises(InvalidValue, match="expected authorize= or token="):
        runcast.asgi(OpenHub(), token=token)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "app.example:443",
        "https://app.example",
        "app.example/",
        "a b",
        "u@a",
        "::x",
        "bücher.de",
    ],
)
def test_a_host_that_no_request_can_have_is_refused(host: str) -> None:
    with pytest.raises(InvalidValue, match="without scheme and port"):
        Guard(hosts=[host])


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "*",
        "null",
        "app.example",
        "https://",
        "https://a/b",
        "https://u@a",
        "https://a:",
        "a://b c",
    ],
)
def test_an_origin_that_no_page_can_have_is_refused(origin: str) -> None:
    with pytest.raises(InvalidValue, match=r"like https://app\.example"):
        Guard(origins=[origin])


def test_a_text_is_no_list_of_hosts_or_origins() -> None:
    with pytest.raises(InvalidValue, match="hosts to be a list"):
        Guard(hosts="abc")
    with pytest.raises(InvalidValue, match="origins to be a list"):
        Guard(origins=ORIGIN)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://App.Example:443/", "https://app.example"),
        ("http://app.example:80", "http://app.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[fd00::1]:80", "http://[fd00::1]"),
        ("vscode-webview://0abc", "vscode-webview://0abc"),
    ],
)
def test_an_origin_is_known_as_browsers_send_it(given: str, sent: str) -> None:
    assert Guard(origins=[given]).is_allowed_origin(sent)


@pytest.mark.parametrize("given", ["fd00::1", "[FD00::1]", "fd00:0:0::1"])
def test_an_address_may_be_allowed_with_brackets_or_without(given: str) -> None:
    Guard(hosts=[given]).check_source({"host": "[fd00::1]:8000"})


# --- the host -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8000",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8000",
        "box.local",
        "BOX.LOCAL:99",
        "localhost:",
    ],
)
async def test_a_host_of_ours_is_answered(closed: Server, host: str) -> None:
    assert (await closed.fetch("GET", "/healthz", {"Host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example@localhost",
        "localhost@evil.example",
        "localhost#evil.example",
        "localhost/evil",
        "localhost?evil",
        "localhost, evil.example",
        "localhost.",
        "[",
        "[::1",
        "[::1]x",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "0",
        "2130706433",
        "::1",
        "localhost:80:80",
        "localhost:x",
        "\xe9",
    ],
)
async def test_a_rebound_or_forged_host_is_refused(closed: Server, host: str) -> None:
    """By DNS rebinding a page reaches this server under its own name, and reads its answers."""
    answer = await closed.fetch("GET", "/runs", {"Host": host, **BEARER})

    if answer.headers["content-type"].startswith("text/plain"):
        assert answer.status == 400  # h11 does not like some of them either
    else:
        assert answer.problem() == (403, "forbidden")
        assert "hosts=" in answer.detail()


async def test_a_request_without_a_host_is_refused(closed: Server) -> None:
    async with await closed.connect() as connection:
        await connection.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await connection.read_head()).status == 403


@pytest.mark.parametrize("hosts", [("localhost", "evil.example"), ("localhost", "localhost")])
async def test_a_request_with_two_hosts_is_refused(closed: Server, hosts: tuple[str, str]) -> None:
    """Somebody in front may go by the other one."""
    async with await closed.connect() as connection:
        fields = "".join(f"Host: {host}\r\n" for host in hosts)
        await connection.send(f"GET /healthz HTTP/1.1\r\n{fields}\r\n".encode())
        assert (await connection.read_head()).status == 400


async def test_any_host_may_be_allowed() -> None:
    async with serving_here(hosts=["*"]) as server:
        assert (await server.fetch("GET", "/runs", {"Host": "anything.example"})).status == 200
        assert (await server.fetch("GET", "/runs", {"Host": "[evil"})).status == 403


# --- other people's pages -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://",
        "http://[",
        "file://",
        "https://app.example.evil.example",
        "https://app.example@evil.example",
        "http://app.example",
        "http://localhost:1",
        "http://127.0.0.1",
        "chrome-extension://abc",
        "\xe9",
    ],
)
async def test_a_foreign_page_is_refused_whatever_it_sends(closed: Server, origin: str) -> None:
    async with await closed.connect() as connection:
        for method, path in (("GET", "/runs"), ("POST", "/invoke/echo"), ("POST", "/session")):
            request = (
                f"{method} {path} HTTP/1.1\r\nHost: {connection.host}\r\nOrigin: {origin}\r\n"
                f"Authorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n"
            )
            await connection.send(request.encode())
            answer = await connection.read_answer()
            assert answer.problem() == (403, "forbidden")
            assert not any(name.startswith("access-control-") for name in answer.headers)

    assert (await closed.fetch("GET", "/runs", BEARER)).json()["runs"] == []


async def test_a_page_of_ours_may_ask(closed: Server) -> None:
    origin = f"http://{closed.host}:{closed.port}"
    answer = await closed.fetch("POST", "/invoke/echo", {"Origin": origin, **BEARER})

    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("site", ["cross-site", "same-site", "strange"])
async def test_a_foreign_page_that_hides_its_origin_is_refused(closed: Server, site: str) -> None:
    for mode in ("no-cors", "cors", "websocket"):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, **BEARER}
        assert (await closed.fetch("GET", "/runs", headers)).problem() == (403, "forbidden")
    framed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    assert (await closed.fetch("GET", "/", framed)).problem() == (403, "forbidden")


@pytest.mark.parametrize("site", ["none", "same-origin"])
async def test_a_browser_of_our_own_page_may_ask(closed: Server, site: str) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "cors", **BEARER}

    assert (await closed.fetch("GET", "/runs", headers)).status == 200


async def test_a_link_to_the_start_page_can_be_followed_from_anywhere(closed: Server) -> None:
    headers = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }

    assert (await closed.fetch("GET", "/", headers)).status == 200
    assert (await closed.fetch("GET", "/runs", headers)).status == 401


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/plain; charset=application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "",
    ],
)
async def test_a_form_cannot_invoke(closed: Server, content_type: str) -> None:
    """These need no permission from the server before a page sends them."""
    async with await closed.connect() as connection:
        for path in ("/invoke/echo", "/runs/x/interrupts/y"):
            await connection.send(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
                f"Authorization: Bearer {TOKEN}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
            )
            answer = await connection.read_answer()
            assert answer.problem() == (400, "invalid_value")
            assert "application/json" in answer.detail()


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", "application/ld+json"]
)
async def test_json_may_be_called_what_it_is(closed: Server, content_type: str) -> None:
    answer = await closed.post("/invoke/echo", b"{}", {"Content-Type": content_type, **BEARER})

    assert answer.status == 200


# --- pages of origins we were told ----------------------------------------------------------------


async def test_a_page_we_were_told_of_may_ask_and_read(closed: Server) -> None:
    answer = await closed.fetch("GET", "/runs", {"Origin": ORIGIN, **BEARER})
    refused = await closed.fetch("GET", "/runs", {"Origin": ORIGIN})
    log = await closed.log("run")
    async with closed.watch("/runs/run/events", {"Origin": ORIGIN, **BEARER}) as stream:
        await log.emit(1)
        await stream.event()

    assert answer.status == 200
    assert refused.problem() == (401, "unauthorized")
    for headers in (answer.headers, refused.headers, stream.head.headers):
        assert headers["access-control-allow-origin"] == ORIGIN
        assert headers["access-control-allow-credentials"] == "true"
        assert "runcast-run-id" in headers["access-control-expose-headers"]
        assert headers["vary"] == "origin"


async def test_a_page_we_were_told_of_may_ask_first_without_a_token(closed: Server) -> None:
    answer = await closed.fetch(
        "OPTIONS",
        "/invoke/echo",
        {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
    )

    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert {"POST", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "last-event-id"} <= set(allowed)
    assert answer.headers["x-content-type-options"] == "nosniff"


NOT_FOR_PAGES = {
    "Host": "browsers set it",
    "Origin": "browsers set it",
    "Sec-Fetch-Site": "browsers set it",
    "Accept": "may always be sent",
    "Set-Cookie": "out of reach of scripts",
    "Cookie": "out of reach of scripts",
    "Cache-Control": "may always be read, as may Content-Type",
    "Content-Security-Policy": "for browsers",
    "X-Content-Type-Options": "for browsers",
    "X-Accel-Buffering": "for proxies",
}


async def test_pages_we_were_told_of_may_send_and_read_all_that_the_protocol_has(
    closed: Server,
) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    answer = await closed.fetch("OPTIONS", "/runs", asked)
    sent = set(answer.headers["access-control-allow-headers"].split(", "))
    read = set(answer.headers["access-control-expose-headers"].split(", "))
    rules = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    named = re.findall(r"`([A-Z][A-Za-z]*(?:-[A-Z][A-Za-z]*)*)(?::[^`]*)?`", rules)
    headers = {name for name in named if "-" in name or name in SHORT}

    assert {name.lower() for name in headers - set(NOT_FOR_PAGES)} <= sent | read
    for operation in OPERATIONS.values():
        parameters = {each["name"] for each in operation.parameters if each["in"] == "header"}
        assert {name.lower() for name in parameters} <= sent
        for each in operation.responses.values():
            assert {name.lower() for name in set(each.headers) - set(NOT_FOR_PAGES)} <= read


SHORT = {"Accept", "Cookie", "ETag", "Host", "Location", "Origin", "Prefer", "Range"}


async def test_a_foreign_page_that_asks_first_is_refused(closed: Server) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}

    answer = await closed.fetch("OPTIONS", "/invoke/echo", headers)

    assert answer.problem() == (403, "forbidden")


# --- any headers ----------------------------------------------------------------------------------

texts = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=40)
parts = st.sampled_from(
    ["localhost", "[::1]", "http://", "evil", "@", ":", "/", "#", "[", "]", "null"]
)
names = st.lists(parts | texts, max_size=5).map("".join)


@given(host=names, origin=st.none() | names, cookie=texts, authorization=texts)
def test_any_headers_are_let_in_or_refused(
    host: str, origin: str | None, cookie: str, authorization: str
) -> None:
    headers: dict[str, Any] = {"host": host, "cookie": cookie, "authorization": authorization}
    if origin is not None:
        headers["origin"] = origin
    guard = Guard(TOKEN)
    let_in = True
    try:
        guard.check_source(headers)
    except Forbidden:
        let_in = False
    if let_in:
        assert host.lower().rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]") or (
            host.lower() in ("localhost", "127.0.0.1", "[::1]")
        )
        assert origin is None or host.lower() in origin.lower()
    with pytest.raises(Unauthorized):
        guard.check_token("/runs", headers)


# --- listening ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.0.1", "127.evil.example", "example.org"]
)
def test_others_are_not_let_in_without_a_token(host: str) -> None:
    with pytest.raises(Forbidden, match="--token"):
        serve(HttpApp(OpenHub()), host=host, port=0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_addresses_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", 99999), ("256.1.1.1", 0), ("127.0.0.1", -1)]
)
def test_an_address_that_cannot_be_bound_is_told(host: str, port: int) -> None:
    with pytest.raises(InvalidValue, match=r"--port"):
        serve(HttpApp(OpenHub()), host=host, port=port, insecure=True)


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InvalidValue, match="0 for a free one"):
            serve(HttpApp(OpenHub()), port=taken.getsockname()[1])


async def test_the_address_we_listen_on_is_a_host_of_ours() -> None:
    async with serving_here() as server:
        server.app.serve_at("Some.Host")
        answer = await server.fetch("GET", "/healthz", {"Host": "some.host:1"})
        assert json.loads(answer.body) == {"status": "ok"}
