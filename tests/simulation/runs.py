"""The functions of simulated runs. Each event says which attempt wrote it, and its number."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import runcast
from runcast._functions.function import Function
from runcast._producing.context import current_writer
from runcast.errors import Overloaded, StoreUnavailable
from tests.simulation.loop import pass_time

if TYPE_CHECKING:
    from runcast._producing.writer import Writer
    from tests.simulation.oracle import Pen
    from tests.simulation.world import World

__all__ = ("FUNCTIONS", "QUESTION", "WORLD")

WORLD: "Final[ContextVar[World]]" = ContextVar("simulated_world")

QUESTION: Final = "q"


class _Attempt:
    """An attempt of a run at work, and its pen."""

    def __init__(self) -> None:
        writer = current_writer()
        assert writer is not None
        self.writer: Writer = writer
        self.world = WORLD.get()
        inlet: Any = writer._inlet
        self.fence: int = inlet.fence
        token = self.world.next_token(f"{writer.run_id}#{self.fence}")
        self.pen: Pen = self.world.oracle.pen(token, writer.run_id, self.fence)

    async def write(self, count: int, **more: object) -> None:
        chance = self.world.chance
        for _ in range(count):
            await self._write_one(more)
            if chance.random() < 0.3:
                await self._flush()
            await pass_time(1.5 if chance.random() < 0.3 else chance.random() ** 2 / 2)

    async def _write_one(self, more: dict[str, object]) -> None:
        data = {"by": self.pen.token, "n": self.pen.written, "fence": self.fence, **more}
        while True:
            try:
                self.writer.emit("step", data)
            except (StoreUnavailable, Overloaded):
                await pass_time(0.3)  # it was not accepted
            else:
                self.pen.written += 1
                return

    async def _flush(self) -> None:
        written = self.pen.written
        try:
            await self.writer.flush()
        except StoreUnavailable:
            return
        self.pen.acknowledged = max(self.pen.acknowledged, written)

    def see(self, answer: object) -> None:
        """Check the answer that the function was given."""
        oracle, log_id = self.world.oracle, self.writer.run_id
        stored = oracle.decision(log_id, QUESTION)
        oracle.expect(
            stored == answer, f"{log_id}: the function got {answer!r}, the log has {stored!r}"
        )


@runcast.function(name="plain")
async def plain(steps: int) -> int:
    await _Attempt().write(steps)
    return steps


@runcast.function(name="recovering", recover=True, max_attempts=1000)
async def recovering(steps: int) -> int:
    await _Attempt().write(steps)
    return steps


async def resumed(interrupt_id: str, answer: Any, inputs: dict[str, Any]) -> int:
    attempt = _Attempt()
    attempt.see({"type": answer.type, "args": answer.args})
    await attempt.write(int(inputs["steps"]))
    return 0


@runcast.function(name="asking", resume=resumed)
async def asking(steps: int) -> int:
    attempt = _Attempt()
    await attempt.write(1)
    answer = await runcast.ask("go on?", interrupt_id=QUESTION)
    attempt.see({"type": answer.type, "args": answer.args})
    await attempt.write(steps)
    return steps


@runcast.function(name="endless")
async def endless(steps: int) -> None:
    attempt = _Attempt()
    while True:
        await attempt.write(1)
        await pass_time(steps)


FUNCTIONS: Final[dict[str, Function[..., Any]]] = {
    each.name: each for each in (plain, recovering, asking, endless)
}
