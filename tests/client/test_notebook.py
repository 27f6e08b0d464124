"""A run in a notebook: what its page asks through the channel, without a notebook's server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import IPython
import pytest

import runcast
import runcast._http.app  # imports would block the loop
from runcast.client import channel as channels
from runcast.client import showing, viewing
from runcast.client.channel import Channel, Kept
from tests.waiting import WAIT_S


async def talk(questions: int) -> str:
    for number in range(questions):
        runcast.progress(number + 1, questions)
        answer = await runcast.ask("On?", interrupt_id=f"q{number}")
        runcast.log(f"approved: {answer.approved}")
    return "end"


def pour(lines: int) -> None:
    for number in range(lines):
        runcast.log(f"line {number} {'x' * 100}")


def hostile() -> str:
    runcast.content("<script>alert(1)</script>")
    return "<b>done</b>"


class Page:
    """The page's part of the channel."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.kept = Kept()
        self.channel: Channel
        self._came = asyncio.Event()

    def send(self, message: dict[str, Any]) -> None:
        self.told.append(json.loads(json.dumps(message)))
        self._came.set()

    def keep(self, kept: Kept) -> None:
        self.kept = kept
        self._came.set()

    async def until(self, is_so: Callable[[], object]) -> None:
        while not is_so():
            await self.more()

    async def more(self) -> None:
        self._came.clear()
        await self._came.wait()

    async def ask(self, **message: Any) -> dict[str, Any]:
        self.channel.receive({"id": "asked", **message})
        await self.until(lambda: [told for told in self.told if told["id"] == "asked"])
        return self.told.pop([told["id"] for told in self.told].index("asked"))

    def events(self, name: str) -> list[dict[str, Any]]:
        batches = [told.get("events", []) for told in self.told if told["id"] == name]
        return [json.loads(text) for batch in batches for text, _ in batch]

    def position(self, name: str) -> str:
        batches = [told.get("events", []) for told in self.told if told["id"] == name]
        (*_, [_, position]) = [item for batch in batches for item in batch]
        return str(position)

    def bytes(self) -> int:
        return sum(len(text) for told in self.told for text, _ in told.get("events", []))

    def has(self, name: str, kind: str) -> bool:
        return any(event["type"] == kind for event in self.events(name))

    def confirm(self, name: str) -> None:
        numbers = [told["n"] for told in self.told if told["id"] == name and "n" in told]
        self.channel.receive({"op": "ack", "id": name, "n": max(numbers)})


@asynccontextmanager
async def page_of(function: Any, **inputs: Any) -> AsyncIterator[Page]:
    """Open a hub, start a run, and open a page that shows it."""
    async with asyncio.timeout(WAIT_S), runcast.open_hub(functions=[function]) as hub:
        run = await hub.start(function, inputs)
        page, loop = Page(), asyncio.get_running_loop()
        page.channel = Channel(hub.client(), run.run_id, loop, page.send, page.keep)
        yield page
        page.channel.close()


def seqs(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events]


async def test_each_view_gets_each_event_once_and_answers_for_all() -> None:
    async with page_of(talk, questions=2) as page:
        page.channel.receive({"op": "watch", "id": "one"})
        await page.until(lambda: page.has("one", "interrupt_request"))
        position = page.position("one")
        page.channel.receive({"op": "watch", "id": "two", "after": position})
        said = await page.ask(op="answer", question="q0", answer={"type": "accept"})
        again = await page.ask(op="answer", question="q0", answer={"type": "reject"})
        await page.ask(op="answer", question="q1", answer={"type": "accept"})
        await page.until(lambda: sum("end" in told for told in page.told) == 2)

        assert said["value"]["type"] == "accept"
        assert again["error"]["code"] == "conflict"
        assert seqs(page.events("one")) == list(range(1, len(page.events("one")) + 1))
        assert page.events("one")[int(position.rpartition("-")[2]) :] == page.events("two")


async def test_the_state_is_given_and_the_run_is_written_to_and_cancelled() -> None:
    async with page_of(talk, questions=1) as page:
        await page.until(lambda: True)
        state = await page.ask(op="snapshot")
        sent = await page.ask(op="send", data="hello", message_id="m1")
        await page.ask(op="cancel", reason="enough")
        page.channel.receive({"op": "watch", "id": "rest", "after": state["value"]["position"]})
        await page.until(lambda: any("end" in told for told in page.told))

        assert state["value"]["state"]["function"] == "talk"
        assert sent["value"]["message_id"] == "m1"
        assert page.events("rest")[-1]["data"] == {"reason": "enough"}


