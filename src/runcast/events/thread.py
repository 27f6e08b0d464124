"""What a watcher of a thread gets: the events of all its runs, and what happens to the runs."""

from typing import Literal

import msgspec

from runcast.events.model import Event

__all__ = ("ThreadEvent", "ThreadNotice")

ThreadNotice = Literal["", "deleted", "left", "left_out", "earlier", "gap"]


class ThreadEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of one of a thread's runs, or a notice about a run or the thread.

    `event` is an event of the run `run_id`; of type `gap` with `seq` 0 if events of this run were
    lost. Otherwise it is None, and `notice` is one of:

    - `deleted`: the run was deleted.
    - `left`: the run does not belong to the thread any more.
    - `left_out`: the run is not followed, because 32 open runs are. It comes from its first event
      if it changes its status or ends while there is room.
    - `earlier`: the thread has older runs, which do not come.
    - `gap`: runs may be missing, for the `reason`. Everything comes again from the beginning.

    A watcher that comes back with the `position` gets everything that follows this event. After a
    notice or a gap it may get that again.
    """

    run_id: str = ""
    event: Event | None = None
    notice: ThreadNotice = ""
    reason: str = ""
    position: str = ""
