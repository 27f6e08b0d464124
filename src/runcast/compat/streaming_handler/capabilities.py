"""The channels' names and what each can do, with the documented names and numbers."""

from enum import Enum
from types import MappingProxyType
from typing import Final, NamedTuple

__all__ = ("ChannelCapabilities", "ChannelCapability", "ChannelCapabilityManager", "MessageChannel")


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


class ChannelCapabilities(NamedTuple):
    """The abilities of one channel, its buttons, and its longest message (0: not known)."""

    capabilities: frozenset[ChannelCapability] = frozenset()
    max_buttons_per_row: int = 2
    max_button_rows: int = 5
    max_button_text_length: int = 20
    max_message_length: int = 0
    fallback_enabled: bool = True


_C: Final = ChannelCapability
_BUTTONS: Final = frozenset({_C.INLINE_BUTTONS, _C.CALLBACK_QUERIES})
_EDITS: Final = frozenset({_C.MESSAGE_EDITING})
_CHAT: Final = _BUTTONS | _EDITS | {_C.MESSAGE_DELETION}
_TEXT: Final = frozenset({_C.MARKDOWN, _C.RICH_TEXT})

_TABLE: Final = MappingProxyType(
    {
        MessageChannel.Telegram: ChannelCapabilities(_CHAT | _TEXT, 4, 10, 30, 3500),
        MessageChannel.Feishu: ChannelCapabilities(
            _BUTTONS | _EDITS | {_C.MARKDOWN}, 3, 8, 20, 30_000
        ),
        MessageChannel.Slack: ChannelCapabilities(_CHAT, 3, 8, 25, 39_000),
        MessageChannel.Discord: ChannelCapabilities(_CHAT, 5, 5, 80, 1800),
        MessageChannel.WebAgent: ChannelCapabilities(_BUTTONS | _EDITS, fallback_enabled=False),
        MessageChannel.QQ: ChannelCapabilities(_BUTTONS, 5, 5, 30),
        MessageChannel.WechatClawBot: ChannelCapabilities(
            frozenset({_C.MARKDOWN}), max_message_length=2800
        ),
        MessageChannel.DingTalk: ChannelCapabilities(
            frozenset({_C.MARKDOWN}), max_message_length=18_000
        ),
        MessageChannel.Wechat: ChannelCapabilities(
            frozenset({_C.IMAGES, _C.LINKS, _C.MENU_COMMANDS})
        ),
        MessageChannel.SynologyChat: ChannelCapabilities(_TEXT),
        MessageChannel.VoceChat: ChannelCapabilities(_TEXT),
        MessageChannel.WebPush: ChannelCapabilities(frozenset({_C.LINKS})),
        MessageChannel.Web: ChannelCapabilities(_TEXT),
    }
)


class ChannelCapabilityManager:
    """Answers what a channel can do; an unknown channel has no abilities."""

    @classmethod
    def get_capabilities(cls, channel: MessageChannel) -> ChannelCapabilities:
        """Return the abilities of a channel."""
        return _TABLE.get(channel, ChannelCapabilities())

    @classmethod
    def supports_capability(cls, channel: MessageChannel, capability: ChannelCapability) -> bool:
        """Return whether a channel has an ability."""
        return capability in cls.get_capabilities(channel).capabilities

    @classmethod
    def supports_buttons(cls, channel: MessageChannel) -> bool:
        """Return whether messages can have buttons."""
        return cls.supports_capability(channel, ChannelCapability.INLINE_BUTTONS)

    @classmethod
    def supports_callbacks(cls, channel: MessageChannel) -> bool:
        """Return whether buttons report back."""
        return cls.supports_capability(channel, ChannelCapability.CALLBACK_QUERIES)

    @classmethod
    def supports_editing(cls, channel: MessageChannel) -> bool:
        """Return whether messages can be edited."""
        return cls.supports_capability(channel, ChannelCapability.MESSAGE_EDITING)

    @classmethod
    def supports_deletion(cls, channel: MessageChannel) -> bool:
        """Return whether messages can be deleted."""
        return cls.supports_capability(channel, ChannelCapability.MESSAGE_DELETION)

    @classmethod
    def supports_markdown(cls, channel: MessageChannel) -> bool:
        """Return whether Markdown is formatted."""
        return cls.supports_capability(channel, ChannelCapability.MARKDOWN)

    @classmethod
    def get_max_buttons_per_row(cls, channel: MessageChannel) -> int:
        """Return the most buttons in a row."""
        return cls.get_capabilities(channel).max_buttons_per_row

    @classmethod
    def get_max_button_rows(cls, channel: MessageChannel) -> int:
        """Return the most rows of buttons."""
        return cls.get_capabilities(channel).max_button_rows

    @classmethod
    def get_max_button_text_length(cls, channel: MessageChannel) -> int:
        """Return the most characters of a button."""
        return cls.get_capabilities(channel).max_button_text_length

    @classmethod
    def get_max_message_length(cls, channel: MessageChannel) -> int:
        """Return the most characters of a message; 0 if that is not known."""
        return cls.get_capabilities(channel).max_message_length

    @classmethod
    def should_use_fallback(cls, channel: MessageChannel) -> bool:
        """Return whether text may stand in for what the channel cannot show."""
        return cls.get_capabilities(channel).fallback_enabled
