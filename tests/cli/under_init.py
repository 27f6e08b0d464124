"""A script that takes itself for process 1: orphans come to it. Its child leaves some.

The child prints "ready", waits for SIGTERM, and ends with 7 once no process but itself is left of
those that came to its parent.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

from runcast._cli.supervising import stay_behind_as_init

_PR_SET_CHILD_SUBREAPER = 36

ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
init = os.getpid()
stay_behind_as_init(first=init)
assert os.getppid() == init

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
for _ in range(3):
    # A process of its own, whose exit code nobody takes, leaves an orphan.
    assert subprocess.run(["sh", "-c", "sleep 0 & exit 5"], check=False).returncode == 5
sys.stdout.write("ready\n")
sys.stdout.flush()
signal.sigwait({signal.SIGTERM})
children = Path(f"/proc/{init}/task/{init}/children")
while children.read_text().split() != [str(os.getpid())]:
    pass
os._exit(7)
