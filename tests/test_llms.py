"""llms.txt, by which language models find the pages of the documentation."""

import re
from pathlib import Path

import pytest
import yaml

from docs.llms import CONFIG, DOCS, SITE, head_of, llms_txt, pages_of, write_into


def test_every_page_of_the_navigation_is_in_it_with_a_title_and_a_sentence() -> None:
    text = llms_txt()
    nav = yaml.safe_load(CONFIG.read_text("utf-8"))["nav"]
    pages = [page for _, page in pages_of(nav) if (DOCS / page).is_file()]

    entries = re.findall(r"^- \[(.+)\]\((.+?)\): (\S.+)$", text, re.MULTILINE)

    assert text.startswith("# runcast\n\n> ")
    assert [address for _, address, _ in entries] == [SITE + page for page in pages]
    assert len(pages) > 15


def test_the_site_gets_it_and_each_page_as_markdown(tmp_path: Path) -> None:
    write_into(tmp_path)

    assert (tmp_path / "llms.txt").read_text("utf-8") == llms_txt()
    for address in re.findall(r"\((https://\S+?)\)", llms_txt()):
        page = address.removeprefix(SITE)
        assert (tmp_path / page).read_bytes() == (DOCS / page).read_bytes()


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("# A\n\nOne. Two.", ("A", "One.")),
        ("# A\n\n| a | b |\n|---|---|\n\n[It](x.md) is `b`: so.", ("A", "It is `b`")),
        ("# A\n\n```python\nx\n```\n\n**B** is\nso.", ("A", "B is so.")),
        ("# A\n", ("A", "")),
    ],
)
def test_the_first_sentence_is_found(text: str, head: tuple[str, str]) -> None:
    assert head_of(text) == head
