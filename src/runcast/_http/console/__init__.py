"""The pages for people, and the policy that lets browsers run only the pages' own scripts."""

import base64
import hashlib
import importlib.resources
import re
from typing import Final, NamedTuple

__all__ = ("DOCS", "START", "Page")


class Page(NamedTuple):
    """HTML, one file with its style and script, and its `Content-Security-Policy`.

    If the page ever took the server's data for markup, no script in the data would run.
    Source: CSP Level 3.
    """

    body: bytes
    policy: str


def _load(name: str) -> Page:
    body = importlib.resources.files("runcast._http.console").joinpath(name).read_bytes()
    scripts = re.findall(rb"<script>(.*?)</script>", body, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in scripts]
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    policy = (
        f"default-src 'self'; script-src {hashes}; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return Page(body, policy)


# Read once: reading would block the event loop.
START: Final = _load("page.html")
"""The start page."""

DOCS: Final = _load("docs.html")
"""The page with the description of the API."""
