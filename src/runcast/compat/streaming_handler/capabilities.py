"""The channels' names and what each can do, with the documented names and numbers.

Extensions register channels of their own. The last registration of a channel counts; when its owner
withdraws it, the one before counts again. A channel that is built in cannot be replaced.
"""

import threading
from collections.abc import Iterable, Set
from enum import Enum
from types import MappingProxyType
from typing import ClassVar, Final, NamedTuple

__all__ = (
    "ChannelCapabilities",
    "ChannelCapability",
    "ChannelCapabilityHandover",
    "ChannelCapabilityManager",
    "MessageChannel",
    "find_channel",
)


class MessageChannel(Enum):
    """The channels."""

    Telegram = "Telegram"
    Feishu = "Feishu"
    Slack = "Slack"
    Discord = "Discord"
    WebAgent = "WebAgent"
    QQ = "QQ"
    WechatClawBot = "WechatClawBot"
    DingTalk = "DingTalk"
    Wechat = "Wechat"
    SynologyChat = "SynologyChat"
    VoceChat = "VoceChat"
    WebPush = "WebPush"
    Web = "Web"


class ChannelCapability(Enum):
    """What a channel can do."""

    INLINE_BUTTONS = "inline_buttons"
    CALLBACK_QUERIES = "callback_queries"
    MESSAGE_EDITING = "message_editing"
    MESSAGE_DELETION = "message_deletion"
    MARKDOWN = "markdown"
    RICH_TEXT = "rich_text"
    IMAGES = "images"
    LINKS = "links"
    MENU_COMMANDS = "menu_commands"
    AUDIO_OUTPUT = "audio_output"
    FILE_SENDING = "file_sending"


class ChannelCapabilities(NamedTuple):
    """The abilities of one channel, its buttons, and its longest message (0: not known)."""

    channel: MessageChannel | str | None = None
    capabilities: Set[ChannelCapability] = frozenset()
    max_buttons_per_row: int = 2
    max_button_rows: int = 5
    max_button_text_length: int = 20
    max_message_length: int = 0
    fallback_enabled: bool = True


class ChannelCapabilityHandover(NamedTuple):
    """A channel whose owner has changed by a registration; None: nobody."""

    identity: str
    previous_owner: str | None
    current_owner: str | None


_C: Final = ChannelCapability
_BUTTONS: Final = frozenset({_C.INLINE_BUTTONS, _C.CALLBACK_QUERIES})
_EDITS: Final = frozenset({_C.MESSAGE_EDITING})
_CHAT: Final = _BUTTONS | _EDITS | {_C.MESSAGE_DELETION}
_TEXT: Final = frozenset({_C.MARKDOWN, _C.RICH_TEXT})


def _of(
    capabilities: frozenset[ChannelCapability] = frozenset(),
    max_buttons_per_row: int = 2,
    max_button_rows: int = 5,
    max_button_text_length: int = 20,
    max_message_length: int = 0,
    *,
    fallback_enabled: bool = True,
) -> ChannelCapabilities:
    return ChannelCapabilities(
        None,
        capabilities,
        max_buttons_per_row,
        max_button_rows,
        max_button_text_length,
        max_message_length,
        fallback_enabled,
    )


_TABLE: Final = MappingProxyType(
    {
        channel: made._replace(channel=channel)
        for channel, made in {
            MessageChannel.Telegram: _of(_CHAT | _TEXT, 4, 10, 30, 3500),
            MessageChannel.Feishu: _of(_BUTTONS | _EDITS | {_C.MARKDOWN}, 3, 8, 20, 30_000),
            MessageChannel.Slack: _of(_CHAT, 3, 8, 25, 39_000),
            MessageChannel.Discord: _of(_CHAT, 5, 5, 80, 1800),
            MessageChannel.WebAgent: _of(_BUTTONS | _EDITS, fallback_enabled=False),
            MessageChannel.QQ: _of(_BUTTONS, 5, 5, 30),
            MessageChannel.WechatClawBot: _of(frozenset({_C.MARKDOWN}), max_message_length=2800),
            MessageChannel.DingTalk: _of(frozenset({_C.MARKDOWN}), max_message_length=18_000),
            MessageChannel.Wechat: _of(frozenset({_C.IMAGES, _C.LINKS, _C.MENU_COMMANDS})),
            MessageChannel.SynologyChat: _of(_TEXT),
            MessageChannel.VoceChat: _of(_TEXT),
            MessageChannel.WebPush: _of(frozenset({_C.LINKS})),
            MessageChannel.Web: _of(_TEXT),
        }.items()
    }
)


