"""The source for LangChain and LangGraph: what agents, models and tools do becomes events.

    with runcast.sources.langchain.stream(tokens=True):
        answer = agent.invoke({"messages": [("user", "How is the weather?")]})

| LangChain, LangGraph | event |
|---|---|
| a node of a graph begins and ends | `step_start`, `step_complete`, with a `step_id` |
| a model's text and reasoning | `content`, `thinking`, with a `message_id` |
| a tool is called, returns or raises | `tool_call`, `tool_result`, with the provider's `call_id` |
| a model's usage | `usage` |
| a model or a node fails | `error` |
| `dispatch_custom_event` | `custom` |

`inbox_middleware()` brings messages that are sent into a run to its agent.

The events have the node, the agent, and the agents above. Works with `invoke`, `ainvoke`, `stream`
and the rest of them, without changes. Tested with langchain-core 1.8, langchain 1.5, langgraph 1.2.
"""

import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from runcast._producing.context import current_writer
from runcast._producing.messages import Message
from runcast.events.vocabulary import as_text
from runcast.sources._chain_recorder import ChainRecorder
from runcast.sources._graph_chunks import Call, read_usage
from runcast.sources._packages import check_package
from runcast.sources._scope import Scope
from runcast.sources._telling import warn_once

check_package("langchain-core", (1, 4), "langchain")

from langchain_core.callbacks import BaseCallbackHandler  # noqa: E402 - after the check
from langchain_core.messages import HumanMessage  # noqa: E402
from langchain_core.tracers.context import register_configure_hook  # noqa: E402

if TYPE_CHECKING:
    from contextvars import ContextVar

    from langchain.agents.middleware import AgentMiddleware
    from langchain_core.outputs import LLMResult

    from runcast._producing.writer import Writer

__all__ = ("inbox_middleware", "stream")


@contextmanager
def stream(*, tokens: bool = False) -> Iterator[None]:
    """Report what LangChain and LangGraph do in the block, in the current run; outside a run, in
    all.

    Args:
        tokens: ask every model for its answer in pieces, also where the program calls `invoke`.
            This can change what the program gets: some providers report no usage then, unless the
            model is told to (`ChatOpenAI(stream_usage=True)`). Without it, pieces come from models
            that stream anyway (`streaming=True`, `stream()`, `astream()`), and all other answers
            come whole.
    """
    if tokens:
        _check_tokens()
    with _SCOPE.entered(_TOKENS if tokens else _WHOLE):
        yield


def inbox_middleware() -> "AgentMiddleware[Any, Any, Any]":
    """Return a middleware with which an agent reads its run's inbox: `create_agent(middleware=…)`.

    Messages that are sent into the run come to the agent before its next call of a model, as
    messages of the user: a text as it is, other data as JSON. They are acknowledged before the call
    after that, or when the run ends. A message that comes again, because the process died before,
    replaces the one with its id in the agent's state. Outside a run the middleware does nothing.

    Raises:
        ImportError: langchain is missing or too old; the message has the line that installs it.
    """
    check_package("langchain", (1, 0))
    from langchain.agents.middleware import AgentMiddleware

    class RuncastInbox(AgentMiddleware[Any, Any, Any]):
        """Adds the messages of the run's inbox to the agent's state."""

        def before_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
            """Read the inbox in a thread."""
            writer = current_writer()
            return _said(writer.inbox().poll_all()) if writer is not None else None

        async def abefore_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
            """Read the inbox in a coroutine."""
            writer = current_writer()
            return _said(await writer.inbox().poll_all()) if writer is not None else None

    return RuncastInbox()


def _check_tokens() -> None:
    """Warn if this version of LangChain would not stream for our handler."""
    try:
        from langchain_core.tracers._streaming import _StreamingCallbackHandler

        is_known = issubclass(_TokenHandler, _StreamingCallbackHandler)
    except (ImportError, TypeError):
        is_known = False
    if not is_known:
        warn_once(
            "this version of langchain-core streams in a way that runcast does not know, so "
            "answers come whole; use a newer runcast, or models with streaming=True"
        )


def _create_agent(model: Any, tools: list[Any], name: str, prompt: str) -> Any:
    """Return an agent for the demo: only this module imports LangChain."""
    check_package("langchain", (1, 0))
    from langchain.agents import create_agent

    # Without checkpoints of its own, so that one node may call it several times.
    return create_agent(model, tools=tools, name=name, system_prompt=prompt, checkpointer=False)


def _said(messages: list[Message]) -> dict[str, Any] | None:
    said = [HumanMessage(as_text(message.data), id=message.id) for message in messages]
    return {"messages": said} if said else None


