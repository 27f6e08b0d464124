"""The access token, and the sessions that stand for it in cookies. Pure.

A browser sends a cookie to every port of its host. So on localhost the servers of other programs
see it too. Therefore the cookie holds a session, which ends by itself and does not reveal the
token. A session is its end time and a signature. A server stores nothing for it: a session
survives restarts, and every server with the same token accepts it.
"""

import hmac
import re
from typing import Final

from runcast.errors import InvalidValue

__all__ = ("check_token", "fingerprint", "is_session", "is_token", "make_session")

_SESSION: Final = re.compile(r"([0-9]{1,15})\.[0-9a-f]{64}")


def check_token(token: object, name: str = "the access token") -> str:
    """Return an access token; "" means no token. Raises `InvalidValue` if a header cannot hold the
    token."""
    if isinstance(token, str) and all("!" <= char <= "~" for char in token):
        return token
    raise InvalidValue(
        f"expected {name} to be text of ASCII characters without spaces, as it is sent in a header"
    )


def is_token(given: str, token: str) -> bool:
    """Return whether this is the token, in a time that reveals nothing about it."""
    return bool(token) and hmac.compare_digest(given.encode(), token.encode())


def make_session(token: str, until: float) -> str:
    """Return a session for a token that is valid until `until` (Unix seconds)."""
    end = str(int(until))
    signature = hmac.digest(token.encode(), f"runcast session until {end}".encode(), "sha256")
    return f"{end}.{signature.hex()}"


def is_session(given: str, token: str, now: float) -> bool:
    """Return whether this is a valid session of a token at `now` (Unix seconds)."""
    found = _SESSION.fullmatch(given)
    if not token or found is None or now >= int(found[1]):
        return False
    return hmac.compare_digest(given.encode(), make_session(token, int(found[1])).encode())


def fingerprint(token: str, *parts: str) -> str:
    """Return 16 hexadecimal digits that identify a token and some texts without revealing them."""
    message = "\0".join(("runcast fingerprint", *parts)).encode("utf-8", "surrogatepass")
    return hmac.digest(token.encode(), message, "sha256").hex()[:16]
