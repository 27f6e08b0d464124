"""How commands reach runs: a client of a server (`--url`), or of a store (`--store`).

Both are the client of `runcast.client`, so a command is written once.
"""

import argparse
import asyncio
import os
import shlex
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from runcast._settings import Settings
from runcast.client.reconnect import ReconnectOptions
from runcast.errors import InvalidValue, RuncastError, ServerUnavailable, Unauthorized

if TYPE_CHECKING:
    from runcast._app.in_thread import OpenHubInThread
    from runcast._app.opening import HubOpener
    from runcast.client.asynchronous import AsyncClient
    from runcast.client.threads import Client

__all__ = (
    "DEFAULT_URL",
    "add_options",
    "open_async_client",
    "open_client",
    "open_store",
    "option_of",
    "path_of",
    "sendable",
    "with_client",
    "without_password",
)

DEFAULT_URL: Final = "http://127.0.0.1:8000"

_WAITS: Final = ReconnectOptions(first_s=0.25, longest_s=5.0, attempts=20)
"""Shorter waits than on a page, because a person watches the terminal; and a last attempt."""

_NEVER_S: Final = 1e9


def add_options(parser: argparse.ArgumentParser, *, has_store: bool = True) -> None:
    """Add the options that choose the server, or the store."""
    places = parser.add_mutually_exclusive_group()
    places.add_argument(
        "--url",
        type=sendable,
        default=os.environ.get("RUNCAST_URL") or DEFAULT_URL,
        help="the server's address, or RUNCAST_URL in the environment (%(default)s); an access "
        "token is taken from RUNCAST_TOKEN",
    )
    if has_store:
        places.add_argument(
            "--store",
            metavar="STORE",
            type=sendable,
            default="",
            help="a store instead of a server: the path of a SQLite file, sqlite:///PATH, or "
            "redis://HOST:PORT/0; its runs may belong to other processes",
        )


def sendable(text: str) -> str:
    """Return an argument that can be sent; argparse refuses any other."""
    if text.isascii() or text.encode("utf-8", "replace").decode() == text:
        return text
    raise argparse.ArgumentTypeError(f"expected UTF-8, got {os.fsencode(text)!r:.100}")


def option_of(arguments: argparse.Namespace) -> str:
    """Return the option by which a command reaches the same place; "" for the default server."""
    if store := getattr(arguments, "store", ""):
        return f" --store {shlex.quote(store)}"
    usual = (os.environ.get("RUNCAST_URL") or DEFAULT_URL).rstrip("/")
    url = arguments.url.rstrip("/")
    return "" if url == usual else f" --url {shlex.quote(url)}"


def path_of(store: str) -> str:
    """Return the path of a store's file, "" if it has none; as `stores.open_url` reads it."""
    parts = urlsplit(store)
    return unquote(parts.path[1:]) if parts.scheme == "sqlite" else ""


def with_client(
    command: "Callable[[Client, argparse.Namespace], int]",
) -> Callable[[argparse.Namespace], int]:
    """Return a command that opens the client which it needs."""

    def run(arguments: argparse.Namespace) -> int:
        with open_client(arguments) as client:
            return command(client, arguments)

    return run


@contextmanager
def open_client(arguments: argparse.Namespace) -> "Iterator[Client]":
    """Yield the client that the options name.

    Raises:
        InvalidValue: the address, the token or the store is malformed, or there is no such store.
        ServerUnavailable, Unauthorized: with what to do; and what the client raises.
    """
    with _explaining():
        if store := getattr(arguments, "store", ""):
            with _hub_of(store) as hub:
                yield hub.client()
        else:
            from runcast.client.threads import Client  # late: the help needs no HTTP client

            with Client(arguments.url, reconnect=_WAITS, retries=0) as client:
                yield client


@asynccontextmanager
async def open_async_client(arguments: argparse.Namespace) -> "AsyncIterator[AsyncClient]":
    """Yield the client that the options name, for coroutines; see `open_client`."""
    with _explaining():
        if store := getattr(arguments, "store", ""):
            # In a thread, because it imports modules and looks for the file.
            async with await asyncio.to_thread(_hub_of, store) as hub:
                yield hub.client()
        else:
            from runcast.client.asynchronous import AsyncClient

            async with AsyncClient(arguments.url, reconnect=_WAITS, retries=0) as client:
                yield client


@contextmanager
def open_store(store: str) -> "Iterator[OpenHubInThread]":
    """Yield a hub on a store whose runs may belong to other processes.

    Raises:
        InvalidValue: the store is malformed, or there is no such store.
    """
    with _hub_of(store) as hub:
        yield hub


def _hub_of(store: str) -> "HubOpener":
    """Return a hub on a store, which owns no runs, cuts no logs and deletes none."""
    import runcast._http.app  # noqa: F401 - for its client, which is made on the loop
    from runcast._app.opening import open_hub

    url = store if "://" in store else f"sqlite:///{store}"
    if url.startswith("memory:"):
        raise InvalidValue(
            "expected a store that other processes can open, got one in memory; reach its server "
            "with --url"
        )
    path = path_of(url)
    if path and not Path(path).is_file():
        raise InvalidValue(
            f"there is no store {path!r}; expected the path of a SQLite file that `runcast serve` "
            "has made, by default .runcast/runs.db"
        )
    settings = Settings.load()
    return open_hub(
        url, settings=replace(settings, keep_bytes_per_run=0, retention_every_s=_NEVER_S)
    )


@contextmanager
def _explaining() -> Iterator[None]:
    """Add to errors what to do on a command line."""
    try:
        yield
    except Unauthorized:
        said = "expected the server's access token in RUNCAST_TOKEN"
        if os.environ.get("RUNCAST_TOKEN"):
            said += ", got another one"
        raise Unauthorized(said) from None
    except ServerUnavailable as error:
        raise _explained(error) from None


def _explained(error: RuncastError) -> RuncastError:
    from runcast.client.transport import NO_SERVER

    if not error.message.startswith(NO_SERVER):
        return error
    return ServerUnavailable(
        f"{error.message}; start one with `runcast serve`, or say where it is with --url or "
        "RUNCAST_URL"
    )


def without_password(url: str) -> str:
    """Return a store's URL without its user and password, to be shown."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in url else url
