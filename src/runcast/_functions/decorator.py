"""How a callable becomes a function: by the decorator, or when it is started directly."""

from collections.abc import Callable, Mapping
from types import MappingProxyType, MethodType
from typing import Any, ParamSpec, TypeVar, overload

from runcast._functions.function import Function, Isolation
from runcast._functions.handlers import MAX_ATTEMPTS
from runcast._functions.hints import behind
from runcast.errors import InvalidValue

__all__ = ("as_function", "function")

P = ParamSpec("P")
R = TypeVar("R")


@overload
def function(call: Callable[P, R]) -> Function[P, R]: ...
@overload
def function(
    *,
    name: str = "",
    description: str | None = None,
    resume: Callable[..., object] | None = None,
    recover: bool | Callable[..., object] = False,
    max_attempts: int = ...,
    max_runs: int = 0,
    max_tokens: int = 0,
    max_cost: float = 0.0,
    events: Mapping[str, Any] = ...,
    isolation: Isolation = ...,
    preload: bool = ...,
    files: Mapping[str, object] = ...,
    store_inputs: bool = ...,
) -> Callable[[Callable[P, R]], Function[P, R]]: ...
def function(
    call: Callable[P, R] | None = None,
    *,
    name: str = "",
    description: str | None = None,
    resume: Callable[..., object] | None = None,
    recover: bool | Callable[..., object] = False,
    max_attempts: int = MAX_ATTEMPTS,
    max_runs: int = 0,
    max_tokens: int = 0,
    max_cost: float = 0.0,
    events: Mapping[str, Any] = MappingProxyType({}),
    isolation: Isolation = "thread",
    preload: bool = True,
    files: Mapping[str, object] = MappingProxyType({}),
    store_inputs: bool = True,
) -> Function[P, R] | Callable[[Callable[P, R]], Function[P, R]]:
    """Make a function invocable by name: `@runcast.function`, with or without arguments.

    Sync and async generators, coroutine functions and plain functions may be decorated. The result
    can still be called directly.

    Args:
        name: the name for invocations; by default the function's own.
        description: by default the docstring.
        resume: continues a run whose process ended while the run waited for an answer; called with
            `interrupt_id` and `answer` in the same run, and with those of `kept`, `inputs`,
            `attempt` and `state` that it takes. Without it such a run is lost.
        recover: continues a run after a crash, in the same run: True calls the function again with
            the same inputs, a handler is called with those of `kept`, `inputs`, `attempt` and
            `state` that it takes. By default such a run is lost.
        max_attempts: how often a run continues after a crash, before it fails with
            `too_many_attempts`.
        max_runs: most runs of this function at once; more wait in the queue. 0 uses the setting
            `max_runs_per_function`.
        max_tokens: tokens that a run may use, input and output together, as its `usage` events say;
            a run that uses more is stopped and fails with `budget_exceeded`. 0 is no limit.
        max_cost: the same for the cost, in the currency of the prices (the setting `prices_file`).
        events: its own event types, each with the Python type of its `data`. They appear in
            `GET /functions` and `/openapi.json`; nothing is checked.
        isolation: "process" gives each run its own process, which shares nothing with others and
            can be killed; the function must then be defined at the top of a module, which that
            process imports. "thread" runs it here: in a thread, or on the loop if it is async.
        preload: whether its process may be forked from one that has imported the module. False
            gives each run a new interpreter, which imports the module. Means nothing for threads.
        files: the groups of files that it takes and makes, written as in a manifest; see
            `file_groups`. Its input and output files are checked against them.
        store_inputs: whether the inputs of its runs are kept, without secrets, for clients that may
            see the run.

    Raises what `Function` raises.
    """
    if call is not None:
        return Function(call)
    return lambda decorated: Function(
        decorated,
        name=name,
        description=description,
        resume=resume,
        recover=recover,
        max_attempts=max_attempts,
        max_runs=max_runs,
        max_tokens=max_tokens,
        max_cost=max_cost,
        events=events,
        isolation=isolation,
        preload=preload,
        files=files,
        store_inputs=store_inputs,
    )


def as_function(call: Callable[..., Any]) -> Function[..., Any]:
    """Return a callable as a function: itself if it is one, or with the options of the function
    that it leads to.

    Raises what `Function` raises, and:
        InvalidValue: the callable is a `partial` of a function with its own process.
    """
    if isinstance(call, Function):
        return call
    if isinstance(call, MethodType) and isinstance(call.__func__, Function):
        return call.__func__.__get__(call.__self__)
    inner = behind(call)
    if isinstance(inner, MethodType):
        inner = inner.__func__
    if call is inner or not isinstance(inner, Function):
        return Function(call)
    if inner.isolation == "process":
        raise InvalidValue(
            f"expected {inner.name!r} itself, not its partial, which the process does not "
            "have; give the inputs to its run"
        )
    return Function(
        call,
        name=inner.name,
        description=inner.description,
        resume=inner.resume,
        recover=inner.recover or inner.recovers,
        max_attempts=inner.max_attempts,
        max_runs=inner.max_runs,
        max_tokens=inner.budget.max_tokens,
        max_cost=inner.budget.max_cost,
        events=inner.declared_events,
        files=inner.declared_files,
        store_inputs=inner.store_inputs,
    )
