"""The attempts of a run: what each calls, what continues a run, and with what."""

import copy
import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from runcast._functions.function import Function
from runcast._functions.kept_inputs import KeptInputs, read_inputs
from runcast._functions.secrets import Secret
from runcast._hub.hub import Hub
from runcast._producing.decisions import find_decision
from runcast._producing.keeping import kept_with, last_kept
from runcast._producing.labels import ANSWERED_LABEL
from runcast._runs.recoverable import Recoverable
from runcast._workers.continuation import Continuation
from runcast.events.snapshot import Snapshot, Usage
from runcast.stores.base import LogInfo

__all__ = ("Attempt", "Attempts", "FindSecrets")

FindSecrets = Callable[[Iterable[Secret], Mapping[str, str]], Awaitable[dict[str, str]]]
"""See `runcast._functions.secrets.find_secrets`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call of a function, or of one of its handlers, by a run.

    Attributes:
        function: what is called.
        declared: the function of the run, which may not be what is called.
        attachment: what is stored beside the log.
        number: 1 for the first attempt.
        is_recovered: whether it continues after a crash, so that what an earlier attempt was at is
            over.
        labels: are set when it begins.
        arguments: converted, except for a function with its own process.
        continuation: what a handler is called with in a process of its own; None for a function.
        secrets: for its environment.
        used: what earlier attempts used of models.
    """

    function: Function[..., Any]
    declared: Function[..., Any]
    attachment: bytes
    number: int = 1
    is_recovered: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    continuation: Continuation | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    used: Sequence[Usage] = ()

    def started(self) -> dict[str, Any]:
        """Return the data of the event with which the attempt begins."""
        data: dict[str, Any] = {"function": self.function.name}
        if self.number > 1:
            data["attempt"] = self.number
        if self.is_recovered:
            data["recovered"] = True
        return data


class Attempts:
    """Finds what continues runs.

    Args:
        find: returns a function of this process by name, or None.
        find_secrets: returns the values of the secrets that a function declares.
    """

    def __init__(
        self,
        hub: Hub,
        find: Callable[[str], Function[..., Any] | None],
        find_secrets: FindSecrets,
    ) -> None:
        self._hub = hub
        self._find = find
        self._find_secrets = find_secrets

    async def first(self, info: LogInfo) -> Attempt | None:
        """Return the first attempt of a run that was begun elsewhere; None if this process does not
        know its function.

        Raises:
            InvalidInputs: the function does not accept the inputs.
            MissingSecret: a secret that it needs is not in the environment of this process.
        """
        function = self._find(info.labels.get("function", ""))
        if function is None:
            return None
        _, stored = await self._hub.store.attachment(info.log_id)
        inputs = read_inputs(stored)
        convert = function.check if function.isolation == "process" else function.convert
        return Attempt(
            function=function,
            declared=function,
            attachment=stored,
            arguments=convert({} if inputs is None else inputs.values),
            secrets=await self._find_secrets(function.secrets, {}),
        )

    async def after_answer(self, info: LogInfo) -> Attempt | None:
        """Return what continues an answered run; None if this process cannot continue it."""
        function = self._find(info.labels.get("function", ""))
        if function is None or function.resume is None:
            return None
        interrupt_id = info.labels[ANSWERED_LABEL]
        answer = await find_decision(self._hub, info.log_id, interrupt_id)
        if answer is None:
            return None
        past = await self._past(info)
        continuation = Continuation(
            attempt=past.state.attempt + 1,
            kept=kept_with(past.attachment, interrupt_id),
            inputs=None if past.inputs is None else past.inputs.values,
            left_out={} if past.inputs is None else past.inputs.left_out,
            state=past.state,
            interrupt_id=interrupt_id,
            answer=answer,
        )
        known = Recoverable.of(info.labels)
        labels = {} if known is None else known._replace(since=None, was_left=False).labels()
        return _handled(function, function.resume, continuation, past.attachment, labels)

    async def after_crash(self, info: LogInfo, known: Recoverable) -> Attempt | None:
        """Return what continues a run after a crash; None if this process cannot continue it.

        Raises:
            InvalidInputs: the function does not accept what is kept of the inputs, although it did
                so when the run began.
        """
        function = self._find(info.labels.get("function", ""))
        if function is None or not function.recovers:
            return None
        past = await self._past(info)
        has_begun = past.state.started_at is not None
        labels = known.continued(has_begun=has_begun).labels()
        number = past.state.attempt + 1 if has_begun else 1
        if function.recover is None or not (has_begun or past.lacks_inputs):
            values = {} if past.inputs is None else past.inputs.values
            convert = function.check if function.isolation == "process" else function.convert
            return Attempt(
                function=function,
                declared=function,
                attachment=past.attachment,
                number=number,
                is_recovered=has_begun,
                labels=labels,
                arguments=convert(values),
                used=past.state.usage,
            )
        continuation = Continuation(
            attempt=number,
            kept=last_kept(past.attachment),
            inputs=None if past.inputs is None else past.inputs.values,
            left_out={} if past.inputs is None else past.inputs.left_out,
            state=past.state,
        )
        handled = _handled(function, function.recover, continuation, past.attachment, labels)
        return dataclasses.replace(handled, is_recovered=has_begun)

    async def _past(self, info: LogInfo) -> "_Past":
        _, snapshot = await self._hub.present(info.log_id)
        _, stored = await self._hub.store.attachment(info.log_id)
        return _Past(copy.deepcopy(snapshot), stored, read_inputs(stored))


class _Past(NamedTuple):
    """What earlier attempts of a run left."""

    state: Snapshot
    attachment: bytes
    inputs: KeptInputs | None

    @property
    def lacks_inputs(self) -> bool:
        """Whether some input was not kept."""
        return self.inputs is None or bool(self.inputs.left_out or self.inputs.dropped)


def _handled(
    function: Function[..., Any],
    handler: Function[..., Any],
    continuation: Continuation,
    stored: bytes,
    labels: Mapping[str, str],
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
        number=continuation.attempt,
        labels=labels,
        arguments={} if is_apart else continuation.arguments_of(handler),
        continuation=continuation if is_apart else None,
        used=used,
    )
