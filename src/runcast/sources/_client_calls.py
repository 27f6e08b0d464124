"""Calls of the model clients of OpenAI and Anthropic, recorded while the program makes them.

Both clients are made alike: an API client whose `request` returns an answer, or a stream whose
`__stream__` yields the events of one. Neither call is changed. What a stream yields is written to
the run first and passed on.
"""

import asyncio
import socket
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing, contextmanager, suppress
from functools import partial, wraps
from typing import Any, Final, Protocol, cast

from runcast._producing.writer import Writer
from runcast.sources._interrupting import Interruption, check_cancelled
from runcast.sources._model_calls import ModelCall, code_of, field_of, message_in
from runcast.sources._recorded_calls import is_call_recorded
from runcast.sources._scope import Patch, Scope

__all__ = ("CLOSING", "Api", "scope_of")

CLOSING: Final = 1
"""The level of a scope at which calls are only closed when their run is cancelled.

For adapters that record the calls themselves.
"""


class Reader(Protocol):
    """Writes the items of one stream to a run."""

    def see(self, item: Any) -> None:
        """Write what an item holds."""
        ...

    def end(self) -> None:
        """Write what is left once the stream has ended by itself."""
        ...

    def leave(self) -> None:
        """Write what is known once nobody reads on."""
        ...


class Api(Protocol):
    """What differs between the clients."""

    def reader_for(self, item: Any, call: ModelCall) -> Reader | None:
        """Return a reader for a stream by its first item; None if it is no stream of a model."""
        ...

    def is_call(self, options: Any) -> bool:
        """Return whether a request asks a model for an answer."""
        ...

    def read_whole(self, call: ModelCall, answer: Any) -> None:
        """Write an answer that is not streamed."""
        ...


def scope_of(api: Api, streams: tuple[type, type], clients: tuple[type, type]) -> Scope:
    """Return where a client is recorded: its classes of streams and of API clients.

    Args:
        streams: the sync and the async class.
        clients: the sync and the async class.
    """
    scope: Scope
    patches = []

    def add(owner: type, name: str, make: Callable[[Any], Any]) -> None:
        if name in vars(owner):
            patches.append(Patch(owner, name, make))
            return
        warnings.warn(
            f"runcast.sources.llm cannot record calls through {owner.__module__}."
            f"{owner.__qualname__}: it has no {name!r}; use a version that is documented as tested",
            RuntimeWarning,
            stacklevel=2,
        )

    def wanted() -> Writer | None:
        return None if is_call_recorded() else scope.writer()

    def watched() -> Writer | None:
        return scope.writer(CLOSING)

    add(streams[0], "__stream__", lambda before: _streaming(before, api, wanted, watched))
    add(streams[1], "__stream__", lambda before: _streaming_async(before, api, wanted, watched))
    add(clients[0], "request", lambda before: _requesting(before, api, wanted))
    add(clients[1], "request", lambda before: _requesting_async(before, api, wanted))
    scope = Scope(*patches)
    return scope


# Streams.


class _Recording:
    """One stream on its way into a run; or only past it, if `is_wanted` is false."""

    def __init__(self, api: Api, writer: Writer, *, is_wanted: bool) -> None:
        self._is_wanted = is_wanted
        self._api = api
        self._writer = writer
        self._call = ModelCall(writer)
        self._reader: Reader | None = None
        self._is_first = True

    def see(self, item: Any) -> None:
        """Write what an item holds. Raises only `Cancelled`."""
        if not self._is_wanted:
            return
        with self._reading():
            if self._is_first:
                self._is_first = False
                self._reader = self._api.reader_for(item, self._call)
            if self._reader is not None:
                self._reader.see(item)

    def end(self) -> None:
        """Note that the stream has ended by itself. Raises only `Cancelled`."""
        if self._reader is not None:
            with self._reading():
                self._reader.end()

    def leave(self) -> None:
        """Note that nobody reads on. Raises only `Cancelled`."""
        if self._reader is not None:
            with self._reading():
                self._reader.leave()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the program must not fail because of us
            self._reader = None
            self._call.warn(
                f"runcast cannot read the rest of this answer: {type(error).__name__}; this "
                "version of the client, or its server, is unknown to it"
            )

    def fail(self, error: Exception) -> None:
        """Note that the stream has raised. Raises `Cancelled` if that is because of us."""
        check_cancelled(self._writer)
        if self._is_wanted:
            self.leave()
            self._call.error(message_in(error), code_of(error))


