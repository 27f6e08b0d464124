"""A process that attaches to the run "r" and works until it gets a message.

    python -m tests.engines.attached_process STORE MAX_ATTEMPTS WAIT_S

It prints what became of it.
"""

import os
import sys

import runcast
from runcast.errors import RuncastError


def main(store: str, max_attempts: int, wait_s: float) -> str:
    try:
        with runcast.attach(
            "r", store=store, name="train", max_attempts=max_attempts, wait_s=wait_s
        ) as run:
            runcast.emit("pid", os.getpid())
            runcast.flush()
            for message in runcast.inbox():
                runcast.log(str(message.data))
                run.set_result(os.getpid())
                break
    except (RuncastError, runcast.Cancelled) as error:
        return f"{type(error).__name__}: {error}"
    return "left"


if __name__ == "__main__":
    said = main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
    sys.stdout.write(f"{said}\n")
