"""`Idempotency-Key`: how a request that is sent again is recognised.

The run's id is made of the key and the function's name. The store takes an id only once, so the
store decides which request was first: across restarts and servers, for as long as the run is kept.
The run's log has a digest of the request. A key that comes with another request is recognised by
this digest.

Source: draft-ietf-httpapi-idempotency-key-header, with two departures. A key may come without
quotes, as most clients send it. A repeated request whose first one is still being processed gets
the run's stream, not 409.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from runcast._http.api.bodies import parse_json
from runcast._hub.hub import Hub
from runcast._producing.labels import DIGEST_LABEL
from runcast.errors import InvalidValue, KeyReused, NotFound
from runcast.events.position import Position

__all__ = ("MAX_KEY_CHARS", "RepeatedRun", "digest_of", "find_run", "parse_key", "run_id_of")

MAX_KEY_CHARS: Final = 255
"""Longest key, as in other servers; a UUID has 36 characters."""

_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
"""A string of RFC 8941 §3.3.3."""

_BARE: Final = re.compile(r"[!#-+\--:<-\[\]-~]+")
"""Visible ASCII without quotes, backslash, and the separators of lists."""


def parse_key(given: Sequence[str]) -> str:
    """Return the key in the headers of a request, or "".

    Raises:
        InvalidValue: there are several keys, or the key is not 1 to 255 characters of ASCII.
    """
    if not given:
        return ""
    text = given[0].strip(" \t")
    quoted = _QUOTED.fullmatch(text)
    bare = _BARE.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else bare[0] if bare else ""
    if len(given) > 1 or not 1 <= len(key) <= MAX_KEY_CHARS:
        raise InvalidValue(
            f"expected one Idempotency-Key of 1 to {MAX_KEY_CHARS} characters of ASCII in double "
            f"quotes, got {', '.join(given)[:80]!r}"
        )
    return key


def run_id_of(function: str, key: str, subject: str = "") -> str:
    """Return the id of a key's run.

    Keys of two functions never collide. Neither do keys of two subjects.
    """
    meant = f"{function}\0{key}\0{subject}" if subject else f"{function}\0{key}"
    return "once-" + hashlib.sha256(meant.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def digest_of(key: str, body: bytes) -> str:
    """Return a digest that distinguishes two invocations with the same key.

    Spaces, the order of fields and secrets do not count. The key is part of the digest, so that the
    body cannot be guessed from the store.
    """
    asked = parse_json(body, "{}") if body.strip() else {}
    asked.pop("_secrets", None)
    canonical = msgspec.json.encode(asked, order="deterministic")
    return hmac.new(key.encode(), canonical, hashlib.sha256).hexdigest()


class RepeatedRun:
    """A run that an earlier request began, perhaps in another process."""

    def __init__(self, hub: Hub, run_id: str, position: Position) -> None:
        self._hub = hub
        self._position = position
        self._run_id = run_id

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._run_id

    @property
    def epoch(self) -> str:
        """The epoch of its log."""
        return self._position.epoch

    async def wait(self) -> bool:
        """Return True once the log is closed or begun again; the log has the outcome.

        Raises:
            Overloaded: the limit of watching connections is reached.
        """
        with (
            self._hub.admissions.admit([self._run_id]),
            await self._hub.watch(self._run_id, self._position) as watch,
        ):
            async for chunk in watch:
                if chunk.gap is not None:
                    break
        return True

    async def streams(self) -> bool:
        """Return False once the run has ended: the first answer's form is no longer known."""
        return not await self.wait()


async def find_run(hub: Hub, run_id: str, digest: str) -> RepeatedRun | None:
    """Return a key's run; None if the run has not begun or is no longer kept.

    Raises:
        KeyReused: the run began with another request.
    """
    try:
        info = await hub.info(run_id)
    except NotFound:
        return None
    if not hmac.compare_digest(info.labels.get(DIGEST_LABEL, ""), digest):
        raise KeyReused(
            f"this Idempotency-Key came with another body before, for the run {run_id!r}; use a "
            "new key for a new invocation"
        )
    return RepeatedRun(hub, run_id, info.position)
