"""Calls that another library makes for a channel: the client of a bot's author.

A channel builds the same requests as with a client of its own. A subclass here hands them to the
library, and turns its results and its errors back into the platform's answers.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from runcast.channels.calls import Answer, Caller
from runcast.channels.outcome import CallOutcome
from runcast.errors import InvalidValue

__all__ = ("BorrowedCalls", "classes_of")

_NOT_STARTED: Final = frozenset(
    {"ClientConnectorError", "ConnectError", "ConnectTimeout", "PoolTimeout"}
)
"""Classes of aiohttp and httpx: the server was not reached."""


class BorrowedCalls(Caller, ABC):
    """The calls of one channel through a library that is not ours.

    Args:
        lender: the library's object. It stays open: its owner closes it.
        token: what no error may show.

    Raises:
        InvalidValue: the object has no token.
    """

    def __init__(self, lender: Any, token: object) -> None:
        if not isinstance(token, str) or not token:
            raise InvalidValue(f"expected a {type(lender).__name__} that has a token")
        # The library knows the address.
        super().__init__("https://borrowed.invalid", secrets=(token, token.partition(":")[2]))
        self.lender = lender

    @abstractmethod
    async def ask(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        """Make a call. May raise what the library raises."""

    @abstractmethod
    def refused(self, error: Exception) -> Answer | CallOutcome:
        """Return the platform's answer that an error of the library stands for, or `lost`."""

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Answer | CallOutcome:
        """Make a call; return the answer, or why there is none. See `Caller.call`."""
        given = body if isinstance(body, dict) else {}
        try:
            answer: Answer | CallOutcome = await self.ask(method, path, given)
        except Exception as error:  # noqa: BLE001 - the library's own errors: their class decides
            answer = self.refused(error)
        if isinstance(answer, Answer) and answer.status >= 500:
            return self.outcome("uncertain", f"the server failed ({answer.status})")
        return answer

    def lost(self, error: Exception) -> CallOutcome:
        """Return the outcome of a call that has no answer."""
        # Only classes: a text may hold an address with a token.
        causes = [error, error.__cause__, error.__context__]
        names = {name for cause in causes if cause is not None for name in classes_of(cause)}
        is_started = names.isdisjoint(_NOT_STARTED)
        return CallOutcome(
            "uncertain" if is_started else "not_started",
            reason=f"no answer: {type(error).__name__}",
        )


def classes_of(error: BaseException) -> Iterator[str]:
    """Yield the names of an error's class and of its bases, the closest first."""
    for each in type(error).__mro__:
        yield each.__name__
