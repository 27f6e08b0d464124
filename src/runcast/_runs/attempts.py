"""The attempts of a run: what each calls, what continues a run, and with what."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from runcast._functions.function import Function
from runcast._functions.kept_inputs import read_inputs
from runcast._hub.hub import Hub
from runcast._producing.decisions import find_decision
from runcast._producing.keeping import kept_with
from runcast._producing.labels import ANSWERED_LABEL
from runcast._workers.continuation import Continuation
from runcast.events.snapshot import Snapshot, Usage
from runcast.stores.base import LogInfo

__all__ = ("Attempt", "Attempts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call of a function, or of one of its handlers, by a run.

    Attributes:
        function: what is called.
        declared: the function of the run, which may not be what is called.
        attachment: what is stored beside the log.
        arguments: converted, except for a function with its own process.
        continuation: what a handler is called with in a process of its own; None for a first
            attempt.
        secrets: for its environment.
        used: what earlier attempts used of models.
    """

    function: Function[..., Any]
    declared: Function[..., Any]
    attachment: bytes
    arguments: dict[str, Any] = field(default_factory=dict)
    continuation: Continuation | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    used: Sequence[Usage] = ()


class Attempts:
    """Finds what continues runs.

    Args:
        find: returns a function of this process by name, or None.
    """

    def __init__(self, hub: Hub, find: Callable[[str], Function[..., Any] | None]) -> None:
        self._hub = hub
        self._find = find

    async def after_answer(self, info: LogInfo) -> Attempt | None:
        """Return what continues an answered run; None if this process cannot continue it."""
        function = self._find(info.labels.get("function", ""))
        if function is None or function.resume is None:
            return None
        interrupt_id = info.labels[ANSWERED_LABEL]
        answer = await find_decision(self._hub, info.log_id, interrupt_id)
        if answer is None:
            return None
        _, snapshot = await self._hub.present(info.log_id)
        _, stored = await self._hub.store.attachment(info.log_id)
        inputs = read_inputs(stored)
        handler = function.resume
        continuation = Continuation(
            attempt=snapshot.counts.get("started", 0) + 1,
            kept=kept_with(stored, interrupt_id),
            inputs=None if inputs is None else inputs.values,
            left_out={} if inputs is None else inputs.left_out,
            state=copy.deepcopy(snapshot),
            interrupt_id=interrupt_id,
            answer=answer,
        )
        return _handled(function, handler, continuation, stored)


def _handled(
    function: Function[..., Any],
    handler: Function[..., Any],
    continuation: Continuation,
    stored: bytes,
) -> Attempt:
    """Return an attempt that calls a handler of a function."""
    used = continuation.state.usage
    is_apart = handler.isolation == "process"
    if is_apart and all(parameter.name != "state" for parameter in handler.parameters):
        continuation = msgspec.structs.replace(continuation, state=Snapshot())  # it may be long
    return Attempt(
        function=handler,
        declared=function,
        attachment=stored,
        arguments={} if is_apart else continuation.arguments_of(handler),
        continuation=continuation if is_apart else None,
        used=used,
    )
