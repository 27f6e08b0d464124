"""The source for OpenAI Agents: what agents, models and tools do becomes events.

    @runcast.function
    async def support(prompt: str) -> str:
        result = await runcast.sources.openai_agents.run(agent, prompt)
        return result.final_output

| OpenAI Agents | event |
|---|---|
| an agent takes over, and ends | `step_start`, `step_complete`, with a `step_id` |
| a model's text and reasoning | `content`, `thinking`, with a `message_id` |
| a tool is called, and returns | `tool_call_delta`, `tool_call`, `tool_result` |
| a handoff | the call and result of its tool, and `handoff` with `from` and `to` |
| a model's usage | `usage` |
| a tool that needs approval | a question |
| a model or the run of the agents fails | `error` |

The events have the agent's name. A tool that raises gives the model a text; its result has `ok`
False if that is the text of OpenAI Agents. Chat models have usage only with
`ModelSettings(include_usage=True)`. Agents that a tool runs are not reported by this source,
and their models by `runcast.sources.llm`. Tested with openai-agents 0.24.
"""

import dataclasses
import warnings
from typing import TYPE_CHECKING, Any, Final, TypeVar

from runcast._producing.context import current_writer
from runcast._producing.keeping import as_kept
from runcast._producing.writer import Writer
from runcast.errors import InvalidValue, RuncastError
from runcast.events.vocabulary import as_text
from runcast.sources._agents_recorder import AgentsRecorder
from runcast.sources._interrupting import interrupted
from runcast.sources._model_calls import field_of, parsed
from runcast.sources._packages import check_package

check_package("openai-agents", (0, 24), "openai_agents")

from agents import Agent, RunConfig, Runner, RunResultStreaming, RunState  # noqa: E402 - after the check

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("follow", "run")

ResultT = TypeVar("ResultT", bound=RunResultStreaming)

_CONFIG: Final = {"allow_edit": False}
"""Arguments cannot be changed by an approval."""


async def follow(result: ResultT) -> ResultT:
    """Wait for a streamed run of agents, and report it to the current run.

        result = await follow(Runner.run_streamed(agent, prompt))

    Call it at once, with a result whose events nobody else reads. Outside a run it only waits.

    Returns:
        The same result, complete: with `final_output`, or with `interruptions`.

    Raises what the agents raise, and `InvalidValue` if this is not such a result.
    """
    if not hasattr(result, "stream_events"):
        raise InvalidValue(
            f"expected the result of Runner.run_streamed(…), got {type(result).__name__}"
        )
    writer = current_writer()
    await _follow(result, AgentsRecorder(writer) if writer is not None else None)
    return result


async def run(agent: Any, input: Any, **options: Any) -> RunResultStreaming:  # noqa: A002
    """Run agents, report what they do, and ask the run's watchers for approvals.

    Messages that are sent into the run are given to the agents at the next call of a model, as
    messages of the user. Outside a run the agents run unobserved, and nobody is asked.

    Args:
        agent: the agent that begins.
        input: as for `Runner.run_streamed`: a text, a list of items, or a `RunState`. Each
            question keeps the state as JSON, so the handler that continues a run after its process
            has ended (`resume=`) can pass `await RunState.from_json(agent, kept)`.
        options: those of `Runner.run_streamed`.

    Returns:
        The last result.

    Raises what the agents raise, what `runcast.ask` raises, and `InvalidValue` if `agent` is not
    an agent.
    """
    if not isinstance(agent, Agent):
        raise InvalidValue(
            f"expected an Agent of the package openai-agents, got {type(agent).__name__}"
        )
    writer = current_writer()
    if writer is None:
        unobserved = Runner.run_streamed(agent, input, **options)
        await _follow(unobserved, None)
        return unobserved
    recorder = AgentsRecorder(writer)
    options["run_config"] = _with_inbox(options, writer)
    while True:
        if isinstance(input, RunState):
            await _approve(input, writer)
        result = Runner.run_streamed(agent, input, **options)
        await _follow(result, recorder)
        if not result.interruptions:
            return result
        input = result.to_state()  # noqa: A001 - it takes the place of the input


