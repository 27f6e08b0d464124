"""The platforms: one module for each, and the table of their names.

A module is imported when its platform is used. Packages offer further platforms by entry points:
see `channel`.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
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


_POLLERS: Final = {
    "matrix": "runcast.channels.matrix_updates",
    "telegram": "runcast.channels.telegram_updates",
}
"""The modules that ask platforms what people did."""


def make_channel(target: Target) -> Channel:
    """Return the channel for a target. Raises `InvalidValue` if there is none, or options lack."""
    make = _find(target.platform, "make_channel")
    offered = None if make else _plugins.find(_plugins.CHANNELS, target.platform)
    if offered is not None:
        shown = getattr(offered, "__name__", "") or f"an object of {type(offered).__name__}"
        raise InvalidValue(
            f"expected the entry point {target.platform[:40]!r} of {_plugins.CHANNELS} to name a "
            f"module with make_channel(address, options), or that function; got {shown:.80}"
        )
    if make is None:
        known = ", ".join(sorted({*PLATFORMS, *_plugins.names(_plugins.CHANNELS)}))
        raise InvalidValue(
            f"expected a target on one of {known}; got {target.platform[:40]!r}: if it is a "
            "channel of another package, install that"
        )
    made: object = make(target.address, target.options)
    if not isinstance(made, Channel):
        raise InvalidValue(f"expected a channel for {target.platform!r}, got {made!r:.80}")
    return made


def make_receiver(platform: str, options: Mapping[str, str]) -> Receiver:
    """Return what reads the callbacks of a platform's app. Raises `InvalidValue` if the platform
    sends none, or the options lack the secret."""
    make = _find(platform, "make_receiver")
    if make is None:
        raise InvalidValue(f"expected a platform that sends callbacks, got {platform[:40]!r}")
    made: object = make(options)
    if not isinstance(made, Receiver):
        raise InvalidValue(f"expected a receiver for {platform!r}, got {made!r:.80}")
    return made


def make_poller(platform: str, options: Mapping[str, str]) -> Poller:
    """Return what asks a platform for what people did. Raises `InvalidValue` if it cannot be asked,
    or options lack."""
    make = _find(platform, "make_poller")
    if make is None:
        raise InvalidValue(
            f"expected poll only with {', '.join(_POLLERS)}, or a channel of another package that "
            f"has make_poller; got it with {platform[:40]!r}"
        )
    made: object = make(options)
    if not isinstance(made, Poller):
        raise InvalidValue(f"expected a poller for {platform!r}, got {made!r:.80}")
    return made


def _find(platform: str, name: str) -> Callable[..., object] | None:
    """Return a platform's function; None if it has none.

    An entry point names a module with these functions, or `make_channel` itself: then the package
    has no other one.
    """
    modules = _POLLERS if name == "make_poller" else PLATFORMS
    if platform in PLATFORMS:
        module = modules.get(platform)
        return None if module is None else getattr(import_module(module), name, None)
    offered = _plugins.find(_plugins.CHANNELS, platform)
    if isinstance(offered, ModuleType):
        return getattr(offered, name, None)
    return offered if name == "make_channel" and callable(offered) else None
