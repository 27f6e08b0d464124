"""Secrets that functions declare: where they come from, and where they must not appear.

A secret is only in the environment of the one call that it is for. As a safety net, everything that
a run emits is searched for the values of its secrets. It is only a net: code that wants to reveal a
secret can always spell it differently.
"""

import asyncio
import os
import tomllib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from runcast.errors import InvalidValue, MissingSecret
from runcast.events.plain import encode_line

__all__ = ("HIDDEN", "Redactor", "Secret", "find_secrets", "texts_in")

HIDDEN: Final = "***"
"""The text shown in place of a secret."""

_LEAST_CHARS: Final = 6
"""Shorter values are not searched for, because they occur by chance."""

_MOST_TEXTS: Final = 1000
"""Most texts of inputs that are treated like secrets."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that a function declares."""

    name: str
    description: str = ""
    required: bool = True


async def find_secrets(
    declared: Iterable[Secret],
    given: Mapping[str, str],
    file: str,
    environment: Mapping[str, str] = os.environ,
    in_thread: Callable[..., Awaitable[Any]] = asyncio.to_thread,
) -> dict[str, str]:
    """Return the values of declared secrets: as given, or from the environment or the file.

    Args:
        given: values from the invocation; undeclared names are ignored.
        file: TOML with `NAME = "value"`; "" for no file. It is read each time, so that secrets can
            be changed while the server runs.
        environment: the server's environment when the hub opened.
        in_thread: runs a call in a thread that functions cannot occupy.

    Raises:
        MissingSecret: names every required secret that is missing; an empty value counts as
            missing.
        InvalidValue: the file cannot be read, or a value cannot be in an environment.
    """
    found = {secret.name: _look(secret.name, given, environment) for secret in declared}
    if file and not all(found.values()):
        kept = await in_thread(_read, file)
        found = {name: value or kept.get(name, "") for name, value in found.items()}
    missing = [secret.name for secret in declared if secret.required and not found[secret.name]]
    if missing:
        raise MissingSecret(
            f"expected the secret {' and the secret '.join(missing)}: give it in _secrets, or set "
            "it in the server's environment or its secrets file"
        )
    for name, value in found.items():
        if "\0" in value or not _is_utf8(value):
            raise InvalidValue(f"expected the secret {name} to be UTF-8 without NUL characters")
    return {name: value for name, value in found.items() if value}


def _is_utf8(value: str) -> bool:
    try:  # other bytes of the environment become lone surrogates
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _look(name: str, *places: Mapping[str, str]) -> str:
    return next((place[name] for place in places if place.get(name)), "")


def _read(file: str) -> dict[str, str]:
    try:
        kept = tomllib.loads(Path(file).read_text("utf-8"))
    except OSError as error:
        raise InvalidValue(f"the secrets file cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):  # the parser's message might show a secret
        raise InvalidValue("expected the secrets file to be TOML") from None
    if not all(isinstance(value, str) for value in kept.values()):
        raise InvalidValue('expected the secrets file to consist of lines like NAME = "value"')
    return kept


class Redactor:
    """Hides the values of secrets in a run's output."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        # Single lines of a secret, too, because printed text arrives line by line.
        lines = {line for value in values for line in (value, *value.splitlines())}
        found = {line.strip() for line in lines if len(line.strip()) >= _LEAST_CHARS}
        self._values = sorted(found, key=len, reverse=True)
        self._plain = [value.encode() for value in self._values]
        self._encoded = [encode_line(value)[1:-1] for value in self._values]
        self.longest = max(map(len, self._plain), default=0)
        """Length of the longest secret, bytes."""

    def is_in(self, encoded: bytes) -> bool:
        """Return whether JSON contains a secret."""
        return bool(self._encoded) and any(value in encoded for value in self._encoded)

    def cut(self, line: bytes, most: int) -> int:
        """Return where to cut a text, at most `most` bytes in, without leaving part of a secret."""
        end, before = most, -1
        while end != before:
            before = end
            for secret in self._plain:
                at = line.find(secret, max(0, end - len(secret) + 1), end + len(secret) - 1)
                end = end if at < 0 else at
        return end

    def hide(self, value: Any) -> Any:
        """Return the same JSON value, with secrets hidden in its strings, keys and numbers."""
        if isinstance(value, str):
            for secret in self._values:
                value = value.replace(secret, HIDDEN)
            return value
        if isinstance(value, dict):
            return {self.hide(key): self.hide(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.hide(item) for item in value]
        if isinstance(value, int | float) and self.is_in(msgspec.json.encode(value)):
            return HIDDEN
        return value


def texts_in(value: object) -> Iterator[str]:
    """Yield the texts in a JSON value; at most the first `_MOST_TEXTS`."""
    return islice(_texts_in(value), _MOST_TEXTS)


def _texts_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(item)
