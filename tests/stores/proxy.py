"""A network between a node and its store that a test can cut, in one direction or in both."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ("Network", "running_network")


class Network:
    """Passes bytes on between clients and one server."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = 0
        self._there, self._back = asyncio.Event(), asyncio.Event()
        self.mend()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self, *, there: bool = True, back: bool = True) -> None:
        """Lose what is sent from now on: to the server (`there`), and from it (`back`).

        Nothing is closed, as if a cable were pulled: what was sent stays on its way until `mend`.
        """
        if there:
            self._there.clear()
        if back:
            self._back.clear()

    def mend(self) -> None:
        """Let everything pass again."""
        self._there.set()
        self._back.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            inner, outer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        finally:
            self._tasks.discard(task)
        for pumping in (
            self._pump(reader, outer, self._there),
            self._pump(inner, writer, self._back),
        ):
            pump = asyncio.create_task(pumping)
            self._tasks.add(pump)
            pump.add_done_callback(self._tasks.discard)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, may_pass: asyncio.Event
    ) -> None:
        try:
            with contextlib.suppress(OSError):
                while piece := await reader.read(65536):
                    await may_pass.wait()
                    writer.write(piece)
                    await writer.drain()
                await may_pass.wait()
        finally:
            writer.close()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def running_network(port: int) -> AsyncIterator[Network]:
    """A network in front of the server on a port."""
    network = Network(port)
    server = await asyncio.start_server(network.serve, "127.0.0.1", 0)
    network.port = server.sockets[0].getsockname()[1]
    try:
        yield network
    finally:
        server.close()
        await network.close()
