"""Write runs from elsewhere: begin a run, append its events, keep it alive."""

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from runcast._http.api.batches import LEASE_HEADER, Begin, GivenBatch
from runcast._http.api.bodies import check_json
from runcast._http.api.responses import json_response
from runcast._http.api.serving import Serving
from runcast._http.api.waiting import parse_wait
from runcast._http.streaming.waits import wait_with
from runcast._runs.protocols import Written
from runcast.errors import Forbidden, InvalidValue

__all__ = ("Writing",)


class Writing:
    """Answers remote writers."""

    def __init__(self, serving: Serving) -> None:
        self._runs = serving.runs
        self._gate = serving.gate
        self._closing = serving.closing
        self._read = serving.read

    async def begin(self, request: Request) -> Response:
        """Begin a run that the client writes."""
        self._gate.check_action(request.scope, "write")
        if "idempotency-key" in request.headers:
            raise InvalidValue(
                "expected no Idempotency-Key: send a run_id and a lease_id of your own instead, "
                "and the same request again begins no other run"
            )
        check_json(request)
        given = Begin.parse(await self._read(request))
        access = self._gate.access(request.scope)
        if access.functions is not None and given.name not in access.functions:
            raise Forbidden(f"you may not begin a run of the name {given.name[:100]!r} here")
        labels = self._gate.stamped(request.scope, given.labels)
        replaces: bool | str = given.replace
        if given.run_id and replaces and not access.is_unlimited:
            replaces = await self._gate.replaceable(request, given.run_id)
        run = await self._runs.writers.begin(
            given.name,
            run_id=given.run_id,
            labels=labels,
            ttl_s=given.ttl_s,
            lease_s=given.lease_s,
            lease_id=given.lease_id,
            replace=replaces,
        )
        location = f"{quote(request.scope.get('root_path', ''))}/runs/{run.run_id}"
        shown = {
            "run_id": run.run_id,
            "epoch": run.position.epoch,
            "position": str(run.position),
            "lease_id": run.lease_id,
            "lease_s": run.lease_s,
            "events": f"{location}/events",
            "max_event_bytes": self._runs.hub.settings.max_event_bytes,
            "max_body_bytes": self._runs.hub.settings.max_body_bytes,
            "time": self._runs.hub.clock.time(),
            "repeated": run.repeated,
        }
        headers = {"location": location, "runcast-run-id": run.run_id}
        return json_response(shown, 200 if run.repeated else 201, headers)

    async def append(self, request: Request) -> Response:
        """Append a batch of events."""
        run_id = request.path_params["run_id"]
        await self._gate.check(request, run_id, "write")
        batch = GivenBatch.parse(request, await self._read(request))
        written = await self._runs.writers.append(
            run_id,
            request.headers.get(LEASE_HEADER, ""),
            batch.events,
            producer_id=batch.producer_id,
            number=batch.number,
        )
        return json_response(_shown(written))

    async def heartbeat(self, request: Request) -> Response:
        """Renew the lease; with `wait_s`, answer once the run is cancelled or that time is over.

        Raises, after the lease was renewed: `Overloaded` if there is no room to wait.
        """
        run_id = request.path_params["run_id"]
        await self._gate.check(request, run_id, "write")
        wait_s, lease_id = parse_wait(request.query_params), request.headers.get(LEASE_HEADER, "")
        await self._read(request)  # which must be read before the wait
        changed = asyncio.Event()
        leave = self._runs.hub.owned.listen(run_id, changed.set)
        try:
            written = await self._runs.writers.renew(run_id, lease_id)
            if wait_s and written.cancel is None:
                with self._runs.hub.admissions.admit([run_id]):  # like every wait
                    await wait_with(request, _until(changed, wait_s), self._closing)
                written = await self._runs.writers.renew(run_id, lease_id)
        finally:
            leave()
        return json_response(_shown(written))

    async def expire(self, request: Request) -> Response:
        """Close a question that nobody has answered in time."""
        run_id = request.path_params["run_id"]
        await self._gate.check(request, run_id, "write")
        decision, repeated = await self._runs.writers.expire(
            run_id, request.headers.get(LEASE_HEADER, ""), request.path_params["interrupt_id"]
        )
        return json_response({"decision": decision, "repeated": repeated})


def _shown(written: Written) -> dict[str, Any]:
    return {
        "position": str(written.position),
        "lease_s": written.lease_s,
        "cancel": written.cancel,
        "repeated": written.repeated,
    }


async def _until(changed: asyncio.Event, wait_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            await changed.wait()
