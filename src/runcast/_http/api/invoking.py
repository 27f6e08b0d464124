"""Invoke a function: begin its run, and answer the client."""

from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runcast._files.model import FileReference
from runcast._http.api.bodies import check_json
from runcast._http.api.delivering import Delivering
from runcast._http.api.idempotency import digest_of, find_run, parse_key, run_id_of
from runcast._http.api.requests import (
    Invocation,
    asks_for_events,
    files_of,
    is_resuming,
    parse_flag,
    parse_invocation,
    parse_preferences,
    parse_query,
    parse_watch,
)
from runcast._http.api.responses import failure, json_response, problem
from runcast._http.api.serving import Serving
from runcast._http.streaming.waits import wait_with
from runcast._http.streaming.watching import Watching
from runcast._runs.protocols import StartedRun
from runcast.errors import (
    Conflict,
    Gone,
    InvalidValue,
    NotFound,
    Overloaded,
    Stale,
    StoreUnavailable,
)
from runcast.events.model import decode_event
from runcast.events.outcome import Outcome
from runcast.events.position import Position, split_frames

__all__ = ("Invoking",)

_REST_S: Final = 0.5
"""At shutdown, longest time for the answer to an invocation after its run was cancelled."""


class Invoking:
    """Answers invocations."""

    def __init__(self, serving: Serving, watching: Watching, delivering: Delivering) -> None:
        self._runs = serving.runs
        self._gate = serving.gate
        self._settings = serving.hub.settings
        self._closing = serving.closing
        self._read = serving.read
        self._watching = watching
        self._delivering = delivering

    async def invoke(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin a run; answer with its stream, its result, or its address."""
        request = Request(scope, receive)
        name = request.path_params["name"]
        function = self._runs.functions.get(name)
        if function is None or not self._gate.may_invoke(scope, name):
            raise NotFound(
                f"there is no function {name[:100]!r}; `runcast functions` and GET /functions "
                "list them"
            )
        query = parse_query(request.query_params.multi_items())
        asked = parse_preferences(request.headers.get("prefer", ""))
        as_stream, as_result = (
            parse_watch(
                query,
                request.headers,
                self._watching.views,
                default=usual,
                dialect=function.dialect,
            )
            for usual in ("text/event-stream", "application/json")
        )
        is_stream = function.is_streaming or asks_for_events(query)
        options = as_stream if is_stream else as_result
        is_bound = parse_flag(query, "cancel_on_disconnect")
        key = parse_key(request.headers.getlist("idempotency-key"))
        if not key and is_resuming(query, request.headers):
            raise InvalidValue(
                "expected an Idempotency-Key with a Last-Event-ID: without it a client that "
                "reconnects would begin another run each time; send a key of its own with each "
                "invocation, or watch GET /runs/{run_id}/events"
            )
        check_json(request)
        body = await self._read(request)
        invocation = parse_invocation(body)
        run, is_repeated = await self._begin(name, invocation, key, body, request)
        # A repeated request, too: the first one may have died in between.
        await self._delivering.begin(run, invocation.deliver)
        # A repeated request does not cancel the first one's run when it leaves.
        is_bound = (is_bound or invocation.on_disconnect == "cancel") and not is_repeated
        location = f"{quote(scope.get('root_path', ''))}/runs/{run.run_id}"
        headers = {"location": location, "runcast-run-id": run.run_id}
        if is_repeated:
            headers["runcast-repeated"] = "true"
        if "respond-async" in asked:
            await _begun(headers)(scope, receive, send)
            return
        try:
            # If the client did not choose, the function's return value decides.
            may_stream = (
                not (function.is_certain or is_repeated or asks_for_events(query))
                and as_stream.media_type != as_result.media_type
            )
            if may_stream or options.media_type == "application/json":
                response = await self._result(run, request, headers, may_stream=may_stream)
                if response is not None:
                    await response(scope, receive, send)
                    return
                options = as_stream
            after = options.after if is_repeated and options.after else Position(run.epoch, 0)
            options = replace(options, after=after, live="stream")
            has_left = await self._watching.stream(
                run.run_id, options, headers, scope, receive, send, is_awaited=is_bound
            )
        except ClientDisconnect:
            has_left = True
        except Overloaded:
            # The run has begun, but cannot be watched. "Try again" would begin another run.
            if is_bound:
                await self._cancel(run, "there was no room to watch it")
                raise
            await _begun(headers)(scope, receive, send)
            return
        if is_bound and has_left:
            await self._cancel(run, "the client left")

    async def _cancel(self, run: StartedRun, reason: str) -> None:
        with suppress(NotFound, Stale):  # the run was deleted, or begun again
            await self._runs.cancel(run.run_id, reason, epoch=run.epoch)

    async def _begin(
        self, name: str, invocation: Invocation, key: str, body: bytes, request: Request
    ) -> tuple[StartedRun, bool]:
        """Begin a run, or return the run that this request began before, and True.

        Raises what `Runs.start` raises, and:
            KeyReused: the idempotency key came with another body before.
            Conflict: the request has a key and a `run_id`.
        """
        run_id, digest = invocation.run_id, ""
        access = self._gate.access(request.scope)
        labels = self._gate.stamped(request.scope, invocation.labels)
        files = files_of(invocation)
        await self._check_uploads(files, access.subject)
        await self._delivering.check(request.scope, invocation.deliver, labels)
        # An id that the request may not see is refused like any other used id.
        replaces: bool | str = invocation.replace and not key
        if run_id and replaces and not access.is_unlimited:
            replaces = await self._gate.replaceable(request, run_id)
        if key:
            if run_id:
                raise Conflict(
                    "expected either a run_id or an Idempotency-Key, which makes a run_id"
                )
            run_id, digest = run_id_of(name, key, access.subject), digest_of(key, body)
            known = await find_run(self._runs.hub, run_id, digest)
            if known is not None:
                return known, True
        try:
            run = await self._runs.start(
                name,
                invocation.inputs,
                run_id=run_id,
                labels=labels,
                replace=replaces,
                secrets=invocation.secrets,
                digest=digest,
                files=files,
                workspace=invocation.workspace or "",
            )
        except Conflict:
            # With a key, the same request may have come at the same time and been first.
            known = await find_run(self._runs.hub, run_id, digest) if key else None
            if known is None:
                raise
            return known, True
        return run, False

    async def _check_uploads(
        self, files: Mapping[str, Sequence[FileReference]], subject: str
    ) -> None:
        """Raise `NotFound` if an upload belongs to another subject, as if it did not exist."""
        for reference in chain.from_iterable(files.values()):
            upload_id = reference.upload_id
            if subject and upload_id and await self._runs.files.owner_of(upload_id) != subject:
                raise NotFound(f"there is no upload {upload_id[:80]!r}; it may have expired")

    async def _result(
        self, run: StartedRun, request: Request, headers: dict[str, str], *, may_stream: bool
    ) -> Response | None:
        """Wait for a run's end, or for the client to leave, and answer with the result.

        Args:
            may_stream: the function may yield events; then return None at once.
        """
        grace_s = self._settings.shutdown_grace_s + _REST_S
        awaited: Coroutine[Any, Any, object] = run.streams() if may_stream else run.wait()
        ended = await wait_with(request, awaited, self._closing, grace_s=grace_s)
        leaving = Overloaded(f"the server is shutting down; the run is at {headers['location']}")
        if ended is None:
            return problem(leaving, headers)
        if may_stream and ended:
            return None
        try:
            ending, files = await self._ending(run)
        except StoreUnavailable:
            if not self._closing.is_set():
                raise
            return problem(leaving, headers)  # the store was closed before the end was read
        if ending.type != "done":
            return failure(run.run_id, ending.type, ending.data, headers)
        body = {**files, "result": ending.data.get("result"), "run_id": run.run_id}
        return json_response(body, 200, headers)

    async def _ending(self, run: StartedRun) -> tuple[Outcome, Mapping[str, Any]]:
        """Return the ending as the log has it, which is what watchers see, and the data of the
        `files` event right before it.

        Raises:
            NotFound, Gone: the run was deleted or begun again since.
            StoreUnavailable: the run's end could not be stored.
        """
        hub = self._runs.hub
        info = await hub.info(run.run_id)
        if info.epoch != run.epoch:
            raise Gone(f"the run {run.run_id!r} was begun again", "replaced")
        if not info.closed:
            raise StoreUnavailable(f"the end of the run {run.run_id!r} could not be stored")
        files_data: Mapping[str, Any] = {}
        after = Position(run.epoch, max(info.first, info.head - 1) - 1)
        while True:  # the two events may come in two pages
            page = await hub.read_page(run.run_id, after)
            for event in map(decode_event, split_frames(page.frames)):
                if event.type == "files" and isinstance(event.data, dict):
                    files_data = event.data  # the function's own, where it has left no files
            if page.closed:
                return Outcome(event.type, event.data), files_data
            after = page.position


def _begun(headers: dict[str, str]) -> Response:
    """Answer that the run has begun, with its address."""
    begun = {"run_id": headers["runcast-run-id"], "events": f"{headers['location']}/events"}
    return json_response(begun, 202, headers)
