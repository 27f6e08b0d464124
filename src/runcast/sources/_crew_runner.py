"""Kick off a crew that a function has returned. CrewAI is not imported here."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from runcast.events.vocabulary import as_text

__all__ = ("CrewRunner",)


class CrewRunner:
    """Kicks a crew off with a function's inputs.

    The result is the crew's output: structured if the crew has such an output, else its text.

    Args:
        stream: turns the source on.
    """

    def __init__(self, crew: Any, stream: Callable[[], AbstractContextManager[None]]) -> None:
        self._crew = crew
        self._stream = stream

    def run(self, inputs: Mapping[str, Any]) -> object:
        """Run the crew in this thread. Raises what it raises."""
        with self._stream():
            output = self._crew.kickoff(inputs=_plain(inputs))
            if hasattr(output, "result"):  # a crew with stream=True
                for _ in output:
                    pass
                output = output.result
        return _result_of(output)

    async def run_async(self, inputs: Mapping[str, Any]) -> object:
        """Run the crew in a thread, because it would block this loop. Raises what it raises."""
        with self._stream():
            output = await self._crew.kickoff_async(inputs=_plain(inputs))
            if hasattr(output, "result"):
                async for _ in output:
                    pass
                output = output.result
        return _result_of(output)


def _plain(inputs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return inputs as CrewAI takes them: numbers, texts, lists and dicts."""
    return {
        name: value if isinstance(value, str | int | float | list | dict) else as_text(value)
        for name, value in inputs.items()
        if value is not None
    } or None


def _result_of(output: Any) -> object:
    if output.pydantic is not None:
        return output.pydantic
    return output.raw if output.json_dict is None else output.json_dict
