"""Functions that can be invoked by name: their names, kinds, inputs and the place of their code."""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType, MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    Self,
    TypeVar,
    overload,
)

import msgspec

from runcast._functions.adapting import adapted
from runcast._functions.converting import convert, encode_input
from runcast._functions.file_groups import FileGroup, parse_file_groups
from runcast._functions.handlers import (
    MAX_ATTEMPTS,
    check_handler,
    check_recallable,
    checked_attempts,
)
from runcast._functions.hidden import hidden_inputs
from runcast._functions.hints import behind
from runcast._functions.kinds import kind_of, look_like, wraps_generator
from runcast._functions.parameters import Parameter, signature_of
from runcast._functions.schemas import schemas_of, why_unchecked
from runcast._functions.type_forms import is_json
from runcast.errors import InvalidInputs, InvalidValue
from runcast.events.plain import decode_json, shown
from runcast.events.position import is_run_id
from runcast.events.prices import checked_budget
from runcast.events.vocabulary import is_event_type

__all__ = (
    "Function",
    "Isolation",
    "Source",
)


class Source(msgspec.Struct, frozen=True):
    """The location of a function's code: a module and its file. `paths` are searched before the
    usual ones."""

    module: str
    file: str
    paths: tuple[str, ...] = ()


if TYPE_CHECKING:
    from runcast._functions.secrets import Secret


P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")

Isolation = Literal["thread", "process"]

_MISSING: Final = object()


