"""What a writer needs: where its records go, and what asks its questions."""

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from runcast._producing.answers import Answer
from runcast.events.model import Place
from runcast.stores.base import Appended

__all__ = ("Asks", "TakesRecords")

T = TypeVar("T")


class TakesRecords(Protocol):
    """Where a writer's records go: the `Inlet` of a hub, or the socket of a child process."""

    @property
    def run_id(self) -> str: ...

    def put(self, record: bytes) -> None: ...

    async def append(self) -> Appended: ...

    async def drain(self) -> None: ...

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T: ...


class Asks(Protocol):
    """Who asks a run's questions: see `Questions`."""

    @property
    def is_waiting(self) -> bool: ...

    def end_of(self, interrupt_id: str) -> float | None: ...

    def cancel(self) -> None: ...

    def end(self) -> None: ...

    def ask(
        self,
        message: str,
        *,
        action: str,
        args: object,
        config: Mapping[str, Any] | None,
        timeout_s: float | None,
        interrupt_id: str,
        place: Place | None,
    ) -> Coroutine[Any, Any, Answer]: ...
