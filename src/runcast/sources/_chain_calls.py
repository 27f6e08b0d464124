"""The calls of LangChain that have begun and not ended, and how they end."""

import asyncio
import concurrent.futures
from typing import TYPE_CHECKING, Final

from runcast.errors import Cancelled
from runcast.events.model import Place
from runcast.sources._graph_places import Spot

if TYPE_CHECKING:
    from runcast.sources._recorded_calls import RecordedCall

__all__ = ("NOWHERE", "ModelCall", "OpenCall", "ToolCall", "is_signal", "sign_of")

NOWHERE: Final[Place] = ("", "", (), None)

_SIGNALS: Final = (
    asyncio.CancelledError,
    concurrent.futures.CancelledError,
    Cancelled,
    GeneratorExit,
    KeyboardInterrupt,
    SystemExit,
)


def is_signal(error: BaseException) -> bool:
    """Return whether an exception ends a call without being an error, like a cancellation."""
    # What pauses a graph, or leaves it for the one above, has this base in LangGraph.
    return isinstance(error, _SIGNALS) or any(
        base.__name__ == "GraphBubbleUp" for base in type(error).__mro__
    )


class OpenCall:
    """A call that has begun."""

    __slots__ = ("began", "failure", "parent", "place", "spot", "step_id")

    def __init__(self, parent: object, spot: Spot, place: Place) -> None:
        self.parent = parent
        self.spot = spot
        self.place = place
        self.step_id: str | None = None
        """The id of the step, if the call is one."""
        self.began = 0.0
        self.failure: tuple[int, str] | None = None
        """The error of a call inside this one, which was reported there."""


class ModelCall(OpenCall):
    """A call of a model."""

    __slots__ = (
        *("args_of", "form", "has_text", "has_thought", "hearer", "is_quiet", "mark", "message_id"),
        "model",
    )

    def __init__(self, parent: object, spot: Spot, place: Place, message_id: str) -> None:
        super().__init__(parent, spot, place)
        self.message_id = message_id
        self.model = ""
        self.form = ""
        """The form in which its pieces come: `token` or `block`."""
        self.hearer: object = None
        """Who gets the pieces of its answer, of several handlers."""
        self.is_quiet = self.has_text = self.has_thought = False
        self.args_of: dict[object, tuple[str, str]] = {}
        """Id and tool of each call whose arguments are being written, by its index."""
        self.mark: RecordedCall | None = None


class ToolCall(OpenCall):
    """A call of a tool."""

    __slots__ = ("call_id", "tool")

    def __init__(self, parent: object, spot: Spot, place: Place, tool: str, call_id: str) -> None:
        super().__init__(parent, spot, place)
        self.tool = tool
        self.call_id = call_id


def sign_of(error: BaseException) -> tuple[int, str]:
    """Return what identifies an error while it passes upwards, without keeping it."""
    return id(error), type(error).__name__
