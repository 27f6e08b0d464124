"""`runcast.deliver`: inside a run, have this run delivered to a chat."""

from typing import cast

from runcast._producing.calls import Waited
from runcast._producing.context import current_writer
from runcast.channels.channel import Channel
from runcast.channels.deliveries import Delivery
from runcast.channels.document import Shows
from runcast.channels.engine import Finish
from runcast.errors import InvalidValue

__all__ = ("deliver",)


def deliver(
    target: str | Channel, *, shows: Shows | None = None, finish: Finish | None = None
) -> Waited[Delivery]:
    """Deliver the current run to a chat; `await` it in a coroutine. A thread waits in the call.

    The delivery is stored when this returns, and goes on after the run's end. To begin the same
    delivery again returns the first one, or begins it again if nothing of the first one can be in
    the chat. Outside a run use `hub.deliver(run_id, target)`.

    Args:
        target: a name of `channels_file`, such as `telegram:ops`; an address, such as
            `telegram://-100123?token=…`; or a channel.
        shows: see `OpenHub.deliver`.
        finish: see `OpenHub.deliver`.

    Raises:
        InvalidValue: outside a run; in a function that has a process of its own, or in a script,
            whose runs the server delivers; or the target is not known.
        Conflict: another process delivers the run to this target, or its text is there, or may be.
    """
    writer = current_writer()
    if writer is None:
        raise InvalidValue(
            "expected deliver() inside a run; outside, call hub.deliver(run_id, target)"
        )
    begun = writer.deliver(target, shows=shows, finish=finish)
    return cast("Waited[Delivery]", begun)
