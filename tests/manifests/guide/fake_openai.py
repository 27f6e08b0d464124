"""Stands in for the package: answers with what it was asked, word by word."""

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

__all__ = ("OpenAI",)


class OpenAI:
    """The one call that the guide makes."""

    def __init__(self, api_key: str | None) -> None:
        if api_key != os.environ["OPENAI_API_KEY"]:
            raise ValueError("the key is wrong")
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=_create))


def _create(model: str, messages: list[dict[str, str]], stream: bool) -> Iterator[Any]:
    for word in messages[-1]["content"].split():
        yield SimpleNamespace(choices=[SimpleNamespace(delta=SimpleNamespace(content=f"{word} "))])
    yield SimpleNamespace(choices=[SimpleNamespace(delta=SimpleNamespace(content=None))])
