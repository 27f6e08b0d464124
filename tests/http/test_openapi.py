"""The description of the API: true to the routes, the functions and the errors; and its page."""

import inspect
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from starlette.routing import Route

import runcast
from runcast import errors
from runcast._http.api.openapi import OPERATIONS, codes_by_status
from runcast._http.api.requests import before_token, parse_before
from runcast.events import position, vocabulary
from runcast.events.schemas import DATA, EVENT_TYPE, POSITION, RUN_ID, event_schemas
from runcast.events.view import ViewSpec
from runcast.events.vocabulary import KNOWN
from tests.http import described
from tests.http.serving import Server, serving_here

pytestmark = pytest.mark.anyio

Document = Mapping[str, Any]

FUNCTIONS = [
    described.write_book,
    described.count,
    described.add,
    described.echo,
    described.take_anything,
]


@pytest.fixture
async def here() -> AsyncIterator[Server]:
    views = {"short": ViewSpec()}
    async with serving_here(functions=FUNCTIONS[::2], views=views) as server:
        yield server


@pytest.fixture
async def api(here: Server) -> Document:
    return described_by(await here.fetch("GET", "/openapi.json"))


def described_by(answer: Any) -> Document:
    document: Document = answer.json()
    return document


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "$ref" and isinstance(part, str):
                yield part
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def found_at(document: Document, ref: str) -> Any:
    value: Any = document
    for part in ref.removeprefix("#/").split("/"):
        value = value[part.replace("~1", "/").replace("~0", "~")]
    return value


def check(document: Document, name: str, value: Any) -> None:
    """Fail unless a value is what a schema of the document says."""
    resource = Resource.from_contents(document, default_specification=DRAFT202012)
    registry = Registry().with_resource("urn:api", resource)
    schema = {"$ref": f"urn:api#/components/schemas/{name}"}
    Draft202012Validator(schema, registry=registry).validate(value)


# --- what there is --------------------------------------------------------------------------------


async def test_it_is_a_valid_document_whose_references_lead_somewhere(api: Document) -> None:
    OpenAPIV31SpecValidator(dict(api)).validate()
    for ref in references(api):
        assert found_at(api, ref) is not None


