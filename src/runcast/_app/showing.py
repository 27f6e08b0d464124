"""How a notebook shows a run of an open hub."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from runcast.client.asynchronous import AsyncClient
    from runcast.client.model import RunState
    from runcast.client.showing import ShownRun

__all__ = ("HubDisplay",)


class HubDisplay:
    """What shows a run of a hub in a notebook. It costs nothing until the run is displayed.

    Args:
        client: returns the hub's client; called where the run is displayed.
        about: returns what is known of the run without asking the store.
        loop: returns the hub's loop; by default it is the loop that displays the run.
        read: returns the run's state, where that can be waited for.
    """

    def __init__(
        self,
        client: "Callable[[], AsyncClient]",
        run_id: str,
        about: Callable[[], str],
        loop: "Callable[[], asyncio.AbstractEventLoop | None]" = lambda: None,
        read: "Callable[[], RunState] | None" = None,
    ) -> None:
        self._client = client
        self._run_id = run_id
        self._about = about
        self._loop = loop
        self._read = read
        self._shown: ShownRun | None = None

    def _repr_mimebundle_(
        self, include: Collection[str] | None = None, exclude: Collection[str] | None = None
    ) -> dict[str, Any]:
        # Imported late: scripts that only start runs need no client.
        from runcast.client.showing import ShownRun

        if self._shown is None:
            self._shown = ShownRun(
                self._run_id, self._client, self._loop(), about=self._about, read=self._read
            )
        return self._shown._repr_mimebundle_(include, exclude)
