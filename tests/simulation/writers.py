"""Remote writers: the real link and writer, over simulated HTTP."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from runcast._remote.link import begin
from runcast._remote.writer import RemoteWriter
from runcast._settings import Settings
from runcast.client.transport import Answer
from runcast.errors import Cancelled, RuncastError
from tests.simulation.loop import pass_time
from tests.simulation.node import LEASE_S, NodeClock
from tests.simulation.people import Person

if TYPE_CHECKING:
    from runcast.client.transport import Transport
    from tests.simulation.world import World

__all__ = ("write_run",)

_BEGIN_WAIT_S: Final = 15.0

_SETTINGS: Final = Settings(emit_wait_s=20.0)


class _SimulatedTransport:
    """In the place of the HTTP client."""

    url = "http://simulated"

    def __init__(self, person: Person) -> None:
        self._person = person

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
    ) -> Answer:
        parts = urlsplit(path)
        query = dict(parse_qsl(parts.query))
        _, _, run_id, *rest = [*map(unquote, parts.path.split("/")), ""]
        request: dict[str, Any] = {"run_id": run_id}
        if not run_id:
            name, request = "begin", dict(body)
        else:
            request["lease_id"] = (headers or {}).get("runcast-lease", "")
            name = {"events": "append", "heartbeat": "heartbeat"}[rest[0]]
        if name == "append":
            request["events"] = [json.loads(line) for line in content.splitlines()]
            request["producer_id"] = query["producer"]
            request["number"] = int(query["sequence"])
        elif name == "heartbeat":
            request["wait_s"] = float(query["wait_s"])
        return Answer(200, {}, await self._person.ask(name, wait_s=timeout_s, **request))

    async def close(self) -> None: ...


async def write_run(world: "World", run_id: str, steps: int) -> None:
    """Write a run from outside, with pauses."""
    try:
        await _write_run(world, run_id, steps)
    finally:
        world.starting.pop(run_id)


async def _write_run(world: "World", run_id: str, steps: int) -> None:
    chance, person = world.chance, Person(world, f"writer of {run_id}")
    clock = NodeClock(world.loop, chance.uniform(-2, 2), chance.uniform(0, 1000))
    transport = cast("Transport", _SimulatedTransport(person))
    fields = {"name": "remote", "run_id": run_id, "lease_s": LEASE_S}
    try:
        begun = await begin(transport, clock, fields, _BEGIN_WAIT_S)
    except RuncastError as error:
        world.note(f"{run_id} could not be begun: {error.code}")
        return
    world.oracle.expect(run_id in world.oracle.books, f"{run_id} began, and is not there")
    writer = RemoteWriter(transport, begun, "remote", _SETTINGS, clock)
    pen = world.oracle.pen(world.next_token(run_id), run_id)
    problem: BaseException | None = None
    try:
        for _ in range(steps):
            writer.emit("step", {"by": pen.token, "n": pen.written})
            pen.written += 1
            if chance.random() < 0.3:
                written = pen.written
                await cast("Any", writer.flush())
                pen.acknowledged = written
            await pass_time(chance.random() ** 2 * 2.0)
    except (RuncastError, Cancelled) as error:
        world.note(f"the writer of {run_id} stops: {error!r:.80}")
        problem = error
    try:
        await writer._finish(problem)
    except RuncastError as error:
        world.note(f"the end of {run_id} was not stored: {error.code}")
    else:
        if problem is None:
            world.note(f"{run_id} was written")
    await writer._close()
