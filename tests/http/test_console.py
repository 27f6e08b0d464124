"""The console as a server sends it: its page, its policy, its scripts and styles."""

import gzip
import re
from pathlib import Path
from typing import Final

import pytest

import runcast
from tests.http.serving import Server, serving_here

pytestmark = pytest.mark.anyio

ZIPPED: Final = {"accept-encoding": "br;q=1.0, gzip;q=0.8"}
MOST_BYTES: Final = 90_000
"""What the whole console may cost a phone, compressed."""


def addresses(page: bytes) -> list[str]:
    """Return what a page loads, as it names it."""
    return re.findall(r'(?:src|href)="([^"#]+)"', page.decode())


async def test_the_console_may_run_its_own_scripts_and_no_other(server: Server) -> None:
    answer = await server.fetch("GET", "/")

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert {policy["default-src"], policy["script-src"], policy["style-src"]} == {"'self'"}
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["object-src"] == "'none'"
    # Which leaves nothing to a script or a style inside the page.
    assert not re.search(rb"<script(?![^>]* src=)|<style|\bon\w+=| style=", answer.body)


async def test_every_file_of_the_console_arrives(server: Server) -> None:
    page = await server.fetch("GET", "/")
    loaded = addresses(page.body)
    types = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}

    assert {Path(each).suffix for each in loaded} >= set(types)
    for address in loaded:
        assert address.startswith("./assets/")
        answer = await server.fetch("GET", address.removeprefix("."))
        assert (answer.status, bool(answer.body)) == (200, True)
        assert answer.headers["content-type"] == types.get(Path(address).suffix, "image/svg+xml")
        # A name without a hash is that of another file after an update.
        kept = "no-cache" if Path(address).stem == "export" else "immutable"
        assert kept in answer.headers["cache-control"]


async def test_files_are_kept_by_browsers_and_compressed_for_them(server: Server) -> None:
    page = await server.fetch("GET", "/")
    for path in ("/", "/docs", *(each.removeprefix(".") for each in addresses(page.body))):
        plain = await server.fetch("GET", path)
        zipped = await server.fetch("GET", path, ZIPPED)

        assert gzip.decompress(zipped.body) == plain.body
        assert zipped.headers["content-encoding"] == "gzip"
        assert plain.headers["vary"] == zipped.headers["vary"] == "accept-encoding"
        assert plain.headers["etag"] != zipped.headers["etag"]
        for headers in ({}, ZIPPED):
            tag = (await server.fetch("GET", path, headers)).headers["etag"]
            again = await server.fetch("GET", path, {**headers, "if-none-match": f'"x", W/{tag}'})
            assert (again.status, again.body) == (304, b"")
            assert again.headers["etag"] == tag
        head = await server.fetch("HEAD", path)
        assert (head.status, head.body, head.headers["etag"]) == (200, b"", plain.headers["etag"])


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "br, gzip; q=0.000", "gzipped"])
async def test_nothing_is_compressed_for_clients_that_cannot_read_it(
    server: Server, accepted: str
) -> None:
    answer = await server.fetch("GET", "/", {"accept-encoding": accepted})

    assert "content-encoding" not in answer.headers
    assert b"<html" in answer.body


async def test_the_console_needs_no_token_and_other_paths_do() -> None:
    async with serving_here(token="secret") as server:
        page = await server.fetch("GET", "/")
        for address in addresses(page.body):
            assert (await server.fetch("GET", address.removeprefix("."))).status == 200
        for path in ("/assets/../runs", "/assets/%2e%2e/runs", "/assets", "/runs"):
            assert (await server.fetch("GET", path)).status in (401, 404)


@pytest.mark.parametrize("name", ["none.js", "..%2findex.html", "__init__.py", ""])
async def test_nothing_but_the_files_of_the_console_is_served(server: Server, name: str) -> None:
    answer = await server.fetch("GET", f"/assets/{name}")

    assert answer.problem() == (404, "not_found")


def test_the_view_of_a_run_can_stand_inside_a_page() -> None:
    """`runcast export` writes both files into its HTML."""
    built = Path(runcast.__file__).parent / "_http" / "console" / "built" / "assets"
    script, style = ((built / f"export.{kind}").read_text("utf-8") for kind in ("js", "css"))

    assert not re.search(r"</script|<!--|\bimport\s*[\"'({*]", script, re.IGNORECASE)
    assert not re.search(r"</style|@import|url\(", style, re.IGNORECASE)


def test_the_whole_console_is_small() -> None:
    built = Path(runcast.__file__).parent / "_http" / "console" / "built"
    sizes = {
        file.name: len(gzip.compress(file.read_bytes()))
        for file in built.rglob("*")
        if file.is_file()
    }

    assert sizes
    assert sum(sizes.values()) <= MOST_BYTES, sizes
