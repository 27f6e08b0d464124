"""The start page, and the policy by which browsers run its own script and no other."""

import base64
import hashlib
import importlib.resources
import re
from typing import Final

__all__ = ("PAGE", "POLICY")

PAGE: Final = importlib.resources.files("runcast.http").joinpath("page.html").read_bytes()
"""HTML, one file with its style and script. Read once: reading would block the event loop."""


def _hashes(page: bytes) -> str:
    scripts = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script).digest()).decode() for script in scripts]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"


POLICY: Final = (
    f"default-src 'self'; script-src {_hashes(PAGE)}; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""The `Content-Security-Policy`. Should what a run tells ever be taken for markup by the page, it
could still run nothing. Source: CSP Level 3."""
