"""The source for pydantic-ai: what an agent, its models and its tools do becomes events.

    agent = Agent("openai:gpt-5", capabilities=[runcast.sources.pydantic_ai.Reporting()])

    @runcast.function
    async def answer(prompt: str) -> str:
        return (await agent.run(prompt)).output

| pydantic-ai | event |
|---|---|
| an agent begins and ends | `step_start`, `step_complete` |
| a model's text and reasoning | `content`, `thinking`, with a `message_id` |
| a tool is called, and returns | `tool_call_delta`, `tool_call`, `tool_result` |
| a model's usage | `usage` |
| a tool that needs approval | a question |
| a model fails | `error` |

The events have the agent's name. Tested with pydantic-ai 2.68.
"""

import itertools
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    nullcontext,
)
from functools import partial
from typing import Any, Final

from runcast._producing.context import current_writer
from runcast._producing.keeping import as_kept
from runcast._producing.writer import Writer
from runcast.errors import RuncastError
from runcast.events.vocabulary import as_text
from runcast.sources._interrupting import interrupted, interruptible
from runcast.sources._packages import check_package
from runcast.sources._pydantic_recorder import PydanticRecorder
from runcast.sources._recorded_calls import RecordedCall, calls_recorded
from runcast.sources._telling import tell

check_package("pydantic-ai-slim", (2, 60), "pydantic_ai")

import pydantic_ai  # noqa: E402 - after the check that it is installed
from pydantic_ai.capabilities import AbstractCapability  # noqa: E402
from pydantic_ai.messages import ModelMessagesTypeAdapter  # noqa: E402
from pydantic_ai.models.wrapper import WrapperModel  # noqa: E402

__all__ = ("Reporting",)

_STEPS: Final = itertools.count(1)
"""Numbers of steps: agents of one name may run at the same time."""


class Reporting(AbstractCapability[Any]):
    """Reports an agent to the run in which it works. Outside a run it does nothing.

    - Answers of models are streamed, also with `agent.run()`.
    - A tool that requires approval becomes a question. Its answer may edit the arguments; a
      rejection with a text passes the text to the model. The question keeps the messages of the
      conversation as JSON for the handler that continues the run (`resume=`), which passes them
      to `agent.run(message_history=…)`, without a prompt.
    - Messages that are sent into the run become messages of the user, at the next call of a model.
    """

    def __init__(self) -> None:
        self._recorder: PydanticRecorder | None = None

    async def for_run(self, ctx: Any) -> "Reporting":
        """Return a capability of its own for each run of the agent."""
        mine = type(self)()
        writer = current_writer()
        if writer is not None:
            mine._recorder = PydanticRecorder(writer, _name(ctx))
        return mine

    async def wrap_run(self, ctx: Any, *, handler: Any) -> Any:
        """Report the agent as a step."""
        writer = current_writer()
        if writer is None or self._recorder is None:
            return await handler()
        name, step_id = _name(ctx), str(next(_STEPS))
        place: Any = {"step_id": step_id, "node": name, "agent": name}
        tell(writer, partial(writer.step_start, name, **place))
        try:
            return await handler()
        finally:
            tell(writer, partial(writer.step_complete, name, **place))

    async def wrap_run_event_stream(
        self, ctx: Any, *, stream: AsyncIterable[Any]
    ) -> AsyncIterator[Any]:
        """Report the events of the agent, each before it is passed on."""
        recorder, step = self._recorder, f"{ctx.run_id}.{ctx.run_step}"
        events = stream if recorder is None else interruptible(stream, recorder.writer)
        try:
            async with aclosing(events):  # type: ignore[type-var]
                async for event in events:
                    if recorder is not None:
                        recorder.take(step, event)
                    yield event
        except Exception as error:
            if recorder is not None:
                recorder.fail(error)
            raise

    async def before_model_request(self, ctx: Any, request_context: Any) -> Any:
        """Give the agent the messages that were sent into the run."""
        writer = current_writer()
        if writer is not None and writer.mailbox is not None:
            for message in await writer.inbox().poll_all():
                ctx.enqueue(as_text(message.data))
        return request_context

    def get_wrapper_model(self, model: Any) -> Any:
        """Have no other source report the model's calls, and interrupt them."""
        return _ReportedModel(model) if self._recorder is not None else None

    async def after_model_request(self, ctx: Any, *, request_context: Any, response: Any) -> Any:
        """Report what the call used."""
        if self._recorder is not None:
            self._recorder.usage(response)
        return response

    async def on_model_request_error(
        self, ctx: Any, *, request_context: Any, error: Exception
    ) -> Any:
        """Report that the model has failed."""
        if self._recorder is not None:
            self._recorder.fail(error)
        raise error

    async def on_tool_execute_error(
        self, ctx: Any, *, call: Any, tool_def: Any, args: Any, error: Exception
    ) -> Any:
        """Report that a tool has raised: it has no result."""
        if self._recorder is not None:
            self._recorder.raised(call, error)
        raise error

    async def handle_deferred_tool_calls(self, ctx: Any, *, requests: Any) -> Any:
        """Ask for each approval."""
        writer = current_writer()
        if writer is None or not requests.approvals:
            return None
        kept = _kept(ctx.messages, writer)
        decided = {}
        for call in requests.approvals:
            answer = await writer.ask(
                f"May {_name(ctx)} call {call.tool_name}?",
                action=call.tool_name,
                args=call.args_as_dict(),
                interrupt_id=call.tool_call_id,
                agent=_name(ctx),
                keep=kept,
            )
            decided[call.tool_call_id] = _decision(answer)
        return pydantic_ai.DeferredToolResults(approvals=decided)


class _ReportedModel(WrapperModel):
    """A model whose calls are reported by the agent."""

    async def request(self, *args: Any, **kwargs: Any) -> Any:
        with calls_recorded(), _interrupted():
            return await super().request(*args, **kwargs)

    @asynccontextmanager
    async def request_stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        call = RecordedCall()
        try:
            async with AsyncExitStack() as entered:
                with _interrupted():
                    opening = super().request_stream(*args, **kwargs)
                    response = await entered.enter_async_context(opening)
                yield response
        finally:
            call.end()


def _interrupted() -> AbstractContextManager[object]:
    writer = current_writer()
    return interrupted(writer) if writer is not None else nullcontext()


def _name(ctx: Any) -> str:
    return getattr(ctx.agent, "name", None) or "agent"


def _decision(answer: Any) -> Any:
    if not answer.approved or answer.type == "response":
        said = as_text(answer.args) if answer.args is not None else ""
        return pydantic_ai.ToolDenied(said) if said else pydantic_ai.ToolDenied()
    if answer.type == "edit" and isinstance(answer.args, dict):
        return pydantic_ai.ToolApproved(override_args=answer.args)
    return pydantic_ai.ToolApproved()


def _kept(messages: Any, writer: Writer) -> object:
    """Return the messages as JSON; None, with a warning in the run's log, if that is impossible."""
    try:
        kept: object = ModelMessagesTypeAdapter.dump_python(messages, mode="json")
        as_kept(kept)
    except Exception as error:  # noqa: BLE001 - whatever the objects of the program raise
        reason = error if isinstance(error, RuncastError) else type(error).__name__
        writer.log(f"the messages cannot be kept for a later attempt: {reason}", "warning")
        return None
    return kept
