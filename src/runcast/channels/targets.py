"""Where a run is delivered to: what people write, and what is stored of it.

    telegram:ops                              a target with this name in the channels file
    telegram://-1001234?token=…               an address, with its options behind it

The channels file (the setting `channels_file`) has the tokens, so that targets have none:

    [telegram]
    token_env = "TELEGRAM_TOKEN"    # or token = "…"

    [telegram.ops]
    to = "-1001234"

    [webhook.audit]
    to = "https://audit.example.org/runs"
    secret_env = "AUDIT_SECRET"

A target with a name inherits the options of its platform. An address does so, too, unless it names
a server of its own: no token of the file goes there. The option `allow`, which names private
networks that may be reached, is taken from the file alone. The options `shows` and `finish` say
how runs are delivered there, unless a delivery says it itself. What is stored and logged of a
target is its name, or its address without options; if the address is a secret itself, its server.
"""

import hashlib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from runcast.channels.delivery_options import DeliveryOptions
from runcast.errors import InvalidValue

__all__ = ("ChannelsFile", "Target", "read_tables")

_MAX_TARGET_CHARS: Final = 4096
_PLATFORM: Final = re.compile(r"[a-z][a-z0-9+.-]{0,31}")
_ENV: Final = "_env"
_VARIABLE: Final = re.compile(r"[A-Z]{1,20}(?:_[A-Z0-9]{1,20}){1,5}")
"""What is certainly the name of a variable. Anything else may be the secret itself, written there
by mistake, and is not shown."""
_ALLOW: Final = "allow"
_SECRET: Final = re.compile(r"[^=]*(?:token|secret|key|password)=")
"""A secret option: by the end of its name. Targets with the same secrets belong to one app."""
_MIN_SECRET_CHARS: Final = 16
_SERVERS: Final = frozenset({"url", "homeserver", "server"})
"""Options that name a server."""
_WITH_HOST: Final = frozenset({"ntfy"})
"""Platforms whose addresses name a server if they have a slash."""
_SECRET_ADDRESSES: Final = frozenset({"apprise", "ntfy", "webhook", "webpush"})
"""Platforms on which whoever knows an address may write to it. What is stored and logged is the
server's name, and a digest."""


@dataclass(frozen=True, slots=True)
class Target:
    """A target: platform, address, and options, which may be secret."""

    platform: str
    address: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    name: str = ""
    """The name in the channels file; "" for a target that was given as an address."""

    @property
    def app(self) -> str:
        """A digest that is equal for the targets that one app or bot writes to."""
        secrets = [f"{key}={self.options[key]}" for key in sorted(self.options)]
        said = "\0".join([self.platform, *(each for each in secrets if _SECRET.match(each))])
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def shown(self) -> str:
        """The target without secrets, for people and for the store."""
        if self.name:
            return f"{self.platform}:{self.name}"
        if self.platform in _SECRET_ADDRESSES:
            digest = hashlib.sha256(self.address.encode("utf-8", "surrogatepass")).hexdigest()
            return f"{self.platform}://{_host_of(self.address)}#{digest[:8]}"
        return f"{self.platform}://{self.address}"


