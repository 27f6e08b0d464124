"""The kinds of callables, and how an object looks like a callable of a kind."""

import inspect
from typing import Any, Literal

from runcast._functions.hints import behind

__all__ = ("Kind", "kind_of", "look_like", "wraps_generator")

Kind = Literal["generator", "async_generator", "coroutine", "plain"]


def look_like(function: object, target: Any) -> None:
    """Add the marks by which `inspect` recognises coroutine functions and generators.

    Frameworks ask `inspect.iscoroutinefunction` whether to await a call.
    """
    if not (inspect.isroutine(target) or inspect.isclass(target)):
        target = behind(type(target).__call__)
    for name in ("__name__", "__code__", "__defaults__", "__kwdefaults__"):
        if hasattr(target, name):
            vars(function).setdefault(name, getattr(target, name))


def wraps_generator(target: Any) -> bool:
    """Return whether `functools.wraps` was used on a generator function. Then the wrapper most
    probably returns its iterator."""
    try:
        inner = inspect.unwrap(target)
    except ValueError:  # it wraps itself
        return False
    return inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner)


def kind_of(target: Any, *, has_own_marks: bool) -> Kind:
    """Return the kind of a callable.

    Args:
        has_own_marks: whether the object itself has what `inspect` looks for, see `look_like`.
    """
    if not (inspect.isroutine(target) or inspect.isclass(target) or has_own_marks):
        target = behind(target.__call__)
    if inspect.isasyncgenfunction(target):
        return "async_generator"
    if inspect.isgeneratorfunction(target):
        return "generator"
    if inspect.iscoroutinefunction(target):
        return "coroutine"
    return "plain"
