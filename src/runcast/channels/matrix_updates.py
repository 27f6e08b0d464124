"""Asks a Matrix homeserver what people wrote in the rooms of the bot's account.

The account's own sync is used: no application service has to be registered, and no port be open.

Source: https://spec.matrix.org/latest/client-server-api/#syncing, and of rich replies
https://spec.matrix.org/latest/client-server-api/#rich-replies.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote, urlencode

from runcast._addresses import Network
from runcast._logs import get_logger
from runcast.channels.calls import Answer, Caller, check_token, seconds_of
from runcast.channels.inbound import Inbound, from_matrix
from runcast.channels.outcome import CallOutcome
from runcast.channels.platforms.options import networks_for, required
from runcast.channels.receiver import is_at

__all__ = ("MatrixUpdates", "make_poller")

_WAIT_S: Final = 25
_MAX_EVENTS: Final = 100
"""Most messages of one room in one answer. If more were written meanwhile, the oldest are read by
no run, and the log says so."""

_FILTER: Final = json.dumps(
    {
        "room": {
            "timeline": {"types": ["m.room.message"], "limit": _MAX_EVENTS},
            "state": {"types": []},
            "ephemeral": {"types": []},
            "account_data": {"types": []},
        },
        "presence": {"types": []},
        "account_data": {"types": []},
    }
)


_log: Final = get_logger("runcast.channels")


class MatrixUpdates:
    """What people write in all rooms of an account.

    Args:
        wait_s: how long the server waits for something to happen, whole seconds.

    Raises:
        InvalidValue: the homeserver or the token is malformed. The message does not show the token.
    """

    def __init__(
        self,
        homeserver: str,
        token: str,
        *,
        networks: Iterable[Network] | None = None,
        wait_s: int = _WAIT_S,
    ) -> None:
        check_token(token, "a token of Matrix")
        self.mark = ""
        self._wait_s = wait_s
        self._user = ""
        self._caller = Caller(
            f"{homeserver.rstrip('/')}/_matrix/client/v3",
            secrets=(token,),
            headers={"authorization": f"Bearer {token}"},
            networks=networks,
            timeout_s=wait_s + 10.0,
        )

    async def poll(self) -> list[Inbound] | CallOutcome:
        """Return what was written since `mark`, at once or within `wait_s`; or why not.

        Without a mark nothing is returned: what was written before is for nobody.
        """
        if not self._user:
            who = await self._caller.call("GET", "/account/whoami")
            if isinstance(who, CallOutcome) or not who.is_ok:
                return self._refused(who)
            self._user = who.text("user_id")
        asked = {"filter": _FILTER, "timeout": self._wait_s * 1000 if self.mark else 0}
        if self.mark:
            asked["since"] = self.mark
        answer = await self._caller.call("GET", f"/sync?{urlencode(asked)}")
        if isinstance(answer, CallOutcome) or not answer.is_ok:
            return self._refused(answer)
        is_first, self.mark = not self.mark, answer.text("next_batch") or self.mark
        return [] if is_first else list(self._read(answer))

    def _read(self, answer: Answer) -> Iterator[Inbound]:
        rooms = answer.field("rooms", "join")
        for room, found in rooms.items() if isinstance(rooms, dict) else ():
            timeline = found.get("timeline") if isinstance(found, dict) else None
            if not isinstance(timeline, dict):
                continue
            if timeline.get("limited"):
                _log.warning("of many messages in %s only the last %d are read", room, _MAX_EVENTS)
            events = timeline.get("events")
            for event in events if isinstance(events, list) else ():
                inbound = from_matrix(str(room), event)
                if inbound is not None and inbound.person != self._user:
                    yield inbound

    async def tell(self, inbound: Inbound, notice: str) -> CallOutcome:
        """Answer a person in the room, as a notice, which no bot answers."""
        content = {
            "msgtype": "m.notice",
            "body": notice,
            "m.relates_to": {"m.in_reply_to": {"event_id": inbound.key.partition(":")[2]}},
        }
        # The same answer to the same message has one id, so it is there once.
        transaction = quote(f"runcast-{inbound.key}", safe="")
        path = f"/rooms/{quote(inbound.place, safe='')}/send/m.room.message/{transaction}"
        answer = await self._caller.call("PUT", path, content)
        return CallOutcome("ok") if _is_ok(answer) else self._refused(answer)

    def is_in(self, inbound: Inbound, address: str) -> bool:
        """Return whether it happened in the room of an address."""
        return is_at(inbound, address)

    async def close(self) -> None:
        """Close connections. Idempotent."""
        await self._caller.close()

    def _refused(self, answer: Answer | CallOutcome) -> CallOutcome:
        if isinstance(answer, CallOutcome):
            return answer
        said = answer.text("error") or f"HTTP {answer.status}"
        if answer.status == 429:
            named = answer.field("retry_after_ms")
            waits = named / 1000 if isinstance(named, int | float) else None
            seconds = seconds_of(answer.headers.get("retry-after") if waits is None else waits)
            return CallOutcome("limited", retry_after_s=seconds, reason=self._caller.clean(said))
        is_ours = answer.status in (401, 403)
        return self._caller.outcome("forbidden" if is_ours else "rejected", said)


def _is_ok(answer: Answer | CallOutcome) -> bool:
    return not isinstance(answer, CallOutcome) and answer.is_ok


def make_poller(options: Mapping[str, str]) -> MatrixUpdates:
    """Return what asks for the messages of an account."""
    return MatrixUpdates(
        required(options, "homeserver", "Matrix"),
        required(options, "token", "Matrix"),
        networks=networks_for(options),
    )
