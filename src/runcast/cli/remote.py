"""Asking a running server: what the commands besides `serve` speak."""

import argparse
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from runcast.errors import InvalidValue, NotFound, PeerError, RuncastError

__all__ = (
    "DEFAULT_URL",
    "Remote",
    "add_options",
    "plain",
)

DEFAULT_URL: Final = "http://127.0.0.1:8000"

_TIMEOUT_S: Final = 30.0
"""Longest silence: a stream has a heartbeat every 15 s."""

_MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which server is meant."""
    parser.add_argument(
        "--url",
        default=os.environ.get("RUNCAST_URL", DEFAULT_URL),
        help="the server's address, or RUNCAST_URL in the environment (%(default)s)",
    )


class Remote:
    """A server, reached over HTTP; the access token comes from RUNCAST_TOKEN.

    Raises:
        InvalidValue: the address is no HTTP URL.
    """

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidValue(f"expected an address like {DEFAULT_URL}, got {url!r}")
        self._url = url.rstrip("/")
        self._token = os.environ.get("RUNCAST_TOKEN", "")

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:
        """Return the JSON a request is answered with; None if there is none.

        Raises:
            NotFound, InvalidValue: the server says so.
            PeerError: the server cannot be reached, or its answer cannot be understood.
        """
        wanted = {"accept": "application/json", **headers}
        with self.open(method, path, wanted, body) as response:
            try:
                answer = response.read(_MAX_ANSWER_BYTES)
                return json.loads(answer) if answer else None
            except (ValueError, OSError, http.client.HTTPException) as error:
                raise PeerError(f"{self._url} answers as no runcast server: {error}") from error

    def open(
        self, method: str, path: str, headers: Mapping[str, str], body: object = None
    ) -> http.client.HTTPResponse:
        """Return the response to a request, to be read and closed by the caller.

        Raises as `ask` does. Reading it raises `OSError` or `HTTPException`.
        """
        fields = dict(headers)
        if self._token:
            fields["authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            fields["content-type"] = "application/json"
        try:
            request = urllib.request.Request(
                self._url + path, data=data, headers=fields, method=method
            )
            response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error) from None
        except (ValueError, http.client.InvalidURL) as error:
            raise InvalidValue(f"{self._url!r} cannot be asked: {error}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = plain(str(getattr(error, "reason", error)))
            raise PeerError(
                f"no server answers at {self._url} ({reason}); start one with `runcast serve`, or "
                "say where it is with --url or RUNCAST_URL"
            ) from error
        return response


def plain(text: str) -> str:
    """Return text on one line, without what a terminal would obey: it may be anybody's words."""
    return "".join(char if char.isprintable() else "�" for char in text)


def _refusal(error: urllib.error.HTTPError) -> RuncastError:
    """Return the error that a problem document tells."""
    try:
        problem = json.loads(error.read(_MAX_ANSWER_BYTES))
        message = str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return PeerError(f"the server answered {error.code} {plain(str(error.reason))}")
    return (NotFound if error.code == 404 else InvalidValue)(plain(message))
