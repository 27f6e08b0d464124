"""Signed links that answer questions: a page that asks, and a click that answers."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

import runcast
from runcast.channels.answer_links import AnswerLink, make_answer_link, read_answer_link
from runcast.channels.targets import ChannelsFile
from runcast.errors import InvalidValue, NotFound
from runcast.testing import FakeNtfy, FakeWebPush
from tests.waiting import WAIT_S

pytestmark = pytest.mark.anyio

SECRET = "a-secret-for-tests"
OPTIONS = {"answer_url": "https://runs.example.org/", "answer_secret": SECRET}
NOW = 1_763_715_600.0


@runcast.function
async def deploy() -> str:
    answer = await runcast.ask("Deploy <now>?", args={"to": "<b>staging"}, interrupt_id="deploy")
    return f"{answer.type} by {answer.by}"


@runcast.function
async def choose() -> str:
    schema = {"enum": ["staging", "pro<duction>"]}
    config = {"allow_accept": False, "response_schema": schema}
    answer = await runcast.ask("Where?", config=config, interrupt_id="choose")
    return f"{answer.type} {answer.args}"


@runcast.function
async def count() -> list[object]:
    config = {"allow_accept": False, "response_schema": {"type": "integer"}}
    number = await runcast.ask("How many?", config=config, interrupt_id="count")
    word = await runcast.ask("Which?", config={"allow_accept": False}, interrupt_id="word")
    last = await runcast.ask("Sure?", interrupt_id="sure")
    return [number.args, word.args, last.type, last.args]


class Mailbox:
    """A server that takes webhooks, and keeps their texts."""

    def __init__(self) -> None:
        self.texts: asyncio.Queue[str] = asyncio.Queue()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            size = re.search(rb"content-length: (\d+)", head.lower())
            body = await reader.readexactly(int(size[1]) if size else 0)
            self.texts.put_nowait(json.loads(body)["text"])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            break
        writer.close()

    async def link(self) -> str:
        """Return the link in the next text."""
        async with asyncio.timeout(WAIT_S):
            found = re.search(r"\]\((https://[^)]+)\)", await self.texts.get())
        assert found is not None
        return found[1]


@asynccontextmanager
async def serving(
    path: Path, more: str = ""
) -> AsyncIterator[tuple[runcast.OpenHub, httpx2.AsyncClient, Mailbox]]:
    mailbox = Mailbox()
    listener = await asyncio.start_server(mailbox.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    file = path / "channels.toml"
    file.write_text(
        more + f'[webhook.mail]\nto = "http://127.0.0.1:{port}/"\nallow = "127.0.0.0/8"\n'
        f'answer_url = "https://runs.example.org"\nanswer_secret = "{SECRET}"\n'
    )
    settings = runcast.Settings.load(channels_file=str(file))
    async with (
        listener,
        runcast.OpenHub(functions=[deploy, choose, count], settings=settings) as hub,
    ):
        app = runcast.asgi(hub, token="secret-of-the-server", hosts=["runs.example.org"])
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(
            transport=transport, base_url="https://runs.example.org"
        ) as client:
            yield hub, client, mailbox


async def result_of(hub: runcast.OpenHub, run_id: str) -> object:
    async with asyncio.timeout(WAIT_S):
        async for event in hub.watch(run_id):
            if event.type == "done":
                return event.data["result"]
    return None


async def test_opening_a_link_answers_nothing_and_its_button_answers(tmp_path: Path) -> None:
    async with serving(tmp_path) as (hub, client, mailbox):
        await hub.start(deploy, run_id="r")
        await hub.deliver("r", "webhook:mail")
        link = await mailbox.link()
        for _ in range(3):  # scanners of mails open links
            page = await client.get(link)
            assert page.status_code == 200
        assert "Deploy &lt;now&gt;?" in page.text
        assert "&lt;b&gt;staging" in page.text
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert (await hub.present("r"))[1].status == "waiting"

        [token] = parse_qs(urlsplit(link).query)["token"]
        assert f'value="{token}"' in page.text
        wrong = await client.post("/answers", data={"token": f"{token}x", "answer": "accept"})
        other = await client.post("/answers", data={"token": token, "answer": "edit"})
        assert (wrong.status_code, other.status_code) == (404, 200)
        assert (await hub.present("r"))[1].status == "waiting"

        origin = {"origin": "https://runs.example.org", "sec-fetch-site": "same-origin"}
        answered = await client.post(
            "/answers", data={"token": token, "answer": "reject"}, headers=origin
        )
        assert "Rejected." in answered.text
        assert await result_of(hub, "r") == "reject by link of webhook:mail"
        late = await client.post("/answers", data={"token": token, "answer": "accept"})
        assert "reject" in late.text
        assert "is decided" in (await client.get(link)).text


def token_in(link: str) -> str:
    [token] = parse_qs(urlsplit(link).query)["token"]
    return token


async def test_a_link_offers_the_choices_of_its_question(tmp_path: Path) -> None:
    async with serving(tmp_path) as (hub, client, mailbox):
        await hub.start(choose, run_id="r")
        await hub.deliver("r", "webhook:mail")
        link = await mailbox.link()
        page = (await client.get(link)).text
        assert re.findall(r'name="answer" value="(.*?)">(.*?)<', page) == [
            ("choice:0", "staging"),
            ("choice:1", "pro&lt;duction&gt;"),
            ("reject", "Reject"),
        ]
        assert "<textarea" not in page
        forged = {"token": token_in(link), "answer": "choice:2"}
        assert "cannot be answered" in (await client.post("/answers", data=forged)).text
        assert (await hub.present("r"))[1].status == "waiting"
        chosen = {"token": token_in(link), "answer": "choice:1"}
        assert "Answered." in (await client.post("/answers", data=chosen)).text
        assert await result_of(hub, "r") == "response pro<duction>"
        late = await client.post("/answers", data={**chosen, "answer": "choice:0"})
        assert "decided already: answered by link of webhook:mail" in late.text


async def test_a_link_takes_a_written_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as (hub, client, mailbox):
        await hub.start(count, run_id="r")
        await hub.deliver("r", "webhook:mail")
        link = await mailbox.link()
        assert '<textarea name="text"' in (await client.get(link)).text
        written = {"token": token_in(link), "answer": "response"}
        wrong = [(text, "must be JSON") for text in ("many", "NaN", "[-Infinity]", "1e999")]
        for text, said in (("", "Write an answer first."), *wrong):
            answer = await client.post("/answers", data={**written, "text": text})
            assert said in answer.text
        assert "Answered." in (await client.post("/answers", data={**written, "text": "5"})).text

        body = {"answer": "response", "text": "two\r\nlines & <more>"}
        token = token_in(await mailbox.link())
        assert "Answered." in (await client.post("/answers", data={"token": token, **body})).text
        reason = {"answer": "reject", "text": "not yet"}
        token = token_in(await mailbox.link())
        assert "Rejected." in (await client.post("/answers", data={"token": token, **reason})).text
        assert await result_of(hub, "r") == [5, "two\nlines & <more>", "reject", "not yet"]


async def test_a_link_of_another_site_and_an_answer_elsewhere(tmp_path: Path) -> None:
    async with serving(tmp_path) as (hub, client, mailbox):
        await hub.start(deploy, run_id="r")
        await hub.deliver("r", "webhook:mail")
        link = await mailbox.link()
        [token] = parse_qs(urlsplit(link).query)["token"]
        body = {"token": token, "answer": "accept"}
        forged = await client.post(
            "/answers", data=body, headers={"origin": "https://evil.example"}
        )
        assert forged.status_code == 403
        await hub.answer("r", "deploy", {"type": "reject", "by": "console"})
        assert await result_of(hub, "r") == "reject by console"
        late = await client.post("/answers", data=body)
        assert "by console" in late.text
        assert (await client.get("/answers")).status_code == 404


RUN_URL = "https://runs.example.org/#/runs/{run_id}"


async def test_push_notifications_hold_the_link_while_the_question_is_open(tmp_path: Path) -> None:
    links = f'answer_url = "https://runs.example.org"\nanswer_secret = "{SECRET}"\n'
    links += f'link = "{RUN_URL}"\nallow = "127.0.0.0/8"\n'
    async with FakeNtfy() as ntfy, FakeWebPush() as push:
        more = (
            f'[ntfy.me]\nto = "runs"\nurl = "{ntfy.url}"\ntoken = "{ntfy.TOKEN}"\n{links}'
            f"[webpush.me]\nto = '{push.subscription}'\nprivate_key = \"{push.private_key}\"\n"
            f'contact = "mailto:me@example.org"\n{links}'
        )
        async with serving(tmp_path, more) as (hub, client, _):
            await hub.start(choose, run_id="r")
            deliveries = [await hub.deliver("r", f"{name}:me") for name in ("ntfy", "webpush")]
            for platform in (ntfy, push):
                await asyncio.to_thread(platform.wait_for, 1, WAIT_S)
            asked, shown = ntfy.published[0], push.notifications[0]
            assert asked["click"].startswith("https://runs.example.org/answers?token=")
            assert asked["actions"] == [
                {"action": "view", "label": "Answer", "url": asked["click"]},
                {"action": "view", "label": "Open the run", "url": RUN_URL.format(run_id="r")},
            ]
            assert "pro&lt;duction&gt;" in (await client.get(shown["url"])).text
            chosen = {"token": token_in(shown["url"]), "answer": "choice:0"}
            assert "Answered." in (await client.post("/answers", data=chosen)).text
            assert await result_of(hub, "r") == "response staging"
            async with asyncio.timeout(WAIT_S):
                for delivery in deliveries:
                    await delivery.wait()
        answered = ntfy.published[1]
        assert (answered["click"], "actions" in answered) == (RUN_URL.format(run_id="r"), False)
        assert push.notifications[-1]["url"] == RUN_URL.format(run_id="r")


async def test_a_notice_in_a_mail_holds_the_link_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as (hub, client, mailbox):
        await hub.start(choose, run_id="r")
        await hub.deliver("r", "webhook:mail", shows="notice")
        assert (await client.get(await mailbox.link())).status_code == 200
        await hub.cancel("r")


def test_a_target_with_people_has_no_links(tmp_path: Path) -> None:
    tables = {"webhook": {"mail": {"to": "https://x.example/", "people": ["5"], **OPTIONS}}}
    with pytest.raises(InvalidValue, match="expected no answer_url beside people"):
        ChannelsFile(tables)


def test_a_link_is_read_until_it_expires_and_only_as_it_was_signed() -> None:
    channels = ChannelsFile({"webhook": {"mail": {"to": "https://x.example/", **OPTIONS}}})
    about = AnswerLink("webhook:mail", "r", "e", "q", NOW)
    url = make_answer_link(OPTIONS, about, NOW + 600)
    assert url == make_answer_link(OPTIONS, about, NOW + 600)  # a delivery goes on elsewhere
    token = url.partition("token=")[2]
    read = read_answer_link(channels, token, NOW + 599)
    assert (read.run_id, read.question_id, read.expires_at) == ("r", "q", NOW + 600)
    week = make_answer_link(OPTIONS, about, None).partition("token=")[2]
    assert read_answer_link(channels, week, NOW).expires_at == NOW + 7 * 24 * 3600
    other = ChannelsFile(
        {"webhook": {"mail": {"to": "https://x.example/", **OPTIONS, "answer_secret": "x" * 16}}}
    )
    body, _, signature = token.partition(".")
    deep = base64.urlsafe_b64encode(b'["","","","",0,' + b"[" * 1400).decode().rstrip("=")
    wrongs = (body, f"{body}.", f"{body[:-1]}A.{signature}", "é", "", "." * 3000, f"{token}é", deep)
    for wrong in wrongs:
        with pytest.raises(NotFound):
            read_answer_link(channels, wrong, NOW)
    for channels_, now in ((channels, NOW + 600), (other, NOW), (ChannelsFile(), NOW)):
        with pytest.raises(NotFound):
            read_answer_link(channels_, token, now)


@pytest.mark.parametrize(
    "options",
    [
        {"answer_url": "https://x.example"},
        {"answer_secret": "x" * 16},
        {"answer_url": "https://x.example", "answer_secret": "short"},
        {"answer_url": "x.example", "answer_secret": "x" * 16},
    ],
)
def test_links_need_an_address_and_a_secret(options: dict[str, str]) -> None:
    with pytest.raises(InvalidValue, match="answer_url"):
        ChannelsFile({"email": {"ops": {"to": "me@example.org", **options}}})
