"""The composition root: settings -> store -> hub -> runner, and the facade that scripts use.

    async with runcast.open_hub("sqlite:///runs.db") as hub:
        run = await hub.start(count_words, {"path": "war.txt"})
        async for event in hub.watch(run.run_id):
            print(event.type, event.data)

Without an event loop: use `with` instead of `async with`, and no `await`.
"""

from runcast._app.attaching import AttachOpener, attach
from runcast._app.delivering import deliver
from runcast._app.hub import AnyFunction, OpenHub, gap_event
from runcast._app.in_thread import DeliveryInThread, OpenHubInThread, RunInThread
from runcast._app.opening import HubOpener, asgi, open_hub, sse_response
from runcast._app.script import RunOpener, run

__all__ = (
    "AnyFunction",
    "AttachOpener",
    "DeliveryInThread",
    "HubOpener",
    "OpenHub",
    "OpenHubInThread",
    "RunInThread",
    "RunOpener",
    "asgi",
    "attach",
    "deliver",
    "gap_event",
    "open_hub",
    "run",
    "sse_response",
)
