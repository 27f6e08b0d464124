"""Makes docs/images/page.png anew: the start page in a real browser, while runs are at work.

.venv/bin/python docs/picture.py      needs Chromium
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser.chromium import find_browser, open_browser  # noqa: E402
from tests.cli.served import serve  # noqa: E402

PROMPT = "How does a watcher resume a stream after its connection broke, and what does it see?"


def main() -> None:
    executable = find_browser()
    if executable is None:
        sys.exit("picture.py needs Chromium (Debian: chromium)")
    with (
        tempfile.TemporaryDirectory() as folder,
        serve("--store", f"sqlite:///{folder}/runs.db", cwd=ROOT) as server,
        open_browser(executable, Path(folder, "profile")) as browser,
    ):
        server.start("count_words", "words", path="LICENSE")
        server.start("count_primes", "primes", limit=4_000_000_000)
        server.start("chat", "chat", prompt=PROMPT, pause_s=0.4)
        page = browser.open_page()
        page.look(width=1240, height=580)
        page.go(f"{server.url}/#/runs/chat")
        page.sees("%", "#listed")
        page.sees("longest", "#texts")
        page.screenshot(ROOT / "docs" / "images" / "page.png")


if __name__ == "__main__":
    main()
