"""A delivery that the server is asked for, and what became of it once it has ended."""

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlencode

from runcast.client.model import DeliveryInfo, read
from runcast.client.transport import Answer
from runcast.errors import NotFound

__all__ = ("begin_delivery", "wait_for_receipt")

_WAIT_S: Final = 20.0
"""How long one request waits for the end of a delivery: less than clients take for silence."""


async def begin_delivery(
    ask: Callable[[str, str, object], Awaitable[Answer]],
    path: str,
    target: str,
    shows: str | None,
    finish: str | None,
) -> str:
    """Have a run delivered; return the delivery's id. See `AsyncClient.deliver`.

    Args:
        ask: sends a request with a body.
        path: of the run.
    """
    given = {"target": target, "shows": shows, "finish": finish}
    body = {name: value for name, value in given.items() if value is not None}
    answer = await ask("POST", f"{path}/deliveries", body)
    return read(answer.field("delivery_id"), str)


async def wait_for_receipt(
    ask: Callable[[str, str], Awaitable[Answer]], path: str, delivery_id: str
) -> DeliveryInfo:
    """Return a delivery after its end.

    Args:
        ask: sends a request with a method and a path.
        path: of the run.

    Raises:
        NotFound: the run has no such delivery.
    """
    query = urlencode({"delivery_id": delivery_id, "wait_s": _WAIT_S})
    while True:
        answer = await ask("GET", f"{path}/deliveries?{query}")
        found = read(answer.field("deliveries"), list[DeliveryInfo])
        if not found:
            raise NotFound(f"the run has no delivery {delivery_id!r:.80}")
        if found[0].status != "delivering":
            return found[0]
