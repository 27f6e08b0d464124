"""The source for models: calls of the clients of OpenAI and Anthropic become events.

    runcast.sources.llm.install()

    with runcast.run("poem"):
        for chunk in client.chat.completions.create(model="gpt-5", messages=…, stream=True):
            ...

    content {"text": "Roses ", "index": 0, "message_id": "chatcmpl-1"}
    usage {"model": "gpt-5", "input_tokens": 11, "output_tokens": 24}

| the model | event |
|---|---|
| text, refusal | `content`, with the `message_id` of the provider |
| reasoning | `thinking`, with the same |
| a tool call | `tool_call_delta` for each piece of its arguments, then `tool_call` |
| usage | `usage` |
| an error, in an answer or instead of one | `error` with the provider's code; partial text stays |

Recorded are chat completions, Responses and messages, sync and async, streamed or whole. A whole
answer becomes one piece. Streamed chat completions have usage only with
`stream_options={"include_usage": True}`. Outside a run nothing is recorded, and nothing that an
adapter of a framework records. The program gets the same answers and exceptions as without this
source.

If the run is cancelled while a call streams, the connection is closed at once. A thread that waits
for the beginning of an answer notices it when the answer begins.

Tested with openai 2.54 and 3.57, and anthropic 2.14.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Final

from runcast.errors import InvalidValue
from runcast.sources._scope import Scope

__all__ = ("install", "stream", "uninstall")

_CLIENTS: Final = ("openai", "anthropic")


@contextmanager
def stream(*clients: str) -> Iterator[None]:
    """Record calls of models inside the block, in the current run; outside a run, in all.

    Args:
        clients: `"openai"`, `"anthropic"`; by default those that are installed, which imports them.

    Raises:
        InvalidValue: a client is unknown.
        ImportError: a named client, or every client, is missing or too old; the message has the
            line that installs it.
    """
    with ExitStack() as entered:
        for scope in _scopes(clients):
            entered.enter_context(scope.entered())
        yield


def install(*clients: str) -> None:
    """Record calls of models in every run, until `uninstall`. May be called again.

    Args and errors: see `stream`.
    """
    for scope in _scopes(clients):
        scope.keep()


def uninstall() -> None:
    """Take `install` back. Blocks of `stream` still record. May be called again."""
    for client in _CLIENTS:
        module = sys.modules.get(_module_of(client))
        if module is not None:
            module.SCOPE.release()


def _module_of(client: str) -> str:
    return f"runcast.sources._{client}_client"


def _scopes(clients: tuple[str, ...]) -> list[Scope]:
    for client in clients:
        if client not in _CLIENTS:
            raise InvalidValue(f"expected clients of {', '.join(_CLIENTS)}, got {client[:80]!r}")
    chosen = clients or tuple(name for name in _CLIENTS if find_spec(name) is not None)
    if not chosen:
        raise ImportError(
            "runcast.sources.llm needs a client of models, and none is installed: "
            "pip install openai, or pip install anthropic"
        )
    return [importlib.import_module(_module_of(name)).SCOPE for name in dict.fromkeys(chosen)]
