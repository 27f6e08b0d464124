"""What is known, in a label of its log, of a run that continues after a crash.

    "3"                     it runs, and may continue three more times
    "3 1763715600.000"      it has no owner since then
    "3 1763715600.000 left" its owner left it on purpose, which is no crash

The first process that sees a run without an owner writes the time, if it cannot continue the run
itself. So every process knows when the wait is over, and a restart does not begin it again. An
owner that was only paused takes the time back.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple, Self

from runcast._producing.labels import RECOVER_LABEL
from runcast.events.outcome import Outcome, failed

__all__ = ("TOO_MANY_ATTEMPTS", "Recoverable", "as_living", "too_many_attempts")

TOO_MANY_ATTEMPTS: Final = "too_many_attempts"
"""The code of a run that may not continue any more."""

_LEFT: Final = "left"


class Recoverable(NamedTuple):
    """How often a run may still continue, and its time without an owner."""

    times: int
    since: float | None = None
    """Unix seconds; None while the run has an owner, or nobody has noticed yet that it has none."""
    was_left: bool = False
    """Whether its owner left it, as a server does that shuts down."""

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> Self | None:
        """Return what a run's labels say; None if the run does not continue after a crash."""
        times, _, rest = labels.get(RECOVER_LABEL, "").partition(" ")
        since, _, how = rest.partition(" ")
        with suppress(ValueError):
            return cls(int(times), float(since) if since else None, how == _LEFT)
        return None

    def labels(self) -> dict[str, str]:
        """Return the label to set."""
        parts = [str(self.times)]
        if self.since is not None:
            parts.append(f"{self.since:.3f}")
            if self.was_left:
                parts.append(_LEFT)
        return {RECOVER_LABEL: " ".join(parts)}

    def continued(self, *, has_begun: bool) -> Self:
        """Return what is known once the run continues.

        Args:
            has_begun: whether its function was called before; if not, nothing was lost.
        """
        counts = has_begun and not self.was_left
        return self._replace(times=self.times - counts, since=None, was_left=False)

    def may_continue(self, *, has_begun: bool) -> bool:
        """Return whether the run may continue."""
        return self.continued(has_begun=has_begun).times >= 0


def as_living(labels: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the label to set on a run that lives although another process has noted that it has no
    owner: its process was paused for longer than its lease. Empty if nobody has.

    Args:
        labels: of the run.
        own: the labels that the present attempt has set; a first attempt may have set none.
    """
    noted = Recoverable.of(labels)
    if noted is None or noted.since is None:
        return {}
    return Recoverable(times=(Recoverable.of(own) or noted).times).labels()


def too_many_attempts() -> Outcome:
    """Return the outcome of a run that may not continue any more."""
    return failed(
        "the process that ran it ended, and it has continued as often as it may (max_attempts)",
        TOO_MANY_ATTEMPTS,
    )
