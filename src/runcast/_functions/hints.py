"""The types that a signature's annotations stand for, each on its own."""

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, Final, NamedTuple, get_type_hints

__all__ = ("Hint", "Origin", "behind", "origin_of", "parameters_in", "resolve")

_MAX_ERROR_CHARS: Final = 200


class Hint(NamedTuple):
    """What an annotation stands for: Any where that cannot be found out, and `problem` says why."""

    type: Any
    problem: str = ""


class Origin(NamedTuple):
    """Where a function is defined: its file and line, and the names of its module."""

    file: str
    line: int
    names: dict[str, Any]


def behind(call: Any) -> Any:
    """Return the function behind a `functools.partial`."""
    while isinstance(call, functools.partial):
        call = call.func
    return call


def parameters_in(call: Callable[..., object]) -> list[inspect.Parameter]:
    """Return the parameters of a signature. Raises `ValueError` if it has none to be read."""
    if sys.version_info >= (3, 14):
        # Annotations are evaluated now: one that cannot be must not hide the others.
        import annotationlib

        forward = annotationlib.Format.FORWARDREF
        return [*inspect.signature(call, annotation_format=forward).parameters.values()]
    return [*inspect.signature(call).parameters.values()]


def resolve(call: Callable[..., object], parameters: Sequence[inspect.Parameter]) -> list[Hint]:
    """Return what the annotations of parameters stand for."""
    function = _function_of(call)
    names = origin_of(call).names
    type_params = getattr(function, "__type_params__", ())
    return [_resolve(parameter.annotation, names, type_params) for parameter in parameters]


def origin_of(call: Callable[..., object]) -> Origin:
    """Return where a function is defined; of one that is not written in Python as far as known."""
    function = _function_of(call)
    if isinstance(function, FunctionType):
        code = function.__code__
        return Origin(code.co_filename, code.co_firstlineno, function.__globals__)
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    return Origin(
        getattr(module, "__file__", None) or "<unknown>", 1, vars(module) if module else {}
    )


def _function_of(call: Any) -> Any:
    """Return the Python function whose annotations a call has, or the nearest to it."""
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
        told = f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARS]
        return Hint(Any, f"the annotation {shown[:_MAX_ERROR_CHARS]} cannot be resolved ({told})")
