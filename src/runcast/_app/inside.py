"""What serves a hub's runs in its own process: to its client, and to an application's routes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from runcast._runs.protocols import Runs
from runcast.errors import InvalidValue

if TYPE_CHECKING:
    from runcast._http.app import HttpApp
    from runcast._http.embedding import Embedded
    from runcast.client.asynchronous import AsyncClient

__all__ = ("Inside",)


class Inside:
    """The HTTP applications of an open hub that no server serves. Each is made when it is used."""

    # Imported late: scripts that only emit and watch need no web framework.

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._app: HttpApp | None = None
        self._embedded: Embedded | None = None

    def client(self, check: Callable[[], None]) -> "AsyncClient":
        """Return a client of the runs, which ends with `close`.

        Args:
            check: called before each request; raises if the hub must not be used here.
        """
        from runcast._http.app import HttpApp
        from runcast.client.asynchronous import AsyncClient

        if self._app is None:
            self._app = HttpApp(self._runs, is_inside=True)
        app = self._app

        def check_open() -> None:
            check()
            if app is not self._app:
                raise InvalidValue("expected a client of an open hub: the hub is closed")

        return AsyncClient._inside(app, check_open)

    def embedded(self) -> "Embedded":
        """Return what answers in an application's own routes; see `runcast.sse_response`."""
        from runcast._http.embedding import Embedded

        if self._embedded is None:
            self._embedded = Embedded(self._runs)
        return self._embedded

    def close(self) -> None:
        """End all streams, with a goodbye, and all clients. Idempotent. May be used again."""
        if self._embedded is not None:
            self._embedded.close()
            self._embedded = None
        if self._app is not None:
            self._app.end_streams()
            self._app = None
