"""One request to an ASGI application without a server, its answer seen message by message."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp

from tests.waiting import WAIT_S


@asynccontextmanager
async def asking(app: ASGIApp, **scope: Any) -> AsyncIterator["asyncio.Queue[dict[str, Any]]"]:
    """Send one request to an application and yield what it answers, message by message."""
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    left = asyncio.Event()
    asked = iter([{"type": "http.request", "body": scope.pop("body", b""), "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in asked:
            return message
        await left.wait()
        return {"type": "http.disconnect"}

    headers = {"host": "localhost", "content-type": "application/json", **scope.pop("headers", {})}
    request = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "query_string": b"",
        "root_path": "",
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 80),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        **scope,
    }

    async def send(message: MutableMapping[str, Any]) -> None:
        await sent.put(dict(message))

    task = asyncio.ensure_future(app(request, receive, send))
    try:
        yield sent
    finally:
        left.set()
        await asyncio.wait_for(task, WAIT_S)
