"""Calls of an app: its secret is exchanged for a token that is good for some hours.

The token is asked for before the first call, and again shortly before it expires. If the platform
calls a token invalid before that, the call is made once more, with a new one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from runcast._clock import Clock, SystemClock
from runcast.channels.calls import Answer, Caller
from runcast.channels.outcome import CallOutcome

__all__ = ("AppCaller", "GivenToken")

_MARGIN_S: Final = 120.0
"""How long before its end a token is renewed: longer than any call takes."""


class GivenToken(NamedTuple):
    """A token, and for how many seconds it is good."""

    token: str
    seconds: float


class AppCaller:
    """Calls with a token that is renewed.

    Args:
        fetch: exchanges the app's secret for a token, or returns why there is none.
        header: the name of the header that holds the token.
        prefix: what stands before the token in the header.
        is_stale: whether an answer says that the token is not good any more.
    """

    def __init__(
        self,
        caller: Caller,
        fetch: Callable[[], Awaitable[GivenToken | CallOutcome]],
        *,
        header: str,
        prefix: str = "",
        is_stale: Callable[[Answer], bool],
        clock: Clock | None = None,
    ) -> None:
        self._caller = caller
        self._fetch = fetch
        self._header, self._prefix = header, prefix
        self._is_stale = is_stale
        self._clock: Clock = clock or SystemClock()
        self._token = ""
        self._good_until = 0.0
        self._renewing = asyncio.Lock()

    async def call(self, method: str, path: str, body: object = None) -> Answer | CallOutcome:
        """Make a call; return the answer, or why there is none. See `Caller.call`."""
        answer: Answer | CallOutcome = CallOutcome("not_started")
        for _ in range(2):
            token = await self._get()
            if isinstance(token, CallOutcome):
                return token
            answer = await self._caller.call(method, path, body, headers=self._with(token))
            if isinstance(answer, CallOutcome) or not self._is_stale(answer):
                break
            if token == self._token:
                self._token = ""
        return answer

    def _with(self, token: str) -> Mapping[str, str]:
        return {self._header: f"{self._prefix}{token}"}

    async def _get(self) -> str | CallOutcome:
        async with self._renewing:
            if self._token and self._clock.monotonic() < self._good_until:
                return self._token
            given = await self._fetch()
            if isinstance(given, CallOutcome):
                # Nothing was sent yet, whatever became of this call.
                is_doubtful = given.kind == "uncertain"
                return self._caller.outcome("not_started", given.reason) if is_doubtful else given
            self._token = given.token
            self._good_until = self._clock.monotonic() + max(given.seconds - _MARGIN_S, 0.0)
            self._caller.hide(given.token)
            return self._token
