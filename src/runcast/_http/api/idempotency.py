"""`Idempotency-Key`: what makes a request that is sent again the same one.

The key and the function's name make the run's id, so the store, which takes an id once, decides who
was first: across restarts and servers, for as long as the run is kept. The run's log bears a digest
of what was asked, by which a key that comes with something else is told.

Source: draft-ietf-httpapi-idempotency-key-header. Two departures: a key may come without quotes, as
most clients send it; and who repeats a request that is being processed gets its stream, not 409.
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
"""Longest key: as others take it; a UUID has 36."""

_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
"""A string of RFC 8941 §3.3.3."""

_BARE: Final = re.compile(r"[!#-+\--:<-\[\]-~]+")
"""Visible ASCII without quotes, backslash, and what separates several values."""


def parse_key(given: Sequence[str]) -> str:
    """Return the key that the headers of a request give; "" if there is none.

    Raises:
        InvalidValue: there are several, or it is not 1 to 255 characters of ASCII.
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
    """Return the id of the run that a key stands for.

    Keys of two functions never meet, nor do those of two subjects.
    """
    meant = f"{function}\0{key}\0{subject}" if subject else f"{function}\0{key}"
    return "once-" + hashlib.sha256(meant.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def digest_of(key: str, body: bytes) -> str:
    """Return what tells one invocation from another under the same key.

    Spaces and the order of fields do not count, secrets neither. The key goes into it, so that what
    the body says cannot be guessed from the store.
    """
    asked = parse_json(body, "{}") if body.strip() else {}
    asked.pop("_secrets", None)
    canonical = msgspec.json.encode(asked, order="deterministic")
    return hmac.new(key.encode(), canonical, hashlib.sha256).hexdigest()


class RepeatedRun:
    """A run that a request before this one began, perhaps in another process."""

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
        """Return True once its log is closed, or begun anew; how it ended is in the log.

        Raises:
            Overloaded: as many connections watch as may.
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
        """Return False once it has ended: how it was answered at first is not known any more."""
        return not await self.wait()


async def find_run(hub: Hub, run_id: str, digest: str) -> RepeatedRun | None:
    """Return the run that a key stands for; None if it has not begun, or is not kept any more.

    Raises:
        KeyReused: it began with something else.
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
