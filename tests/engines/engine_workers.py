"""Real workers of Celery, RQ and Dramatiq, in processes of their own, with the tasks of `tasks`."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.environment import environment
from tests.waiting import START_S, WAIT_S

__all__ = ("EngineProcess", "Place", "children_of")

_TASKS: Final = "tests.engines.tasks"

_ROOT: Final = Path(__file__).parents[2]

_COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "celery": ("celery", "-A", _TASKS, "worker", "--loglevel", "info", "--without-mingle"),
    "rq": ("rq.cli", "worker", "--worker-ttl", "30"),
    "dramatiq": ("dramatiq", _TASKS, "--processes", "1", "--threads", "2"),
}


_CHANGED: Final = threading.Condition()


class EngineProcess:
    """The first process of a worker, and what it has written."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._text = ""
        self.changed = _CHANGED
        """Notified when any worker has written something."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self.changed:
                    self._text += line
                    self.changed.notify_all()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        """What it has written."""
        return self._text

    def until(self, text: str, times: int = 1) -> None:
        """Wait until it has written a text."""
        with self.changed:
            found = self.changed.wait_for(lambda: self._text.count(text) >= times, START_S)
        assert found, self._text

    def kill(self) -> None:
        """Kill it with all its processes. Idempotent."""
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)

    def pause(self, pid: int = 0) -> None:
        """Stop all its processes, or one of them, until `go_on`."""
        os.kill(pid, signal.SIGSTOP) if pid else os.killpg(self.pid, signal.SIGSTOP)

    def go_on(self, pid: int = 0) -> None:
        """Let them go on."""
        os.kill(pid, signal.SIGCONT) if pid else os.killpg(self.pid, signal.SIGCONT)


class Place:
    """A store, a broker, and the workers on them.

    Args:
        number: the database of the broker.
    """

    def __init__(self, store: str, number: int, folder: Path) -> None:
        self.store = store
        self.broker = f"{store.partition('?')[0]}/{number}"
        self.may_end = folder / "may-end"
        self.env = {
            "BROKER": self.broker,
            "RUNCAST_STORE": store,
            "RUNCAST_LEASE_S": "1",
            "MAY_END": str(self.may_end),
            "RQ_REDIS_URL": self.broker,
        }

    @contextmanager
    def worker(self, engine: str, *options: str) -> Iterator[EngineProcess]:
        """A worker for the length of a block."""
        process = subprocess.Popen(
            [sys.executable, "-m", *_COMMANDS[engine], *options],
            cwd=_ROOT,
            env=environment(self.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
        worker = EngineProcess(process)
        try:
            yield worker
        finally:
            worker.kill()


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]