async def _follow(result: RunResultStreaming, recorder: AgentsRecorder | None) -> None:
    if recorder is None:
        async for _ in result.stream_events():
            pass
        return
    for item in getattr(result, "new_items", ()):  # a call before an approval returns after it
        if item.type == "tool_call_item":
            recorder.know(field_of(item.raw_item, "call_id"), field_of(item.raw_item, "name"))
    queue = getattr(result, "_event_queue", None)
    put: Callable[[Any], None] | None = getattr(queue, "put_nowait", None)
    if put is None:
        warnings.warn(
            "runcast.sources.openai_agents cannot see when events of this version of openai-agents "
            "come: what tools write themselves may come before the calls of these tools, and what "
            "models write may come twice, if runcast.sources.llm is told of their clients too",
            RuntimeWarning,
            stacklevel=3,
        )
    else:
        # Events are read later than they come, when a tool may have written events of its own.
        def put_nowait(event: Any) -> None:
            recorder.take_early(event)
            if recorder.cancelled is not None:
                interruption.interrupt()
            put(event)

        queue.put_nowait = put_nowait  # type: ignore[union-attr]
    is_over = True
    try:
        with interrupted(recorder.writer) as interruption:
            try:
                async for event in result.stream_events():
                    recorder.take(event)
            except BaseException:
                if recorder.cancelled is not None:
                    interruption.take_back()
                    raise recorder.cancelled from None
                raise
        is_over = not result.interruptions
    except Exception as error:
        recorder.fail(error)
        raise
    finally:
        if put is not None:
            del queue.put_nowait  # type: ignore[union-attr]
        recorder.close(is_over=is_over)


async def _approve(state: Any, writer: Writer) -> None:
    """Ask for each approval that a state waits for, and note the answers in it."""
    waiting = [item for item in state.get_interruptions() if not _is_decided(state, item)]
    kept = _kept(state, writer) if waiting else None
    for item in waiting:
        name = str(item.name or "a tool")
        call_id = field_of(item.raw_item, "call_id") or field_of(item.raw_item, "id")
        answer = await writer.ask(
            f"May {item.agent.name} call {name}?",
            action=name,
            args=parsed(field_of(item.raw_item, "arguments")),
            config=_CONFIG,
            interrupt_id=str(call_id or ""),
            agent=item.agent.name,
            keep=kept,
        )
        if answer.approved and answer.type != "response":
            state.approve(item)
        else:
            said = as_text(answer.args) if answer.args is not None else None
            state.reject(item, rejection_message=said or None)


def _is_decided(state: Any, item: Any) -> bool:
    """Return whether the program itself has approved or rejected a call."""
    status = getattr(getattr(state, "_context", None), "get_approval_status", None)
    call_id = field_of(item.raw_item, "call_id")
    if status is None or not call_id:
        return False
    return status(item.name or "", call_id, existing_pending=item) is not None


def _kept(state: Any, writer: Writer) -> object:
    """Return the state as JSON; None, with a warning in the run's log, if it cannot be kept."""
    try:
        kept: object = state.to_json()
        as_kept(kept)
    except Exception as error:  # noqa: BLE001 - whatever the objects of the program raise
        reason = error if isinstance(error, RuncastError) else type(error).__name__
        writer.log(f"the agents' state cannot be kept for a later attempt: {reason}", "warning")
        return None
    return kept


def _with_inbox(options: dict[str, Any], writer: Writer) -> RunConfig:
    """Return the program's configuration, with a filter that adds the messages of the run."""
    given = options.get("run_config") or {}
    config = RunConfig(**given) if isinstance(given, dict) else given
    # With these the provider keeps the conversation, so that it needs each message only once.
    names = ("conversation_id", "previous_response_id", "auto_previous_response_id")
    is_kept_there = any(options.get(name) for name in names)
    theirs = config.call_model_input_filter
    delivered: list[tuple[int, Any]] = []

    async def add_messages(data: Any) -> Any:
        model_input = data.model_data
        if theirs is not None:
            model_input = theirs(data)
            if hasattr(model_input, "__await__"):
                model_input = await model_input
        if writer.mailbox is None:
            return model_input
        items = [*model_input.input]
        if is_kept_there:
            delivered.clear()
        for position, item in delivered:
            items.insert(min(position, len(items)), item)
        for message in await writer.inbox().poll_all():
            item = {"role": "user", "content": as_text(message.data)}
            delivered.append((len(items), item))
            items.append(item)
        return dataclasses.replace(model_input, input=items)

    return dataclasses.replace(config, call_model_input_filter=add_messages)
