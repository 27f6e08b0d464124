"""Comparing what a manifest declares with the code it stands for, without running that.

The code is parsed, not imported: importing may do anything, and is the affair of the processes that
run it. So what is put together while a module is imported (a function from elsewhere, or one that a
decorator replaces) is taken to be as declared.
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
"""What a parameter may be declared as that the code annotates with a plain name."""


def find_problems(
    functions: Iterable[Function[..., object]], code: Path, shown: str
) -> Iterator[str]:
    """Yield what differs between the functions of a manifest and their code, with the JSON path.

    Args:
        shown: what the manifest calls the code.
    """
    try:
        tree = ast.parse(code.read_bytes())
    except SyntaxError as error:
        yield f"entry_point: {shown}, line {error.lineno}: {error.msg}"
        return
    except (OSError, ValueError) as error:
        yield f"entry_point: {shown} cannot be read: {error}"
        return
    except (RecursionError, MemoryError):  # the latter is what the parser says, too
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
    """Return the names a module binds; None where it is not known to what."""
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
                # Which of several branches counts is not known.
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
    # A function may return a generator that another one makes.
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
