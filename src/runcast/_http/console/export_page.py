"""A page that shows one run without a server: the console's view of a run, and a recording as data.

Everything is in the page. Its policy lets the browser run this one script and load nothing, so that
nothing in the recording can do anything.
"""

import base64
import hashlib
import html
from collections.abc import Iterator
from typing import Final

import msgspec

from runcast._http.console.assets import find_asset
from runcast.errors import BackendError
from runcast.events.plain import encode_line

__all__ = ("export_page",)

_SCRIPT: Final = "export.js"
_STYLE: Final = "export.css"

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<script type="application/json" id="runcast-recording">"""

_DATA_END: Final = b"</script>\n"

# Inside JSON these occur only in strings, where the escapes mean the same. So no text of a run can
# end the element, or begin a comment in which the element would not end. Source: WHATWG HTML
# 4.12.1.3, restrictions for contents of script elements.
_ESCAPES: Final = {
    b"<": b"\\u003c",
    b">": b"\\u003e",
    b"&": b"\\u0026",
    "\u2028".encode(): b"\\u2028",
    "\u2029".encode(): b"\\u2029",
}


def export_page(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the parts of a page, from the lines of a recording.

    Raises:
        BackendError: this runcast has no built console, or one that cannot stand inside a page.
    """
    script, style = _asset(_SCRIPT, "</script"), _asset(_STYLE, "</style")
    run = msgspec.json.decode(next(lines))
    run = {name: value for name, value in run.items() if value is not None}
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    title = html.escape(f"{run['run_id']} · runcast")
    head = _PAGE.format(policy=policy, title=title, style=style)
    yield head.encode()
    yield b'{"run":' + _inert(encode_line(run)) + b',"events":['
    separator = b"\n"
    for line in lines:
        yield separator + _inert(line.rstrip(b"\n"))
        separator = b",\n"
    yield b"]}" + _DATA_END
    yield f'<script type="module">{script}</script>\n</body>\n</html>\n'.encode()


def _asset(name: str, end: str) -> str:
    asset = find_asset(name)
    if asset is None:
        raise BackendError(f"this installation of runcast lacks the console's {name}")
    text = asset.body.decode("utf-8")
    if end in text.lower() or "<!--" in text:
        raise BackendError(f"the console's {name} cannot stand inside a page")
    return text


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _inert(data: bytes) -> bytes:
    for char, escape in _ESCAPES.items():
        data = data.replace(char, escape)
    return data
