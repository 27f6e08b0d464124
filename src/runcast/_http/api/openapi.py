"""The description of the API: OpenAPI 3.1, generated from the routes, the functions and the errors.

Pure. A function's parameters become their own schema. Each function becomes a path beside the
general `/invoke/{name}`. OpenAPI 3.1 cannot describe the items of a stream; `x-items` does.

Source: https://spec.openapis.org/oas/v3.1.1
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from runcast._files.model import Skipped, StoredFile, Upload
from runcast._http.api.answering import ANSWERING_OPERATIONS
from runcast._http.api.delivering import DELIVERY_OPERATIONS, DELIVERY_SCHEMAS
from runcast._http.api.describing import Operation, Response, ref
from runcast._http.api.links import LINK_OPERATIONS, LINK_SCHEMAS
from runcast._http.api.messages import MESSAGE_SCHEMAS
from runcast._http.api.operations import OPERATIONS as _OPERATIONS
from runcast._http.api.receiving import RECEIVING_OPERATIONS
from runcast._http.api.schemas import SCHEMAS
from runcast._http.api.writing_operations import WRITING_OPERATIONS, WRITING_SCHEMAS
from runcast._http.guard.security import COOKIE
from runcast._runs.protocols import DescribedFunction
from runcast.errors import RuncastError, RunFailed
from runcast.events.schemas import event_schemas, snapshot_schemas

__all__ = ("COMMON", "OPERATIONS", "build", "codes_by_status")

_Schema = dict[str, Any]

OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    **_OPERATIONS,
    **WRITING_OPERATIONS,
    **LINK_OPERATIONS,
    **DELIVERY_OPERATIONS,
    **RECEIVING_OPERATIONS,
    **ANSWERING_OPERATIONS,
}
"""Every operation, by path and method."""

_PREFIX: Final = "#/components/schemas/"

COMMON: Final = (400, 403, 431, 500, 503)
"""The statuses of problems that every operation can have."""

_PROBLEM: Final[_Schema] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "retryable"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "for programs to decide by"},
        "detail": {"type": "string", "description": "for people"},
        "retryable": {
            "type": "boolean",
            "description": "whether the same request can succeed later",
        },
        "problems": {
            "type": "array",
            "items": {"type": "string"},
            "description": "every problem with the inputs",
        },
        "run_id": {"type": "string", "description": "the run that failed"},
        "decision": {"type": "object", "description": "the earlier answer to the question"},
        "index": {"type": "integer", "description": "the event that cannot be written, from 0"},
        "expected": {
            "type": ["integer", "null"],
            "description": "the sequence that comes next; null if the producer is not known",
        },
    },
}

_HEADERS: Final[Mapping[str, str]] = {
    "Location": "the run",
    "Runcast-Run-Id": "the run's id",
    "Runcast-Repeated": "`true` if an earlier request with this key began the run",
    "Runcast-Epoch": "the epoch of the position that the stream starts from",
    "ETag": "identifies the file's contents",
    "Content-Disposition": "the file's name",
    "Content-Range": "the part of the file",
    "Retry-After": "seconds after which the same request may succeed",
    "Set-Cookie": "a session that scripts cannot read",
}

_TAGS: Final[Mapping[str, str]] = {
    "functions": "Functions that can be invoked.",
    "runs": "Runs of functions: their state, answers and ends.",
    "writing": "Runs that are written from elsewhere.",
    "watching": "Events, live and stored. A stream can begin at any position.",
    "chats": "What chat platforms send.",
    "files": "The files that runs take and make.",
    "server": "The server itself.",
    "pages": "For people.",
}

_ABOUT: Final = """\
Functions that take long are runs. A run's life is a log of events: stored, watched by any number
of clients, and resumed from any position. The rules are in the protocol (docs/protocol.md).
"""

_ABOUT_COOKIE: Final = (
    "A session. POST /session sets it under this server's own name, which begins with "
    "runcast_session_; both names are read."
)


def build(
    routes: Iterable[tuple[str, str]],
    functions: Iterable[DescribedFunction],
    *,
    version: str,
    prefix: str = "",
    views: Iterable[str] = (),
    is_protected: bool = False,
) -> _Schema:
    """Return the document.

    Args:
        routes: path and method (lower case) of each route; routes without a description are left
            out.
        functions: the functions that can be invoked.
        prefix: the path below which the application is mounted.
        views: names of the views that watchers may use.
        is_protected: whether the server has an access token.
    """
    schemas: dict[str, _Schema] = {
        **SCHEMAS,
        **MESSAGE_SCHEMAS,
        **WRITING_SCHEMAS,
        **LINK_SCHEMAS,
        **DELIVERY_SCHEMAS,
        **event_schemas(_PREFIX),
        **snapshot_schemas(_PREFIX + "{name}"),
        **_schemas_of_files(),
        "Problem": _PROBLEM,
        "View": {"type": "string", "enum": sorted({*views, "default", "none"})},
    }
    paths: dict[str, _Schema] = {}
    for path, method in routes:
        operation = OPERATIONS.get((path, method))
        if operation is not None:
            paths.setdefault(path, {})[method] = _operation(operation, is_protected)
    if "/invoke/{name}" in paths:
        for function in functions:
            paths[f"/invoke/{function.name}"] = {
                "post": _invocation(function, schemas, is_protected)
            }
    return {
        "openapi": "3.1.0",
        "info": {"title": "runcast", "version": version, "description": _ABOUT},
        "servers": [{"url": prefix or "/"}],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "responses": {str(status): _problem(status) for status in _statuses()},
            "headers": {
                name: {"schema": {"type": "string"}, "description": about}
                for name, about in _HEADERS.items()
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": _ABOUT_COOKIE,
                },
            },
        },
    }


def _schemas_of_files() -> dict[str, _Schema]:
    kinds = (Upload, StoredFile, Skipped)
    return msgspec.json.schema_components(kinds, ref_template=_PREFIX + "{name}")[1]


def _operation(operation: Operation, is_protected: bool) -> _Schema:
    problems = {*COMMON, *operation.problems}
    found: _Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
    }
    if is_protected and not operation.is_open:
        found["security"] = [{"token": []}, {"cookie": []}]
        problems.add(401)
    if operation.parameters:
        found["parameters"] = list(operation.parameters)
    if operation.body:
        found["requestBody"] = {
            "required": operation.is_body_required,
            "content": {kind: {"schema": schema} for kind, schema in operation.body.items()},
        }
    found["responses"] = {
        **{
            str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(problems)
        },
        **{str(status): _response(response) for status, response in operation.responses.items()},
    }
    return found


def _response(response: Response) -> _Schema:
    found: _Schema = {"description": response.about}
    if response.headers:
        found["headers"] = {
            name: {"$ref": f"#/components/headers/{name}"} for name in response.headers
        }
    if response.leads_to:
        found["links"] = {
            name: {
                "operationId": name,
                "parameters": {"run_id": "$response.header.Runcast-Run-Id"},
            }
            for name in response.leads_to
        }
    if response.content:
        found["content"] = {kind: _media(schema) for kind, schema in response.content.items()}
    return found


def _media(schema: _Schema) -> _Schema:
    if "x-items" not in schema:
        return {"schema": schema}
    return {"x-items": schema["x-items"]}


# --- functions ------------------------------------------------------------------------------------


def _invocation(
    function: DescribedFunction, schemas: dict[str, _Schema], is_protected: bool
) -> _Schema:
    """Return the operation that invokes a function, and add its schemas."""
    name = _component(function.name, schemas)
    schemas.update(_complete(f"{name}.inputs", function.schema))
    body = {
        "allOf": [ref("Invocation")],
        "properties": {"inputs": ref(f"{name}.inputs")},
        **({"required": ["inputs"]} if function.schema.get("required") else {}),
    }
    general = OPERATIONS["/invoke/{name}", "post"]
    found = _operation(
        general._replace(
            name=f"invoke.{name}",
            summary=function.description.partition("\n")[0] or function.name,
            parameters=[each for each in general.parameters if each["in"] != "path"],
            body={"application/json": body},
            is_body_required="required" in body,
        ),
        is_protected,
    )
    if function.description:
        found["description"] = function.description
    if function.events:
        schemas[f"{name}.event"] = {"anyOf": [*_own_events(name, function, schemas), ref("Event")]}
        for media in found["responses"]["200"]["content"].values():
            if "x-items" in media:
                media["x-items"] = ref(f"{name}.event")
    return found


def _own_events(
    name: str, function: DescribedFunction, schemas: dict[str, _Schema]
) -> Iterator[_Schema]:
    for kind, data in function.events.items():
        schemas.update(_complete(f"{name}.event.{kind}.data", data))
        yield {
            "allOf": [ref("Event")],
            "properties": {"type": {"const": kind}, "data": ref(f"{name}.event.{kind}.data")},
        }


def _component(name: str, schemas: Mapping[str, _Schema]) -> str:
    """Return a function's name for components, which allow fewer characters."""
    found = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    while f"{found}.inputs" in schemas:
        found += "_"
    return found


