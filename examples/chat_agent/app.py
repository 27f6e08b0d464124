"""The chat's page, and its runs below /runcast."""

from pathlib import Path

from agent import chat
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Mount, Route

import runcast

PAGE = Path(__file__).with_name("page.html")

runs = runcast.asgi(
    runcast.OpenHub("sqlite:///runs.db", functions=[chat]),
    authorize=runcast.everyone,  # an application with users: see the example fastapi_login
)
app = Starlette(
    routes=[Route("/", lambda request: FileResponse(PAGE)), Mount("/runcast", runs)],
    lifespan=runs.lifespan,
)
