"""The option `--label`."""

import argparse
from collections.abc import Iterable

from runcast._cli.reaching import sendable
from runcast.errors import InvalidValue

__all__ = ("add_label", "labels_of")


def add_label(parser: argparse.ArgumentParser, about: str = "only runs with this label") -> None:
    """Add the option to a parser."""
    parser.add_argument(
        "--label",
        metavar="NAME=VALUE",
        action="append",
        type=sendable,
        default=[],
        help=f"{about}; repeatable",
    )


def labels_of(pairs: Iterable[str]) -> dict[str, str]:
    """Return the labels of `--label` options. Raises `InvalidValue`."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidValue(
                f"expected --label NAME=VALUE, like --label user=ada, got {pair[:100]!r}"
            )
        found[name] = value
    return found