def _complete(name: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, _Schema]]:
    """Split a self-contained schema into several that refer to each other."""
    for part, definition in schema.get("$defs", {}).items():
        yield f"{name}.{_safe(part)}", _moved(definition, name)
    yield name, _moved({k: v for k, v in schema.items() if k != "$defs"}, name)


def _safe(part: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", part)


_MAPS: Final = frozenset({"properties", "patternProperties", "$defs", "dependentSchemas"})
_DATA: Final = frozenset({"default", "const", "enum", "examples", "example"})


def _moved(schema: Any, name: str) -> Any:
    """Return a schema whose references to `#/$defs` point to components with that prefix."""
    if isinstance(schema, list):
        return [_moved(each, name) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    found: _Schema = {}
    for key, value in schema.items():
        if key in _DATA:
            found[key] = value
        elif key in _MAPS:
            found[key] = {each: _moved(part, name) for each, part in value.items()}
        elif key == "$ref" and str(value).startswith("#/$defs/"):
            found[key] = f"{_PREFIX}{name}.{_safe(value.removeprefix('#/$defs/'))}"
        else:
            found[key] = _moved(value, name)
    return found


# --- problems -------------------------------------------------------------------------------------


def codes_by_status() -> dict[int, list[str]]:
    """Return the codes that a problem of each status can have."""
    found: dict[int, set[str]] = {405: {"method_not_allowed"}}
    for error in _all_errors(RuncastError):
        found.setdefault(error.status, set()).add(str(error.code))
    # Codes of endings that are not codes of our errors.
    found[RunFailed.status] |= {"function_error", "cancelled", "timed_out", "interrupted"}
    return {status: sorted(codes) for status, codes in sorted(found.items())}


def _all_errors(kind: type[RuncastError]) -> Iterator[type[RuncastError]]:
    yield kind
    for each in kind.__subclasses__():
        if each.__module__ == RuncastError.__module__:
            yield from _all_errors(each)


def _statuses() -> Iterable[int]:
    return codes_by_status()


def _problem(status: int) -> _Schema:
    codes = codes_by_status()[status]
    code: _Schema = {"type": "string", "enum": codes}
    if status == RunFailed.status:
        code = {"type": "string", "examples": codes}  # a function may set its own
    found: _Schema = {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{each}`' for each in codes)}",
        "content": {
            "application/problem+json": {
                "schema": {
                    "allOf": [ref("Problem")],
                    "properties": {"status": {"const": status}, "code": code},
                }
            }
        },
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        found["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return found