async def test_a_page_that_confirms_nothing_gets_no_more_than_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(viewing, "MAX_BATCH_BYTES", 2_000)
    monkeypatch.setattr(viewing, "MAX_UNCONFIRMED_BYTES", 10_000)
    monkeypatch.setattr(viewing, "_PACE_S", 0.0)
    monkeypatch.setattr(viewing, "BYTES_PER_S", 1e9)
    monkeypatch.setattr(viewing, "_REMIND_S", 0.01)
    async with page_of(pour, lines=200) as page:
        page.channel.receive({"op": "watch", "id": "one"})
        await page.until(lambda: page.bytes() >= 10_000)
        await page.until(lambda: any("sent" in told for told in page.told))
        most = page.bytes()
        while not any("end" in told for told in page.told):
            page.confirm("one")
            await page.more()

        assert most < 13_000
        assert seqs(page.events("one")) == list(range(1, 203))


async def test_a_state_and_what_follows_is_kept_while_no_page_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels, "_KEEP_S", 0.0)
    async with page_of(talk, questions=1) as page:
        page.channel.begin()
        await page.until(lambda: page.kept.first)
        begun = json.loads(page.kept.first)["state"]["seq"]
        await page.channel._client.answer(page.channel._run_id, "q0", {"type": "accept"})
        await page.until(lambda: '\\"done\\"' in page.kept.early)
        early = [json.loads(text) for text, _ in json.loads(page.kept.early)]

        assert seqs(early) == list(range(begun + 1, early[-1]["seq"] + 1))
        assert page.told == []


async def test_one_view_too_many_ends_the_one_that_was_silent_longest() -> None:
    async with page_of(pour, lines=1) as page:
        for number in range(channels.MAX_WATCHES):
            page.channel.receive({"op": "watch", "id": f"view{number}"})
        await page.until(lambda: page.events("view0"))
        page.confirm("view0")
        page.channel.receive({"op": "watch", "id": "another"})
        await page.until(lambda: {"id": "view1", "gone": True} in page.told)
        page.channel.receive({"op": "ack", "id": "nobody", "n": 1})
        await page.until(lambda: {"id": "nobody", "gone": True} in page.told)


async def test_what_is_no_message_of_a_page_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    async with page_of(pour, lines=1) as page:
        messages: list[Any] = [None, [], {"op": "fly"}, {"op": "watch"}]
        for message in [*messages, {"op": "ack", "id": "x", "n": ""}]:
            page.channel.receive(message)
        state = await page.ask(op="snapshot")

        assert "value" in state
        assert len(caplog.records) == 5


def test_without_widgets_a_notebook_shows_a_safe_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "find_spec", lambda name: None)
    with runcast.open_hub(functions=[hostile]) as hub:
        run = hub.start(hostile)
        run.wait()
        bundle = run._repr_mimebundle_()
        shown = hub.client().show(run.run_id)._repr_html_()

    assert bundle.keys() == {"text/plain", "text/html"}
    assert bundle["text/plain"] == repr(run)
    assert bundle["text/html"] == shown
    assert "pip install &#x27;runcast[notebook]&#x27;" in shown
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
    assert "<b>" not in shown


def test_in_a_kernel_a_run_has_one_widget_however_often_it_is_displayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    with runcast.open_hub(functions=[hostile]) as hub:
        run = hub.start(hostile)
        (one, other) = (run._repr_mimebundle_(), run._repr_mimebundle_())
        run.wait()

    view = "application/vnd.jupyter.widget-view+json"
    assert one[view]["model_id"] == other[view]["model_id"]
    assert "text/html" in one


def test_a_run_around_a_block_is_displayed_while_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    with runcast.run("import") as run:
        bundle = run._repr_mimebundle_()
    with runcast.open_hub() as hub, hub.run("import") as of_hub:
        other = of_hub._repr_mimebundle_()

    for each, shown in ((run, bundle), (of_hub, other)):
        assert "application/vnd.jupyter.widget-view+json" in shown
        assert shown["text/plain"] == repr(each)
        assert each.run_id in shown["text/html"]


async def test_the_page_of_a_block_reads_its_run_and_can_cancel_it() -> None:
    page, states, clients = Page(), [], []

    async def write() -> None:
        async with runcast.run("import", run_id="r") as run:
            assert run.display is not None
            client = run.display._client()  # type: ignore[attr-defined]
            clients.append(client)
            loop = asyncio.get_running_loop()
            page.channel = Channel(client, "r", loop, page.send, page.keep)
            runcast.content("half")
            states.append(await page.ask(op="snapshot"))
            page.channel.receive({"op": "cancel", "id": "c"})
            await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await write()
    assert "half" in json.dumps(states)
    (client,) = clients
    with pytest.raises(runcast.InvalidValue, match="the hub is closed"):
        await client.snapshot("r")


def test_only_an_id_of_a_run_can_be_shown() -> None:
    client = runcast.AsyncClient("http://127.0.0.1:1")
    with pytest.raises(runcast.InvalidValue, match="expected the id of a run"):
        client.show("../secrets")
