"""Whether the targets of the channels file can be used, before a run is delivered there.

A target is checked by making its channel and, if somebody takes its answers, its receiver. That
reads the options, and needs the package of the channel's extra. No platform is called, except by
`identify`.

Source: ours.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from runcast._logs import format_places, get_logger
from runcast.channels.channel import CanIdentify, Channel
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms import PLATFORMS, make_channel, make_receiver
from runcast.channels.receiver import CanComplete, CanTell
from runcast.channels.targets import ChannelsFile, Target
from runcast.errors import InvalidValue

__all__ = ("check_channels", "check_target", "identify")

_COMMON: Final = frozenset(
    {
        *("allow", "answer_secret", "answer_url", "buttons", "finish", "people", "poll", "shows"),
    }
)
"""Options of every platform."""

_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    platform: _COMMON | frozenset(names.split())
    for platform, names in {
        "apprise": "",
        "dingtalk": "app_key app_secret replies robot secret template template_key token url",
        "discord": "public_key token url",
        "email": "from password port security server user",
        "feishu": "app_id app_secret encrypt_key url verification_token",
        "lark": "app_id app_secret encrypt_key url verification_token",
        "mailto": "from password port security server user",
        "matrix": "homeserver token user",
        "mattermost": "callback_secret callback_url command_token token url webhook_token",
        "ntfy": "link token url",
        "slack": "signing_secret token url",
        "telegram": "secret_token token url",
        "webhook": "secret",
        "webpush": "contact link private_key",
    }.items()
}
"""Options of our platforms. A misspelt `people` would let everybody answer."""

_log: Final = get_logger("runcast.channels")


async def check_channels(
    channels: ChannelsFile, path: str, make: Callable[[Target], Channel] = make_channel
) -> None:
    """Check all targets of a file.

    Raises:
        InvalidValue: a target cannot be used. The message names the file, the table and, where one
            is wrong, the option; it shows no secret.
    """
    for name, options in channels.apps().items():
        platform, _, own = name.partition(":")
        place = f"[{platform}.{own}]" if own else f"[{platform}]"
        try:
            _check_names(platform, options)
            if own:
                await check_target(channels.named(name), make)
        except InvalidValue as error:
            raise InvalidValue(f"channels_file {path}: {place}: {error.message}") from None


async def check_target(target: Target, make: Callable[[Target], Channel] = make_channel) -> None:
    """Check one target, without a call to its platform.

    Raises:
        InvalidValue: it cannot be used.
    """
    _check_names(target.platform, target.options)
    channel = await _made(target, make)
    try:
        await _check_receiver(target, channel)
    finally:
        await channel.close()


async def identify(target: Target) -> CallOutcome | None:
    """Ask a target's platform whose token it has; None if the platform has no such call.

    The `reason` of an `ok` names the account. Nothing is changed or sent.

    Raises:
        InvalidValue: the target cannot be used.
    """
    channel = await _made(target, make_channel)
    try:
        return await channel.identify() if isinstance(channel, CanIdentify) else None
    finally:
        await channel.close()


def _check_names(platform: str, options: Mapping[str, str]) -> None:
    """Refuse options that a platform of ours does not have. Other packages know theirs."""
    known = _OPTIONS.get(platform)
    unknown = sorted(options.keys() - known) if known is not None else []
    if known is not None and unknown:
        raise InvalidValue(
            f"there is no option {unknown[0][:80]!r}; expected one of {', '.join(sorted(known))}, "
            "or one of these with _env"
        )


async def _made(target: Target, make: Callable[[Target], Channel]) -> Channel:
    try:
        if target.platform in PLATFORMS:  # in a thread, because some import large packages
            return await asyncio.to_thread(make, target)
        return make(target)  # a channel of another package may need the loop
    except InvalidValue:
        raise
    except Exception as error:  # noqa: BLE001 - other packages may raise anything
        name = type(error).__name__
        _log.warning("make_channel of %s raised %s\n%s", target.shown, name, format_places(error))
        raise InvalidValue(f"its make_channel raised {name}; the log says where") from None


async def _check_receiver(target: Target, channel: Channel) -> None:
    """Check what takes the answers of a target, if it has buttons because of a secret."""
    options = target.options
    has_answers = channel.capability.has_buttons or channel.capability.hears_texts
    is_elsewhere = "buttons" in options or options.get("poll") in ("yes", "true")
    if target.platform in PLATFORMS and has_answers and not is_elsewhere:
        receiver = await asyncio.to_thread(make_receiver, target.platform, options)
        if isinstance(receiver, CanTell | CanComplete):
            await receiver.close()
