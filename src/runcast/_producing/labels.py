"""The labels of runs: labels that processes set for each other, and labels from users."""

from collections.abc import Mapping
from typing import Final

from runcast._hub.owned import CANCEL_LABEL
from runcast.errors import InvalidValue
from runcast.stores.base import MAX_LABELS

__all__ = (
    "ANSWERED_LABEL",
    "CANCEL_LABEL",
    "DIGEST_LABEL",
    "FILES_LABEL",
    "LAUNCH_LABEL",
    "LEASE_LABEL",
    "MAX_GIVEN_LABELS",
    "RECOVER_LABEL",
    "RESUMABLE_LABEL",
    "check_labels",
)

RESUMABLE_LABEL: Final = "runcast.resumable"
"""On runs of functions with a resume handler: while such a run waits, it survives its owner."""

ANSWERED_LABEL: Final = "runcast.answered"
"""The answered question whose answer the run has not yet taken."""

RECOVER_LABEL: Final = "runcast.recover"
"""On runs of functions with `recover=`: how often they may still continue, and since when they have
no owner; see `runcast._runs.recoverable`."""

DIGEST_LABEL: Final = "runcast.digest"
"""Set on the log of a run that was begun under an idempotency key: the digest of the request, to
recognise other requests under the same key."""

LEASE_LABEL: Final = "runcast.lease"
"""On runs of remote writers: how long the run stays open without a sign of its writer, seconds."""

FILES_LABEL: Final = "runcast.files"
"""On runs whose remote writers have sent files: where these are; see `runcast._files.sent`."""

LAUNCH_LABEL: Final = "runcast.launch"
"""On runs that are handed to workers of a task engine: to which, since when, and who owned the run
then; see `runcast._runs.launch`."""

MAX_GIVEN_LABELS: Final = MAX_LABELS - 7
"""Most labels that a user may give a run: a log's limit without our own labels."""

_OURS: Final = (
    *("function", "status"),
    *(RESUMABLE_LABEL, ANSWERED_LABEL, CANCEL_LABEL, DIGEST_LABEL, LEASE_LABEL),
    *(RECOVER_LABEL, LAUNCH_LABEL, FILES_LABEL),
)


def check_labels(labels: Mapping[str, str]) -> None:
    """Raise `InvalidValue` if a user may not give a run these labels; stores check the rest."""
    given: object = labels
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InvalidValue(f"expected labels to be strings by their names, got {given!r:.80}")
    for name in labels:
        if name in _OURS or name.startswith("runcast."):
            raise InvalidValue(
                f"expected names of labels other than function, status and runcast.*, got "
                f"{name!r:.80}"
            )
    if len(labels) > MAX_GIVEN_LABELS:
        raise InvalidValue(f"expected at most {MAX_GIVEN_LABELS} labels, got {len(labels)}")