class ChannelCapabilityManager:
    """Answers what a channel can do; an unknown channel has no abilities.

    A channel is given as a `MessageChannel`, or by its name, or by its value.
    """

    _registered: ClassVar[list[tuple[str, str, ChannelCapabilities]]] = []
    """Owner, channel and abilities, in the order of registration."""
    _lock: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def register_extension_capabilities(
        cls, owner: str, capabilities: Iterable[ChannelCapabilities]
    ) -> tuple[ChannelCapabilityHandover, ...]:
        """Replace what an owner has registered; with nothing, withdraw it. From any thread.

        Returns the channels whose owner has changed by that.
        """
        with cls._lock:
            before = cls._owners()
            kept = [each for each in cls._registered if each[0] != owner]
            own = {_identity(each.channel): each for each in capabilities}
            kept += [(owner, identity, each) for identity, each in own.items() if identity]
            cls._registered[:] = kept
            after = cls._owners()
        return tuple(
            ChannelCapabilityHandover(identity, before.get(identity), after.get(identity))
            for identity in sorted(before.keys() | after.keys())
            if before.get(identity) != after.get(identity)
        )

    @classmethod
    def _owners(cls) -> dict[str, str]:
        return {identity: owner for owner, identity, _ in cls._registered}

    @classmethod
    def get_capabilities(cls, channel: MessageChannel | str | None) -> ChannelCapabilities:
        """Return the abilities of a channel."""
        found = find_channel(channel)
        if isinstance(found, MessageChannel):
            return _TABLE[found]
        with cls._lock:
            known = [each for _, identity, each in cls._registered if identity == found]
        return known[-1] if known else ChannelCapabilities()

    @classmethod
    def supports_capability(
        cls, channel: MessageChannel | str | None, capability: ChannelCapability
    ) -> bool:
        """Return whether a channel has an ability."""
        return capability in cls.get_capabilities(channel).capabilities

    @classmethod
    def supports_buttons(cls, channel: MessageChannel | str | None) -> bool:
        """Return whether messages can have buttons."""
        return cls.supports_capability(channel, ChannelCapability.INLINE_BUTTONS)

    @classmethod
    def supports_callbacks(cls, channel: MessageChannel | str | None) -> bool:
        """Return whether buttons report back."""
        return cls.supports_capability(channel, ChannelCapability.CALLBACK_QUERIES)

    @classmethod
    def supports_editing(cls, channel: MessageChannel | str | None) -> bool:
        """Return whether messages can be edited."""
        return cls.supports_capability(channel, ChannelCapability.MESSAGE_EDITING)

    @classmethod
    def supports_deletion(cls, channel: MessageChannel | str | None) -> bool:
        """Return whether messages can be deleted."""
        return cls.supports_capability(channel, ChannelCapability.MESSAGE_DELETION)

    @classmethod
    def supports_markdown(cls, channel: MessageChannel | str | None) -> bool:
        """Return whether Markdown is formatted."""
        return cls.supports_capability(channel, ChannelCapability.MARKDOWN)

    @classmethod
    def get_max_buttons_per_row(cls, channel: MessageChannel | str | None) -> int:
        """Return the most buttons in a row."""
        return cls.get_capabilities(channel).max_buttons_per_row

    @classmethod
    def get_max_button_rows(cls, channel: MessageChannel | str | None) -> int:
        """Return the most rows of buttons."""
        return cls.get_capabilities(channel).max_button_rows

    @classmethod
    def get_max_button_text_length(cls, channel: MessageChannel | str | None) -> int:
        """Return the most characters of a button."""
        return cls.get_capabilities(channel).max_button_text_length

    @classmethod
    def get_max_message_length(cls, channel: MessageChannel | str | None) -> int:
        """Return the most characters of a message; 0 if that is not known."""
        return cls.get_capabilities(channel).max_message_length

    @classmethod
    def should_use_fallback(cls, channel: MessageChannel | str | None) -> bool:
        """Return whether text may stand in for what the channel cannot show."""
        return cls.get_capabilities(channel).fallback_enabled


def find_channel(channel: object) -> MessageChannel | str:
    """Return a channel that is built in, by itself, its value or its name; else its identity."""
    if isinstance(channel, MessageChannel):
        return channel
    named = _identity(channel)
    for known in MessageChannel:
        if named in (known.value, known.name):
            return known
    return named


def _identity(channel: object) -> str:
    """Return the text by which a channel is known; "" for none."""
    value = channel.value if isinstance(channel, Enum) else channel
    return value if isinstance(value, str) else ""
