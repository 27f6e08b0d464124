"""What a server answers, as typed values."""

from typing import Any, TypeVar

import msgspec

from runcast.errors import PeerError
from runcast.events.lifecycle import Status
from runcast.events.snapshot import Snapshot

__all__ = (
    "Decision",
    "DeliveryInfo",
    "FileInfo",
    "FunctionInfo",
    "RunChange",
    "RunInfo",
    "RunLink",
    "RunState",
    "SentMessage",
    "read",
)

T = TypeVar("T")


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A run as lists show it. Times are Unix seconds; `ended_at` is None before the end.

    `events` is the number of its events, `position` the place of the last one.
    """

    run_id: str
    function: str = ""
    status: Status = "queued"
    labels: dict[str, str] = {}
    created_at: float = 0.0
    ended_at: float | None = None
    events: int = 0
    position: str = ""


class RunState(RunInfo, frozen=True, kw_only=True):
    """A run with its present state, the sum of all its events.

    `queue_position` counts from 1 and is 0 if the run does not wait for room. `inputs` is what the
    server keeps of the inputs, or None.
    """

    queue_position: int = 0
    state: Snapshot
    inputs: dict[str, Any] | None = None
    traceback: str = ""


class RunChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change in a list of runs; one of the three is set.

    `run` was created or has changed. `deleted` is the id of a run that was deleted. `gap` says why
    changes may be missing; the list follows from its beginning.
    """

    run: RunInfo | None = None
    deleted: str = ""
    gap: str = ""


class RunLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link that shows one run to anyone who has it. Times are Unix seconds.

    `token` (for programs) and `url` (for people) hold the secret. Only `share` returns them; in
    lists they are empty.
    """

    link_id: str
    run_id: str
    epoch: str
    created_at: float
    expires_at: float
    by: str = ""
    files: bool = False
    token: str = ""
    url: str = ""


class DeliveryInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery of a run to a chat. Times are Unix seconds."""

    delivery_id: str
    run_id: str
    target: str
    status: str = "delivering"
    """`delivering`; or what became of it: `delivered`, `uncertain` or `failed`."""
    begun_at: float = 0.0
    ended_at: float | None = None
    message_ids: tuple[str, ...] = ()
    """The messages that show the text, in order, once it is delivered."""
    reason: str = ""
    """Why it is not `delivered`."""
    strays: int = 0
    """Messages that may remain although others have replaced them."""
    may_be_shown: bool = True
    """Whether a message of the delivery is in the chat, or may be. If it is False once the delivery
    has ended, `deliver` begins the delivery again."""


class SentMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is stored: its id, its place in the log, and whether it was there before."""

    message_id: str
    position: str = ""
    repeated: bool = False


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The answer that counts for a question, and whether it was given before."""

    type: str
    args: Any = None
    by: str = ""
    approved: bool = False
    repeated: bool = False


class FunctionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A function that may be invoked; `inputs` is a JSON Schema.

    `events` are the types of its events, if it names them; `files` are its groups of files, and
    `secrets` what it needs to know. `dialect` is how it streams by default.
    """

    name: str
    description: str = ""
    streaming: bool = False
    inputs: dict[str, Any] = {}
    events: Any = None
    files: list[dict[str, Any]] = []
    secrets: list[Any] = []
    dialect: str = ""


class FileInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a run made: `size` is bytes, `type` a media type, `key` its group."""

    path: str
    name: str = ""
    size: int = 0
    type: str = ""
    sha256: str = ""
    key: str = ""


def read(given: object, kind: type[T]) -> T:
    """Return a server's JSON as a typed value. Raises `PeerError` if it is something else."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise PeerError(f"the server does not answer as runcast does: {error!s:.300}") from None
