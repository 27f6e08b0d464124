"""A person at the terminal who watches a run: questions, messages and Ctrl-C.

The prompt is the lowest row of the screen, below what the run does meanwhile.
"""

import asyncio
import signal
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, Self

from runcast._cli.dialog import Answered, Dialog, Editing, Meaning, Said, Typed
from runcast._cli.editing import edited_args, has_editor
from runcast._cli.exits import CANCELLED, LEFT
from runcast._cli.keyboard import Keyboard
from runcast._cli.lines import decided
from runcast._cli.terminal import Terminal
from runcast._cli.texts import plain
from runcast.errors import AlreadyAnswered, InvalidValue, RuncastError
from runcast.events.model import Event
from runcast.events.vocabulary import TERMINAL

if TYPE_CHECKING:
    from runcast.client.asynchronous import AsyncClient

__all__ = ("Session",)

_TICK_S: Final = 1.0
"""How often times on the screen are drawn again."""

_AGAIN_S: Final = 1.5
"""How long after a Ctrl-C another one asks whether to cancel the run."""

_SEND_S: Final = 5.0
"""How long the end of the command waits for answers and messages on their way."""

_MESSAGE: Final = "message: "
_CLOSING: Final = frozenset({"interrupt_response", "interrupt_resolved"})


class Session:
    """Shows prompts on a terminal, and does what is typed. Use `async with`, on the loop.

    Args:
        by: the name of the person.
    """

    def __init__(self, client: "AsyncClient", run_id: str, screen: Terminal, by: str) -> None:
        self._client = client
        self._run_id = run_id
        self._screen = screen
        self._by = by
        self._dialog = Dialog(takes_messages=True, has_editor=has_editor())
        self._keyboard = Keyboard(self._on_line, self._draw)
        self._is_message = False
        """Whether the line being typed was begun as a message, before any question came."""
        self._is_over = False
        self._asking = ""
        """The prompt of a question of ours, not of the run."""
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        """The answers to it."""
        self._has_left = False
        self._again = asyncio.Event()
        """Set by a Ctrl-C after the first one."""
        self._watching: asyncio.Task[Any] | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._doing: set[asyncio.Task[None]] = set()
        """What is being sent."""
        self.is_free = asyncio.Event()
        """Unset while another program has the terminal."""
        self.is_free.set()

    async def __aenter__(self) -> Self:
        self._watching = asyncio.current_task()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._on_interrupt)
        self._keyboard.__enter__()
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._doing:  # what was typed before the end still gets there
            await asyncio.wait(self._doing, timeout=_SEND_S)
        tasks = {*self._doing, *filter(None, [self._ticking])}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._keyboard.__exit__()
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    def _on_interrupt(self) -> None:
        if self._has_left:
            self._again.set()
        elif self._watching is not None:
            self._has_left = True
            self._watching.cancel()

    def see(self, event: Event) -> None:
        """Take an event into account: a question that is asked or closed, or the run's end."""
        data = event.data if isinstance(event.data, dict) else {}
        interrupt_id = str(data.get("interrupt_id", ""))
        if event.type == "interrupt_request" and interrupt_id:
            self._is_message = bool(self._keyboard.text) and not self._dialog.prompt
            self._dialog.ask(data)
        elif event.type in _CLOSING:
            self._dialog.close(interrupt_id)
        elif event.type in TERMINAL:
            self._is_over = True
            self._say_unsent()
        self._draw()

    def _say_unsent(self) -> None:
        """Show a line that was not finished, so that it is not lost."""
        if text := self._keyboard.clear():
            self._screen.say(f"not sent: {text}")

    def _draw(self) -> None:
        text = self._keyboard.text
        if self._asking or self._is_over or self._has_left:
            self._screen.prompt(f"{self._asking}{text}" if self._asking else "")
            return
        self._is_message = self._is_message and bool(text)
        prompt = _MESSAGE if self._is_message else self._dialog.prompt
        if text and not prompt:
            prompt = _MESSAGE
        self._screen.prompt(f"{prompt}{text}")

    def _on_line(self, line: str) -> None:
        if self._asking:
            self._lines.put_nowait(line)
        if self._asking or self._is_over or self._has_left:
            return
        if self._is_message:
            self._is_message = False
            self._do(Typed(line) if line.strip() else None)
            return
        self._do(self._dialog.take(line))

    def _do(self, meaning: Meaning) -> None:
        match meaning:
            case Said(text):
                self._screen.say(text)
            case Typed(text):
                self._begin(self._send(text))
            case Answered(interrupt_id, answer):
                self._begin(self._answer(interrupt_id, answer))
            case Editing(interrupt_id, args):
                self._begin(self._edit(interrupt_id, args))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._doing.add(task)
        task.add_done_callback(self._doing.discard)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            if self.is_free.is_set():
                self._keyboard.look()
                self._screen.tick()

    async def _send(self, text: str) -> None:
        try:
            await self._client.send(self._run_id, text, sender=self._by)
        except RuncastError as error:
            self._screen.say(f"not sent: {text} ({error.message})")

    async def _answer(self, interrupt_id: str, answer: dict[str, Any]) -> None:
        given = {**answer, "by": self._by} if self._by else answer
        try:
            await self._client.answer(self._run_id, interrupt_id, given)
        except AlreadyAnswered as error:
            self._dialog.close(interrupt_id)
            self._screen.say(f"{interrupt_id} was answered before: {decided(error.decision)}")
        except RuncastError as error:
            if error.retryable or isinstance(error, InvalidValue):
                self._dialog.refused(interrupt_id)
            else:
                self._dialog.close(interrupt_id)
            self._screen.say(f"not answered: {error.message}")
        self._draw()

    async def _edit(self, interrupt_id: str, args: Any) -> None:
        """Let an editor have the terminal; the run is shown again after it."""
        self.is_free.clear()
        self._screen.prompt("")
        self._keyboard.pause()
        try:
            changed = await asyncio.to_thread(edited_args, args)
        except InvalidValue as error:
            self._screen.say(error.message)
        else:
            self._do(self._dialog.edited(interrupt_id, changed))
        finally:
            self._keyboard.resume()
            self.is_free.set()
            self._draw()

    async def leave(self) -> int:
        """Wait for another Ctrl-C, which asks whether to cancel the run; return the exit code."""
        self._say_unsent()
        try:
            async with asyncio.timeout(_AGAIN_S):
                await self._again.wait()
        except TimeoutError:
            return LEFT
        self._again.clear()
        said = await self._ask(f"cancel the run {plain(self._run_id)}? [y]es, [n]o: ")
        return await self._cancel() if said and "yes".startswith(said) else LEFT

    async def _ask(self, prompt: str) -> str:
        """Return the line that a person types, in lower case; "" if they leave."""
        self._asking = prompt
        self._keyboard.look()
        self._draw()
        line = asyncio.ensure_future(self._lines.get())
        left = asyncio.ensure_future(self._again.wait())
        await asyncio.wait({line, left}, return_when=asyncio.FIRST_COMPLETED)
        said = line.result().strip().lower() if line.done() else ""
        for task in (line, left):
            task.cancel()
        self._asking = ""
        self._draw()
        return said

    async def _cancel(self) -> int:
        run = await self._client.cancel(self._run_id, "cancelled at the terminal")
        is_over = run.status in TERMINAL
        self._screen.say(
            f"the run is {run.status}" if is_over else f"it is asked to end; now it is {run.status}"
        )
        return CANCELLED if run.status == "cancelled" else LEFT
