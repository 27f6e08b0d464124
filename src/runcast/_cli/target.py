"""Find the functions of a target: a Python file, a manifest, or `module:attribute`."""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from runcast._functions.decorator import as_function
from runcast._functions.function import Function
from runcast._functions.manifest import load_manifest
from runcast.errors import InvalidValue

__all__ = ("TargetFailed", "load_attribute", "load_target")

_T = TypeVar("_T")

_AnyFunction = Function[..., Any]


class TargetFailed(InvalidValue):
    """The import of a target raised; the message has the traceback of its own code."""


def load_target(target: str) -> list[_AnyFunction]:
    """Import a target and return its functions, each once, in order of definition.

    Args:
        target: the path of a Python file, whose decorated functions count; the path of a manifest
            or its folder; or `module:attribute`, where the attribute is a function, a list or
            dict of functions, or a module.

    Raises:
        InvalidValue: there is no such file, module or attribute, or no function in it.
        InvalidManifest: names every error in the manifest.
        TargetFailed: importing it failed.
    """
    if target.endswith(".json") or Path(target).is_dir():
        return list(load_manifest(target))
    module, colon, attribute = target.rpartition(":")
    if target.endswith(".py") or os.sep in target:
        found = _decorated(_import_file(Path(target)))
        where = target
    elif colon and module and attribute:
        # The command is in another folder, so Python would not search here by itself.
        sys.path.insert(0, os.getcwd())
        found = _functions_of(_attribute_of(_import(module), attribute), target)
        where = target
    else:
        raise InvalidValue(
            f"expected a Python file like work.py, a manifest or its folder, or module:attribute; "
            f"got {target!r}"
        )
    if not found:
        raise InvalidValue(
            f"found no function in {where}; put @runcast.function above those to be served"
        )
    return found


def load_attribute(target: str) -> Any:
    """Import `module:attribute` and return the attribute. Raises what `load_target` raises."""
    module, colon, attribute = target.rpartition(":")
    if not (colon and module and attribute):
        raise InvalidValue(f"expected module:function, got {target!r}")
    sys.path.insert(0, os.getcwd())
    return _attribute_of(_import(module), attribute)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InvalidValue(f"there is no file {str(path)!r}")
    path = path.resolve()
    # As with `python work.py`: modules beside the file can be imported.
    sys.path.insert(0, str(path.parent))
    name = path.stem
    if name in sys.modules or name in sys.stdlib_module_names:
        name = f"runcast_target_{name}"  # a file json.py must not replace the module json
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InvalidValue(f"expected a Python file, got {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader
    _guarded(lambda: loader.exec_module(module), str(path))
    return module


def _import(name: str) -> ModuleType:
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None  # a parent package is missing
    except Exception as error:
        raise TargetFailed(_traceback_of(error, name)) from error
    if found is None:
        raise InvalidValue(f"there is no module {name!r}, neither here nor installed")
    return _guarded(lambda: importlib.import_module(name), name)


def _guarded(load: Callable[[], _T], what: str) -> _T:
    try:
        return load()
    except SystemExit:
        raise InvalidValue(
            f"{what} ended the program while it was imported; put the code for running it "
            'under `if __name__ == "__main__":`'
        ) from None
    except Exception as error:
        raise TargetFailed(_traceback_of(error, what)) from error


def _traceback_of(error: Exception, what: str) -> str:
    """Return a traceback that begins in the user's code, without our own frames."""
    frame = error.__traceback__
    while frame is not None and _is_ours(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    lines = traceback.format_exception(type(error), error, frame)
    return f"{what} failed on import:\n{''.join(lines).rstrip()}"


def _is_ours(filename: str) -> bool:
    is_machinery = filename.startswith("<frozen importlib") or filename == importlib.__file__
    return is_machinery or filename == __file__


def _attribute_of(module: ModuleType, dotted: str) -> Any:
    value: Any = module
    for name in dotted.split("."):
        try:
            value = getattr(value, name)
        except AttributeError:
            raise InvalidValue(f"{module.__name__} has no attribute {dotted!r}") from None
    return value


def _functions_of(value: Any, where: str) -> list[_AnyFunction]:
    if isinstance(value, ModuleType):
        return _decorated(value)
    if isinstance(value, Mapping):
        return [_named(name, each, where) for name, each in value.items()]
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_as_function(each, where) for each in value]
    return [_as_function(value, where)]


def _decorated(module: ModuleType) -> list[_AnyFunction]:
    found = (each for each in vars(module).values() if isinstance(each, Function))
    return list(dict.fromkeys(found))


def _as_function(value: Any, where: str) -> _AnyFunction:
    if not callable(value):
        raise InvalidValue(f"expected functions in {where}, got {type(value).__name__}")
    return as_function(value)


def _named(name: Any, value: Any, where: str) -> _AnyFunction:
    call = _as_function(value, where).call
    return Function(call, name=str(name))
