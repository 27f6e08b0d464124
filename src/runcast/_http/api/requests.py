"""Parse requests: pure functions from strings to values, each refusing what it does not know."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec
from starlette.datastructures import QueryParams

from runcast._files.model import FileReference
from runcast._http.api.bodies import parse_json
from runcast._http.api.fields import convert_fields
from runcast._hub.lens import find_dialect
from runcast._hub.thread_place import MAX_OPEN
from runcast._wire.dialects import Dialect
from runcast.errors import InvalidInputs, InvalidValue
from runcast.events.position import Position, is_run_id
from runcast.events.schemas import RUN_ID
from runcast.events.view import Filter, View, ViewSpec
from runcast.events.vocabulary import is_event_type
from runcast.stores.base import MAX_LIST

__all__ = (
    "BEFORE",
    "DEFAULT_LIMIT",
    "MAX_REASON_CHARS",
    "MAX_RUNS_PER_STREAM",
    "Invocation",
    "Live",
    "WatchOptions",
    "asks_for_events",
    "before_token",
    "check_only_for_one",
    "files_of",
    "is_resuming",
    "parse_before",
    "parse_flag",
    "parse_invocation",
    "parse_labels",
    "parse_limit",
    "parse_many",
    "parse_point",
    "parse_preferences",
    "parse_query",
    "parse_thread_limit",
    "parse_watch",
    "preferred_type",
)

MAX_RUNS_PER_STREAM: Final = 32
"""Most runs on one connection: enough for a page, and their vector of positions still fits a
header."""

DEFAULT_LIMIT: Final = 50
"""Runs of a page if the client sets no limit."""
MAX_REASON_CHARS: Final = 500
"""Longest reason to cancel a run: every watcher gets it."""

BEFORE: Final = rf"^[0-9]{{1,16}}(\.[0-9]{{1,20}})?(e[+-]?[0-9]{{1,2}})?_{RUN_ID[1:]}"
"""The form of a `before_token`: any number that a clock returns, and a run id."""

Live = Literal["stream", "long-poll", "none"]

_TYPES: Final = ("text/event-stream", "application/x-ndjson", "application/json")


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """A watcher's request for a log: where to begin, in what form, and whether to wait for more."""

    after: Position | None
    dialect: Dialect
    media_type: str
    live: Live
    view: View | None = None


class Invocation(msgspec.Struct):
    """The body of an invocation. `secrets` arrive as `_secrets`."""

    inputs: dict[str, Any] = {}
    run_id: str = ""
    labels: dict[str, str] = {}
    replace: bool = False
    on_disconnect: Literal["continue", "cancel"] = "continue"
    secrets: dict[str, str] = msgspec.field(default_factory=dict, name="_secrets")
    files: dict[str, list[FileReference | str]] = {}
    workspace: str | None = None
    deliver: list[str] = []


_FIELDS: Final = frozenset(field.encode_name for field in msgspec.structs.fields(Invocation))
_EXAMPLE: Final = '{"inputs": {…}}'


