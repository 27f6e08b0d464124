"""The application with runs: what is new is in this file."""

from collections.abc import AsyncIterator

from accounts import router, user_of
from fastapi import FastAPI, Request

import runcast


@runcast.function
async def report(topic: str) -> AsyncIterator[str]:
    """Write a report once its owner agrees to it."""
    answer = await runcast.ask(f"Write about {topic}?", interrupt_id="write")
    if answer.approved:
        for word in ("All ", "about ", topic, "."):
            yield word


async def authorize(request: Request) -> runcast.Access | None:
    user = user_of(request)
    return runcast.Access(subject=user, labels={"owner": user}) if user else None


hub = runcast.OpenHub("sqlite:///runs.db", functions=[report])
runs = runcast.asgi(hub, authorize=authorize)
app = FastAPI(lifespan=runs.lifespan)
app.include_router(router)
app.mount("/runcast", runs)
