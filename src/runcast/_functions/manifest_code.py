"""Compare a manifest with its code, without running the code.

The code is parsed, not imported: an import may do anything, so only the processes that run the code
import it. Names that are bound in other ways at import (a function from another module, or one that
a decorator replaces) are assumed to be as declared.
"""

import ast
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from runcast._functions.function import Function
from runcast._functions.parameters import Parameter

__all__ = ("find_problems",)

_Definition = ast.FunctionDef | ast.AsyncFunctionDef

_TYPES_OF: Final = {
    "str": ("string", "InputFile", "OutputFile"),
    "int": ("integer",),
    "float": ("number", "integer"),
    "bool": ("boolean",),
    "dict": ("object",),
    "Dict": ("object",),
    "list": ("array",),
    "List": ("array",),
}
"""The declared types that fit a plain annotation in the code."""


def find_problems(
    functions: Iterable[Function[..., object]], code: Path, shown: str
) -> Iterator[str]:
    """Yield the differences between a manifest's functions and their code, with JSON paths.

    Args:
        shown: the code's name in the manifest.
    """
    try:
        tree = ast.parse(code.read_bytes())
    except SyntaxError as error:
        yield f"entry_point: {shown}, line {error.lineno}: {error.msg}"
        return
    except (OSError, ValueError) as error:
        yield f"entry_point: {shown} cannot be read: {error}"
        return
    except (RecursionError, MemoryError):  # the parser also raises MemoryError
        yield f"entry_point: {shown} is nested too deeply"
        return
    bound = _bindings(tree.body)
    for index, function in enumerate(functions):
        where = f"functions[{index}]"
        if function.name not in bound:
            close = get_close_matches(function.name, bound, 1)
            hint = f"; is {close[0]!r} meant?" if close else ""
            yield f"{where}.name: {shown} defines no {function.name!r}{hint}"
        elif (definition := bound[function.name]) is not None:
            place = f"{shown}, line {definition.lineno}"
            yield from _compare_parameters(function, definition, where, place)
            yield from _compare_kind(function, definition, where, place)


def _bindings(body: Iterable[ast.stmt]) -> dict[str, _Definition | None]:
    """Return the names that a module binds; None if the value is unknown."""
    bound: dict[str, _Definition | None] = {}
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                known = all(_is_ours(each) for each in statement.decorator_list)
                bound[statement.name] = statement if known else None
            case ast.ClassDef(name=name):
                bound[name] = None
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                bound.update({each.asname or each.name.partition(".")[0]: None for each in names})
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                stored = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
                bound.update({n.id: None for n in stored if isinstance(n.ctx, ast.Store)})
            case _:
                inner = list(ast.iter_child_nodes(statement))
                bodies = [node for node in inner if isinstance(node, ast.stmt)]
                for handler in inner:
                    if isinstance(handler, ast.ExceptHandler | ast.match_case):
                        bodies += handler.body
                # It is unknown which branch counts.
                bound.update(dict.fromkeys(_bindings(bodies)))
    return bound


def _is_ours(decorator: ast.expr) -> bool:
    return ast.unparse(decorator).partition("(")[0] in ("runcast.function", "function")


def _compare_parameters(
    function: Function[..., object], definition: _Definition, where: str, place: str
) -> Iterator[str]:
    arguments = definition.args
    if arguments.posonlyargs or arguments.vararg:
        yield f"{where}.parameters: expected inputs with names, got positional ones ({place})"
    positional = arguments.args
    without = len(positional) - len(arguments.defaults)
    optional = {each.arg for each in positional[without:]} | {
        each.arg
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is not None
    }
    taken = {each.arg: each for each in (*positional, *arguments.kwonlyargs)}
    for index, parameter in enumerate(function.parameters):
        path = f"{where}.parameters[{index}]"
        if parameter.name not in taken:
            if arguments.kwarg is None:
                yield f"{path}.name: the function takes no {parameter.name!r} ({place})"
            continue
        has_default = "default" in parameter.schema or parameter.name in optional
        if not (parameter.required or has_default):
            yield f"{path}.required: false, but {parameter.name!r} has no default ({place})"
        yield from _compare_type(parameter, taken[parameter.name].annotation, path, place)
    declared = {parameter.name for parameter in function.parameters}
    for name in taken.keys() - optional - declared:
        yield f"{where}.parameters: {name!r} is required by the function, not declared ({place})"


def _compare_type(
    parameter: Parameter, annotation: ast.expr | None, path: str, place: str
) -> Iterator[str]:
    name = ast.unparse(annotation) if isinstance(annotation, ast.Name) else ""
    known = _TYPES_OF.get(name)
    declared = parameter.schema["type"]
    if known is not None and declared not in known:
        yield f"{path}.type: {declared}, but {parameter.name!r} is annotated {name} ({place})"


def _compare_kind(
    function: Function[..., object], definition: _Definition, where: str, place: str
) -> Iterator[str]:
    nodes = list(_own_nodes(definition))
    has_yield = any(isinstance(node, ast.Yield | ast.YieldFrom) for node in nodes)
    if has_yield and not function.is_streaming:
        yield f"{where}.streaming: false, but the function yields ({place})"
    # A function may return a generator made by another function.
    returns = any(isinstance(n, ast.Return) and isinstance(n.value, ast.Call) for n in nodes)
    if function.is_streaming and not has_yield and not returns:
        yield f"{where}.streaming: true, but the function does not yield ({place})"


def _own_nodes(definition: _Definition) -> Iterator[ast.AST]:
    """Yield the nodes of a function's body, without those of functions inside it."""
    waiting: list[ast.AST] = list(definition.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _INNER):
            waiting += ast.iter_child_nodes(node)


_INNER: Final = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.GeneratorExp,
)
