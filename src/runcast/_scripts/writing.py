"""How the script's process writes to its run: over the socket to the process that owns the run."""

import asyncio
import select
import socket
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from runcast._clock import SystemClock
from runcast._hub.forks import make_lock
from runcast._producing.answers import Answer, check_question
from runcast._producing.calls import NOTHING, Waited
from runcast._producing.keeping import as_kept
from runcast._producing.writer import Writer
from runcast._scripts.control import LINE, NUMBER_BYTES, ReadLine, Start
from runcast._scripts.marks import Marker
from runcast._workers.processes import control
from runcast._workers.processes.parent import Parent
from runcast.errors import InvalidValue, RuncastError, RunClosed
from runcast.stores.base import Appended

__all__ = ("Owner", "ScriptWriter")

T = TypeVar("T")

_LOOK_MS: Final = 200
"""How often a thread that waits for a reply lets another one read, milliseconds."""


class Owner:
    """The process that owns the run, as the script's process sees it. Call from any thread.

    No thread of ours reads the socket: a script that forks must not be warned of threads that it
    did not start. Whoever waits for a reply reads.
    """

    def __init__(self, connection: socket.socket, marker: Marker) -> None:
        self._parent = Parent(connection)
        self._marker = marker
        self._reading = make_lock()

    def put(self, record: bytes) -> None:
        """Send an event; waits as long as there is no room for it. Raises as `Parent.send`."""
        self._marker.send(
            lambda number: self._parent.send_frame(
                control.encode_frame(control.EVENT, number.to_bytes(NUMBER_BYTES) + record)
            )
        )

    def read_line(self, prompt: str) -> str:
        """Return the line that a person answers. Raises `EOFError` if nobody will."""
        try:
            return str(self._request(lambda number: _frame(ReadLine(number, prompt))))
        except RuncastError:
            raise EOFError("EOF when reading a line") from None

    def ask(self, question: control.Ask) -> Answer:
        """Have a question asked and return its answer. Raises as `Writer.ask`."""
        answer = self._request(
            lambda number: control.encode(msgspec.structs.replace(question, number=number))
        )
        return msgspec.convert(answer, Answer)

    def flush(self) -> Appended:
        """Return once all that was put is committed."""
        epoch, seq = self._request(lambda number: control.encode(control.Flush(number)))
        return Appended(str(epoch), int(seq), int(seq))

    def _request(self, frame: Callable[[int], bytes]) -> Any:
        future = self._parent.request_frame(frame)
        poll = select.poll()
        poll.register(self._parent.socket, select.POLLIN)
        while not future.done():
            with self._reading:
                if not future.done() and poll.poll(_LOOK_MS):
                    self._hear()
        return future.result()

    def _hear(self) -> None:
        commands = self._parent.available()
        if commands is None:
            raise RunClosed("the process that owns the run is gone")
        for command in commands:
            if isinstance(command, control.Reply):
                self._parent.settle(command)


def _frame(message: ReadLine) -> bytes:
    return control.encode_frame(LINE, msgspec.json.encode(message))


class _Inlet:
    """Where a writer's records go."""

    def __init__(self, owner: Owner, run_id: str) -> None:
        self._owner = owner
        self.run_id = run_id
        self.put = owner.put

    async def append(self) -> Appended:
        return await asyncio.to_thread(self._owner.flush)

    async def drain(self) -> None:
        """Return at once: `put` waits."""

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(coroutine)


class ScriptWriter(Writer):
    """The writer of a script's run, in the script's process."""

    def __init__(self, owner: Owner, start: Start) -> None:
        inlet = _Inlet(owner, start.run_id)
        super().__init__(inlet, SystemClock(), start.max_event_bytes, None, Path.cwd)
        self._owner = owner

    @property
    def can_ask(self) -> bool:
        """Whether `ask` can be called."""
        return True

    def ask(
        self,
        message: str,
        *,
        action: str = "",
        args: object = None,
        config: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        interrupt_id: str = "",
        node: str = "",
        agent: str = "",
        keep: object = None,
    ) -> Any:
        """Ask a question and wait for its answer; see `Writer.ask`.

        Nothing continues a script's run, so `keep` is only checked.
        """
        self.home.check("ask()")
        check_question(message, action, config, timeout_s, interrupt_id)
        as_kept(keep)
        asked = {
            **{"message": message, "action": action, "args": args, "config": config},
            **{"timeout_s": timeout_s, "interrupt_id": interrupt_id, "node": node, "agent": agent},
        }
        try:
            question = msgspec.convert(
                {"number": 0, **msgspec.json.decode(msgspec.json.encode(asked))}, control.Ask
            )
        except (TypeError, ValueError, msgspec.ValidationError) as error:
            raise InvalidValue(f"expected a question that can be asked: {error!s:.300}") from None
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._owner.ask(question)
        return asyncio.to_thread(self._owner.ask, question)

    def keep(self, value: object) -> Waited[None]:
        """Check a value; nothing continues a script's run. See `Writer.keep`."""
        self.home.check("keep()")
        as_kept(value)
        return NOTHING