def parse_query(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return a query's parameters: list parameters joined, otherwise the last value."""
    query: dict[str, str] = {}
    for name, value in pairs:
        query[name] = f"{query[name]},{value}" if name in _LISTS and name in query else value
    return query


def parse_watch(
    query: Mapping[str, str],
    headers: Mapping[str, str],
    views: Mapping[str, ViewSpec] = MappingProxyType({}),
    *,
    default: str = "text/event-stream",
    dialect: str = "runcast",
) -> WatchOptions:
    """Return the options of a request for events.

    Without an explicit media type or `dialect` of an event stream, `default` is used.

    `Last-Event-ID` counts before `after` in the query: a browser that reconnects sends the same
    URL again, and adds the header with the last position that it got. Polyfills of EventSource that
    cannot send the header put `lastEventId` into the query instead, in one of several spellings.

    Raises:
        InvalidValue: names the parameter.
    """
    said = [_parse_position(token, where) for where, token in _cursors(query, headers)]
    live = query.get("live", "true")
    modes: Mapping[str, Live] = {"true": "stream", "long-poll": "long-poll", "false": "none"}
    if live not in modes:
        raise InvalidValue(f"expected live to be true, false or long-poll, got {live[:80]!r}")
    media_type = preferred_type(headers.get("accept", ""), _TYPES, default)
    if modes[live] == "long-poll":
        media_type = "application/json"
    usual = dialect if media_type == "text/event-stream" else "runcast"
    chosen = find_dialect(query.get("dialect", usual))
    if chosen.name != "runcast" and media_type == "application/x-ndjson":
        raise InvalidValue(f"expected no dialect with {media_type}, got {chosen.name!r}")
    return WatchOptions(
        after=said[0] if said else None,
        dialect=chosen,
        media_type=media_type,
        live=modes[live],
        view=_parse_view(query, views),
    )


def asks_for_events(query: Mapping[str, str]) -> bool:
    """Return whether a query chooses which events to show, or how."""
    return not {"dialect", "view", *_LISTS}.isdisjoint(query)


def _cursors(query: Mapping[str, str], headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return a request's cursors as (source, value); the first one counts."""
    spelt = {name: text for name, text in query.items() if text and _is_last_event_id(name)}
    if len(set(spelt.values())) > 1:
        raise InvalidValue(
            f"expected one lastEventId, got several that differ: {', '.join(sorted(spelt)[:5])}"
        )
    said = [
        ("Last-Event-ID", headers.get("last-event-id", "")),
        *spelt.items(),
        ("after", query.get("after", "")),
    ]
    return [(where, text) for where, text in said if text]


def _is_last_event_id(name: str) -> bool:
    return len(name) <= _LONGEST_SPELLING and (
        name.lower().replace("-", "").replace("_", "") == "lasteventid"
    )


_LONGEST_SPELLING: Final = len("last-event-id")


def is_resuming(query: Mapping[str, str], headers: Mapping[str, str]) -> bool:
    """Return whether a client resumes an earlier stream, judged by what it sends automatically."""
    return bool(headers.get("last-event-id")) or any(map(_is_last_event_id, query))


def _parse_position(token: str, where: str) -> Position:
    try:
        return Position.parse(token)
    except InvalidValue as error:
        raise InvalidValue(f"{where}: {error.message}") from None


def _parse_view(query: Mapping[str, str], views: Mapping[str, ViewSpec]) -> View | None:
    """Return the requested view, or the server's own; None shows every event unchanged.

    `types`, `nodes` and `agents` are lists joined by commas. They replace the filters of a named
    view.
    """
    name = query.get("view", "default")
    if name not in views and name not in ("default", "none"):
        known = ", ".join(sorted({*views, "none"}))
        raise InvalidValue(f"expected a view, one of {known}; got {name[:80]!r}")
    spec = views.get(name, ViewSpec(dedupe=False)) if name != "none" else ViewSpec(dedupe=False)
    changes: dict[str, Filter] = {}
    for parameter, fields in _LISTS.items():
        wanted = frozenset(filter(None, query.get(parameter, "").split(",")))
        if len(wanted) > _MAX_NAMES:
            raise InvalidValue(f"expected at most {_MAX_NAMES} {parameter}, got {len(wanted)}")
        if parameter == "types" and (wrong := [each for each in wanted if not is_event_type(each)]):
            raise InvalidValue(f"expected types like 'content,progress', got {min(wrong)[:80]!r}")
        for field in fields if wanted else ():
            changes[field] = Filter(include=wanted, exclude=getattr(spec, field).exclude)
    spec = msgspec.structs.replace(spec, **changes)
    return None if spec == ViewSpec(dedupe=False) else View(spec)


_LISTS: Final = {
    "types": ("messages",),
    "nodes": ("nodes", "subgraph_nodes"),
    "agents": ("agents",),
}
_MAX_NAMES: Final = 100


def parse_point(query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """Return the point that the client of a list of runs has seen; "" if it has seen none."""
    said = _cursors(query, headers)
    return said[0][1] if said else ""


def parse_many(
    runs: Iterable[str], query: Mapping[str, str], headers: Mapping[str, str]
) -> dict[str, Position | None]:
    """Return the runs that one connection watches, each with its cursor.

    Raises:
        InvalidValue: no run, too many runs, a malformed id or vector, or an option that only
            watchers of one run may use.
    """
    check_only_for_one(query)
    if "label" in query:
        raise InvalidValue("expected either run or label, got both")
    names = list(dict.fromkeys(runs))
    if not 1 <= len(names) <= MAX_RUNS_PER_STREAM:
        raise InvalidValue(
            f"expected 1 to {MAX_RUNS_PER_STREAM} different runs (?run=a&run=b), got {len(names)}; "
            "or all runs of a thread (?label=thread=x)"
        )
    for name in names:
        if not is_run_id(name):
            raise InvalidValue(f"expected run to be a run id, got {name[:140]!r}")
    cursors: dict[str, Position | None] = dict.fromkeys(names)
    said = [_parse_vector(vector, where) for where, vector in _cursors(query, headers)]
    for name, position in said[0].items() if said else ():
        if name in cursors:
            cursors[name] = position
    return cursors


def check_only_for_one(query: Mapping[str, str]) -> None:
    """Raise `InvalidValue` for an option that only watchers of one run may use."""
    for name, usual in _ONLY_FOR_ONE.items():
        if query.get(name, usual) != usual:
            raise InvalidValue(f"expected no {name} for several runs on one connection")


def _parse_vector(vector: str, where: str) -> dict[str, Position]:
    parts = (part.partition("=") for part in vector.split(",") if part)
    return {name: _parse_position(token, where) for name, _, token in parts}


_ONLY_FOR_ONE: Final = {
    "dialect": "runcast",
    "live": "true",
    "view": "none",
    **dict.fromkeys(_LISTS, ""),
}


def parse_invocation(body: bytes) -> Invocation:
    """Return an invocation; an empty body means no inputs.

    Raises:
        InvalidValue: the body is not a JSON object of this form, or has unknown fields.
        InvalidInputs: the body has unknown fields and no `inputs`, as in another server's format.
    """
    if not body.strip():
        return Invocation()
    given = parse_json(body, _EXAMPLE)
    is_object = isinstance(given, dict)
    unknown = sorted(n for n in given.keys() - _FIELDS if n[:1] != "_") if is_object else []
    if unknown and "inputs" not in given:
        raise InvalidInputs(
            f"expected the inputs in the field 'inputs', as in {_EXAMPLE}; got no such field, "
            f"but {', '.join(repr(name[:40]) for name in unknown[:5])}"
        )
    return convert_fields(given, Invocation, _EXAMPLE)


def files_of(invocation: Invocation) -> dict[str, list[FileReference]]:
    """Return the files of an invocation; a string is a URL or a path."""
    return {
        key: [_reference(file) if isinstance(file, str) else file for file in files]
        for key, files in invocation.files.items()
    }


def _reference(text: str) -> FileReference:
    return FileReference(url=text) if "://" in text else FileReference(path=text)


def parse_flag(query: Mapping[str, str], name: str) -> bool:
    """Return a boolean parameter. Raises `InvalidValue`."""
    value = query.get(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise InvalidValue(f"expected {name} to be true or false, got {value!r:.80}")
    return value in ("true", "1")


def parse_limit(query: Mapping[str, str]) -> int:
    """Return the number of items on a page of a list. Raises `InvalidValue`."""
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MAX_LIST):
        raise InvalidValue(f"expected limit to be 1 to {MAX_LIST}, got {text[:20]!r}")
    return int(text)


def parse_thread_limit(query: Mapping[str, str]) -> int:
    """Return with how many runs of a thread a stream begins. Raises `InvalidValue`."""
    limit = parse_limit(query) if "limit" in query else MAX_OPEN
    if limit > MAX_OPEN:
        raise InvalidValue(f"expected limit to be 1 to {MAX_OPEN}, got {limit}")
    return limit


def parse_labels(query: QueryParams) -> dict[str, str]:
    """Return the labels that runs must have; `function` is one. Raises `InvalidValue`."""
    labels = {"function": query["function"]} if "function" in query else {}
    for pair in query.getlist("label"):
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidValue(f"expected label=name=value, got {pair[:100]!r}")
        labels[name] = value
    return labels


def before_token(created_at: float, run_id: str) -> str:
    """Return a token for the page of runs older than this one. It matches `BEFORE`.

    The token is complete in itself, because its run may be deleted meanwhile.
    """
    return f"{created_at!r}_{run_id}"


def parse_before(token: str) -> tuple[float, str]:
    """Return where a page of runs begins, from the previous page's token. Raises `InvalidValue`."""
    if not re.match(BEFORE, token) or token[-1] == "\n":
        raise InvalidValue(
            f"expected before to be from the previous page of runs, got {token[:80]!r}"
        )
    created, _, run_id = token.partition("_")
    return float(created), run_id


def parse_preferences(header: str) -> frozenset[str]:
    """Return the preferences of a `Prefer` header, without values. Source: RFC 7240 §2."""
    return frozenset(part.split(";")[0].strip().lower() for part in header.split(","))


def preferred_type(accept: str, offered: Iterable[str], default: str) -> str:
    """Return the offered media type that an `Accept` header names first with the highest weight.

    A header without an offered type gives the default, which suits most clients: clients that
    accept anything, and clients with a header that we do not understand. Source: RFC 9110 §12.5.1,
    without specificity.
    """
    best, weight = default, 0.0
    known = set(offered)
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if name in known:
            quality = _quality(parameters)
            if quality > weight:
                best, weight = name, quality
    return best


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0
