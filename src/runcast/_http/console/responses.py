"""Responses with the console's files: compressed, and with tags by which browsers keep them."""

import re
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from runcast._http.api.responses import SAFE_HEADERS
from runcast._http.console.assets import Asset, Page

__all__ = ("asset_response", "page_response")

_FOREVER: Final = "public, max-age=31536000, immutable"
"""For names that have a hash of the contents: another content has another name."""

_HASHED: Final = re.compile(r"-[\w-]{8}\.\w+")


def page_response(page: Page, request: Request) -> Response:
    """Return a page. Browsers ask each time whether it changed, because it names the assets."""
    return _response(
        page,
        request,
        {"cache-control": "no-cache", "content-security-policy": page.policy},
    )


def asset_response(asset: Asset, request: Request) -> Response:
    """Return an asset. Browsers and proxies may keep it if its name has a hash; `export.js`,
    `export.css` and `embed.js` have none, because exports and other pages look for them."""
    is_hashed = _HASHED.search(request.path_params["name"]) is not None
    return _response(asset, request, {"cache-control": _FOREVER if is_hashed else "no-cache"})


def _response(asset: Asset, request: Request, headers: Mapping[str, str]) -> Response:
    is_zipped = _accepts_gzip(request.headers.get("accept-encoding", ""))
    # Two encodings are two representations, each with a tag of its own. Source: RFC 9110 §8.8.3.3.
    etag = f'{asset.etag[:-1]}-gzip"' if is_zipped else asset.etag
    fields = {**SAFE_HEADERS, **headers, "etag": etag, "vary": "accept-encoding"}
    known = {tag.strip().removeprefix("W/") for tag in _tags(request).split(",")}
    if etag in known or "*" in known:
        return Response(status_code=304, headers=fields)
    if is_zipped:
        fields["content-encoding"] = "gzip"
    body = asset.gzipped if is_zipped else asset.body
    return Response(body, headers=fields, media_type=asset.media_type)


def _tags(request: Request) -> str:
    return request.headers.get("if-none-match", "")


def _accepts_gzip(header: str) -> bool:
    """Return whether an `Accept-Encoding` takes gzip. Source: RFC 9110 §12.5.3."""
    for part in header.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in ("gzip", "x-gzip"):
            return not re.fullmatch(r"\s*q=0(\.0*)?\s*", weight)
    return False