class ChannelsFile:
    """The named targets, and what all targets of a platform share.

    Raises:
        InvalidValue: a table has not the form above, or an environment variable is not set.
    """

    def __init__(self, tables: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._shared: dict[str, dict[str, str]] = {}
        self._named: dict[str, Target] = {}
        for platform, table in tables.items():
            if not isinstance(table, Mapping):
                # The value is not shown: it may be a token that was written above the tables.
                raise InvalidValue(
                    f"channels_file: expected a table [{platform}], got {platform} = …"
                )
            options = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
            shared = self._shared[platform] = _options(options, platform)
            DeliveryOptions.choose(target=shared, place=f"channels_file, [{platform}],")
            for name, own in table.items():
                if isinstance(own, Mapping):
                    place = f"{platform}.{name}"
                    merged = {**shared, **_options(own, place)}
                    address = merged.pop("to", "")
                    if not address:
                        raise InvalidValue(f"channels_file: expected to = … in [{place}]")
                    _check_answers(merged, place)
                    DeliveryOptions.choose(target=merged, place=f"channels_file, [{place}],")
                    self._named[f"{platform}:{name}"] = Target(platform, address, merged, name)

    @classmethod
    def read(cls, path: str) -> "ChannelsFile":
        """Return the targets of a file; without a path, none. Raises `InvalidValue`."""
        if not path:
            return cls()
        tables = read_tables(path)
        try:
            return cls(tables)
        except InvalidValue as error:
            raise InvalidValue(f"{error.message} (in {path})") from None

    def names(self) -> list[str]:
        """Return the named targets, as they are written."""
        return sorted(self._named)

    def find(self, text: str) -> Target:
        """Return a target by what people write. Raises `InvalidValue`."""
        known = self._named.get(text)
        if known is not None:
            return known
        platform, separator, rest = text.partition("://")
        if not separator or not _PLATFORM.fullmatch(platform) or len(text) > _MAX_TARGET_CHARS:
            names = ", ".join(self.names()) or "none"
            shown = text.partition("?")[0][:80]
            raise InvalidValue(
                f"expected a target like telegram://-100123?token=… or a name of the channels file "
                f"(there are: {names}); got {shown!r}"
            )
        address, _, query = rest.partition("?")
        if platform in ("http", "https"):
            # The address of a webhook may have a query of its own.
            return Target("webhook", text, self._shared.get("webhook", {}))
        if platform == "apprise":
            return Target(platform, rest, self._shared.get(platform, {}))
        given, shared = dict(parse_qsl(query)), self._shared.get(platform, {})
        if _ALLOW in given:
            raise InvalidValue(f"expected no option {_ALLOW} in an address, but in channels_file")
        has_server = platform in _WITH_HOST and "/" in address.strip("/")
        if has_server or not _SERVERS.isdisjoint(given):
            shared = {name: value for name, value in shared.items() if name == _ALLOW}
        # Callbacks are taken for names alone, so an address has buttons only if somebody says so.
        shared = {"buttons": "no", **shared}
        return Target(platform, unquote(address), {**shared, **given})

    def apps(self) -> dict[str, Mapping[str, str]]:
        """Return the options of each app or bot that may send callbacks, by its name in their
        address: a platform for what all its targets share, or the name of a target."""
        named = {name: target.options for name, target in self._named.items()}
        return {**self._shared, **named}

    def of_app(self, platform: str, options: Mapping[str, str]) -> list[Target]:
        """Return the named targets that one app or bot writes to: those with its secrets."""
        app = Target(platform, "", options).app
        return [target for target in self._named.values() if target.app == app]

    def polled(self) -> list[Target]:
        """Return a named target of each app or bot whose platform is asked what people do there:
        those with the option `poll`."""
        found = {
            target.app: target
            for _, target in sorted(self._named.items())
            if target.options.get("poll") in ("yes", "true")
        }
        return list(found.values())

    def named(self, text: str) -> Target:
        """Return a target of the file. Raises `InvalidValue` if it has no such name."""
        if text not in self._named:
            names = ", ".join(self.names()) or "none"
            raise InvalidValue(f"there is no target {text[:80]!r}; there are: {names}")
        return self._named[text]


def read_tables(path: str) -> dict[str, Any]:
    """Return the tables of a channels file as they are written. Raises `InvalidValue`."""
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidValue(f"channels_file: {path} cannot be read: {error!s:.200}") from None


def _host_of(address: str) -> str:
    """Return the name of the server in an address, if it has a path."""
    rest = address.partition("://")[2] if address.startswith(("http:", "https:")) else address
    host, separator, _ = rest.partition("/")
    is_host = bool(separator) and re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", host)
    return host if is_host else "…"


def _check_answers(options: Mapping[str, str], place: str) -> None:
    """Raise `InvalidValue` if the options of signed links are malformed."""
    url, secret = options.get("answer_url", ""), options.get("answer_secret", "")
    if url and not url.startswith(("http://", "https://")):
        raise InvalidValue(f"expected answer_url like https://runs.example.org in [{place}]")
    if url and options.get("people"):
        raise InvalidValue(
            f"expected no answer_url beside people in [{place}]: a link does not say who opens it"
        )
    if bool(url) != bool(secret) or (secret and len(secret) < _MIN_SECRET_CHARS):
        raise InvalidValue(
            f"expected answer_url with an answer_secret of at least {_MIN_SECRET_CHARS} characters "
            f"in [{place}]"
        )


def _options(table: Mapping[str, Any], place: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, list) and all(isinstance(each, str | int) for each in value):
            value = ",".join(map(str, value))
        if not isinstance(value, str | int | float):
            raise InvalidValue(f"channels_file: expected a text for {key} in [{place}]")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if key.endswith(_ENV):
            if text not in os.environ:
                named = text if _VARIABLE.fullmatch(text) else f"that {key} names"
                raise InvalidValue(
                    f"channels_file: [{place}] needs the environment variable {named}"
                )
            found[key.removesuffix(_ENV)] = os.environ[text]
        else:
            found[key] = text
    return found
