"""Asking a running server: what the commands besides `serve` speak."""

import argparse
import json
import os
import urllib.error
import urllib.request
from typing import Any, Final

from runcast.errors import InvalidValue, NotFound, PeerError, RuncastError

__all__ = (
    "DEFAULT_URL",
    "Remote",
    "add_options",
)

DEFAULT_URL: Final = "http://127.0.0.1:8000"

_TIMEOUT_S: Final = 30.0
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

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the JSON a request is answered with; None if there is none.

        Raises:
            NotFound, InvalidValue: the server says so.
            PeerError: the server cannot be reached, or its answer cannot be understood.
        """
        headers = {"accept": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        request = urllib.request.Request(
            self._url + path, data=data, headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
                answer = response.read(_MAX_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise PeerError(
                f"no server answers at {self._url} ({reason}); start one with `runcast serve`, or "
                "say where it is with --url or RUNCAST_URL"
            ) from error
        try:
            return json.loads(answer) if answer else None
        except ValueError as error:
            raise PeerError(f"{self._url} is no runcast server: {error}") from error


def _refusal(error: urllib.error.HTTPError) -> RuncastError:
    """Return the error that a problem document tells."""
    try:
        problem = json.loads(error.read(_MAX_ANSWER_BYTES))
        message = str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return PeerError(f"the server answered {error.code} {error.reason}")
    return NotFound(message) if error.code == 404 else InvalidValue(message)
