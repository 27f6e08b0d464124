"""Makes the pictures of the console in docs/images, in a real browser, while runs are at work.

.venv/bin/python docs/pictures.py [FOLDER]      needs Chromium, and a font that has Chinese
"""

import base64
import struct
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser.chromium import Browser, Page, find_browser, open_browser  # noqa: E402
from tests.browser.test_notebook import (  # noqa: E402
    PYTHON,
    jupyter_lab,
    opened,
    run_all,
    sees,
)
from tests.cli.served import Served, serve  # noqa: E402

TOPIC = "how a stream resumes after its connection broke"
WIDE = {"width": 1200, "height": 760}
FILM = {"width": 960, "height": 640}
QUALITY = 60


class Film:
    """An animated picture, frame by frame as a browser shows a page.

    The frames are WebP files of the browser; here they only move into one container.
    Source: RFC 9649 §2.7.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[tuple[bytes, float]] = []

    def take(self, seconds: float) -> None:
        """Show the page as it is now for so long; the same picture again only lasts longer."""
        shot = self._page.call("Page.captureScreenshot", format="webp", quality=QUALITY)
        chunks = b"".join(
            _chunk(name, body)
            for name, body in _chunks_of(base64.b64decode(shot["data"]))
            if name in (b"ALPH", b"VP8 ", b"VP8L")
        )
        if self._frames and self._frames[-1][0] == chunks:
            self._frames[-1] = (chunks, self._frames[-1][1] + seconds)
        else:
            self._frames.append((chunks, seconds))

    def until(self, is_over: str, every_s: float, most_s: float = 90.0) -> None:
        """Film the page until a JavaScript expression is true."""
        end = time.monotonic() + most_s
        while not self._page.get(is_over):
            assert time.monotonic() < end, f"not within {most_s} s: {is_over}"
            self.take(every_s)
            time.sleep(every_s / 2)

    def save(self, path: Path) -> None:
        """Write the film, which begins again at its end."""
        size = _u24(FILM["width"] - 1) + _u24(FILM["height"] - 1)
        animated = 0b10
        parts = [_chunk(b"VP8X", bytes([animated, 0, 0, 0]) + size)]
        parts.append(_chunk(b"ANIM", struct.pack("<IH", 0xFFFFFFFF, 0)))
        for chunks, seconds in self._frames:
            frame = _u24(0) + _u24(0) + size + _u24(round(seconds * 1000)) + b"\0" + chunks
            parts.append(_chunk(b"ANMF", frame))
        body = b"WEBP" + b"".join(parts)
        path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def _chunks_of(webp: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 12
    while at < len(webp):
        size = struct.unpack_from("<I", webp, at + 4)[0]
        found.append((webp[at : at + 4], webp[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return found


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _u24(number: int) -> bytes:
    return struct.pack("<I", number)[:3]


# --- the pictures ---------------------------------------------------------------------------------


def film(server: Served, page: Page, folder: Path) -> None:
    """Show a run from its form to its result, with a question in between."""
    server.start("research", "first", topic="once", pause_s=0)  # which imports what it needs
    answer(server, "first")
    page.look(**FILM)
    page.go(f"{server.url}/#/functions/research")
    page.until("document.querySelector('form.form')")
    page.click("[id='research.topic']")
    shown = Film(page)
    shown.take(0.8)
    for at in range(0, len(TOPIC), 6):
        page.type(TOPIC[at : at + 6])
        shown.take(0.12)
    shown.take(0.5)
    page.click("form button[type=submit]")
    page.until("location.hash.startsWith('#/runs/')")
    shown.until("document.querySelectorAll('.waterfall-row').length > 7", 0.2)
    page.get("document.querySelector('.run-bar').scrollIntoView()")
    shown.until("document.querySelector('.badge.status-waiting') !== null", 0.2)
    page.get("scrollTo(0, 0)")
    shown.take(1.6)
    page.click("main button", "Approve")
    shown.until("document.querySelector('.badge.status-done') !== null", 0.2)
    shown.take(1.0)
    page.get("document.querySelector('.run-bar').scrollIntoView()")
    shown.take(2.5)
    shown.save(folder / "console.webp")


def stills(server: Served, page: Page, folder: Path) -> None:
    """Show each view once."""

    def picture(name: str, address: str, until: str, **look: object) -> None:
        page.look(**{**WIDE, **look})  # type: ignore[arg-type]
        page.go(f"{server.url}/{address}")
        page.until(until)
        page.screenshot(folder / name)

    ended = (
        "document.querySelector('.badge.status-done') && "
        "document.querySelectorAll('.waterfall-row').length > 7"
    )
    rows = "document.querySelectorAll('.listed').length > 6"
    picture("console-runs.png", "#/", rows)
    picture(
        "console-form.png",
        "#/functions/research?from=research-2",
        "document.querySelector('.hint') && document.querySelector('.badge')",
    )
    picture(
        "console-run.png", "#/runs/research-1", "document.querySelector('.badge.status-waiting')"
    )
    picture("console-dark.png", "#/runs/research-2", ended, scheme="dark")
    page.get("localStorage.setItem('runcast.language', 'zh')")
    picture(
        "console-phone.png",
        "#/runs/research-1",
        "document.querySelector('.badge')",
        width=390,
        height=780,
    )
    page.get("localStorage.removeItem('runcast.language')")


def fill(server: Served) -> None:
    """Start what the lists show."""
    for number in (1, 2):
        server.start("research", f"research-{number}", topic=TOPIC, pause_s=0.01)
    server.start("count_words", "words", path="LICENSE")
    server.start("count_primes", "primes", limit=4_000_000_000)
    server.start("chat", "chat", prompt="How does a watcher resume?", pause_s=0.4)
    for number in range(4):
        labels = {"thread": f"support-{number // 2}"}
        body = {"inputs": {"prompt": "Hello", "pause_s": 0}, "labels": labels}
        server.ask("POST", "/invoke/chat", body, {"Prefer": "respond-async"})


def answer(server: Served, run_id: str) -> None:
    """Accept what a run asks, once it asks."""
    end = time.monotonic() + 30
    while True:
        asked = server.ask("GET", f"/runs/{run_id}").json["state"]["interrupts"]
        if asked:
            break
        assert time.monotonic() < end, f"{run_id} asks nothing"
        time.sleep(0.1)
    path = f"/runs/{run_id}/interrupts/{asked[0]['interrupt_id']}"
    server.ask("POST", path, {"type": "accept", "by": "Ada"})


NOTEBOOK = (
    """
