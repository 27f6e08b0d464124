"""Types that pydantic checks: models, pydantic's dataclasses, and annotations with its constraints.

pydantic is optional. Nothing but this module imports it, and only when a type asks for it.
"""

import functools
import importlib.util
import math
from typing import Any, Final

import msgspec

from runcast.errors import InvalidValue

__all__ = (
    "Invalid",
    "as_json",
    "fields_of",
    "is_constraint",
    "is_field",
    "is_model",
    "require_pydantic",
    "schema_of",
    "validate",
)

_REFERENCE: Final = "#/$defs/{model}"


class Invalid(ValueError):
    """pydantic refuses a value; `problems` are pairs of a message and a place."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(message for message, _ in problems))
        self.problems = problems


def is_model(kind: Any) -> bool:
    """Return whether pydantic makes the values of a class; without importing pydantic."""
    if not isinstance(kind, type):
        return False
    if hasattr(kind, "__pydantic_validator__"):
        return True
    says_how = hasattr(kind, "__get_pydantic_core_schema__") or hasattr(kind, "__get_validators__")
    return says_how and not _is_known(kind)


def is_constraint(metadata: Any) -> bool:
    """Return whether an argument of `Annotated` is understood only by pydantic."""
    package = str(getattr(type(metadata), "__module__", "")).partition(".")[0]
    return package in ("pydantic", "pydantic_core") or (
        not isinstance(metadata, type) and hasattr(metadata, "__get_pydantic_core_schema__")
    )


def is_field(value: Any) -> bool:
    """Return whether this is a result of `pydantic.Field`."""
    kind = type(value)
    return kind.__name__ == "FieldInfo" and kind.__module__.partition(".")[0] == "pydantic"


def require_pydantic(kind: Any) -> None:
    """Refuse a type that pydantic would have to check, but cannot.

    Raises:
        InvalidValue: pydantic is missing, or the type belongs to pydantic 1.
    """
    name = getattr(kind, "__name__", repr(kind))
    if importlib.util.find_spec("pydantic") is None:
        raise InvalidValue(
            f"expected pydantic to be installed, because it checks {name:.200}; "
            "run `pip install pydantic`, or annotate the input otherwise"
        )
    is_old = hasattr(kind, "__get_validators__") and not hasattr(kind, "__pydantic_validator__")
    if is_old and not hasattr(kind, "__get_pydantic_core_schema__"):
        raise InvalidValue(
            f"expected a model of pydantic 2, got {name:.200}, which is written for pydantic 1; "
            "derive it from the BaseModel of pydantic 2"
        )


def validate(kind: Any, value: Any) -> Any:
    """Return a value made by pydantic, from JSON or, in scripts, from the value itself.

    Raises:
        Invalid: names every problem with its place.
    """
    from pydantic import ValidationError

    adapter = _adapter(kind)
    try:
        # Strict models refuse some Python values, such as a date as text, that are right in JSON.
        if _is_plain(value):
            return adapter.validate_json(msgspec.json.encode(value))
        return adapter.validate_python(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise Invalid([(each["msg"], _place(each["loc"])) for each in found]) from None


def as_json(model: Any) -> Any:
    """Return a model as the JSON that makes an equal one: with the names of its inputs."""
    return _adapter(type(model)).dump_python(model, mode="json", by_alias=True)


def schema_of(kind: Any) -> dict[str, Any]:
    """Return the JSON Schema of a type, with its own `$defs`; {} if pydantic cannot make one."""
    from pydantic.errors import PydanticInvalidForJsonSchema

    adapter = _adapter(kind)
    try:
        return adapter.json_schema(ref_template=_REFERENCE)  # type: ignore[no-any-return]
    except PydanticInvalidForJsonSchema:
        return {}


def fields_of(kind: Any) -> frozenset[str] | None:
    """Return the names of a model's fields in JSON; None if it accepts any name, or has no
    fields."""
    fields = getattr(kind, "__pydantic_fields__", None)
    if not fields or getattr(kind, "__pydantic_root_model__", False):
        return None
    config = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", None) or {}
    if config.get("extra") == "allow":
        return None
    aliases = {str(it.validation_alias or it.alias) for it in fields.values()} - {"None"}
    return frozenset(fields) | aliases


def _adapter(kind: Any) -> Any:
    try:
        return _cached_adapter(kind)
    except TypeError:  # its metadata cannot be hashed
        return _new_adapter(kind)


def _new_adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


_cached_adapter: Final = functools.lru_cache(maxsize=256)(_new_adapter)


def _is_known(kind: type) -> bool:
    """Return whether msgspec converts a class, so that it does not need pydantic."""
    try:
        return not isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType)
    except Exception:  # noqa: BLE001 - whatever a user's class raises
        return False


def _is_plain(value: Any) -> bool:
    """Return whether a value could come directly from JSON."""
    if isinstance(value, dict):
        return all(type(name) is str and _is_plain(each) for name, each in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if type(value) is float:
        return math.isfinite(value)
    return value is None or type(value) in (str, int, bool)


def _place(steps: tuple[int | str, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