_SCOPE: Final = Scope()
_TOKENS, _WHOLE = 0, 1
"""Levels of the scope: a run that asks for tokens gets everything else, too."""


class _Handler(BaseCallbackHandler):
    """Passes LangChain's callbacks to the recorder of one run."""

    run_inline = True
    """So that callbacks come in order, in the context of the code that calls a model."""

    def __init__(self, recorder: ChainRecorder) -> None:
        self._recorder = recorder

    # A call that another handler of this run has begun to record is left to that handler.

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record the start of a chain."""
        if not self._recorder.is_open(run_id):
            name = as_text(kwargs.get("name"))
            self._recorder.chain_started(run_id, parent_run_id, name, metadata or {}, inputs)

    def on_chain_end(self, outputs: dict[str, Any], *, run_id: UUID, **kwargs: Any) -> None:
        """Record the end of a chain."""
        self._recorder.chain_ended(run_id, outputs)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Record that a chain failed."""
        self._recorder.chain_failed(run_id, error)

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record the call of a chat model."""
        self._begin_model(run_id, parent_run_id, tags, metadata)

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record the call of a model that completes a text."""
        self._begin_model(run_id, parent_run_id, tags, metadata)

    def _begin_model(
        self,
        call: UUID,
        parent: UUID | None,
        tags: list[str] | None,
        metadata: Mapping[str, Any] | None,
    ) -> None:
        if not self._recorder.is_open(call):
            self._recorder.model_started(call, parent, self, metadata or {}, tags or ())

    def on_llm_new_token(
        self, token: str | list[Any], *, chunk: Any = None, run_id: UUID, **kwargs: Any
    ) -> None:
        """Record a piece of an answer."""
        self._recorder.token(run_id, self, token, getattr(chunk, "message", None))

    def on_stream_event(self, event: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Record a piece of an answer in the newer form."""
        self._recorder.block(run_id, self, event)

    def on_llm_end(self, response: "LLMResult", *, run_id: UUID, **kwargs: Any) -> None:
        """Record the end of an answer."""
        first = next((one for group in response.generations for one in group), None)
        message = getattr(first, "message", None)
        more = getattr(message, "response_metadata", None) or {}
        output = response.llm_output or {}
        name = more.get("model_name") or more.get("model") or output.get("model_name")
        usage = getattr(message, "usage_metadata", None) or output.get("token_usage")
        answer = message if message is not None else getattr(first, "text", "")
        self._recorder.model_ended(run_id, answer, as_text(name), read_usage(usage))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Record that an answer broke off."""
        self._recorder.model_failed(run_id, error)

    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record the call of a tool."""
        if not self._recorder.is_open(run_id):
            tool = as_text(kwargs.get("name") or (serialized or {}).get("name")) or "tool"
            args = inputs if inputs is not None else input_str
            call_id = as_text(kwargs.get("tool_call_id"))
            self._recorder.tool_started(
                run_id, parent_run_id, metadata or {}, Call(call_id, tool, args)
            )

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Record a tool's result."""
        self._recorder.tool_ended(run_id, output)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Record that a tool raised."""
        self._recorder.tool_failed(run_id, error)

    def on_custom_event(
        self,
        name: str,
        data: Any,
        *,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record an event that the program dispatched."""
        self._recorder.custom(metadata or {}, as_text(name), data)


class _TokenHandler(_Handler):
    """A handler for which models stream: LangChain looks for these two methods."""

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        """Return a chain's output as it is."""
        return output

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Return a chain's output as it is."""
        return output


class _Handlers:
    """The handlers of all runs: LangChain asks for the one of the code that calls it.

    Stands in for a context variable, because the source may be on for runs in other contexts.
    """

    name: Final = "runcast_langchain"

    def __init__(self) -> None:
        self._of: weakref.WeakKeyDictionary[Writer, tuple[_Handler, _TokenHandler]]
        self._of = weakref.WeakKeyDictionary()

    def get(self) -> _Handler | None:
        """Return the handler for the current run; None where the source is off."""
        writer = _SCOPE.writer(_WHOLE)
        if writer is None:
            return None
        handlers = self._of.get(writer)
        if handlers is None:
            recorder = ChainRecorder(writer)
            handlers = self._of.setdefault(writer, (_Handler(recorder), _TokenHandler(recorder)))
        return handlers[_SCOPE.writer(_TOKENS) is not None]


register_configure_hook(
    cast("ContextVar[BaseCallbackHandler | None]", _Handlers()), inheritable=True
)
