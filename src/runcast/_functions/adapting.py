"""Types with stand-ins for what msgspec cannot convert alone."""

import dataclasses
import functools
import operator
import typing
from typing import Annotated, Any, get_args, get_origin

import msgspec

from runcast._functions.converting import StandIn, from_json
from runcast._functions.models import is_constraint, is_model, require_pydantic
from runcast._functions.stand_ins import Choice, Fields, Member, OneOf, Validated, make_stand_in
from runcast._functions.type_forms import (
    has_fields,
    hints_of,
    is_alias,
    is_container,
    is_odd_enum,
    is_odd_literal,
    is_union,
    required_of,
    translated,
    types_in,
    unaliased,
)

__all__ = ("adapted",)


def adapted(kind: Any) -> Any:
    """Return a type that msgspec converts JSON to: `kind`, or a stand-in for it.

    Raises:
        InvalidValue: pydantic would have to check the type, but is missing or too old.
    """
    return _adapt(kind, {}) if _is_beyond(kind, set()) else kind


def _is_beyond(kind: Any, seen: set[Any]) -> bool:
    """Return whether a type, or a part, needs a stand-in or metadata that msgspec reads."""
    if is_alias(kind):
        return True
    kind = unaliased(kind)
    if is_model(kind) or is_odd_enum(kind) or is_odd_literal(kind):
        return True
    if get_origin(kind) is Annotated:
        inner, *metadata = get_args(kind)
        if any(is_constraint(each) or translated(each) is not each for each in metadata):
            return True
        return _is_beyond(inner, seen)
    if is_union(kind):
        return any(_is_beyond(each, seen) for each in get_args(kind)) or not _is_known(kind)
    if get_args(kind):
        return any(_is_beyond(each, seen) for each in types_in(kind))
    if not has_fields(kind) or kind in seen:
        return False
    seen.add(kind)
    return any(_is_beyond(each, seen) for each in hints_of(kind).values())


def _adapt(kind: Any, made: dict[Any, type[StandIn]]) -> Any:
    kind = unaliased(kind)
    if is_model(kind):
        require_pydantic(kind)
        return make_stand_in(Validated, kind)
    if is_odd_enum(kind):
        return make_stand_in(Member, kind)
    if is_odd_literal(kind):
        return make_stand_in(OneOf, kind)
    if get_origin(kind) is Annotated:
        return _adapt_annotated(kind, made)
    if is_union(kind):
        return _adapt_union(kind, made)
    if is_container(kind):
        parts = tuple(_adapt(each, made) if each is not ... else each for each in get_args(kind))
        return get_origin(kind)[parts if len(parts) != 1 else parts[0]]
    if not has_fields(kind) or not _is_beyond(kind, set()):
        return kind
    if kind not in made:
        made[kind] = make_stand_in(Fields, kind)
        made[kind].shape = _shape_of(kind, made)  # type: ignore[attr-defined]
    return made[kind]


def _adapt_annotated(kind: Any, made: dict[Any, type[StandIn]]) -> Any:
    inner, *metadata = get_args(kind)
    readable = [translated(each) for each in metadata]
    described = [it for it in readable if getattr(it, "description", None) is not None]
    if any(map(is_constraint, metadata)):
        require_pydantic(kind)
        base, kept = make_stand_in(Validated, kind), described[:1]
    else:
        base = _adapt(inner, made)
        kept = [it for it in readable if it not in described[1:]]
    return Annotated[(base, *kept)] if kept else base


def _adapt_union(kind: Any, made: dict[Any, type[StandIn]]) -> Any:
    members = [_adapt(each, made) for each in get_args(kind)]
    union = functools.reduce(operator.or_, members)
    if _is_known(union):
        return union
    return make_stand_in(Choice, kind, members=tuple(members))


def _is_known(kind: Any) -> bool:
    """Return whether msgspec takes a type, with our hook for classes that it does not know."""
    try:
        msgspec.json.Decoder(kind, dec_hook=from_json)
    except Exception:  # noqa: BLE001 - whatever a user's class raises
        return False
    return True


def _shape_of(kind: Any, made: dict[Any, type[StandIn]]) -> type[msgspec.Struct]:
    """Return a class of msgspec's with the same fields, whose types it can convert."""
    required = required_of(kind)
    fields = [
        (
            name,
            _adapt(hint, made),
            *(() if name in required else (msgspec.field(default=msgspec.UNSET),)),
        )
        for name, hint in hints_of(kind).items()
    ]
    is_array = not (typing.is_typeddict(kind) or dataclasses.is_dataclass(kind))
    return msgspec.defstruct(kind.__name__, fields, kw_only=not is_array, array_like=is_array)
