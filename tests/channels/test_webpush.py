"""Notifications of browsers: encrypted for one of them, and signed by who sends."""

import asyncio
import base64
import json
import sys

import pytest

import runcast
from runcast.channels import Edit, Send
from runcast.channels.platforms.webpush import WebPush, make_channel
from runcast.errors import InvalidValue
from runcast.testing import ChatFault, FakeWebPush
from tests.channels.driving import listening
from tests.waiting import WAIT_S


def browser(push: FakeWebPush, **options: str) -> WebPush:
    given = {
        "private_key": push.private_key,
        "contact": "mailto:me@example.org",
        "link": "https://runs.example.org/#/runs/{run_id}",
        "allow": "127.0.0.0/8",
    }
    return make_channel(push.subscription, {**given, **options})


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_the_browser_for_tests_reads_the_message_of_the_standard() -> None:
    # RFC 8291, section 5
    push = FakeWebPush(
        key=decoded("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"),
        auth=decoded("BTBZMqHH6r4Tts7J_aSIgg"),
    )
    message = decoded(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
        "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
        "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    assert push.decrypt(message) == b"When I grow up, I want to be a watermelon"


async def test_a_browser_is_notified_that_a_run_is_done() -> None:
    async with FakeWebPush() as push, runcast.open_hub() as hub:
        async with hub.run("report") as run:
            runcast.content("Everything is **fine** 👩‍🚀. " * 400)
        delivery = await hub.deliver(run.run_id, browser(push))
        async with asyncio.timeout(WAIT_S):
            receipt = await delivery.wait()
    assert receipt is not None
    assert receipt.status == "delivered"
    (shown,) = push.notifications
    assert (shown["kind"], shown["title"]) == ("done", "report is done")
    assert shown["body"].startswith("Everything is fine")
    assert shown["url"] == f"https://runs.example.org/#/runs/{run.run_id}"
    assert push.headers[0]["urgency"] == "normal"
    assert "SECRET" not in delivery.target


async def test_a_repeated_send_takes_the_place_of_the_first() -> None:
    async with FakeWebPush() as push:
        channel = browser(push)
        push.fail(ChatFault(kind="late"))
        message = Send(1, "key", "❓ **it asks**")
        assert (await channel.send(message)).kind == "uncertain"
        sent = await channel.send(message)
        assert push.shown("browser") == ["it asks"]
        assert (await channel.edit(Edit(1, sent.message_id, "→ **it: answered**"))).kind == "ok"
        assert push.shown("browser") == ["it: answered"]
        assert push.headers[-1]["urgency"] == "low"
        await channel.close()


async def test_refusals_are_classified_and_show_no_secret() -> None:
    message = Send(1, "key", "x")
    with listening() as records:
        async with FakeWebPush() as push, FakeWebPush() as other:
            channel = browser(push)
            push.fail(ChatFault(kind="limited", retry_after_s=7), ChatFault(kind="error"))
            limited = await channel.send(message)
            assert (limited.kind, limited.retry_after_s) == ("limited", 7.0)
            push._blocked.clear()
            assert (await channel.send(message)).kind == "uncertain"
            push.is_gone = True
            assert (await channel.send(message)).kind == "forbidden"
            await channel.close()
            wrong = browser(other, private_key=push.private_key)
            assert (await wrong.send(message)).kind == "forbidden"
            await wrong.close()
            private = browser(push, allow="10.0.0.0/8")
            assert (await private.send(message)).kind == "forbidden"
            await private.close()
            secrets = ("SECRET", push.private_key, other.private_key)
    assert not any(secret in record for record in records for secret in secrets)


def test_what_is_not_a_subscription_or_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeWebPush() as push:
        whole = json.loads(push.subscription)
        for broken in (
            "x",
            "[]",
            json.dumps({**whole, "keys": {**whole["keys"], "auth": "SECRET"}}),
            json.dumps({**whole, "keys": {**whole["keys"], "p256dh": "BP4z"}}),
            json.dumps({"endpoint": whole["endpoint"]}),
        ):
            with pytest.raises(InvalidValue, match="subscription of a browser") as refused:
                WebPush(broken, private_key=push.private_key, contact="mailto:a@b.c")
            assert "SECRET" not in str(refused.value)
        with pytest.raises(InvalidValue, match="https"):
            WebPush(push.subscription, private_key=push.private_key, contact="mailto:a@b.c")
        with pytest.raises(InvalidValue, match="contact"):
            browser(push, contact="me")
        with pytest.raises(InvalidValue, match="P-256") as refused:
            browser(push, private_key="SECRET")
        assert "SECRET" not in str(refused.value)
        monkeypatch.setitem(sys.modules, "http_ece", None)
        with pytest.raises(InvalidValue, match=r"pip install 'runcast\[webpush\]'"):
            browser(push)