def _streaming(
    before: Callable[[Any], Iterator[Any]],
    api: Api,
    wanted: Callable[[], Writer | None],
    watched: Callable[[], Writer | None],
) -> Callable[[Any], Iterator[Any]]:
    @wraps(before)
    def stream(self: Any) -> Iterator[Any]:
        items = before(self)
        writer, is_wanted = watched(), wanted() is not None
        if writer is None:
            return items
        return _record(items, self.response, api, writer, is_wanted=is_wanted)

    return stream


def _record(
    items: Iterator[Any], response: Any, api: Api, writer: Writer, *, is_wanted: bool
) -> Iterator[Any]:
    with closing(cast("Any", items)):
        # An adapter may begin to record only when it iterates.
        recording = _Recording(api, writer, is_wanted=is_wanted and not is_call_recorded())
        forget = writer.when_cancelled(partial(_cut, response))
        try:
            check_cancelled(writer)
            for item in items:
                recording.see(item)
                yield item
            recording.end()
        except GeneratorExit:
            recording.leave()
            raise
        except Exception as error:
            recording.fail(error)
            raise
        finally:
            forget()


def _streaming_async(
    before: Callable[[Any], AsyncIterator[Any]],
    api: Api,
    wanted: Callable[[], Writer | None],
    watched: Callable[[], Writer | None],
) -> Callable[[Any], AsyncIterator[Any]]:
    @wraps(before)
    def stream(self: Any) -> AsyncIterator[Any]:
        items = before(self)
        writer, is_wanted = watched(), wanted() is not None
        return items if writer is None else _record_async(items, api, writer, is_wanted=is_wanted)

    return stream


async def _record_async(
    items: AsyncIterator[Any], api: Api, writer: Writer, *, is_wanted: bool
) -> AsyncGenerator[Any, None]:
    async with aclosing(cast("AsyncGenerator[Any, None]", items)):
        is_wanted = is_wanted and not is_call_recorded()
        recording, interruption = _Recording(api, writer, is_wanted=is_wanted), Interruption()
        forget = writer.when_cancelled(interruption.interrupt)
        try:
            check_cancelled(writer)
            while True:
                interruption.begin()
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    break
                finally:
                    interruption.end()
                recording.see(item)
                yield item
            recording.end()
        except GeneratorExit:
            recording.leave()
            raise
        except asyncio.CancelledError:
            interruption.check_cancelled(writer)
            raise
        except Exception as error:
            recording.fail(error)
            raise
        finally:
            forget()


def _cut(response: Any) -> None:
    """Close the connection of an answer that another thread is reading.

    Closing a socket does not wake a thread that reads from it; shutting it down does.
    """
    if response.is_closed or response.http_version == "HTTP/2":  # which others share
        return
    network = response.extensions.get("network_stream")
    connection = network.get_extra_info("socket") if network is not None else None
    if isinstance(connection, socket.socket):
        with suppress(OSError):  # the other end was faster
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


# Whole answers, and calls that are refused.


def _requesting(
    before: Callable[..., Any], api: Api, wanted: Callable[[], Writer | None]
) -> Callable[..., Any]:
    @wraps(before)
    def request(self: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
        writer = wanted() if api.is_call(options) else None
        if writer is None:
            return before(self, cast_to, options, *args, **kwargs)
        try:
            answer = before(self, cast_to, options, *args, **kwargs)
        except Exception as error:
            _refused(writer, error)
            raise
        if not kwargs.get("stream"):
            _read_whole(writer, api, answer)
        return answer

    return request


def _requesting_async(
    before: Callable[..., Any], api: Api, wanted: Callable[[], Writer | None]
) -> Callable[..., Any]:
    @wraps(before)
    async def request(self: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
        writer = wanted() if api.is_call(options) else None
        if writer is None:
            return await before(self, cast_to, options, *args, **kwargs)
        try:
            answer = await before(self, cast_to, options, *args, **kwargs)
        except Exception as error:
            _refused(writer, error)
            raise
        if not kwargs.get("stream"):
            _read_whole(writer, api, answer)
        return answer

    return request


def _read_whole(writer: Writer, api: Api, answer: Any) -> None:
    call = ModelCall(writer)
    try:
        api.read_whole(call, answer)
    except Exception as error:  # noqa: BLE001 - the program must not fail because of us
        call.warn(
            f"runcast cannot read an answer: {type(error).__name__}; this version of the client, "
            "or its server, is unknown to it"
        )


def _refused(writer: Writer, error: Exception) -> None:
    # Not the message: it may repeat the program's key, or what it asked.
    status = field_of(error, "status_code")
    name = type(error).__name__
    ModelCall(writer).error(f"{name} ({status})" if status else name, code_of(error))
