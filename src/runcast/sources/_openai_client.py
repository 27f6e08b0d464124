"""The calls of the `openai` package."""

from typing import Any, Final

from runcast.sources._client_calls import scope_of
from runcast.sources._model_calls import ModelCall
from runcast.sources._openai_readers import (
    ChatReader,
    ResponseReader,
    read_chat,
    read_response,
    reader_for,
)
from runcast.sources._packages import check_package

check_package("openai", (2,), source="llm")

import openai  # noqa: E402 - after the check that it is installed
from openai._base_client import AsyncAPIClient, SyncAPIClient  # noqa: E402
from openai._legacy_response import LegacyAPIResponse  # noqa: E402

__all__ = ("SCOPE",)


class _OpenAI:
    """What the client of OpenAI has of its own."""

    def reader_for(self, item: Any, call: ModelCall) -> ChatReader | ResponseReader | None:
        return reader_for(item, call)

    def is_call(self, options: Any) -> bool:
        path: str = options.url.partition("?")[0]
        return bool(options.method == "post") and path.endswith(("/chat/completions", "/responses"))

    def read_whole(self, call: ModelCall, answer: Any) -> None:
        if isinstance(answer, LegacyAPIResponse):  # of `with_raw_response`, read already
            answer = answer.parse()
        kind = getattr(answer, "object", None)
        if kind == "chat.completion" or hasattr(answer, "choices"):
            read_chat(call, answer)
        elif kind == "response":
            read_response(call, answer)


SCOPE: Final = scope_of(
    _OpenAI(), (openai.Stream, openai.AsyncStream), (SyncAPIClient, AsyncAPIClient)
)
"""Where the client is recorded."""