import runcast

def report(pages: int) -> str:
    for page in runcast.track(range(pages), message="pages"):
        runcast.log(f"page {page}")
    answer = runcast.ask("Print the report?", args={"copies": 2})
    return "printed" if answer.approved else "not printed"

hub = runcast.OpenHubInThread(runcast.OpenHub(functions=[report])).open()
""",
    'run = hub.start(report, {"pages": 30})\nrun',
)


def notebook(browser: Browser, folder: Path, scratch: Path) -> None:
    """Picture a run in JupyterLab, which needs .venv-notebook."""
    page = browser.open_page()
    page.look(width=1000, height=900)
    with jupyter_lab(scratch, *NOTEBOOK) as url:
        opened(page, url)
        run_all(page)
        sees(page, "Print the report?")
        page.get("jupyterapp.commands.execute('application:toggle-left-area')")
        rest = "r => ({x: r.x, y: r.y, width: r.width, height: r.height})"
        box = page.get(f"({rest})(document.querySelector('.jp-Notebook').getBoundingClientRect())")
        last = page.get("document.querySelector('.runcast-message').getBoundingClientRect().bottom")
        clip = {**box, "height": last - box["y"] + 12, "scale": 1}
        shot = page.call("Page.captureScreenshot", clip=clip)
        (folder / "notebook.png").write_bytes(base64.b64decode(shot["data"]))
    page.close()


def main() -> None:
    executable = find_browser()
    if executable is None:
        sys.exit("pictures.py needs Chromium (Debian: chromium)")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    with (
        tempfile.TemporaryDirectory() as scratch,
        serve("--store", f"sqlite:///{scratch}/runs.db", cwd=ROOT) as server,
        open_browser(executable, Path(scratch, "profile")) as browser,
    ):
        _make(server, browser, folder)
        if PYTHON.exists():
            notebook(browser, folder, Path(scratch))


def _make(server: Served, browser: Browser, folder: Path) -> None:
    page = browser.open_page()
    film(server, page, folder)
    fill(server)
    answer(server, "research-2")
    stills(server, page, folder)
    page.close()


if __name__ == "__main__":
    main()
