"""What the exit code of a command says."""

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
"""As of a program that SIGPIPE ended."""

ENDINGS: Final = {"done": DONE, "failed": FAILED, "cancelled": CANCELLED}
"""What `invoke` and `watch` return for each ending of a run."""

EXIT_CODES: Final = {
    DONE: "it did what it was asked; the run is `done`; `serve` ended because it was told to; "
    "`doctor` found nothing that must be mended",
    FAILED: "the run `failed`; `doctor` found something that must be mended",
    WRONG_USE: "something that its caller can put right: one line on standard error says what",
    CANCELLED: "the run was `cancelled`",
    NO_SERVER: "the server cannot be reached, or cannot do it now; the run may go on",
    LEFT: "Ctrl-C: a run that was watched goes on; `serve` has ended in order",
    NO_READER: "who read the output has gone (`| head`)",
}
"""Each exit code and what it says, for the documents."""
