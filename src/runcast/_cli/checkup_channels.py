"""Checks of the channels file: of each target, and of its token if calls are allowed."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

from runcast._cli.checkup import Finding, fail, ok, warn
from runcast.errors import InvalidValue

__all__ = ("check_channels",)

_ASK_S: Final = 15.0
"""How long a platform may take to say whose token it is."""


def check_channels(path: str, *, is_online: bool) -> Iterator[Finding]:
    """Check each target of a channels file: its options, the package that it needs, the variables
    of its secrets.

    Args:
        path: of the file; without one, nothing is checked.
        is_online: whether platforms are asked if they know the token. That sends nothing.
    """
    if not path:
        return
    # Here, because channels take long to import.
    from runcast.channels.targets import read_tables

    try:
        tables = read_tables(path)
    except InvalidValue as error:
        yield fail("channels", error.message, "name another file, or correct this one")
        return
    count = 0
    for platform, table in tables.items():
        named = {}
        if isinstance(table, Mapping):
            named = {name: own for name, own in table.items() if isinstance(own, Mapping)}
        shared = {key: each for key, each in _items(table) if key not in named}
        for name, own in named.items():
            count += 1
            yield _check(path, platform, name, {**shared, name: own}, is_online=is_online)
        if not named:
            yield from _without_targets(path, platform, table)
    yield ok("channels", f"{path}: {count} target{'' if count == 1 else 's'}")


def _items(table: Any) -> list[tuple[str, Any]]:
    return list(table.items()) if isinstance(table, Mapping) else []


def _without_targets(path: str, platform: str, table: Any) -> Iterator[Finding]:
    """Check a table that no target of the file uses, but perhaps addresses."""
    from runcast.channels.checks import check_channels
    from runcast.channels.targets import ChannelsFile

    try:
        asyncio.run(check_channels(ChannelsFile({platform: table}), path))
    except InvalidValue as error:
        yield fail(platform, error.message, f"correct [{platform}] in {path}")


def _check(
    path: str, platform: str, name: str, table: Mapping[str, Any], *, is_online: bool
) -> Finding:
    from runcast.channels.checks import check_target, identify
    from runcast.channels.targets import ChannelsFile

    check = f"{platform}:{name}"
    todo = f"correct [{platform}.{name}] in {path}"
    try:
        target = ChannelsFile({platform: table}).named(check)
        asyncio.run(check_target(target))
        if not is_online:
            return ok(check, "its options are complete")
        outcome = asyncio.run(asyncio.wait_for(identify(target), _ASK_S))
    except InvalidValue as error:
        return fail(check, error.message, todo)
    except TimeoutError:
        return warn(check, "the platform does not answer", "check the network")
    if outcome is None:
        return ok(check, "its options are complete; the platform cannot be asked for the token")
    if outcome.kind == "ok":
        return ok(check, f"its options are complete; the token is of {outcome.reason}")
    if outcome.kind in ("uncertain", "not_started", "limited"):
        text = f"the platform did not say whether the token works: {outcome.reason}"
        return warn(check, text, "check the network and the option url")
    if "url" in table or "url" in table[name]:
        todo += ": the token, or url, which may lead to something else than the platform's API"
    return fail(check, f"the platform refuses the token: {outcome.reason}", todo)
