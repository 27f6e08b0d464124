"""Events at a steady rate: to test a watcher, a proxy or a network."""

import asyncio
from typing import Final

import runcast

__all__ = ("emit_events",)

_MOST_SIZE: Final = 100_000
_BURST_BYTES: Final = 256 * 1024
"""Most bytes emitted before other tasks on the loop get their turn."""


@runcast.function
async def emit_events(n: int, rate: float = 10.0, size: int = 100) -> dict[str, float]:
    """Emit n events of the type `tick`, `rate` a second, each with about `size` bytes of data.

    Late events are emitted at once, so that the rate holds on average; a rate of 0 emits as fast as
    possible. `size` is at most 100,000.
    """
    if n < 0 or rate < 0 or not 0 <= size <= _MOST_SIZE:
        raise runcast.RunFailed(
            f"expected n and rate not to be negative and size to be 0 to {_MOST_SIZE}, "
            f"got {n}, {rate:g} and {size}",
            "invalid_inputs",
        )
    now = asyncio.get_running_loop().time
    began, sent = now(), 0
    padding = "." * max(0, size - len(f'{{"n":{n},"of":{n},"text":""}}'))
    burst = max(1, _BURST_BYTES // max(1, size))
    while sent < n:
        due = n if not rate else min(n, int((now() - began) * rate) + 1)
        due = min(due, sent + burst)
        while sent < due:
            sent += 1
            runcast.emit("tick", {"n": sent, "of": n, "text": padding})
        # Wait for the commit, so that events never pile up, however large they are.
        await runcast.flush()
        if sent < n and rate:
            await asyncio.sleep(max(0.0, began + sent / rate - now()))
    return {"events": n, "seconds": round(now() - began, 3)}