async def test_every_route_is_described_and_every_description_has_its_route(
    here: Server, api: Document
) -> None:
    routes = {
        (route.path.replace(":path}", "}"), method.lower())
        for route in here.app._app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    shown = {(path, method) for path, methods in api["paths"].items() for method in methods}
    functions = {(f"/invoke/{name}", "post") for name in here.hub.functions}

    assert set(OPERATIONS) == routes
    assert shown == routes | functions


async def test_operations_have_names_that_are_their_own(api: Document) -> None:
    names = [each["operationId"] for methods in api["paths"].values() for each in methods.values()]

    assert len(names) == len(set(names))


async def test_the_codes_of_problems_are_those_of_the_errors(api: Document) -> None:
    shown = api["components"]["responses"]
    raised = {
        (str(error.status), error.code)
        for error in vars(errors).values()
        if inspect.isclass(error) and issubclass(error, errors.RuncastError)
    }

    for status, code in raised:
        schema = shown[status]["content"]["application/problem+json"]["schema"]["properties"]
        assert code in schema["code"].get("enum", schema["code"].get("examples"))
        assert schema["status"] == {"const": int(status)}
    assert set(shown) == set(map(str, codes_by_status()))


async def test_views_and_dialects_are_named(api: Document) -> None:
    assert api["components"]["schemas"]["View"]["enum"] == ["default", "none", "short"]
    (dialect,) = [
        each
        for each in api["paths"]["/runs/{run_id}/events"]["get"]["parameters"]
        if each["name"] == "dialect"
    ]
    assert "task" in dialect["schema"]["enum"]


async def test_it_asks_for_a_token_only_where_the_server_does() -> None:
    async with serving_here(token="secret") as server:
        fields = {"Authorization": "Bearer secret"}
        api = (await server.fetch("GET", "/openapi.json", fields)).json()
        assert (await server.fetch("GET", "/openapi.json")).problem()[0] == 401
        assert (await server.fetch("GET", "/docs")).status == 200

    secured = {
        (path, method): each.get("security")
        for path, methods in api["paths"].items()
        for method, each in methods.items()
    }
    assert secured["/runs", "get"] == [{"token": []}, {"cookie": []}]
    assert secured["/invoke/{name}", "post"] is not None
    for path in ("/", "/healthz", "/readyz", "/docs"):
        assert secured[path, "get"] is None
    assert api["components"]["securitySchemes"]["cookie"]["name"] == "runcast_session"


async def test_without_a_token_nothing_is_said_of_it(api: Document) -> None:
    operations = [each for methods in api["paths"].values() for each in methods.values()]

    assert not any("security" in each for each in operations)
    assert not any(
        "401" in each["responses"]
        for each in operations
        if each["operationId"] not in ("sign_in", "receive_callback")
    )


async def test_it_says_where_the_application_is_mounted(server: Server) -> None:
    api = (await server.fetch("GET", "/openapi.json")).json()

    assert api["servers"] == [{"url": server.prefix or "/"}]


# --- functions ------------------------------------------------------------------------------------


async def test_each_function_has_a_path_with_its_inputs(api: Document) -> None:
    operation = api["paths"]["/invoke/write_book"]["post"]
    body = operation["requestBody"]
    schemas = api["components"]["schemas"]

    assert operation["summary"] == "Write a book."
    assert "Each `chapter` is told" in operation["description"]
    assert body["required"] is True
    assert body["content"]["application/json"]["schema"]["properties"]["inputs"] == {
        "$ref": "#/components/schemas/write_book.inputs"
    }
    assert schemas["write_book.inputs"]["required"] == ["title", "chapters"]
    assert schemas["write_book.inputs"]["properties"]["title"]["maxLength"] == 200
    check(api, "write_book.inputs", {"title": "x", "chapters": [{"title": "y", "parts": []}]})


@pytest.mark.parametrize(
    "inputs",
    [
        {"title": "", "chapters": []},
        {"title": "x", "chapters": [{"title": "y", "parts": [{"pages": 1}]}]},
        {"title": "x", "chapters": [], "tone": "loud"},
        {"title": "x", "chapters": [], "more": 1},
        {"title": "x"},
    ],
)
async def test_what_the_schema_does_not_allow_is_refused_with_every_problem(
    here: Server, api: Document, inputs: dict[str, Any]
) -> None:
    with pytest.raises(Exception, match=r"."):
        check(api, "write_book.inputs", inputs)
    answer = await here.post("/invoke/write_book", json.dumps({"inputs": inputs}).encode())

    assert answer.problem() == (422, "invalid_inputs")
    problem = json.loads(answer.body)
    check(api, "Problem", problem)
    assert len(problem["problems"]) == 1


async def test_whole_numbers_may_be_written_with_a_point(here: Server) -> None:
    """As the schema says, and some programs do."""
    whole = {"title": "x", "chapters": [{"title": "y", "pages": 3.0}]}
    broken = {"title": "x", "chapters": [{"title": "y", "pages": 3.5}]}

    taken = await here.post("/invoke/write_book", json.dumps({"inputs": whole}).encode())
    refused = await here.post("/invoke/write_book", json.dumps({"inputs": broken}).encode())

    assert b'"pages":3,' in taken.body
    assert "pages" in refused.detail()


async def test_all_problems_are_named_at_once(here: Server) -> None:
    inputs = {"title": 1, "chapters": "x", "tone": 2, "a": 1, "b": 2}
    answer = await here.post("/invoke/write_book", json.dumps({"inputs": inputs}).encode())

    assert answer.headers["content-type"] == "application/problem+json"
    problems = json.loads(answer.body)["problems"]
    assert [each.split(":")[0] for each in problems] == ["a", "b", "chapters", "title", "tone"]


async def test_a_function_whose_name_a_component_cannot_have_is_described(api: Document) -> None:
    assert "/invoke/add:two.numbers" in api["paths"]
    assert "add_two.numbers.inputs" in api["components"]["schemas"]


async def test_functions_tell_their_schema_and_events(here: Server, api: Document) -> None:
    listed = (await here.fetch("GET", "/functions")).json()["functions"]
    book = next(each for each in listed if each["name"] == "write_book")

    for each in listed:
        check(api, "Function", each)
    assert book["streaming"] is True
    assert book["events"]["note"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
    assert book["events"]["chapter"]["$defs"]["Chapter"]["properties"]["pages"]["maximum"] == 1000
    ways = api["components"]["schemas"]["write_book.event"]["anyOf"]
    assert [way.get("properties", {}).get("type") for way in ways] == [
        *({"const": "chapter"}, {"const": "note"}, None)
    ]


def test_a_type_of_event_that_is_none_is_refused_where_the_function_is_made() -> None:
    with pytest.raises(runcast.RuncastError, match="Chapter One"):
        runcast.function(events={"Chapter One": str})(described.echo.call)


# --- what is answered is what is said -------------------------------------------------------------


async def test_answers_are_what_the_schemas_say(here: Server, api: Document) -> None:
    body = b'{"inputs": {"title": "x", "chapters": [{"title": "y"}]}, "run_id": "r"}'
    stream = await here.post("/invoke/write_book", body)
    events = [json.loads(each[6:]) for each in stream.body.split(b"\n") if each[:6] == b"data: "]
    for event in events:
        check(api, "Event", event)
        check(api, "write_book.event", event)
        if event["type"] in KNOWN:
            check(api, f"Event.{event['type']}", event)
    assert [event["type"] for event in events] == ["started", "chapter", "note", "done"]

    check(api, "RunState", (await here.fetch("GET", "/runs/r")).json())
    check(api, "Run", (await here.fetch("GET", "/runs")).json()["runs"][0])
    as_page = {"Accept": "application/json"}
    check(api, "Page", (await here.fetch("GET", "/runs/r/events?live=false", as_page)).json())
    check(api, "Result", (await here.post("/invoke/echo", b"")).json())
    begun = await here.post("/invoke/echo", b"", {"Prefer": "respond-async"})
    check(api, "Begun", begun.json())


async def test_the_end_of_a_failed_run_is_what_the_schema_says(here: Server, api: Document) -> None:
    await here.post("/invoke/fail", b'{"run_id": "f"}')
    history = (await here.fetch("GET", "/runs/f/events?live=false")).body

    check(api, "Event.failed", json.loads(history.split(b"data: ")[-1]))


def test_every_known_type_of_event_has_a_schema_of_its_fields() -> None:
    assert {name: set(fields) for name, fields in DATA.items()} == {
        name: set(fields) for name, fields in KNOWN.items()
    }
    for schema in event_schemas("#/").values():
        Draft202012Validator.check_schema(schema)


def test_patterns_are_those_that_requests_are_read_by() -> None:
    known = [position._TOKEN, position._RUN_ID, vocabulary._TYPE]
    patterns = [f"^{each.pattern}$" for each in known]

    assert patterns[0].replace("([0-9a-hjkmnp-tv-z]{10})", "[0-9a-hjkmnp-tv-z]{10}") == POSITION
    assert patterns[1:] == [RUN_ID, EVENT_TYPE]


@pytest.mark.parametrize(
    "created_at", [0.0, 1.5, 1763715600.123456, 1763715600.1234567, 2**40 + 0.1, 1e-7, 1e16]
)
def test_where_a_page_of_runs_goes_on_is_what_the_schema_says(created_at: float) -> None:
    token = before_token(created_at, "a_run")
    (schema,) = (
        each["schema"] for each in OPERATIONS["/runs", "get"].parameters if each["name"] == "before"
    )

    Draft202012Validator(schema).validate(token)
    assert parse_before(token) == (created_at, "a_run")


@pytest.mark.parametrize("created", [" 1", "+1", "-1", "1.", ".5", "nan", "1e999", "", "١"])
def test_what_the_schema_does_not_have_is_no_place_to_go_on(created: str) -> None:
    with pytest.raises(errors.InvalidValue, match="from the previous page of runs"):
        parse_before(f"{created}_run")


# --- the page -------------------------------------------------------------------------------------


async def test_the_page_needs_no_other_host_and_runs_its_own_script_only(here: Server) -> None:
    answer = await here.fetch("GET", "/docs")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'; script-src 'sha256-" in policy
    assert "frame-ancestors 'none'" in policy
    assert b"http://" not in answer.body
    assert b"https://" not in answer.body
    assert b"innerHTML" not in answer.body


async def test_the_document_is_made_anew_when_a_function_is_added(here: Server) -> None:
    here.hub.add(runcast.Function(lambda: None, name="later"))
    api = (await here.fetch("GET", "/openapi.json")).json()

    assert "/invoke/later" in api["paths"]
