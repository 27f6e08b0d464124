"""Shows in the site what its pages link to outside of docs: documents, and source code.

Writes llms.txt into the site, too; see llms.py.

Each file of the project that a page links to gets a page under `source/`, and the links lead there.
Links of those documents are followed likewise. mkdocs calls this; see mkdocs.yml.
"""

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(ROOT))  # mkdocs loads this as a file

from docs.llms import write_into  # noqa: E402

STARTS = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")
"""Shown although no page may link to them: the navigation does."""

_LINK = re.compile(r"(?<=\]\()([^)#:\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file that is linked to."""
    documents = [_origin(file.src_uri) for file in files.documentation_pages()]
    documents += [ROOT / name for name in STARTS]
    for path in documents:  # it grows while it is gone through
        place = _place(path)
        if files.get_file_from_path(place) is None:
            files.append(File.generated(config, place, content=_page(path)))
        if path.suffix == ".md":
            documents += [found for found in _linked(path) if found not in documents]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links of a page at where the site shows what they mean."""
    path = _origin(page.file.src_uri)
    if path.suffix != ".md":
        return markdown
    here = Path(_place(path)).parent

    def point(found: re.Match[str]) -> str:
        target = _target(path, found[0])
        if not target.is_file():
            return found[0]  # which mkdocs tells
        ups = "../" * len(here.parts)
        return ups + _place(target)

    return _LINK.sub(point, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Write llms.txt beside the built pages."""
    write_into(Path(config.site_dir))


def _linked(path: Path) -> list[Path]:
    found = [_target(path, link) for link in _LINK.findall(path.read_text("utf-8"))]
    outside = [each for each in found if each.is_file() and not _is_in_docs(each)]
    return list(dict.fromkeys(outside))


def _target(path: Path, link: str) -> Path:
    target = (path.parent / link).resolve()
    return target / "README.md" if target.is_dir() else target


def _is_in_docs(path: Path) -> bool:
    return path.is_relative_to(ROOT / "docs")


def _place(path: Path) -> str:
    """Return where in the site a file of the project is shown."""
    inside = path.relative_to(ROOT)
    if _is_in_docs(path):
        return inside.relative_to("docs").as_posix()
    return f"source/{inside.as_posix()}" + ("" if path.suffix == ".md" else ".md")


def _origin(place: str) -> Path:
    """Return which file of the project is shown at a place of the site."""
    if not place.startswith("source/"):
        return ROOT / "docs" / place
    inside = ROOT / place.removeprefix("source/")
    return inside if inside.is_file() else inside.with_suffix("")


def _page(path: Path) -> str:
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        return text
    name, language = path.relative_to(ROOT).as_posix(), path.suffix.removeprefix(".")
    head = "---\nsearch:\n  exclude: true\n---\n"
    return f'{head}# {name}\n\n````{language} linenums="1"\n{text}````\n'
