"""Writes llms.txt, by which language models find the pages of the documentation.

`dev.py docs` puts it into the site, with each page as Markdown beside the page, so that it can
never be older than the pages. Format: https://llmstxt.org.
"""

import re
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).parent
CONFIG = DOCS.parent / "mkdocs.yml"
SITE = "https://runcast.github.io/runcast/"

_MAX_CHARS = 200


def llms_txt() -> str:
    """Return the text of llms.txt: the name, what it is for, and each page of the navigation."""
    config = yaml.safe_load(CONFIG.read_text("utf-8"))
    sections: dict[str, list[str]] = {}
    for section, page in pages_of(config["nav"]):
        path = DOCS / page
        if path.is_file():
            title, about = head_of(path.read_text("utf-8"))
            line = f"- [{title}]({SITE}{page})" + (f": {about}" if about else "")
            sections.setdefault(section or "Start", []).append(line)
    parts = [f"# {config['site_name']}", f"> {config['site_description']}"]
    parts += [f"## {name}\n\n" + "\n".join(lines) for name, lines in sections.items()]
    return "\n\n".join(parts) + "\n"


def pages_of(nav: list[Any], section: str = "") -> list[tuple[str, str]]:
    """Return the section and the file of each page of a navigation, in order."""
    found: list[tuple[str, str]] = []
    for entry in nav:
        name, target = next(iter(entry.items())) if isinstance(entry, dict) else ("", entry)
        if isinstance(target, list):
            found += pages_of(target, name)
        else:
            found.append((section, target))
    return found


def head_of(text: str) -> tuple[str, str]:
    """Return a page's title and the first sentence below it."""
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    rest = text[title.end() :] if title else text
    prose = (
        block
        for block in re.split(r"\n\s*\n", rest)
        if re.match(r"[\w`*\[]", block.strip()) and not block.strip().startswith("```")
    )
    words = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", " ".join(next(prose, "").split()))
    words = words.replace("**", "")
    sentence = re.match(r".*?[.:](?=\s|$)", words)
    about = sentence[0] if sentence else words
    return title[1] if title else "", about.rstrip(":")[:_MAX_CHARS]


def write_into(site: Path) -> None:
    """Write llms.txt into a built site, and each page that it names as Markdown."""
    (site / "llms.txt").write_text(llms_txt(), "utf-8")
    config = yaml.safe_load(CONFIG.read_text("utf-8"))
    for _, page in pages_of(config["nav"]):
        if (DOCS / page).is_file():
            target = site / page
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((DOCS / page).read_bytes())
