"""The access token, and the sessions that stand for it in cookies. Pure.

A cookie is sent to every port of its host, so that on localhost the servers of other programs see
it too: it holds a session that ends by itself and does not tell the token. A session is its end and
a signature of that, for which a server keeps nothing: it outlives restarts and is good at every
server that has the token.
"""

import hmac
import re
from typing import Final

from runcast.errors import InvalidValue

__all__ = ("check_token", "fingerprint", "is_session", "is_token", "make_session")

_SESSION: Final = re.compile(r"([0-9]{1,15})\.[0-9a-f]{64}")


def check_token(token: object, name: str = "the access token") -> str:
    """Return an access token; "" is none. Raises `InvalidValue` if no header could hold it."""
    if isinstance(token, str) and all("!" <= char <= "~" for char in token):
        return token
    raise InvalidValue(
        f"expected {name} to be text of ASCII characters without spaces, as it is sent in a header"
    )


def is_token(given: str, token: str) -> bool:
    """Tell whether this is the token, in a time that does not tell how much of it."""
    return bool(token) and hmac.compare_digest(given.encode(), token.encode())


def make_session(token: str, until: float) -> str:
    """Return a session that stands for a token until then (Unix seconds)."""
    end = str(int(until))
    signature = hmac.digest(token.encode(), f"runcast session until {end}".encode(), "sha256")
    return f"{end}.{signature.hex()}"


def is_session(given: str, token: str, now: float) -> bool:
    """Tell whether this is a session of a token that has not ended (Unix seconds)."""
    found = _SESSION.fullmatch(given)
    if not token or found is None or now >= int(found[1]):
        return False
    return hmac.compare_digest(given.encode(), make_session(token, int(found[1])).encode())


def fingerprint(token: str, *parts: str) -> str:
    """Return 16 hexadecimal digits that stand for a token and some texts, and do not tell them."""
    told = "\0".join(("runcast fingerprint", *parts)).encode("utf-8", "surrogatepass")
    return hmac.digest(token.encode(), told, "sha256").hex()[:16]
