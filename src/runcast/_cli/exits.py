"""The meaning of a command's exit code."""

from typing import Final

__all__ = (
    "CANCELLED",
    "DONE",
    "ENDINGS",
    "EXIT_CODES",
    "FAILED",
    "LEFT",
    "NO_READER",
    "NO_SERVER",
    "WRONG_USE",
)

DONE: Final = 0
FAILED: Final = 1
WRONG_USE: Final = 2
CANCELLED: Final = 3
NO_SERVER: Final = 4
LEFT: Final = 128 + 2
"""The code of a program that SIGINT ended."""
NO_READER: Final = 128 + 13
"""The code of a program that SIGPIPE ended."""

ENDINGS: Final = {"done": DONE, "failed": FAILED, "cancelled": CANCELLED}
"""The exit code of `invoke` and `watch` for each ending of a run."""

EXIT_CODES: Final = {
    DONE: "the command succeeded; the run is `done`; `serve` was stopped; "
    "`doctor` found nothing that must be repaired",
    FAILED: "the run `failed`; `deliver` is not certain that all was delivered; "
    "`doctor` found something that must be repaired",
    WRONG_USE: "an error that the caller can correct: one line on standard error says how",
    CANCELLED: "the run was `cancelled`",
    NO_SERVER: "the server cannot be reached, or cannot do this now; the run may go on",
    LEFT: "Ctrl-C: a run that was watched goes on; `serve` shut down cleanly",
    NO_READER: "the reader of the output has closed it (`| head`)",
}
"""Each exit code and its meaning, for the documents."""
