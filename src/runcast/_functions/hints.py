"""The types of a signature's annotations, each resolved separately."""

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, Final, NamedTuple, get_type_hints

__all__ = ("Hint", "Origin", "behind", "origin_of", "parameters_in", "resolve")

_MAX_ERROR_CHARS: Final = 200


class Hint(NamedTuple):
    """The type of an annotation. If it cannot be resolved it is Any, and `problem` says why."""

    type: Any
    problem: str = ""


class Origin(NamedTuple):
    """The place of a function's definition: file, line, and the names in its module."""

    file: str
    line: int
    names: dict[str, Any]


def behind(call: Any) -> Any:
    """Return the function behind a `functools.partial`."""
    while isinstance(call, functools.partial):
        call = call.func
    return call


def parameters_in(call: Callable[..., object]) -> list[inspect.Parameter]:
    """Return the parameters of a signature. Raises `ValueError` without a readable signature."""
    if sys.version_info >= (3, 14):
        # Annotations are evaluated now; a failing one must not hide the others.
        import annotationlib

        forward = annotationlib.Format.FORWARDREF
        return [*inspect.signature(call, annotation_format=forward).parameters.values()]
    return [*inspect.signature(call).parameters.values()]


def resolve(call: Callable[..., object], parameters: Sequence[inspect.Parameter]) -> list[Hint]:
    """Return the types of parameters' annotations."""
    function = _function_of(call)
    names = origin_of(call).names
    type_params = getattr(function, "__type_params__", ())
    return [_resolve(parameter.annotation, names, type_params) for parameter in parameters]


def origin_of(call: Callable[..., object]) -> Origin:
    """Return where a function is defined; for one that is not written in Python, as far as
    known."""
    function = _function_of(call)
    if isinstance(function, FunctionType):
        code = function.__code__
        return Origin(code.co_filename, code.co_firstlineno, function.__globals__)
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    return Origin(
        getattr(module, "__file__", None) or "<unknown>", 1, vars(module) if module else {}
    )


def _function_of(call: Any) -> Any:
    """Return the Python function behind a callable, or the nearest object."""
    target = behind(call)
    if inspect.isclass(target):
        target = target.__init__ if isinstance(target.__init__, FunctionType) else target
    elif not inspect.isroutine(target):
        target = behind(type(target).__call__)
    target = inspect.unwrap(getattr(target, "__func__", target))
    return getattr(target, "__func__", target)


def _resolve(annotation: Any, names: dict[str, Any], type_params: Any) -> Hint:
    if annotation is inspect.Parameter.empty:
        return Hint(Any)

    def holder() -> None: ...

    holder.__annotations__ = {"it": annotation}
    holder.__type_params__ = type_params  # type: ignore[attr-defined]  # from Python 3.12 on
    try:
        return Hint(get_type_hints(holder, names, include_extras=True)["it"])
    except Exception as error:  # noqa: BLE001 - whatever evaluating a user's annotation raises
        shown = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
        reason = f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARS]
        return Hint(Any, f"the annotation {shown[:_MAX_ERROR_CHARS]} cannot be resolved ({reason})")
