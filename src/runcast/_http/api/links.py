"""Links to a run, over HTTP: made, listed, revoked; and how `/openapi.json` describes them."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from runcast._http.api.bodies import check_json
from runcast._http.api.describing import (
    Operation,
    Schema,
    of_fields,
    of_object,
    of_path,
    ref,
)
from runcast._http.api.describing import (
    Response as Answer,
)
from runcast._http.api.fields import parse_fields
from runcast._http.api.responses import SAFE_HEADERS, json_response
from runcast._http.api.serving import Serving
from runcast._hub.links import Link, links_of, make_link, revoke_link
from runcast.errors import Forbidden, InvalidValue
from runcast.events.schemas import RUN_ID
from runcast.stores.base import LogInfo

__all__ = ("LINK_OPERATIONS", "LINK_SCHEMAS", "Sharing")

_DEFAULT_S: Final = 7 * 24 * 3600.0
"""How long a link lasts if nobody says."""


class _Given(msgspec.Struct):
    """The body of a request for a link."""

    expires_s: float = _DEFAULT_S
    files: bool = False


class Sharing:
    """Answers requests about links to runs."""

    def __init__(self, serving: Serving) -> None:
        self._hub = serving.hub
        self._gate = serving.gate
        self._read = serving.read

    async def links(self, request: Request) -> Response:
        """Make a link, or list the links of a run."""
        if request.method == "POST":
            return await self._make(request)
        found = await links_of(self._hub, await self._run(request))
        return json_response({"links": [_shown(link) for link in found]})

    async def _run(self, request: Request) -> LogInfo:
        run_id = request.path_params["run_id"]
        return await self._gate.check(request, run_id, "share") or await self._hub.info(run_id)

    async def _make(self, request: Request) -> Response:
        check_json(request)
        body = await self._read(request)
        given = parse_fields(body, _Given, _EXAMPLE) if body else _Given()
        run = await self._run(request)
        most_s = self._hub.settings.max_link_s
        if not most_s:
            raise Forbidden("this server makes no links (max_link_s is 0)")
        if not 1 <= given.expires_s <= most_s:
            raise InvalidValue(
                f"expected expires_s to be 1 to {most_s:g} (max_link_s), got {given.expires_s:g}"
            )
        by = self._gate.access(request.scope).subject
        link, secret = await make_link(
            self._hub, run, lifetime_s=given.expires_s, by=by, shows_files=given.files
        )
        root = quote(request.scope.get("root_path", ""))
        token = f"{link.link_id}.{secret}"
        # The secret is in the fragment, which browsers send to no server.
        shown = {**_shown(link), "token": token, "url": f"{root}/#/s/{link.run_id}/{token}"}
        return json_response(shown, 201)

    async def revoke(self, request: Request) -> Response:
        """Revoke a link, and end the streams that it shows."""
        run_id = request.path_params["run_id"]
        await self._gate.check(request, run_id, "share")
        await revoke_link(self._hub, run_id, request.path_params["link_id"])
        return Response(status_code=204, headers=SAFE_HEADERS)


_EXAMPLE: Final = '{"expires_s": 604800, "files": false}'


def _shown(link: Link) -> dict[str, Any]:
    return {
        "link_id": link.link_id,
        "run_id": link.run_id,
        "epoch": link.epoch,
        "created_at": link.created_at,
        "expires_at": link.expires_at,
        "by": link.by,
        "files": link.shows_files,
    }


# How it is described.

_TEXT: Final[Schema] = {"type": "string"}
_SECONDS: Final[Schema] = {"type": "number", "description": "Unix seconds"}
_FIELDS: Final[Mapping[str, Schema]] = {
    "link_id": _TEXT,
    "run_id": _TEXT,
    "epoch": _TEXT,
    "created_at": _SECONDS,
    "expires_at": _SECONDS,
    "by": {**_TEXT, "description": "who made it"},
    "files": {"type": "boolean", "description": "whether it shows the run's files"},
}
_RUN: Final = of_path("run_id", RUN_ID, "the run")

LINK_SCHEMAS: Final[Mapping[str, Schema]] = {
    "Link": of_object(tuple(_FIELDS), **_FIELDS),
    "NewLink": of_object(
        (*_FIELDS, "token", "url"),
        **_FIELDS,
        token={**_TEXT, "description": "for the header Runcast-Link; shown only now"},
        url={**_TEXT, "description": "for people, with the secret in its fragment"},
    ),
    "GivenLink": of_fields(
        (),
        expires_s={
            **{"type": "number", "minimum": 1, "maximum": 30 * 24 * 3600, "default": _DEFAULT_S},
            "description": "seconds; a server may allow more or less (max_link_s)",
        },
        files={"type": "boolean", "default": False, "description": "show the run's files, too"},
    ),
}

_JSON: Final = "application/json"

LINK_OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("/runs/{run_id}/links", "get"): Operation(
        "list_links",
        "The links to a run, without their secrets",
        "runs",
        {
            200: Answer(
                "the links to its present epoch",
                {_JSON: of_object(("links",), links={"type": "array", "items": ref("Link")})},
            )
        },
        (_RUN,),
        problems=(404,),
    ),
    ("/runs/{run_id}/links", "post"): Operation(
        "make_link",
        "Make a link that shows a run to anyone who has it",
        "runs",
        {201: Answer("the link, with its secret", {_JSON: ref("NewLink")})},
        (_RUN,),
        {_JSON: ref("GivenLink")},
        (404, 408, 409, 413),
    ),
    ("/runs/{run_id}/links/{link_id}", "delete"): Operation(
        "revoke_link",
        "Revoke a link; what it shows ends",
        "runs",
        {204: Answer("it is revoked")},
        (_RUN, of_path("link_id", RUN_ID, "the link")),
        problems=(404,),
    ),
}
