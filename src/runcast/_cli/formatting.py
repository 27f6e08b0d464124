"""How `--help` is laid out."""

import argparse

__all__ = ("HelpFormatter",)


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wraps paragraphs, and keeps text that has lines of its own, such as examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)
