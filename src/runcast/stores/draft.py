"""The state of one log within a plan."""

import msgspec

from runcast.errors import RuncastError, RunClosed, Stale
from runcast.events.lifecycle import Standing
from runcast.events.position import describe_log
from runcast.stores.base import Append, Producer
from runcast.stores.commands import OnceUse
from runcast.stores.producers import Turn, Use

__all__ = ("Draft", "not_open")


class Draft(msgspec.Struct, gc=False):
    """A log's state inside a plan, as the appends planned so far leave it."""

    epoch: str
    head: int
    closed: bool
    fence: int
    labels: dict[str, str]
    standing: Standing
    once: dict[str, OnceUse]
    producer: Producer | None = None
    """That of the first append, if it was in its place, and what became of it in `use`."""
    use: Use | None = None
    turns: dict[str, Turn] | None = None
    """Those of all producers; made for the second append, since most plans have none."""

    def begin_turns(self) -> None:
        """Have turns, if not yet."""
        if self.turns is None:
            self.turns = {}
            if self.producer is not None:
                self.turns[self.producer.producer_id] = Turn(self.producer.number, self.use)


def not_open(draft: Draft, append: Append) -> RuncastError:
    """Return why a log takes no append, or not this one."""
    if append.fence is not None and append.fence != draft.fence:
        return Stale(
            f"the {describe_log(append.log_id)} has another owner (fence {draft.fence}, not "
            f"{append.fence})"
        )
    return RunClosed(f"the {describe_log(append.log_id)} has ended; nothing can be appended to it")
