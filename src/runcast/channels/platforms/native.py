"""Texts for platforms that read Markdown themselves: what they would do beside showing it, undone.

Code stays as it is, because nothing is done with it.

Source: ours.
"""

import re
from collections.abc import Callable
from typing import Final

__all__ = ("outside_code", "with_links_for_images", "without_mentions")

_CODE: Final = re.compile(r"(`{3,}.*?(?:`{3,}|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`)", re.DOTALL)
_IMAGE: Final = re.compile(r"!\[(?=[^\]\n]*\]\()")
_MENTION: Final = re.compile(r"(?<![\w@.])@(?=\w)")
_NO_WIDTH: Final = "\u200b"


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Return a text in which everything but code is changed, and which can be encoded."""
    parts = _CODE.split(text.encode("utf-8", "replace").decode())
    parts[::2] = map(change, parts[::2])
    return "".join(parts)


def with_links_for_images(text: str) -> str:
    """Return Markdown without images: clients would load them while text grows."""
    return _IMAGE.sub("[", text)


def without_mentions(text: str) -> str:
    """Return a text that notifies nobody: names lose their connection with the `@`."""
    return _MENTION.sub(f"@{_NO_WIDTH}", text)
