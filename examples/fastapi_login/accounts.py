"""The application as it was before: users who log in, with a cookie for each session."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request, Response

PASSWORDS = {"ada": "lovelace", "bob": "ross"}  # an application keeps hashes of them, in a database
SESSIONS: dict[str, str] = {}

router = APIRouter()


def user_of(request: Request) -> str | None:
    """Return who is logged in; None if nobody is."""
    return SESSIONS.get(request.cookies.get("session", ""))


@router.post("/login")
async def login(
    name: Annotated[str, Form()], password: Annotated[str, Form()], response: Response
) -> dict[str, str]:
    if not secrets.compare_digest(PASSWORDS.get(name, ""), password) or not password:
        raise HTTPException(401, "wrong name or password")
    session = secrets.token_urlsafe()
    SESSIONS[session] = name
    response.set_cookie("session", session, httponly=True, samesite="lax")
    return {"user": name}


@router.post("/logout")
async def logout(request: Request) -> dict[str, str]:
    SESSIONS.pop(request.cookies.get("session", ""), None)
    return {}
