"""The calls of the `anthropic` package."""

from typing import Any, Final

from runcast.sources._anthropic_reader import MessageReader, read_message, reader_for
from runcast.sources._client_calls import scope_of
from runcast.sources._model_calls import ModelCall
from runcast.sources._packages import check_package

check_package("anthropic", (2,), source="llm")

import anthropic  # noqa: E402 - after the check that it is installed
from anthropic._base_client import AsyncAPIClient, SyncAPIClient  # noqa: E402

__all__ = ("SCOPE",)


class _Anthropic:
    """What the client of Anthropic has of its own."""

    def reader_for(self, item: Any, call: ModelCall) -> MessageReader | None:
        return reader_for(item, call)

    def is_call(self, options: Any) -> bool:
        path: str = options.url.partition("?")[0]
        return bool(options.method == "post") and path.endswith("/messages")

    def read_whole(self, call: ModelCall, answer: Any) -> None:
        if getattr(answer, "type", None) == "message":
            read_message(call, answer)


SCOPE: Final = scope_of(
    _Anthropic(), (anthropic.Stream, anthropic.AsyncStream), (SyncAPIClient, AsyncAPIClient)
)
"""Where the client is recorded."""
