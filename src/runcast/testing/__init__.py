"""Tools for tests of stores, functions and programs that use runcast."""

from typing import TYPE_CHECKING

from runcast.testing.chats.dingtalk import FakeDingTalk
from runcast.testing.chats.discord import FakeDiscord
from runcast.testing.chats.faults import ChatFault, ChatMessage
from runcast.testing.chats.feishu import FakeFeishu
from runcast.testing.chats.mattermost import FakeMattermost
from runcast.testing.chats.ntfy import FakeNtfy
from runcast.testing.chats.server import ChatCall, ChatCallback, ChatServer
from runcast.testing.chats.slack import FakeSlack
from runcast.testing.chats.telegram import FakeTelegram
from runcast.testing.chats.web_push import FakeWebPush
from runcast.testing.clock import FakeClock
from runcast.testing.contract import (
    ContractBroken,
    StoreCheck,
    StoreHarness,
    contract_checks,
)
from runcast.testing.event_checks import EventsBroken, check_events
from runcast.testing.faults import FaultyStore, StoreCalls
from runcast.testing.models.server import ModelServer
from runcast.testing.models.turns import ModelCall, ModelTurn

if TYPE_CHECKING:
    from runcast._app.replaying import Replay, replay
else:

    def __getattr__(name):
        """Load what needs the web framework on demand."""
        if name in ("Replay", "replay"):
            from runcast._app import replaying

            return getattr(replaying, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = (
    "ChatCall",
    "ChatCallback",
    "ChatFault",
    "ChatMessage",
    "ChatServer",
    "ContractBroken",
    "EventsBroken",
    "FakeClock",
    "FakeDingTalk",
    "FakeDiscord",
    "FakeFeishu",
    "FakeMattermost",
    "FakeNtfy",
    "FakeSlack",
    "FakeTelegram",
    "FakeWebPush",
    "FaultyStore",
    "ModelCall",
    "ModelServer",
    "ModelTurn",
    "Replay",
    "StoreCalls",
    "StoreCheck",
    "StoreHarness",
    "check_events",
    "contract_checks",
    "replay",
)
