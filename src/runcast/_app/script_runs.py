"""The runs of a script's hub, as a client in the same process sees them."""

from dataclasses import replace
from typing import Self

from runcast._app.hub import OpenHub
from runcast._hub.hub import Hub

__all__ = ("ScriptRuns",)


class ScriptRuns(OpenHub):
    """A hub that shows the runs of a hub which the script has opened and will close.

    It starts, recovers, sweeps and delivers nothing.
    """

    def __init__(self, hub: Hub) -> None:
        self._of_script = hub
        super().__init__(hub.store, settings=replace(hub.settings, launcher=""), clock=hub.clock)

    def _make_hub(self) -> Hub:
        return self._of_script

    def _build(self) -> None:
        begin_delivery = self._of_script.begin_delivery
        super()._build()
        self._of_script.begin_delivery = begin_delivery  # that of the script goes on

    async def open(self) -> Self:
        """Do nothing: the script has opened the hub."""
        return self

    async def close(self) -> None:
        """End the streams of clients. Idempotent."""
        self._inside.close()
