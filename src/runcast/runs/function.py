"""Functions that can be invoked by name: the decorator, the kind, and the inputs they take."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, get_type_hints, overload

import msgspec

from runcast.errors import InvalidInputs, InvalidValue
from runcast.events.position import is_run_id

__all__ = ("Function", "Kind", "function")

P = ParamSpec("P")
R = TypeVar("R")

Kind = Literal["generator", "async_generator", "coroutine", "plain"]

_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One input: its name, what converts a JSON value to it, and its schema."""

    name: str
    type: Any
    required: bool
    default: Any
    schema: Mapping[str, Any]


class Function(Generic[P, R]):
    """A callable with a name and a schema. Calling it calls the function itself.

    Raises:
        InvalidValue: the name is malformed, or the function takes `*args`.
    """

    def __init__(
        self,
        call: Callable[P, R],
        *,
        name: str = "",
        description: str | None = None,
        resume: Callable[..., object] | None = None,
    ) -> None:
        self.call = call
        self.resume = resume
        self.name = name or getattr(call, "__name__", type(call).__name__)
        if not is_run_id(self.name):
            raise InvalidValue(f"expected a function name like 'count_words', got {self.name!r}")
        documented = inspect.getdoc(call) or ""
        self.description = documented if description is None else description
        self.kind = _kind(call)
        self.parameters = _parameters(call, self.name)
        self.takes_more = any(
            parameter.kind is parameter.VAR_KEYWORD
            for parameter in inspect.signature(call).parameters.values()
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.call(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Function {self.name} ({self.kind})>"

    @property
    def is_streaming(self) -> bool:
        """Whether it yields what it does as it goes."""
        return self.kind in ("generator", "async_generator")

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the inputs."""
        return {
            "type": "object",
            "properties": {parameter.name: dict(parameter.schema) for parameter in self.parameters},
            "required": [p.name for p in self.parameters if p.required],
            "additionalProperties": self.takes_more,
        }

    def convert(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return keyword arguments made from JSON inputs.

        Raises:
            InvalidInputs: naming everything that is wrong, not only the first of it.
        """
        arguments: dict[str, Any] = {}
        problems: list[str] = []
        for parameter in self.parameters:
            value = inputs.get(parameter.name, _MISSING)
            if value is _MISSING:
                if parameter.required:
                    problems.append(f"{parameter.name}: required, not given")
                continue
            try:
                arguments[parameter.name] = msgspec.convert(value, parameter.type)
            except msgspec.ValidationError as error:
                problems.append(f"{parameter.name}: {error}")
        known = {parameter.name for parameter in self.parameters}
        for name in inputs.keys() - known:
            if self.takes_more:
                arguments[name] = inputs[name]
            else:
                problems.append(f"{name}: there is no such input")
        if problems:
            takes = ", ".join(parameter.name for parameter in self.parameters) or "none"
            raise InvalidInputs(
                f"the inputs of {self.name!r} are wrong: {'; '.join(sorted(problems))} "
                f"(it takes: {takes})",
                tuple(sorted(problems)),
            )
        return arguments


@overload
def function(call: Callable[P, R]) -> Function[P, R]: ...
@overload
def function(
    *,
    name: str = "",
    description: str | None = None,
    resume: Callable[..., object] | None = None,
) -> Callable[[Callable[P, R]], Function[P, R]]: ...
def function(
    call: Callable[P, R] | None = None,
    *,
    name: str = "",
    description: str | None = None,
    resume: Callable[..., object] | None = None,
) -> Function[P, R] | Callable[[Callable[P, R]], Function[P, R]]:
    """Make a function invocable by name: `@runcast.function`, with or without arguments.

    Sync and async generators, coroutine functions and plain functions may be decorated. What
    remains is callable as before.

    Args:
        name: what it is invoked by; its own name if not given.
        description: its docstring if not given.
        resume: goes on with a run whose process ended while it waited for an answer; called with
            `interrupt_id` and `answer` in the same run. Without it such a run is lost.
    """
    if call is not None:
        return Function(call)
    return lambda decorated: Function(decorated, name=name, description=description, resume=resume)


def _kind(call: Callable[..., object]) -> Kind:
    target = call if inspect.isroutine(call) else getattr(call, "__call__", call)  # noqa: B004
    while hasattr(target, "func") and not inspect.isroutine(target):
        target = target.func  # functools.partial
    if inspect.isasyncgenfunction(target):
        return "async_generator"
    if inspect.isgeneratorfunction(target):
        return "generator"
    if inspect.iscoroutinefunction(target):
        return "coroutine"
    return "plain"


def _parameters(call: Callable[..., object], name: str) -> tuple[Parameter, ...]:
    try:
        hints = get_type_hints(call, include_extras=True)
    except Exception:  # noqa: BLE001 - an annotation may name what only a type checker sees
        hints = {}
    found: list[Parameter] = []
    for parameter in inspect.signature(call).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise InvalidValue(
                f"expected the inputs of {name!r} to have names, got {parameter}; inputs are given "
                "by name"
            )
        required = parameter.default is parameter.empty
        kind, schema = _schema(hints.get(parameter.name, Any))
        if not required:
            schema = {**schema, **_default(parameter.default)}
        found.append(
            Parameter(
                parameter.name, kind, required, None if required else parameter.default, schema
            )
        )
    return tuple(found)


def _schema(kind: Any) -> tuple[Any, dict[str, Any]]:
    """Return what to convert to, and its schema; Any where a type cannot come from JSON."""
    try:
        (schema,), components = msgspec.json.schema_components([kind])
        msgspec.json.Decoder(kind)
    except Exception:  # noqa: BLE001 - a class of the user's own, say
        return Any, {}
    if components:
        schema = {**schema, "$defs": components}
    return kind, schema


def _default(value: object) -> dict[str, Any]:
    try:
        return {"default": msgspec.to_builtins(value)}
    except Exception:  # noqa: BLE001 - a default that JSON cannot hold is not shown
        return {}