class Function(Generic[P, R]):
    """A callable with a name and a schema. Calling it calls the function itself.

    As an attribute of a class it is a method, like a plain function.

    Raises:
        InvalidValue: the name is malformed, not all of its inputs have names, or a handler cannot
            be called; see `runcast._functions.handlers`.
    """

    def __init__(
        self,
        call: Callable[P, R],
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
    ) -> None:
        functools.update_wrapper(self, call, updated=())  # for help() and inspect.signature()
        if isinstance(call, classmethod):
            raise InvalidValue("expected a function: write @classmethod above @runcast.function")
        if not callable(call):
            raise InvalidValue(f"expected a function, got {call!r:.80}")
        self.call = call
        target = behind(call)
        look_like(self, target)
        self.name: str = name or getattr(target, "__name__", type(target).__name__)
        if not is_run_id(self.name):
            raise InvalidValue(
                f"expected a function name like 'count_words', got {self.name!r:.80}"
            )
        documented = inspect.getdoc(target) or ""
        self.__doc__ = documented or None
        self.description = documented if description is None else description
        self.kind = kind_of(target, has_own_marks=isinstance(target, Function))
        self._hides_generator = self.kind == "plain" and wraps_generator(target)
        self.is_certain = self.kind in ("generator", "async_generator")
        """Whether it is known before the call that the function streams. Any function may return a
        generator, and then it streams."""
        self.max_runs = max_runs
        if isinstance(max_runs, bool) or not isinstance(max_runs, int) or max_runs < 0:
            raise InvalidValue(
                f"expected max_runs of {self.name!r} to be 0 or more: {max_runs!r:.80}"
            )
        self.budget = checked_budget(self.name, max_tokens, max_cost)
        """The budget of a run, for all its attempts together."""
        self.declared_events = events
        self.events = _schemas_of_events(events, self.name)
        """The JSON Schema of `data`, for each of its own event types."""
        self.parameters, self.takes_more, self._definitions = signature_of(call, self.name)
        self.hidden_inputs = hidden_inputs(self.parameters, self._definitions)
        """Why inputs are not kept, by name: they are declared as secrets or as bytes."""
        if not isinstance(store_inputs, bool):
            raise InvalidValue(f"expected store_inputs to be a bool, got {shown(store_inputs)}")
        self.store_inputs = store_inputs
        """Whether a run's inputs are stored beside its log."""
        self.isolation = isolation
        if not isinstance(preload, bool):
            raise InvalidValue(f"expected preload to be a bool, got {shown(preload)}")
        self.preload = preload
        """Whether its own process may be a fork of one that has imported its module."""
        self.source: Source | None = None
        """Where its own process finds it; None without an own process."""
        self.attribute = getattr(target, "__qualname__", "")
        self.secrets: tuple[Secret, ...] = ()
        """The secrets that it needs in its environment."""
        self.declared_files = files
        self.files: Mapping[str, FileGroup] = parse_file_groups(files)
        """The files that it takes and makes, by group."""
        self.takes_plain_inputs = False
        """Whether its process passes the inputs on without converting them."""
        self.dialect = "runcast"
        """The dialect of its events for invocations that name no dialect."""
        if isolation == "process":
            self.source = _source(target, self.name)
        elif isolation != "thread":
            raise InvalidValue(
                f"expected isolation to be thread or process, got {shown(isolation)}"
            )
        self.resume: Function[..., Any] | None = None
        """Continues a run whose question was answered while it had no process."""
        if resume is not None:
            self.resume = _handler(resume, "resume", self.name, isolation)
        self.recover: Function[..., Any] | None = None
        """Continues a run after a crash; None if the function is called again, or nothing is."""
        if not isinstance(recover, bool):
            self.recover = _handler(recover, "recover", self.name, isolation)
        self.recovers = recover is not False
        """Whether a run continues after a crash."""
        self.max_attempts = checked_attempts(self.name, max_attempts)
        """How often a run continues after a crash."""
        if recover is True:
            check_recallable(
                self.name, [it.name for it in self.parameters], self.hidden_inputs, store_inputs
            )
        for handler in (self.resume, self.recover):
            if handler is not None:  # its runs are runs of this function
                handler.resume, handler.budget = self.resume, self.budget
                handler.preload = self.preload
                handler.recover, handler.recovers = self.recover, self.recovers

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.call(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(
        self: "Function[Concatenate[Any, Q], R]", instance: object, owner: type | None = None
    ) -> "Function[Q, R]": ...
    def __get__(self, instance: object, owner: type | None = None) -> "Function[..., Any]":
        if instance is None or isinstance(self.call, staticmethod):
            return self
        bound = object.__new__(type(self))
        vars(bound).update(vars(self))
        bound.call = MethodType(self.call, instance)
        vars(bound)["__wrapped__"] = bound.call
        bound.parameters = self.parameters[1:]
        return bound

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Find attributes of the function, as `functools.wraps` would copy them."""
            call = vars(self).get("call")
            if call is None:
                raise AttributeError(name)
            try:
                return getattr(call, name)
            except AttributeError:
                raise AttributeError(f"{self!r} has no attribute {name!r}") from None

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle it by name, like a plain function."""
        if isinstance(self.call, MethodType):
            return getattr, (self.call.__self__, vars(self)["__name__"])
        return str(vars(self).get("__qualname__", self.name))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Function) and isinstance(self.call, MethodType):
            return self.call == other.call and self.name == other.name
        return self is other

    def __hash__(self) -> int:
        return hash(self.call) if isinstance(self.call, MethodType) else object.__hash__(self)

    def __repr__(self) -> str:
        return f"<Function {self.name} ({self.kind})>"

    @property
    def is_streaming(self) -> bool:
        """Whether it yields events while it works; see `is_certain`."""
        return self.kind in ("generator", "async_generator") or self._hides_generator

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the inputs."""
        return {
            "type": "object",
            "properties": {parameter.name: dict(parameter.schema) for parameter in self.parameters},
            "required": [p.name for p in self.parameters if p.required],
            "additionalProperties": self.takes_more,
            **({"$defs": self._definitions} if self._definitions else {}),
        }

    def _choices(self, parameter: Parameter) -> str:
        reference = str(parameter.schema.get("$ref", "")).rpartition("/")[2]
        choices = self._definitions.get(reference, parameter.schema).get("enum", ())
        return f"expected one of {', '.join(map(repr, choices))}" if choices else ""

    def check(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return JSON inputs unchanged, for another process to convert.

        Raises:
            InvalidInputs: as in `convert`, or JSON cannot hold the inputs.
            InvalidValue: the function is a method of an object, which another process does not
                have.
        """
        if isinstance(self.call, MethodType) and not inspect.isclass(self.call.__self__):
            raise InvalidValue(
                f"expected {self.name!r} not to be a method of an object, which its process does "
                "not have; make it a function, a class method or a static method"
            )
        arguments = self.convert(inputs)
        try:
            msgspec.json.encode(inputs)
            return dict(inputs)
        except Exception:  # noqa: BLE001 - whatever a user's object raises
            return self._as_json(inputs, arguments)

    def _as_json(self, inputs: Mapping[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return inputs of a script, which are objects, as JSON that makes the same arguments."""
        try:
            plain = {name: decode_json(encode_input(value)) for name, value in inputs.items()}
            if self.convert(plain) == arguments:
                return plain
            # For example, passwords are masked
            reason = "what JSON keeps of them makes other values"
        except Exception as error:  # noqa: BLE001 - whatever a user's object raises
            reason = f"{error!s:.300}"
        problem = f"the inputs of {self.name!r} are not JSON: {reason}"
        raise InvalidInputs(problem, (problem,))

    def adopt(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return inputs as sent, but converted to objects for annotations with classes.

        Raises:
            InvalidInputs: as in `convert`, for inputs with such annotations.
        """
        objects = {it.name for it in self.parameters if not is_json(it.type)}
        problems: list[str] = []
        arguments = dict(inputs)
        for parameter in self.parameters:
            if parameter.name in objects & inputs.keys():
                self._convert_into(arguments, parameter, inputs[parameter.name], problems)
        if problems:
            takes = [parameter.name for parameter in self.parameters]
            raise InvalidInputs.naming(problems, f"the inputs of {self.name!r}", takes)
        return arguments

    def _convert_into(
        self, arguments: dict[str, Any], parameter: Parameter, value: Any, problems: list[str]
    ) -> None:
        try:
            arguments[parameter.name] = convert(value, parameter.type)
        except Exception as error:  # noqa: BLE001 - whatever a user's own class raises
            problems.append(f"{parameter.name}: {self._choices(parameter) or error}")

    def convert(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return keyword arguments made from JSON inputs.

        Raises:
            InvalidInputs: names the problems, at most 20.
        """
        given: object = inputs
        if not isinstance(given, Mapping):
            problem = f"expected inputs by their names, got {type(given).__qualname__}"
            raise InvalidInputs(f"the inputs of {self.name!r} are wrong: {problem}", (problem,))
        arguments: dict[str, Any] = {}
        problems: list[str] = []
        for parameter in self.parameters:
            value = inputs.get(parameter.name, _MISSING)
            if value is _MISSING:
                if parameter.required:
                    problems.append(f"{parameter.name}: required, not given")
                continue
            self._convert_into(arguments, parameter, value, problems)
        known = {parameter.name for parameter in self.parameters}
        for name in inputs.keys() - known:
            if self.takes_more:
                arguments[name] = inputs[name]
            else:
                problems.append(f"{name}: unknown input")
        if problems:
            takes = [parameter.name for parameter in self.parameters]
            raise InvalidInputs.naming(problems, f"the inputs of {self.name!r}", takes)
        return arguments


def _handler(
    given: Callable[..., object], option: str, name: str, isolation: Isolation
) -> "Function[..., Any]":
    """Return a handler as a function with the name of the first attempt."""
    call = given.call if isinstance(given, Function) else given
    try:
        handler = Function(call, name=name, isolation=isolation)
    except InvalidValue as error:
        raise InvalidValue(f"{option}= of {name!r}: {error.message}") from None
    check_handler(handler.parameters, option, name, takes_more=handler.takes_more)
    return handler


def _source(target: Any, name: str) -> Source:
    """Return where another process finds a function."""
    module, dotted = getattr(target, "__module__", None), getattr(target, "__qualname__", "<")
    found = sys.modules.get(module or "")
    file = getattr(found, "__file__", None)
    if module in ("__main__", "__mp_main__"):
        # With `python -m package.module`, also in spawned processes, the name can be imported.
        module = getattr(getattr(found, "__spec__", None), "name", module)
    if not module or not file or "<" in dotted:
        raise InvalidValue(
            f"expected {name!r} to be defined at the top of a module, so that its process can "
            "import it"
        )
    return Source(module, file)


def _schemas_of_events(events: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """Return a schema for each type of event, self-contained."""
    schemas = {}
    for kind, data in events.items():
        if not is_event_type(kind):
            raise InvalidValue(f"expected {name!r} to emit types like 'chapter', got {shown(kind)}")
        try:
            adapted_data = adapted(data)
        except InvalidValue as error:
            raise InvalidValue(f"the event {kind!r} of {name!r}: {error.message}") from None
        (schema,), definitions = schemas_of([Any if why_unchecked(adapted_data) else adapted_data])
        schemas[kind] = {**schema, **({"$defs": definitions} if definitions else {})}
    return schemas
