"""The files of the console as they were built, and the policy of each page.

`web/console` is their source; `python3 dev.py web --write` builds them into `built`. `embed.js` is
the element `<runcast-run>` for other pages, from `web/client`.
"""

import base64
import functools
import gzip
import hashlib
import importlib.resources
import mimetypes
import re
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Final

__all__ = ("ASSETS_PATH", "DOCS", "START", "Asset", "Page", "find_asset")

ASSETS_PATH: Final = "/assets/"
"""The path of the console's scripts, styles and images. They need no token: they are the same on
every server."""

_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}


class Asset:
    """One file, with the tag of its contents. It does not change while the process lives.

    Args:
        body: the file.
        media_type: its `Content-Type`.
    """

    def __init__(self, body: bytes, media_type: str) -> None:
        self.body = body
        self.media_type = media_type
        self.etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'

    @functools.cached_property
    def gzipped(self) -> bytes:
        """The file, compressed once: a few milliseconds at its first request."""
        return gzip.compress(self.body, mtime=0)


class Page(Asset):
    """HTML with its `Content-Security-Policy`.

    If a page ever took the server's data for markup, no script in the data would run.
    Source: CSP Level 3.
    """

    def __init__(self, body: bytes, scripts: str, styles: str) -> None:
        super().__init__(body, "text/html; charset=utf-8")
        self.policy = (
            f"default-src 'self'; script-src {scripts}; style-src {styles}; object-src 'none'; "
            "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        )


def find_asset(name: str) -> Asset | None:
    """Return a script, style or image of the console; None if there is none of this name."""
    return _ASSETS.get(name)


def _load_docs() -> Page:
    body = _folder().joinpath("docs.html").read_bytes()
    scripts = re.findall(rb"<script>(.*?)</script>", body, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in scripts]
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    return Page(body, hashes, "'unsafe-inline'")


def _load_assets() -> dict[str, Asset]:
    files = [*_folder().joinpath("built", "assets").iterdir(), _folder().joinpath("embed.js")]
    return {file.name: Asset(file.read_bytes(), _type_of(file.name)) for file in files}


def _type_of(name: str) -> str:
    suffix = PurePosixPath(name).suffix
    return _TYPES.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")


def _folder() -> Traversable:
    return importlib.resources.files("runcast._http.console")


# Read once: reading would block the event loop.
START: Final = Page(_folder().joinpath("built", "index.html").read_bytes(), "'self'", "'self'")
"""The console."""

DOCS: Final = _load_docs()
"""The page with the description of the API."""

_ASSETS: Final = _load_assets()
