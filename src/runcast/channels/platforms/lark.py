"""Lark: Feishu outside China, at another address.

Source: https://open.larksuite.com/document/server-docs/im-v1/message/create.
"""

from collections.abc import Mapping
from typing import Final

from runcast.channels.platforms import feishu

__all__ = ("URL", "make_channel", "make_receiver")

URL: Final = "https://open.larksuite.com/open-apis"


def make_channel(target: str, options: Mapping[str, str]) -> feishu.FeishuChannel:
    """Return the channel of `lark:CHAT?app_id=…&app_secret=…`; raises `InvalidValue`."""
    return feishu.make_channel(target, options, otherwise=URL)


make_receiver = feishu.make_receiver
