"""The platforms: one module for each, and the table of their names.

A module is imported when its platform is used.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Final

from runcast import _plugins
from runcast.channels.channel import Channel
from runcast.channels.receiver import Poller, Receiver
from runcast.channels.targets import Target
from runcast.errors import InvalidValue

__all__ = ("PLATFORMS", "make_channel", "make_poller", "make_receiver")

PLATFORMS: Final = {
    "email": "runcast.channels.platforms.email",
    "mailto": "runcast.channels.platforms.email",
    "matrix": "runcast.channels.platforms.matrix",
    "apprise": "runcast.channels.platforms.apprise",
    "dingtalk": "runcast.channels.platforms.dingtalk",
    "discord": "runcast.channels.platforms.discord",
    "ntfy": "runcast.channels.platforms.ntfy",
    "feishu": "runcast.channels.platforms.feishu",
    "lark": "runcast.channels.platforms.lark",
    "mattermost": "runcast.channels.platforms.mattermost",
    "slack": "runcast.channels.platforms.slack",
    "telegram": "runcast.channels.platforms.telegram",
    "webhook": "runcast.channels.platforms.webhook",
    "webpush": "runcast.channels.platforms.webpush",
}
"""The schemes of targets, and the modules that know them."""


def make_channel(target: Target) -> Channel:
    """Return the channel for a target. Raises `InvalidValue` if there is none, or options lack."""
    module = PLATFORMS.get(target.platform)
    if module is not None:
        made: object = import_module(module).make_channel(target.address, target.options)
    else:
        offered = _plugins.find(_plugins.CHANNELS, target.platform)
        if offered is None:
            known = ", ".join(sorted({*PLATFORMS, *_plugins.names(_plugins.CHANNELS)}))
            raise InvalidValue(f"expected a target on one of {known}; got {target.platform[:40]!r}")
        made = offered(target.address, target.options)
    if not isinstance(made, Channel):
        raise InvalidValue(f"expected a channel for {target.platform!r}, got {made!r:.80}")
    return made


def make_receiver(platform: str, options: Mapping[str, str]) -> Receiver:
    """Return what reads the callbacks of a platform's app. Raises `InvalidValue` if the platform
    sends none, or the options lack the secret."""
    module = PLATFORMS.get(platform)
    make = None if module is None else getattr(import_module(module), "make_receiver", None)
    if make is None:
        raise InvalidValue(f"expected a platform that sends callbacks, got {platform[:40]!r}")
    made: Receiver = make(options)
    return made


_POLLERS: Final = {
    "matrix": "runcast.channels.matrix_updates",
    "telegram": "runcast.channels.telegram_updates",
}
"""The modules that ask platforms what people did."""


def make_poller(platform: str, options: Mapping[str, str]) -> Poller:
    """Return what asks a platform for what people did. Raises `InvalidValue` if it cannot be asked,
    or options lack."""
    if platform not in _POLLERS:
        known = ", ".join(_POLLERS)
        raise InvalidValue(f"expected poll only with {known}; got it with {platform[:40]!r}")
    made: Poller = import_module(_POLLERS[platform]).make_poller(options)
    return made
