"""Deliveries of runs to chats, over HTTP: begun, and what became of them; and how `/openapi.json`
describes them.

A request names targets of the server's channels file. It never holds an address or a token: a
client could make the server call any address with them.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from runcast._http.api.bodies import check_json
from runcast._http.api.describing import (
    Operation,
    Schema,
    of_fields,
    of_object,
    of_path,
    parameter,
    ref,
)
from runcast._http.api.describing import Response as Answer
from runcast._http.api.fields import parse_fields
from runcast._http.api.responses import json_response
from runcast._http.api.serving import Serving
from runcast._http.api.waiting import MAX_WAIT_S, parse_wait
from runcast._http.streaming.waits import wait_with
from runcast._runs.protocols import StartedRun
from runcast.errors import Conflict, Forbidden, InvalidValue, NotFound, Stale
from runcast.events.schemas import RUN_ID

__all__ = ("DELIVERY_OPERATIONS", "DELIVERY_SCHEMAS", "MAX_TARGETS", "TARGET", "Delivering")

MAX_TARGETS: Final = 8
"""Most targets that one invocation names."""

_MAX_TARGET_CHARS: Final = 200

TARGET: Final[Schema] = {
    "type": "string",
    "minLength": 1,
    "maxLength": _MAX_TARGET_CHARS,
    "description": "a target of the server's channels file, like telegram:ops",
}


class _Given(msgspec.Struct):
    """The body of a request for a delivery."""

    target: Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_TARGET_CHARS)]
    shows: str | None = None
    finish: str | None = None


class Delivering:
    """Answers requests for deliveries."""

    def __init__(self, serving: Serving) -> None:
        self._runs = serving.runs
        self._gate = serving.gate
        self._read = serving.read
        self._closing = serving.closing

    async def deliveries(self, request: Request) -> Response:
        """Begin a delivery of a run, or list the deliveries of a run."""
        if request.method == "POST":
            return await self._deliver(request)
        run_id = request.path_params["run_id"]
        run = await self._gate.check(request, run_id) or await self._runs.hub.info(run_id)
        deliveries, delivery_id = self._runs.deliveries, request.query_params.get("delivery_id", "")
        if wait_s := parse_wait(request.query_params):
            await self._read(request)  # which must be read before the wait
            with self._runs.hub.admissions.admit([run_id]):  # like every wait
                await self._wait(request, wait_s, deliveries.wait(run, delivery_id))
        shown = await deliveries.states(run, delivery_id)
        return json_response({"deliveries": [msgspec.to_builtins(each) for each in shown]})

    async def _wait(
        self, request: Request, wait_s: float, awaited: Coroutine[Any, Any, None]
    ) -> None:
        """Wait while the request may see its run. Raises `NotFound` once it may not."""
        run_id, was_dismissed = request.path_params["run_id"], False
        waiting = asyncio.ensure_future(_within(wait_s, awaited))

        def dismiss() -> None:
            nonlocal was_dismissed
            was_dismissed = True
            waiting.cancel()

        held = self._gate.add(request, [run_id], dismiss)
        try:
            await wait_with(request, _settled(waiting), self._closing)
        finally:
            if held is not None:
                held.forget()
            waiting.cancel()
            await asyncio.wait({waiting})
        if was_dismissed:
            raise NotFound(f"there is no run {run_id!r:.140}")
        if not waiting.cancelled():
            waiting.result()

    async def _deliver(self, request: Request) -> Response:
        check_json(request)
        run_id = request.path_params["run_id"]
        given = parse_fields(await self._read(request), _Given, '{"target": "telegram:ops"}')
        # After the body, which takes its time: meanwhile the id may become that of another's run.
        async with self._gate.passing(request, run_id, "deliver") as epoch:
            await self._runs.deliveries.check_names([given.target])
            delivery = await self._runs.deliveries.begin_by_name(
                run_id, given.target, shows=given.shows, finish=given.finish, epoch=epoch
            )
        shown = {"delivery_id": delivery.delivery_id, "run_id": run_id, "target": delivery.target}
        return json_response(shown, 201)

    async def check(self, scope: Scope, targets: list[str], labels: Mapping[str, str]) -> None:
        """Check the targets of an invocation, before its run begins with these labels.

        Raises:
            Forbidden: the request may not deliver such a run.
            InvalidValue: there are too many targets, or one of them has no such name.
        """
        if not targets:
            return
        if not self._gate.access(scope).may("deliver", labels):
            raise Forbidden("you may not deliver a run")
        if len(targets) > MAX_TARGETS:
            raise InvalidValue(f"expected at most {MAX_TARGETS} targets, got {len(targets)}")
        await self._runs.deliveries.check_names(targets)

    async def begin(self, run: StartedRun, targets: list[str]) -> None:
        """Begin the deliveries of an invocation. Those that were begun before stay as they are."""
        for target in dict.fromkeys(targets):
            with suppress(Conflict, Stale):  # Stale: somebody has begun the run again
                await self._runs.deliveries.begin_by_name(run.run_id, target, epoch=run.epoch)


async def _within(seconds: float, awaited: Coroutine[Any, Any, None]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await awaited


async def _settled(task: asyncio.Future[None]) -> None:
    await asyncio.wait({task})


# How it is described.

_JSON: Final = "application/json"
_TEXT: Final[Schema] = {"type": "string"}
_SECONDS: Final[Schema] = {"type": "number", "description": "Unix seconds"}

DELIVERY_SCHEMAS: Final[Mapping[str, Schema]] = {
    "GivenDelivery": of_fields(
        ("target",),
        target=TARGET,
        shows={
            "type": ["string", "null"],
            "enum": ["answer", "tools", "steps", "notice", None],
            "description": "what is shown beside questions and the end; else as the target says",
        },
        finish={
            "type": ["string", "null"],
            "enum": ["auto", "in_place", "fresh", None],
            "description": "whether the end changes the last message or is a new one; else as the "
            "target says",
        },
    ),
    "Delivery": of_object(
        ("delivery_id", "run_id", "target"), delivery_id=_TEXT, run_id=_TEXT, target=_TEXT
    ),
    "DeliveryState": of_object(
        ("delivery_id", "run_id", "target", "status", "begun_at", "message_ids", "strays"),
        delivery_id=_TEXT,
        run_id=_TEXT,
        target=_TEXT,
        status={"type": "string", "enum": ["delivering", "delivered", "uncertain", "failed"]},
        begun_at=_SECONDS,
        ended_at={**_SECONDS, "type": ["number", "null"]},
        message_ids={
            **{"type": "array", "items": _TEXT},
            "description": "the messages that show the text, in order, once it is delivered",
        },
        reason={**_TEXT, "description": "why it is not delivered"},
        strays={
            **{"type": "integer", "minimum": 0},
            "description": "messages that may remain although others have replaced them",
        },
        may_be_shown={
            "type": "boolean",
            "description": "whether a message of the delivery is in the chat, or may be; if it is "
            "false once the delivery has ended, the same request begins the delivery again",
        },
    ),
}

DELIVERY_OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("/runs/{run_id}/deliveries", "get"): Operation(
        "list_deliveries",
        "What became of the deliveries of a run, newest first",
        "runs",
        {
            200: Answer(
                "the deliveries",
                {
                    _JSON: of_object(
                        ("deliveries",),
                        deliveries={"type": "array", "items": ref("DeliveryState")},
                    )
                },
            )
        },
        (
            of_path("run_id", RUN_ID, "the run"),
            parameter("query", "delivery_id", _TEXT, "only this delivery"),
            parameter(
                "query",
                "wait_s",
                {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S},
                "answer once the deliveries have ended, or after so many seconds",
            ),
        ),
        problems=(404,),
    ),
    ("/runs/{run_id}/deliveries", "post"): Operation(
        "deliver",
        "Deliver a run to a chat that the server's channels file names",
        "runs",
        {201: Answer("the delivery has begun", {_JSON: ref("Delivery")})},
        (of_path("run_id", RUN_ID, "the run"),),
        {_JSON: ref("GivenDelivery")},
        (404, 408, 409, 413),
        is_body_required=True,
    ),
}
